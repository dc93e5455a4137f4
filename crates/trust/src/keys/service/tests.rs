//! A signer's process as its peers see it: what it signs, what it refuses, and that it goes on.

use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::attestation::{RUN_REQUEST, blob};
use seaworthy_core::envelope::{Bundle, Statement};
use seaworthy_core::id::{Name, RunId};
use seaworthy_core::ports::SignerMode;
use seaworthy_core::principal::runner_id;
use serde_json::json;

use super::super::wire::frame;
use super::super::{PrivateKey, PublicKey};
use super::*;
use crate::attest::verify_bundle;

const ORIGIN: &str = "log.example/x";

fn service() -> SignerService {
    let signer = LocalSigner::new(ORIGIN, runner_id("w1", "staging"));
    let roles = [KeyRole::User, KeyRole::Runner, KeyRole::Log];
    let signer = roles.into_iter().fold(signer, |signer, role| signer.with_key(role, PrivateKey::generate(role).unwrap()).unwrap());
    SignerService::new(signer, false)
}

fn isolation() -> SignerIsolation {
    SignerIsolation { mode: SignerMode::Process, landlock: 7, system_calls: 30, keys: BTreeMap::new() }
}

/// What the service says of itself: of its keys it speaks itself, whatever whoever runs it has put in there.
fn own_words(service: &SignerService) -> SignerIsolation {
    SignerIsolation { keys: service.signer.key_hints(), ..isolation() }
}

fn ask(service: &mut SignerService, request: &Request<'_>) -> Answer {
    service.answer(&frame(request).unwrap()[4..], &isolation())
}

fn refused(answer: &Answer) -> &str {
    match answer {
        Answer::Refused { code, .. } => code,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn request(signer: Option<SignerIsolation>) -> Statement {
    let digest = Digest::of(b"x");
    let nonce = "00112233445566778899aabbccddeeff".to_owned();
    let environment = Name::new("staging").unwrap();
    RunRequest { run: RunId("r1".to_owned()), plan: digest, lock: digest, workflow: digest, environment, nonce, signer }.statement()
}

fn attest(role: KeyRole, statement: &Statement, step: Option<&str>) -> Request<'static> {
    Request::Attest(Attest { role, step: step.map(str::to_owned), statement: std::borrow::Cow::Owned(statement.clone()) })
}

fn checkpoint(origin: &str, size: u64, root: &[u8]) -> Request<'static> {
    Request::Checkpoint { origin: origin.to_owned(), size, root: Digest::of(root) }
}

#[test]
fn a_signature_holds_over_the_payload_that_the_asker_makes_of_the_same_statement() {
    let mut service = service();
    let Answer::Hello(hello) = ask(&mut service, &Request::Hello {}) else { panic!("no hello") };
    assert_eq!((hello.origin.as_str(), hello.keys.len(), &hello.isolation), (ORIGIN, 3, &own_words(&service)));
    assert_eq!(hello.isolation.keys.keys().copied().collect::<Vec<_>>(), [KeyRole::User, KeyRole::Runner, KeyRole::Log]);
    let key = PublicKey::from_der(&seaworthy_core::digest::hex_decode(&hello.keys[&KeyRole::User]).unwrap()).unwrap();
    let statement = request(Some(own_words(&service)));
    let Answer::Signed { signature, key_hint, pae } = ask(&mut service, &attest(KeyRole::User, &statement, None)) else {
        panic!("refused")
    };
    let signature = seaworthy_core::digest::hex_decode(&signature).unwrap();
    let bundle = Bundle { payload: statement.to_payload(), signature, key_hint, log_proof: None };
    assert_eq!(bundle.pae_digest(), pae);
    assert_eq!(verify_bundle(&bundle, &key).unwrap(), statement);
}

