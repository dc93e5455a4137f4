//! Simulated crashes: what is lost of what was acknowledged.
//!
//! in: the simulator's own line of numbers; out: crashes, and broken promises, of which there must be none.

use super::{Bench, Row, number, pairs};
use crate::process::output;
use crate::sim;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let text = output(sim::command(bench.pick("3500", "300"), "1")?)?;
    let line = text.lines().find(|line| line.starts_with('{')).ok_or("the simulator printed no numbers")?;
    let pairs = pairs(line);
    let violations = number(&pairs, "violations")?;
    let broken = Row { met: Some(violations == 0.0), ..Row::plain("simulated crashes: promises broken", violations, "") };
    Ok(vec![
        Row::plain("simulated crashes (kills and power cuts)", number(&pairs, "crashes")?, "crashes"),
        Row::plain("… other faults met (disk full, failed sync, signer gone)", number(&pairs, "faults")?, "faults"),
        Row { target: "0".to_owned(), ..broken },
        Row::plain("… in", number(&pairs, "seconds")?, "s"),
    ])
}
