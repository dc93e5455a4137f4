//! `seaworthy lineage show`: where something came from, and what was made from it.

use seaworthy_store::lineage::{Direction, lineage};

use crate::arguments::Lineage;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Lineage) -> Result<u8, Failure> {
    let Lineage::Show { reference } = command;
    let dir = settings.workspace_dir(None)?;
    let catalog = open::reading(settings, &dir)?.catalog()?;
    let ancestors = lineage(&catalog, reference, Direction::Ancestors).map_err(|e| open::catalog_failure(&e))?;
    let descendants = lineage(&catalog, reference, Direction::Descendants).map_err(|e| open::catalog_failure(&e))?;
    render::lineage(settings, &ancestors, &descendants);
    Ok(0)
}
