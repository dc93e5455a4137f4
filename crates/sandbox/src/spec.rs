//! What a caller asks of the sandbox.
//!
//! In: the engine's wish. Out: [`Spec`], checked by [`Spec::check`] before anything is spawned.
//!
//! **Invariant:** a path of a spec is absolute, has no `.` or `..` component and never names a place the sandbox owns.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::SandboxError;
use crate::profile::Profile;

/// The most mounts of one sandbox.
const MOUNTS_MAX: usize = 4096;
/// The most bytes of [`Spec::texts`] together: they lie in the root, which holds 16 MiB.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest path of a spec.
const PATH_BYTES_MAX: usize = 4000;

/// A file or folder shown to the step, read-only, by descriptor.
#[derive(Debug)]
pub struct Mount {
    /// What is bound. Any descriptor will do, one opened with `O_PATH` too. `/dev/null` hides what an outer mount shows at
    /// the target, behind an empty folder or file.
    pub source: OwnedFd,
    /// Where it is seen. Parents are made; none may be a symbolic link.
    pub target: String,
    /// Whether programs may be executed from it.
    pub exec: bool,
}

/// The bounds of one step.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory of the whole tree, outputs and scratch included (they live in memory).
    pub memory_bytes: u64,
    /// Thousandths of a processor.
    pub cpu_milli: Option<u32>,
    /// Processes and threads at once.
    pub processes: u32,
    /// Size of the outputs together, and again of scratch.
    pub disk_bytes: u64,
    /// Wall time until the tree is killed.
    pub timeout: Duration,
    /// Bytes kept of each output stream; the rest is counted and dropped.
    pub log_bytes: usize,
    /// Files in all outputs together.
    pub output_files: usize,
}

/// One step to run.
#[derive(Debug)]
pub struct Spec {
    /// How tightly.
    pub profile: Profile,
    /// Program and arguments; a program without `/` is searched in `env["PATH"]` inside the sandbox.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working folder inside; made if no mount brings it.
    pub workdir: String,
    /// Host name inside.
    pub hostname: String,
    /// Read-only files and folders.
    pub mounts: Vec<Mount>,
    /// Symbolic links of the private root: link, target.
    pub links: Vec<(String, String)>,
    /// Small read-only files of the private root: place, content.
    pub texts: Vec<(String, String)>,
    /// Device nodes of the host, shown at their places in `/dev`.
    #[cfg(target_os = "linux")]
    pub devices: Vec<crate::Device>,
    /// Names; each is a writable folder `/out/<name>`.
    pub outputs: Vec<String>,
    /// Bounds.
    pub limits: Limits,
    /// Without namespaces: whether words of `argv` that are a place of this specification, or `--option=` with one, lead to where it lies.
    pub places_in_words: bool,
    /// Whether stdout and stderr are kept; they are drained and counted in any case.
    pub capture: bool,
}

/// What goes into a sandbox and comes out of it besides files.
#[cfg(target_os = "linux")]
#[derive(Default)]
pub struct Ways<'a> {
    /// Where standard output and error go as they come, besides what is kept of them.
    pub sinks: [Option<OwnedFd>; 2],
    /// Who takes the connections that the step makes to the proxy: exactly for the profiles with declared hosts.
    pub door: Option<crate::Doorkeeper<'a>>,
    /// Files in `/secrets`; their values are taken out of both streams.
    pub secrets: &'a [crate::Secret],
}

