//! What can be verified: `model:NAME@VERSION|ALIAS`, `run:ID`, `artifact:DIGEST`, `log`.
//!
//! **Invariant:** parses and prints the same text.

use std::fmt;
use std::str::FromStr;

use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Name, RunId};

/// What is to be verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// A registered model version, by number or alias.
    Model {
        /// Name.
        model: String,
        /// Version or alias.
        which: String,
    },
    /// A run with all its committed steps.
    Run(RunId),
    /// An artifact with the step that made it.
    Artifact(Digest),
    /// The log and every statement in it.
    Log,
}

/// Text that refers to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` refers to nothing: use model:NAME@VERSION, model:NAME@ALIAS, run:ID, artifact:DIGEST or log")]
pub struct ReferenceError(String);

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = || ReferenceError(text.chars().take(120).collect());
        let name = |text: &str| Name::new(text).map(String::from).map_err(|_| refuse());
        match text.split_once(':') {
            None if text == "log" => Ok(Self::Log),
            Some(("model", rest)) => {
                let (model, which) = rest.split_once('@').ok_or_else(refuse)?;
                Ok(Self::Model { model: name(model)?, which: name(which)? })
            }
            Some(("run", id)) => Ok(Self::Run(RunId(name(id)?))),
            Some(("artifact", digest)) => digest.parse().map(Self::Artifact).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { model, which } => write!(f, "model:{model}@{which}"),
            Self::Run(run) => write!(f, "run:{run}"),
            Self::Artifact(digest) => write!(f, "artifact:{digest}"),
            Self::Log => f.write_str("log"),
        }
    }
}
