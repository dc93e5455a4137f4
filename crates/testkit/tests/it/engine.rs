//! Seeds of the engine: `cargo xtask sim N [FROM] --engine` runs as many as one likes; a seed that fails prints the command that shows it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use seaworthy_store::disk::Mechanism;
use seaworthy_testkit::disk::Forgotten;
use seaworthy_testkit::engine::{self, Fixture, Summary};
use seaworthy_testkit::simulation::Violation;

use crate::simulation::{number, place};

/// Stories in one run of the tests.
const SEEDS: u64 = 150;

/// The plans of all stories, with their ends where nothing goes wrong.
struct Plans {
    plain: Fixture,
    troubled: Fixture,
    dir: PathBuf,
}

impl Plans {
    fn new(name: &str) -> Self {
        let dir = place(name);
        let folder = |name: &str| {
            let folder = dir.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let plans = Self { plain: Fixture::plain(&folder("plain")), troubled: Fixture::troubled(&folder("troubled")), dir };
        for fixture in [&plans.plain, &plans.troubled] {
            engine::run(0, fixture, Forgotten::Nothing, &plans.dir).unwrap();
        }
        plans
    }

    fn story(&self, seed: u64, forgotten: Forgotten, dir: &Path) -> Result<Summary, Violation> {
        let fixture = if seed % 4 == 3 { &self.troubled } else { &self.plain };
        let told = catch_unwind(AssertUnwindSafe(|| engine::run(seed, fixture, forgotten, dir)));
        told.unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().cloned().or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Violation { promise: "nothing panics", found: text.unwrap_or_default() })
        })
    }
}

impl Drop for Plans {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn no_seed_breaks_a_promise_of_the_engine() {
    let (count, first) = (number("SEAWORTHY_SIM_SEEDS").unwrap_or(SEEDS), number("SEAWORTHY_SIM_FROM").unwrap_or(1));
    let plans = Plans::new("engine");
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8)) as u64;
    let (began, next) = (Instant::now(), AtomicU64::new(first));
    let mut summary = Summary::default();
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (mut own, mut failed) = (Summary::default(), Vec::new());
            let dir = plans.dir.join(thread.to_string());
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first.saturating_add(count) || failed.len() >= 5 {
                    return (own, failed);
                }
                match plans.story(seed, Forgotten::Nothing, &dir) {
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
    let Summary { lives, kills, power_cuts, faults, changes, launches, killed_alive, rivals, leaves } = summary;
    println!(
        "{{\"engine_seeds\": {count}, \"lives\": {lives}, \"kills\": {kills}, \"power_cuts\": {power_cuts}, \"faults\": {faults}, \"rivals\": {rivals}, \"changes\": {changes}, \"launches\": {launches}, \"bodies_killed_alive\": {killed_alive}, \"leaves\": {leaves}, \"violations\": {}, \"seconds\": {:.1}}}",
        broken.len(),
        began.elapsed().as_secs_f64()
    );
    broken.sort_by_key(|(seed, _)| *seed);
    let lines: Vec<String> = broken
        .iter()
        .map(|(seed, violation)| format!("seed {seed}: {}: {}\n  cargo xtask sim 1 {seed} --engine", violation.promise, violation.found))
        .collect();
    assert!(lines.is_empty(), "promises were broken:\n{}", lines.join("\n"));
}

/// The control: each mechanism is left out by itself, each barrier that the engine rests on too, and the simulator must find the want of it.
#[test]
fn every_mechanism_left_out_is_found() {
    let left_out = [
        Forgotten::Mechanism(Mechanism::FindStaged),
        Forgotten::Mechanism(Mechanism::StagedBarrier),
        Forgotten::Mechanism(Mechanism::Intent),
        Forgotten::Mechanism(Mechanism::Adopt),
        Forgotten::Mechanism(Mechanism::RunLock),
        Forgotten::Mechanism(Mechanism::Fence),
        Forgotten::Mechanism(Mechanism::AttemptNumber),
        Forgotten::Files("journal/journal"),
        Forgotten::Files("log/wal"),
        Forgotten::Files("store/tmp/"),
        Forgotten::Folders("blobs"),
        Forgotten::Late,
    ];
    let plans = Plans::new("engine-controls");
    let missed: Vec<String> = left_out
        .into_iter()
        .filter_map(|forgotten| {
            let found = (1..=600).find_map(|seed| plans.story(seed, forgotten, &plans.dir).err().map(|violation| (seed, violation)));
            println!("{forgotten:?}: {found:?}");
            found.is_none().then(|| format!("{forgotten:?}"))
        })
        .collect();
    assert!(missed.is_empty(), "not found: {}", missed.join(", "));
}

#[test]
fn a_seed_of_the_engine_tells_the_same_story_again() {
    let plans = Plans::new("engine-again");
    for seed in 1..=12 {
        let told = [1, 2].map(|_| format!("{:?}", plans.story(seed, Forgotten::Nothing, &plans.dir)));
        assert_eq!(told[0], told[1], "seed {seed}");
    }
}
