//! `seaworthy runs`: list, show, cancel, resume. A cancellation is authorized and recorded before the run is told; a resumed run is asked
//! for and authorized again.

use seaworthy_core::id::RunId;
use seaworthy_store::catalog::{Catalog, CatalogError, RunDetail};

use crate::arguments::{Confinement, Resume, Runs};
use crate::commands::load;
use crate::commands::run::execute;
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
        Runs::Resume(arguments) => return resume(settings, &show(&catalog, &arguments.run)?, arguments),
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

/// Continues a run that was interrupted. Nothing is begun in its place: if it has ended, or the files are others now, that is said.
fn resume(settings: &Settings, detail: &RunDetail, arguments: &Resume) -> Result<u8, Failure> {
    let run = RunId(detail.summary.run.clone());
    if detail.summary.ended_ms.is_some() {
        let message = format!("run {run} has ended: {}", detail.summary.state);
        let hint = "`seaworthy run` begins a new run, which reuses every finished step";
        return Err(Failure::configuration("runs/ended", message, hint));
    }
    let file = match &arguments.workflow {
        Some(file) => file.clone(),
        None => settings.workspace_dir(None)?.join("workflow.yaml"),
    };
    let loaded = load::load(settings, &file, arguments.name.as_deref())?;
    let running = open::running(settings, &loaded, &arguments.confinement, arguments.parallel)?;
    let report = execute(settings, &loaded, &running, Some(&run))?;
    render::run_report(settings, &report);
    Ok(report.exit_code)
}

fn show(catalog: &Catalog, run: &str) -> Result<RunDetail, Failure> {
    catalog.run(&RunId(run.to_owned())).map_err(|error| match error {
        CatalogError::Unknown { .. } => Failure::usage(format!("there is no run `{run}`"), "`seaworthy runs list` lists them"),
        other => open::catalog_failure(&other),
    })
}
