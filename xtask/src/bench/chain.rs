//! A chain of ten steps that each start Python: all of it, again with nothing changed, its memory, and beside Metaflow.
//!
//! in: throw-away workspaces, Metaflow in an environment of its own; out: rows.
//! **Invariant:** our steps do more than Metaflow's: confined, authorized, attested, logged, and each leaves a file that the next reads.

use std::process::Command;

use super::measure::{Measured, median, peak_memory_mb, timed};
use super::peers;
use super::workspace::{Body, Workspace};
use super::{Bench, Row};

const STEPS: usize = 10;

/// A rerun of ten steps with nothing changed, and the memory of a run.
pub(super) fn rerun(bench: &Bench) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (body, name) in [(Body::Python, "Python"), (Body::Shell, "shell")] {
        let cached = Workspace::chain(bench, &format!("rerun-{name}"), STEPS, body, true)?;
        timed(&mut cached.run()?)?;
        let rounds = bench.pick(21, 5);
        let mut run = cached.run()?;
        let taken = (0..rounds).map(|_| timed(&mut run).map(|taken| taken.wall_ms)).collect::<Result<Vec<f64>, _>>()?;
        rows.push(bench.at_most(&format!("rerun of {STEPS} {name} steps, nothing changed"), median(taken), "ms", 50.0));
    }
    let fresh = Workspace::chain(bench, "memory", STEPS, Body::Python, false)?;
    let peak = peak_memory_mb(&mut fresh.run()?)?;
    // memory does not depend on how busy the machine is, so the bound is the same in a smoke measurement
    let mut row = Row::plain(&format!("resident memory of the engine, run of {STEPS} steps (peak)"), peak, "MB");
    (row.target, row.met) = ("≤ 60 MB".to_owned(), Some(peak <= 60.0));
    rows.push(row);
    Ok(rows)
}

/// The same chain, in turns with Metaflow.
pub(super) fn against_metaflow(bench: &Bench) -> Result<Vec<Row>, String> {
    let python = peers::python(bench, "metaflow", &["metaflow==2.19.*"])?;
    let ours = Workspace::chain(bench, "chain", STEPS, Body::Python, false)?;
    let flow = ours.dir.join("flow.py");
    std::fs::write(&flow, metaflow_text()).map_err(|error| format!("{}: {error}", flow.display()))?;
    let mut theirs = Command::new(&python);
    theirs.arg(&flow).args(["run"]).current_dir(&ours.dir).env("USERNAME", "bench").env("METAFLOW_USER", "bench");
    theirs
        .env("METAFLOW_HOME", ours.dir.join("metaflow"))
        .env("METAFLOW_DEFAULT_DATASTORE", "local")
        .env("METAFLOW_DEFAULT_METADATA", "local");
    // both chains start an interpreter that sees no packages but its environment's: so does a fresh virtual environment
    let bare = peers::python(bench, "bare", &[])?.to_string_lossy().into_owned();
    let (own, peer) = (bare, python.to_string_lossy().into_owned());
    // both warm: bytecode written, environment unpacked
    timed(&mut ours.run()?)?;
    timed(&mut theirs)?;
    let (mut runs, mut flows, mut own_starts, mut peer_starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        runs.push(timed(&mut ours.run()?)?);
        flows.push(timed(&mut theirs)?);
        for _ in 0..3 {
            own_starts.push(timed(Command::new(&own).args(["-c", "pass"]))?);
            peer_starts.push(timed(Command::new(&peer).args(["-c", "pass"]))?);
        }
    }
    let wall = |taken: &[Measured]| median(taken.iter().map(|taken| taken.wall_ms));
    let (run, flow) = (wall(&runs), wall(&flows));
    let (run_net, flow_net) = (run - 10.0 * wall(&own_starts), flow - 10.0 * wall(&peer_starts));
    let cpu = |taken: &[Measured]| super::measure::mean(taken.iter().map(|taken| taken.cpu_ms));
    let metaflow = |value| ("Metaflow 2.19", value);
    Ok(vec![
        Row::ratio("chain of 10 × `python -c pass`, sandboxed: wall", run, metaflow(flow), "ms", Some(12.0)),
        Row::ratio("… net of 10 interpreter starts: wall", run_net, metaflow(flow_net), "ms", Some(60.0)),
        Row::ratio("… processor time, all processes", cpu(&runs), metaflow(cpu(&flows)), "ms", None),
        Row::plain("… one interpreter start: wall", wall(&own_starts), "ms"),
    ])
}

fn metaflow_text() -> String {
    let mut text = "from metaflow import FlowSpec, step\n\n\nclass Chain(FlowSpec):\n".to_owned();
    let name = |step: usize| match step {
        0 => "start".to_owned(),
        last if last + 1 == STEPS => "end".to_owned(),
        middle => format!("s{middle}"),
    };
    for step in 0..STEPS {
        let next = if step + 1 == STEPS { "pass".to_owned() } else { format!("self.next(self.{})", name(step + 1)) };
        text.push_str(&format!("    @step\n    def {}(self):\n        {next}\n\n", name(step)));
    }
    text.push_str("\nif __name__ == '__main__':\n    Chain()\n");
    text
}
