//! Workers: what they find is what this process would find; what goes wrong in one is a fault of its file; and code that took one
//! over reaches nothing.
//!
//! in: a pool whose workers have a deliberate hole (`engine-probe`), files that use it; out: answers and faults.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seaworthy_core::json_strict::to_canonical_of;
use seaworthy_core::ports::{Job, Workers};
use seaworthy_core::worker::{Answer, Request, WorkerFault};
use seaworthy_engine::workers::{Pool, perform};
use serde_json::json;

use crate::environment::{Folder, init};

const PROBE: &str = env!("CARGO_BIN_EXE_engine-probe");

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    init();
    POOL.get_or_init(Pool::new)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../inspect/tests/fixtures").join(name)
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/secure-ml-pipeline").join(name)
}

fn open(paths: &[PathBuf]) -> Vec<File> {
    paths.iter().map(|path| File::open(path).unwrap()).collect()
}

fn work_for(time_max: Duration, request: &Request, files: &[File]) -> Result<Answer, WorkerFault> {
    let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let workers: &dyn Workers = pool();
    workers.work(&Job { request, files: &descriptors, time_max, stop: &|| false })
}

fn work(request: &Request, files: &[File]) -> Result<Answer, WorkerFault> {
    work_for(Duration::from_secs(120), request, files)
}

fn data_request(names: &[&str]) -> Request {
    let files = names.iter().map(|name| (*name).to_owned()).collect();
    Request::Data { files, schema: None, infer_only: false, label: None }
}

/// A file that tells the worker what to do, under a name that promises a table.
fn holed(folder: &Folder, wish: &str) -> (Request, Vec<File>) {
    let path = folder.0.join("data.csv");
    std::fs::write(&path, format!("HOLE {wish}\n")).unwrap();
    (data_request(&["data.csv"]), open(&[path]))
}

#[test]
fn what_a_worker_finds_is_byte_for_byte_what_this_process_finds() {
    let raw = ["employment_MA_2015.parquet", "employment_MA_2016.parquet"];
    let schema = std::fs::read_to_string(example("schemas/employment.yaml")).unwrap();
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let model = |model: &str, task: &str, method: Option<&str>, reference: Option<&str>, table: &str| Request::Model {
        model: model.to_owned(),
        data: named(&[table]),
        reference: reference.map(|name| named(&[name])),
        label: "target".to_owned(),
        task: task.to_owned(),
        method: method.map(str::to_owned),
    };
    let raw_paths: Vec<PathBuf> = raw.iter().map(|name| example("data/raw").join(name)).collect();
    let cases: Vec<(Request, Vec<PathBuf>)> = vec![
        (
            Request::Data { files: named(&raw), schema: Some(schema), infer_only: false, label: Some("employed".to_owned()) },
            raw_paths.clone(),
        ),
        (Request::Data { files: named(&raw[..1]), schema: None, infer_only: true, label: None }, raw_paths[..1].to_vec()),
        (data_request(&["cancer.csv"]), vec![fixture("cancer.csv")]),
        (
            Request::Drift { reference: named(&["a.csv"]), data: named(&["b.csv"]), ignore: Vec::new() },
            vec![fixture("drift_reference.csv"), fixture("drift_current.csv")],
        ),
        (
            model("shap_rf.onnx", "binary", Some("shap"), Some("cancer_background.parquet"), "cancer.csv"),
            vec![fixture("shap_rf.onnx"), fixture("cancer.csv"), fixture("cancer_background.parquet")],
        ),
        (model("gb_reg.onnx", "regression", None, None, "diabetes.csv"), vec![fixture("gb_reg.onnx"), fixture("diabetes.csv")]),
        // what cannot be read is said alike too
        (data_request(&["model.csv"]), vec![fixture("rf.onnx")]),
        (model("drift.onnx", "binary", None, None, "cancer.csv"), vec![fixture("cancer.csv"), fixture("cancer.csv")]),
    ];
    let mut reports = 0;
    for (request, paths) in cases {
        let here = perform(&request, open(&paths), &mut |_, _| Ok(())).unwrap();
        let there = work(&request, &open(&paths)).unwrap_or_else(|fault| panic!("{request:?}: {fault}"));
        assert_eq!(to_canonical_of(&there).unwrap(), to_canonical_of(&here).unwrap(), "{request:?}");
        if let Answer::Reports { reports: found, .. } = there {
            reports += found.len();
        }
    }
    assert!(reports >= 7, "only {reports} reports were compared");
}

