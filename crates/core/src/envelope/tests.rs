//! Tests of [`crate::envelope`], data-driven, with the attacks on it.

use serde_json::json;

use super::*;

const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7FekTr/6cDSM+vkJ4wF0R2D4Ggnp\n\
    JwHoU/v2Spj27q9FbJtXuTp8lN2H16Goe4bnzNDro78FESDQacj2Km8/5g==\n\
    -----END PUBLIC KEY-----\n";
const PEM_SHA256: &str = "a06756527fddb0ed7180794f513fc5948e6b6118b844e70da70890ce6bb698ff";

fn bundle(log_proof: Option<LogProof>) -> Bundle {
    Bundle { payload: b"{\"a\":1}".to_vec(), signature: vec![0x30, 1, 2, 255], key_hint: "ab".repeat(32), log_proof }
}

fn proof() -> LogProof {
    LogProof {
        index: 5,
        size: 9,
        root: Digest::of(b"root"),
        hashes: vec![Digest::of(b"1"), Digest::of(b"2")],
        checkpoint: "o\n9\n…\n\n— o AAAA\n".into(),
        log_id: Digest::of(b"log"),
        body: leaf_body(&bundle(None), b"spki"),
    }
}

#[test]
fn pae_is_that_of_the_specification() {
    // the example of the DSSE protocol document
    let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    let bundle = bundle(None);
    assert_eq!(bundle.pae_digest(), Digest::of(&pae(PAYLOAD_TYPE, &bundle.payload)));
}

#[test]
fn bundles_have_the_fields_of_sigstore_v0_3() {
    let value = json_strict::parse(&bundle(Some(proof())).to_json()).unwrap();
    let hash = |text: &[u8]| STANDARD.encode(Digest::of(text).as_bytes());
    let expected = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": "ab".repeat(32)},
            "tlogEntries": [{
                "logIndex": "5",
                "logId": {"keyId": hash(b"log")},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "integratedTime": "0",
                "inclusionProof": {
                    "logIndex": "5", "rootHash": hash(b"root"), "treeSize": "9", "hashes": [hash(b"1"), hash(b"2")],
                    "checkpoint": {"envelope": "o\n9\n…\n\n— o AAAA\n"},
                },
                "canonicalizedBody": STANDARD.encode(proof().body),
            }],
        },
        "dsseEnvelope": {
            "payload": "eyJhIjoxfQ==",
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "MAEC/w==", "keyid": ""}],
        },
    });
    assert_eq!(value, expected);
    assert_eq!(json_strict::to_canonical(&value), bundle(Some(proof())).to_json(), "written sorted and compact");
    for original in [bundle(None), bundle(Some(proof()))] {
        assert_eq!(Bundle::from_json(&original.to_json()).unwrap(), original);
    }
}

#[test]
fn other_bundles_are_refused() {
    let text = String::from_utf8(bundle(Some(proof())).to_json()).unwrap();
    let signature = r#"{"keyid":"","sig":"MAEC/w=="}"#;
    let changes = [
        (signature, String::new(), "envelope/signatures"),
        (signature, format!("{signature},{signature}"), "envelope/signatures"),
        ("in-toto+json", "in-toto".into(), "envelope/field"),
        ("bundle.v0.3", "bundle.v0.2".into(), "envelope/field"),
        ("eyJhIjoxfQ==", "eyJhIjoxfQ".into(), "envelope/field"),
        ("MAEC/w==", "MAEC_w==".into(), "envelope/field"),
        ("MAEC/w==", "MAEC/x==".into(), "envelope/field"),
        ("\"publicKey\":{", "\"certificate\":{},\"publicKey\":{".into(), "envelope/certificate"),
        ("\"publicKey\":{", "\"x509CertificateChain\":{},\"publicKey\":{".into(), "envelope/certificate"),
        ("\"publicKey\":{", "\"publicKeys\":{".into(), "envelope/json"),
        ("{\"dsse", "{\"more\":1,\"dsse".into(), "envelope/json"),
        ("\"keyid\":\"\"", "\"keyid\":\"\",\"keyid\":\"\"".into(), "envelope/json"),
        ("\"treeSize\":\"9\"", "\"treeSize\":9".into(), "envelope/json"),
        ("\"treeSize\":\"9\"", "\"treeSize\":\"09\"".into(), "envelope/field"),
        ("\"logIndex\":\"5\",\"rootHash\"", "\"logIndex\":\"6\",\"rootHash\"".into(), "envelope/field"),
        ("\"integratedTime\":\"0\"", "\"integratedTime\":\"1\"".into(), "envelope/field"),
        ("hashedrekord", "dsse".into(), "envelope/field"),
        ("]}}", "]}} ".into(), "none"),
        ("]}}", "]}}x".into(), "envelope/json"),
    ];
    for (from, to, code) in changes {
        let changed = text.replacen(from, &to, 1);
        assert_ne!(changed, text, "{from} is in the bundle");
        match Bundle::from_json(changed.as_bytes()) {
            Ok(_) => assert_eq!(code, "none", "{from} -> {to}"),
            Err(error) => assert_eq!(error.code(), code, "{from} -> {to}: {error}"),
        }
    }
    let entry = text.split_once("\"tlogEntries\":[").unwrap().1.strip_suffix("]}}").unwrap();
    let twice = text.replacen(entry, &format!("{entry},{entry}"), 1);
    assert_eq!(Bundle::from_json(twice.as_bytes()).unwrap_err().code(), "envelope/field");
}

