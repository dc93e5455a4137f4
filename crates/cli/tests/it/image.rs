//! Images as environments: added, locked, run, verified; changed behind the lock, or in the cache, they are refused.
//!
//! in: a tiny workspace, an image made of this machine's own shell; out: runs of the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Bundle;
use serde_json::{Value, json};

use crate::workspace::{Finished, Tiny};

/// What the entry point is: it does what `double.sh` does, and says who it is.
const ENTRY: &str = "#!/bin/sh\nset -eu\n\
    { read -r header; echo \"$header\"\n  while IFS=, read -r id value; do echo \"$id,$((value * FACTOR))\"; done\n\
    } < /in/raw/numbers.csv > /out/doubled/numbers.csv\n\
    echo \"in $(pwd) with FACTOR=$FACTOR\"\n";

/// Writes a layout of one layer, packed by tar and gzip, whose root holds the shell and what it needs; the digest of its manifest.
fn image(dir: &Path, extra: &[(&str, &str)], run: &Value) -> Digest {
    let root = dir.with_extension("root");
    let _ = Command::new("rm").arg("-rf").arg(&root).arg(dir).status();
    for file in seaworthy_sandbox::host_closure().unwrap().iter().filter(|file| !file.is_dir) {
        let target = root.join(file.target.strip_prefix("/").unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file.source, &target).unwrap();
    }
    for (name, text) in extra {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let tar = Command::new("tar").args(["-C"]).arg(&root).args(["--sort=name", "--mtime=@0", "-cf", "-", "."]).output().unwrap();
    assert!(tar.status.success());
    let file = dir.with_extension("tar");
    fs::write(&file, &tar.stdout).unwrap();
    let layer = Command::new("gzip").args(["-1nc"]).arg(&file).output().unwrap().stdout;
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": machine, "os": "linux", "config": run,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", Digest::of(&tar.stdout))]}});
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(&layer, "application/vnd.oci.image.layer.v1.tar+gzip")]});
    let manifest = manifest.to_string();
    let index = json!({"schemaVersion": 2, "manifests": [blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json")]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    Digest::of(manifest.as_bytes())
}

/// A workspace whose step `double` runs in the image at `./image`, by the image's own command.
fn workspace() -> (Tiny, Digest) {
    let tiny = Tiny::unlocked();
    tiny.ok(&["keys", "create"]);
    let digest = image(&tiny.join("image"), &[("app/entry", ENTRY)], &run());
    tiny.edit("workflow.yaml", "sandbox: true", "container: tools:1");
    tiny.edit("seaworthy.yaml", "steps:\n", "environments: {'tools:1': {oci: ./image}}\nsteps:\n");
    tiny.edit("seaworthy.yaml", "tiny/double: {code: src/, run: [sh, double.sh], ", "tiny/double: {");
    (tiny, digest)
}

fn run() -> Value {
    json!({"Entrypoint": ["/app/entry"], "Env": ["FACTOR=2", "PATH=/bin:/usr/bin", "SEAWORTHY_INPUTS=/etc"], "WorkingDir": "/app", "User": "root"})
}

trait Join {
    fn join(&self, name: &str) -> PathBuf;
}

impl Join for Tiny {
    fn join(&self, name: &str) -> PathBuf {
        self.base().join("workspace").join(name)
    }
}

fn said(finished: &Finished) -> String {
    format!("{}{}", finished.stdout, finished.stderr)
}

#[test]
fn a_step_runs_in_an_image_and_its_evidence_names_it() {
    let (tiny, digest) = workspace();
    let locked = tiny.ok(&["lock"]);
    assert!(locked.stdout.contains("pinned environment:tools:1"), "{}", said(&locked));
    assert!(tiny.read("seaworthy.lock").contains(&digest.hex()), "the pin is the digest of the image's manifest");
    let done = tiny.ok(&["run", "workflow.yaml"]);
    assert!(done.stdout.contains("3 committed"), "{}", said(&done));
    let verified = tiny.ok(&["verify", "log", "--deep"]);
    assert!(verified.stdout.contains("L0"), "{}", said(&verified));
    // what ran is what the image says: its command, its variables, its folder; not what it says of the product's own
    let blobs = tiny.state_files().into_iter().filter(|path| path.to_string_lossy().contains("/blobs/"));
    let texts: Vec<String> = blobs.filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(texts.iter().any(|text| text == "in /app with FACTOR=2\n"));
    // provenance names manifest and layers
    let bundles = tiny.state_files().into_iter().filter(|path| path.to_string_lossy().contains("/bundles/"));
    let payloads = bundles.map(|path| Bundle::from_json(&fs::read(path).unwrap()).unwrap().payload);
    let payloads: Vec<String> = payloads.map(|payload| String::from_utf8(payload.clone()).unwrap()).collect();
    let named =
        payloads.iter().find(|text| text.contains(&format!("\"image\":\"sha256:{digest}\""))).expect("no provenance names the image");
    assert!(named.contains("\"layers\":[\"sha256:") && named.contains("\"tree\":\""), "{named}");
    // a second run does nothing again
    let again = tiny.ok(&["run", "workflow.yaml"]);
    assert!(again.stdout.contains("3 reused"), "{}", said(&again));
}

#[test]
fn an_image_that_changed_behind_the_lock_is_refused() {
    let (tiny, digest) = workspace();
    tiny.ok(&["lock"]);
    let other = image(&tiny.join("image"), &[("app/entry", &ENTRY.replace("FACTOR))", "FACTOR + 1))"))], &run());
    assert_ne!(other, digest);
    tiny.refused(&["run", "workflow.yaml"], 1, "lock/changed");
    // control: a person may move the pin, and then it runs
    tiny.ok(&["lock", "--update", "environment:tools:1"]);
    assert!(tiny.read("seaworthy.lock").contains(&other.hex()));
    tiny.ok(&["run", "workflow.yaml"]);
}

#[test]
fn a_tree_that_was_touched_in_the_cache_is_never_run() {
    let (tiny, _) = workspace();
    tiny.ok(&["lock"]);
    let shown = tiny.ok(&["image", "show", tiny.join("image").canonicalize().unwrap().to_str().unwrap(), "--json"]);
    let page: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(page["command"], json!(["/app/entry"]));
    let entry = find(tiny.base(), "entry").unwrap();
    let mode = |mode| fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
    let good = fs::read(&entry).unwrap();
    mode(0o755);
    fs::write(&entry, ENTRY.replace("FACTOR))", "FACTOR + 1))")).unwrap();
    mode(0o555);
    tiny.refused(&["run", "workflow.yaml"], 4, "environment/tampered");
    // control: put back, it is hashed again and runs; but its time is part of what was unpacked
    mode(0o755);
    fs::write(&entry, good).unwrap();
    fs::File::options().write(true).open(&entry).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    mode(0o555);
    tiny.ok(&["run", "workflow.yaml"]);
}

/// The unpacked `name`, below the cache.
fn find(base: &Path, name: &str) -> Option<PathBuf> {
    let mut open = vec![base.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.ends_with(format!("app/{name}")) && path.to_string_lossy().contains("images/trees") {
                return Some(path);
            }
        }
    }
    None
}

#[test]
fn images_are_added_listed_and_shown() {
    let (tiny, digest) = workspace();
    let added = tiny.ok(&["image", "add", "./image", "--name", "secure_preproc:2026.06"]);
    assert_eq!(added.stdout, format!("secure_preproc:2026.06  sha256:{digest}\n"));
    let list: Value = serde_json::from_str(&tiny.ok(&["image", "list", "--json"]).stdout).unwrap();
    assert_eq!(list[0]["manifest"], json!(format!("sha256:{digest}")));
    let shown = tiny.ok(&["image", "show", &format!("sha256:{digest}")]).stdout;
    for line in ["command   [\"/app/entry\"]", "env       FACTOR=2", "workdir   /app", "user      root (steps have a user of their own)"] {
        assert!(shown.contains(line), "{shown}");
    }
    // by its name it is an environment, too
    tiny.edit("seaworthy.yaml", "{oci: ./image}", "{oci: 'secure_preproc:2026.06'}");
    tiny.ok(&["lock"]);
    assert!(tiny.ok(&["run", "workflow.yaml"]).stdout.contains("3 committed"));
    for (arguments, code, says) in [
        (&["image", "show", "nobody:1"][..], 3, "image/unknown"),
        (&["image", "add", "nobody:1"], 3, "image/unknown"),
        (&["image", "add", "./nowhere"], 3, "image/io"),
        (&["image", "add", "./src"], 3, "image/io"),
        (&["image", "add", "./image", "--name", "../x"], 3, "image/reference"),
        (&["image", "add", "./image", "--tag", "other"], 3, "image/document"),
        (&["image", "add", "./workflow.yaml"], 3, "image/document"),
    ] {
        tiny.refused(arguments, code, says);
    }
    // what is not here is not fetched offline
    tiny.edit("seaworthy.yaml", "secure_preproc:2026.06", "registry.example/a/b:1");
    tiny.refused(&["lock", "--offline"], 3, "image/offline");
}

/// A step is never who it asks to be, and sees nothing but the image.
#[test]
fn a_step_in_an_image_is_confined_like_any_other() {
    let look = "#!/bin/sh\nset -u\nid -u\n\
        (echo x > /app/new) 2>/dev/null && echo wrote-app\n(echo x > /bin/new) 2>/dev/null && echo wrote-bin\n\
        cat /proc/1/environ 2>/dev/null | head -c 1 | wc -c\n\
        ls / | tr '\\n' ' '\necho\ncat < /in/raw/numbers.csv > /out/doubled/numbers.csv\necho x > /out/doubled/ok || exit 1\n";
    let tiny = Tiny::unlocked();
    tiny.ok(&["keys", "create"]);
    image(&tiny.join("image"), &[("app/entry", look), ("in/raw/trap.csv", "x"), ("tmp/x", "x"), ("proc/x", "x"), ("out/x", "x")], &run());
    tiny.edit("workflow.yaml", "sandbox: true", "container: tools:1");
    tiny.edit("seaworthy.yaml", "steps:\n", "environments: {'tools:1': {oci: ./image}}\nsteps:\n");
    tiny.edit("seaworthy.yaml", "tiny/double: {code: src/, run: [sh, double.sh], ", "tiny/double: {");
    tiny.ok(&["lock"]);
    tiny.ok(&["run", "workflow.yaml"]);
    let blobs = tiny.state_files().into_iter().filter(|path| path.to_string_lossy().contains("/blobs/"));
    let said: Vec<String> = blobs.filter_map(|path| fs::read_to_string(path).ok()).filter(|text| text.starts_with("1000\n")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    let lines: Vec<&str> = said[0].lines().collect();
    assert_eq!(lines[..2], ["1000", "0"], "{said:?}");
    for own in ["app", "bin", "dev", "in", "out", "params", "proc", "tmp", "usr"] {
        assert!(lines[2].split(' ').any(|name| name == own), "{own}: {}", lines[2]);
    }
    // control: the host has more
    assert!(!lines[2].split(' ').any(|name| matches!(name, "home" | "root" | "var" | "sys")), "{}", lines[2]);
}

/// Without a workspace, and by somebody who is not root: the same image, the same root.
#[test]
fn any_command_runs_in_an_image_and_by_anybody() {
    let (tiny, _) = workspace();
    let script = "echo $FACTOR; pwd; id -u; ls /in; (echo x > /bin/x) 2>/dev/null || echo read-only";
    let command = ["sandbox", "run", "--profile", "no-cgroup", "--image", "./image", "--ro", "data/raw:/in/raw", "--", "sh", "-c", script];
    let wanted = "2\n/app\n1000\nraw\nread-only\n";
    let done = tiny.run(&command);
    assert_eq!((done.code, done.stdout.as_str()), (0, wanted), "{}", done.stderr);
    // control: the host's root is another
    let control: Vec<&str> = command.into_iter().filter(|word| !matches!(*word, "--image" | "./image")).collect();
    assert_ne!(tiny.run(&control).stdout, wanted);
    if !fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        return;
    }
    let _ = Command::new("rm").arg("-rf").arg(tiny.base().join("cache")).arg(tiny.base().join("state")).status();
    let binary = tiny.base().join("seaworthy");
    // by another process: a descriptor open for writing here could be inherited by a test's child meanwhile ("text file busy")
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_seaworthy")).arg(&binary).status().unwrap().success());
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(tiny.base()).status().unwrap().success());
    let ordinary = crate::ordinary::by(&tiny, &binary, true, &command);
    assert_eq!((ordinary.code, ordinary.stdout.as_str()), (0, wanted), "{}", ordinary.stderr);
}

