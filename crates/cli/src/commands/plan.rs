//! `seaworthy plan`: what a run would do, and how each pin stands to what is there now.
//!
//! **Invariant:** needs no keys, writes nothing, builds nothing.

use seaworthy_core::digest::Digest;
use seaworthy_core::lock::{Lock, PinKind};
use seaworthy_core::plan::Plan;
use seaworthy_core::plan::reach::{self, StepReach};
use seaworthy_core::workflow::model::OutputName;
use seaworthy_engine::pins::{self, Seen};
use serde::Serialize;
use serde_json::json;

use crate::arguments::Plan as Arguments;
use crate::commands::load;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> Result<u8, Failure> {
    let loaded = load::load(settings, &arguments.workflow, arguments.name.as_deref())?;
    if arguments.reach {
        show_reach(settings, &loaded.plan);
        return Ok(0);
    }
    let lock = loaded.lock_file()?;
    let pins = states(&loaded.plan, &lock.lock, &loaded.look_at_pins(settings, &lock.lock));
    if settings.json {
        render::json(&json!({"digest": loaded.plan.digest().hex(), "plan": loaded.plan, "pins": pins}));
        return Ok(0);
    }
    render::line(&format!("{} ({}), plan {}", loaded.plan.workflow, loaded.plan.environment, loaded.plan.digest().short()));
    for planned in &loaded.plan.steps {
        let kind = serde_json::to_value(planned.step.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        let reads: Vec<String> = planned.inputs.iter().map(ToString::to_string).collect();
        let writes: Vec<String> = planned.step.outputs.keys().map(ToString::to_string).collect();
        let gate = planned.step.policy_gate.as_ref().map_or_else(String::new, |gate| format!("  gate {gate}"));
        render::line(&format!(
            "  {:<20} {:<9} reads [{}] writes [{}]{gate}",
            planned.step.name.as_str(),
            kind,
            reads.join(", "),
            writes.join(", ")
        ));
    }
    for pin in &pins {
        let digest = pin.digest.map_or_else(|| "-".to_owned(), |digest| digest.short());
        let now = pin.now.filter(|_| pin.state == "changed").map(|now| format!(", now {}", now.short())).unwrap_or_default();
        let note = pin.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        render::line(&format!("  pin {:<40} {digest:<12} {}{now}{note}", pin.name, pin.state));
    }
    Ok(0)
}

/// Step × artifact, and what else each step's body can reach. A cell is `r` (reads), `w` (writes) or `.` (is not there for it).
fn show_reach(settings: &Settings, plan: &Plan) {
    let steps = reach::reach(plan);
    if settings.json {
        render::json(&json!({"digest": plan.digest().hex(), "reach": steps}));
        return;
    }
    let artifacts = reach::artifacts(&steps);
    let width = steps.iter().map(|step| step.step.as_str().len()).max().unwrap_or_default();
    render::line(&format!("{} ({}), plan {}", plan.workflow, plan.environment, plan.digest().short()));
    for (column, artifact) in artifacts.iter().enumerate() {
        render::line(&format!("  {:width$}  {}┌ {artifact}", "", "│ ".repeat(column)));
    }
    for step in &steps {
        let cells: Vec<&str> = artifacts.iter().map(|artifact| cell(step, artifact)).collect();
        render::line(&format!("  {:width$}  {}  {}", step.step.as_str(), cells.join(" "), beyond(step)));
    }
}

fn cell(step: &StepReach, artifact: &OutputName) -> &'static str {
    if step.writes.contains(artifact) {
        "w"
    } else if step.reads.contains(artifact) {
        "r"
    } else {
        "."
    }
}

/// What a step reaches besides artifacts, in words.
fn beyond(step: &StepReach) -> String {
    let listed = |items: &[String], none: &str| if items.is_empty() { none.to_owned() } else { items.join(", ") };
    let named = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
    let mut parts = vec![format!("body: {}", step.body)];
    parts.extend(named("source", &step.source));
    parts.extend(named("code", &step.code));
    parts.extend(named("environment", &step.environment));
    if step.body == "yours" {
        parts.push(format!("hosts: {}", listed(&step.hosts, "none")));
        parts.push(format!("secrets: {}", listed(&step.secrets, "none")));
    }
    parts.join("; ")
}

/// One pin, as the lock has it and as it is.
#[derive(Serialize)]
struct PinState {
    name: String,
    /// In the lock.
    digest: Option<Digest>,
    /// Here and now, where it could be hashed without building anything.
    now: Option<Digest>,
    /// `pinned`, `unpinned` or `changed`.
    state: &'static str,
    /// Why there is no `now`.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Every pin that a run compares, those that are there no more included.
fn states(plan: &Plan, lock: &Lock, seen: &Seen) -> Vec<PinState> {
    let mut states = Vec::new();
    for (name, kind) in pins::required(plan, lock, &seen.pins) {
        let digest = lock.pins.get(&name).map(|pin| pin.digest);
        let now = seen.pins.get(&name).map(|pin| pin.digest);
        let note = match (now, seen.unreadable.get(&name)) {
            (Some(_), _) => None,
            (None, Some(why)) => Some(why.clone()),
            (None, None) if kind == PinKind::Environment => Some("compared when it is resolved, by `seaworthy run`".to_owned()),
            (None, None) => Some("not there now".to_owned()),
        };
        let gone = now.is_none() && kind != PinKind::Environment;
        let state = match digest {
            None => "unpinned",
            Some(digest) if gone || now.is_some_and(|now| now != digest) => "changed",
            Some(_) => "pinned",
        };
        states.push(PinState { name, digest, now, state, note });
    }
    states
}
