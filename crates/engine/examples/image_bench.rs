//! Measures unpacking: layers that are tar and gzip, by us and by `tar -xzf`, in turns.
//!
//! in: an empty folder, rounds, layers as `.tar.gz` files, lowest first; out: one flat line of JSON.
//! Ours is from the stored blobs to a tree that may be shown to a step: blobs, archives and files hashed, all files read back once.
//! Run with `cargo run --release -p seaworthy-engine --example image_bench -- FOLDER ROUNDS LAYER.tar.gz…`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "an example prints its figures, makes its own files, and starts tar")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use seaworthy_core::digest::Digest;
use seaworthy_engine::environment::Places;
use seaworthy_engine::environment::image::{Add, Images};
use seaworthy_engine::workers::Pool;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    seaworthy_sandbox::init_main();
    if seaworthy_engine::workers::started_as_worker().is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?);
    let rounds: usize = arguments.next().ok_or("name the rounds")?.parse()?;
    let layers: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let layout = folder.join("layout");
    make(&layout, &layers)?;
    let (cache_dir, state_dir) = (folder.join("cache"), folder.join("state"));
    let images = Images::open(Places { cache_dir: &cache_dir, state_dir: &state_dir }, Arc::new(Pool::new()))?;
    let image = images.add(&layout.to_string_lossy(), Path::new("/"), Add::default())?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let tree = images.tree(&image)?;
        ours.push(begun.elapsed().as_secs_f64() * 1e3);
        tree.check()?;
        drop(tree);
        seaworthy_store::artifacts::remove_checkout(&cache_dir.join("images/trees"))?;
        let place = folder.join("tar");
        fs::create_dir(&place)?;
        let begun = Instant::now();
        for layer in &layers {
            let done = Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(&place).status()?;
            if !done.success() {
                return Err("tar failed".into());
            }
        }
        theirs.push(begun.elapsed().as_secs_f64() * 1e3);
        seaworthy_store::artifacts::remove_checkout(&place)?;
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!("{{\"ours_ms\": {ours:.1}, \"tar_ms\": {theirs:.1}, \"peak_mb\": {:.1}}}", peak_mb());
    Ok(())
}

/// A layout around the layers.
fn make(layout: &Path, layers: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let blob = |bytes: &[u8], kind: &str| -> std::io::Result<serde_json::Value> {
        fs::write(blobs.join(Digest::of(bytes).hex()), bytes)?;
        Ok(json!({"mediaType": kind, "digest": format!("sha256:{}", Digest::of(bytes)), "size": bytes.len()}))
    };
    let (mut listed, mut ids) = (Vec::new(), Vec::new());
    for layer in layers {
        // by programs: what the library needs is what is measured, not what these bytes took
        let plain = Command::new("sh").arg("-c").arg("gzip -dc \"$0\" | sha256sum | cut -d' ' -f1").arg(layer).output()?;
        let packed = Command::new("sh").arg("-c").arg("sha256sum < \"$0\" | cut -d' ' -f1").arg(layer).output()?;
        let text = |out: std::process::Output| String::from_utf8_lossy(&out.stdout).trim().to_owned();
        let (plain, packed) = (text(plain), text(packed));
        fs::copy(layer, blobs.join(&packed))?;
        let size = fs::metadata(layer)?.len();
        listed
            .push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": format!("sha256:{packed}"), "size": size}));
        ids.push(format!("sha256:{plain}"));
    }
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": machine, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}).to_string();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json")?, "layers": listed})
    .to_string();
    let index = json!({"schemaVersion": 2, "manifests": [blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json")?]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(f64::NAN, |kib| kib * 1024.0 / 1e6)
}
