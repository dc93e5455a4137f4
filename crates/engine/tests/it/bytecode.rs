//! Compiled Python that steps are shown: made once, shared, and never believed for lying in the cache.
//!
//! in: an environment without packages, a cache of our own; out: what is refused, and what runs with the check left out.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use seaworthy_core::digest::Digest;
use seaworthy_core::workflow::model::EnvironmentSource;
use seaworthy_engine::environment::{Bytecode, Environment, IndexSettings, Provision, Requirements, Setting, provision};
use seaworthy_engine::error::EngineError;
use seaworthy_engine::runtime::{self, EnvironmentSettings, Resolved};
use seaworthy_sandbox::{Cancel, Exit, Mount, Profile};
use seaworthy_store::artifacts::{Artifacts, remove_checkout};

use crate::environment::{Folder, SIX, index, init, interpreter, run, said, settings, write};

/// The version that the standard library's `json` says it has: bytes to look for, and to change, in its compiled form.
const VERSION: &str = "import json; print(json.__version__)";

struct Place {
    folder: Folder,
    artifacts: Artifacts,
    settings: EnvironmentSettings,
}

impl Place {
    fn new(name: &str) -> Self {
        init();
        let folder = Folder::new(name);
        write(&folder.0.join("none.lock"), b"# no packages\n");
        let settings = settings(&folder);
        let artifacts = Artifacts::open(&folder.0.join("store")).unwrap();
        Self { folder, artifacts, settings }
    }

    /// As a new run would find it.
    fn resolved(&self) -> Resolved {
        self.resolved_in(&self.artifacts)
    }

    fn resolved_in(&self, artifacts: &Artifacts) -> Resolved {
        let source = EnvironmentSource::Python("none.lock".to_owned());
        runtime::resolve("py", Some(&source), None, &self.folder.0, artifacts, &self.settings).unwrap()
    }

    /// What a step would be shown, and what was told of it.
    fn setting(&self, resolved: &Resolved) -> (Result<Setting, EngineError>, Vec<String>) {
        self.setting_in(resolved, &self.artifacts, &Cancel::new())
    }

    fn setting_in(&self, resolved: &Resolved, artifacts: &Artifacts, cancel: &Cancel) -> (Result<Setting, EngineError>, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let setting = resolved.setting(artifacts, &self.settings, cancel, &|what| told.lock().unwrap().push(what.to_owned()));
        (setting, told.into_inner().unwrap())
    }

    /// The cached tree of what a step of `resolved` was shown.
    fn tree(&self, resolved: &Resolved) -> PathBuf {
        self.settings.cache_dir.join("bytecode").join(artifact(resolved).unwrap().hex())
    }

    fn environment(&self) -> Environment {
        let (interpreter, index, cancel) = (interpreter(), IndexSettings::default(), Cancel::new());
        let with = Provision {
            interpreter: &interpreter,
            artifacts: &self.artifacts,
            cache_dir: &self.settings.cache_dir,
            state_dir: &self.settings.state_dir,
            online: false,
            index: &index,
            known: None,
            profile: Profile::Provision,
            cancel: &cancel,
            workers: &*self.settings.workers,
        };
        provision(&Requirements::parse("# no packages\n").unwrap(), &with).unwrap()
    }
}

/// What provenance names.
fn artifact(resolved: &Resolved) -> Option<Digest> {
    let text = resolved.descriptors().first()?.annotations.get("bytecode")?.as_str().unwrap().to_owned();
    Some(text.parse().unwrap())
}

fn python(setting: Setting, program: &str) -> String {
    let outcome = run(setting, &["python", "-c", program]);
    assert_eq!(outcome.exit, Exit::Code(0), "{}", said(&outcome));
    said(&outcome).trim().to_owned()
}

fn compiles(told: &[String]) -> usize {
    told.iter().filter(|what| what.contains("once")).count()
}

