//! Hostile images. Each attack is refused, or comes to nothing; beside it a careless unpacker falls for the same bytes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use seaworthy_core::digest::Digest;
use seaworthy_engine::environment::Places;
use seaworthy_engine::environment::image::{Add, Image, ImageError, ImageTree, Images};

use crate::environment::Folder;
use crate::environment::workers;
use crate::image_maker::{Packing, Recipe, Tar, blob, header, naive, pack, paths, write_layout};

/// A place to add images to, and something beside it that no image may touch.
struct Bench {
    folder: Folder,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = Folder::new(&format!("image-{name}"));
        fs::create_dir(folder.0.join("outside")).unwrap();
        fs::write(folder.0.join("outside/victim"), "unharmed").unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn images(&self) -> Images {
        let (cache_dir, state_dir) = (self.at("cache"), self.at("state"));
        Images::open(Places { cache_dir: &cache_dir, state_dir: &state_dir }, workers()).unwrap()
    }

    fn unpack(&self, recipe: &Recipe) -> Result<(Image, ImageTree), ImageError> {
        let dir = self.at("layout");
        recipe.layout(&dir);
        let images = self.images();
        let image = images.add(dir.to_str().unwrap(), Path::new("/"), Add::default())?;
        let tree = images.tree(&image)?;
        Ok((image, tree))
    }

    /// The one unpacked tree.
    fn tree(&self) -> PathBuf {
        let trees = fs::read_dir(self.at("cache/images/trees")).unwrap();
        let whole = trees.map(|tree| tree.unwrap().path()).filter(|tree| !tree.file_name().unwrap().to_str().unwrap().starts_with("new-"));
        whole.last().unwrap()
    }

    fn assert_unharmed(&self) {
        assert_eq!(fs::read_to_string(self.at("outside/victim")).unwrap(), "unharmed");
        assert_eq!(fs::metadata(self.at("outside/victim")).unwrap().nlink(), 1);
        assert_eq!(paths(&self.at("outside")), [PathBuf::from("victim")]);
        // nothing half-made is left either
        let trees = fs::read_dir(self.at("cache/images/trees")).into_iter().flatten().flatten();
        assert!(trees.map(|tree| tree.file_name()).all(|name| !name.to_str().unwrap().starts_with("new-")));
    }
}

/// What a careless unpacker must have done for the attack to be one.
type Fell = fn(&Bench) -> bool;

fn file_outside(bench: &Bench) -> bool {
    paths(&bench.at("outside")).len() > 1
}

/// Name, layers, what the refusal says, whether a careless unpacker fell for it.
type Attack = (&'static str, Vec<Tar>, &'static str, Fell);

fn refused(bench: &Bench) -> Vec<Attack> {
    let outside = bench.at("outside");
    [ways_out(outside.to_str().unwrap()), two_meanings(outside.to_str().unwrap())].into_iter().flatten().collect()
}

/// Something beside the tree is written, or becomes part of it.
fn ways_out(outside: &str) -> Vec<Attack> {
    vec![
        ("dots", vec![Tar::default().folder("a").file("a/../../outside/new", "x")], "`..`", file_outside),
        ("dots at once", vec![Tar::default().file("../outside/new", "x")], "`..`", file_outside),
        ("dots in a pax name", vec![Tar::default().pax(&[("path", b"../outside/new")]).file("fine", "x")], "`..`", file_outside),
        ("dots in a long name", vec![long_name(b"../outside/new").file("fine", "x")], "`..`", file_outside),
        ("absolute link", vec![Tar::default().link("way", outside).file("way/new", "x")], "symbolic link", file_outside),
        ("relative link", vec![Tar::default().link("way", "../outside").file("way/new", "x")], "symbolic link", file_outside),
        (
            "chained links",
            vec![Tar::default().folder("d").link("d/up", "..").link("up", "d/up/..").file("up/outside/new", "x")],
            "symbolic link",
            file_outside,
        ),
        (
            "link of a lower layer",
            vec![Tar::default().link("way", outside), Tar::default().file("way/new", "x")],
            "symbolic link",
            file_outside,
        ),
        (
            "folder through a link",
            vec![Tar::default().link("way", outside), Tar::default().folder("way/new")],
            "symbolic link",
            file_outside,
        ),
        ("hard link out by dots", vec![Tar::default().hard("mine", "../outside/victim").file("other", "x")], "second name", |bench| {
            fs::metadata(bench.at("outside/victim")).unwrap().nlink() > 1
        }),
        ("hard link through a link", vec![Tar::default().link("way", outside).hard("mine", "way/victim")], "second name", |bench| {
            fs::metadata(bench.at("outside/victim")).unwrap().nlink() > 1
        }),
    ]
}

