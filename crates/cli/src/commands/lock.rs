//! `seaworthy lock`: adds missing pins; moves those that are named; never moves one silently, nor one whose line was removed.

use std::collections::BTreeSet;

use seaworthy_core::action::{Action, Resource};
use seaworthy_core::digest::Digest;
use seaworthy_core::event::EventKind;
use seaworthy_core::lock::Lock;
use seaworthy_engine::pin_history;
use seaworthy_engine::pins::{self, FoundPins};
use serde_json::json;

use crate::arguments::Lock as Arguments;
use crate::commands::load::{self, Loaded, LockFile};
use crate::failure::{DENIED, Failure};
use crate::open::{self, Running};
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> Result<u8, Failure> {
    let file = match &arguments.workflow {
        Some(file) => file.clone(),
        None => settings.workspace_dir(None)?.join("workflow.yaml"),
    };
    let loaded = load::load(settings, &file, arguments.name.as_deref())?;
    let mut running = open::running(settings, &loaded, &arguments.confinement, 1)?;
    running.await_signer()?;
    let moved = update(&mut running, &loaded, &arguments.update)?;
    if settings.json {
        render::json(&json!({"changed": moved}));
    } else if moved.is_empty() {
        render::note("seaworthy.lock is up to date");
    } else {
        for name in &moved {
            render::line(&format!("pinned {name}"));
        }
    }
    Ok(0)
}

/// Writes missing pins and moves the `named` ones; returns their names.
pub(crate) fn update(running: &mut Running, loaded: &Loaded, named: &[String]) -> Result<Vec<String>, Failure> {
    running.keystore.refuse_ended(running.engine.trust())?;
    let file = loaded.lock_file()?;
    let found = loaded.find_pins(&running.engine, &file.lock)?;
    refuse_unknown(named, &found)?;
    refuse_removed(running, loaded, named, &file.lock, &found)?;
    let mut next = file.lock.clone();
    let mut moved = Vec::new();
    for (name, _) in pins::required(&loaded.plan, &file.lock, &found.pins) {
        let Some(pin) = found.pins.get(&name) else { continue };
        let present = next.pins.get(&name);
        let differs = present.is_some_and(|old| old.digest != pin.digest);
        if present.is_none() || (differs && is_named(named, &name)) {
            next.pins.insert(name.clone(), pin.clone());
            moved.push(name);
        } else if differs {
            render::note(&format!("`{name}` differs from its pin; `seaworthy lock --update {name}` moves it"));
        }
    }
    if !moved.is_empty() {
        write(running, &file, &next, &moved)?;
        own_sources(running, loaded, &found, &moved)?;
        running.remember();
    }
    Ok(moved)
}

fn refuse_unknown(named: &[String], found: &FoundPins) -> Result<(), Failure> {
    match named.iter().find(|name| *name != "all" && !found.pins.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = found.pins.keys().map(String::as_str).collect();
            Err(Failure::usage(format!("no pin is called `{name}`"), format!("there are {}", known.join(", "))))
        }
    }
}

fn is_named(named: &[String], name: &str) -> bool {
    named.iter().any(|wanted| wanted == "all" || wanted == name)
}

/// A name that the log knows is not new: whoever removed its line would move it without being asked.
fn refuse_removed(running: &Running, loaded: &Loaded, named: &[String], lock: &Lock, found: &FoundPins) -> Result<(), Failure> {
    let required = pins::required(&loaded.plan, lock, &found.pins).into_iter().map(|(name, _)| name);
    let absent: BTreeSet<String> =
        required.filter(|name| found.pins.contains_key(name) && !lock.pins.contains_key(name) && !is_named(named, name)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let earlier = pin_history::earlier(&running.engine, &absent)?;
    let removed: Vec<String> = earlier
        .iter()
        .map(|(name, pin)| {
            let digest = pin.digest.map_or_else(|| "(its leaf does not say)".to_owned(), |digest| digest.hex());
            format!("`{name}` is no more in seaworthy.lock; leaf {} of the log pinned {digest}", pin.leaf)
        })
        .collect();
    if removed.is_empty() {
        return Ok(());
    }
    let flags: Vec<String> = earlier.keys().map(|name| format!("--update {name}")).collect();
    let hint = format!("restore the lock from version control, or pin anew with `seaworthy lock {}`", flags.join(" "));
    Err(Failure::new(DENIED, "lock/removed", removed.join("; "), hint))
}

/// Each moved pin is authorized and recorded before the file changes.
fn write(running: &Running, file: &LockFile, next: &Lock, moved: &[String]) -> Result<(), Failure> {
    let text = next.to_text();
    let digest = Digest::of(text.as_bytes());
    for name in moved {
        running.engine.authorize_user(Action::UpdateLock, Resource::Pin { name: name.clone() })?;
        let of = |lock: &Lock| lock.pins.get(name).map(|pin| pin.digest);
        let (before, now) = (of(&file.lock), of(next));
        running.engine.record_user_event(EventKind::LockUpdated { pin: name.clone(), lock: digest, digest: now, before })?;
    }
    seaworthy_store::workspace::write_atomic(&file.path, text.as_bytes(), 0o644)
        .map_err(|e| Failure::configuration("lock/unwritable", e.to_string(), "make the workspace folder writable"))
}

/// Who pins a source vouches for it: the user signs its manifest and stands in the trust file as its owner.
fn own_sources(running: &mut Running, loaded: &Loaded, found: &FoundPins, moved: &[String]) -> Result<(), Failure> {
    for (step, folder) in &found.sources {
        if !moved.contains(&format!("source:{step}")) {
            continue;
        }
        let planned = loaded.plan.steps.iter().find(|planned| planned.step.name.as_str() == step);
        let Some(uri) = planned.and_then(|planned| planned.step.source.clone()) else { continue };
        running.engine.vouch_for_source(&uri, &folder.manifest)?;
        let mut trust = running.engine.trust().clone();
        running.keystore.own_source(&mut trust, &uri)?;
        running.engine.replace_trust(trust);
    }
    Ok(())
}