#[test]
fn a_leaf_is_the_hashedrekord_of_exactly_one_bundle() {
    let bundle = bundle(None);
    let leaf = leaf_body(&bundle, b"spki");
    let digest = STANDARD.encode(bundle.pae_digest().as_bytes());
    let expected = json!({
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": digest},
            "signature": {
                "content": "MAEC/w==",
                "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": STANDARD.encode(b"spki")}},
            },
        }},
    });
    assert_eq!(leaf, json_strict::to_canonical(&expected));
    let body = LeafBody::parse(&leaf).unwrap();
    assert!(body.is_of(&bundle));
    assert_eq!(body.public_key, b"spki");
    assert!(!body.is_of(&Bundle { payload: b"{}".to_vec(), ..bundle.clone() }));
    assert!(!body.is_of(&Bundle { signature: vec![1], ..bundle }));
    let text = String::from_utf8(leaf).unwrap();
    for other in [text.replace("0.0.2", "0.0.1"), text.replace("P256", "P384"), format!("{text} "), "{}".into()] {
        assert_eq!(LeafBody::parse(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn statements_are_written_canonically_and_read_strictly() {
    let artifact = ArtifactRef { digest: Digest::of(b"d"), root: Digest::of(b"r"), dir_hash: Digest::of(b"h"), files: 1, bytes: 2 };
    let statement = Statement {
        subject: vec![
            ResourceDescriptor::folder("model", &artifact).with_annotation("b", 1),
            ResourceDescriptor::at("git+https://example.com/x@main").with_digest("gitCommit", "ab"),
        ],
        predicate_type: "https://example.com/p".into(),
        predicate: json!({"z": 1, "a": [null, 0.5]}),
    };
    let payload = statement.to_payload();
    let text = format!(
        concat!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicate":{{"a":[null,0.5],"z":1}},"#,
            r#""predicateType":"https://example.com/p","subject":[{{"annotations":{{"b":1}},"digest":{{"dirHash":"{h}","#,
            r#""sha256":"{r}"}},"name":"model"}},{{"digest":{{"gitCommit":"ab"}},"uri":"git+https://example.com/x@main"}}]}}"#
        ),
        h = Digest::of(b"h"),
        r = Digest::of(b"r")
    );
    assert_eq!(String::from_utf8(payload.clone()).unwrap(), text);
    let read = Statement::from_payload(&payload).unwrap();
    assert_eq!(read, statement);
    assert_eq!(read.subject[0].sha256_digest(), Some(artifact.root));
    assert_eq!(read.subject[0].dir_hash(), Some(artifact.dir_hash));
    let older = ResourceDescriptor::at("x").with_digest("dirHash1", artifact.dir_hash.hex());
    assert_eq!(older.dir_hash(), Some(artifact.dir_hash));
    for (from, to) in [
        ("Statement/v1", "Statement/v0.1"),
        ("\"_type\"", "\"type\""),
        ("\"z\":1", "\"z\":1,\"z\":2"),
        ("\"z\":1", "\"z\":1e999"),
        ("\"predicateType\"", "\"predicatetype\""),
        ("\"gitCommit\":\"ab\"", ""),
        ("\"gitCommit\":\"ab\"", "\"gitCommit\":\"\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(Statement::from_payload(changed.as_bytes()).is_err(), "{from} -> {to}");
    }
    Statement::from_payload(text.replacen("\"z\":1", "\"z\":1,\"new\":2", 1).as_bytes()).expect("the control");
    assert!(
        Statement::from_payload(br#"{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x","subject":[]}"#).is_err()
    );
}

#[test]
fn a_bundle_of_another_tool_is_read() {
    // the order and the fields that model_signing 1.1 writes in key mode
    let text = r#"{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {"hint": "aa"},
        "tlogEntries": [], "timestampVerificationData": {"rfc3161Timestamps": []}}, "dsseEnvelope": {"payload": "e30=",
        "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "MAA=", "keyid": ""}]}}"#;
    let bundle = Bundle::from_json(text.as_bytes()).unwrap();
    assert_eq!((bundle.payload.as_slice(), bundle.key_hint.as_str()), (b"{}".as_slice(), "aa"));
}

#[test]
fn a_key_is_named_by_the_digest_of_its_pem() {
    // made with openssl ecparam/ec -pubout, then sha256sum of the PEM file
    let pem = PEM.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    assert_eq!(key_hint(&STANDARD.decode(pem).unwrap()), PEM_SHA256);
}
