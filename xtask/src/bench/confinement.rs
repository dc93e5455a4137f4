//! A sandboxed step that does nothing, beside bubblewrap.
//!
//! in: the example `noop_bench` of sandbox; out: rows.
//! **Invariant:** bubblewrap does less here: namespaces and mounts alone, no system call filter, Landlock or cgroup.

use super::peers::installed;
use super::{Bench, Row, example, number};

pub(super) fn measure(_bench: &Bench) -> Result<Vec<Row>, String> {
    let Some(bubblewrap) = installed("bwrap") else {
        return Err("bubblewrap is not installed (apt install bubblewrap)".to_owned());
    };
    let pairs = example("seaworthy-sandbox", "noop_bench", &["15", "20", &bubblewrap.to_string_lossy()])?;
    let of = |key: &str| number(&pairs, key);
    Ok(vec![
        Row::ratio("sandboxed `true`: wall", of("ours_wall_ms")?, ("bubblewrap", of("peer_wall_ms")?), "ms", None),
        Row::ratio("sandboxed `true`: processor time", of("ours_cpu_ms")?, ("bubblewrap", of("peer_cpu_ms")?), "ms", None),
    ])
}
