//! Hostile wheels: each attack with the same wheel unharmed as its control.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use seaworthy_core::digest::{Digest, hex_decode};
use seaworthy_store::artifacts::remove_checkout;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::memo::{Looked, is_unchanged};
use super::unpack::{expected_tree, refuse_hiding, unpack};
use super::wheel::Contents;
use super::*;

const NAME: &str = "demo-1.0-py3-none-any.whl";
const INFO: &str = "demo-1.0.dist-info";

/// A wheel under construction.
#[derive(Clone)]
struct Recipe {
    /// Name, content, unix mode (type bits included).
    entries: Vec<(String, Vec<u8>, u32)>,
    /// Rows of RECORD in place of the true ones.
    record: Option<String>,
    wheel: String,
}

impl Recipe {
    fn good() -> Self {
        let entries = [("demo/__init__.py", "x = 1\n"), ("demo-1.0.dist-info/METADATA", "Name: demo\n")];
        Self {
            entries: entries.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec(), 0o100_644)).to_vec(),
            record: None,
            wheel: "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n".to_owned(),
        }
    }

    fn with(mut self, name: &str, content: &[u8], mode: u32) -> Self {
        self.entries.push((name.to_owned(), content.to_vec(), mode));
        self
    }

    fn true_record(&self) -> String {
        let mut rows = String::new();
        let wheel = (format!("{INFO}/WHEEL"), self.wheel.clone().into_bytes(), 0);
        for (name, content, _) in self.entries.iter().chain([&wheel]).filter(|(name, ..)| !name.ends_with('/')) {
            rows.push_str(&format!("{name},sha256={},{}\n", base64url(&Digest::of(content)), content.len()));
        }
        rows + &format!("{INFO}/RECORD,,\n")
    }

    fn build(&self) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let wheel = (format!("{INFO}/WHEEL"), self.wheel.clone().into_bytes(), 0o100_644);
        let record = self.record.clone().unwrap_or_else(|| self.true_record());
        let record = (format!("{INFO}/RECORD"), record.into_bytes(), 0o100_644);
        for (name, content, mode) in self.entries.iter().chain([&wheel, &record]) {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            if mode & 0o170_000 == 0o120_000 {
                zip.add_symlink(name.as_str(), String::from_utf8(content.clone()).unwrap(), options).unwrap();
            } else {
                zip.start_file(name.as_str(), options.unix_permissions(*mode)).unwrap();
                zip.write_all(content).unwrap();
            }
        }
        zip.finish().unwrap().into_inner()
    }
}

fn base64url(digest: &Digest) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits =
        hex_decode(&digest.hex()).unwrap().iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect::<Vec<u8>>();
    bits.resize(258, 0);
    bits.chunks(6).map(|six| char::from(ALPHABET[six.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit))])).collect()
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("seaworthy-wheel-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_checkout(&self.0).unwrap();
    }
}

/// Opens and unpacks; the names of what was unpacked.
fn install(wheels: &[(&str, &[u8])], dir: &Path) -> Result<Vec<String>, EnvironmentError> {
    let mut opened = Vec::new();
    for (name, bytes) in wheels {
        opened.push(Wheel::open(name, Cursor::new(*bytes), bytes.len() as u64)?);
    }
    let listings: Vec<_> = opened.iter().map(Wheel::listing).collect();
    let tree = expected_tree(&listings)?;
    let mut contents: Vec<&mut dyn Contents> = opened.iter_mut().map(|wheel| wheel as &mut dyn Contents).collect();
    unpack(&mut contents, &dir.join("site-packages"))?;
    Ok(tree.entries().iter().map(|entry| entry.name.clone()).collect())
}

fn refused(what: &str, bytes: &[u8], reason: &str) {
    refused_as(what, NAME, bytes, reason);
}

fn refused_as(what: &str, name: &str, bytes: &[u8], reason: &str) {
    let folder = Folder::new();
    let error = install(&[(name, bytes)], &folder.0).expect_err(what);
    assert_eq!(error.code(), "environment/wheel", "{what}: {error}");
    assert!(error.to_string().contains(reason), "{what}: {error}");
}