/// Each refusal, then a control: the signer goes on, and has counted.
#[test]
fn what_is_against_the_policy_is_refused_and_the_next_is_served() {
    let mut service = service();
    let honest = request(None);
    let mut empty = honest.clone();
    empty.subject.clear();
    let mut bare = honest.clone();
    bare.subject[0].digest.clear();
    let mut unknown = honest.clone();
    unknown.predicate_type = "https://example.com/other/v1".to_owned();
    let mut extra = honest.clone();
    extra.predicate["more"] = json!(1);
    let more = SignerIsolation { mode: SignerMode::User, ..own_words(&service) };
    let mut other_keys = own_words(&service);
    other_keys.keys.insert(KeyRole::Root, "ab".repeat(32));
    let staged = Statement {
        subject: vec![blob("staged:r1/wf/train#2", &Digest::of(b"x"))],
        predicate_type: seaworthy_core::attestation::MANIFEST.to_owned(),
        predicate: json!({}),
    };
    let cases = [
        (attest(KeyRole::Runner, &honest, None), "sign/role"),
        (attest(KeyRole::Log, &honest, None), "sign/role"),
        (attest(KeyRole::User, &unknown, None), "sign/role"),
        (attest(KeyRole::Root, &honest, None), "sign/role"),
        (attest(KeyRole::User, &empty, None), "sign/statement"),
        (attest(KeyRole::User, &bare, None), "sign/statement"),
        (attest(KeyRole::User, &extra, None), "sign/statement"),
        (attest(KeyRole::User, &request(Some(more)), None), "sign/isolation"),
        (attest(KeyRole::User, &request(Some(other_keys)), None), "sign/isolation"),
        (attest(KeyRole::User, &request(Some(isolation())), None), "sign/isolation"),
        (attest(KeyRole::User, &honest, Some("not a step")), "sign/request"),
        (attest(KeyRole::Runner, &staged, Some("r1/wf/train#1")), "sign/attempt"),
        (checkpoint("log.example/y", 1, b"r"), "sign/origin"),
        (checkpoint(ORIGIN, u64::MAX, b"r"), "sign/growth"),
        (Request::Again { origin: ORIGIN.to_owned(), size: 1, root: Digest::of(b"r") }, "sign/unknown"),
        (Request::Remember { note: "log.example/x\n7\n".to_owned() }, "sign/unsigned"),
    ];
    let count = cases.len() as u64;
    for (request, code) in cases {
        assert_eq!(refused(&ask(&mut service, &request)), code, "{request:?}");
    }
    for content in [&b""[..], b"\x01", b"\x02{\"status\":{}}", b"\x01{\"sign\":\"0011\"}", b"\x01{\"status\":{}}x"] {
        assert_eq!(refused(&service.answer(content, &isolation())), "sign/request");
    }
    assert_eq!(refused(&service.too_large(1 << 30)), "sign/too-large");
    assert!(matches!(ask(&mut service, &attest(KeyRole::User, &honest, None)), Answer::Signed { .. }));
    let Answer::Status(status) = ask(&mut service, &Request::Status {}) else { panic!("no status") };
    assert_eq!((status.refused, status.signed[&KeyRole::User]), (count + 6, 1));
    assert_eq!(honest.predicate_type, RUN_REQUEST);
}

#[test]
fn of_one_size_one_root_and_never_fewer_leaves() {
    let mut service = service();
    let signs = |service: &mut SignerService, size, root: &[u8]| match ask(service, &checkpoint(ORIGIN, size, root)) {
        Answer::Checkpoint { note } => Ok(note),
        other => Err(refused(&other).to_owned()),
    };
    let three = signs(&mut service, 3, b"a").unwrap();
    signs(&mut service, 5, b"b").unwrap();
    assert_eq!(signs(&mut service, 5, b"c"), Err("sign/fork".to_owned()));
    assert_eq!(signs(&mut service, 3, b"c"), Err("sign/fork".to_owned()));
    assert_eq!(signs(&mut service, 4, b"d"), Err("sign/rollback".to_owned()));
    assert_eq!(signs(&mut service, 3, b"a"), Ok(three), "the same again, byte for byte");
    signs(&mut service, 6, b"e").unwrap();
    // control: a signer without this memory signs both
    let forgetful = &service.signer;
    for root in [b"x", b"y"] {
        forgetful.sign_checkpoint(&CheckpointRequest { origin: ORIGIN.to_owned(), size: 6, root: Digest::of(root) }).unwrap();
    }
}

