//! Where the keys were while the runs went on that a report rests on.
//!
//! in: the walk's runs with their signed requests, the trust file; out: [`Apart`], in which runs the signer was kept apart, and how far.
//! **Invariant:** whoever has a key can sign any words about its signer. They raise the level only if the verifier's own trust
//! file says of the keys that a service alone has them; and if every request of the run says so, whoever continued it.

use std::collections::BTreeMap;
use std::fmt;

use seaworthy_core::id::RunId;
use seaworthy_core::ports::{KeyRole, SignerIsolation, SignerMode};

use super::history::Commit;
use super::log::{Attested, Claim};
use super::{Reference, Walker};

/// How the keys of one run were kept, from the weakest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kept {
    /// With the runner, or nothing is known.
    Within,
    /// In a process that the kernel could not confine.
    Open,
    /// In a confined process of the same user, who can have the keys by other ways.
    SameUser,
    /// In a service of another user, by its own word alone.
    Said,
    /// The same, and the trust file says that nobody else has the keys.
    Service,
}

/// The runs that were looked at, and how the keys were kept in each.
pub(crate) struct Apart {
    runs: BTreeMap<RunId, Kept>,
}

/// What the log has of one run.
#[derive(Default)]
struct Looked<'a> {
    requests: Vec<&'a Attested>,
    commits: Vec<&'a Commit>,
}

impl Walker<'_> {
    /// Of the whole log, every run; else those the walk came through.
    pub(crate) fn isolation(&self, reference: &Reference) -> Apart {
        let whole = matches!(reference, Reference::Log).then_some(&self.history.runs).into_iter().flat_map(|runs| runs.keys());
        let asked = match reference {
            Reference::Run(run) => Some(run),
            _ => None,
        };
        let mut runs: BTreeMap<RunId, Looked<'_>> = BTreeMap::new();
        for run in whole.chain(self.requests.keys()).chain(asked) {
            runs.entry(run.clone()).or_default();
        }
        // once through all of them, however many runs there are
        for statement in &self.log.statements {
            if let Claim::Request(request) = &statement.claim
                && let Some(looked) = runs.get_mut(&request.run)
            {
                looked.requests.push(statement);
            }
        }
        for commit in &self.history.commits {
            if let Some(looked) = runs.get_mut(&commit.step.run) {
                looked.commits.push(commit);
            }
        }
        let kept = |(run, looked): (RunId, Looked<'_>)| {
            let kept = self.kept(&run, &looked);
            (run, kept)
        };
        Apart { runs: runs.into_iter().map(kept).collect() }
    }

    /// The weakest that any request of the run says: a run that went on after an interruption has several.
    fn kept(&self, run: &RunId, looked: &Looked<'_>) -> Kept {
        let begun = self.history.runs.get(run).is_some_and(|started| looked.requests.iter().any(|one| one.pae == started.request));
        let weakest = looked.requests.iter().map(|statement| self.kept_by(statement, &looked.commits)).min();
        weakest.filter(|_| begun).unwrap_or(Kept::Within)
    }

    fn kept_by(&self, statement: &Attested, commits: &[&Commit]) -> Kept {
        let Attested { claim: Claim::Request(request), revoked: None, hint, .. } = statement else { return Kept::Within };
        let Some(signer) = &request.signer else { return Kept::Within };
        match signer.mode {
            _ if !signer.is_confined() => Kept::Open,
            SignerMode::Process => Kept::SameUser,
            SignerMode::User if self.is_service(signer, hint, commits) => Kept::Service,
            SignerMode::User => Kept::Said,
        }
    }

    /// Whether the trust file, given by the verifier, says of the keys of this run that only a service has them, and the
    /// signer says that it is the one that has them: the user's, the runner's, the log's.
    fn is_service(&self, signer: &SignerIsolation, user: &str, commits: &[&Commit]) -> bool {
        let held = |role: KeyRole| signer.keys.get(&role).map(String::as_str);
        let vouched = |role: KeyRole| held(role).is_some_and(|hint| self.trust.is_held_by_service(role, hint));
        let log = self.trust.log_key_hint().ok();
        // of the statements that the run's steps rest on, none is signed by a runner's key of another's
        let rested_on = commits.iter().flat_map(|commit| &commit.statements);
        let others = rested_on.filter_map(|pae| self.log.statement(pae)).any(|statement| {
            let is_runner = self.trust.keys.iter().any(|key| key.role == KeyRole::Runner && key.hint == statement.hint);
            is_runner && held(KeyRole::Runner) != Some(statement.hint.as_str())
        });
        let own = held(KeyRole::User) == Some(user) && log.is_some() && held(KeyRole::Log) == log.as_deref();
        self.options.trust_is_file && own && !others && vouched(KeyRole::User) && vouched(KeyRole::Runner)
    }
}

impl Apart {
    /// In all runs, of which there is at least one, the keys were out of the reach of whoever ran them.
    pub(crate) fn everywhere(&self) -> bool {
        !self.runs.is_empty() && self.runs.values().all(|kept| *kept == Kept::Service)
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.runs.len();
        if all == 0 {
            return f.write_str("no run");
        }
        let parts = [
            (Kept::Service, "a service of another user, which alone has the keys"),
            (Kept::Said, "a service of another user, by its own word"),
            (Kept::SameUser, "a process of its own (same user)"),
            (Kept::Open, "a process that the kernel could not confine"),
            (Kept::Within, "in the runner's own process, or unknown"),
        ];
        let told = parts.iter().filter_map(|(kept, what)| match self.runs.values().filter(|one| *one == kept).count() {
            0 => None,
            count if count == all => Some((*what).to_owned()),
            count => Some(format!("{what} in {count} of {all} runs")),
        });
        f.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}
