//! The log: durable entries with group commit, and a proof's verification.
//!
//! in: the example `log_bench` of store; out: its best row with many callers, and its mean per proof.
//! **Invariant:** every entry counted was acknowledged after its barrier.

use super::{Bench, Row, example, number};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let folder = bench.dir.to_string_lossy();
    let size = bench.pick("full", "small");
    let pairs = example("seaworthy-store", "log_bench", &[&folder, size])?;
    let rate = number(&pairs, "group_commit_entries_per_s")?;
    let proof = number(&pairs, "verify_inclusion_us")?;
    Ok(vec![
        bench.at_least("log: durable entries, group commit (16 callers, 256 leaves a call)", rate, "entries/s", 10_000.0),
        bench.at_most("log: verify an inclusion proof", proof, "µs", 50.0),
    ])
}
