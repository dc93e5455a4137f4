//! Tables: runs, models.

use seaworthy_core::attestation::time::Timestamp;
use seaworthy_store::catalog::{ModelSummary, ModelVersion, RunDetail, RunSummary};

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
    let summary = &run.summary;
    render::line(&format!("run {} {} asked for by {} at {}", summary.run, summary.state, summary.principal, Timestamp(summary.started_ms)));
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
        render::line(&render::clean(&format!(
            "  denied [leaf {}]: {} {} {}",
            denial.index, denial.principal, denial.action, denial.resource
        )));
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

/// One model version.
pub(crate) fn model(settings: &Settings, model: &ModelVersion) {
    if settings.json {
        render::json(model);
        return;
    }
    render::line(&format!("model {}@{}  artifact {}", model.model, model.version, model.digest));
    let responsible = model.responsible.as_deref().unwrap_or("unknown");
    render::line(&format!(
        "  registered {} by {} [leaf {}], run asked for by {responsible}",
        Timestamp(model.registered_ms),
        model.principal,
        model.index
    ));
    render::line(&format!("  aliases {}", model.aliases.join(", ")));
    render::line(&format!("  trained by {}, validated by {}", model.trained_by, model.validated_by));
    for data in &model.trained_on {
        let signatures = model.training_signatures.get(&data.digest.hex()).map_or(0, Vec::len);
        render::line(&format!("  trained on {} {} ({signatures} signed statements)", data.name, data.digest.short()));
    }
    for (name, value) in &model.metrics {
        render::line(&format!("  {name} {value}"));
    }
    if let Some(score) = model.score {
        render::line(&format!("  integrity score {score:.4}"));
    }
    for gate in &model.gates {
        let verdict = if gate.decision.pass { "passed" } else { "denied" };
        render::line(&format!("  gate {} {verdict} [leaf {}]", gate.decision.gate, gate.index));
        for (name, check) in &gate.decision.checks {
            render::line(&render::clean(&format!(
                "    {} {name}: {} (wanted {})",
                if check.pass { "ok  " } else { "FAIL" },
                check.got,
                check.want
            )));
        }
    }
    for deployment in &model.deployments {
        render::line(&format!("  deployment release {} {} [leaf {}]", deployment.release, deployment.state, deployment.index));
    }
    render::line(&format!("  model.sig {}  approval {}", model.signature, model.approval));
}