/// Each misbehaviour is a fault of the file with its own code, in bounded time, and the next worker is a fresh one.
#[test]
fn whatever_a_worker_does_is_a_fault_of_its_file() {
    let folder = Folder::new("workers-holes");
    for (wish, code, says) in [
        ("crash", "worker/died", "was killed by signal"),
        ("fault", "worker/died", "was killed by signal"),
        ("leave", "worker/died", "ended with 0"),
        ("bomb", "worker/died", "was killed by signal"),
        ("hang", "worker/timed-out", "after 2 s"),
        ("garbage", "worker/answer", "no known kind"),
        ("long", "worker/answer", "too long"),
        ("gigabyte", "worker/answer", "cannot be read"),
        ("parts", "worker/answer", "nobody asked for"),
        ("twice", "worker/answer", "goes on after its answer"),
        ("other", "worker/answer", "another request"),
        ("again", "worker/answer", "greets twice"),
        ("double", "worker/answer", "cannot be read"),
        ("foreign", "worker/answer", "not those that were asked for"),
        ("code", "worker/answer", "reason that is none"),
    ] {
        let (request, files) = holed(&folder, wish);
        let time = if wish == "hang" { Duration::from_secs(2) } else { Duration::from_secs(60) };
        let begun = Instant::now();
        let fault = work_for(time, &request, &files).expect_err(wish);
        assert!(begun.elapsed() < Duration::from_secs(50), "{wish} took {:?}", begun.elapsed());
        assert_eq!(fault.code(), code, "{wish}: {fault}");
        assert!(fault.to_string().contains(says), "{wish}: {fault}");
        assert!(!fault.hint().is_empty());
        // the control, and the proof that nothing of it stays: the next file has a worker that is as good as new
        assert!(work(&data_request(&["cancer.csv"]), &open(&[fixture("cancer.csv")])).is_ok(), "after {wish}");
    }
}

#[test]
fn a_stopped_run_does_not_wait_for_its_workers() {
    let folder = Folder::new("workers-stop");
    let (request, files) = holed(&folder, "hang");
    let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    let stopped = AtomicBool::new(false);
    let begun = Instant::now();
    let fault = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            stopped.store(true, Ordering::Relaxed);
        });
        let stop = || stopped.load(Ordering::Relaxed);
        let workers: &dyn Workers = pool();
        workers.work(&Job { request: &request, files: &descriptors, time_max: Duration::from_secs(60), stop: &stop })
    });
    assert_eq!(fault, Err(WorkerFault::Stopped));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// What stands around a run, for code in a worker to reach for.
struct World {
    folder: Folder,
    victim: std::process::Child,
    _doors: (UnixListener, UnixListener, std::net::TcpListener),
    targets: String,
}

