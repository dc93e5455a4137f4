//! `seaworthy demo`: the shipped example, from raw data to a certified model, verified. Repeatable.

use std::path::{Path, PathBuf};

use seaworthy_sandbox::Profile;
use seaworthy_store::workspace::Workspace;

use crate::arguments::{Confinement, Demo, Verify};
use crate::commands::{load, lock, run, verify};
use crate::example;
use crate::failure::Failure;
use crate::keystore::Keystore;
use crate::open;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, arguments: &Demo) -> Result<u8, Failure> {
    let dir = prepare(&arguments.dir)?;
    let settings = Settings { workspace: Some(dir.clone()), ..settings.clone() };
    let confinement = fitting_profile(&arguments.confinement)?;
    let workflow = dir.join("workflow.yaml");

    let loaded = load::load(&settings, &workflow, None)?;
    let state = Workspace::create(&dir).map_err(|e| Failure::configuration("workspace/state", e.to_string(), e.hint()))?;
    let created = Keystore::new(&settings, state.id(), &loaded.workspace.environment).create(false)?;
    if !created.is_empty() {
        render::note(&format!("1. keys: created {} (outside the workspace)", created.join(", ")));
    }
    let mut running = open::running(&settings, &loaded, &confinement, 2)?;
    running.await_signer()?;
    render::note("2. lock: pinning sources, code, gates and environments by digest (the first time, wheels are downloaded)");
    for name in lock::update(&mut running, &loaded, &[])? {
        render::note(&format!("   pinned {name}"));
    }
    render::note("3. run: the sample workflow, every step confined, authorized, attested and gated");
    let report = run::execute(&settings, &loaded, &running, None)?;
    render::run_report(&settings, &report);
    let Some(model) = report.model.filter(|_| report.exit_code == 0) else { return Ok(report.exit_code.max(1)) };
    drop(running);
    render::note("4. verify: the whole chain, offline, as an auditor would");
    let check = Verify { reference: format!("model:{model}"), trust: None, max_age: None, deep: false };
    let code = verify::run(&settings, &check)?;
    where_to_look(&dir, &model, &confinement);
    Ok(code)
}

/// Copies the example, unless an earlier demo is there.
fn prepare(dir: &Path) -> Result<PathBuf, Failure> {
    let occupied = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !dir.join("workflow.yaml").is_file() {
        let message = format!("`{}` holds something else", dir.display());
        return Err(Failure::configuration("demo/occupied", message, "choose another folder with --dir"));
    }
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::configuration("demo/unwritable", format!("`{}`: {e}", dir.display()), "choose another folder with --dir"))?;
    let written = example::copy(dir, &|name| !name.starts_with("variants/"))?;
    render::note(&format!("demo in {} ({written} files written)", dir.display()));
    dir.canonicalize().map_err(|e| Failure::internal("demo/folder", e))
}

/// The strictest profile that this machine allows; anything but `strict` is said, with the reason.
fn fitting_profile(given: &Confinement) -> Result<Confinement, Failure> {
    if given.profile.is_some() {
        return Ok(given.clone());
    }
    let with = |profile: Profile| Confinement { profile: Some(profile.to_string()), ..given.clone() };
    let Err(why) = seaworthy_sandbox::preflight(Profile::Strict) else { return Ok(with(Profile::Strict)) };
    for profile in [Profile::NoCgroup, Profile::Landlock] {
        if seaworthy_sandbox::preflight(profile).is_ok() {
            render::note(&format!("   steps run under profile `{profile}`, because {why}; the attestations name the gaps"));
            return Ok(with(profile));
        }
    }
    let unsupported = seaworthy_sandbox::preflight(Profile::NoCgroup).err().unwrap_or(why);
    Err(Failure::configuration("sandbox/unsupported", unsupported.to_string(), unsupported.hint()))
}

fn where_to_look(dir: &Path, model: &str, confinement: &Confinement) {
    let flags = match confinement.profile.as_deref() {
        Some(profile) if profile != Profile::Strict.name() => format!(" --profile {profile}"),
        _ => String::new(),
    };
    let dir = dir.display();
    render::note(&format!(
        "\nWhere to look:\n  seaworthy models show {model} --workspace {dir}\n  seaworthy lineage show model:{model} --workspace {dir}\n  \
         seaworthy log show --workspace {dir}\n  seaworthy attest export model:{model} -o evidence --workspace {dir}\n  \
         {dir}/workflow.yaml, {dir}/seaworthy.yaml, {dir}/policies: change something and run it again:\n  seaworthy run {dir}/workflow.yaml{flags}"
    ));
}
