//! Settings: arguments, files and environment become one value, read here and nowhere else.
//!
//! in: global arguments and the process environment; out: [`Settings`].
//! **Invariant:** no other module of the product reads an environment variable; no secret is ever read from one.

use std::path::{Path, PathBuf};

use seaworthy_engine::environment::IndexSettings;

use crate::arguments::Global;
use crate::failure::Failure;

/// Everything that does not come from a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `--json`.
    pub(crate) json: bool,
    /// `--workspace`.
    pub(crate) workspace: Option<PathBuf>,
    /// `--environment`.
    pub(crate) environment: Option<String>,
    /// `$XDG_CONFIG_HOME/seaworthy`: keys and trust files, outside every workspace.
    pub(crate) config_dir: PathBuf,
    /// `$XDG_STATE_HOME/seaworthy`: last-seen checkpoints.
    pub(crate) state_dir: PathBuf,
    /// `$XDG_CACHE_HOME/seaworthy`: unpacked environments.
    pub(crate) cache_dir: PathBuf,
    /// `python3` and `python` as found on `$PATH`, in order.
    pub(crate) pythons: Vec<PathBuf>,
    /// Index, certificates and proxy of the package index, passed on explicitly.
    pub(crate) index: IndexSettings,
    /// The name of this user on this machine: a first name for their own id, and nothing that is believed.
    pub(crate) os_user: Option<String>,
    /// `--signer`, else `$SEAWORTHY_SIGNER`: the socket of a signer that runs as a service.
    pub(crate) signer: Option<PathBuf>,
    /// stderr is a terminal that understands escapes.
    pub(crate) terminal: bool,
}

impl Settings {
    pub(crate) fn from_environment(global: &Global) -> Result<Self, Failure> {
        let home = variable("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let folder = |name: &str, fallback: &str| {
            let base = variable(name).map(PathBuf::from).filter(|path| path.is_absolute()).unwrap_or_else(|| home.join(fallback));
            base.join("seaworthy")
        };
        let config_dir = folder("XDG_CONFIG_HOME", ".config");
        Ok(Self {
            json: global.json,
            workspace: global.workspace.clone(),
            environment: global.environment.clone(),
            state_dir: folder("XDG_STATE_HOME", ".local/state"),
            cache_dir: folder("XDG_CACHE_HOME", ".cache"),
            config_dir,
            os_user: account_name().or_else(|| variable("USER")),
            signer: global.signer.clone().or_else(|| variable("SEAWORTHY_SIGNER").map(PathBuf::from)),
            pythons: pythons(&variable("PATH").unwrap_or_default()),
            index: index_settings(&home),
            terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()) && variable("TERM").is_some_and(|term| term != "dumb"),
        })
    }

    /// What a signer needs of all this when a command of ours starts it: where its keys are.
    pub(crate) fn of_signer(environment: &str) -> Self {
        let base = variable("XDG_CONFIG_HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        Self {
            json: false,
            workspace: None,
            environment: Some(environment.to_owned()),
            config_dir: base.join("seaworthy"),
            state_dir: PathBuf::new(),
            cache_dir: PathBuf::new(),
            pythons: Vec::new(),
            index: IndexSettings::default(),
            os_user: None,
            signer: None,
            terminal: false,
        }
    }

    /// The workspace folder: `--workspace`, else the workflow file's folder, else the current one.
    pub(crate) fn workspace_dir(&self, workflow: Option<&Path>) -> Result<PathBuf, Failure> {
        let chosen = match (&self.workspace, workflow) {
            (Some(dir), _) => dir.clone(),
            (None, Some(file)) => {
                file.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
            }
            (None, None) => PathBuf::from("."),
        };
        chosen.canonicalize().map_err(|e| {
            Failure::configuration(
                "workspace/missing",
                format!("`{}`: {e}", chosen.display()),
                "name a folder that exists with --workspace",
            )
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What `/etc/passwd` calls the user that this process runs as.
fn account_name() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Interpreters on `$PATH`. A shim (pyenv, asdf) is a script, not an interpreter: what it stands for is looked up by the environment module.
fn pythons(path: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in path.split(':').filter(|folder| folder.starts_with('/')) {
        for name in ["python3", "python"] {
            let candidate = Path::new(folder).join(name);
            if candidate.is_file() {
                found.push(candidate);
            }
        }
    }
    found.extend(pyenv_versions());
    found.push(PathBuf::from("/usr/bin/python3"));
    found
}

/// Interpreters that pyenv manages: its shims on `$PATH` are scripts.
fn pyenv_versions() -> Vec<PathBuf> {
    let root = variable("PYENV_ROOT").map(PathBuf::from).or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let Some(Ok(versions)) = root.map(|root| std::fs::read_dir(root.join("versions"))) else { return Vec::new() };
    let mut found: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin/python3")).filter(|path| path.is_file()).collect();
    found.sort();
    found.reverse();
    found
}

/// How pip would reach the package index here: its variables, then its configuration files.
fn index_settings(home: &Path) -> IndexSettings {
    let files: Vec<String> = [PathBuf::from("/etc/pip.conf"), home.join(".pip/pip.conf"), home.join(".config/pip/pip.conf")]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    let configured = |key: &str| {
        files.iter().flat_map(|text| text.lines()).find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let first = |names: &[&str], key: &str| names.iter().find_map(|name| variable(name)).or_else(|| configured(key));
    IndexSettings {
        index_url: first(&["PIP_INDEX_URL"], "index-url"),
        ca_file: first(&["PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"], "cert").map(PathBuf::from),
        proxy: first(&["PIP_PROXY", "HTTPS_PROXY", "https_proxy"], "proxy"),
        ..IndexSettings::default()
    }
}