impl World {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        let path = |name: &str| folder.0.join(name).display().to_string();
        for name in ["runner.age", "journal", "artifact"] {
            std::fs::write(folder.0.join(name), b"precious").unwrap();
        }
        let abstract_name = format!("seaworthy-workers-{}", std::process::id());
        let doors = (
            UnixListener::bind(folder.0.join("signer.sock")).unwrap(),
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap(),
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let targets = json!({
            "key": path("runner.age"), "workspace": folder.0, "journal": path("journal"), "artifact": path("artifact"),
            "socket": path("signer.sock"), "abstract": abstract_name, "port": doors.2.local_addr().unwrap().port().to_string(),
            "engine": std::process::id().to_string(), "victim": victim.id().to_string(),
        });
        Self { folder, victim, _doors: doors, targets: targets.to_string() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.victim.kill().unwrap();
        self.victim.wait().unwrap();
    }
}

fn ends(told: &str) -> BTreeMap<String, String> {
    told.trim().split(';').filter_map(|one| one.split_once('=')).map(|(name, end)| (name.to_owned(), end.to_owned())).collect()
}

/// Code in a worker that was taken over: nothing of what it tries works. Control: from a process of this user that nothing
/// confines, everything does.
#[test]
fn code_planted_in_a_worker_reaches_nothing() {
    init();
    let world = World::new("workers-attack");
    let (request, files) = holed(&world.folder, &format!("attack {}", world.targets));
    let loose = Command::new(PROBE).args(["loose", &world.targets]).arg(world.folder.0.join("data.csv")).output().unwrap();
    let loose = ends(&String::from_utf8(loose.stdout).unwrap());
    let failed: Vec<_> = loose.iter().filter(|(_, end)| *end != "done").collect();
    assert!(failed.is_empty(), "the control fails: {failed:?}");
    for made in ["made", "door"] {
        std::fs::remove_file(world.folder.0.join(made)).unwrap();
    }
    let Answer::Refused { message, .. } = work(&request, &files).unwrap() else { panic!("no report of the attack") };
    let mut confined = ends(&message);
    assert_eq!(confined.remove("lives").as_deref(), Some("done"), "{confined:?}");
    assert_eq!(confined.len(), 25, "{confined:?}");
    assert_eq!(confined.len() + 1, loose.len());
    let through: Vec<_> = confined.iter().filter(|(_, end)| *end != "1").collect();
    assert!(through.is_empty(), "not refused by the filter: {through:?}");
    assert!(!world.folder.0.join("made").exists() && !world.folder.0.join("door").exists());
}

/// Every worker that this process started and that is at its file: the number of each, and what the kernel says of it.
fn busy_workers() -> Vec<(u32, String)> {
    let own = format!("PPid:\t{}\n", std::process::id());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let workers = entries.filter_map(|entry| {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let (command, status) = (read("cmdline"), read("status"));
        (command.starts_with("seaworthy-worker\0") && status.contains(&own)).then_some((pid, status))
    });
    workers.collect()
}

/// What a worker says of itself is what the kernel says of it.
#[test]
fn a_worker_is_kept_apart_as_it_says() {
    let folder = Folder::new("workers-apart");
    let (request, files) = holed(&folder, "hang");
    // its own pool: whatever the other tests start is not looked at
    let pool = Pool::new();
    init();
    let stopped = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let descriptors: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        let stop = || stopped.load(Ordering::Relaxed);
        let looker = scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1500));
            let seen = busy_workers();
            let limits = seen.iter().map(|(pid, _)| std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default()).collect();
            stopped.store(true, Ordering::Relaxed);
            (seen, limits)
        });
        let workers: &dyn Workers = &pool;
        let fault = workers.work(&Job { request: &request, files: &descriptors, time_max: Duration::from_secs(60), stop: &stop });
        assert_eq!(fault, Err(WorkerFault::Stopped));
        let seen: (Vec<(u32, String)>, Vec<String>) = looker.join().unwrap();
        seen
    });
    let isolation = pool.isolation().unwrap();
    let (workers, limits) = seen;
    assert!(!workers.is_empty());
    for (_, status) in &workers {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "Threads:\t1"] {
            assert!(status.contains(line), "`{line}` is missing:\n{status}");
        }
        let numbers = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let in_namespace = numbers("NSpid:");
        assert_eq!(
            in_namespace.len() > 1 && in_namespace.last().is_some_and(|last| last == "1"),
            isolation.namespaces.contains(&"pid".to_owned())
        );
        let me = std::fs::read_to_string("/proc/self/status").unwrap();
        let mine = me.lines().find(|line| line.starts_with("Uid:")).unwrap();
        assert_eq!(!status.contains(mine), isolation.own_user, "{status}");
    }
    // who may not look at it sees nothing, which is right too
    for limits in limits.iter().filter(|limits: &&String| !limits.is_empty()) {
        let line = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
        assert!(line.contains(&isolation.memory_bytes.to_string()), "{limits}");
    }
    assert!((15..30).contains(&isolation.system_calls), "{isolation:?}");
    println!("{isolation:?}");
}

/// What a worker costs beside doing the same here, as long as nothing else is measured: the bound itself is the bench's.
#[test]
fn a_worker_is_cheap() {
    let paths = [fixture("cancer.csv")];
    let request = Request::Data { files: vec!["cancer.csv".to_owned()], schema: None, infer_only: true, label: None };
    let mut times = Vec::new();
    for _ in 0..20 {
        let files = open(&paths);
        pool().prepare(1);
        let begun = Instant::now();
        work(&request, &files).unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("worker: median {:?}, best {:?}", times[times.len() / 2], times[0]);
    assert!(times[times.len() / 2] < Duration::from_millis(250));
}
