//! Writes a log with a throw-away key, for peers to check: `log_fixture DIR N [GROUP]`.
//!
//! in: a folder, a number of leaves, leaves a commit (default 7); out: `DIR/log/` (the log), `DIR/vkey`, `DIR/skey`,
//! `DIR/leaves` (one entry a line in hex, so that another implementation can write the same log), `DIR/old-checkpoint` (the
//! checkpoint about half-way), `DIR/proofs/<index>.tlog-proof` for some leaves, and the last attestation as
//! `DIR/bundle.sigstore.json`, with its proof, beside `DIR/key.pem`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example prints, and writes its own files")]

use std::path::PathBuf;
use std::sync::Arc;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use seaworthy_core::digest::{Digest, hex_encode};
use seaworthy_core::envelope::{Bundle, LeafBody, LogProof, PAYLOAD_TYPE, ResourceDescriptor, Statement, key_hint, pae};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::RunId;
use seaworthy_core::ports::{EvidenceSource as _, Leaf};
use seaworthy_core::principal::PrincipalId;
use seaworthy_store::log::{Log, LogReader};
use signer::TestSigner;

mod signer;

const ORIGIN: &str = "fixture.example/log";

/// Each tenth leaf, from the first, is an attestation by `key`, the others are events.
fn leaf(n: u64, key: &SigningKey, public_key: &[u8]) -> Leaf {
    if n.is_multiple_of(10) {
        let statement = Statement {
            subject: vec![ResourceDescriptor::sha256(format!("file-{n}"), &Digest::of(&n.to_be_bytes()))],
            predicate_type: "https://fixture.example/nothing/v1".to_owned(),
            predicate: serde_json::json!({}),
        };
        let payload = statement.to_payload();
        let signature: DerSignature = key.sign(&pae(PAYLOAD_TYPE, &payload));
        let (signature, key_hint) = (signature.as_bytes().to_vec(), key_hint(public_key));
        let bundle = Bundle { payload, signature, key_hint, log_proof: None };
        return Leaf::Attestation { bundle, public_key: public_key.to_vec() };
    }
    let kind = EventKind::RunEnded { run: RunId(format!("r{n:016x}")), state: "succeeded".into(), cancelled_by: None };
    Leaf::Event(Event { time_ms: n, principal: PrincipalId("user:p-0000000000000000".into()), kind })
}

/// The last attestation of the log, with its proof.
fn proved_bundle(reader: &LogReader, log_id: Digest) -> Result<Option<Bundle>, Box<dyn std::error::Error>> {
    let state = reader.state();
    for entry in reader.entries(0..state.size).collect::<Result<Vec<_>, _>>()?.into_iter().rev() {
        let (index, body) = entry;
        let Some(leaf) = LeafBody::parse(&body) else { continue };
        let stored = reader.bundle(&leaf.pae)?.ok_or("a bundle is missing")?;
        let (hashes, checkpoint) = (reader.inclusion(index)?, reader.note().to_owned());
        let (size, root) = (state.size, state.root);
        let proof = LogProof { index, size, root, hashes, checkpoint, log_id, body };
        return Ok(Some(Bundle { log_proof: Some(proof), ..Bundle::from_json(&stored)? }));
    }
    Ok(None)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: log_fixture DIR N [GROUP]".into());
    };
    let (dir, count): (_, u64) = (PathBuf::from(dir), count.parse()?);
    let group: u64 = arguments.next().map_or(Ok(7), |n| n.parse())?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let signer = Arc::new(TestSigner::new(ORIGIN, seed));
    let key = SigningKey::from_slice(Digest::of(&seed).as_bytes())?;
    let public_key = key.verifying_key().to_public_key_der()?.into_vec();
    let path = dir.join("log");
    Log::create(&path, ORIGIN, &*signer)?;
    let log = Log::open(&path, ORIGIN, signer.clone())?;
    let mut next = 0;
    while next < count {
        let end = count.min(next + group);
        log.append(&(next..end).map(|n| leaf(n, &key, &public_key)).collect::<Vec<_>>())?;
        // files are written a moment later, and only of the newest tree then: here of each commit's, as the peer does
        log.settle()?;
        next = end;
        if next <= count.div_ceil(2) {
            std::fs::write(dir.join("old-checkpoint"), log.snapshot()?.note())?;
        }
    }
    log.close()?;
    let reader = LogReader::open(&path)?;
    let entries = reader.entries(0..count).collect::<Result<Vec<_>, _>>()?;
    let lines: String = entries.iter().flat_map(|(_, entry)| [hex_encode(entry), "\n".to_owned()]).collect();
    std::fs::write(dir.join("leaves"), lines)?;
    std::fs::write(dir.join("vkey"), format!("{}\n", signer.vkey()))?;
    std::fs::write(dir.join("skey"), format!("{}\n", signer.secret_text()))?;
    std::fs::create_dir(dir.join("proofs"))?;
    for index in [0, count / 3, count.saturating_sub(1)] {
        std::fs::write(dir.join(format!("proofs/{index}.tlog-proof")), reader.prove(index)?)?;
    }
    if let Some(bundle) = proved_bundle(&reader, signer.vkey().log_id())? {
        std::fs::write(dir.join("bundle.sigstore.json"), bundle.to_json())?;
        std::fs::write(dir.join("key.pem"), key.verifying_key().to_public_key_pem(LineEnding::LF)?)?;
    }
    println!("{}", reader.note());
    println!("vkey: {}", signer.vkey());
    println!("secret key: {}", dir.join("skey").display());
    Ok(())
}
