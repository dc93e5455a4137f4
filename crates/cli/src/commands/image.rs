//! `seaworthy image`: the images of this user, of all workspaces alike. Nothing here changes a workspace: a lock pins an image by its digest.

use std::path::Path;
use std::sync::Arc;

use seaworthy_engine::environment::Places;
use seaworthy_engine::environment::image::{Add, Image, ImageError, ImageTree, Images, Listed, RegistrySettings};
use seaworthy_engine::workers::Pool;
use serde_json::{Value, json};

use crate::arguments::Image as Command;
use crate::failure::{CONFIGURATION, Failure, INTEGRITY};
use crate::render;
use crate::settings::Settings;

pub(crate) fn run(settings: &Settings, command: &Command) -> Result<u8, Failure> {
    let places = Places { cache_dir: &settings.cache_dir, state_dir: &settings.state_dir };
    let images = Images::open(places, Arc::new(Pool::new())).map_err(|e| failure(&e))?;
    match command {
        Command::Add { source, name, tag, credentials } => {
            let registry = RegistrySettings {
                ca_file: settings.index.ca_file.clone(),
                proxy: settings.index.proxy.clone(),
                ..RegistrySettings::default()
            };
            let add = Add {
                name: name.as_deref(),
                tag: tag.as_deref(),
                credentials: credentials.as_deref(),
                registry: Some(&registry),
                ..Add::default()
            };
            let image = images.add(source, Path::new("."), add).map_err(|e| failure(&e))?;
            let tree = images.tree(&image).map_err(|e| failure(&e))?;
            added(settings, &image, &tree);
        }
        Command::List => {
            let all = images.list();
            if settings.json {
                render::json(&all.iter().map(listed).collect::<Vec<_>>());
            } else {
                all.iter().for_each(|one| render::line(&listed_line(one)));
            }
        }
        Command::Show { name } => {
            let image = images.find(name).map_err(|e| failure(&e))?;
            let tree = images.tree(&image).map_err(|e| failure(&e))?;
            if settings.json {
                render::json(&page(&image, Some(&tree)));
            } else {
                show(&image, &tree);
            }
        }
    }
    Ok(0)
}

fn listed(one: &Listed) -> Value {
    match &one.image {
        Ok(image) => page(image, None),
        Err(error) => json!({"name": one.name, "broken": {"code": error.code(), "message": error.to_string(), "hint": error.hint()}}),
    }
}

fn listed_line(one: &Listed) -> String {
    match &one.image {
        Ok(image) => format!("{}  sha256:{}  {}", image.name, image.manifest, size(image)),
        Err(error) => format!("{}  broken[{}]: {error}", one.name, error.code()),
    }
}

fn added(settings: &Settings, image: &Image, tree: &ImageTree) {
    if let Some(dropped) = tree.dropped().filter(|dropped| dropped.specials + dropped.privileges > 0) {
        render::note(&format!(
            "left out: {} devices and pipes; set-id bits or attributes of {} files",
            dropped.specials, dropped.privileges
        ));
    }
    if settings.json {
        render::json(&page(image, Some(tree)));
    } else {
        render::line(&format!("{}  sha256:{}", image.name, image.manifest));
    }
}

fn page(image: &Image, tree: Option<&ImageTree>) -> Value {
    let layers: Vec<Value> =
        image.layers.iter().map(|(digest, bytes)| json!({"digest": format!("sha256:{digest}"), "bytes": bytes})).collect();
    json!({
        "name": image.name,
        "from": image.from,
        "manifest": format!("sha256:{}", image.manifest),
        "config": format!("sha256:{}", image.config),
        "layers": layers,
        "tree": tree.map(|tree| tree.digest().hex()),
        "command": command(image),
        "env": image.run.env,
        "workdir": image.run.workdir,
        "user": image.run.user,
    })
}

fn show(image: &Image, tree: &ImageTree) {
    render::line(&format!("name      {}", image.name));
    render::line(&format!("from      {}", image.from));
    render::line(&format!("manifest  sha256:{}", image.manifest));
    render::line(&format!("config    sha256:{}", image.config));
    for (digest, bytes) in &image.layers {
        render::line(&format!("layer     sha256:{digest}  {bytes} bytes"));
    }
    render::line(&format!("tree      {} ({} entries)", tree.digest(), tree.listing().lines().count().saturating_sub(1)));
    render::line(&format!("command   {}", json!(command(image))));
    render::line(&format!("workdir   {}", image.run.workdir));
    for (key, value) in &image.run.env {
        render::line(&format!("env       {key}={value}"));
    }
    if !image.run.user.is_empty() {
        render::line(&format!("user      {} (steps have a user of their own)", image.run.user));
    }
}

fn command(image: &Image) -> Vec<String> {
    [image.run.entrypoint.as_slice(), &image.run.cmd].concat()
}

fn size(image: &Image) -> String {
    let bytes: u64 = image.layers.iter().map(|(_, bytes)| bytes).sum();
    format!("{} layers, {bytes} bytes", image.layers.len())
}

/// A fault of an image, with its exit code.
pub(crate) fn failure(error: &ImageError) -> Failure {
    let exit_code = if error.is_integrity() { INTEGRITY } else { CONFIGURATION };
    Failure::new(exit_code, error.code(), error.to_string(), error.hint())
}