/// What a new life is told of an earlier one counts only with the log key's signature under it.
#[test]
fn what_was_signed_before_is_remembered_and_what_was_not_is_not() {
    let mut service = service();
    let signed = |signer: &LocalSigner, size: u64, root: &[u8]| {
        signer.sign_checkpoint(&CheckpointRequest { origin: ORIGIN.to_owned(), size, root: Digest::of(root) }).unwrap()
    };
    let remember = |note: &str| Request::Remember { note: note.to_owned() };
    let note = signed(&service.signer, 90, b"a");
    let stranger = LocalSigner::new(ORIGIN, runner_id("w1", "staging")).with_key(KeyRole::Log, PrivateKey::generate(KeyRole::Log).unwrap());
    let forged = signed(&stranger.unwrap(), u64::MAX, b"a");
    assert_eq!(refused(&ask(&mut service, &remember(&forged))), "sign/unsigned");
    assert_eq!(refused(&ask(&mut service, &remember(&note.replacen("90", "91", 1)))), "sign/unsigned");
    // control: until it is told, it would sign another one of that size
    assert!(matches!(ask(&mut service, &remember(&note)), Answer::Remembered {}));
    assert_eq!(refused(&ask(&mut service, &checkpoint(ORIGIN, 90, b"b"))), "sign/fork");
    assert_eq!(refused(&ask(&mut service, &checkpoint(ORIGIN, 89, b"b"))), "sign/rollback");
    assert!(matches!(ask(&mut service, &checkpoint(ORIGIN, 91, b"b")), Answer::Checkpoint { .. }));
    // older ones are nothing new, and a note of the log's own key that forks it is said to
    let older = signed(&service.signer, 3, b"a");
    assert!(matches!(ask(&mut service, &remember(&older)), Answer::Remembered {}));
    let fork = signed(&service.signer, 91, b"c");
    assert_eq!(refused(&ask(&mut service, &remember(&fork))), "sign/fork");
    // the same once more, byte for byte, and nothing else
    let Answer::Checkpoint { note } = ask(&mut service, &checkpoint(ORIGIN, 92, b"d")) else { panic!("refused") };
    let again = |size, root: &[u8]| Request::Again { origin: ORIGIN.to_owned(), size, root: Digest::of(root) };
    assert!(matches!(ask(&mut service, &again(92, b"d")), Answer::Checkpoint { note: same } if same == note));
    assert_eq!(refused(&ask(&mut service, &again(92, b"e"))), "sign/fork");
    assert_eq!(refused(&ask(&mut service, &again(93, b"e"))), "sign/unknown");
    assert_eq!(service.status.size, Some(92));
}

/// A level of assurance in an approval is signed by whom it is true of.
#[test]
fn an_approval_claims_no_more_than_its_signer_is() {
    let mut service = service();
    let approval = |level: &str| {
        let approval = seaworthy_core::attestation::vsa::Approval {
            verifier: runner_id("w1", "staging").0,
            time: seaworthy_core::attestation::time::Timestamp(1),
            resource: "model:m@1".to_owned(),
            policy: blob("lock", &Digest::of(b"x")),
            inputs: vec![Digest::of(b"x")],
            levels: vec![level.to_owned()],
        };
        attest(KeyRole::Runner, &approval.statement(blob("m", &Digest::of(b"x"))), None)
    };
    let mut signs = |level: &str, mode, landlock| {
        let kept = SignerIsolation { mode, landlock, ..isolation() };
        match service.answer(&frame(&approval(level)).unwrap()[4..], &kept) {
            Answer::Signed { .. } => "signed".to_owned(),
            other => refused(&other).to_owned(),
        }
    };
    for (level, mode, landlock, expected) in [
        ("SEAWORTHY_ASSURANCE_L0", SignerMode::Process, 7, "signed"),
        ("SEAWORTHY_ASSURANCE_L1", SignerMode::Process, 7, "sign/level"),
        ("SEAWORTHY_ASSURANCE_L1", SignerMode::User, 0, "sign/level"),
        ("SEAWORTHY_ASSURANCE_L1", SignerMode::User, 7, "signed"),
        ("SEAWORTHY_ASSURANCE_L3", SignerMode::User, 7, "sign/level"),
        ("SLSA_BUILD_LEVEL_3", SignerMode::User, 7, "sign/level"),
    ] {
        assert_eq!(signs(level, mode, landlock), expected, "{level} by {mode:?} {landlock}");
    }
}

/// A refusal repeats of a peer's text no more than a line.
#[test]
fn a_refusal_is_short() {
    let mut service = service();
    let long = attest(KeyRole::User, &request(None), Some(&"x\u{1b}[2J\n".repeat(100_000)));
    let Answer::Refused { message, .. } = ask(&mut service, &long) else { panic!("not refused") };
    assert!(message.chars().count() <= 500 && !message.contains(['\n', '\u{1b}']), "{message}");
}