#[test]
fn python_is_compiled_once_for_all_steps_runs_and_workspaces() {
    let place = Place::new("bytecode-once");
    let resolved = place.resolved();
    assert_eq!(artifact(&resolved), None);
    assert!(!place.settings.cache_dir.join("bytecode").exists(), "nothing is compiled before a body runs");
    // steps side by side
    let told: Vec<String> = std::thread::scope(|scope| {
        let steps: Vec<_> = (0..3).map(|_| scope.spawn(|| place.setting(&resolved))).collect();
        steps
            .into_iter()
            .flat_map(|step| {
                let (setting, told) = step.join().unwrap();
                assert_eq!(setting.unwrap().env["PYTHONPYCACHEPREFIX"], "/env/pycache");
                told
            })
            .collect()
    });
    assert_eq!(compiles(&told), 1, "{told:?}");
    let digest = artifact(&resolved).unwrap();
    let manifest = place.artifacts.manifest(&digest).unwrap();
    println!("{} files, {} bytes", manifest.reference().files, manifest.reference().bytes);
    // the compiled form is what runs
    let outcome = run(place.setting(&resolved).0.unwrap(), &["python", "-v", "-c", VERSION]);
    let used = said(&outcome);
    assert!(used.contains("code object from '/env/pycache/") && !used.contains("code object from '/root"), "{used}");
    assert!(!used.contains(&format!("code object from '{}", interpreter().stdlib.display())), "{used}");
    // the pin is the one without
    assert_eq!(resolved.digest, place.environment().digest);
    // the next run, and another workspace of this user
    let next = place.resolved();
    let (setting, told) = place.setting(&next);
    assert_eq!((setting.is_ok(), compiles(&told), artifact(&next)), (true, 0, Some(digest)));
    let other = Artifacts::open(&place.folder.0.join("other-store")).unwrap();
    let elsewhere = place.resolved_in(&other);
    let (setting, told) = place.setting_in(&elsewhere, &other, &Cancel::new());
    assert_eq!((setting.is_ok(), compiles(&told), artifact(&elsewhere)), (true, 0, Some(digest)));
    assert_eq!(other.manifest(&digest).unwrap(), manifest);
    // the tree lost: made again of what the store has
    remove_checkout(&place.tree(&resolved)).unwrap();
    let (setting, told) = place.setting(&place.resolved());
    assert_eq!((python(setting.unwrap(), VERSION), compiles(&told)), ("2.0.9".to_owned(), 0));
}

#[test]
fn a_wheels_modules_are_compiled_too() {
    let mut place = Place::new("bytecode-six");
    write(&place.folder.0.join("none.lock"), SIX.as_bytes());
    place.settings.offline = false;
    place.settings.index = index();
    let resolved = place.resolved();
    let (setting, _) = place.setting(&resolved);
    let program = "import six, os; print(os.path.exists(six.__cached__), six.__cached__)";
    assert!(python(setting.unwrap(), program).starts_with("True /env/pycache/env/site-packages/six.cpython-"));
}

/// Puts other code into the compiled `json`: a version of the same length.
fn poison(tree: &Path) -> (PathBuf, Vec<u8>) {
    let stdlib = tree.join(interpreter().stdlib.strip_prefix("/").unwrap());
    let json = fs::read_dir(stdlib.join("json")).unwrap().map(|file| file.unwrap().path());
    let file = json.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("__init__.")).unwrap();
    let good = fs::read(&file).unwrap();
    let at = good.windows(5).position(|window| window == b"2.0.9").unwrap();
    let bad = [good.get(..at).unwrap(), b"6.6.6", good.get(at + 5..).unwrap()].concat();
    fs::set_permissions(file.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    write(&file, &bad);
    (file, good)
}

