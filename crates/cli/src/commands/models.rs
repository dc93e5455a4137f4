//! `seaworthy models`: list, show.

use seaworthy_store::lineage::{Direction, lineage};

use crate::arguments::Models;
use crate::failure::Failure;
use crate::names::Names;
use crate::open;
use crate::render::{self, ModelPage};
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Models) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let catalog = reading.catalog()?;
    match command {
        Models::List => render::models(settings, &catalog.models().map_err(|e| open::catalog_failure(&e))?),
        Models::Show { reference } => {
            let bare = reference.strip_prefix("model:").unwrap_or(reference);
            let found = catalog.model(bare).map_err(|e| open::catalog_failure(&e))?;
            if settings.json {
                render::json(&found);
                return Ok(0);
            }
            let id = format!("model:{}@{}", found.model, found.version);
            let ancestors = lineage(&catalog, &id, Direction::Ancestors).map_err(|e| open::catalog_failure(&e))?;
            let trusted = match reading.trust(None) {
                Ok((trust, _)) => trust.keys,
                Err(failure) => {
                    render::note(&format!("note: keys are shown without their holders: {}", failure.message));
                    Vec::new()
                }
            };
            let holders = trusted.into_iter().map(|key| (key.hint, key.principal.0)).collect();
            ModelPage { model: &found, ancestors: &ancestors, holders, names: Names::of(settings) }.show();
        }
    }
    Ok(0)
}
