//! Notes, cosignatures, quorum: each refusal with the note that passes as control.

use seaworthy_core::id::Name;
use seaworthy_core::ports::KeyRole;
use seaworthy_core::principal::PrincipalId;

use super::*;
use crate::attest::{TrustedKey, TrustedLog, TrustedWitness};

const ORIGIN: &str = "w1.seaworthy.internal/staging";

fn ed25519(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(KeyRole::Log, &[seed; 32]).unwrap()
}

fn trust(quorum: usize) -> TrustRoot {
    let runner = PrivateKey::from_seed(KeyRole::Runner, &[9; 32]).unwrap();
    let witness = |name: &str, seed| {
        let vkey = verifier_key(name, KeyKind::Cosignature, &ed25519(seed).public()).unwrap().to_string();
        TrustedWitness { name: name.to_owned(), vkey }
    };
    TrustRoot {
        version: 1,
        workspace: "w1".to_owned(),
        environment: Name::new("staging").unwrap(),
        log: TrustedLog {
            origin: ORIGIN.to_owned(),
            vkey: verifier_key(ORIGIN, KeyKind::Ed25519, &ed25519(1).public()).unwrap().to_string(),
        },
        keys: vec![TrustedKey::new(KeyRole::Runner, PrincipalId("spiffe://r".to_owned()), &runner.public(), 0).unwrap()],
        witnesses: vec![witness("w-a", 2), witness("w-b", 3)],
        quorum,
        sources: vec![],
        minimum_release: std::collections::BTreeMap::new(),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size: 7, root: Digest::of(b"root"), extensions: vec![] }
}

fn signed() -> Note {
    let text = sign_note(&checkpoint().to_text(), ORIGIN, &ed25519(1)).unwrap();
    Note::parse(text.as_bytes()).unwrap()
}

fn cosign(note: &mut Note, name: &str, seed: u8, time_s: u64) {
    let key = ed25519(seed);
    let id = verifier_key(name, KeyKind::Cosignature, &key.public()).unwrap().key_id();
    let signature = key.sign(&note::cosignature_message(time_s, &note.text)).unwrap();
    let bytes = note::join_cosignature(time_s, &signature.try_into().unwrap());
    note.signatures.push(NoteSignature { name: name.to_owned(), key_id: id, bytes });
}

fn code(note: &Note, trust: &TrustRoot) -> &'static str {
    verify_checkpoint(note.format().as_bytes(), trust).map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_signed_checkpoint_holds_and_every_flipped_byte_is_refused() {
    let trust = trust(0);
    let note = signed().format();
    assert_eq!(verify_checkpoint(note.as_bytes(), &trust).unwrap().checkpoint, checkpoint());
    for i in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[i] ^= 1;
        assert!(verify_checkpoint(&bytes, &trust).is_err(), "byte {i}");
    }
}

#[test]
fn cosignatures_count_once_a_witness_and_the_quorum_is_binding() {
    let mut note = signed();
    assert_eq!(code(&note, &trust(0)), "ok");
    assert_eq!(code(&note, &trust(1)), "verify/witness-quorum");
    cosign(&mut note, "w-a", 2, 100);
    cosign(&mut note, "w-a", 2, 90);
    assert_eq!(code(&note, &trust(1)), "ok");
    assert_eq!(code(&note, &trust(2)), "verify/witness-quorum");
    cosign(&mut note, "w-b", 3, 110);
    assert_eq!(code(&note, &trust(2)), "ok");
    let verified = verify_checkpoint(note.format().as_bytes(), &trust(2)).unwrap();
    assert_eq!(verified.witnessed_s(), Some(110));
    assert_eq!(verified.cosigned.iter().map(|c| c.time_s).collect::<Vec<_>>(), [100, 110]);
}

#[test]
fn a_failing_line_of_a_known_key_refuses_the_note_and_an_unknown_key_is_ignored() {
    let mut unknown = signed();
    cosign(&mut unknown, "stranger", 77, 100);
    assert_eq!(code(&unknown, &trust(0)), "ok");
    assert_eq!(code(&unknown, &trust(1)), "verify/witness-quorum");

    let mut bad_log = signed();
    let mut second = bad_log.signatures[0].clone();
    second.bytes[5] ^= 1;
    bad_log.signatures.push(second);
    assert_eq!(code(&bad_log, &trust(0)), "verify/checkpoint-signature");

    let mut bad_witness = signed();
    cosign(&mut bad_witness, "w-a", 2, 100);
    bad_witness.signatures[1].bytes[7] ^= 1; // the time
    assert_eq!(code(&bad_witness, &trust(0)), "verify/checkpoint-signature");

    let mut unsigned = signed();
    unsigned.signatures[0].key_id ^= 1;
    assert_eq!(code(&unsigned, &trust(0)), "verify/checkpoint-unsigned");
}

#[test]
fn another_origin_or_log_key_is_refused() {
    let mut other = trust(0);
    other.log.origin = "elsewhere".to_owned();
    assert_eq!(code(&signed(), &other), "verify/checkpoint-origin");
    let resigned = sign_note(&checkpoint().to_text(), ORIGIN, &ed25519(8)).unwrap();
    let refused = verify_checkpoint(resigned.as_bytes(), &trust(0)).unwrap_err();
    assert_eq!(refused.code(), "verify/checkpoint-unsigned");
}

#[test]
fn a_continuation_is_proved_and_a_rollback_or_fork_is_refused() {
    let leaves: Vec<Digest> = (0_u8..9).map(|i| merkle::leaf_hash(&[i])).collect();
    let at = |size: usize| Checkpoint { size: size as u64, root: merkle::root_of(&leaves[..size]), ..checkpoint() };
    let read = |node: merkle::Node| -> Result<Digest, merkle::MerkleError> {
        let width = 1_usize << node.level;
        let start = usize::try_from(node.index).unwrap() * width;
        Ok(merkle::root_of(&leaves[start..start + width]))
    };
    let proof = merkle::consistency_proof(5, 9, read).unwrap();
    assert!(verify_continuation(&at(5), &at(9), &proof).is_ok());
    assert_eq!(verify_continuation(&at(9), &at(5), &[]).unwrap_err().code(), "verify/log-rollback");
    let forked = Checkpoint { root: Digest::of(b"other"), ..at(5) };
    assert_eq!(verify_continuation(&forked, &at(9), &proof).unwrap_err().code(), "verify/log-fork");
    assert_eq!(verify_continuation(&forked, &at(5), &[]).unwrap_err().code(), "verify/log-fork");
}