#[test]
fn changed_bytecode_never_runs() {
    let place = Place::new("bytecode-poison");
    let resolved = place.resolved();
    assert_eq!(python(place.setting(&resolved).0.unwrap(), VERSION), "2.0.9");
    let tree = place.tree(&resolved);
    let (file, good) = poison(&tree);
    let refused = [
        ("before the next step", place.setting(&resolved).0.map(drop)),
        ("at the end of the run", resolved.check_interpreter(&place.settings)),
        ("in the next run", place.setting(&place.resolved()).0.map(drop)),
    ];
    for (when, refused) in refused {
        let error = refused.expect_err(when);
        assert_eq!(error.code, "environment/tampered", "{when}");
        assert!(error.message.contains("__init__.cpython-") && error.message.contains("was changed"), "{when}: {}", error.message);
    }
    // control: with the check left out, the changed code is what runs
    write(&file, &good);
    let mut unchecked = place.setting(&resolved).0.unwrap();
    poison(&tree);
    unchecked.mounts.retain(|mount| mount.target != "/env/pycache");
    unchecked.mounts.push(Mount { source: fs::File::open(&tree).unwrap().into(), target: "/env/pycache".into(), exec: false });
    assert_eq!(python(unchecked, VERSION), "6.6.6");
    // another workspace does not take it in either
    let other = Artifacts::open(&place.folder.0.join("other-store")).unwrap();
    let (setting, _) = place.setting_in(&place.resolved_in(&other), &other, &Cancel::new());
    assert_eq!(setting.unwrap_err().code, "environment/tampered");
    write(&file, &good);
    assert_eq!(python(place.setting(&resolved).0.unwrap(), VERSION), "2.0.9");
    // an added file is as bad as a changed one
    let json = file.parent().unwrap();
    write(&json.join("evil.cpython-311.pyc"), b"evil");
    assert!(place.setting(&resolved).0.unwrap_err().message.contains("was added"));
}

#[test]
fn bytecode_that_the_store_does_not_hold_whole_is_compiled_again() {
    let place = Place::new("bytecode-damaged");
    let resolved = place.resolved();
    place.setting(&resolved).0.unwrap();
    let digest = artifact(&resolved).unwrap();
    let file = place.artifacts.manifest(&digest).unwrap().entries().first().unwrap().digest;
    let hex = file.hex();
    let blob = place.artifacts.dir().join("blobs").join(hex.split_at(2).0).join(&hex);
    let damage: [(&str, &dyn Fn()); 2] =
        [("missing", &|| fs::remove_file(&blob).unwrap()), ("changed", &|| write(&blob, b"print('evil')"))];
    for (what, damage) in damage {
        remove_checkout(&place.tree(&resolved)).unwrap();
        damage();
        let (setting, told) = place.setting(&place.resolved());
        assert_eq!((python(setting.unwrap(), VERSION), compiles(&told)), ("2.0.9".to_owned(), 1), "{what}");
        place.artifacts.verified_file(&file).unwrap();
    }
}

#[test]
fn a_step_cannot_write_what_the_next_step_runs() {
    let place = Place::new("bytecode-write");
    let resolved = place.resolved();
    let program = "import json, os, sys\n\
        def attempt(path, mode):\n try:\n  open(path, mode).close(); return 'written'\n except OSError as e: return e.strerror\n\
        print(attempt(json.__cached__, 'ab'), attempt('/env/pycache/new.pyc', 'wb'), attempt('/tmp/control', 'wb'), sep='|')";
    let said = python(place.setting(&resolved).0.unwrap(), program);
    assert_eq!(said, "Permission denied|Read-only file system|written");
    resolved.check_interpreter(&place.settings).unwrap();
}

#[test]
fn the_compiler_sees_the_environment_and_nothing_else() {
    let place = Place::new("bytecode-spec");
    let environment = place.environment();
    let targets = |mounts: &[Mount]| mounts.iter().map(|mount| mount.target.clone()).collect::<BTreeSet<_>>();
    let shown = environment.setting().unwrap();
    let spec = Bytecode::spec(&environment, Profile::Strict).unwrap();
    assert_eq!(targets(&spec.mounts), targets(&shown.mounts));
    assert_eq!((spec.outputs.as_slice(), spec.profile), (["pycache".to_owned()].as_slice(), Profile::Strict));
    let extra: Vec<&String> = spec.env.keys().filter(|key| !shown.env.contains_key(*key)).collect();
    assert_eq!(extra, ["HOME", "TMPDIR"]);
    assert!(!spec.env.contains_key("PYTHONPATH"), "it imports nothing of a wheel");
    // from within, with a step's input as the control
    let look = "import os, socket\n\
        try:\n socket.create_connection(('1.1.1.1', 53), 2); net = 'network'\nexcept OSError: net = 'no network'\n\
        print([name for name in ('in', 'code', 'params', 'root/.config', 'home') if os.path.exists('/' + name)], net)";
    let seen = |control: bool| {
        let mut spec = Bytecode::spec(&environment, Profile::Strict).unwrap();
        spec.argv = ["python", "-c", look].map(str::to_owned).to_vec();
        if control {
            spec.mounts.push(Mount { source: fs::File::open(&place.folder.0).unwrap().into(), target: "/in".into(), exec: false });
        }
        said(&seaworthy_sandbox::run(spec, &Cancel::new()).unwrap()).trim().to_owned()
    };
    assert_eq!(seen(false), "[] no network");
    assert_eq!(seen(true), "['in'] no network");
}

