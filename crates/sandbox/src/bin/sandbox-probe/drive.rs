//! Runs one sandbox from a description.
//!
//! In: JSON on standard input. Out: JSON on standard output.
//!
//! **Invariant:** exit code 0 whenever the description was understood; the JSON says the rest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use seaworthy_sandbox::{Cancel, ClosureError, Device, Limits, Mount, Outcome, Profile, SandboxError, Spec};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Described {
    profile: String,
    argv: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    workdir: Option<String>,
    #[serde(default)]
    mounts: Vec<(String, String, bool)>,
    /// `host`, or the path of a Python interpreter.
    #[serde(default)]
    closures: Vec<String>,
    #[serde(default)]
    links: Vec<(String, String)>,
    #[serde(default)]
    texts: Vec<(String, String)>,
    #[serde(default)]
    outputs: Vec<String>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default)]
    devices: Vec<String>,
    #[serde(default)]
    places_in_words: bool,
    /// Run it so many times and report the last; for measurements.
    #[serde(default)]
    repeat: Option<u32>,
    /// A file swapped for another of the same name once the mounts are open.
    #[serde(default)]
    replace_after_opening: Option<String>,
    /// Run it so many times at once; the answers come as a list.
    #[serde(default)]
    parallel: Option<usize>,
    #[serde(default)]
    cancel_after_ms: Option<u64>,
}

pub(crate) fn drive() -> ExitCode {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string());
    let described = read.and_then(|_| serde_json::from_str::<Described>(&text).map_err(|error| error.to_string()));
    match described {
        Ok(described) => {
            for _ in 1..described.repeat.unwrap_or(1) {
                // Only the time of these matters; the last one is reported.
                let _ = run(&described);
            }
            let answer = match described.parallel {
                None => answer(&described),
                Some(count) => together(&described, count),
            };
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn answer(described: &Described) -> Value {
    match run(described) {
        Ok(outcome) => shown(outcome),
        Err(error) => json!({"error": {"code": error.code(), "message": error.to_string(), "hint": error.hint()}}),
    }
}

fn together(described: &Described, count: usize) -> Value {
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..count).map(|_| scope.spawn(|| answer(described))).collect();
        runs.into_iter().map(|run| run.join().unwrap_or(Value::Null)).collect()
    })
}

pub(crate) fn preflight(profile: &str) -> ExitCode {
    let found = profile.parse::<Profile>().map(seaworthy_sandbox::preflight);
    match found {
        Ok(Ok(facilities)) => println!("{}", json!({ "facilities": facilities })),
        Ok(Err(unsupported)) => println!("{}", json!({"missing": unsupported.missing, "code": unsupported.code()})),
        Err(error) => println!("{}", json!({"error": error.to_string()})),
    }
    ExitCode::SUCCESS
}

/// The whole battery by this very program, as JSON.
pub(crate) fn battery(profile: &str, prefix: &[&str]) -> ExitCode {
    let program = std::env::current_exe().map_err(|error| error.to_string());
    let report = program.and_then(|program| {
        let profile = profile.parse::<Profile>().map_err(|error| error.to_string())?;
        let prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        let battery = seaworthy_sandbox::attack::battery::Battery { program, prefix, profile };
        seaworthy_sandbox::attack::battery::run(&battery).map_err(|error| error.to_string())
    });
    match report {
        Ok(report) => println!("{}", json!({"broken": report.broken().map(|tried| tried.number).collect::<Vec<_>>(), "report": report})),
        Err(error) => println!("{}", json!({"error": error})),
    }
    ExitCode::SUCCESS
}

fn run(described: &Described) -> Result<Outcome, SandboxError> {
    let limit = |name: &str, default: u64| described.limits.get(name).copied().unwrap_or(default);
    let spec = Spec {
        profile: described.profile.parse::<Profile>()?,
        argv: described.argv.clone(),
        env: described.env.clone(),
        workdir: described.workdir.clone().unwrap_or_else(|| "/tmp".into()),
        hostname: "step".into(),
        mounts: mounts(described)?,
        links: described.links.clone(),
        texts: described.texts.clone(),
        outputs: described.outputs.clone(),
        limits: Limits {
            memory_bytes: limit("memory_bytes", 512 << 20),
            cpu_milli: described.limits.get("cpu_milli").and_then(|milli| u32::try_from(*milli).ok()),
            processes: u32::try_from(limit("processes", 64)).unwrap_or(64),
            disk_bytes: limit("disk_bytes", 64 << 20),
            timeout: Duration::from_millis(limit("timeout_ms", 20_000)),
            log_bytes: usize::try_from(limit("log_bytes", 64 << 10)).unwrap_or(0),
            output_files: usize::try_from(limit("output_files", 100)).unwrap_or(0),
        },
        devices: described.devices.iter().map(|path| Device::open(path)).collect::<Result<_, _>>()?,
        places_in_words: described.places_in_words,
        capture: true,
    };
    if let Some(path) = &described.replace_after_opening {
        let swap = std::fs::rename(path, format!("{path}.old")).and_then(|()| std::fs::write(path, "second"));
        swap.map_err(|error| SandboxError::Setup { stage: "swapping".into(), source: error })?;
    }
    let cancel = Cancel::new();
    if let Some(after) = described.cancel_after_ms {
        let switch = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            switch.cancel();
        });
    }
    seaworthy_sandbox::run(spec, &cancel)
}

fn mounts(described: &Described) -> Result<Vec<Mount>, SandboxError> {
    let mut wanted = described.mounts.clone();
    for name in &described.closures {
        let closure = match name.as_str() {
            "host" => seaworthy_sandbox::host_closure(),
            python => seaworthy_sandbox::interpreter_closure(Path::new(python)),
        };
        let failed = |error: ClosureError| SandboxError::Spec { what: error.to_string() };
        for file in closure.map_err(failed)? {
            wanted.push((file.source.display().to_string(), file.target.display().to_string(), true));
        }
    }
    wanted
        .into_iter()
        .map(|(source, target, exec)| {
            let opened = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(&source);
            opened
                .map(|file| Mount { source: OwnedFd::from(file), target, exec })
                .map_err(|error| SandboxError::Setup { stage: format!("opening {source}"), source: error })
        })
        .collect()
}

fn shown(outcome: Outcome) -> Value {
    let stream = |stream: &seaworthy_sandbox::CapturedStream| json!({"text": String::from_utf8_lossy(&stream.bytes), "total": stream.total, "truncated": stream.truncated});
    let outputs = match outcome.outputs {
        Err(error) => json!({"error": {"code": error.code(), "message": error.to_string()}}),
        Ok(outputs) => outputs
            .into_iter()
            .map(|output| {
                let files = output.files.into_iter().map(|file| {
                    let mut start = String::new();
                    // A file that is not text is shown by its size alone.
                    let _ = file.file.take(200).read_to_string(&mut start);
                    json!({"path": file.path, "size": file.size, "executable": file.executable, "start": start})
                });
                json!({"name": output.name, "files": files.collect::<Vec<_>>()})
            })
            .collect(),
    };
    json!({
        "exit": outcome.exit, "stdout": stream(&outcome.stdout), "stderr": stream(&outcome.stderr),
        "outputs": outputs, "enforced": outcome.enforced, "usage": outcome.usage,
    })
}
