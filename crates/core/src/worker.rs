//! What a worker is asked and what it answers: the closed vocabulary between the engine and the readers of hostile bytes.
//!
//! in: nothing; out: [`Request`], [`Reply`], [`Answer`], [`WorkerFault`].
//! **Invariant:** an answer is data of a closed shape: it says what was found in the files of its request and can ask for nothing.
//! **Invariant:** whoever takes an answer checks it with [`Answer::fits`]: a worker may have been taken over by what it read.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::finding::CheckReport;
use crate::limits::{FINDING_ROWS_MAX, WHEEL_BOMB_FLOOR_BYTES, WHEEL_ENTRIES_MAX, WHEEL_RATIO_MAX, WORKER_WORDS_MAX};

/// What a worker is to do. Files are named here in the order of their descriptors.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Request {
    /// Does the data obey its schema, and which rows are odd?
    Data {
        /// Names within the dataset.
        files: Vec<String>,
        /// The schema's text; without one it is inferred.
        schema: Option<String>,
        /// Only infer the schema.
        infer_only: bool,
        /// The label column.
        label: Option<String>,
    },
    /// Has the population moved?
    Drift {
        /// The trusted data's files; their descriptors come first.
        reference: Vec<String>,
        /// The files of the data.
        data: Vec<String>,
        /// Columns left out.
        ignore: Vec<String>,
    },
    /// How good is the model, and why does it answer as it does?
    Model {
        /// The model's file; its descriptor comes first.
        model: String,
        /// The files of the data.
        data: Vec<String>,
        /// The training data's files, if there are any.
        reference: Option<Vec<String>>,
        /// The label column.
        label: String,
        /// `binary`, `multiclass` or `regression`.
        task: String,
        /// Method of explanation, if one is wanted.
        method: Option<String>,
    },
    /// What is in a wheel?
    Wheel {
        /// Its file name, which says what it is.
        file: String,
        /// Its bytes.
        bytes: u64,
        /// Send the content of its files too, as parts: one of the kind `Entry` with its place among them, then `Content`.
        content: bool,
    },
    /// What is in a layer of an image? The answer's parts are its archive, apart.
    Layer {
        /// How it is compressed.
        compression: Compression,
    },
}

/// How a layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// One file of a wheel that is unpacked, in the order of its archive's names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelEntry {
    /// Path below site-packages.
    pub path: String,
    /// What RECORD promises.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Whether it had an execute bit.
    pub executable: bool,
}

impl Request {
    /// How many descriptors belong to it.
    #[must_use]
    pub fn files(&self) -> usize {
        match self {
            Self::Data { files, .. } => files.len(),
            Self::Drift { reference, data, .. } => reference.len().saturating_add(data.len()),
            Self::Wheel { .. } | Self::Layer { .. } => 1,
            Self::Model { data, reference, .. } => {
                1_usize.saturating_add(data.len()).saturating_add(reference.as_ref().map_or(0, Vec::len))
            }
        }
    }

    /// Which reports an answer holds, in order.
    fn checks(&self) -> Vec<&'static str> {
        match self {
            Self::Data { infer_only: true, .. } | Self::Wheel { .. } | Self::Layer { .. } => Vec::new(),
            Self::Data { .. } => vec!["data_schema", "anomaly"],
            Self::Drift { .. } => vec!["drift"],
            Self::Model { reference, method, .. } => {
                let explain = method.as_ref().map(|_| "explain");
                let on_reference = reference.as_ref().map(|_| PERFORMANCE_ON_REFERENCE);
                ["performance"].into_iter().chain(explain).chain(on_reference).collect()
            }
        }
    }
}

/// The report of `performance` on the training data is called so.
pub const PERFORMANCE_ON_REFERENCE: &str = "performance_on_reference";

/// What was being done with a file when it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A file was opened as what its name says.
    Open,
    /// The schema was read.
    Schema,
    /// A schema was inferred.
    Inference,
    /// A check ran.
    Check,
    /// The model was read.
    Model,
    /// An archive was unpacked.
    Unpack,
}

/// What a worker found, once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Answer {
    /// The reports, in the order of the request's checks.
    Reports {
        /// The schema that was inferred, as text.
        inferred: Option<String>,
        /// The reports.
        reports: Vec<CheckReport>,
    },
    /// What is in a wheel.
    Wheel {
        /// Its files.
        files: Vec<WheelEntry>,
    },
    /// All parts were sent.
    Unpacked {},
    /// A file cannot be read or examined.
    Refused {
        /// What was being done.
        stage: Stage,
        /// Which of the request's datasets: `data`, `reference` or `model`.
        subject: Subject,
        /// Stable code.
        code: String,
        /// One line.
        message: String,
        /// What to do next.
        hint: String,
    },
}

/// Which part of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The data under examination.
    Data,
    /// What it is compared with.
    Reference,
    /// The model.
    Model,
    /// An archive.
    Archive,
}

/// What comes next from a worker.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// A part of what it unpacks.
    Part(PartKind),
    /// Its answer: the last thing it says.
    Answer(Answer),
}

/// What a part is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartKind {
    /// Bytes of the archive around its entries.
    Frame,
    /// What the archive says of its next entry.
    Entry,
    /// Content of that entry.
    Content,
}

