//! `seaworthy keys`: list, create, rotate, name.

use std::path::Path;

use seaworthy_core::id::Name;
use seaworthy_store::workspace::Workspace;
use serde_json::json;

use crate::arguments::{Confinement, Keys};
use crate::commands::load;
use crate::failure::Failure;
use crate::keystore::{Keystore, ROLES};
use crate::names::Names;
use crate::open;
use crate::render;
use crate::settings::Settings;

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
        Keys::Rotate { role } => rotate(settings, &dir, &keystore, role)?,
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

/// A new key counts from the log's next leaf on; the change itself is a leaf signed for by the old order of things.
fn rotate(settings: &Settings, dir: &Path, keystore: &Keystore, role: &str) -> Result<(), Failure> {
    use seaworthy_core::event::EventKind;
    use seaworthy_core::ports::EvidenceSource as _;
    let loaded = load::load(settings, &dir.join("workflow.yaml"), None)?;
    let running = open::running(settings, dir, &loaded.workspace, &Confinement::default(), 1)?;
    let from = running.engine.log().size().map_err(|e| Failure::integrity("log/read", e))?;
    let hint = keystore.rotate(role, from)?;
    running.engine.record_user_event(EventKind::KeyChanged { role: role.to_owned(), change: "rotated".to_owned(), key: hint.clone() })?;
    render::line(&format!("rotated {role} key: {hint}"));
    Ok(())
}

/// The key folder of the workspace's environment; the workspace's state is made if it is not there yet.
fn keystore(settings: &Settings, dir: &Path) -> Result<Keystore, Failure> {
    let environment = match &settings.environment {
        Some(name) => Name::new(name).map_err(|e| Failure::usage(e.to_string(), "for instance staging"))?,
        None => load::load(settings, &dir.join("workflow.yaml"), None)?.workspace.environment,
    };
    let workspace = Workspace::create(dir).map_err(|e| Failure::configuration("workspace/state", e.to_string(), e.hint()))?;
    Ok(Keystore::new(settings, workspace.id(), &environment))
}
