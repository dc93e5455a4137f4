//! Loading a workflow: texts → workspace → plan, every fault of both files shown at once.

use std::path::{Path, PathBuf};

use seaworthy_core::lock::Lock;
use seaworthy_core::plan::{self, Plan, PlannedStep};
use seaworthy_core::workflow::model::{EnvironmentSource, Workspace};
use seaworthy_core::workflow::{self, Diagnostics, SourceText, SourceTexts};
use seaworthy_engine::engine::Engine;
use seaworthy_engine::pins::{self, FoundPins, PlanFiles, Seen};

use crate::failure::{CONFIGURATION, Failure};
use crate::render;
use crate::settings::Settings;

/// Name of the settings file beside a workflow.
const SETTINGS_FILE: &str = "seaworthy.yaml";
/// Name of the lock file.
const LOCK_FILE: &str = "seaworthy.lock";

/// A workflow file, loaded and planned.
pub(crate) struct Loaded {
    pub(crate) dir: PathBuf,
    pub(crate) workflow_name: String,
    workflow_bytes: Vec<u8>,
    settings_bytes: Option<Vec<u8>>,
    pub(crate) workspace: Workspace,
    pub(crate) plan: Plan,
}

/// The lock file as it is now; an absent one pins nothing.
pub(crate) struct LockFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) lock: Lock,
}

pub(crate) fn load(settings: &Settings, file: &Path, name: Option<&str>) -> Result<Loaded, Failure> {
    let dir = settings.workspace_dir(Some(file))?;
    let workflow_text = read(file)?;
    let settings_path = dir.join(SETTINGS_FILE);
    let settings_text = if settings_path.is_file() { Some(read(&settings_path)?) } else { None };
    let workflow_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let texts = SourceTexts {
        workflow: SourceText { path: file.display().to_string(), text: workflow_text.clone() },
        settings: settings_text.clone().map(|text| SourceText { path: settings_path.display().to_string(), text }),
    };
    let (workspace, diagnostics) = workflow::parse(&texts);
    let workspace = settle(settings, workspace, &diagnostics)?;
    let chosen = choose(&workspace, name)?;
    let plan = match plan::build(&workspace, chosen.as_str()) {
        Ok(plan) => plan,
        Err(diagnostics) => return Err(refused(settings, &diagnostics)),
    };
    Ok(Loaded {
        dir,
        workflow_name,
        workflow_bytes: workflow_text.into_bytes(),
        settings_bytes: settings_text.map(String::into_bytes),
        workspace,
        plan,
    })
}

fn settle(settings: &Settings, workspace: Option<Workspace>, diagnostics: &Diagnostics) -> Result<Workspace, Failure> {
    match workspace {
        Some(workspace) if !diagnostics.has_errors() => {
            render::diagnostics(settings, diagnostics);
            Ok(workspace)
        }
        _ => Err(refused(settings, diagnostics)),
    }
}

fn refused(settings: &Settings, diagnostics: &Diagnostics) -> Failure {
    render::diagnostics(settings, diagnostics);
    let count = diagnostics.len();
    Failure::new(
        CONFIGURATION,
        "workflow/faults",
        format!("{count} fault{} in the workflow files", if count == 1 { "" } else { "s" }),
        "each is shown above with its place and a hint",
    )
}

fn choose(workspace: &Workspace, name: Option<&str>) -> Result<seaworthy_core::id::Name, Failure> {
    let known: Vec<&str> = workspace.workflows.iter().map(|workflow| workflow.name.as_str()).collect();
    let found = match name {
        Some(name) => workspace.workflows.iter().find(|workflow| workflow.name.as_str() == name),
        None if known.len() == 1 => workspace.workflows.first(),
        None => return Err(Failure::usage(format!("the file holds several workflows: {}", known.join(", ")), "choose one with --name")),
    };
    found
        .map(|workflow| workflow.name.clone())
        .ok_or_else(|| Failure::usage("the file holds no workflow of that name", format!("it holds {}", known.join(", "))))
}

fn read(path: &Path) -> Result<String, Failure> {
    seaworthy_store::workspace::config_file(path).map_err(|e| {
        Failure::configuration(
            "workflow/unreadable",
            e.to_string(),
            "name a workflow file, for instance workflow.yaml; `seaworthy init` writes a first one",
        )
    })
}

impl Loaded {
    pub(crate) fn lock_file(&self) -> Result<LockFile, Failure> {
        let path = self.dir.join(LOCK_FILE);
        if !path.is_file() {
            return Ok(LockFile { path, bytes: Vec::new(), lock: Lock::default() });
        }
        let text = read(&path)?;
        let lock = Lock::parse(&text).map_err(|e| {
            Failure::configuration(
                "lock/invalid",
                format!("`{}`: {e}", path.display()),
                "restore it from version control, or remove it and run `seaworthy lock`",
            )
        })?;
        Ok(LockFile { path, bytes: text.into_bytes(), lock })
    }

    pub(crate) fn find_pins(&self, engine: &Engine, lock: &Lock) -> Result<FoundPins, Failure> {
        Ok(pins::find(engine, &self.files(), lock)?)
    }

    /// Whether a step runs in a locked Python environment.
    pub(crate) fn needs_python(&self) -> bool {
        let source = |planned: &PlannedStep| self.workspace.environment_source(planned.step.container.as_deref());
        self.plan.steps.iter().any(|planned| matches!(source(planned), Some(EnvironmentSource::Python(_))))
    }

    /// The same for a reader: no keys, no state, nothing built.
    pub(crate) fn look_at_pins(&self, settings: &Settings, lock: &Lock) -> Seen {
        pins::look(&self.dir, std::slice::from_ref(&settings.config_dir), &self.files(), lock)
    }

    fn files(&self) -> PlanFiles<'_> {
        PlanFiles {
            workspace: &self.workspace,
            plan: &self.plan,
            workflow_file: (&self.workflow_name, &self.workflow_bytes),
            settings_file: self.settings_bytes.as_deref(),
        }
    }
}
