//! `seaworthy secrets`: the values behind `secret://file/NAME`.
//!
//! **Invariant:** a value comes from the terminal without echo, or from a file; it is never an argument and never shown.

use std::io::IsTerminal as _;

use seaworthy_core::limits::SECRET_BYTES_MAX;
use seaworthy_core::secret::SecretRef;
use serde_json::json;
use zeroize::Zeroizing;

use crate::arguments::Secrets;
use crate::commands::keys;
use crate::failure::Failure;
use crate::secretstore::SecretStore;
use crate::settings::Settings;
use crate::{open, render};

pub(crate) fn run(settings: &Settings, command: &Secrets) -> Result<u8, Failure> {
    let dir = settings.workspace_dir(None)?;
    let secrets = SecretStore::of(&keys::keystore(settings, &dir)?);
    match command {
        Secrets::Set { name, file } => {
            let name = named(name)?;
            let value = match file {
                Some(file) => Zeroizing::new(open::input(file, SECRET_BYTES_MAX)?),
                None => ask(&name)?,
            };
            secrets.set(&name.name, &value)?;
            render::line(&format!("set {name} for environment {}", secrets.environment()));
        }
        Secrets::List => {
            for name in secrets.names()? {
                if settings.json {
                    render::json_line(&json!({"name": name, "environment": secrets.environment()}));
                } else {
                    render::line(&name);
                }
            }
        }
        Secrets::Remove { name } => {
            let name = named(name)?;
            if !secrets.remove(&name.name)? {
                render::note(&format!("there was no secret `{}` for environment {}", name.name, secrets.environment()));
            }
        }
    }
    Ok(0)
}

/// `NAME`, or the whole reference as a workflow has it.
fn named(text: &str) -> Result<SecretRef, Failure> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("secret://file/{text}") };
    SecretRef::parse(&whole).map_err(|e| Failure::usage(format!("`{text}`: {e}"), e.hint()))
}

fn ask(name: &SecretRef) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let hint = "`--file PATH` reads it from a file, `--file -` from standard input";
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("a value is typed on a terminal", hint));
    }
    let typed = rpassword::prompt_password(format!("Value of {name}: ")).map(Zeroizing::new);
    let typed = typed.map_err(|e| Failure::configuration("secrets/no-terminal", e.to_string(), hint))?;
    Ok(Zeroizing::new(typed.as_bytes().to_vec()))
}
