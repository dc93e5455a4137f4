//! Workspaces in temporary folders, with their own configuration, state and cache folders: a tiny one, and the shipped example.
//!
//! in: files and overrides; out: runs of the real binary.

use std::ffi::OsString;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use serde_json::Value;

static COUNTER: AtomicU32 = AtomicU32::new(0);

const WORKFLOW: &str = "workflows:
  - name: tiny
    steps:
      - ingest:
          source: s3://lake/raw/
          integrity_check: sha256
          policy_gate: data_schema_v2
      - double:
          sandbox: true
          logging: enabled
      - total:
          data_provenance: enforce
";

const SETTINGS: &str = "environment: staging
project: {name: tiny, owner: 'user:somebody', purpose: tests, risk_class: minimal, residency: [EU], data_classes: [none]}
sources: {'s3://lake/': ./data/}
steps:
  tiny/ingest: {schema: schemas/numbers.yaml, outputs: {raw: dataset}}
  tiny/double: {code: src/, run: [sh, double.sh], inputs: [ingest/raw], outputs: {doubled: dataset}}
  tiny/total: {code: src/, run: [sh, total.sh], inputs: [double/doubled], outputs: {total: dataset}}
";

const SCHEMA: &str = "columns:
  id: {type: integer, unique: true}
  value: {type: integer, min: 0, max: 1000}
";

const DOUBLE: &str = "set -eu
mkdir -p \"$SEAWORTHY_OUTPUTS/doubled\"
{
  read -r header; echo \"$header\"
  while IFS=, read -r id value; do echo \"$id,$((value * 2))\"; done
} < \"$SEAWORTHY_INPUTS/raw/numbers.csv\" > \"$SEAWORTHY_OUTPUTS/doubled/numbers.csv\"
echo doubled
";

const TOTAL: &str = "set -eu
sum=0
{
  read -r header
  while IFS=, read -r id value; do sum=$((sum + value)); done
  printf 'total\\n%s\\n' \"$sum\" > \"$SEAWORTHY_OUTPUTS/total/total.csv\"
} < \"$SEAWORTHY_INPUTS/doubled/numbers.csv\"
";

/// A workspace; removed when dropped.
pub struct Tiny {
    pub dir: PathBuf,
    base: PathBuf,
    variables: Vec<(String, OsString)>,
}

impl Tiny {
    /// Files, keys and lock, nothing run yet.
    pub fn new() -> Self {
        let tiny = Self::unlocked();
        tiny.ok(&["keys", "create"]);
        tiny.ok(&["lock"]);
        tiny
    }

    /// Files only.
    pub fn unlocked() -> Self {
        let base = temporary();
        let dir = base.join("workspace");
        let tiny = Self { dir, base, variables: Vec::new() };
        for (name, text) in [
            ("workflow.yaml", WORKFLOW),
            ("seaworthy.yaml", SETTINGS),
            ("schemas/numbers.yaml", SCHEMA),
            ("src/double.sh", DOUBLE),
            ("src/total.sh", TOTAL),
        ] {
            tiny.write(name, text.as_bytes());
        }
        let rows: String = (0..200).map(|id| format!("{id},{}\n", 100 + id % 50)).collect();
        tiny.write("data/raw/numbers.csv", format!("id,value\n{rows}").as_bytes());
        tiny
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap()
    }

    /// Replaces text in a file of the workspace; it must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "`{name}` does not contain `{from}`");
        self.write(name, text.replace(from, to).as_bytes());
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(&self.dir, arguments)
    }

    /// The binary on another folder, with the same user's configuration.
    pub fn command_in(&self, dir: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
        command
            .args(arguments)
            .current_dir(dir)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.base)
            .env("XDG_CONFIG_HOME", self.base.join("config"))
            .env("XDG_STATE_HOME", self.base.join("state"))
            .env("XDG_CACHE_HOME", self.base.join("cache"))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(&self.command(arguments).output().unwrap())
    }

    /// Must exit 0.
    pub fn ok(&self, arguments: &[&str]) -> Finished {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}\nstdout: {}\nstderr: {}", finished.stdout, finished.stderr);
        finished
    }

    /// Must exit with `code`, and say `text` on stdout or stderr.
    pub fn refused(&self, arguments: &[&str], code: i32, text: &str) -> Finished {
        let finished = self.run(arguments);
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(all.contains(text), "{arguments:?} does not say `{text}`:\n{all}");
        assert_eq!(finished.code, code, "{arguments:?}\n{all}");
        finished
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Folder of the environment's state.
    pub fn state(&self) -> PathBuf {
        self.dir.join(".seaworthy/staging")
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    /// All leaves of the log that are events, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let out = self.ok(&["log", "show", "--json", "--count", "100000"]).stdout;
        let entries = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["entry"].clone());
        entries.filter(|entry| entry.get("code").is_some()).collect()
    }

    /// Events of one code.
    pub fn events_of(&self, code: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["code"] == code).collect()
    }

    /// Every regular file below `.seaworthy`, relative to it.
    pub fn state_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(&self.dir.join(".seaworthy"), &mut files);
        files.sort();
        files
    }
}

