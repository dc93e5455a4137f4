//! Makes images, honest and hostile: tar archives byte by byte, layouts around them, and what a careless unpacker does with the same bytes.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use seaworthy_core::digest::Digest;
use serde_json::{Value, json};

/// A tar archive under construction.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    /// One entry: type, path, target of a link, content, mode.
    pub(crate) fn entry(mut self, kind: u8, path: &[u8], target: &[u8], content: &[u8], mode: u32) -> Self {
        self.0.extend(header(kind, path, target, &format!("{:011o}\0", content.len()).into_bytes(), mode));
        self.content(content)
    }

    pub(crate) fn content(mut self, content: &[u8]) -> Self {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.entry(b'0', path.as_bytes(), b"", content.as_bytes(), 0o644)
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(b'5', path.as_bytes(), b"", b"", 0o755)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path.as_bytes(), target.as_bytes(), b"", 0o777)
    }

    pub(crate) fn hard(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path.as_bytes(), target.as_bytes(), b"", 0o644)
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = 3 + key.len() + value.len();
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            body.extend(format!("{length} {key}=").into_bytes());
            body.extend(*value);
            body.push(b'\n');
        }
        self.entry(b'x', b"PaxHeaders/x", b"", &body, 0o644)
    }

    /// With the two blocks that end it.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A header with any size field.
pub(crate) fn header(kind: u8, path: &[u8], target: &[u8], size: &[u8], mode: u32) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path);
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, size);
    put(136, b"14000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// How a layer is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

pub(crate) fn media_type(packing: Packing) -> &'static str {
    match packing {
        Packing::Plain => "application/vnd.oci.image.layer.v1.tar",
        Packing::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Packing::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// What stands in an image: every part can be bent.
pub(crate) struct Recipe {
    /// Blobs and how they are announced.
    pub(crate) layers: Vec<(Vec<u8>, Packing)>,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) run: Value,
    pub(crate) architecture: String,
}

impl Recipe {
    pub(crate) fn new(tars: &[Vec<u8>], packing: Packing) -> Self {
        Self {
            layers: tars.iter().map(|tar| (pack(tar, packing), packing)).collect(),
            diff_ids: tars.iter().map(|tar| Digest::of(tar)).collect(),
            run: json!({}),
            architecture: architecture().to_owned(),
        }
    }

    pub(crate) fn config(&self) -> Vec<u8> {
        let ids: Vec<String> = self.diff_ids.iter().map(|id| format!("sha256:{id}")).collect();
        let config =
            json!({"architecture": self.architecture, "os": "linux", "config": self.run, "rootfs": {"type": "layers", "diff_ids": ids}});
        serde_json::to_vec(&config).unwrap()
    }

    pub(crate) fn manifest(&self) -> Value {
        let blob =
            |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": format!("sha256:{}", Digest::of(bytes)), "size": bytes.len()});
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(&self.config(), "application/vnd.oci.image.config.v1+json"),
            "layers": self.layers.iter().map(|(bytes, packing)| blob(bytes, media_type(*packing))).collect::<Vec<_>>(),
        })
    }

    /// Writes a layout; the digest of the manifest.
    pub(crate) fn layout(&self, dir: &Path) -> Digest {
        let manifest = serde_json::to_vec(&self.manifest()).unwrap();
        write_layout(dir, &manifest);
        for bytes in self.layers.iter().map(|(bytes, _)| bytes).chain([&self.config()]) {
            blob(dir, bytes);
        }
        Digest::of(&manifest)
    }
}

pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// `oci-layout`, `index.json` and the manifest.
pub(crate) fn write_layout(dir: &Path, manifest: &[u8]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", Digest::of(manifest)),
        "size": manifest.len(),
    }]});
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    blob(dir, manifest);
}

pub(crate) fn blob(dir: &Path, bytes: &[u8]) {
    fs::write(dir.join("blobs/sha256").join(Digest::of(bytes).hex()), bytes).unwrap();
}

/// Python's tarfile, which believes archives, layer by layer into `root`; what it said.
pub(crate) fn naive(layers: &[Vec<u8>], root: &Path) -> String {
    fs::create_dir_all(root).unwrap();
    let mut said = String::new();
    for (number, layer) in layers.iter().enumerate() {
        let file = root.with_extension(format!("{number}.tar"));
        fs::write(&file, layer).unwrap();
        let script = "import sys,tarfile\nt=tarfile.open(sys.argv[1])\n\
            try: t.extractall(sys.argv[2], filter='fully_trusted')\n\
            except TypeError: t.extractall(sys.argv[2])";
        let out = Command::new("python3").args(["-c", script]).arg(&file).arg(root).output().unwrap();
        said.push_str(&String::from_utf8_lossy(&out.stderr));
    }
    said
}

/// Every path below `dir`, sorted.
pub(crate) fn paths(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path.clone());
            }
            found.push(path.strip_prefix(dir).unwrap().to_path_buf());
        }
    }
    found.sort();
    found
}
