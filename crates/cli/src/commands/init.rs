//! `seaworthy init`: a workspace to start from: the sample workflow verbatim, settings, schema, programs, environments.

use std::path::PathBuf;

use crate::arguments::Init;
use crate::example;
use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(_settings: &Settings, arguments: &Init) -> Result<u8, Failure> {
    let dir = arguments.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    if dir.join("workflow.yaml").exists() {
        return Err(Failure::configuration(
            "init/exists",
            format!("`{}` has a workflow.yaml already", dir.display()),
            "choose another folder",
        ));
    }
    std::fs::create_dir_all(&dir)
        .map_err(|e| Failure::configuration("init/unwritable", format!("`{}`: {e}", dir.display()), "choose another folder"))?;
    let template = example::text("seaworthy.yaml").ok_or_else(|| Failure::internal("init/template", "the example has no settings file"))?;
    let settings = template.replace("environment: staging", "environment: dev");
    example::write(&dir.join("seaworthy.yaml"), settings.as_bytes())?;
    let wanted =
        |name: &str| name == "workflow.yaml" || name.starts_with("src/") || name.starts_with("envs/") || name.starts_with("policies/");
    example::copy(&dir, &wanted)?;
    std::fs::create_dir_all(dir.join("data/raw")).map_err(|e| Failure::configuration("init/unwritable", e.to_string(), ""))?;
    let settings_path = dir.join("seaworthy.yaml");
    let without_schema = settings.replace("    schema: schemas/employment.yaml\n", "");
    seaworthy_store::workspace::write_atomic(&settings_path, without_schema.as_bytes(), 0o644)
        .map_err(|e| Failure::configuration("init/unwritable", e.to_string(), ""))?;
    render::line(&format!(
        "wrote {0}/workflow.yaml and {0}/seaworthy.yaml (environment: dev)\nnext:\n  put your data into {0}/data/raw and adapt {0}/src and {0}/seaworthy.yaml\n  \
         seaworthy keys create --workspace {0}\n  seaworthy lock {0}/workflow.yaml\n  seaworthy run {0}/workflow.yaml   # in dev, the first run infers the data's schema into {0}/schemas and is denied; read it, run again",
        dir.display()
    ));
    Ok(0)
}