/// Opening a pipe waits for a writer: it is not opened so.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let (tiny, _) = workspace();
    let pipe = tiny.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let begun = std::time::Instant::now();
    tiny.refused(&["image", "add", "./pipe", "--name", "pipe:1"], 3, "neither a layout folder nor a regular file");
    tiny.refused(&["image", "add", "/dev/zero", "--name", "zero:1"], 3, "neither a layout folder nor a regular file");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    // the control: the layout beside it is taken
    tiny.ok(&["image", "add", "./image", "--name", "image:1"]);
}

/// What settings name lies below the workspace, or has a name: who has the workspace has all of it.
#[test]
fn a_path_in_settings_stays_below_the_workspace() {
    let (tiny, _) = workspace();
    image(&tiny.base().join("outside"), &[("app/entry", ENTRY)], &run());
    std::os::unix::fs::symlink("../outside", tiny.join("led")).unwrap();
    let absolute = tiny.base().join("outside").display().to_string();
    let mut now = "./image".to_owned();
    for path in ["../outside", absolute.as_str(), "./image/../../outside", "./led"] {
        tiny.edit("seaworthy.yaml", &format!("{{oci: {now}}}"), &format!("{{oci: {path}}}"));
        now = path.to_owned();
        tiny.refused(&["lock"], 3, "image/reference");
    }
    // the control: each is an image, and one below is taken
    tiny.ok(&["image", "add", "../outside", "--name", "outside:1"]);
    tiny.edit("seaworthy.yaml", &format!("{{oci: {now}}}"), "{oci: ./image}");
    tiny.ok(&["lock"]);
}

#[test]
fn a_broken_image_does_not_hide_the_others() {
    let (tiny, whole) = workspace();
    let broken = image(&tiny.join("other"), &[("app/entry", &ENTRY.replace("FACTOR))", "FACTOR + 1))"))], &run());
    tiny.ok(&["image", "add", "./image", "--name", "whole:1"]);
    tiny.ok(&["image", "add", "./other", "--name", "broken:1"]);
    let hex = broken.hex();
    let blob = tiny.base().join("cache/seaworthy/images/store");
    let found = std::process::Command::new("find").arg(&blob).args(["-name", &format!("*{}", hex.get(2..).unwrap())]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    fs::remove_file(found.lines().next().expect("its manifest is in the store")).unwrap();
    let listed = tiny.ok(&["image", "list"]).stdout;
    assert!(listed.contains(&format!("whole:1  sha256:{whole}")) && listed.contains("broken:1  broken[image/unknown]"), "{listed}");
    let json: Value = serde_json::from_str(&tiny.ok(&["image", "list", "--json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    tiny.ok(&["image", "show", &format!("sha256:{whole}")]);
}