#[test]
fn a_good_wheel_is_unpacked_read_only_without_what_would_run() {
    use std::os::unix::fs::PermissionsExt;
    let bytes = Recipe::good()
        .with("demo/tool", b"\x7fELF", 0o100_755)
        .with("demo/__pycache__/__init__.cpython-311.pyc", b"evil", 0o100_644)
        .with("demo/old.pyc", b"evil", 0o100_644)
        .with("demo-1.0.data/purelib/pure.py", b"1", 0o100_644)
        .with("demo-1.0.data/platlib/plat.so", b"2", 0o100_644)
        .with("demo-1.0.data/scripts/run", b"#!python", 0o100_755)
        .with("demo-1.0.data/headers/x.h", b"", 0o100_644)
        .with("demo-1.0.data/data/etc/passwd", b"", 0o100_644)
        .build();
    let folder = Folder::new();
    let names = install(&[(NAME, &bytes)], &folder.0).unwrap();
    let info = ["METADATA", "RECORD", "WHEEL"].map(|name| format!("{INFO}/{name}"));
    let want: Vec<String> = ["demo/__init__.py", "demo/tool"]
        .map(str::to_owned)
        .into_iter()
        .chain(info)
        .chain(["plat.so", "pure.py"].map(str::to_owned))
        .collect();
    assert_eq!(names, want);
    let root = folder.0.join("site-packages");
    for (path, mode) in [("", 0o555), ("demo", 0o555), ("demo/__init__.py", 0o444), ("demo/tool", 0o555), ("plat.so", 0o444)] {
        assert_eq!(std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
    }
    assert_eq!(std::fs::read_dir(root).unwrap().count(), 4);
}

#[test]
fn hostile_names_are_refused() {
    let cases: [(&str, &str); 16] = [
        ("../evil.py", "`..` component"),
        ("demo/../../evil.py", "`..` component"),
        ("/etc/evil.py", "is absolute"),
        ("C:/evil.py", "is absolute"),
        ("demo\\..\\evil.py", "backslash"),
        ("demo/./evil.py", "component"),
        ("demo//evil.py", "component"),
        ("demo/e\u{1b}[2Jvil.py", "control character"),
        ("demo/e\nvil.py", "control character"),
        ("DEMO/__init__.py", "demo"),
        ("demo/__init__.py/inside.py", "demo/__init__.py"),
        ("sitecustomize.py", "without being imported"),
        ("demo-1.0.data/purelib/usercustomize.py", "without being imported"),
        ("demo-1.0.data/purelib/../evil.py", "`..` component"),
        ("demo-1.0.data/startup/x", "no known kind"),
        ("other-2.0.dist-info/METADATA", "instead of one"),
    ];
    let folder = Folder::new();
    install(&[(NAME, &Recipe::good().with("demo/evil.py", b"x", 0o100_644).build())], &folder.0).expect("the control");
    for (name, reason) in cases {
        refused(name, &Recipe::good().with(name, b"x", 0o100_644).build(), reason);
    }
}

#[test]
fn a_symbolic_link_is_refused_where_a_naive_unpacker_follows_it() {
    let bytes = Recipe::good().with("demo/link", b"__init__.py", 0o120_777).build();
    refused("symlink", &bytes, "no regular file");
    // control: the archive does hold a link that the library would make
    let folder = Folder::new();
    zip::ZipArchive::new(Cursor::new(&bytes)).unwrap().extract(folder.0.join("naive")).unwrap();
    assert!(folder.0.join("naive/demo/link").is_symlink());
}

#[test]
fn record_must_name_every_file_with_its_hash() {
    let good = Recipe::good();
    let rows = good.true_record();
    let row = rows.lines().next().unwrap().to_owned();
    let cases: [(&str, String, &str); 9] = [
        ("a file less", rows.replacen(&format!("{row}\n"), "", 1), "not in RECORD"),
        ("a file more", format!("{rows}demo/ghost.py,sha256={},1\n", base64url(&Digest::of(b"x"))), "not in the archive"),
        ("another hash", rows.replacen(&row, &format!("demo/__init__.py,sha256={},6", base64url(&Digest::of(b"y = 1\n"))), 1), "hashes to"),
        ("no hash", rows.replacen(&row, "demo/__init__.py,,", 1), "no hash"),
        ("a weak hash", rows.replacen(&row, "demo/__init__.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,6", 1), "no sha256"),
        ("another size", rows.replacen(&row, &row.replace(",6", ",7"), 1), "bytes where RECORD says"),
        ("a row twice", format!("{row}\n{rows}"), "twice"),
        ("open quotes", format!("\"demo{rows}"), "malformed"),
        ("two fields", format!("{rows}a,b\n"), "malformed"),
    ];
    for (what, record, reason) in cases {
        refused(what, &Recipe { record: Some(record), ..good.clone() }.build(), reason);
    }
    // control: quotes around a path are what the specification allows
    let folder = Folder::new();
    let quoted = rows.replacen("demo/__init__.py", "\"demo/__init__.py\"", 1);
    install(&[(NAME, &Recipe { record: Some(quoted), ..good }.build())], &folder.0).expect("the control");
}

#[test]
fn the_archive_itself_must_be_plain() {
    let good = Recipe::good();
    let bytes = good.build();
    let folder = Folder::new();
    install(&[(NAME, &bytes)], &folder.0).expect("the control");
    refused("bytes before", &[b"#!/bin/sh\n", bytes.as_slice()].concat(), "bytes around");
    refused("bytes behind", &[bytes.as_slice(), b"more"].concat(), "does not end");
    refused("cut short", &bytes[..bytes.len() - 30], "");
    refused("empty", b"", "");
    refused("another version of the format", &Recipe { wheel: "Wheel-Version: 2.0\n".into(), ..good.clone() }.build(), "instead of 1.x");
    refused_as("another package's name", "six-1.0-py3-none-any.whl", &bytes, "another package");
    refused_as("another version in the name", "demo-1.1-py3-none-any.whl", &bytes, "another package or version");
    for name in ["demo.whl", "demo-1.0.whl", "demo-1.0-py3-none-any.zip", "../demo-1.0-py3-none-any.whl", "demo--py3-none-any.whl"] {
        refused_as(name, name, &bytes, "name");
    }
    // the name in the local header differs from that in the directory: tools disagree about which file it is
    let mut forked = bytes.clone();
    let at = forked.windows(16).position(|window| window == b"demo/__init__.py").unwrap();
    forked[at] = b'X';
    refused("two names for one entry", &forked, "header");
    // the same entry twice: the first or the last wins, depending on the tool
    let twin = good.with("demo/__init__.pz", b"x = 2\n", 0o100_644).build();
    let twin = replace_all(&twin, b"demo/__init__.pz", b"demo/__init__.py");
    refused("an entry twice", &twin, "duplicate");
}

fn replace_all(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in 0..=out.len() - from.len() {
        if out[at..at + from.len()] == *from {
            out[at..at + from.len()].copy_from_slice(to);
        }
    }
    out
}

#[test]
fn bombs_do_not_go_off() {
    // 80 MiB of zeros in some 80 kB
    let bomb = Recipe::good().with("demo/zeros.bin", &vec![0; 80 << 20], 0o100_644).build();
    assert!(bomb.len() < 200_000);
    refused("a bomb", &bomb, "times as much");
    // an entry that is longer than it says: claim 6 bytes where there are more
    let long = Recipe::good().with("demo/long.py", &[b'a'; 5_000], 0o100_644).build();
    let lying = replace_all(&long, &5_000_u32.to_le_bytes(), &50_u32.to_le_bytes());
    assert_ne!(long, lying);
    refused("a lie about the size", &lying, "50");
}

#[test]
fn two_wheels_may_not_bring_one_path_with_different_bytes() {
    let other = |content: &str| {
        let mut recipe = Recipe::good();
        recipe.entries =
            vec![("demo/__init__.py".into(), content.into(), 0o100_644), ("other-1.0.dist-info/METADATA".into(), b"x".to_vec(), 0o100_644)];
        let record = recipe.true_record().replace(INFO, "other-1.0.dist-info");
        recipe.entries.push(("other-1.0.dist-info/WHEEL".into(), recipe.wheel.clone().into_bytes(), 0o100_644));
        recipe.entries.push(("other-1.0.dist-info/RECORD".into(), record.into_bytes(), 0o100_644));
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content, mode) in &recipe.entries {
            zip.start_file(name.as_str(), SimpleFileOptions::default().unix_permissions(*mode)).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    };
    let demo = Recipe::good().build();
    let (same, different) = (other("x = 1\n"), other("x = 2\n"));
    let folder = Folder::new();
    let names = install(&[(NAME, &demo), ("other-1.0-py3-none-any.whl", &same)], &folder.0).expect("the control");
    assert_eq!(names.iter().filter(|name| *name == "demo/__init__.py").count(), 1);
    let folder = Folder::new();
    let error = install(&[(NAME, &demo), ("other-1.0-py3-none-any.whl", &different)], &folder.0).unwrap_err();
    assert_eq!(error.code(), "environment/collision");
    assert!(!folder.0.join("site-packages").exists());
}

#[test]
fn a_wheel_may_not_hide_the_standard_library() {
    let folder = Folder::new();
    fake_interpreter(&folder.0);
    let stdlib = folder.0.join("lib/python3.11");
    // (file, whether it hides something)
    let cases = [
        ("demo/os.py", false),
        ("os_tools.py", false),
        ("test/__init__.py", false),
        ("os.py", true),
        ("os/__init__.py", true),
        ("json/evil.py", true),
        ("json.cpython-311-x86_64-linux-gnu.so", true),
        ("demo-1.0.data/purelib/os.py", true),
    ];
    for (name, hides) in cases {
        let bytes = Recipe::good().with(name, b"x", 0o100_644).build();
        let wheel = Wheel::open(NAME, Cursor::new(bytes.as_slice()), bytes.len() as u64).unwrap();
        let answer = refuse_hiding(&[wheel.listing()], &stdlib);
        assert_eq!(answer.as_ref().is_err_and(|error| error.to_string().contains("hide")), hides, "{name}: {answer:?}");
    }
}

/// Every single byte of a small wheel, flipped: refused, or unpacked to the very same tree.
#[test]
fn a_flipped_byte_never_changes_the_tree() {
    let good = Recipe::good().build();
    let open = |bytes: &[u8]| -> Result<_, EnvironmentError> {
        let folder = Folder::new();
        let mut wheel = Wheel::open(NAME, Cursor::new(bytes.to_vec()), bytes.len() as u64)?;
        let tree = expected_tree(&[wheel.listing()])?;
        unpack(&mut [&mut wheel], &folder.0.join("t"))?;
        Ok(tree)
    };
    let want = open(&good).unwrap();
    let payload = |tree: &seaworthy_core::artifact::Manifest| -> Vec<_> {
        tree.entries().iter().filter(|entry| !entry.name.ends_with("RECORD")).map(|entry| (entry.name.clone(), entry.digest)).collect()
    };
    let mut refusals = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        match open(&bytes) {
            Ok(tree) => assert_eq!(payload(&tree), payload(&want), "byte {at}"),
            Err(_) => refusals += 1,
        }
    }
    assert!(refusals * 10 > good.len() * 5, "{refusals} of {}", good.len());
}

