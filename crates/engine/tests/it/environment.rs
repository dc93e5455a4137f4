//! Real wheels, a real index, a real sandbox. Needs the package index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_core::ports::Workers;
use seaworthy_engine::environment::{
    Environment, EnvironmentError, IndexSettings, Interpreter, Provision, Requirements, Search, Setting, find_interpreter, provision,
};
use seaworthy_engine::runtime::EnvironmentSettings;
use seaworthy_engine::workers::Pool;
use seaworthy_sandbox::{Cancel, Exit, Limits, Outcome, Profile, Spec};
use seaworthy_store::artifacts::{Artifacts, remove_checkout};

pub(crate) const SIX: &str = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";

/// A folder that is gone afterwards.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seaworthy-{name}-{}", std::process::id()));
        remove_checkout(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_checkout(&self.0).unwrap();
    }
}

pub(crate) fn init() {
    seaworthy_sandbox::init_from(Path::new(env!("CARGO_BIN_EXE_engine-probe")));
}

/// Workers with the test program's hole, which no file here uses.
pub(crate) fn workers() -> Arc<dyn Workers> {
    init();
    Arc::new(Pool::new())
}

pub(crate) fn interpreter() -> Interpreter {
    init();
    let candidates: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join("python3")).collect();
    find_interpreter(&candidates).unwrap()
}

/// How a run would find environments, with everything below `folder`.
pub(crate) fn settings(folder: &Folder) -> EnvironmentSettings {
    EnvironmentSettings {
        search: Search::default(),
        interpreters: vec![interpreter().path],
        cache_dir: folder.0.join("cache"),
        state_dir: folder.0.join("state"),
        offline: true,
        index: IndexSettings::default(),
        profile: Profile::Strict,
        workers: workers(),
    }
}

pub(crate) fn index() -> IndexSettings {
    let ca = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
    IndexSettings { ca_file: ca.is_file().then_some(ca), ..IndexSettings::default() }
}

struct Bench {
    folder: Folder,
    artifacts: Artifacts,
    interpreter: Interpreter,
    index: IndexSettings,
    cancel: Cancel,
    profile: Profile,
    workers: Arc<dyn Workers>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let artifacts = Artifacts::open(&folder.0.join("store")).unwrap();
        let (profile, workers) = (Profile::Strict, workers());
        Self { folder, artifacts, interpreter: interpreter(), index: index(), cancel: Cancel::new(), profile, workers }
    }

    fn provision(&self, lock: &str, online: bool) -> Result<Environment, EnvironmentError> {
        let (cache, state) = (self.folder.0.join("cache"), self.folder.0.join("state"));
        let with = Provision {
            interpreter: &self.interpreter,
            artifacts: &self.artifacts,
            cache_dir: &cache,
            state_dir: &state,
            online,
            index: &self.index,
            known: None,
            profile: self.profile.for_provisioning(),
            cancel: &self.cancel,
            workers: &*self.workers,
        };
        provision(&Requirements::parse(lock).unwrap(), &with)
    }
}

pub(crate) fn run(setting: Setting, argv: &[&str]) -> Outcome {
    let limits = Limits {
        memory_bytes: 1 << 30,
        cpu_milli: None,
        processes: 32,
        disk_bytes: 1 << 26,
        timeout: Duration::from_secs(60),
        log_bytes: 1 << 16,
        output_files: 10,
    };
    let Setting { mounts, links, env, .. } = setting;
    let profile = Profile::Strict;
    let argv = argv.iter().map(|text| (*text).to_owned()).collect();
    let spec = Spec {
        profile,
        argv,
        env,
        workdir: "/work".into(),
        hostname: "step".into(),
        mounts,
        links,
        texts: Vec::new(),
        outputs: Vec::new(),
        limits,
        devices: Vec::new(),
        places_in_words: true,
        capture: true,
    };
    seaworthy_sandbox::run(spec, &Cancel::new()).unwrap()
}

pub(crate) fn said(outcome: &Outcome) -> String {
    format!("{}{}", String::from_utf8_lossy(&outcome.stdout.bytes), String::from_utf8_lossy(&outcome.stderr.bytes))
}

