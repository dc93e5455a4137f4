//! Workers: what it costs to have a file read in a process of its own.
//!
//! in: the example `workers_bench` of engine, a table of three lines and one of the shipped example; out: times, here and by workers.
//! **Invariant:** both find the same, in turns; the file is hashed before, as in a step, which a worker's start goes beside.

use super::{Bench, Row, example, number};
use crate::process::root;

/// What a worker may add to a batch.
const ADDED_MS_MAX: f64 = 5.0;
const TABLE: &str = "examples/secure-ml-pipeline/data/raw/employment_MA_2015.parquet";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let table = root().join(TABLE);
    let pairs = example("seaworthy-engine", "workers_bench", &[bench.pick("200", "10"), &table.to_string_lossy()])?;
    let added = |what: &str, key: &str| Ok::<Row, String>(bench.at_most(what, number(&pairs, key)?, "ms", ADDED_MS_MAX));
    Ok(vec![
        Row::plain("a table of three lines examined in the engine's process", number(&pairs, "small_here_ms")?, "ms"),
        added("… added at the median by a worker started for it", "small_cold_added_ms")?,
        added("… by a worker ordered when its step begins", "small_ordered_added_ms")?,
        Row::plain("a table of the shipped example examined in the engine's process", number(&pairs, "large_here_ms")?, "ms"),
        added("… added at the median by a worker ordered when its step begins", "large_ordered_added_ms")?,
    ])
}
