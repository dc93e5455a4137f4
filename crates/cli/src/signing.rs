//! The way to the signer: which process holds the keys, and how it is started.
//!
//! in: settings, a key folder; out: a [`ProcessSigner`].
//! **Invariant:** a command that runs workflows opens no private key itself: its own program, started again as `signer`, does,
//! or a service of another user.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use seaworthy_core::ports::KeyRole;
use seaworthy_engine::signer::{Expected, ProcessSigner, SignerError, SignerPlace};

use crate::failure::{CONFIGURATION, Failure};
use crate::keystore::{Keystore, ROLES};
use crate::settings::Settings;

/// This very program, whatever its file is called by now.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What the child is called: its program knows by this name what it was started for.
pub(crate) const CHILD: &str = seaworthy_sandbox::recluse::NAME;

/// The keys that runs need: user, runner, log. The root key stays closed. It starts while the command does other things;
/// but nobody is asked for a passphrase before the command knows that it needs one.
pub(crate) fn of_runs(settings: &Settings, keystore: &Keystore) -> Result<ProcessSigner, Failure> {
    keystore.hold_with_others()?;
    let place = match &settings.signer {
        Some(socket) => SignerPlace::Service(socket.clone()),
        None => program(settings, keystore, &[]),
    };
    let asks = matches!(place, SignerPlace::Program { asks: true, .. });
    let expected = expected(keystore, |role| role != KeyRole::Root, settings.signer.is_none())?;
    let signer = ProcessSigner::new(place, expected).map_err(|e| failure(&e))?;
    if !asks {
        signer.start();
    }
    Ok(signer)
}

/// The root key alone, for a revocation; no service has it.
pub(crate) fn of_root(settings: &Settings, keystore: &Keystore) -> Result<ProcessSigner, Failure> {
    let place = program(settings, keystore, &["--root"]);
    ProcessSigner::open(place, expected(keystore, |role| role == KeyRole::Root, true)?).map_err(|e| failure(&e))
}

fn expected(keystore: &Keystore, wanted: impl Fn(KeyRole) -> bool, here: bool) -> Result<Expected, Failure> {
    let mut keys = BTreeMap::new();
    for (role, name) in ROLES.into_iter().filter(|(role, _)| wanted(*role)) {
        if here {
            keystore.demand(name)?;
        }
        keys.insert(role, keystore.public(name)?.to_der().map_err(|e| Failure::internal("keys/public", e))?);
    }
    Ok(Expected { origin: keystore.origin(), keys })
}

fn program(settings: &Settings, keystore: &Keystore, more: &[&str]) -> SignerPlace {
    let config = settings.config_dir.parent().unwrap_or_else(|| Path::new("/"));
    let arguments = [keystore.environment(), keystore.workspace_id()];
    let arguments = arguments.iter().chain(more).map(OsString::from).collect();
    let environment = vec![(OsString::from("XDG_CONFIG_HOME"), config.as_os_str().to_owned())];
    SignerPlace::Program { path: PathBuf::from(OWN_PROGRAM), arguments, environment, asks: !keystore.has_identity() }
}

/// A signer's failure is the command's: what the signer's process said of itself counts as if it were said here.
pub(crate) fn failure(error: &SignerError) -> Failure {
    let exit_code = match error {
        SignerError::Failed { exit_code, .. } => *exit_code,
        _ => CONFIGURATION,
    };
    Failure::new(exit_code, error.code(), error.to_string(), error.hint())
}