/// Where codes of refusals begin.
const CODES: [&str; 6] = ["table/", "schema/", "check/", "model/", "environment/", "image/"];

impl Answer {
    /// Whether this answers `request`, within all bounds; a sentence that says what is wrong with it if not.
    pub fn fits(&self, request: &Request) -> Result<(), &'static str> {
        match self {
            Self::Refused { code, message, hint, .. } => {
                let known = CODES.iter().any(|prefix| code.starts_with(prefix));
                let plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'/' | b'-'));
                let short = [message, hint].iter().all(|words| words.len() <= WORKER_WORDS_MAX.saturating_mul(4));
                if known && plain && short { Ok(()) } else { Err("it refuses for a reason that is none") }
            }
            Self::Wheel { files } => match request {
                Request::Wheel { bytes, content: false, .. } => fits_wheel(files, *bytes),
                _ => Err("it lists a wheel that nobody asked for"),
            },
            Self::Unpacked {} => match request {
                Request::Wheel { content: true, .. } | Request::Layer { .. } => Ok(()),
                _ => Err("it unpacked what nobody asked for"),
            },
            Self::Reports { .. } if matches!(request, Request::Wheel { .. } | Request::Layer { .. }) => {
                Err("it reports on what was to be unpacked")
            }
            Self::Reports { inferred, reports } => {
                let wanted = request.checks();
                if !reports.iter().map(|report| report.check.as_str()).eq(wanted.iter().copied()) {
                    return Err("its reports are not those that were asked for");
                }
                let infers = matches!(request, Request::Data { schema: None, .. });
                if inferred.is_some() != infers {
                    return Err("it brings a schema that was not asked for, or none");
                }
                reports.iter().try_for_each(fits)
            }
        }
    }
}

fn fits_wheel(files: &[WheelEntry], bytes: u64) -> Result<(), &'static str> {
    if files.len() > WHEEL_ENTRIES_MAX {
        return Err("it lists more files than a wheel may have");
    }
    let total = files.iter().fold(0_u64, |total, file| total.saturating_add(file.size));
    if total > WHEEL_BOMB_FLOOR_BYTES.max(bytes.saturating_mul(WHEEL_RATIO_MAX)) {
        return Err("it lists files of more bytes than the wheel may unpack to");
    }
    Ok(())
}

fn fits(report: &CheckReport) -> Result<(), &'static str> {
    let check = if report.check == PERFORMANCE_ON_REFERENCE { "performance" } else { report.check.as_str() };
    if report.findings.iter().any(|finding| finding.check != check) {
        return Err("a finding belongs to another check");
    }
    if report.findings.iter().any(|finding| finding.rows.len() > FINDING_ROWS_MAX) {
        return Err("a finding lists too many rows");
    }
    Ok(())
}

/// How far workers are kept apart from what started them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerIsolation {
    /// Namespaces of their own.
    pub namespaces: Vec<String>,
    /// Whether each is a user of its own on the host.
    pub own_user: bool,
    /// Version of the Landlock rules that keep them from every file and port; 0 if the kernel has none.
    pub landlock: u32,
    /// How many system calls their filter leaves them.
    pub system_calls: u32,
    /// Bytes of memory that each may have.
    pub memory_bytes: u64,
}

impl WorkerIsolation {
    /// What can be said of both.
    #[must_use]
    pub fn weaker(&self, other: &Self) -> Self {
        Self {
            namespaces: self.namespaces.iter().filter(|name| other.namespaces.contains(name)).cloned().collect(),
            own_user: self.own_user && other.own_user,
            landlock: self.landlock.min(other.landlock),
            system_calls: self.system_calls.max(other.system_calls),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

/// Why a worker gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerFault {
    /// None could be started.
    #[error("no worker can be started: {cause}")]
    Unavailable {
        /// The cause.
        cause: String,
        /// What to do next.
        hint: String,
    },
    /// It died over its files.
    #[error("the worker that read it {how}")]
    Died {
        /// How, for instance `was killed by signal 11`.
        how: String,
    },
    /// It did not end.
    #[error("the worker that read it was not done after {seconds} s")]
    TimedOut {
        /// The time it had.
        seconds: u64,
    },
    /// What it said is no answer.
    #[error("the worker that read it gave no answer that counts: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The run was stopped meanwhile.
    #[error("the work was stopped")]
    Stopped,
}

impl WorkerFault {
    /// An answer that does not count.
    pub fn answer(reason: impl Into<String>) -> Self {
        Self::Answer { reason: reason.into() }
    }

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "worker/unavailable",
            Self::Died { .. } => "worker/died",
            Self::TimedOut { .. } => "worker/timed-out",
            Self::Answer { .. } => "worker/answer",
            Self::Stopped => "worker/stopped",
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Unavailable { hint, .. } => hint,
            Self::Died { .. } => {
                "look at where the file comes from: a file that ends its reader is broken, too large, or meant to; write it again at its source"
            }
            Self::TimedOut { .. } => "raise `timeout:` of the step if the file is only large; otherwise look at where it comes from",
            Self::Answer { .. } => "look at where the file comes from: it made its reader say what it never says by itself",
            Self::Stopped => "run again to continue",
        }
    }
}

/// The words of a worker, on one line and not too long: it may say anything.
#[must_use]
pub fn words(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).take(WORKER_WORDS_MAX).collect()
}
