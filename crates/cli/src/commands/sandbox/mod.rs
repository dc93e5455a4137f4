//! `seaworthy sandbox`: the sandbox as a tool of its own.

mod egress;
mod explain;
mod outputs;
mod run;
mod selftest;

use seaworthy_sandbox::Profile;

use crate::arguments::Sandbox;
use crate::failure::Failure;
use crate::settings::Settings;

/// What `sandbox run` exits with when the fault is the sandbox', not the command's.
const NOT_SET_UP: u8 = 125;

pub(crate) fn run(settings: &Settings, command: &Sandbox) -> Result<u8, Failure> {
    match command {
        Sandbox::Run(arguments) => run::run(settings, arguments),
        Sandbox::Explain { profile } => explain::run(settings, profile.as_deref()),
        Sandbox::Selftest { profile } => selftest::run(settings, profile.as_deref()),
    }
}

fn profile(name: &str) -> Result<Profile, Failure> {
    name.parse().map_err(|_| Failure::usage(format!("there is no profile `{name}`"), "`seaworthy sandbox explain` tells of all"))
}
