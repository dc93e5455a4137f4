//! `seaworthy attest export`: bundles with log proofs, `model.sig` beside the model's files, keys, log, trusted root.

use std::collections::BTreeSet;
use std::path::Path;

use seaworthy_core::attestation::artifact_of;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement};
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::ports::EvidenceSource as _;
use seaworthy_trust::attest::{self, Reference, TrustRoot};

use crate::arguments::Attest;
use crate::example::write;
use crate::failure::Failure;
use crate::open::{self, Reading};
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Attest) -> Result<u8, Failure> {
    let Attest::Export { reference, output } = command;
    let reference: Reference =
        reference.parse().map_err(|e: attest::chain::ReferenceError| Failure::usage(e.to_string(), "for instance model:fraud@live"))?;
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let (trust, _) = reading.trust(None)?;
    let log = ExportedLog::read(&reading, &trust)?;
    let wanted = log.closure(&reading, &reference)?;
    let mut exported = 0;
    if wanted.is_empty() {
        let hint = "`seaworthy models list` and `seaworthy runs list` show what there is";
        return Err(Failure::usage(format!("no statement of this log is about `{reference}`"), hint));
    }
    for statement in log.statements.iter().filter(|statement| wanted.contains(&statement.pae)) {
        let bundle = log.with_proof(&reading, statement)?;
        write(&output.join("bundles").join(format!("{}.json", statement.pae.hex())), &bundle.to_json())?;
        exported += 1;
    }
    if let Reference::Model { .. } = &reference {
        export_model(&reading, &reference, &log, output)?;
    }
    export_keys(&trust, output)?;
    render::line(&format!("wrote {exported} bundles with log proofs, keys and trusted root to {}", output.display()));
    Ok(0)
}

/// A statement of the log.
struct Logged {
    pae: Digest,
    index: u64,
    bundle: Bundle,
    subjects: BTreeSet<Digest>,
    named: BTreeSet<Digest>,
}

/// The log as an exporter sees it.
struct ExportedLog {
    statements: Vec<Logged>,
    events: Vec<Event>,
    checkpoint: String,
    size: u64,
    root: Digest,
    log_id: Digest,
}

impl ExportedLog {
    fn read(reading: &Reading, trust: &TrustRoot) -> Result<Self, Failure> {
        let broken = |e: seaworthy_core::ports::PortError| Failure::integrity("log/read", e);
        let malformed = |e: String| Failure::integrity("log/read", e);
        let checkpoint = reading.log.checkpoint().map_err(broken)?;
        let verified =
            seaworthy_trust::transparency::verify_checkpoint(checkpoint.as_bytes(), trust).map_err(|e| malformed(e.to_string()))?;
        let (size, root) = (verified.checkpoint.size, verified.checkpoint.root);
        let mut log = Self { statements: Vec::new(), events: Vec::new(), checkpoint, size, root, log_id: log_id(trust)? };
        for index in 0..size {
            let entry = reading.log.entry(index).map_err(broken)?;
            if let Some(body) = seaworthy_core::envelope::LeafBody::parse(&entry) {
                let stored = reading
                    .log
                    .bundle(&body.pae)
                    .map_err(broken)?
                    .ok_or_else(|| malformed(format!("the bundle of leaf {index} is missing")))?;
                let bundle = Bundle::from_json(&stored).map_err(|e| malformed(e.to_string()))?;
                let statement = Statement::from_payload(&bundle.payload).map_err(|e| malformed(e.to_string()))?;
                let value = seaworthy_core::json_strict::parse(&bundle.payload).map_err(|e| malformed(e.to_string()))?;
                let subjects = statement.subject.iter().filter_map(artifact_of).collect();
                log.statements.push(Logged {
                    pae: body.pae,
                    index,
                    bundle,
                    subjects,
                    named: seaworthy_store::artifacts::digests_in(&value),
                });
            } else {
                log.events.push(seaworthy_core::json_strict::parse_typed(&entry).map_err(|e| malformed(e.to_string()))?);
            }
        }
        Ok(log)
    }