#[test]
fn names_of_wheels_are_read_and_judged() {
    let interpreter = Interpreter {
        path: PathBuf::new(),
        prefix: PathBuf::new(),
        stdlib: PathBuf::new(),
        libpython: None,
        version: (3, 11, 7),
        abi_tag: "cp311".into(),
        platform: "linux_x86_64".into(),
        digest: Digest::of(b"interpreter"),
        looked: Looked::default(),
    };
    let cases = [
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", true),
        ("protobuf-7.36.2-cp310-abi3-manylinux2014_x86_64.whl", true),
        ("six-1.17.0-py2.py3-none-any.whl", true),
        ("demo-1.0-1-py311-none-any.whl", true),
        ("demo-1.0-cp312-abi3-manylinux2014_x86_64.whl", false),
        ("numpy-2.4.6-cp312-cp312-manylinux_2_27_x86_64.whl", false),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.whl", false),
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", false),
        ("demo-1.0-py2-none-any.whl", false),
        ("demo-1.0-pp311-pypy311_pp73-manylinux_2_28_x86_64.whl", false),
    ];
    for (name, want) in cases {
        assert_eq!(interpreter.accepts(&WheelName::parse(name).unwrap()), want, "{name}");
    }
}

#[test]
fn the_digest_depends_on_wheels_and_interpreter_but_not_on_order() {
    let make = |digest: &[u8]| Interpreter {
        path: PathBuf::from("/a"),
        prefix: PathBuf::new(),
        stdlib: PathBuf::new(),
        libpython: None,
        version: (3, 11, 7),
        abi_tag: "cp311".into(),
        platform: "linux_x86_64".into(),
        digest: Digest::of(digest),
        looked: Looked::default(),
    };
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let base = environment_digest(&[one, two], &make(b"i"));
    assert_eq!(base, environment_digest(&[two, one, one], &make(b"i")));
    assert_eq!(base, environment_digest(&[two, one], &Interpreter { path: "/b".into(), ..make(b"i") }));
    for other in
        [environment_digest(&[one], &make(b"i")), environment_digest(&[one, two], &make(b"j")), environment_digest(&[], &make(b"i"))]
    {
        assert_ne!(base, other);
    }
    // pinned: the digest stands in locks and attestations
    expect_test::expect!["10d15972d807a9cd20df83a06ca7bdd1667478813faea2f244e52e3cf22dd4e0"].assert_eq(&base.hex());
}