/// One reader sees this, another that; and whiteouts of what is elsewhere.
fn two_meanings(outside: &str) -> Vec<Attack> {
    let long = "x".repeat(90);
    vec![
        (
            "a file written through a link of its name",
            vec![Tar::default().link("mine", &format!("{outside}/victim")).file("mine", "harmed")],
            "twice",
            // python removes the link first; that the last entry wins is what it falls for
            |bench| fs::read_to_string(bench.at("naive/mine")).is_ok_and(|text| text == "harmed"),
        ),
        ("twice", vec![Tar::default().file("app", "reviewed").file("app", "other")], "twice", |bench| {
            fs::read_to_string(bench.at("naive/app")).unwrap() == "other"
        }),
        ("twice in other words", vec![Tar::default().folder("x").file("app", "reviewed").file("./x/../app", "other")], "`..`", |bench| {
            fs::read_to_string(bench.at("naive/app")).unwrap() == "other"
        }),
        ("twice in plain words", vec![Tar::default().file("app", "reviewed").file(".//app", "other")], "twice", |bench| {
            fs::read_to_string(bench.at("naive/app")).unwrap() == "other"
        }),
        ("deep", vec![Tar::default().pax(&[("path", "d/".repeat(100).as_bytes())]).folder("d")], "too deep", |bench| {
            bench.at("naive").join("d/".repeat(100)).exists()
        }),
        (
            "trailing entries",
            vec![Tar([Tar::default().file("app", "reviewed").end(), Tar::default().file("hidden", "x").0].concat())],
            "follows its end",
            // it is silent about them; `tar -i` unpacks them
            |bench| bench.at("naive/app").exists(),
        ),
        (
            "a size in a link",
            vec![Tar(header(b'2', b"way", b"app", b"00000001000\0", 0o777)).content(&Tar::default().file("hidden", "x").0)],
            "has a size",
            |bench| bench.at("naive/hidden").exists() || bench.at("naive/way").symlink_metadata().is_ok(),
        ),
        ("a name of NULs", vec![Tar::default().pax(&[("path", b"a\0b")]).file("fine", "x")], "NUL", |_| true),
        ("a whiteout that is a folder", vec![Tar::default().file("a", "x"), Tar::default().folder(".wh.a")], "whiteout", |bench| {
            bench.at("naive/.wh.a").exists()
        }),
        ("a whiteout of `..`", vec![Tar::default().folder("d"), Tar::default().file("d/.wh...", "")], "whiteout of nothing", |bench| {
            bench.at("naive/d/.wh...").exists()
        }),
        (
            "a whiteout through a link",
            vec![Tar::default().link("way", outside), Tar::default().file("way/.wh.victim", "")],
            "behind a link",
            file_outside,
        ),
        (
            "an opaque folder through a link",
            vec![Tar::default().link("way", outside), Tar::default().file("way/.wh..wh..opq", "")],
            "behind a link",
            file_outside,
        ),
        ("a long link", vec![Tar::default().pax(&[("linkpath", "x/".repeat(3000).as_bytes())]).link(&long, "y")], "too long", |_| true),
    ]
}

/// GNU's way of long names.
fn long_name(name: &[u8]) -> Tar {
    Tar::default().entry(b'L', b"././@LongLink", b"", &[name, b"\0"].concat(), 0o644)
}