    /// Every statement that the reference rests on: from its artifacts through all that their statements name.
    fn closure(&self, reading: &Reading, reference: &Reference) -> Result<BTreeSet<Digest>, Failure> {
        if *reference == Reference::Log {
            return Ok(self.statements.iter().map(|statement| statement.pae).collect());
        }
        let mut artifacts: BTreeSet<Digest> = match reference {
            Reference::Artifact(digest) => BTreeSet::from([*digest]),
            Reference::Model { .. } => BTreeSet::from([registered(reading, reference)?.digest]),
            Reference::Run(run) => self.outputs_of(run),
            Reference::Log => BTreeSet::new(),
        };
        let mut wanted = BTreeSet::new();
        loop {
            let before = (wanted.len(), artifacts.len());
            for statement in &self.statements {
                if !statement.subjects.is_disjoint(&artifacts) {
                    wanted.insert(statement.pae);
                    artifacts.extend(&statement.named);
                }
            }
            if before == (wanted.len(), artifacts.len()) {
                break;
            }
        }
        Ok(wanted)
    }

    fn outputs_of(&self, wanted: &seaworthy_core::id::RunId) -> BTreeSet<Digest> {
        let mut outputs = BTreeSet::new();
        for event in &self.events {
            if let EventKind::StepCommitted { step, inputs, outputs: made, .. } = &event.kind
                && step.run == *wanted
            {
                outputs.extend(inputs.iter().chain(made).map(|output| output.digest));
            }
        }
        outputs
    }

    fn with_proof(&self, reading: &Reading, statement: &Logged) -> Result<Bundle, Failure> {
        let hashes = reading.log.inclusion_proof(statement.index).map_err(|e| Failure::integrity("log/proof", e))?;
        let body = reading.log.entry(statement.index).map_err(|e| Failure::integrity("log/read", e))?;
        let proof = seaworthy_core::envelope::LogProof {
            index: statement.index,
            size: self.size,
            root: self.root,
            hashes,
            checkpoint: self.checkpoint.clone(),
            log_id: self.log_id,
            body,
        };
        Ok(Bundle { log_proof: Some(proof), ..statement.bundle.clone() })
    }
}

fn log_id(trust: &TrustRoot) -> Result<Digest, Failure> {
    let key = trust.log_key().map_err(|e| Failure::configuration("trust/invalid", e.to_string(), e.hint()))?;
    Ok(key.log_id())
}

fn registered(reading: &Reading, reference: &Reference) -> Result<seaworthy_store::catalog::Resolved, Failure> {
    let text = reference.to_string();
    let bare = text.strip_prefix("model:").unwrap_or(&text);
    reading.catalog()?.resolve(bare).map_err(|e| open::catalog_failure(&e))
}

/// The model's files with `model.sig` beside them, as any OpenSSF user verifies them.
fn export_model(reading: &Reading, reference: &Reference, log: &ExportedLog, output: &Path) -> Result<(), Failure> {
    let resolved = registered(reading, reference)?;
    let folder = output.join("model");
    let damaged = |e: seaworthy_store::StoreError| Failure::integrity("store/damaged", e);
    let manifest = reading.artifacts.manifest(&resolved.digest).map_err(damaged)?;
    for entry in manifest.entries() {
        let limit = usize::try_from(entry.size).unwrap_or(usize::MAX);
        write(&folder.join(&entry.name), &reading.artifacts.read_blob(&entry.digest, limit).map_err(damaged)?)?;
    }
    let signature = log.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::ModelRegistered { model, version, signature, .. } if *model == resolved.model && *version == resolved.version => {
            Some(*signature)
        }
        _ => None,
    });
    let found = log.statements.iter().find(|statement| Some(statement.pae) == signature);
    let statement = found.ok_or_else(|| Failure::integrity("log/signature", "the registration's signature is not in the log"))?;
    write(&folder.join("model.sig"), &log.with_proof(reading, statement)?.to_json())
}

fn export_keys(trust: &TrustRoot, output: &Path) -> Result<(), Failure> {
    for key in &trust.keys {
        let role = serde_json::to_value(key.role).ok().and_then(|role| role.as_str().map(str::to_owned)).unwrap_or_default();
        let short: String = key.hint.chars().take(12).collect();
        write(&output.join("keys").join(format!("{role}-{short}.pem")), key.pem.as_bytes())?;
    }
    write(&output.join("log/vkey"), format!("{}\n", trust.log.vkey).as_bytes())?;
    write(&output.join("trust.json"), &trust.to_json())?;
    let root = attest::sigstore_trusted_root(trust).map_err(|e| Failure::internal("attest/trusted-root", e))?;
    write(&output.join("trusted_root.json"), &seaworthy_core::json_strict::to_canonical(&root))
}
