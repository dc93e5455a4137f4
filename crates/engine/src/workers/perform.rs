//! What a worker does: a request and its files become an answer.
//!
//! in: [`Request`], open files in its order; out: [`Answer`].
//! **Invariant:** a function of the request and the bytes of its files alone, so that it can be made again anywhere.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use seaworthy_core::finding::CheckReport;
use seaworthy_core::worker::{Answer, Compression, PERFORMANCE_ON_REFERENCE, PartKind, Request, Stage, Subject, WheelEntry, words};
use seaworthy_inspect::checks::{self, CheckError};
use seaworthy_inspect::model::{self, MODEL_BYTES_MAX, Model};
use seaworthy_inspect::schema::DataSchema;
use seaworthy_inspect::table::{DataFile, Dataset};

use crate::environment::{EnvironmentError, Wheel, WheelFile, send_content, take_apart};

/// Why there are no reports: the answer that says so.
struct Refusal(Answer);

type Files = std::vec::IntoIter<File>;

/// Takes parts on their way to who asked.
pub type SendPart<'a> = &'a mut dyn FnMut(PartKind, &[u8]) -> io::Result<()>;

/// Does what is asked. What is unpacked goes to `send`, whose fault is the only one.
pub fn perform(request: &Request, files: Vec<File>, send: SendPart<'_>) -> io::Result<Answer> {
    if files.len() != request.files() {
        let message = "the request names other files than came with it";
        return Ok(refusal(Stage::Open, Subject::Data, "table/no-files", message, "").0);
    }
    let mut files = files.into_iter();
    let done = match request {
        Request::Data { files: names, schema, infer_only, label } => {
            table(names, &mut files, Subject::Data).and_then(|dataset| data(&dataset, schema.as_deref(), *infer_only, label.as_deref()))
        }
        Request::Drift { reference, data, ignore } => drift(reference, data, ignore, &mut files),
        Request::Model { model, data, reference, label, task, method } => {
            let wanted = Wanted { label, task, method: method.as_deref() };
            examine(model, data, reference.as_deref(), &wanted, &mut files)
        }
        Request::Wheel { file, bytes, content } => wheel(file, *bytes, *content, files.next(), send),
        Request::Layer { compression } => layer(*compression, files.next(), send),
    };
    Ok(done.unwrap_or_else(|Refusal(answer)| answer))
}

