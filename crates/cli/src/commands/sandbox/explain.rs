//! `seaworthy sandbox explain`: what a profile does, what it cannot stop, and whether this machine can have it.

use seaworthy_sandbox::profile::{LAYERS, Layers};
use seaworthy_sandbox::{preflight, threats};
use serde_json::{Value, json};

use super::profile;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

pub(super) fn run(settings: &Settings, name: Option<&str>) -> Result<u8, Failure> {
    let Some(name) = name else {
        if settings.json {
            render::json(&LAYERS.iter().map(facts).collect::<Vec<_>>());
        } else {
            LAYERS.iter().for_each(page);
        }
        return Ok(0);
    };
    let row = profile(name)?.layers();
    if settings.json {
        render::json(&facts(row));
    } else {
        page(row);
    }
    Ok(0)
}

fn facts(row: &Layers) -> Value {
    let told = row.open.iter();
    let open: Vec<Value> = told
        .map(|open| json!({"attack": open.attack, "title": threats::title(open.attack), "when": open.circumstances(), "why": open.why}))
        .collect();
    let here = match preflight(row.profile) {
        Ok(facilities) => json!({"possible": true, "facilities": facilities}),
        Err(unsupported) => json!({"possible": false, "missing": unsupported.missing}),
    };
    json!({"profile": row.name, "about": row.about, "for_steps": row.for_steps, "layers": row.profile.explain(), "cannot_stop": open, "here": here})
}

fn page(row: &Layers) {
    render::line(&format!("{}: {}", row.name, row.about));
    for layer in row.profile.explain() {
        let mark = if layer.present { "+" } else { "-" };
        let asks = if layer.asks.is_empty() { String::new() } else { format!(" (asks for: {})", layer.asks) };
        render::line(&format!("  {mark} {:<11} {}{asks}", layer.layer, layer.does));
    }
    if row.open.is_empty() {
        render::line("  cannot stop: a fault in the kernel itself; none of the 65 numbered attacks");
    } else {
        render::line("  cannot stop: a fault in the kernel itself, and of the 65 numbered attacks:");
    }
    for open in row.open {
        let title = threats::title(open.attack).unwrap_or_default();
        render::line(&format!("    {:>2} {title} ({}): {}", open.attack, open.circumstances(), open.why));
    }
    match preflight(row.profile) {
        Ok(_) => render::line("  this machine: can\n"),
        Err(unsupported) => {
            render::line("  this machine: cannot");
            for missing in unsupported.missing {
                render::line(&format!("    missing: {}\n      hint: {}", missing.what, missing.hint));
            }
            render::line("");
        }
    }
}
