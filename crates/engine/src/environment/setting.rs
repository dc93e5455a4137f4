//! What a sandbox needs to run Python in an environment: mounts, links, variables.
//!
//! in: an interpreter, an unpacked tree; out: [`Setting`].
//! **Invariant:** of the interpreter a step sees what its digest covers: binary, libpython, standard library with site-packages hidden; `__pycache__` is
//! never read, because PYTHONPYCACHEPREFIX leads nowhere, or to what `bytecode` compiled.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use seaworthy_sandbox::Mount;

use super::error::EnvironmentError;
use super::host::HostFiles;
use super::interpreter::Interpreter;
use super::provision::Environment;

/// Where the unpacked wheels are seen.
pub(super) const PACKAGES: &str = "/env/site-packages";
/// Where `python` is found.
pub(super) const BIN: &str = "/env/bin";
/// What makes a virtual environment of the folder above.
const VENV: &str = "/env/pyvenv.cfg";

/// What goes into a sandbox specification.
#[derive(Debug, Default)]
pub struct Setting {
    /// Read-only mounts.
    pub mounts: Vec<Mount>,
    /// Symbolic links of the private root.
    pub links: Vec<(String, String)>,
    /// Small files: place, content.
    pub texts: Vec<(String, String)>,
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// The working folder that an image asks for.
    pub workdir: Option<String>,
    /// What an image runs if the step does not say; empty if it does not say either.
    pub command: Vec<String>,
}

#[cfg(feature = "simulate")]
impl Setting {
    /// The host's own programs, which nobody hashed.
    pub(crate) fn unchecked() -> Result<Self, EnvironmentError> {
        let usr = std::fs::File::open("/usr").map_err(EnvironmentError::io("open", "/usr"))?;
        let links = [("/bin", "usr/bin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")];
        Ok(Self {
            mounts: vec![Mount { source: usr.into(), target: "/usr".to_owned(), exec: true }],
            links: links.map(|(link, target)| (link.to_owned(), target.to_owned())).to_vec(),
            ..Self::default()
        })
    }
}

impl Environment {
    /// How a sandbox shows this environment: `python` and `python3` are found by `PATH`. Whether the wheels' tree is
    /// [untouched](Self::is_untouched) is the caller's question; the host's files are looked at here.
    pub fn setting(&self) -> Result<Setting, EnvironmentError> {
        let mut setting = interpreter_setting(&self.interpreter, &self.host)?;
        let source = self.folder.try_clone().map_err(EnvironmentError::io("open", "the unpacked environment"))?;
        let packages = self.packages()?;
        setting.mounts.push(Mount { source, target: packages.clone(), exec: true });
        setting.env.insert("PYTHONPATH".to_owned(), packages);
        Ok(setting)
    }

    /// Where a step sees the packages: without namespaces at the place in the cache, where what was compiled from them is found again.
    pub(super) fn packages(&self) -> Result<String, EnvironmentError> {
        if !self.host.is_in_place() {
            return Ok(PACKAGES.to_owned());
        }
        let own = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let place = std::fs::read_link(&own).map_err(EnvironmentError::io("examine", "the unpacked environment"))?;
        place.into_os_string().into_string().map_err(|_| {
            EnvironmentError::io("show", "the unpacked environment")(std::io::Error::other("its place in the cache is not UTF-8"))
        })
    }
}

/// The interpreter alone, at its real path: elsewhere it would load another libpython than the one that was hashed.
pub(super) fn interpreter_setting(interpreter: &Interpreter, host: &HostFiles) -> Result<Setting, EnvironmentError> {
    let mut setting = host.setting()?;
    let (_, minor, _) = interpreter.version;
    let binary = interpreter.path.to_string_lossy();
    for name in ["python".to_owned(), "python3".to_owned(), format!("python3.{minor}")] {
        setting.links.push((format!("{BIN}/{name}"), binary.clone().into_owned()));
    }
    if host.is_in_place() {
        // names in the host's own site-packages can be seen: as a virtual environment Python does not look there
        let (home, (major, minor, patch)) = (interpreter.path.parent().unwrap_or(Path::new("/usr/bin")), interpreter.version);
        let text = format!("home = {}\ninclude-system-site-packages = false\nversion = {major}.{minor}.{patch}\n", home.display());
        setting.texts.push((VENV.to_owned(), text));
    }
    Ok(setting)
}

/// The variables of every step.
pub(super) fn variables() -> BTreeMap<String, String> {
    let fixed = [
        ("PATH", "/env/bin:/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONPYCACHEPREFIX", "/nonexistent"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONUNBUFFERED", "1"),
        // one thread: sums in another order are other sums
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ];
    fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A file or folder, read-only.
pub(super) fn folder_mount(path: &Path, target: &str, exec: bool) -> Result<Mount, EnvironmentError> {
    Ok(Mount { source: open_path(path)?, target: target.to_owned(), exec })
}

/// A descriptor for mounting: no link is followed at the end.
pub(super) fn open_path(path: &Path) -> Result<OwnedFd, EnvironmentError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(EnvironmentError::os("open", path))
}
