//! `seaworthy catalog rebuild`: makes the index again from log and artifacts.

use seaworthy_store::catalog::Catalog;

use crate::arguments::Catalog as Arguments;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Arguments) -> Result<u8, Failure> {
    let Arguments::Rebuild = command;
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let mut catalog = Catalog::open(&reading.paths.catalog).map_err(|e| open::catalog_failure(&e))?;
    catalog.rebuild(&reading.log).map_err(|e| open::catalog_failure(&e))?;
    render::note("the index was made again from the log");
    Ok(0)
}