fn temporary() -> PathBuf {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("seaworthy-it-{}-{number}", std::process::id()))
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            list(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.base));
    }
}

/// How a command ended.
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A copy of the finished demo: the example after `seaworthy demo`, with the keys of its user. Removed when dropped.
pub struct Demo(Tiny);

impl Deref for Demo {
    type Target = Tiny;

    fn deref(&self) -> &Tiny {
        &self.0
    }
}

impl Demo {
    pub fn new() -> Self {
        let finished = finished_demo();
        finished.lock.lock_shared().unwrap();
        let base = temporary();
        copy_folder(&finished.base, &base);
        finished.lock.unlock().unwrap();
        Self(Tiny { dir: base.join("workspace"), base, variables: variables() })
    }

    /// Copies a folder of `examples/secure-ml-pipeline/variants` over it.
    pub fn vary(&self, variant: &str) {
        let folder = example().join("variants").join(variant);
        assert!(folder.is_dir(), "there is no variant `{variant}`");
        copy_folder(&folder, &self.dir);
    }

    /// What `seaworthy demo` printed when it made the workspace.
    pub fn story(&self) -> (String, String) {
        let read = |name: &str| std::fs::read_to_string(self.base().join(name)).unwrap();
        (read("stdout"), read("stderr"))
    }
}

pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline")
}

struct FinishedDemo {
    base: PathBuf,
    lock: File,
}

/// Runs the demo once for each build of the binary, whichever test process comes first. Wheels are downloaded once for all builds.
fn finished_demo() -> &'static FinishedDemo {
    static FINISHED: OnceLock<FinishedDemo> = OnceLock::new();
    FINISHED.get_or_init(|| {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example");
        std::fs::create_dir_all(&home).unwrap();
        let lock = File::create(home.join("lock")).unwrap();
        lock.lock().unwrap();
        let binary = std::fs::metadata(env!("CARGO_BIN_EXE_seaworthy")).unwrap();
        let made = binary.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let key = format!("{made} {}", binary.len());
        let base = home.join("base");
        let marker = home.join("made-by");
        if std::fs::read_to_string(&marker).is_ok_and(|text| text == key) {
            lock.unlock().unwrap();
            return FinishedDemo { base, lock };
        }
        drop(std::fs::remove_file(&marker));
        drop(std::fs::remove_dir_all(&base));
        let wheels = wheels(&home);
        run_demo(&base, &wheels);
        std::fs::write(&marker, key).unwrap();
        lock.unlock().unwrap();
        FinishedDemo { base, lock }
    })
}

/// The store of a workspace in which the example was only locked: sources, code and wheels, no outputs.
fn wheels(home: &Path) -> PathBuf {
    let base = home.join("wheels");
    let dir = base.join("workspace");
    let state = dir.join(".seaworthy");
    drop(std::fs::remove_dir_all(base.join("store")));
    if state.is_dir() {
        std::fs::rename(state.join("staging/store"), base.join("store")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        private(&state.join("staging"));
        std::fs::rename(base.join("store"), state.join("staging/store")).unwrap();
    }
    copy_folder(&example(), &dir);
    let locked = std::mem::ManuallyDrop::new(Tiny { dir, base, variables: variables() });
    locked.ok(&["keys", "create"]);
    locked.ok(&["lock"]);
    locked.state().join("store")
}

fn run_demo(base: &Path, wheels: &Path) {
    let dir = base.join("workspace");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::copy(example().join("workflow.yaml"), dir.join("workflow.yaml")).unwrap();
    private(&dir.join(".seaworthy/staging"));
    copy_folder(wheels, &dir.join(".seaworthy/staging/store"));
    let new = std::mem::ManuallyDrop::new(Tiny { dir, base: base.to_owned(), variables: variables() });
    let demo = new.ok(&["demo", "--dir", "."]);
    std::fs::write(base.join("stdout"), demo.stdout).unwrap();
    std::fs::write(base.join("stderr"), demo.stderr).unwrap();
}

fn private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).unwrap();
}

/// The interpreter and the package index are found as for the user who runs the tests; unpacked environments are shared.
fn variables() -> Vec<(String, OsString)> {
    let names = ["PATH", "PYENV_ROOT", "PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY"];
    let given = names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("example/cache");
    given.chain([("XDG_CACHE_HOME".to_owned(), cache.into_os_string())]).collect()
}

/// Into a folder that may be there.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let status = Command::new("cp").arg("-aT").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "copying {}", from.display());
}
