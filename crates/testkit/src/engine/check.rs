//! The end of a story: everything that anybody was ever told, every leaf, every file, every signature.
//!
//! in: the workspace and what was seen; out: the number of leaves, or the promise that was broken.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::RunId;
use seaworthy_core::json_strict;
use seaworthy_core::ports::EvidenceSource as _;
use seaworthy_store::artifacts::{Artifacts, FaultKind};
use seaworthy_store::catalog::{Catalog, CatalogError};
use seaworthy_store::journal::{Journal, State};
use seaworthy_store::log::{LogReader, audit};
use seaworthy_trust::attest::{Reference, VerifyOptions, verify_chain};

use super::fixture::{ENVIRONMENT, Fixture};
use super::process::Where;
use super::world::World;
use crate::simulation::Violation;

fn broken<T>(promise: &'static str, found: impl std::fmt::Display) -> Result<T, Violation> {
    Err(Violation { promise, found: found.to_string() })
}

pub(crate) fn everything(fixture: &Fixture, at: &Where, world: &World) -> Result<u64, Violation> {
    let log = LogReader::open(&at.log()).or_else(|error| broken("the log can be read", error))?;
    let size = log.size().or_else(|error| broken("the log can be read", error))?;
    let mut events = Vec::new();
    for index in 0..size {
        let entry = log.entry(index).or_else(|error| broken("the log has no hole", format!("{index}: {error}")))?;
        let known = world.with(|seen| seen.leaves.get(index as usize).cloned());
        if known.is_some_and(|known| known != entry) {
            return broken("a leaf stays what it was, where it was", index);
        }
        if let Ok(event) = json_strict::parse_typed::<Event>(&entry) {
            events.push(event.kind);
        }
    }
    if world.with(|seen| seen.leaves.len() as u64) > size {
        return broken("no acknowledged leaf is lost", size);
    }
    recorded(&events, world)?;
    let runs = runs_that_ended(&events);
    committed_once(&events)?;
    whole(at)?;
    index(at, &log)?;
    verified(fixture, at, &log, runs.last())?;
    Ok(size)
}

/// Nothing was done without a record, and every word to the user is in the log.
fn recorded(events: &[EventKind], world: &World) -> Result<(), Violation> {
    let mut started = BTreeSet::new();
    let mut committed = BTreeSet::new();
    let mut ended = BTreeMap::new();
    for event in events {
        match event {
            EventKind::StepStarted { step } if !started.insert(step.to_string()) => {
                return broken("every attempt has a number of its own", step);
            }
            EventKind::StepCommitted { step, .. } => {
                committed.insert((step.run.0.clone(), step.step.to_string(), step.attempt));
            }
            EventKind::RunEnded { run, state, .. } if ended.insert(run.0.clone(), state.clone()).is_some() => {
                return broken("a run ends once", run);
            }
            _ => {}
        }
    }
    world.with(|seen| {
        if let Some(id) = seen.launched.iter().find(|id| !started.contains(*id)) {
            return broken("no body runs without a record of its intent", id);
        }
        if let Some(told) = seen.committed.iter().find(|told| !committed.contains(*told)) {
            return broken("what was told to have committed has", format!("{told:?}"));
        }
        if let Some((run, state)) = seen.ended.iter().find(|(run, state)| ended.get(*run) != Some(*state)) {
            return broken("what was told to have ended has", format!("{run} {state}, in the log {:?}", ended.get(run)));
        }
        Ok(())
    })
}

/// At most one attempt of a step commits.
fn committed_once(events: &[EventKind]) -> Result<(), Violation> {
    let mut seen = BTreeMap::new();
    for event in events {
        if let EventKind::StepCommitted { step, .. } = event
            && let Some(before) = seen.insert((step.run.clone(), step.step.clone()), step.attempt)
        {
            return broken("at most one attempt commits", format!("{step} and attempt {before}"));
        }
    }
    Ok(())
}

fn runs_that_ended(events: &[EventKind]) -> Vec<RunId> {
    let ended = events.iter().filter_map(|event| match event {
        EventKind::RunEnded { run, .. } => Some(run.clone()),
        _ => None,
    });
    ended.collect()
}

/// Every file of log, store and journal is what it was.
fn whole(at: &Where) -> Result<(), Violation> {
    if let Some(fault) = audit(&at.log()).first() {
        return broken("every file of the log is whole", format!("{fault:?}"));
    }
    let state = at.root.join(".seaworthy").join(ENVIRONMENT);
    let artifacts = Artifacts::open_read_only(&state.join("store")).or_else(|error| broken("the store can be read", error))?;
    let faults = artifacts.audit().or_else(|error| broken("the store can be read", error))?;
    if let Some(fault) = faults.iter().find(|fault| fault.kind != FaultKind::Quarantined) {
        return broken("every file of the store is whole", format!("{fault:?}"));
    }
    let journal = Journal::open_read_only(&state.join("journal")).or_else(|error| broken("the journal can be read", error))?;
    if let Some(fault) = journal.audit().first() {
        return broken("the journal is whole", format!("{fault:?}"));
    }
    let records = journal.records().or_else(|error| broken("the journal can be read", error))?;
    let mut committed = BTreeSet::new();
    let done = records.iter().filter(|record| record.state == State::Committed);
    for record in done {
        if !committed.insert((&record.run, &record.step)) {
            return broken("at most one attempt commits", format!("{} {:?}, in the journal", record.run, record.step));
        }
    }
    Ok(())
}

/// The index that was kept over all lives is the one that is made anew.
fn index(at: &Where, log: &LogReader) -> Result<(), Violation> {
    let dumps = || -> Result<_, CatalogError> {
        let mut kept = Catalog::open(&at.catalog())?;
        kept.catch_up(log)?;
        Ok((kept.logical_dump()?, Catalog::in_memory(log, log.state().size)?.logical_dump()?))
    };
    let (kept, anew) = dumps().or_else(|error| broken("the index can be read", error))?;
    if kept == anew { Ok(()) } else { broken("the index is the one that is made anew", "another") }
}

/// `verify` finds nothing to complain about: every leaf, every statement, and the whole chain of the last run.
fn verified(fixture: &Fixture, at: &Where, log: &LogReader, last: Option<&RunId>) -> Result<(), Violation> {
    let Some(last) = last else { return broken("what is not disturbed succeeds", "no run ended") };
    let store = at.root.join(".seaworthy").join(ENVIRONMENT).join("store");
    let artifacts = Artifacts::open_read_only(&store).or_else(|error| broken("the store can be read", error))?;
    let options = VerifyOptions { trust_is_file: true, ..VerifyOptions::default() };
    for reference in [Reference::Log, Reference::Run(last.clone())] {
        let report = verify_chain(log, &artifacts, &fixture.trust, &reference, &options);
        if let Some(fault) = report.faults.first() {
            return broken("`verify` succeeds", format!("{reference:?}: {fault:?}"));
        }
        if !report.ok {
            return broken("`verify` succeeds", format!("{reference:?}"));
        }
    }
    Ok(())
}
