//! `seaworthy trust export`: whose signatures count, for a verifier elsewhere.

use crate::arguments::Trust;
use crate::failure::Failure;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Trust) -> Result<u8, Failure> {
    let Trust::Export = command;
    let dir = settings.workspace_dir(None)?;
    let reading = open::reading(settings, &dir)?;
    let (trust, proven) = reading.trust(None)?;
    if !proven {
        render::note("this is the workspace's own copy: it proves nothing until you have compared its keys with their holders'");
    }
    render::bytes(&trust.to_json());
    Ok(0)
}
