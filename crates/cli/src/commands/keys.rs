//! `seaworthy keys`: list, create, rotate, revoke, name.

use std::path::Path;

use seaworthy_core::attestation::revocation::{Revocation, Revoked};
use seaworthy_core::event::EventKind;
use seaworthy_core::id::Name;
use seaworthy_core::ports::{EvidenceSource as _, KeyRole};
use seaworthy_store::workspace::Workspace;
use serde_json::json;

use crate::arguments::{Confinement, Keys};
use crate::commands::load;
use crate::failure::Failure;
use crate::keystore::{Keystore, ROLES};
use crate::names::Names;
use crate::open::{self, Running};
use crate::settings::Settings;
use crate::{render, signing};

/// Characters of a reason: it stands in the log for ever.
const REASON_CHARS_MAX: usize = 200;

pub(crate) fn run(settings: &Settings, command: &Keys) -> Result<u8, Failure> {
    if let Keys::Name { id, name, forget } = command {
        return rename(settings, id.as_deref(), name.as_deref(), *forget);
    }
    let dir = settings.workspace_dir(None)?;
    let keystore = keystore(settings, &dir)?;
    match command {
        Keys::Create { passphrase } => {
            let created = keystore.create(*passphrase)?;
            if created.is_empty() {
                render::note("all keys are there already");
            }
            for role in created {
                render::line(&format!("created {role} key in {}", keystore.dir().display()));
            }
        }
        Keys::List => {
            for (_, role) in ROLES {
                let hint = if keystore.has(role) {
                    keystore.public(role)?.hint().map_err(|e| Failure::internal("keys/hint", e))?
                } else {
                    "missing".to_owned()
                };
                if settings.json {
                    render::json_line(&json!({"role": role, "key": hint}));
                } else {
                    render::line(&format!("{role:<8} {hint}"));
                }
            }
        }
        Keys::Rotate { role } => rotate(settings, &dir, role)?,
        Keys::Revoke { key, reason, from } => revoke(settings, &dir, key, reason, *from)?,
        Keys::Name { .. } => {}
    }
    Ok(0)
}

/// Lists, gives or erases names of principals; nothing but the user's own table is read or written.
fn rename(settings: &Settings, id: Option<&str>, name: Option<&str>, forget: bool) -> Result<u8, Failure> {
    let mut names = Names::read(&settings.config_dir)?;
    match (id, name) {
        (Some(id), Some(name)) => names.set(id, name)?,
        (Some(id), None) if forget => {
            if !names.forget(id)? {
                render::note(&format!("`{id}` had no name"));
            }
        }
        (Some(id), None) => {
            return Err(Failure::usage(format!("`{id}` needs a name"), format!("`seaworthy keys name {id} 'Ada Lovelace'`, or --forget")));
        }
        (None, _) if settings.json => render::json(names.entries()),
        (None, _) => names.entries().iter().for_each(|(id, name)| render::line(&format!("{name} ({id})"))),
    }
    Ok(0)
}

/// A new key counts from the log's next leaf on, and the old one to there; the change itself is that leaf.
fn rotate(settings: &Settings, dir: &Path, role: &str) -> Result<(), Failure> {
    let running = alone(settings, dir)?;
    let from = running.engine.log().size().map_err(|e| Failure::integrity("log/read", e))?;
    let hint = running.keystore.rotate(role, from)?;
    running.engine.record_user_event(EventKind::KeyChanged { role: role.to_owned(), change: "rotated".to_owned(), key: hint.clone() })?;
    running.remember();
    render::line(&format!("rotated {role} key: {hint}"));
    Ok(())
}

/// The root key says in the log from which leaf on a key counts no more; then the trust file says so too.
fn revoke(settings: &Settings, dir: &Path, key: &str, reason: &str, from: Option<u64>) -> Result<(), Failure> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control) {
        return Err(Failure::usage("that reason cannot be recorded", format!("one line of at most {REASON_CHARS_MAX} characters")));
    }
    let running = alone(settings, dir)?;
    let mut trust = running.engine.trust().clone();
    let revoked = running.keystore.revocable(&trust, key)?;
    let size = running.engine.log().size().map_err(|e| Failure::integrity("log/read", e))?;
    if let Some(from) = from.filter(|from| *from > size) {
        return Err(Failure::usage(format!("leaf {from} does not exist yet"), format!("the log has {size} leaves")));
    }
    let target = revoked.hint.parse().map_err(|e| Failure::internal("keys/hint", e))?;
    let effective_log_index = from.unwrap_or(size);
    let revocation = Revocation { kind: Revoked::Key, target, reason: reason.to_owned(), effective_log_index };
    running.engine.revoke_key(&signing::of_root(settings, &running.keystore)?, &revocation, role_name(revoked.role))?;
    trust.keys.iter_mut().filter(|known| known.hint == revoked.hint).for_each(|known| known.end_at(size.max(known.from)));
    running.keystore.write_trust(&trust)?;
    running.remember();
    render::line(&format!("revoked {} key {} from leaf {effective_log_index} on", role_name(revoked.role), revoked.hint));
    Ok(())
}

/// The workspace opened with nobody else signing: a key that changes under a run would make its leaves faults.
fn alone(settings: &Settings, dir: &Path) -> Result<Running, Failure> {
    let loaded = load::load(settings, &dir.join("workflow.yaml"), None)?;
    let running = open::running(settings, &loaded, &Confinement::default(), 1)?;
    running.await_signer()?;
    running.keystore.hold_alone()?;
    Ok(running)
}

const fn role_name(role: KeyRole) -> &'static str {
    match role {
        KeyRole::User => "user",
        KeyRole::Runner => "runner",
        KeyRole::Log => "log",
        KeyRole::Root => "root",
    }
}

/// The key folder of the workspace's environment; the workspace's state is made if it is not there yet.
pub(super) fn keystore(settings: &Settings, dir: &Path) -> Result<Keystore, Failure> {
    let environment = match &settings.environment {
        Some(name) => Name::new(name).map_err(|e| Failure::usage(e.to_string(), "for instance staging"))?,
        None => load::load(settings, &dir.join("workflow.yaml"), None)?.workspace.environment,
    };
    let workspace = Workspace::create(dir).map_err(|e| Failure::configuration("workspace/state", e.to_string(), e.hint()))?;
    Ok(Keystore::new(settings, workspace.id(), &environment))
}