#[test]
fn what_is_no_interpreter_is_named_with_its_reason() {
    let folder = Folder::new();
    let script = folder.0.join("python3");
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(&script).unwrap();
    file.write_all(b"#!/bin/sh\n").unwrap();
    let error = find_interpreter(&[script, PathBuf::from("/nonexistent/python3"), PathBuf::from("/bin/sh")]).unwrap_err();
    assert_eq!(error.code(), "environment/interpreter");
    let text = error.to_string();
    for part in ["no ELF binary", "No such file", "no Python"] {
        assert!(text.contains(part), "{text}");
    }
}

/// A tree that looks like an interpreter, for changes that the real one must not suffer.
fn fake_interpreter(root: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let lib = root.join("lib/python3.11");
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(path).unwrap().write_all(bytes).unwrap();
    };
    let binary = root.join("bin/python3.11");
    write(&binary, b"\x7fELF Py_BytesMain \x003.11.9\x00");
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["os.py", "json/__init__.py", "__pycache__/os.cpython-311.pyc", "site-packages/six.py"] {
        write(&lib.join(name), b"x");
    }
    binary
}

#[test]
fn the_interpreters_digest_covers_what_a_step_sees_and_nothing_else() {
    let folder = Folder::new();
    let memo = folder.0.join("state");
    let binary = fake_interpreter(&folder.0);
    let base = find_interpreter(std::slice::from_ref(&binary)).unwrap();
    assert_eq!((base.version, base.abi_tag.as_str()), ((3, 11, 9), "cp311"));
    let lib = folder.0.join("lib/python3.11");
    // (file, whether the digest must change)
    let cases = [
        (lib.join("__pycache__/os.cpython-311.pyc"), false),
        (lib.join("site-packages/six.py"), false),
        (lib.join("json/__init__.py"), true),
        (lib.join("json/new.py"), true),
        (binary.clone(), true),
    ];
    for (file, changes) in cases {
        let before = find_interpreter(std::slice::from_ref(&binary)).unwrap().digest;
        let known = find_interpreter_remembered(std::slice::from_ref(&binary), &memo).unwrap();
        assert!(known.looked.holds());
        assert_eq!(find_interpreter_remembered(std::slice::from_ref(&binary), &memo).unwrap().digest, before);
        std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap().write_all(b"y").unwrap();
        let after = find_interpreter(std::slice::from_ref(&binary)).unwrap().digest;
        assert_eq!(before != after, changes, "{}", file.display());
        assert_eq!(is_unchanged(&known, &memo), !changes, "{}", file.display());
        assert!(!changes || !known.looked.holds(), "{}", file.display());
        // with the memory of the time before the change, and again from the memory of the change
        for _ in 0..2 {
            assert_eq!(find_interpreter_remembered(std::slice::from_ref(&binary), &memo).unwrap().digest, after, "{}", file.display());
        }
    }
    // a link that led nowhere, and does so no more
    let (link, target) = (lib.join("late.py"), folder.0.join("late"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let known = find_interpreter_remembered(std::slice::from_ref(&binary), &memo).unwrap();
    assert!(known.looked.holds());
    std::fs::OpenOptions::new().create_new(true).write(true).open(&target).unwrap();
    assert!(!known.looked.holds(), "what it leads to is part of what a step sees");
    rustix::fs::unlink(&link).unwrap();
    // a change that keeps size and mtime is still seen: ctime cannot be set
    let file = lib.join("os.py");
    let times = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let handle = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    (&handle).write_all(b"z").unwrap();
    handle.set_modified(times).unwrap();
    let after = find_interpreter(std::slice::from_ref(&binary)).unwrap().digest;
    assert_eq!(find_interpreter_remembered(&[binary], &memo).unwrap().digest, after);
}
