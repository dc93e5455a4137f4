//! Measures workers: the same examination in this process and by a worker, in turns.
//!
//! in: how many rounds, a table; out: one flat line of JSON with medians in milliseconds.
//! Run with `cargo run --release -p seaworthy-engine --example workers_bench -- ROUNDS TABLE`.
#![expect(clippy::print_stdout, reason = "an example prints its figures")]

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seaworthy_core::digest::Hasher;
use seaworthy_core::ports::{Job, Workers};
use seaworthy_core::worker::{Answer, Request};
use seaworthy_engine::workers::{Pool, perform};
use serde_json::json;

/// A table of one page: what a worker costs beside reading next to nothing.
const SMALL: &str = "id,value\n1,2\n3,4\n";

fn main() -> Result<(), Box<dyn Error>> {
    seaworthy_sandbox::init_main();
    if seaworthy_engine::workers::started_as_worker().is_some() {
        return Ok(());
    }
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().ok_or("name the rounds")?.parse()?;
    let table = PathBuf::from(arguments.next().ok_or("name a table")?);
    let small = std::env::temp_dir().join(format!("seaworthy-workers-{}.csv", std::process::id()));
    std::io::copy(&mut SMALL.as_bytes(), &mut File::options().write(true).create_new(true).open(&small)?)?;
    let (few, many) = (measure(&small, rounds), measure(&table, rounds.div_ceil(5)));
    rustix::fs::unlink(&small)?;
    let (few, many) = (few?, many?);
    println!(
        "{}",
        json!({
            "small_here_ms": few.here, "small_cold_added_ms": few.cold - few.here, "small_ordered_added_ms": few.ordered - few.here,
            "large_here_ms": many.here, "large_cold_added_ms": many.cold - many.here, "large_ordered_added_ms": many.ordered - many.here,
        })
    );
    Ok(())
}

/// Medians in milliseconds.
struct Measured {
    here: f64,
    /// By a worker that is started when it is needed.
    cold: f64,
    /// By one that was ordered before the file was hashed, as a step does; hashing counts on both sides.
    ordered: f64,
}

fn measure(path: &Path, rounds: usize) -> Result<Measured, Box<dyn Error>> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("a table has a name")?.to_owned();
    let request = Request::Data { files: vec![name], schema: None, infer_only: false, label: None };
    let pool = Pool::new();
    let workers: &dyn Workers = &pool;
    let (mut here, mut cold, mut ordered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=rounds {
        let begun = Instant::now();
        hash(path)?;
        let found = perform(&request, vec![File::open(path)?], &mut |_, _| Ok(()))?;
        here.push(begun.elapsed());
        let begun = Instant::now();
        hash(path)?;
        check(&found, &by_worker(workers, &request, path)?)?;
        cold.push(begun.elapsed());
        let begun = Instant::now();
        workers.prepare(1);
        hash(path)?;
        check(&found, &by_worker(workers, &request, path)?)?;
        ordered.push(begun.elapsed());
    }
    Ok(Measured { here: median(here), cold: median(cold), ordered: median(ordered) })
}

fn by_worker(workers: &dyn Workers, request: &Request, path: &Path) -> Result<Answer, Box<dyn Error>> {
    let file = File::open(path)?;
    let files = [file.as_fd()];
    Ok(workers.work(&Job { request, files: &files, time_max: Duration::from_secs(600), stop: &|| false })?)
}

fn check(here: &Answer, there: &Answer) -> Result<(), Box<dyn Error>> {
    if here == there { Ok(()) } else { Err("the worker found something else".into()) }
}

fn hash(path: &Path) -> std::io::Result<()> {
    let mut hasher = Hasher::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = std::io::Read::read(&mut file, &mut buffer)?;
        match buffer.get(..count) {
            Some(chunk) if !chunk.is_empty() => hasher.update(chunk),
            _ => return Ok(()),
        }
    }
}

/// The first round, which warms caches, does not count.
fn median(times: Vec<Duration>) -> f64 {
    let mut times: Vec<f64> = times.into_iter().skip(1).map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}