#[test]
fn hostile_layers_are_refused_and_a_careless_unpacker_falls_for_them() {
    let names: Vec<&str> = refused(&Bench::new("names")).iter().map(|(name, ..)| *name).collect();
    let mut firm = Vec::new();
    for name in names {
        let bench = Bench::new("attack");
        let (_, layers, says, fell) = refused(&bench).into_iter().find(|(known, ..)| *known == name).unwrap();
        let tars: Vec<Vec<u8>> = layers.into_iter().map(Tar::end).collect();
        let error = bench.unpack(&Recipe::new(&tars, Packing::Gzip)).unwrap_err();
        assert_eq!(error.code(), "image/layer", "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        bench.assert_unharmed();
        let said = naive(&tars, &bench.at("naive"));
        if !fell(&bench) {
            firm.push(format!("{name}: {said}"));
        }
    }
    assert!(firm.is_empty(), "these controls stood firm:\n{}", firm.join("\n"));
}

/// Each whiteout costs a look at all that it may hide, and each folder an inode: neither is had for nothing.
#[test]
fn a_whiteout_stands_once_in_a_layer() {
    let bench = Bench::new("whiteouts");
    let lower = Tar::default().folder("d").file("d/a", "x");
    for (twice, fine) in [(false, true), (true, false)] {
        let upper = Tar::default().folder("d").file("d/.wh..wh..opq", "");
        let upper = if twice { upper.file("d/.wh..wh..opq", "") } else { upper };
        let tars = [lower.clone().end(), upper.end()];
        let unpacked = bench.unpack(&Recipe::new(&tars, Packing::Gzip));
        assert_eq!(unpacked.is_ok(), fine, "{twice}");
    }
}

/// What is harmless, or has one meaning: taken, with what made it dangerous left behind.
#[test]
fn what_is_taken_has_lost_its_teeth() {
    let bench = Bench::new("teeth");
    let layers = [Tar::default()
        .folder("./")
        .entry(b'0', b"/absolute", b"", b"inside", 0o644)
        .entry(b'0', b"su", b"", b"#!/bin/sh\n", 0o6755)
        .pax(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02"), ("path", b"ping")])
        .entry(b'0', b"ping", b"", b"x", 0o755)
        .entry(b'3', b"null", b"", b"", 0o666)
        .entry(b'4', b"disk", b"", b"", 0o666)
        .entry(b'6', b"pipe", b"", b"", 0o666)
        .entry(b'0', b"name-\xff\xfe", b"", b"latin", 0o600)
        .link("shadow", "/etc/shadow")
        .link("host", "../../../../etc/hostname")
        .file("one", "1")
        .hard("two", "one")
        .hard("three", "shadow")
        .end()];
    let (_, tree) = bench.unpack(&Recipe::new(&layers, Packing::Zstd)).unwrap();
    let dropped = tree.dropped().unwrap();
    assert_eq!((dropped.specials, dropped.privileges), (3, 2));
    let root = bench.tree();
    assert_eq!(fs::read_to_string(root.join("absolute")).unwrap(), "inside");
    let mut modes = std::collections::BTreeSet::new();
    for path in paths(&root) {
        let stat = root.join(&path).symlink_metadata().unwrap();
        assert!(stat.is_file() || stat.is_dir() || stat.is_symlink(), "{}", path.display());
        if !stat.is_symlink() {
            modes.insert(stat.mode() & 0o7777);
        }
    }
    assert_eq!(modes.into_iter().collect::<Vec<_>>(), [0o444, 0o555]);
    assert_eq!(
        fs::read_link(root.join("shadow")).unwrap(),
        Path::new("/etc/shadow"),
        "links stay what they are: the sandbox has its own root"
    );
    assert_eq!(fs::read_link(root.join("three")).unwrap(), Path::new("/etc/shadow"));
    assert_eq!(fs::metadata(root.join("one")).unwrap().ino(), fs::metadata(root.join("two")).unwrap().ino());
    assert!(tree.listing().contains(" name-%FF%FE\n"), "{}", tree.listing());
    // the control has them all
    naive(&layers, &bench.at("naive"));
    let root = bench.at("naive");
    assert_eq!(fs::metadata(root.join("su")).unwrap().mode() & 0o7000, 0o6000);
    assert!(fs::metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert!(fs::metadata(root.join("null")).unwrap().file_type().is_char_device());
    }
}

/// Whiteouts hide what lower layers brought, and nothing of their own layer, whichever stands first.
#[test]
fn whiteouts_hide_lower_layers_only() {
    let bench = Bench::new("whiteouts");
    let layers = [
        Tar::default()
            .folder("keep")
            .file("keep/a", "a")
            .file("keep/b", "b")
            .folder("gone")
            .file("gone/deep", "x")
            .folder("opaque")
            .file("opaque/old", "x")
            .folder("opaque/inner")
            .file("opaque/inner/old", "x")
            .file("file", "x")
            .folder("swap")
            .file("swap/x", "x")
            .end(),
        Tar::default()
            .file("keep/.wh.a", "")
            .file(".wh.gone", "")
            .file("opaque/new", "new")
            .file("opaque/.wh..wh..opq", "")
            .folder("opaque/inner")
            .file(".wh.file", "")
            .file("never/.wh.there", "")
            .file("swap", "now a file")
            .end(),
        Tar::default().file("opaque/.wh.new", "").file("opaque/new2", "x").file("gone", "back as a file").end(),
    ];
    bench.unpack(&Recipe::new(&layers, Packing::Plain)).unwrap();
    let found: Vec<String> = paths(&bench.tree()).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(found, ["gone", "keep", "keep/b", "opaque", "opaque/inner", "opaque/new2", "swap"]);
    // control: whoever does not know them shows what was deleted
    naive(&layers[..1], &bench.at("naive"));
    assert!(bench.at("naive/gone/deep").exists());
}

/// Megabytes that unpack to gigabytes, small ones to hundreds of megabytes: stopped early.
#[test]
fn bombs_of_every_kind_are_stopped() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let bench = Bench::new("bomb");
        let zeros = vec![0_u8; 400 * 1024 * 1024];
        let tar = Tar::default().entry(b'0', b"bomb", b"", &zeros, 0o644).end();
        let recipe = Recipe::new(std::slice::from_ref(&tar), packing);
        let packed = recipe.layers[0].0.len();
        assert!(packed < 4 * 1024 * 1024, "{packing:?}: {packed}");
        let error = bench.unpack(&recipe).unwrap_err();
        assert_eq!(error.code(), "image/layer");
        assert!(error.to_string().contains("out of proportion"), "{packing:?}: {error}");
        bench.assert_unharmed();
        // control: whoever decompresses it has all of it
        let mut whole = Vec::new();
        match packing {
            Packing::Gzip => {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&recipe.layers[0].0[..]), &mut whole).unwrap();
            }
            Packing::Zstd | Packing::Plain => whole = zstd::decode_all(&recipe.layers[0].0[..]).unwrap(),
        }
        assert_eq!(whole.len(), tar.len());
    }
}

