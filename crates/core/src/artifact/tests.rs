//! Tests of [`crate::artifact`], data-driven, with the attacks on it.

use std::path::Path;

use proptest::prelude::*;

use super::*;

fn entry(name: &str) -> ManifestEntry {
    ManifestEntry { name: name.to_owned(), digest: Digest::of(name.as_bytes()), size: name.len() as u64, mode: 0o644 }
}

fn manifest(names: &[&str]) -> Result<Manifest, ManifestError> {
    Manifest::new(names.iter().map(|name| entry(name)).collect())
}

#[test]
fn order_is_by_path_component() {
    let expected = ["B.bin", "a/x", "a-b/x", "a.d/x", "a.txt", "é.bin"];
    let mut shuffled = expected;
    shuffled.sort_unstable();
    assert_ne!(shuffled, expected, "the control: the order of plain strings differs");
    let manifest = manifest(&shuffled).unwrap();
    let names: Vec<_> = manifest.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, expected);
    assert_eq!(manifest.entry("a.d/x").unwrap().name, "a.d/x");
    assert!(manifest.entry("a.d").is_none());
}

#[test]
fn the_three_digests_of_a_known_tree() {
    // made with: sha256sum over the two files holding "a/x" and "b" (their own names), coreutils 9
    let manifest = manifest(&["b", "a/x"]).unwrap();
    let (x, b) = (Digest::of(b"a/x"), Digest::of(b"b"));
    assert_eq!(manifest.root(), Digest::of(&[x.as_bytes().as_slice(), b.as_bytes()].concat()));
    assert_eq!(manifest.dir_hash(), Digest::of(format!("{x}  a/x\n{b}  b\n").as_bytes()));
    let text =
        format!(r#"{{"entries":[{{"digest":"{x}","mode":420,"name":"a/x","size":3}},{{"digest":"{b}","mode":420,"name":"b","size":1}}]}}"#);
    assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), text);
    let reference = manifest.reference();
    assert_eq!((reference.digest, reference.files, reference.bytes), (Digest::of(text.as_bytes()), 2, 4));
}

#[test]
fn names_that_could_lie_are_refused() {
    let long = "x".repeat(256);
    let refused = [
        "",
        "/",
        "/etc/passwd",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "./a",
        "a/",
        "a//b",
        "a\\b",
        "a\nb",
        "a\0b",
        "a\tb",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        "../a",
        &long,
    ];
    for name in refused {
        let error = manifest(&[name]).expect_err(name);
        assert_eq!(error.code(), "manifest/name", "{name:?}");
        assert!(!error.to_string().contains(|c: char| c.is_control()), "no control reaches a terminal: {error:?}");
    }
    for name in ["a", ".hidden", "...", "..a", "a b", "a\"b", "é/ü", "-", "~", "a:b", &"x".repeat(255)] {
        manifest(&[name]).expect(name);
    }
}

#[test]
fn paths_that_collide_are_refused() {
    let cases: [(&[&str], &str); 9] = [
        (&["a", "a"], "manifest/duplicate"),
        (&["a", "A"], "manifest/case-collision"),
        (&["d/é", "d/É"], "manifest/case-collision"),
        (&["straße", "STRASSE"], "manifest/case-collision"),
        (&["k", "\u{212a}"], "manifest/case-collision"),
        (&["a", "a/b"], "manifest/file-is-folder"),
        (&["a/b", "a/b/c/d", "a/c"], "manifest/file-is-folder"),
        (&["A", "a/b"], "manifest/case-collision"),
        (&["A/x", "a/y"], "manifest/case-collision"),
    ];
    for (names, code) in cases {
        assert_eq!(manifest(names).expect_err(&names.join(" ")).code(), code, "{names:?}");
    }
    manifest(&["a/b", "a-b", "ab", "a.b/c", "b/a"]).unwrap();
}

#[test]
fn only_two_modes_are_kept() {
    for mode in [0o755, 0o644] {
        Manifest::new(vec![ManifestEntry { mode, ..entry("a") }]).unwrap();
    }
    for mode in [0, 0o600, 0o4755, 0o100_644, 0o777] {
        let error = Manifest::new(vec![ManifestEntry { mode, ..entry("a") }]).unwrap_err();
        assert_eq!(error.code(), "manifest/mode");
    }
}

#[test]
fn only_the_canonical_document_is_read() {
    let bytes = manifest(&["b", "a/x"]).unwrap().to_bytes();
    assert_eq!(Manifest::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    let text = String::from_utf8(bytes.clone()).unwrap();
    let (x, b) = (Digest::of(b"a/x").hex(), Digest::of(b"b").hex());
    let changed = [
        text.replace(":3}", ": 3}"),
        text.replace("{\"entries\"", "{\"more\":1,\"entries\""),
        text.replace("\"size\":3}", "\"size\":3,\"size\":3}"),
        text.replace("\"size\":3}", "\"size\":3,\"x\":1}"),
        text.replace("a/x", "a\\/x"),
        text.replace(&x, &x.to_uppercase()),
        text.replace("420", "420.0"),
        text.replace("420", "421"),
        format!("{text}\n"),
        text.replace(&x, "?").replace(&b, &x).replace('?', &b).replace("a/x", "?").replace("\"b\"", "\"c\"").replace('?', "d/x"),
    ];
    for document in changed {
        assert!(Manifest::from_bytes(document.as_bytes()).is_err(), "{document}");
    }
    for position in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[position] ^= 0x01;
        if let Ok(other) = Manifest::from_bytes(&flipped) {
            assert_ne!(other.reference().digest, Digest::of(&bytes), "byte {position}");
        }
    }
}

#[test]
fn twenty_thousand_files_are_quick() {
    let entries: Vec<_> = (0..20_000).map(|n| entry(&format!("dir{:02}/file{n:05}.bin", n % 40))).collect();
    let manifest = Manifest::new(entries).unwrap();
    let bytes = manifest.to_bytes();
    assert_eq!(bytes, crate::json_strict::to_canonical(&crate::json_strict::parse(&bytes).unwrap()));
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
}

proptest! {
    #[test]
    fn order_equals_that_of_std_path(names in prop::collection::hash_set("[a-c]{1,2}([/.-][a-c]{1,2}){0,3}", 1..20)) {
        let Ok(manifest) = Manifest::new(names.iter().map(|name| entry(name)).collect()) else { return Ok(()) };
        let mut sorted: Vec<&Path> = names.iter().map(Path::new).collect();
        sorted.sort();
        let ours: Vec<&Path> = manifest.entries().iter().map(|entry| Path::new(&entry.name)).collect();
        prop_assert_eq!(ours, sorted);
        prop_assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
    }

    #[test]
    fn the_document_is_canonical_json(names in prop::collection::hash_set("[a-zé\"' ]{1,6}(/[a-z]{1,3})?", 0..10)) {
        let Ok(manifest) = Manifest::new(names.iter().map(|name| entry(name)).collect()) else { return Ok(()) };
        let value = crate::json_strict::parse(&manifest.to_bytes()).unwrap();
        prop_assert_eq!(crate::json_strict::to_canonical(&value), manifest.to_bytes());
    }
}
