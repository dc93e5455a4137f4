//! A real run, cut at any of its changes of the disk, and continued: `cargo xtask cuts` tries every change.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use seaworthy_testkit::engine::Fixture;
use seaworthy_testkit::engine::replay::{self, Recording};
use seaworthy_testkit::image::Cut;
use seaworthy_testkit::random::Random;

use crate::simulation::{number, place};

/// States tried in one run of the tests.
const STATES: usize = 60;

/// Every change with what a cut there may leave: nothing of what is not durable, all of it, and `torn` times any part.
fn states(recording: &Recording, torn: u64) -> Vec<(usize, Cut, u64)> {
    let at = 0..=recording.changes();
    let cuts = at.flat_map(|at| {
        let any = (0..torn).map(move |seed| (at, Cut::Any, seed));
        [(at, Cut::Nothing, 0), (at, Cut::Everything, 0)].into_iter().chain(any)
    });
    cuts.collect()
}

#[test]
fn no_power_cut_in_a_real_run_breaks_a_promise() {
    seaworthy_sandbox::init_from(std::path::Path::new(env!("CARGO_BIN_EXE_testkit-init")));
    let began = Instant::now();
    let dir = place("cuts");
    std::fs::create_dir_all(&dir).unwrap();
    let fixture = Fixture::real(&dir);
    // recorded where files really lie; what the cuts leave is put into memory, if there is such a place
    let disk = std::env::temp_dir().join(format!("seaworthy-recorded-{}", std::process::id()));
    let recording = replay::record(&fixture, &disk).unwrap();
    drop(std::fs::remove_dir_all(&disk));
    let all = number("SEAWORTHY_CUTS");
    let mut states = states(&recording, all.unwrap_or(4));
    let possible = states.len();
    let mut random = Random::new(number("SEAWORTHY_SIM_FROM").unwrap_or(1));
    if all.is_none() {
        for at in 0..STATES.min(possible) {
            states.swap(at, at + usize::try_from(random.below((possible - at) as u64)).unwrap());
        }
        states.truncate(STATES);
    }
    let next = AtomicUsize::new(0);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let work = |thread: usize| {
            let mut found = Vec::new();
            while let Some((at, cut, seed)) = states.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(violation) = recording.cut(&fixture, *at, *cut, *seed, &dir.join(thread.to_string())) {
                    found.push(format!("after {at} changes, {cut:?}, {seed}: {}: {}", violation.promise, violation.found));
                }
            }
            found
        };
        let running: Vec<_> = (0..2).map(|thread| scope.spawn(move || work(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // the control: the same disk, but for barriers of one kind
    for forgotten in ["log/wal", "store/tmp/"] {
        let found = recording.cut_at_the_end_without(forgotten, &fixture, &dir.join("control"));
        assert!(found.is_err(), "nobody misses the barriers of {forgotten}");
    }
    drop(std::fs::remove_dir_all(&dir));
    println!(
        "{{\"changes\": {}, \"barriers\": {}, \"states\": {}, \"of\": {possible}, \"violations\": {}, \"seconds\": {:.1}}}",
        recording.changes(),
        recording.barriers(),
        states.len(),
        broken.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(broken.is_empty(), "promises were broken:\n{}", broken.join("\n"));
}