impl Spec {
    /// Refuses what could not be laid out safely.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let refuse = |what: String| Err(SandboxError::Spec { what });
        if self.argv.is_empty() {
            return refuse("argv is empty".into());
        }
        if self.mounts.len() > MOUNTS_MAX {
            return refuse(format!("{} mounts, at most {MOUNTS_MAX}", self.mounts.len()));
        }
        let nul = |text: &str| text.contains('\0');
        if self.argv.iter().any(|text| nul(text)) {
            return refuse("an argument holds a NUL byte".into());
        }
        for (key, value) in &self.env {
            if key.is_empty() || key.contains('=') || nul(key) || nul(value) {
                return refuse(format!("`{}` is no environment variable", key.escape_debug()));
            }
        }
        check_path("workdir", &self.workdir)?;
        for mount in &self.mounts {
            check_path("mount target", &mount.target)?;
            if !stays(self.profile, mount) {
                check_free("mount target", &mount.target)?;
            }
        }
        for (link, target) in &self.links {
            check_path("link", link)?;
            check_free("link", link)?;
            if target.is_empty() || nul(target) {
                return refuse(format!("link `{link}` has no target"));
            }
        }
        for (place, _) in &self.texts {
            check_path("file", place)?;
            check_free("file", place)?;
        }
        let bytes = self.texts.iter().map(|(_, text)| text.len()).sum::<usize>();
        if bytes > TEXT_BYTES_MAX {
            return refuse(format!("{bytes} bytes of small files, at most {TEXT_BYTES_MAX}"));
        }
        #[cfg(target_os = "linux")]
        self.check_devices()?;
        for (index, name) in self.outputs.iter().enumerate() {
            if !is_output_name(name) {
                return refuse(format!("`{}` cannot name an output", name.escape_debug()));
            }
            if self.outputs.iter().take(index).any(|other| other == name) {
                return refuse(format!("output `{name}` is declared twice"));
            }
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Spec {
    fn check_devices(&self) -> Result<(), SandboxError> {
        let refuse = |what: String| Err(SandboxError::Spec { what });
        if !self.devices.is_empty() && !self.profile.layers().devices {
            return refuse(format!("profile `{}` shows no devices; `gpu` does", self.profile));
        }
        if self.devices.len() > crate::device::DEVICES_MAX {
            return refuse(format!("{} devices, at most {}", self.devices.len(), crate::device::DEVICES_MAX));
        }
        let mut names: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => refuse(format!("device `{}` is declared twice", pair.first().unwrap_or(&""))),
            None => Ok(()),
        }
    }
}

/// Whether a mount of a sandbox without namespaces is what lies at its place anyway: of the sandbox's own places, something in the
/// temporary folder may be.
#[cfg(target_os = "linux")]
fn stays(profile: Profile, mount: &Mount) -> bool {
    let inside = ["/tmp/", "/out/"].iter().any(|place| mount.target.strip_prefix(place).is_some_and(|rest| !rest.is_empty()));
    inside && !profile.layers().namespaces && crate::view::in_place(mount)
}

#[cfg(not(target_os = "linux"))]
fn stays(_: Profile, _: &Mount) -> bool {
    false
}

pub(crate) fn is_output_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn check_path(what: &str, path: &str) -> Result<(), SandboxError> {
    let fine = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && !path.contains('\0')
        && path.split('/').skip(1).all(|part| !matches!(part, "." | ".."));
    if fine {
        return Ok(());
    }
    Err(SandboxError::Spec { what: format!("{what} `{}` is not a plain absolute path", path.escape_debug()) })
}

/// Places the sandbox lays out itself.
fn check_free(what: &str, path: &str) -> Result<(), SandboxError> {
    let first = path.split('/').find(|part| !part.is_empty());
    match first {
        Some("proc" | "dev" | "out" | "tmp" | "sys" | "secrets") => {
            Err(SandboxError::Spec { what: format!("{what} `{path}` lies in a place the sandbox lays out itself") })
        }
        Some(_) => Ok(()),
        None => Err(SandboxError::Spec { what: format!("{what} is the root itself") }),
    }
}

/// Stops a run from another thread. Clones share one switch.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    inner: Arc<Switch>,
}

#[derive(Debug)]
struct Switch {
    on: AtomicBool,
    #[cfg(target_os = "linux")]
    event: Option<OwnedFd>,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            // Without the event (descriptors exhausted) the run looks at the switch at intervals instead.
            #[cfg(target_os = "linux")]
            event: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK).ok(),
        }
    }
}

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills the tree of every run that holds this switch, now and later.
    pub fn cancel(&self) {
        self.inner.on.store(true, Ordering::SeqCst);
        #[cfg(target_os = "linux")]
        if let Some(event) = &self.inner.event {
            // A full counter already wakes the reader, and the flag is what decides.
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    /// Whether it was pressed.
    pub fn is_cancelled(&self) -> bool {
        self.inner.on.load(Ordering::SeqCst)
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn event(&self) -> Option<&OwnedFd> {
        self.inner.event.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_escape_are_refused() {
        for path in ["", "in", "/in/../etc", "/./in", "/in/..", "/a\0b"] {
            assert!(check_path("x", path).is_err(), "{path:?}");
        }
        for path in ["/proc/x", "/dev", "//out/x", "/tmp/a", "/", "/sys"] {
            assert!(check_free("x", path).is_err(), "{path:?}");
        }
        assert!(check_path("x", "/usr/lib").is_ok() && check_free("x", "/usr/lib").is_ok());
    }

    #[test]
    fn output_names_are_plain() {
        for name in ["", ".", "..", ".x", "a/b", "a b", "ä", "a\n"] {
            assert!(!is_output_name(name), "{name:?}");
        }
        assert!(is_output_name("model-1.onnx"));
    }
}
