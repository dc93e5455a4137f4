//! `seaworthy policy`: check, test and mutate gates. Needs no keys and no state.

use std::collections::BTreeMap;
use std::path::Path;

use seaworthy_engine::pins;
use seaworthy_trust::gate::{self, Expected, Gate, MutationReport};
use serde_json::json;

use crate::arguments::Policy;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Policy) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let (names, act): (&[String], Act) = match command {
        Policy::Check { gates } => (gates, check),
        Policy::Test { gates } => (gates, test),
        Policy::Mutate { gates } => (gates, mutate),
    };
    let mut good = true;
    for (name, files) in chosen(&dir, names)? {
        let digest = pins::gate_manifest(&files)?.reference().digest;
        match Gate::load(&name, &files, digest) {
            Ok(gate) => good &= act(settings, &gate),
            Err(error) => {
                good = false;
                render::note(&format!("error[{}]: {error}\n  hint: {}", error.code(), error.hint()));
            }
        }
    }
    Ok(u8::from(!good))
}

/// What is done with one gate; true if it is sound.
type Act = fn(&Settings, &Gate) -> bool;
type Files = BTreeMap<String, Vec<u8>>;

/// The gates named (by name, or by folder), or all of the workspace and the built-in ones that it does not shadow.
fn chosen(dir: &Path, names: &[String]) -> Result<BTreeMap<String, Files>, Failure> {
    let mut known: BTreeMap<String, Files> = gate::builtin().into_iter().map(|(name, files)| (name.to_owned(), files)).collect();
    for entry in std::fs::read_dir(dir.join("policies")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "authz" && entry.path().join("gate.yaml").is_file() {
            known.insert(name, pins::read_gate_folder(&entry.path())?);
        }
    }
    if names.is_empty() {
        return Ok(known);
    }
    let mut wanted = BTreeMap::new();
    for name in names {
        let folder = Path::new(name);
        if let Some(files) = known.get(name) {
            wanted.insert(name.clone(), files.clone());
        } else if folder.join("gate.yaml").is_file() {
            let short = folder.file_name().map(|short| short.to_string_lossy().into_owned()).unwrap_or_default();
            wanted.insert(short, pins::read_gate_folder(folder)?);
        } else {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!("no gate is called `{name}`"), format!("there are {}", all.join(", "))));
        }
    }
    Ok(wanted)
}

fn check(settings: &Settings, gate: &Gate) -> bool {
    if settings.json {
        render::json_line(&json!({"gate": gate.name(), "digest": gate.digest().hex(), "ok": true}));
    } else {
        render::line(&format!(
            "{} loads, digest {}, {} checks, {} cases",
            gate.name(),
            gate.digest().short(),
            gate.spec().checks.len(),
            gate.cases().len()
        ));
    }
    true
}

fn test(settings: &Settings, gate: &Gate) -> bool {
    let results = gate::test_cases(gate, gate.cases());
    let passed = results.iter().filter(|result| result.ok).count();
    for result in &results {
        if settings.json {
            render::json_line(&json!({"gate": gate.name(), "case": result.name, "ok": result.ok, "message": result.message}));
        } else if !result.ok {
            render::line(&format!("FAIL {} / {}: {}", gate.name(), result.name, result.message));
        }
    }
    if !settings.json {
        render::line(&format!("{}: {passed} of {} cases passed", gate.name(), results.len()));
    }
    if results.is_empty() {
        render::note(&format!("{} has no cases: a gate that nobody tested is not trusted", gate.name()));
    }
    !results.is_empty() && passed == results.len()
}

fn mutate(settings: &Settings, gate: &Gate) -> bool {
    let passing = gate.cases().iter().filter(|case| case.expect == Expected::Pass);
    let mut reports: Vec<MutationReport> =
        passing.map(|case| gate::mutate_input(gate, &case.name, &case.input, &case.expectation(gate))).collect();
    reports.push(gate::mutate_policy(gate, gate.cases()));
    for report in &reports {
        if settings.json {
            render::json_line(report);
            continue;
        }
        let of = if report.case.is_empty() { String::new() } else { format!(" of case `{}`", report.case) };
        render::line(&format!("{}: {} {} mutants{of}, {} still pass", report.gate, report.total, report.mutated, report.survivors.len()));
        for survivor in &report.survivors {
            render::line(&format!("  survives: {} {}", survivor.place, survivor.change));
        }
        if !report.fault.is_empty() {
            render::note(&format!("  nothing was mutated: {}", report.fault));
        }
    }
    reports.len() > 1 && reports.iter().all(MutationReport::ok)
}
