//! Examining what nobody vouches for: a step's files go to a worker, its reports come back.
//!
//! in: a request and verified files; out: the worker's reports, or the step's fault.
//! **Invariant:** no byte of a dataset or a model is parsed in this process.
//! **Invariant:** a worker that dies, hangs or answers what nobody asked is a fault of the file, and fails the step.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::time::Duration;

use seaworthy_core::artifact::{ArtifactRef, Manifest, ManifestEntry};
use seaworthy_core::digest::Digest;
use seaworthy_core::finding::CheckReport;
use seaworthy_core::limits::WORKER_TIME_S_DEFAULT;
use seaworthy_core::ports::{Job, Workers};
use seaworthy_core::worker::{Answer, Request, Stage, Subject, WorkerFault, words};
use seaworthy_core::workflow::model::Step;
use seaworthy_core::workflow::retry::RetryCause;
use seaworthy_store::StoreError;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::step::{BodyContext, damaged};

/// Files of one dataset or model: their names, and open for a worker alone.
pub(crate) struct Opened {
    pub(crate) names: Vec<String>,
    files: Vec<File>,
}

impl Opened {
    /// The files of a manifest, opened by `open`.
    pub(crate) fn of(manifest: &Manifest, open: impl Fn(&Digest) -> Result<File, StoreError>) -> Result<Self, EngineError> {
        let files = manifest.entries().iter().map(|entry| open(&entry.digest).map_err(|e| damaged(&e))).collect::<Result<_, _>>()?;
        Ok(Self { names: manifest.entries().iter().map(|entry| entry.name.clone()).collect(), files })
    }

    /// The files of an artifact, each verified.
    pub(crate) fn artifact(engine: &Engine, artifact: &ArtifactRef) -> Result<Self, EngineError> {
        let manifest = engine.artifacts.manifest(&artifact.digest).map_err(|e| damaged(&e))?;
        Self::of(&manifest, |digest| engine.artifacts.verified_file(digest))
    }

    /// One file of an artifact, verified.
    pub(crate) fn one(engine: &Engine, entry: &ManifestEntry) -> Result<Self, EngineError> {
        let file = engine.artifacts.verified_file(&entry.digest).map_err(|e| damaged(&e))?;
        Ok(Self { names: vec![entry.name.clone()], files: vec![file] })
    }
}

/// What a worker found.
pub(crate) struct Found {
    pub(crate) inferred: Option<String>,
    pub(crate) reports: Vec<CheckReport>,
}

/// What a worker would not examine, in its own words, made harmless.
pub(crate) struct Refused {
    pub(crate) stage: Stage,
    pub(crate) subject: Subject,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Has a worker examine `files`, which are those of the request in its order. The inner error is the file's, in the worker's words.
pub(crate) fn examine(
    context: &BodyContext<'_>,
    step: &Step,
    what: &str,
    request: &Request,
    files: &[&Opened],
) -> Result<Result<Found, Refused>, EngineError> {
    let descriptors: Vec<_> = files.iter().flat_map(|opened| &opened.files).map(|file| file.as_fd()).collect();
    let stop = || context.run.cancel.is_cancelled();
    let job =
        Job { request, files: &descriptors, time_max: Duration::from_secs(step.timeout_s.unwrap_or(WORKER_TIME_S_DEFAULT)), stop: &stop };
    match context.engine.ports.workers.work(&job) {
        Ok(Answer::Reports { inferred, reports }) => Ok(Ok(Found { inferred, reports })),
        Ok(Answer::Refused { stage, subject, code, message, hint }) => {
            Ok(Err(Refused { stage, subject, code, message: words(&message), hint: words(&hint) }))
        }
        Ok(Answer::Wheel { .. } | Answer::Unpacked {}) => {
            Err(not_examined(step, what, &WorkerFault::answer("it unpacks where it was to examine")))
        }
        Err(fault) => Err(not_examined(step, what, &fault)),
    }
}

/// How the workers of this run are kept apart, for the provenance.
pub(crate) fn isolation(workers: &dyn Workers) -> Value {
    workers.isolation().map_or(Value::Null, |isolation| json!({"workers": isolation}))
}

/// Why there are no findings but this one.
fn not_examined(step: &Step, what: &str, fault: &WorkerFault) -> EngineError {
    let message = format!("{what}: {fault}");
    let error = match fault {
        WorkerFault::Stopped => EngineError::body("step/cancelled", format!("`{}` was stopped", step.name), fault.hint()),
        WorkerFault::Unavailable { .. } => EngineError::configuration(fault.code(), message, fault.hint()),
        WorkerFault::Died { .. } | WorkerFault::TimedOut { .. } | WorkerFault::Answer { .. } => {
            EngineError::body(fault.code(), message, fault.hint())
        }
    };
    match fault {
        WorkerFault::Died { .. } => error.retryable(RetryCause::Killed),
        WorkerFault::TimedOut { .. } => error.retryable(RetryCause::TimedOut),
        _ => error,
    }
}
