//! Tests of [`crate::note`], data-driven, with the attacks on it.

use proptest::prelude::*;
use signed_note as peer;

use super::*;

/// The example of the signed-note specification.
const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn verifier_keys_read_back_and_their_hash_is_checked() {
    let go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let key: VerifierKey = go.parse().unwrap();
    assert_eq!((key.name(), key.kind(), key.key_id()), ("PeterNeumann", KeyKind::Ed25519, 0xc74f_20a3));
    assert_eq!(key.to_string(), go);
    assert!(key.log_id().hex().starts_with("c74f20a3"));
    let witness = VerifierKey::new("w.example", KeyKind::Cosignature, *key.public()).unwrap();
    assert_eq!(witness.to_string().parse::<VerifierKey>().unwrap(), witness);
    for bad in [
        "",
        "a",
        "a+b",
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumanN+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        &format!("{go}\n"),
        &format!(" {go}"),
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
}

#[test]
fn a_known_note_reads_back_and_the_peer_verifies_the_same_bytes() {
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let whole = format!("{text}\n{line}");
    let note = Note::parse(whole.as_bytes()).unwrap();
    assert_eq!(note.text, text);
    assert_eq!(note.format(), whole);
    let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    assert_eq!(note.of_key(&key).count(), 1);
    let other = VerifierKey::new("PeterNeumann", KeyKind::Cosignature, *key.public()).unwrap();
    assert_eq!(note.of_key(&other).count(), 0);
    let verifier = peer::StandardVerifier::new(&key.to_string()).unwrap();
    let known = peer::VerifierList::new(vec![Box::new(verifier)]);
    assert!(peer::Note::from_bytes(note.format().as_bytes()).unwrap().verify(&known).is_ok());
    let changed = note.format().replace("cryptography", "Cryptography");
    assert!(peer::Note::from_bytes(changed.as_bytes()).unwrap().verify(&known).is_err(), "the control");
}

#[test]
fn malformed_notes_are_refused() {
    let good = "text\n\n— a AAAAAQI=\n";
    Note::parse(good.as_bytes()).unwrap();
    let many = |count: usize| format!("text\n\n{}", "— a AAAAAQI=\n".repeat(count));
    Note::parse(many(16).as_bytes()).expect("16 signatures are to be accepted");
    Note::parse(many(NOTE_SIGNATURES_MAX).as_bytes()).unwrap();
    let bad = [
        "",
        "text\n",
        "text\n\n",
        "\n\n",
        "text\n— a AAAAAQI=\n",
        "text\n\n— a AAAAAQI=",
        "text\n\n— a AAAAAQI\n",
        "text\n\n- a AAAAAQI=\n",
        "text\n\n— a+b AAAAAQI=\n",
        "text\n\n—  AAAAAQI=\n",
        "text\n\n— a AAAAAQ==\n",
        "text\n\n— a AAAAAQI= \n",
        "te\txt\n\n— a AAAAAQI=\n",
        "text\r\n\n— a AAAAAQI=\n",
        "text\n\n— a AAAAAQI=\n\n",
        "text\n\n— a AAAAAQI=\nmore\n",
        "text\n\n— a\u{a0}b AAAAAQI=\n",
        &many(NOTE_SIGNATURES_MAX + 1),
    ];
    for note in bad {
        assert!(Note::parse(note.as_bytes()).is_err(), "{note:?}");
    }
    assert!(Note::parse(b"te\xffxt\n\n\xe2\x80\x94 a AAAAAQI=\n").is_err());
}

#[test]
fn checkpoints_have_one_spelling() {
    let empty = Checkpoint { origin: "example.com/log".into(), size: 0, root: Digest::of(b""), extensions: vec![] };
    assert_eq!(empty.to_text(), "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n");
    assert_eq!(Checkpoint::from_text(&empty.to_text()).unwrap(), empty);
    let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let extended = format!("o\n12\n{root}\nmore\n");
    assert_eq!(Checkpoint::from_text(&extended).unwrap().extensions, ["more"]);
    for text in [
        format!("o\n012\n{root}\n"),
        format!("o\n+12\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("\n12\n{root}\n"),
        format!("o\n12\n{root}"),
        format!("o\n12\n{root}\n\n"),
        format!("o\n12\n{}\n", root.replace("SuFU=", "")),
        format!("o\n 12\n{root}\n"),
        format!("o\n99999999999999999999\n{root}\n"),
        "o\n12\n".to_owned(),
        String::new(),
    ] {
        assert!(Checkpoint::from_text(&text).is_err(), "{text:?}");
    }
}

#[test]
fn the_specifications_vector() {
    let key: VerifierKey = SPEC_KEY.parse().unwrap();
    assert_eq!((key.name(), key.key_id()), ("example.com/foo", 0x530d_903a));
    let note = Note::parse(SPEC_NOTE.as_bytes()).unwrap();
    assert_eq!(note.text, "This is an example message.\n");
    assert_eq!(note.format(), SPEC_NOTE);
    let signature = note.of_key(&key).next().unwrap();
    assert_eq!(signature.bytes.len(), 64);
    let verifier = peer::StandardVerifier::new(SPEC_KEY).unwrap();
    assert!(peer::Verifier::verify(&verifier, note.text.as_bytes(), &signature.bytes));
    assert!(!peer::Verifier::verify(&verifier, b"This is another message.\n", &signature.bytes), "the control");
}

#[test]
fn cosignatures_come_apart() {
    let message = cosignature_message(1_679_315_147, "example.com/log\n0\nroot\n");
    assert_eq!(message, b"cosignature/v1\ntime 1679315147\nexample.com/log\n0\nroot\n");
    let joined = join_cosignature(7, &[9; 64]);
    assert_eq!(split_cosignature(&joined).unwrap(), (7, [9; 64]));
    for length in [0, 8, 64, 71, 73] {
        assert!(split_cosignature(&vec![0; length]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn key_ids_and_notes_agree_with_the_peer(
        name in "[a-z./-]{1,20}", public in any::<[u8; 32]>(), body in "[ -~é\n]{0,80}", signature in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let key = VerifierKey::new(name.clone(), KeyKind::Ed25519, public).unwrap();
        let typed = [[1].as_slice(), &public].concat();
        prop_assert_eq!(key.key_id(), peer::key_id(&name, &typed));
        prop_assert_eq!(&key.to_string().parse::<VerifierKey>().unwrap(), &key);
        let note = Note {
            text: format!("{body}\n"),
            signatures: vec![NoteSignature { name: name.clone(), key_id: key.key_id(), bytes: signature.clone() }],
        };
        let theirs = peer::Note::new(note.text.as_bytes(), &[peer::Signature::new(name, key.key_id(), signature).unwrap()]).unwrap();
        prop_assert_eq!(note.format().into_bytes(), theirs.to_bytes());
        prop_assert_eq!(Note::parse(note.format().as_bytes()).unwrap(), note);
    }

    #[test]
    fn what_parses_formats_back(text in "[ -~—\n]{0,60}(\n\n— [a-z]{1,3} [A-Za-z0-9+/=]{8,12}\n){0,2}") {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.format(), text);
        }
    }
}