#[test]
fn steps_run_without_if_compiling_fails_or_is_stopped() {
    let place = Place::new("bytecode-fails");
    let cancel = Cancel::new();
    cancel.cancel();
    let resolved = place.resolved();
    let (setting, told) = place.setting_in(&resolved, &place.artifacts, &cancel);
    assert_eq!((setting.unwrap().env["PYTHONPYCACHEPREFIX"].as_str(), told.len()), ("/nonexistent", 1));
    assert_eq!(artifact(&resolved), None);
    // a store that takes nothing
    let read_only = Artifacts::open_read_only(place.artifacts.dir()).unwrap();
    let (setting, told) = place.setting_in(&resolved, &read_only, &Cancel::new());
    assert!(told.last().unwrap().contains("each step compiles what it imports"), "{told:?}");
    assert_eq!((python(setting.unwrap(), VERSION), artifact(&resolved)), ("2.0.9".to_owned(), None));
    // told once, not tried for each step
    assert!(place.setting(&resolved).1.is_empty());
    // control: the next run compiles
    let next = place.resolved();
    assert_eq!(compiles(&place.setting(&next).1), 1);
    assert!(artifact(&next).is_some());
}

/// Run with `--ignored --nocapture`: 100 MB from the index; what compiling costs and what it saves in the example's training environment.
#[test]
#[ignore = "downloads the example's environment"]
fn what_it_saves_in_the_example() {
    let mut place = Place::new("bytecode-example");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline/envs/ml_training/requirements.lock");
    write(&place.folder.0.join("none.lock"), &fs::read(lock).unwrap());
    place.settings.offline = false;
    place.settings.index = index();
    let resolved = place.resolved();
    let timed = |what: &str, work: &dyn Fn()| {
        let begun = Instant::now();
        work();
        println!("{what}: {:?}", begun.elapsed());
    };
    let begun = Instant::now();
    let marked = Mutex::new(Vec::new());
    let cancel = Cancel::new();
    drop(
        resolved
            .setting(&place.artifacts, &place.settings, &cancel, &|what| marked.lock().unwrap().push((what.to_owned(), begun.elapsed())))
            .unwrap(),
    );
    println!("unpacked, then compiled and stored: {:?}, {:?}", marked.into_inner().unwrap(), begun.elapsed());
    timed("looked at for a later step", &|| drop(place.setting(&resolved).0.unwrap()));
    let artifact = place.artifacts.manifest(&artifact(&resolved).unwrap()).unwrap().reference();
    println!("{} files, {} bytes, {}", artifact.files, artifact.bytes, artifact.digest);
    remove_checkout(&place.tree(&resolved)).unwrap();
    timed("the next run, unpacked from the store", &|| drop(place.setting(&place.resolved()).0.unwrap()));
    timed("the run after that", &|| drop(place.setting(&place.resolved()).0.unwrap()));
    let resolved = place.resolved();
    for program in ["pass", "import sklearn.ensemble, skl2onnx"] {
        for without in [true, false] {
            for _ in 0..3 {
                let mut setting = place.setting(&resolved).0.unwrap();
                if without {
                    setting.mounts.retain(|mount| mount.target != "/env/pycache");
                    setting.env.insert("PYTHONPYCACHEPREFIX".into(), "/nonexistent".into());
                }
                let begun = Instant::now();
                python(setting, program);
                println!("`{program}` {}: {:?}", if without { "without" } else { "with" }, begun.elapsed());
            }
        }
    }
}
