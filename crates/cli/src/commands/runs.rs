//! `seaworthy runs`: list, show, cancel. A cancellation is authorized and recorded before the run is told.

use seaworthy_core::id::RunId;
use seaworthy_store::catalog::{Catalog, CatalogError, RunDetail};

use crate::arguments::{Confinement, Runs};
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

/// Runs listed at most.
const RUNS_MAX: u64 = 1_000;

pub(crate) fn run(settings: &Settings, command: &Runs) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let catalog = reading.catalog()?;
    match command {
        Runs::List => {
            let runs = catalog.runs(RUNS_MAX).map_err(|e| open::catalog_failure(&e))?;
            render::runs(settings, &runs);
        }
        Runs::Show { run } => {
            render::run(settings, &show(&catalog, run)?);
        }
        Runs::Cancel { run } => {
            let detail = show(&catalog, run)?;
            let running = open::running_in(settings, &dir, &reading.environment, &Confinement::default(), 1)?;
            running.await_signer()?;
            // no record, no effect: a denied request stops nothing
            running.engine.request_cancel(&RunId(run.clone()), detail.summary.index)?;
            running.remember();
            let folder = open::cancel_dir(&reading.paths);
            seaworthy_store::workspace::private_folder(&folder)
                .and_then(|_| seaworthy_store::workspace::write_atomic(&folder.join(run), b"", 0o600))
                .map_err(|e| Failure::configuration("runs/cancel", e.to_string(), "only the workspace's owner can cancel"))?;
            render::note(&format!("asked run {run} to stop"));
        }
    }
    Ok(0)
}

fn show(catalog: &Catalog, run: &str) -> Result<RunDetail, Failure> {
    catalog.run(&RunId(run.to_owned())).map_err(|error| match error {
        CatalogError::Unknown { .. } => Failure::usage(format!("there is no run `{run}`"), "`seaworthy runs list` lists them"),
        other => open::catalog_failure(&other),
    })
}
