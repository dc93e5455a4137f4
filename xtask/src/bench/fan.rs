//! A fan of steps that do nothing: how many a second, each sandboxed, authorized, attested and logged.
//!
//! in: a hundred steps that need nothing of each other; out: steps a second of a whole run, its start and its end included.

use super::measure::{median, timed};
use super::workspace::Workspace;
use super::{Bench, Row};

const STEPS: u32 = 100;
/// More than there are processors: a step waits for the disk, and for the kernel to take its namespaces apart.
const PARALLEL: [&str; 2] = ["--parallel", "8"];

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let workspace = Workspace::fan(bench, "fan", STEPS)?;
    timed(workspace.run()?.args(PARALLEL))?;
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let taken = timed(workspace.run()?.args(PARALLEL))?;
        wall.push(f64::from(STEPS) * 1e3 / taken.wall_ms);
        cpu.push(taken.cpu_ms / f64::from(STEPS));
    }
    Ok(vec![
        bench.at_least("a fan of 100 steps that do nothing, all attested", median(wall), "steps/s", 100.0),
        Row::plain("… processor time of a step, its sandbox included", median(cpu), "ms"),
    ])
}
