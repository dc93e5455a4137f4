//! Parsing and planning 1,000 steps.
//!
//! in: the example `parse_bench` of core; out: its median. **Invariant:** the same size in a smoke measurement.

use super::{Bench, Row, example, number};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let pairs = example("seaworthy-core", "parse_bench", &["1000"])?;
    Ok(vec![bench.at_most("parse and plan 1,000 steps", number(&pairs, "parse_and_plan_ms")?, "ms", 100.0)])
}
