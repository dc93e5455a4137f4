//! Measures the log: durable entries a second with group commit, the wait of one caller, proofs, opening, auditing.
//!
//! in: a folder to work in (default: the system's temporary folder), `small` for a tenth of the calls; out: a table, and its
//! main figures as one flat line of JSON. Run with `cargo run --release -p seaworthy-store --example log_bench [DIR] [small]`.
#![expect(clippy::print_stdout, reason = "an example prints its figures")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::RunId;
use seaworthy_core::merkle::{leaf_hash, verify_inclusion};
use seaworthy_core::ports::{EvidenceSource as _, Leaf};
use seaworthy_core::principal::PrincipalId;
use seaworthy_store::log::{Log, LogError, LogReader, audit, barriers};
use signer::TestSigner;

mod signer;

const ORIGIN: &str = "bench.example/log";

fn leaf(n: u64) -> Leaf {
    let kind = EventKind::RunEnded { run: RunId(format!("r{n:016x}")), state: "succeeded".repeat(16), cancelled_by: None };
    Leaf::Event(Event { time_ms: n, principal: PrincipalId("user:p-0123456789abcdef".into()), kind })
}

fn open(dir: &Path) -> Result<Log, LogError> {
    let signer = Arc::new(TestSigner::new(ORIGIN, [9; 32]));
    if !dir.join("wal").exists() {
        Log::create(dir, ORIGIN, &*signer)?;
    }
    Log::open(dir, ORIGIN, signer)
}

/// `threads` callers, each `calls` times with `leaves` leaves: entries a second, barriers.
fn append(log: &Log, threads: u64, calls: u64, leaves: u64) -> Result<(f64, u64, Duration), LogError> {
    let (start, before) = (Instant::now(), barriers());
    let waits = thread::scope(|scope| {
        let callers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let mut longest = Duration::ZERO;
                    for call in 0..calls {
                        let group: Vec<Leaf> = (0..leaves).map(|n| leaf(call * leaves + n)).collect();
                        let start = Instant::now();
                        log.append(&group)?;
                        longest = longest.max(start.elapsed());
                    }
                    Ok(longest)
                })
            })
            .collect();
        callers.into_iter().filter_map(|caller| caller.join().ok()).collect::<Result<Vec<Duration>, LogError>>()
    })?;
    let entries = u32::try_from(threads * calls * leaves).unwrap_or(u32::MAX);
    let rate = f64::from(entries) / start.elapsed().as_secs_f64();
    Ok((rate, barriers() - before, waits.into_iter().max().unwrap_or_default()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("seaworthy-log-bench-{}", std::process::id()));
    let log = open(&dir)?;
    println!("{:<44} {:>12} {:>9} {:>12}", "append (entries of ~250 bytes)", "entries/s", "barriers", "longest wait");
    let share: u64 = if std::env::args().nth(2).as_deref() == Some("small") { 10 } else { 1 };
    let mut group_commit = 0.0;
    let rows: [(&str, u64, u64, u64); 6] = [
        ("1 caller, 1 leaf a call", 1, 200, 1),
        ("1 caller, 64 leaves a call", 1, 100, 64),
        ("16 callers, 1 leaf a call", 16, 200, 1),
        ("256 callers, 1 leaf a call", 256, 60, 1),
        ("64 callers, 16 leaves a call", 64, 40, 16),
        ("16 callers, 256 leaves a call", 16, 25, 256),
    ];
    for (name, threads, calls, leaves) in rows {
        let (rate, barriers, longest) = append(&log, threads, calls.div_ceil(share), leaves)?;
        group_commit = rate;
        println!("{name:<44} {rate:>12.0} {barriers:>9} {:>9.1} ms", longest.as_secs_f64() * 1e3);
    }
    drop(log);
    let start = Instant::now();
    let reader = LogReader::open(&dir)?;
    println!("open for reading, {} leaves: {:.2} ms", reader.state().size, start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    drop(open(&dir)?);
    println!("open for appending: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let state = reader.state();
    let mut proofs = Vec::new();
    let start = Instant::now();
    for index in (0..state.size).step_by(97) {
        proofs.push((index, leaf_hash(&reader.entry(index)?), reader.inclusion(index)?));
    }
    let count = f64::from(u32::try_from(proofs.len())?);
    println!("read an entry and prove it: {:.1} us", start.elapsed().as_secs_f64() * 1e6 / count);
    let start = Instant::now();
    for (index, leaf, proof) in &proofs {
        verify_inclusion(leaf, *index, state.size, proof, &state.root)?;
    }
    let proof_us = start.elapsed().as_secs_f64() * 1e6 / count;
    println!("verify an inclusion proof: {proof_us:.2} us");
    let start = Instant::now();
    let faults = audit(&dir);
    println!("audit of everything: {:.0} ms, {} faults", start.elapsed().as_secs_f64() * 1e3, faults.len());
    // the last row is the one with the largest groups
    println!("{{\"group_commit_entries_per_s\":{group_commit:.0},\"verify_inclusion_us\":{proof_us:.3}}}");
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
