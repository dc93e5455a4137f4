//! What an attack found.
//!
//! In: the kernel's answer. Out: one line.
//!
//! **Invariant:** an answer that says nothing about the defence (a bad argument of ours, a missing kernel feature) is
//! inconclusive, never blocked.

use std::fmt;
use std::io;

use serde::Serialize;

/// What came of one attack, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "kebab-case")]
pub enum Verdict {
    /// It was refused.
    Blocked(String),
    /// Its effect was seen.
    Allowed(String),
    /// It says nothing about the defence.
    Inconclusive(String),
}

impl Verdict {
    /// Reads the line that [`std::fmt::Display`] writes.
    pub(super) fn read(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let (word, reason) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "BLOCKED" => Self::Blocked(reason.to_owned()),
            "ALLOWED" => Self::Allowed(reason.to_owned()),
            "INCONCLUSIVE" => Self::Inconclusive(reason.to_owned()),
            _ => Self::Inconclusive("it ended without a verdict".to_owned()),
        }
    }

    /// Its reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::Blocked(reason) | Self::Allowed(reason) | Self::Inconclusive(reason) => reason,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(why) => write!(out, "BLOCKED {why}"),
            Self::Allowed(what) => write!(out, "ALLOWED {what}"),
            Self::Inconclusive(why) => write!(out, "INCONCLUSIVE {why}"),
        }
    }
}

/// Numbers that a defence answers with.
const REFUSALS: [i32; 13] = [
    libc::EPERM,
    libc::EACCES,
    libc::ENOENT,
    libc::ENOSYS,
    libc::EROFS,
    libc::ESRCH,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ECONNREFUSED,
    libc::ENOSPC,
    libc::EXDEV,
    libc::ENXIO,
    libc::EFBIG,
];

/// An effect that was seen, or the answer that prevented it.
pub(crate) fn of<T>(result: io::Result<T>) -> Verdict {
    match result {
        Ok(_) => Verdict::Allowed(String::new()),
        Err(error) if error.raw_os_error().is_some_and(|number| REFUSALS.contains(&number)) => Verdict::Blocked(error.to_string()),
        Err(error) => Verdict::Inconclusive(error.to_string()),
    }
}

/// The worst of several tries.
pub(crate) fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let mut worst = Verdict::Inconclusive("nothing was tried".into());
    for verdict in verdicts {
        match (&worst, &verdict) {
            (_, Verdict::Allowed(_)) => return verdict,
            (Verdict::Inconclusive(_), _) => worst = verdict,
            (Verdict::Blocked(_) | Verdict::Allowed(_), _) => {}
        }
    }
    worst
}

/// Allowed exactly if the condition, which is the effect, was seen.
pub(crate) fn seen(effect: bool, what: impl Into<String>) -> Verdict {
    if effect { Verdict::Allowed(what.into()) } else { Verdict::Blocked(what.into()) }
}
