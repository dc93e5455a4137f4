//! `seaworthy models`: list, show.

use crate::arguments::Models;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Models) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let catalog = open::reading(settings, &dir)?.catalog()?;
    match command {
        Models::List => render::models(settings, &catalog.models().map_err(|e| open::catalog_failure(&e))?),
        Models::Show { reference } => {
            let bare = reference.strip_prefix("model:").unwrap_or(reference);
            let found = catalog.model(bare).map_err(|e| open::catalog_failure(&e))?;
            render::model(settings, &found);
        }
    }
    Ok(0)
}
