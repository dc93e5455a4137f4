//! `seaworthy`: runs an AI workflow so that nothing in it can be changed, skipped or served without proof.
//!
//! in: arguments, settings, environment; out: an exit code, decided here alone.
//! **Invariant:** the first thing this program does is to find out whether it was started as a sandbox' init, the second
//! whether to attack a sandbox for its self-test, the third whether as a worker, the fourth whether as a command's signer.

mod arguments;
mod commands;
mod example;
mod failure;
mod keystore;
mod last_seen;
mod names;
mod open;
mod ports;
mod render;
mod secretstore;
mod settings;
mod signing;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::settings::Settings;

fn main() -> ExitCode {
    seaworthy_sandbox::init_main();
    if let Some(code) = seaworthy_sandbox::attack::attack_main() {
        return ExitCode::from(code);
    }
    if let Some(code) = seaworthy_engine::workers::started_as_worker() {
        return ExitCode::from(code);
    }
    if let Some(code) = commands::signer::started_as_child() {
        return ExitCode::from(code);
    }
    let arguments = Arguments::parse();
    let settings = Settings::from_environment(&arguments.global);
    let result = settings.and_then(|settings| dispatch(arguments.command, &settings));
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            render::failure(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}

/// The whole program on one page.
fn dispatch(command: Command, settings: &Settings) -> Result<u8, Failure> {
    match command {
        Command::Init(arguments) => commands::init::run(settings, &arguments),
        Command::Demo(arguments) => commands::demo::run(settings, &arguments),
        Command::Plan(arguments) => commands::plan::run(settings, &arguments),
        Command::Lock(arguments) => commands::lock::run(settings, &arguments),
        Command::Run(arguments) => commands::run::run(settings, &arguments),
        Command::Runs(command) => commands::runs::run(settings, &command),
        Command::Models(command) => commands::models::run(settings, &command),
        Command::Lineage(command) => commands::lineage::run(settings, &command),
        Command::Verify(arguments) => commands::verify::run(settings, &arguments),
        Command::Trust(command) => commands::trust::run(settings, &command),
        Command::Log(command) => commands::log::run(settings, &command),
        Command::Attest(command) => commands::attest::run(settings, &command),
        Command::Policy(command) => commands::policy::run(settings, &command),
        Command::Keys(command) => commands::keys::run(settings, &command),
        Command::Secrets(command) => commands::secrets::run(settings, &command),
        Command::Catalog(command) => commands::catalog::run(settings, &command),
        Command::Image(command) => commands::image::run(settings, &command),
        Command::Store(command) => commands::store::run(settings, &command),
        Command::Sandbox(command) => commands::sandbox::run(settings, &command),
        Command::Signer(arguments) => commands::signer::run(settings, &arguments),
        Command::Reference => commands::reference::run(),
    }
}
