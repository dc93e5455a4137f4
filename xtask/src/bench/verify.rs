//! Verifying the example's whole chain; in a smoke measurement a run of three steps.
//!
//! in: a workspace with something certified in it; out: the median of one `verify`, process start included.
//! **Invariant:** without environment bytes (`--deep` includes them).

use super::measure::{median, timed};
use super::workspace::{Body, Workspace};
use super::{Bench, Row};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let (workspace, reference) = if bench.smoke { small(bench)? } else { example(bench)? };
    let mut command = workspace.command(&["verify", &reference]);
    let taken = (0..bench.pick(21, 5)).map(|_| timed(&mut command).map(|taken| taken.wall_ms)).collect::<Result<Vec<f64>, _>>()?;
    Ok(vec![bench.at_most(
        &format!("verify {} without environment bytes", bench.pick("the example's model", "a run of 3 steps")),
        median(taken),
        "ms",
        300.0,
    )])
}

fn example(bench: &Bench) -> Result<(Workspace, String), String> {
    let workspace = Workspace::new(bench, "demo")?;
    let folder = workspace.dir.to_string_lossy().into_owned();
    workspace.done(&["demo", "--dir", &folder])?;
    Ok((workspace, "model:employment@1".to_owned()))
}

fn small(bench: &Bench) -> Result<(Workspace, String), String> {
    let workspace = Workspace::chain(bench, "verify", 3, Body::Shell, true)?;
    timed(&mut workspace.run()?)?;
    let listed = workspace.done(&["runs", "list"])?;
    let run = listed.split_whitespace().next().ok_or("no run is listed")?;
    Ok((workspace, format!("run:{run}")))
}
