//! The lock: stable names, canonical text, every difference named, refused outside dev.

use std::collections::BTreeMap;

use seaworthy_core::digest::Digest;
use seaworthy_core::id::Name;
use seaworthy_core::lock::{Lock, LockDifference, Pin, PinKind, compare, refuses, required_pins};
use seaworthy_core::plan;

use crate::sample::sample;

fn required() -> Vec<(String, PinKind)> {
    required_pins(&plan::build(&sample(), "secure_ml_pipeline").unwrap())
}

fn found() -> BTreeMap<String, Pin> {
    required().into_iter().map(|(name, kind)| (name.clone(), Pin { kind, digest: Digest::of(name.as_bytes()), from: name })).collect()
}

#[test]
fn the_sample_needs_these_pins_by_these_names() {
    let names: Vec<String> = required().into_iter().map(|(name, _)| name).collect();
    let expected = [
        "code:src/",
        "environment:ml_training:2026.06",
        "environment:secure_preproc:2026.06",
        "gate:data_schema_v2",
        "gate:model_performance",
        "schema:ingest_data",
        "settings",
        "source:ingest_data",
        "workflow:workflow.yaml",
    ];
    assert_eq!(names, expected);
}

#[test]
fn text_round_trips_and_is_sorted_and_other_text_is_refused() {
    let lock = Lock { pins: found() };
    let text = lock.to_text();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert_eq!(Lock::parse(&text).unwrap().to_text(), text);
    let keys: Vec<&str> = text.lines().filter(|line| line.ends_with("{") && line.starts_with("    ")).collect();
    assert!(keys.len() == 9 && keys.is_sorted(), "{text}");
    let digest = Digest::of(b"x").hex();
    let pin = |kind: &str, digest: &str, more: &str| {
        format!(r#"{{"version":1,"pins":{{"a":{{"kind":"{kind}","digest":"{digest}","from":"b"{more}}}}}}}"#)
    };
    assert!(Lock::parse(&pin("code", &digest, "")).is_ok(), "the control is accepted");
    let refused = [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        pin("code", &digest, "") + "{}",
        pin("code", &digest.to_uppercase(), ""),
        pin("code", "00", ""),
        pin("other", &digest, ""),
        pin("code", &digest, r#","more":1"#),
        pin("code", &digest, r#","from":"c""#),
        r#"{"version":1,"pins":{},"pins":{}}"#.to_owned(),
        r#"{"version":2,"pins":{}}"#.to_owned(),
        r#"{"pins":{}}"#.to_owned(),
    ];
    for text in refused {
        let error = Lock::parse(&text).expect_err(&text);
        assert_eq!(error.code(), "lock/format");
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn every_difference_is_named_and_refused_outside_dev_only() {
    let (staging, dev) = (Name::new("staging").unwrap(), Name::new("dev").unwrap());
    let lock = Lock { pins: found() };
    assert_eq!(compare(&lock, &found(), &required()), []);

    for (name, kind) in required() {
        let mut missing = lock.clone();
        missing.pins.remove(&name);
        let mut changed = found();
        changed.get_mut(&name).unwrap().digest = Digest::of(b"other");
        let mut other_kind = lock.clone();
        other_kind.pins.get_mut(&name).unwrap().kind = if kind == PinKind::Code { PinKind::Gate } else { PinKind::Code };
        let mut gone = found();
        gone.remove(&name);
        let cases = [
            ("lock/missing", compare(&missing, &found(), &required())),
            ("lock/changed", compare(&lock, &changed, &required())),
            ("lock/changed", compare(&other_kind, &found(), &required())),
            ("lock/unresolved", compare(&lock, &gone, &required())),
        ];
        for (code, differences) in cases {
            let [difference] = differences.as_slice() else { panic!("{name}: {differences:?}") };
            assert_eq!((difference.code(), difference.name()), (code, name.as_str()));
            assert!(difference.message().contains(&name) && !difference.hint().is_empty());
            assert!(refuses(&differences, &staging), "{name} {code}");
            assert!(!refuses(&differences, &dev), "{name} {code}");
        }
    }
    let mut unused = lock;
    unused.pins.insert("gate:old".to_owned(), Pin { kind: PinKind::Gate, digest: Digest::of(b"old"), from: "old".to_owned() });
    let differences = compare(&unused, &found(), &required());
    assert_eq!(differences, [LockDifference::Unused { name: "gate:old".to_owned() }]);
    assert!(!refuses(&differences, &staging));
}

#[test]
fn a_changed_pin_shows_both_digests_and_the_command() {
    let mut now = found();
    now.get_mut("source:ingest_data").unwrap().digest = Digest::of(b"other");
    let differences = compare(&Lock { pins: found() }, &now, &required());
    let message = differences[0].message();
    assert!(message.contains(&Digest::of(b"other").hex()) && message.contains(&Digest::of(b"source:ingest_data").hex()), "{message}");
    assert!(differences[0].hint().contains("seaworthy lock --update source:ingest_data"));
}
