//! `seaworthy plan`: what a run would do.

use serde_json::json;

use crate::arguments::Plan;
use crate::commands::load;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Plan) -> Result<u8, Failure> {
    let loaded = load::load(settings, &arguments.workflow, arguments.name.as_deref())?;
    let lock = loaded.lock_file()?;
    let required = seaworthy_core::lock::required_pins(&loaded.plan);
    if settings.json {
        let pins: Vec<_> = required
            .iter()
            .map(|(name, _)| json!({"name": name, "digest": lock.lock.pins.get(name).map(|pin| pin.digest.hex())}))
            .collect();
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
    for (name, _) in &required {
        let digest = lock.lock.pins.get(name).map_or_else(|| "not pinned".to_owned(), |pin| pin.digest.short());
        render::line(&format!("  pin {name:<40} {digest}"));
    }
    Ok(0)
}
