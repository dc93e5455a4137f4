//! `seaworthy run`: load, compare with the lock, run, report.

use seaworthy_core::id::RunId;
use seaworthy_engine::pins;
use seaworthy_engine::report::RunReport;
use seaworthy_engine::run::{self, RunInput};
use seaworthy_sandbox::Cancel;

use crate::arguments::Run;
use crate::commands::load::{self, Loaded};
use crate::failure::Failure;
use crate::open::{self, Running};
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Run) -> Result<u8, Failure> {
    let loaded = load::load(settings, &arguments.workflow, arguments.name.as_deref())?;
    let running = open::running(settings, &loaded, &arguments.confinement, arguments.parallel)?;
    let report = execute(settings, &loaded, &running, None)?;
    render::run_report(settings, &report);
    Ok(report.exit_code)
}

/// Runs a loaded workflow to its end; with `resume`, exactly that run of it.
pub(crate) fn execute(settings: &Settings, loaded: &Loaded, running: &Running, resume: Option<&RunId>) -> Result<RunReport, Failure> {
    running.keystore.refuse_ended(running.engine.trust())?;
    let lock = loaded.lock_file()?;
    let found = loaded.find_pins(&running.engine, &lock.lock)?;
    for difference in pins::check(&loaded.plan, &lock.lock, &found)? {
        render::note(&format!("lock: {}", difference.message()));
    }
    let cancel = Cancel::new();
    cancel_on_interrupt(&cancel)?;
    running.await_signer()?;
    let progress = render::progress(settings);
    let input =
        RunInput { plan: &loaded.plan, found: &found, lock: &lock.lock, lock_bytes: &lock.bytes, resume, cancel, progress: &*progress };
    let report = run::run_plan(&running.engine, &input);
    running.remember();
    Ok(report?)
}

/// Ctrl-C stops the run cleanly: steps are killed, their ends recorded.
fn cancel_on_interrupt(cancel: &Cancel) -> Result<(), Failure> {
    let cancel = cancel.clone();
    ctrlc::set_handler(move || cancel.cancel()).map_err(|e| Failure::internal("cli/signal", e))
}
