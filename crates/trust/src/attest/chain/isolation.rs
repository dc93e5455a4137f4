//! Where the keys were while the runs went on that a report rests on.
//!
//! in: the walk's runs with their signed requests; out: [`Apart`], in which runs the signer was a process of its own.
//! **Invariant:** only the signed run request counts: a signer signs no other words about itself than the truth, and a run without
//! them was signed for by whoever had the keys.

use std::collections::BTreeMap;
use std::fmt;

use seaworthy_core::id::RunId;
use seaworthy_core::ports::{SignerIsolation, SignerMode};

use super::log::{Attested, Claim};
use super::{Reference, Walker};

/// The runs that were looked at, and how the signer was kept apart in each.
pub(crate) struct Apart {
    runs: BTreeMap<RunId, Option<SignerIsolation>>,
}

impl Walker<'_> {
    /// Of the whole log, every run; else those the walk came through.
    pub(crate) fn isolation(&self, reference: &Reference) -> Apart {
        let mut runs: BTreeMap<RunId, Option<SignerIsolation>> = BTreeMap::new();
        let whole = matches!(reference, Reference::Log).then_some(&self.history.runs).into_iter().flat_map(|runs| runs.keys());
        let asked = match reference {
            Reference::Run(run) => Some(run),
            _ => None,
        };
        for run in whole.chain(self.requests.keys()).chain(asked) {
            runs.insert(run.clone(), self.signer_of(run));
        }
        Apart { runs }
    }

    fn signer_of(&self, run: &RunId) -> Option<SignerIsolation> {
        let started = self.history.runs.get(run)?;
        let at = self.log.by_pae.get(&started.request)?;
        match self.log.statements.get(*at)? {
            Attested { claim: Claim::Request(request), revoked: None, .. } if request.run == *run => request.signer.clone(),
            _ => None,
        }
    }
}

impl Apart {
    /// In all runs, of which there is at least one, and confined.
    pub(crate) fn everywhere(&self) -> bool {
        !self.runs.is_empty() && self.runs.values().all(|signer| signer.as_ref().is_some_and(SignerIsolation::is_confined))
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.runs.len();
        let count = |wanted: &dyn Fn(&SignerIsolation) -> bool| self.runs.values().flatten().filter(|one| wanted(one)).count();
        let user = count(&|one| one.is_confined() && one.mode == SignerMode::User);
        let process = count(&|one| one.is_confined() && one.mode == SignerMode::Process);
        let open = count(&|one| !one.is_confined());
        let within = all - user - process - open;
        if all == 0 {
            return f.write_str("no run");
        }
        let parts = [
            (user, "a process of another user"),
            (process, "a process of its own"),
            (open, "a process that the kernel could not confine"),
            (within, "in the runner's own process, or unknown"),
        ];
        let told = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| match *count == all {
            true => (*what).to_owned(),
            false => format!("{what} in {count} of {all} runs"),
        });
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}
