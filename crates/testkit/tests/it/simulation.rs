//! Seeds: `cargo xtask sim N [FROM]` runs as many as one likes; a seed that fails prints the command that shows it again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use seaworthy_testkit::disk::Forgotten;
use seaworthy_testkit::simulation::{self, Summary, Violation};

/// Stories in one run of the tests.
const SEEDS: u64 = 10_000;

/// In memory if there is such a place: nothing here depends on a real disk.
pub(crate) fn place(name: &str) -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("seaworthy-sim-{name}-{}", std::process::id()))
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn story(seed: u64, forgotten: Forgotten, dir: &std::path::Path) -> Result<Summary, Violation> {
    let told = catch_unwind(AssertUnwindSafe(|| simulation::run(seed, forgotten, dir)));
    told.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned().or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { promise: "nothing panics", found: text.unwrap_or_default() })
    })
}

#[test]
fn no_seed_breaks_a_promise() {
    let (count, first) = (number("SEAWORTHY_SIM_SEEDS").unwrap_or(SEEDS), number("SEAWORTHY_SIM_FROM").unwrap_or(1));
    let dir = place("seeds");
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8)) as u64;
    let (began, next) = (Instant::now(), AtomicU64::new(first));
    let mut summary = Summary::default();
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (mut own, mut failed) = (Summary::default(), Vec::new());
            let dir = dir.join(thread.to_string());
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first.saturating_add(count) || failed.len() >= 5 {
                    return (own, failed);
                }
                match story(seed, Forgotten::Nothing, &dir) {
                    Ok(told) => own.add(told),
                    Err(violation) => failed.push((seed, violation)),
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        for thread in running {
            let (own, failed) = thread.join().unwrap();
            summary.add(own);
            broken.extend(failed);
        }
    });
    drop(std::fs::remove_dir(&dir));
    let Summary { lives, kills, power_cuts, faults, changes, acknowledged } = summary;
    println!(
        "{{\"seeds\": {count}, \"lives\": {lives}, \"kills\": {kills}, \"power_cuts\": {power_cuts}, \"crashes\": {}, \"faults\": {faults}, \"changes\": {changes}, \"acknowledged\": {acknowledged}, \"violations\": {}, \"seconds\": {:.1}}}",
        kills + power_cuts,
        broken.len(),
        began.elapsed().as_secs_f64()
    );
    broken.sort_by_key(|(seed, _)| *seed);
    let lines: Vec<String> = broken
        .iter()
        .map(|(seed, violation)| format!("seed {seed}: {}: {}\n  cargo xtask sim 1 {seed}", violation.promise, violation.found))
        .collect();
    assert!(lines.is_empty(), "promises were broken:\n{}", lines.join("\n"));
}

/// The control: a simulator that cannot fail shows nothing. Each of these barriers is left out by itself, as if it had been forgotten.
#[test]
fn every_forgotten_barrier_is_found() {
    let forgotten = [
        Forgotten::Files("store/tmp/"),
        Forgotten::Files("log/wal"),
        Forgotten::Files("log/tile"),
        Forgotten::Files("log/bundles"),
        Forgotten::Files("journal/journal"),
        Forgotten::Folders("journal"),
        Forgotten::Folders(".seaworthy"),
        Forgotten::Folders("staging"),
        Forgotten::Folders("log"),
        Forgotten::Folders("blobs"),
        Forgotten::Late,
    ];
    let dir = place("controls");
    let missed: Vec<String> = forgotten
        .into_iter()
        .filter_map(|forgotten| {
            let found = (1..=400).find_map(|seed| story(seed, forgotten, &dir).err().map(|violation| (seed, violation)));
            println!("{forgotten:?}: {found:?}");
            found.is_none().then(|| format!("{forgotten:?}"))
        })
        .collect();
    drop(std::fs::remove_dir_all(&dir));
    assert!(missed.is_empty(), "not found: {}", missed.join(", "));
}

#[test]
fn a_seed_tells_the_same_story_again() {
    let dir = place("again");
    for seed in 1..=20 {
        let told = [1, 2].map(|_| format!("{:?}", story(seed, Forgotten::Nothing, &dir)));
        assert_eq!(told[0], told[1], "seed {seed}");
    }
    drop(std::fs::remove_dir_all(&dir));
}
