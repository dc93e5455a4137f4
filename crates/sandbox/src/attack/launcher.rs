//! Launches one sandbox in a process of its own, so that an attack meets a launcher with secrets and open descriptors.
//!
//! In: [`Wanted`] as JSON on standard input. Out: [`Came`] as JSON on standard output.
//!
//! **Invariant:** exit code 0 whenever the wish was understood; the JSON says the rest.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{MARK, WORD, say};
use crate::error::SandboxError;
use crate::profile::Profile;
use crate::report::{Enforced, Exit, Outcome};
use crate::spec::{Cancel, Limits, Mount, Spec};
use crate::system::{SYSTEM_PATH, system_view};

/// Where the attacker's program is seen.
const PROGRAM: &str = "/seaworthy";

/// What to launch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) profile: Option<Profile>,
    /// After [`WORD`].
    pub(super) words: Vec<String>,
    /// Shown at its place, read-only: host path, place, whether it may be executed.
    pub(super) shown: Vec<(String, String, bool)>,
    pub(super) memory_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) processes: u32,
    pub(super) timeout_ms: u64,
    pub(super) log_bytes: usize,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Came {
    /// None if nothing ran.
    pub(super) exit: Option<Exit>,
    pub(super) stdout: String,
    /// Bytes written, kept or not.
    pub(super) stdout_total: u64,
    /// Beginnings of the files taken from the outputs, or the code of their refusal.
    pub(super) outputs: Vec<String>,
    pub(super) outputs_refused: Option<String>,
    pub(super) enforced: Option<Enforced>,
    /// Why nothing ran.
    pub(super) error: Option<String>,
}

pub(super) fn launch() -> u8 {
    let mut text = String::new();
    let wanted = std::io::stdin().read_to_string(&mut text).ok().and_then(|_| serde_json::from_str::<Wanted>(&text).ok());
    let Some(wanted) = wanted else { return 2 };
    let came = match specify(&wanted).and_then(|spec| crate::run(spec, &Cancel::new())) {
        Ok(outcome) => told(outcome),
        Err(error) => Came { error: Some(format!("{} [{}]", error, error.code())), ..Came::default() },
    };
    serde_json::to_string(&came).map_or(1, |text| say(&text))
}

fn specify(wanted: &Wanted) -> Result<Spec, SandboxError> {
    let view = system_view();
    let mut mounts = vec![mount(Path::new("/proc/self/exe"), PROGRAM, true)?];
    for path in &view.mounts {
        mounts.push(mount(path, &path.to_string_lossy(), true)?);
    }
    for (host, place, exec) in &wanted.shown {
        mounts.push(mount(&PathBuf::from(host), place, *exec)?);
    }
    let mut argv = vec![PROGRAM.to_owned(), WORD.to_owned()];
    argv.extend(wanted.words.iter().cloned());
    Ok(Spec {
        profile: wanted.profile.unwrap_or(Profile::Strict),
        argv,
        env: [("PATH", SYSTEM_PATH), (MARK, "inside"), ("SEAWORTHY_INPUTS", "/in"), ("SEAWORTHY_OUTPUTS", "/out"), ("TMPDIR", "/tmp")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        workdir: "/tmp".to_owned(),
        hostname: "selftest".to_owned(),
        mounts,
        links: view.links,
        texts: Vec::new(),
        outputs: vec!["out".to_owned()],
        limits: Limits {
            memory_bytes: wanted.memory_bytes,
            cpu_milli: None,
            processes: wanted.processes,
            disk_bytes: wanted.disk_bytes,
            timeout: Duration::from_millis(wanted.timeout_ms),
            log_bytes: wanted.log_bytes,
            output_files: 100,
        },
        devices: Vec::new(),
        places_in_words: false,
        capture: true,
    })
}

fn mount(path: &Path, target: &str, exec: bool) -> Result<Mount, SandboxError> {
    let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let source: OwnedFd = opened.map_err(|error| SandboxError::setup(format!("opening `{}`", path.display()))(error.into()))?;
    Ok(Mount { source, target: target.to_owned(), exec })
}

fn told(outcome: Outcome) -> Came {
    let mut came = Came {
        exit: Some(outcome.exit),
        stdout: String::from_utf8_lossy(&outcome.stdout.bytes).into_owned(),
        stdout_total: outcome.stdout.total,
        enforced: Some(outcome.enforced),
        ..Came::default()
    };
    match outcome.outputs {
        Err(error) => came.outputs_refused = Some(error.code().to_owned()),
        Ok(outputs) => {
            for file in outputs.into_iter().flat_map(|output| output.files) {
                let mut start = String::new();
                // what is no text is shown as nothing
                let _ = file.file.take(200).read_to_string(&mut start);
                came.outputs.push(start);
            }
        }
    }
    came
}
