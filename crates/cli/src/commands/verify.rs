//! `seaworthy verify`: the chain of evidence, offline; exits 4 on any integrity failure.

use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::Clock as _;
use seaworthy_store::artifacts::{FaultKind, StoreFault};
use seaworthy_store::catalog;
use seaworthy_store::journal::Journal;
use seaworthy_trust::attest::{self, Reference, VerifyOptions};
use serde_json::json;

use crate::arguments::Verify;
use crate::failure::{Failure, INTEGRITY};
use crate::last_seen::LastSeen;
use crate::open::{self, Reading};
use crate::ports::SystemClock;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Verify) -> Result<u8, Failure> {
    let reference: Reference = arguments
        .reference
        .parse()
        .map_err(|e: attest::chain::ReferenceError| Failure::usage(e.to_string(), "for instance model:fraud@live"))?;
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let (trust, from_outside) = reading.trust(arguments.trust.as_deref())?;
    let seen = LastSeen::of(settings, &trust.log.origin, &dir, reading.environment.as_str());
    if !from_outside {
        seen.refuse_exchanged()?;
    }
    let options = VerifyOptions {
        deep: arguments.deep,
        trust_is_file: from_outside,
        max_age_ms: arguments.max_age.as_deref().map(max_age).transpose()?,
        last_seen: seen.read()?,
    };
    let report = attest::verify_chain(&reading.log, &reading.artifacts, &trust, &reference, &options);
    let local = if reference == Reference::Log { audit(&reading) } else { Vec::new() };
    if settings.json {
        render::json(&json!({"ok": report.ok && local.is_empty(), "report": report, "local": local}));
    } else {
        render::chain(settings, &report, &local);
    }
    if !report.ok || !local.is_empty() {
        return Ok(INTEGRITY);
    }
    if let Some(as_of) = &report.as_of {
        let checkpoint = Checkpoint { origin: as_of.origin.clone(), size: as_of.size, root: as_of.root, extensions: Vec::new() };
        seen.write(&checkpoint);
    }
    Ok(0)
}

/// What the chain does not cover: store, tiles, journal, index, workspace id; every file of the state folder.
fn audit(reading: &Reading) -> Vec<StoreFault> {
    let mut faults = reading.artifacts.audit().unwrap_or_else(|e| vec![unreadable("", &e)]);
    for fault in &mut faults {
        fault.path = format!("store/{}", fault.path).trim_end_matches('/').to_owned();
    }
    let log = seaworthy_store::log::audit(&reading.paths.log);
    faults.extend(log.into_iter().map(|fault| StoreFault::new(format!("log/{}", fault.file), FaultKind::Corrupt, fault.detail)));
    match Journal::open_read_only(&reading.paths.journal) {
        Ok(journal) => faults.extend(journal.audit()),
        Err(error) => faults.push(unreadable("journal", &error)),
    }
    faults.extend(catalog::verify(&reading.paths.catalog, &reading.log));
    faults.extend(reading.workspace.audit(&reading.environment, &reading.log));
    faults
}

fn unreadable(what: &str, cause: &dyn std::fmt::Display) -> StoreFault {
    StoreFault::new(what, FaultKind::Unreadable, cause.to_string())
}

/// `24h`, `30m`, `7d`, `90s` → (age, now) in milliseconds.
fn max_age(text: &str) -> Result<(u64, u64), Failure> {
    let refuse = || Failure::usage(format!("`{text}` is no time span"), "for instance 24h, 30m or 7d");
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    let unit_ms = match text.strip_prefix(digits.as_str()) {
        Some("s") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        _ => return Err(refuse()),
    };
    Ok((number.checked_mul(unit_ms).ok_or_else(refuse)?, SystemClock.now_unix_ms()))
}