/// How a layout is bent: name, what is done, the code and words of the refusal.
type Bent = (&'static str, Box<dyn Fn(&Path) -> Recipe>, &'static str, &'static str);

fn good() -> Recipe {
    Recipe::new(&[Tar::default().file("app", "reviewed").end()], Packing::Gzip)
}

/// Layers that are others than the manifest says.
fn bent_layers() -> Vec<Bent> {
    let other = Tar::default().file("app", "replaced").end();
    vec![
        ("diffID", Box::new(|_| Recipe { diff_ids: vec![Digest::of(b"other")], ..good() }), "image/digest", "diffID"),
        ("no diffID", Box::new(|_| Recipe { diff_ids: Vec::new(), ..good() }), "image/document", "diffIDs"),
        ("machine", Box::new(|_| Recipe { architecture: "s390x".to_owned(), ..good() }), "image/platform", "s390x"),
        (
            "another layer under the digest",
            Box::new(move |dir| {
                let recipe = good();
                recipe.layout(dir);
                let name = Digest::of(&recipe.layers[0].0).hex();
                let mut bytes = pack(&other, Packing::Gzip);
                bytes.resize(recipe.layers[0].0.len(), 0);
                fs::write(dir.join("blobs/sha256").join(name), bytes).unwrap();
                recipe
            }),
            "image/digest",
            "layer 1",
        ),
        (
            "a longer layer",
            Box::new(|dir| {
                let recipe = good();
                recipe.layout(dir);
                let name = Digest::of(&recipe.layers[0].0).hex();
                fs::write(dir.join("blobs/sha256").join(name), [&recipe.layers[0].0[..], b"more"].concat()).unwrap();
                recipe
            }),
            "image/digest",
            "longer",
        ),
        (
            "a shorter layer",
            Box::new(|dir| {
                let recipe = good();
                recipe.layout(dir);
                let name = Digest::of(&recipe.layers[0].0).hex();
                fs::write(dir.join("blobs/sha256").join(name), &recipe.layers[0].0[1..]).unwrap();
                recipe
            }),
            "image/digest",
            "bytes",
        ),
    ]
}

/// Other parts, and what stands behind the compressed data.
fn bent_parts() -> Vec<Bent> {
    vec![
        (
            "another configuration",
            Box::new(|dir| {
                let recipe = good();
                recipe.layout(dir);
                let config = recipe.config();
                let name = Digest::of(&config).hex();
                fs::write(dir.join("blobs/sha256").join(name), String::from_utf8(config).unwrap().replace("linux", "Linux")).unwrap();
                recipe
            }),
            "image/digest",
            "configuration",
        ),
        (
            "a blob that is a link",
            Box::new(|dir| {
                let recipe = good();
                recipe.layout(dir);
                let path = dir.join("blobs/sha256").join(Digest::of(&recipe.layers[0].0).hex());
                fs::rename(&path, dir.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink("../../elsewhere", &path).unwrap();
                recipe
            }),
            "image/io",
            "open",
        ),
        (
            "bytes behind the compressed data",
            Box::new(|_| {
                let mut recipe = good();
                recipe.layers[0].0.extend(b"garbage");
                recipe
            }),
            "image/layer",
            "",
        ),
        (
            "no compressed data",
            Box::new(|_| {
                let mut recipe = good();
                recipe.layers[0].0 = Tar::default().file("app", "reviewed").end();
                recipe
            }),
            "image/layer",
            "",
        ),
    ]
}

/// What was promised: sizes, digests, diffIDs, types; and what stands behind the compressed data.
#[test]
fn bytes_that_are_not_what_was_promised_are_refused() {
    for (name, bend, code, says) in bent_layers().into_iter().chain(bent_parts()) {
        let bench = Bench::new("promise");
        let dir = bench.at("bent");
        let recipe = bend(&dir);
        if !dir.exists() {
            recipe.layout(&dir);
        }
        let images = bench.images();
        let outcome = images.add(dir.to_str().unwrap(), Path::new("/"), Add::default()).and_then(|image| images.tree(&image));
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
        bench.assert_unharmed();
    }
    // control: unbent it is taken
    Bench::new("unbent").unpack(&good()).unwrap();
}

/// A document that two readers understand differently is refused (CVE-2021-41190), as is one with a key twice.
#[test]
fn ambiguous_documents_are_refused() {
    let recipe = Recipe::new(&[Tar::default().file("app", "x").end()], Packing::Plain);
    let plain = String::from_utf8(serde_json::to_vec(&recipe.manifest()).unwrap()).unwrap();
    for (name, text, says) in [
        ("both", plain.replacen('{', "{\"manifests\":[],", 1), "at once"),
        ("another type", plain.replace("image.manifest.v1", "image.index.v1"), "announced"),
        ("twice", plain.replacen('{', "{\"schemaVersion\":2,", 1), "the manifest"),
        ("elsewhere", plain.replacen("\"size\"", "\"urls\":[\"https://x.example/\"],\"size\"", 1), "urls"),
        ("weak digest", plain.replacen("sha256:", "md5:", 1), "SHA-256"),
        ("old", plain.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), "version"),
    ] {
        let bench = Bench::new("ambiguous");
        let dir = bench.at("layout");
        recipe.layout(&dir);
        write_layout(&dir, text.as_bytes());
        blob(&dir, text.as_bytes());
        let error = bench.images().add(dir.to_str().unwrap(), Path::new("/"), Add::default()).unwrap_err();
        assert_eq!(error.code(), "image/document", "{name}: {error}");
        assert!(error.to_string().contains(says), "{name}: {error}");
    }
    Bench::new("plain").unpack(&recipe).unwrap();
}
