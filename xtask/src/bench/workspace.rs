//! A throw-away workspace with a chain of steps, and the product run in it.
//!
//! in: how many steps, and what each runs; out: a folder with keys and lock, and commands in it.
//! **Invariant:** it has its own configuration, state and cache folders: the user's are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Bench;
use crate::process::{output, program};

/// What each step of a chain runs; it leaves an empty file, since a step without outputs is refused.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Body {
    /// The shell of the host closure.
    Shell,
    /// Python in a locked environment with an empty `requirements.lock`.
    Python,
}

/// A workspace.
pub(super) struct Workspace {
    pub(super) dir: PathBuf,
    base: PathBuf,
    binary: PathBuf,
}

impl Workspace {
    /// An empty folder for the workspace `name`; what an earlier measurement left there is gone.
    pub(super) fn new(bench: &Bench, name: &str) -> Result<Self, String> {
        let base = bench.dir.join(name);
        if base.exists() {
            fs::remove_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
        }
        let dir = base.join("workspace");
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, base, binary: bench.binary.clone() })
    }

    /// A chain of `steps`, each reading what the one before left; with keys and lock, nothing run yet.
    pub(super) fn chain(bench: &Bench, name: &str, steps: usize, body: Body, cache: bool) -> Result<Self, String> {
        let workspace = Self::new(bench, name)?;
        let (workflow, settings) = chain_texts(steps, body, cache);
        workspace.write("workflow.yaml", &workflow)?;
        workspace.write("seaworthy.yaml", &settings)?;
        workspace.write("envs/requirements.lock", "")?;
        workspace.done(&["keys", "create"])?;
        let python = interpreter()?;
        workspace.done(&["lock", "--python", &python])?;
        Ok(workspace)
    }

    /// A fan of `steps` shells that do nothing and need nothing; no step is reused.
    pub(super) fn fan(bench: &Bench, name: &str, steps: u32) -> Result<Self, String> {
        let workspace = Self::new(bench, name)?;
        let (mut workflow, mut settings) = ("workflows:\n  - name: fan\n    steps:\n".to_owned(), "environment: dev\nsteps:\n".to_owned());
        for step in 0..steps {
            workflow.push_str(&format!("      - s{step}:\n          sandbox: true\n"));
            settings
                .push_str(&format!("  fan/s{step}: {{run: [sh, -c, ': > /out/o/x'], needs: [], outputs: {{o: dataset}}, cache: false}}\n"));
        }
        workspace.write("workflow.yaml", &workflow)?;
        workspace.write("seaworthy.yaml", &settings)?;
        workspace.done(&["keys", "create"])?;
        workspace.done(&["lock"])?;
        Ok(workspace)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.dir.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        made.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The product, in this workspace.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.dir);
        self.settle(&mut command);
        command
    }

    /// Gives a command this workspace's own folders.
    pub(super) fn settle(&self, command: &mut Command) {
        for (name, folder) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")] {
            command.env(name, self.base.join(folder));
        }
    }

    /// A run of the workflow.
    pub(super) fn run(&self) -> Result<Command, String> {
        Ok(self.command(&["run", "workflow.yaml", "--json", "--python", &interpreter()?]))
    }

    /// Runs a command of the product that must succeed.
    pub(super) fn done(&self, arguments: &[&str]) -> Result<String, String> {
        output(self.command(arguments))
    }

    /// Its configuration folder, as `XDG_CONFIG_HOME` has it.
    pub(super) fn config(&self) -> PathBuf {
        self.base.join("config")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.dir.join(".seaworthy/staging/journal/journal")
    }
}

/// The Python that `python3` stands for, without shims.
pub(super) fn interpreter() -> Result<String, String> {
    let text = output(program("python3", &["-c", "import os, sys; print(os.path.realpath(sys.executable))"]))?;
    let path = text.trim();
    if Path::new(path).is_file() { Ok(path.to_owned()) } else { Err("python3 does not say where it is".to_owned()) }
}

fn chain_texts(steps: usize, body: Body, cache: bool) -> (String, String) {
    let mut workflow = "workflows:\n  - name: chain\n    steps:\n".to_owned();
    let mut settings = "environment: staging\n\
        project: {name: chain, owner: 'user:somebody', purpose: measurement, risk_class: minimal, residency: [EU], data_classes: [none]}\n\
        environments: {'python:1': {python: envs/requirements.lock}}\nsteps:\n"
        .to_owned();
    let (container, run) = match body {
        Body::Shell => ("sandbox: true", "[sh, -c, ': > /out/o/x']"),
        Body::Python => ("container: python:1", "[python, -c, \"open('/out/o/x', 'w')\"]"),
    };
    for step in 0..steps {
        let inputs = step.checked_sub(1).map_or_else(|| "[]".to_owned(), |before| format!("[s{before}/o]"));
        workflow.push_str(&format!("      - s{step}:\n          {container}\n"));
        settings.push_str(&format!("  chain/s{step}: {{run: {run}, inputs: {inputs}, outputs: {{o: dataset}}, cache: {cache}}}\n"));
    }
    (workflow, settings)
}