#[test]
fn a_wheel_is_provisioned_once_then_used_offline_and_imported() {
    let bench = Bench::new("six");
    let refused = bench.provision(SIX, false).unwrap_err();
    assert_eq!(refused.code(), "environment/offline");
    let first = bench.provision(SIX, true).unwrap();
    assert_eq!(first.downloaded.as_ref().map(|enforced| enforced.profile), Some(Profile::Provision));
    let second = bench.provision(SIX, false).unwrap();
    assert!(second.downloaded.is_none());
    assert_eq!((first.digest, &first.tree, &first.wheels), (second.digest, &second.tree, &second.wheels));
    let program = "import six, sys; print(six.__version__, six.__file__, sys.prefix); import ssl, ctypes, bz2, lzma, sqlite3\n\
                   try:\n import pip; print('pip!')\nexcept ImportError: print('no pip')";
    let outcome = run(second.setting().unwrap(), &["python", "-c", program]);
    let text = said(&outcome);
    assert_eq!(outcome.exit, Exit::Code(0), "{text}");
    assert!(text.contains("1.17.0 /env/site-packages/six.py") && text.contains("no pip"), "{text}");
    assert!(text.contains(&bench.interpreter.prefix.display().to_string()), "{text}");
}

/// Another interpreter, another layout: libpython inside the binary, extension modules that need the system's libraries.
#[test]
fn the_systems_python_serves_as_well() {
    let system = Path::new("/usr/bin/python3");
    if !system.exists() {
        return;
    }
    let mut bench = Bench::new("system");
    let other = bench.provision(SIX, true).unwrap().digest;
    bench.interpreter = find_interpreter(&[system.to_path_buf()]).unwrap();
    let environment = bench.provision(SIX, true).unwrap();
    assert_eq!(environment.digest == other, bench.interpreter.digest == interpreter().digest);
    let outcome = run(
        environment.setting().unwrap(),
        &["python3", "-c", "import six, ssl, ctypes, sys; print(sys.version_info[:3], six.__file__, sys.path)"],
    );
    let (major, minor, patch) = bench.interpreter.version;
    let text = said(&outcome);
    assert!(text.starts_with(&format!("({major}, {minor}, {patch}) /env/site-packages/six.py")), "{text}");
}

#[test]
fn a_hash_that_is_not_the_wheels_brings_nothing() {
    let bench = Bench::new("wrong-hash");
    let lock = SIX.replace("4721", "4722");
    let error = bench.provision(&lock, true).unwrap_err();
    assert_eq!(error.code(), "environment/download");
    assert!(error.to_string().contains("HASH") || error.to_string().contains("hash"), "{error}");
    // control: the same call with the right hash
    bench.provision(SIX, true).unwrap();
}

#[test]
fn a_changed_cache_is_found_before_anything_runs() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new("tampered");
    let good = bench.provision(SIX, true).unwrap();
    let tree = bench.folder.0.join("cache/envs").join(good.digest.hex()).join("site-packages");
    let file = tree.join("six.py");
    let before = std::fs::read(&file).unwrap();
    let changes: BTreeMap<&str, Box<dyn Fn()>> = BTreeMap::from([
        ("was changed", Box::new(|| write(&file, &[before.as_slice(), b"\nimport os"].concat())) as Box<dyn Fn()>),
        ("was added", Box::new(|| write(&tree.join("evil.py"), b"import os"))),
        ("is missing", Box::new(|| std::fs::rename(&file, bench.folder.0.join("gone")).unwrap())),
    ]);
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (reason, change) in changes {
        let known = bench.provision(SIX, false).unwrap();
        assert!(known.is_untouched().unwrap());
        change();
        assert!(!known.is_untouched().unwrap(), "{reason}: between two steps of one run");
        let error = bench.provision(SIX, false).unwrap_err();
        assert_eq!(error.code(), "environment/tampered");
        assert!(error.to_string().contains(reason), "{error}");
        // back to what it was
        let _ = std::fs::remove_file(tree.join("evil.py"));
        write(&file, &before);
        bench.provision(SIX, false).unwrap();
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline").join(path).canonicalize().unwrap()
}

fn mount(source: &Path, target: &str) -> seaworthy_sandbox::Mount {
    seaworthy_sandbox::Mount { source: std::fs::File::open(source).unwrap().into(), target: target.into(), exec: false }
}

