//! Keys and the signer's policy.

use std::collections::BTreeMap;

use seaworthy_core::attestation::provenance::*;
use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::attestation::{self, PREDICATES, blob};
use seaworthy_core::envelope::Statement;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, Signer};
use seaworthy_core::principal::runner_id;
use serde_json::json;

use super::*;
use crate::attest::verify_bundle;

const ROLES: [KeyRole; 4] = [KeyRole::User, KeyRole::Runner, KeyRole::Log, KeyRole::Root];

fn attempt(number: u32) -> StepRunId {
    StepRunId { run: RunId("r1".to_owned()), workflow: Name::new("wf").unwrap(), step: Name::new("train").unwrap(), attempt: number }
}

fn signer() -> LocalSigner {
    let signer = LocalSigner::new("log.example/x", runner_id("w1", "staging"));
    ROLES.into_iter().fold(signer, |signer, role| signer.with_key(role, PrivateKey::generate(role).unwrap()).unwrap())
}

fn provenance(builder: &str) -> Statement {
    let digest = Digest::of(b"x");
    let workflow = WorkflowRef { uri: "workflow.yaml".to_owned(), digest: WorkflowDigest { sha256: digest } };
    let provenance = Provenance {
        build_type: BuildType::Step,
        external: ExternalParameters { workflow, step: "wf/train".to_owned(), params: json!({}) },
        internal: InternalParameters {
            sandbox: json!({}),
            environment_variables: json!([]),
            seed: None,
            device: None,
            code_integrity: None,
        },
        dependencies: vec![],
        builder: builder.to_owned(),
        invocation: attempt(1),
        started: Timestamp(1),
        finished: Timestamp(2),
        byproducts: vec![],
    };
    provenance.statement(vec![blob("train/out", &digest)])
}

#[test]
fn keys_survive_their_text_forms() {
    for role in ROLES {
        let key = PrivateKey::generate(role).unwrap();
        let pem = key.to_pkcs8_pem().unwrap();
        let back = PrivateKey::from_pkcs8_pem(&pem).unwrap();
        assert_eq!(back.public(), key.public());
        let public = key.public();
        assert_eq!(PublicKey::from_pem(&public.to_pem().unwrap()).unwrap(), public);
        assert_eq!(PublicKey::from_der(&public.to_der().unwrap()).unwrap(), public);
        assert!(public.to_pem().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert!(public.to_pem().unwrap().ends_with("-----END PUBLIC KEY-----\n"));
        assert_eq!(public.hint().unwrap(), Digest::of(public.to_pem().unwrap().as_bytes()).hex());
        let signature = key.sign(b"message").unwrap();
        assert_eq!(signature, back.sign(b"message").unwrap(), "deterministic");
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"massage", &signature).is_err());
        for i in 0..signature.len() {
            let mut flipped = signature.clone();
            flipped[i] ^= 1;
            assert!(public.verify(b"message", &flipped).is_err(), "byte {i}");
        }
        assert!(!format!("{key:?}").contains(pem.lines().nth(1).unwrap()), "a private key never prints");
    }
}

#[test]
fn sealed_keys_open_only_for_their_identity_or_passphrase() {
    let pem = PrivateKey::generate(KeyRole::Runner).unwrap().to_pkcs8_pem().unwrap();
    let identity = Identity::generate();
    let sealed = seal_to(&identity.recipient(), pem.as_bytes()).unwrap();
    assert!(!sealed.windows(10).any(|window| window == b"-----BEGIN"));
    let again = Identity::parse(&format!("# created for a test\n{}\n", identity.to_text().as_str())).unwrap();
    assert_eq!(open_with_identity(&again, &sealed).unwrap().as_slice(), pem.as_bytes());
    assert!(open_with_identity(&Identity::generate(), &sealed).is_err());
    for i in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[i] ^= 1;
        assert!(open_with_identity(&identity, &flipped).is_err(), "byte {i}");
    }
    assert!(Identity::parse("").is_err());
    assert!(seal_to("age1nonsense", b"x").is_err());
}

