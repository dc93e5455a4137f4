//! Signatures: by keys in the same process, and by the signer's process.
//!
//! in: the example `signer_bench` of engine, keys of a throw-away workspace; out: its rates, the added time of one signature.
//! **Invariant:** both sign the same statements in turns; each signature is over a payload that the signer made itself.

use std::fs;

use super::workspace::{Body, Workspace};
use super::{Bench, Row, example, number};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let workspace = Workspace::chain(bench, "signer", 1, Body::Shell, true)?;
    let config = workspace.config();
    let found = fs::read_dir(config.join("seaworthy")).map_err(|error| format!("{}: {error}", config.display()))?;
    let id = found.flatten().find(|entry| entry.path().is_dir()).ok_or("no keys were made")?.file_name();
    let (binary, config, id) = (bench.binary.to_string_lossy(), config.to_string_lossy(), id.to_string_lossy());
    let pairs = example("seaworthy-engine", "signer_bench", &[&binary, &config, &id, "staging", bench.pick("2000", "200")])?;
    Ok(vec![
        Row::plain("signatures (P-256, provenance), keys in the same process", number(&pairs, "in_process_per_s")?, "signatures/s"),
        bench.at_least(
            "signatures by the signer's process, one after another",
            number(&pairs, "by_process_per_s")?,
            "signatures/s",
            2_000.0,
        ),
        Row::plain("… from four threads", number(&pairs, "by_process_four_threads_per_s")?, "signatures/s"),
        Row::plain("… added to each at the median", number(&pairs, "added_us")?, "µs"),
        Row::plain("checkpoints by the signer's process", number(&pairs, "checkpoints_per_s")?, "signatures/s"),
        Row::plain("start of the signer's process, keys opened and confined", number(&pairs, "start_ms")?, "ms"),
    ])
}
