//! The way out of `sandbox run`: the same proxy as for steps, without a log.
//!
//! in: `--egress HOST:PORT`; out: connections to these hosts; what is refused is told on standard error.
//! **Invariant:** nothing is reached that was not named on the command line.

use std::net::SocketAddr;

use seaworthy_core::egress::Destination;
use seaworthy_core::limits::EGRESS_HOSTS_MAX;
use seaworthy_engine::egress::{Arbiter, Attempt, Closed, Refusal, not_declared};

use super::NOT_SET_UP;
use crate::failure::Failure;
use crate::render;

/// Reads the hosts.
pub(super) fn destinations(texts: &[String]) -> Result<Vec<Destination>, Failure> {
    if texts.len() > EGRESS_HOSTS_MAX {
        return Err(Failure::new(NOT_SET_UP, "cli/usage", format!("{} hosts, at most {EGRESS_HOSTS_MAX}", texts.len()), "name fewer"));
    }
    let refused =
        |text: &str, what: &str, hint: &str| Failure::new(NOT_SET_UP, "egress/destination", format!("`--egress {text}`: {what}"), hint);
    let read = |text: &String| {
        let to = Destination::parse(text).map_err(|e| refused(text, e.what, e.hint))?;
        match to.barred() {
            None => Ok(to),
            Some(bar) => Err(refused(text, bar.kind, "no command reaches such addresses")),
        }
    };
    texts.iter().map(read).collect()
}

/// Tells of what was refused.
pub(super) struct Told;

impl Arbiter for Told {
    fn decide(&self, attempt: &Attempt) -> Result<(), Refusal> {
        if attempt.is_declared { Ok(()) } else { Err(not_declared(attempt)) }
    }

    fn allowed(&self, _: &Attempt, _: &[SocketAddr]) -> Result<(), Refusal> {
        Ok(())
    }

    fn denied(&self, _: u32, _: Option<&Attempt>, refusal: &Refusal) {
        render::note(&format!("sandbox: denied: [{}] {}", refusal.code, render::clean(&refusal.message)));
    }

    fn denied_more(&self, count: u64) {
        render::note(&format!("sandbox: denied: {count} more connections"));
    }

    fn closed(&self, _: &Closed) {}
}
