//! The trust file: what it takes, and each thing it does not.

use serde_json::{Value, json};

use super::*;
use crate::keys::PrivateKey;
use crate::transparency::verifier_key;

fn vkey(name: &str, kind: KeyKind, seed: u8) -> String {
    let key = PrivateKey::from_seed(KeyRole::Log, &[seed; 32]).unwrap();
    verifier_key(name, kind, &key.public()).unwrap().to_string()
}

fn good() -> Value {
    let key = |role, seed: u8| {
        let public = PrivateKey::from_seed(role, &[seed; 32]).unwrap().public();
        serde_json::to_value(TrustedKey::new(role, PrincipalId("p".to_owned()), &public, 0).unwrap()).unwrap()
    };
    let (user, runner) = (key(KeyRole::User, 1), key(KeyRole::Runner, 2));
    let owner = user["hint"].clone();
    json!({
        "version": 1, "workspace": "w1", "environment": "staging",
        "log": {"origin": "log", "vkey": vkey("log", KeyKind::Ed25519, 3)},
        "keys": [user, runner],
        "witnesses": [{"name": "wa", "vkey": vkey("wa", KeyKind::Cosignature, 4)}],
        "quorum": 1,
        "sources": [{"prefix": "s3://data-lake/", "key": owner.clone()}, {"prefix": "s3://data-lake/raw/", "key": owner}],
        "minimum_release": {"employment": 3},
    })
}

fn parse(value: &Value) -> Result<TrustRoot, TrustRootError> {
    TrustRoot::parse(value.to_string().as_bytes())
}

#[test]
fn it_round_trips() {
    let root = parse(&good()).unwrap();
    assert_eq!(TrustRoot::parse(&root.to_json()), Ok(root.clone()));
    assert_eq!(root.owner_of("s3://data-lake/raw/x").unwrap().prefix, "s3://data-lake/raw/");
    assert_eq!(root.owner_of("s3://data-lake/x").unwrap().prefix, "s3://data-lake/");
    assert!(root.owner_of("s3://other/").is_none());
    assert_eq!(root.public_keys().unwrap().len(), 2);
}

#[test]
fn each_fault_is_refused_with_its_code() {
    type Edit = fn(&mut Value);
    let cases: [(&str, &str, Edit); 15] = [
        ("version", "trust/malformed", |v| v["version"] = json!(2)),
        ("unknown field", "trust/malformed", |v| v["extra"] = json!(1)),
        ("unknown field in a key", "trust/malformed", |v| v["keys"][0]["extra"] = json!(1)),
        ("hint of another key", "trust/key", |v| v["keys"][0]["hint"] = v["keys"][1]["hint"].clone()),
        ("no pem", "trust/key", |v| v["keys"][0]["pem"] = json!("")),
        ("log key as key", "trust/key", |v| v["keys"][0]["role"] = json!("log")),
        ("a key that ends before it begins", "trust/key", |v| {
            v["keys"][0]["from"] = json!(7);
            v["keys"][0]["until"] = json!(6);
        }),
        ("twice", "trust/duplicate", |v| v["keys"][1] = v["keys"][0].clone()),
        ("log name", "trust/verifier-key", |v| v["log"]["origin"] = json!("other")),
        ("witness key as log key", "trust/verifier-key", |v| v["log"] = json!({"origin": "wa", "vkey": v["witnesses"][0]["vkey"]})),
        ("log key as witness", "trust/verifier-key", |v| v["witnesses"][0] = json!({"name": "log", "vkey": v["log"]["vkey"]})),
        ("one witness under two names", "trust/duplicate", |v| {
            v["witnesses"][1] = json!({"name": "wb", "vkey": vkey("wb", KeyKind::Cosignature, 4)});
        }),
        ("quorum", "trust/quorum", |v| v["quorum"] = json!(2)),
        ("owner without key", "trust/owner", |v| v["sources"][0]["key"] = v["keys"][1]["hint"].clone()),
        ("empty prefix", "trust/owner", |v| v["sources"][0]["prefix"] = json!("")),
    ];
    for (name, code, edit) in cases {
        let mut value = good();
        if name.contains("two names") {
            value["witnesses"].as_array_mut().unwrap().push(Value::Null);
        }
        edit(&mut value);
        assert_eq!(parse(&value).map_err(|error| error.code()), Err(code), "{name}");
    }
    let doubled = good().to_string().replacen("{", "{\"version\":1,", 1);
    assert_eq!(TrustRoot::parse(doubled.as_bytes()).map_err(|error| error.code()), Err("trust/malformed"));
}