#[test]
#[ignore = "scrypt costs seconds by design; run with --ignored"]
fn a_passphrase_opens_what_it_sealed() {
    let word = |text: &str| Zeroizing::new(text.to_owned());
    let sealed = seal_with_passphrase(word("correct horse"), b"secret").unwrap();
    assert_eq!(open_with_passphrase(word("correct horse"), &sealed).unwrap().as_slice(), b"secret");
    assert!(open_with_passphrase(word("wrong horse"), &sealed).is_err());
}

#[test]
fn a_role_takes_only_keys_of_its_algorithm() {
    let signer = LocalSigner::new("o", runner_id("w1", "staging"));
    let error = signer.with_key(KeyRole::Log, PrivateKey::generate(KeyRole::User).unwrap()).unwrap_err();
    assert_eq!(error, KeyError::Algorithm { role: KeyRole::Log, want: Algorithm::Ed25519 });
}

/// The whole table: one row a predicate type, which roles may sign it.
#[test]
fn each_role_signs_its_predicate_types_and_no_others() {
    let allowed = BTreeMap::from([
        (attestation::MANIFEST, vec![KeyRole::User, KeyRole::Runner]),
        (attestation::PROVENANCE, vec![KeyRole::Runner]),
        (attestation::TEST_RESULT, vec![KeyRole::Runner]),
        (attestation::SVR, vec![KeyRole::Runner]),
        (attestation::VSA, vec![KeyRole::Runner, KeyRole::Root]),
        (attestation::RELEASE, vec![KeyRole::Runner]),
        (attestation::DEPLOYMENT, vec![KeyRole::Runner]),
        (attestation::INTEGRITY_SCORE, vec![KeyRole::Runner]),
        (attestation::REVOCATION, vec![KeyRole::Root]),
        (attestation::RUN_REQUEST, vec![KeyRole::User]),
    ]);
    for predicate_type in PREDICATES {
        for role in ROLES {
            assert_eq!(may_sign(role, predicate_type), allowed[predicate_type].contains(&role), "{role:?} {predicate_type}");
        }
    }
    assert!(ROLES.into_iter().all(|role| !may_sign(role, "https://example.com/other/v1")));
}

#[test]
fn the_signer_refuses_another_attempt_another_runner_and_another_role() {
    let signer = signer();
    let own = provenance(&runner_id("w1", "staging").0);
    let bundle = signer.sign_statement(KeyRole::Runner, &own, Some(&attempt(1))).unwrap();
    let key = PublicKey::from_der(&signer.public_key(KeyRole::Runner).unwrap()).unwrap();
    assert_eq!(verify_bundle(&bundle, &key).unwrap(), own);

    let code = |role, statement: &Statement, step: Option<u32>| {
        signer.sign_statement(role, statement, step.map(attempt).as_ref()).unwrap_err().code()
    };
    assert_eq!(code(KeyRole::Runner, &own, Some(2)), "sign/attempt");
    assert_eq!(code(KeyRole::Runner, &own, None), "sign/attempt");
    assert_eq!(code(KeyRole::User, &own, Some(1)), "sign/role");
    assert_eq!(code(KeyRole::Runner, &provenance("spiffe://other/runner"), Some(1)), "sign/builder");
    let mut broken = own.clone();
    broken.predicate = json!({});
    assert_eq!(code(KeyRole::Runner, &broken, Some(1)), "sign/statement");
    let empty = LocalSigner::new("o", runner_id("w1", "staging"));
    assert_eq!(empty.sign_statement(KeyRole::Runner, &own, Some(&attempt(1))).unwrap_err().code(), "sign/no-key");
    let request = AttestRequest { role: KeyRole::User, statement: &own, step: None };
    assert!(signer.attest(&request).unwrap_err().to_string().contains("sign/role"));
}

#[test]
fn checkpoints_are_signed_for_the_own_origin_only() {
    let signer = signer();
    let request = |origin: &str| CheckpointRequest { origin: origin.to_owned(), size: 3, root: Digest::of(b"r") };
    assert!(signer.checkpoint(&request("log.example/x")).unwrap().contains("\n— log.example/x "));
    assert!(signer.checkpoint(&request("log.example/y")).unwrap_err().to_string().contains("sign/origin"));
}
