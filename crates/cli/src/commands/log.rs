//! `seaworthy log`: leaves, proofs, checkpoint.

use seaworthy_core::json_strict;
use seaworthy_core::ports::EvidenceSource as _;
use serde_json::{Value, json};

use crate::arguments::Log;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Log) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let log = open::reading(settings, &dir)?.log;
    let broken = |e| Failure::integrity("log/read", e);
    match command {
        Log::Checkpoint => render::bytes(log.checkpoint().map_err(broken)?.as_bytes()),
        Log::Prove { index } => {
            let size = log.size().map_err(broken)?;
            if *index >= size {
                return Err(Failure::usage(format!("the log has {size} leaves, none is number {index}"), "leaves count from 0"));
            }
            render::bytes(log.prove(*index).map_err(|e| Failure::integrity("log/read", e))?.as_bytes());
        }
        Log::Show { from, count } => {
            let size = log.size().map_err(broken)?;
            for index in *from..size.min(from.saturating_add(*count)) {
                show(settings, index, &log.entry(index).map_err(broken)?);
            }
        }
    }
    Ok(0)
}

fn show(settings: &Settings, index: u64, entry: &[u8]) {
    let value = json_strict::parse(entry).unwrap_or(Value::Null);
    if settings.json {
        render::json_line(&json!({"index": index, "entry": value}));
        return;
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("kind") == "hashedrekord" {
        render::line(&format!("{index:>6}  attestation"));
    } else {
        render::line(&format!("{index:>6}  {:<24} {}", text("code"), text("principal")));
    }
}
