//! Writes an export of a synthetic workspace for other people's verifiers: `fixture OUT`.
//!
//! in: an empty folder; out: `model/` with `model.sig`, `bundles/*.json` with log proofs, `keys/*.pem`, `log/vkey`,
//! `trusted_root.json`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a fixture for interoperability tests, not the product"
)]

#[path = "../tests/it/world.rs"]
mod world;

use std::fs;
use std::path::PathBuf;

use seaworthy_core::envelope::{Bundle, LogProof};
use seaworthy_trust::attest::sigstore_trusted_root;

fn main() {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| panic!("usage: fixture OUT")));
    let keys = world::Keys::new();
    let recorded = world::World::record(&world::Draft::sample(), &keys);
    for folder in ["model", "bundles", "keys", "log"] {
        fs::create_dir_all(out.join(folder)).unwrap();
    }
    for entry in recorded.artifacts["model"].0.entries() {
        fs::write(out.join("model").join(&entry.name), &recorded.blobs[&entry.digest]).unwrap();
    }
    let log_id = recorded.trust.log_key().unwrap().log_id();
    let state = recorded.state();
    for (id, pae) in &recorded.paes {
        let index = recorded.leaves[id];
        let at = usize::try_from(index).unwrap();
        let mut bundle = Bundle::from_json(&recorded.bundles[pae]).unwrap();
        bundle.log_proof = Some(LogProof {
            index,
            size: state.size,
            root: state.root,
            hashes: recorded.proofs[at].clone(),
            checkpoint: recorded.checkpoint.clone(),
            log_id,
            body: recorded.entries[at].clone(),
        });
        fs::write(out.join("bundles").join(format!("{}.json", id.replace(' ', "-"))), bundle.to_json()).unwrap();
        if id == "model.sig" {
            fs::write(out.join("model/model.sig"), bundle.to_json()).unwrap();
        }
    }
    for key in &recorded.trust.keys {
        let role = serde_json::to_value(key.role).unwrap();
        fs::write(out.join("keys").join(format!("{}.pem", role.as_str().unwrap())), &key.pem).unwrap();
    }
    fs::write(out.join("log/vkey"), format!("{}\n", recorded.trust.log.vkey)).unwrap();
    fs::write(out.join("log/checkpoint"), &recorded.checkpoint).unwrap();
    let root = sigstore_trusted_root(&recorded.trust).unwrap();
    fs::write(out.join("trusted_root.json"), serde_json::to_vec_pretty(&root).unwrap()).unwrap();
    println!("{}: {} bundles, {} leaves", out.display(), recorded.bundles.len(), recorded.entries.len());
}
