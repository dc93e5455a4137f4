//! Tables: runs, models.

use seaworthy_core::attestation::time::Timestamp;
use seaworthy_store::catalog::{ModelSummary, RunDetail, RunSummary};

use crate::names::Names;
use crate::render;
use crate::settings::Settings;

/// All runs, newest first.
pub(crate) fn runs(settings: &Settings, runs: &[RunSummary]) {
    if settings.json {
        render::json(&runs);
        return;
    }
    for run in runs {
        let started = Timestamp(run.started_ms);
        render::line(&format!("{}  {:<10} {started}  {} of {} steps committed", run.run, run.state, run.committed, run.steps));
    }
}

/// One run, attempt by attempt.
pub(crate) fn run(settings: &Settings, run: &RunDetail) {
    if settings.json {
        render::json(run);
        return;
    }
    let names = Names::of(settings);
    let summary = &run.summary;
    let asked = format!("run {} {} asked for by {} at {}", summary.run, summary.state, summary.principal, Timestamp(summary.started_ms));
    render::line(&names.spell(&asked));
    for attempt in &run.attempts {
        let took = match (attempt.started_ms, attempt.ended_ms) {
            (Some(started), Some(ended)) => {
                format!("{:.2}s", std::time::Duration::from_millis(ended.saturating_sub(started)).as_secs_f64())
            }
            _ => String::new(),
        };
        let error = attempt.error.as_ref().map(|error| format!(" [{error}]")).unwrap_or_default();
        render::line(&format!("  {:<20} #{} {:<10} {took:>8}{error}", attempt.step, attempt.attempt, attempt.state));
        for gate in &attempt.gates {
            let passed = gate.decision.checks.values().filter(|check| check.pass).count();
            let verdict = if gate.decision.pass { "passed" } else { "denied" };
            render::line(&format!(
                "    gate {} {verdict}: {passed} of {} checks [leaf {}]",
                gate.decision.gate,
                gate.decision.checks.len(),
                gate.index
            ));
            for reason in &gate.decision.reasons {
                render::line(&render::clean(&format!("      {}: {}", reason.rule, reason.message)));
            }
        }
        let outputs = attempt.outcome.iter().flat_map(|outcome| &outcome.outputs);
        for output in outputs {
            render::line(&format!("    {} {} {}", output.kind, output.name, output.digest.short()));
        }
        if let Some(original) = attempt.outcome.as_ref().and_then(|outcome| outcome.reused_from.as_ref()) {
            render::line(&format!("    reused from {original}"));
        }
    }
    for denial in &run.denials {
        let denied = format!("  denied [leaf {}]: {} {} {}", denial.index, denial.principal, denial.action, denial.resource);
        render::line(&names.spell(&denied));
    }
}

/// All models.
pub(crate) fn models(settings: &Settings, models: &[ModelSummary]) {
    if settings.json {
        render::json(&models);
        return;
    }
    for model in models {
        let versions: Vec<String> = model.versions.iter().map(ToString::to_string).collect();
        let aliases: Vec<String> = model.aliases.iter().map(|(alias, version)| format!("{alias} → {version}")).collect();
        render::line(&format!("{}  versions {}  {}", model.model, versions.join(", "), aliases.join(", ")));
    }
}
