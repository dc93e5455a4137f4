//! `seaworthy sandbox`: the sandbox as a tool of its own.

mod outputs;
mod run;

use crate::arguments::Sandbox;
use crate::failure::Failure;
use crate::settings::Settings;

/// What `sandbox run` exits with when the fault is the sandbox', not the command's.
const NOT_SET_UP: u8 = 125;

pub(crate) fn run(_settings: &Settings, command: &Sandbox) -> Result<u8, Failure> {
    match command {
        Sandbox::Run(arguments) => run::run(arguments),
    }
}