/// One step of the example as the engine runs it, by hand; its outputs are written below `to`.
fn example_step(environment: &Environment, script: &str, input: (&str, &Path), outputs: &[&str], to: &Path) {
    let Setting { mut mounts, links, mut env, .. } = environment.setting().unwrap();
    let params = to.join("params.json");
    write(&params, b"null\n");
    mounts.extend([mount(&example("src"), "/code"), mount(input.1, &format!("/in/{}", input.0)), mount(&params, "/params.json")]);
    for (key, value) in [("SEAWORTHY_INPUTS", "/in"), ("SEAWORTHY_OUTPUTS", "/out"), ("SEAWORTHY_PARAMS", "/params.json")] {
        env.insert(key.into(), value.into());
    }
    let limits = Limits {
        memory_bytes: 4 << 30,
        cpu_milli: None,
        processes: 64,
        disk_bytes: 1 << 30,
        timeout: Duration::from_secs(300),
        log_bytes: 1 << 16,
        output_files: 10,
    };
    let argv = vec!["python".into(), script.into()];
    let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
    let spec = Spec {
        profile: Profile::Strict,
        argv,
        env,
        workdir: "/code".into(),
        hostname: "step".into(),
        mounts,
        links,
        texts: Vec::new(),
        outputs,
        limits,
        devices: Vec::new(),
        places_in_words: true,
        capture: true,
    };
    let begun = Instant::now();
    let outcome = seaworthy_sandbox::run(spec, &Cancel::new()).unwrap();
    println!("{script}: {:?} in {:?}, {:?}: {}", outcome.exit, begun.elapsed(), outcome.usage, said(&outcome));
    assert_eq!(outcome.exit, Exit::Code(0));
    for output in outcome.outputs.unwrap() {
        std::fs::create_dir(to.join(&output.name)).unwrap();
        for mut file in output.files {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file.file, &mut bytes).unwrap();
            println!("  {}/{}: {} bytes, {}", output.name, file.path, bytes.len(), seaworthy_core::digest::Digest::of(&bytes));
            write(&to.join(&output.name).join(&file.path), &bytes);
        }
    }
}

#[test]
fn the_interpreter_of_this_machine_is_found_and_remembered() {
    let folder = Folder::new("memo");
    let found = interpreter();
    for pass in ["hashed", "remembered"] {
        let begun = Instant::now();
        let again = seaworthy_engine::environment::find_interpreter_remembered(std::slice::from_ref(&found.path), &folder.0).unwrap();
        println!("{pass}: {:?} {:?}", begun.elapsed(), again.version);
        assert_eq!(again, found);
    }
    // what the program says of itself, from inside a sandbox
    let bench = Bench::new("version");
    let environment = bench.provision("# no packages\n", false).unwrap();
    let outcome = run(
        environment.setting().unwrap(),
        &["python3", "-c", "import sys, sysconfig; print(sys.version_info[:3], sysconfig.get_config_var('SOABI'))"],
    );
    let (major, minor, patch) = found.version;
    assert!(said(&outcome).contains(&format!("({major}, {minor}, {patch}) cpython-{major}{minor}")), "{}", said(&outcome));
}

/// Run with `--ignored --nocapture`: 100 MB from the index, and the example's two code steps in their environments.
#[test]
#[ignore = "downloads the example's two environments"]
fn the_examples_code_runs_in_its_environments_and_gives_the_same_model_twice() {
    let bench = Bench::new("example");
    let [preproc, training] = ["secure_preproc", "ml_training"].map(|name| {
        let lock = std::fs::read_to_string(example("envs").join(name).join("requirements.lock")).unwrap();
        for online in [true, false] {
            let begun = Instant::now();
            let environment = bench.provision(&lock, online).unwrap();
            println!(
                "{name} online={online}: {:?}, {} wheels, {} files, {} bytes, {}",
                begun.elapsed(),
                environment.wheels.len(),
                environment.tree.files,
                environment.tree.bytes,
                environment.digest
            );
        }
        bench.provision(&lock, false).unwrap()
    });
    let models = ["first", "second"].map(|name| {
        let to = bench.folder.0.join(name);
        std::fs::create_dir(&to).unwrap();
        example_step(&preproc, "prepare.py", ("raw", &example("data/raw")), &["train", "holdout"], &to);
        example_step(&training, "train.py", ("train", &to.join("train")), &["model"], &to);
        std::fs::read(to.join("model/model.onnx")).unwrap()
    });
    assert!(models[0] == models[1] && models[0].len() < 2 << 20);
}