fn wheel(name: &str, bytes: u64, content: bool, file: Option<File>, send: SendPart<'_>) -> Result<Answer, Refusal> {
    let refused = |error: EnvironmentError| {
        // the engine says whose name it is
        let reason = match &error {
            EnvironmentError::Wheel { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        refusal(Stage::Unpack, Subject::Archive, "environment/wheel", reason, "")
    };
    let file = file.ok_or_else(|| refusal(Stage::Unpack, Subject::Archive, "environment/wheel", "it did not come", ""))?;
    let mut wheel = Wheel::open(name, file, bytes).map_err(refused)?;
    if content {
        send_content(&mut wheel, send).map_err(refused)?;
        return Ok(Answer::Unpacked {});
    }
    let entry = |file: &WheelFile| {
        let WheelFile { path, digest, size, executable, .. } = file.clone();
        WheelEntry { path, digest, size, executable }
    };
    Ok(Answer::Wheel { files: wheel.listing().files().iter().map(entry).collect() })
}

fn layer(compression: Compression, file: Option<File>, send: SendPart<'_>) -> Result<Answer, Refusal> {
    let refused = |error: &dyn std::fmt::Display| refusal(Stage::Unpack, Subject::Archive, "image/layer", error, "");
    let file = file.ok_or_else(|| refused(&"it did not come"))?;
    take_apart(file, compression, send).map_err(|error| refused(&error))?;
    Ok(Answer::Unpacked {})
}

fn refusal(stage: Stage, subject: Subject, code: &str, message: impl std::fmt::Display, hint: &str) -> Refusal {
    Refusal(Answer::Refused { stage, subject, code: code.to_owned(), message: words(&message.to_string()), hint: words(hint) })
}

fn failed(error: &CheckError) -> Refusal {
    refusal(Stage::Check, Subject::Data, error.code(), error, error.hint())
}

fn table(names: &[String], files: &mut Files, subject: Subject) -> Result<Dataset, Refusal> {
    let files = names.iter().zip(files).map(|(name, file)| DataFile { name: name.clone(), file }).collect();
    Dataset::open(files).map_err(|error| refusal(Stage::Open, subject, error.code(), &error, error.hint()))
}

fn data(dataset: &Dataset, schema: Option<&str>, infer_only: bool, label: Option<&str>) -> Result<Answer, Refusal> {
    let declared = schema.map(DataSchema::parse_yaml).transpose();
    let declared = declared.map_err(|error| refusal(Stage::Schema, Subject::Data, "schema/invalid", error, ""))?;
    let (schema, inferred) = match declared {
        Some(schema) => (schema, None),
        None => {
            let inferred = DataSchema::infer(dataset);
            let schema = inferred.map_err(|error| refusal(Stage::Inference, Subject::Data, "schema/inference", error, ""))?;
            let text = schema.to_yaml();
            (schema, Some(text))
        }
    };
    if infer_only {
        return Ok(Answer::Reports { inferred, reports: Vec::new() });
    }
    let reports = vec![
        checks::data_schema::run(dataset, &schema).map_err(|e| failed(&e))?,
        checks::anomaly::run(dataset, label).map_err(|e| failed(&e))?,
    ];
    Ok(Answer::Reports { inferred, reports })
}

fn drift(reference: &[String], data: &[String], ignore: &[String], files: &mut Files) -> Result<Answer, Refusal> {
    let reference = table(reference, files, Subject::Reference)?;
    let data = table(data, files, Subject::Data)?;
    let report = checks::drift::run(&reference, &data, ignore).map_err(|e| failed(&e))?;
    Ok(Answer::Reports { inferred: None, reports: vec![report] })
}

/// What is asked about a model.
struct Wanted<'a> {
    label: &'a str,
    task: &'a str,
    method: Option<&'a str>,
}

fn examine(model: &str, data: &[String], reference: Option<&[String]>, wanted: &Wanted<'_>, files: &mut Files) -> Result<Answer, Refusal> {
    let model = load(model, files.next())?;
    let data = table(data, files, Subject::Data)?;
    let reference = reference.map(|names| table(names, files, Subject::Reference)).transpose()?;
    let task = wanted.task.parse().map_err(|e| refusal(Stage::Check, Subject::Model, "check/task", e, ""))?;
    let performance = |data: &Dataset| checks::performance::run(&model, data, wanted.label, task).map_err(|e| failed(&e));
    let mut reports: Vec<CheckReport> = vec![performance(&data)?];
    if let Some(method) = wanted.method {
        let background = reference.as_ref().unwrap_or(&data);
        reports.push(checks::explain::run(&model, &data, background, wanted.label, method).map_err(|e| failed(&e))?);
    }
    if let Some(reference) = &reference {
        reports.push(CheckReport { check: PERFORMANCE_ON_REFERENCE.to_owned(), ..performance(reference)? });
    }
    Ok(Answer::Reports { inferred: None, reports })
}

fn load(name: &str, file: Option<File>) -> Result<Model, Refusal> {
    let unread = |error: &dyn std::fmt::Display| refusal(Stage::Model, Subject::Model, "model/malformed", error, "");
    let file = file.ok_or_else(|| unread(&"it did not come with the request"))?;
    let bytes = read(&file).map_err(|error| unread(&error))?;
    model::load(name, &bytes).map_err(|error| refusal(Stage::Model, Subject::Model, error.code(), &error, error.hint()))
}

/// All of a file, from its start, wherever its descriptor stands.
fn read(mut file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.seek(SeekFrom::End(0))?).unwrap_or(usize::MAX);
    if length > MODEL_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {MODEL_BYTES_MAX} bytes")));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
