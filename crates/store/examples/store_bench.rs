//! Measures the store: many small files, one large one, journal appends, catalog. Prints CPU and wall seconds.
//!
//! `cargo run --release -p seaworthy-store --example store_bench -- [DIR]` (default: a folder below the target folder).
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and stops at the first fault")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_store::artifacts::{Artifacts, FolderRules, hash_folder, open_folder, remove_checkout};
use seaworthy_store::barrier;
use seaworthy_store::journal::{Journal, Record, State};

/// CPU seconds of this (only) thread.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn measure<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (cpu, wall, barriers) = (cpu_s(), Instant::now(), barrier::count());
    let done = work();
    println!(
        "{name:44} cpu {:7.3} s   wall {:7.3} s   barriers {}",
        cpu_s() - cpu,
        wall.elapsed().as_secs_f64(),
        barrier::count() - barriers
    );
    done
}

fn make(path: &Path, bytes: u64, seed: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::options().write(true).create_new(true).open(path).unwrap();
    let mut state = seed | 1;
    let mut chunk = vec![0_u8; 4096];
    for _ in 0..bytes / 4096 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64: random enough to have no equal blocks
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&chunk).unwrap();
    }
}

fn main() {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/store-bench");
    let dir = std::env::args_os().nth(1).map_or_else(default, PathBuf::from);
    if dir.exists() {
        remove_checkout(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    for i in 0..20_000_u64 {
        make(&dir.join(format!("small/d{}/{i}", i % 40)), 4096, i + 1);
    }
    make(&dir.join("large/one"), 512 << 20, 99);
    let rules = FolderRules::default();
    let folder = |name: &str| open_folder(&dir.join(name)).unwrap();
    measure("hash 20,000 x 4 KiB", || hash_folder(folder("small"), &rules).unwrap());
    measure("hash 1 x 512 MiB", || hash_folder(folder("large"), &rules).unwrap());
    let store = Artifacts::open(&dir.join("store")).unwrap();
    let (manifest, _) = measure("put 20,000 x 4 KiB", || store.put_folder(folder("small"), &rules).unwrap());
    measure("put the same again", || store.put_folder(folder("small"), &rules).unwrap());
    measure("put 1 x 512 MiB", || store.put_folder(folder("large"), &rules).unwrap());
    measure("checkout 20,000 x 4 KiB", || store.checkout(&manifest, &dir.join("tree")).unwrap());
    measure("audit", || assert!(store.audit().unwrap().is_empty()));
    let journal = Journal::open(&dir.join("journal")).unwrap();
    let record = |attempt| {
        let step = StepRunId { run: RunId("r1".into()), workflow: Name::new("w").unwrap(), step: Name::new("s").unwrap(), attempt };
        Record::of_step(1_700_000_000_000, &step, State::Started, serde_json::json!({"outputs": ["0".repeat(64)]}))
    };
    measure("1,000 durable journal appends", || {
        for i in 1..=1_000 {
            journal.append(&[record(i)]).unwrap();
        }
    });
    measure("20,000 lazy journal appends", || {
        for i in 1_001..=21_000 {
            journal.append_lazy(&[record(i)]).unwrap();
        }
    });
    measure("load 21,000 journal records", || assert_eq!(journal.load().unwrap().len(), 21_000));
    remove_checkout(&dir).unwrap();
}
