//! A sandboxed step that does nothing, beside bubblewrap.
//!
//! in: the example `noop_bench` of sandbox, with the product's own program as the first process; out: rows.
//! **Invariant:** bubblewrap does less here: namespaces and mounts alone, no system call filter, Landlock or cgroup.

use super::peers::installed;
use super::{Bench, Row, example, number};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let Some(bubblewrap) = installed("bwrap") else {
        return Err("bubblewrap is not installed (apt install bubblewrap)".to_owned());
    };
    let pairs = example("seaworthy-sandbox", "noop_bench", &["15", "20", &bubblewrap.to_string_lossy(), &bench.binary.to_string_lossy()])?;
    let of = |key: &str| number(&pairs, key);
    let ours = of("ours_cpu_ms")?;
    Ok(vec![
        Row::ratio("sandboxed `true`: wall", of("ours_wall_ms")?, ("bubblewrap", of("peer_wall_ms")?), "ms", Some(1.0)),
        Row::ratio("sandboxed `true`: processor time", ours, ("bubblewrap", of("peer_cpu_ms")?), "ms", None),
        bench.at_most("… as a multiple of a plain spawn's", ours / of("plain_cpu_ms")?, "×", 12.0),
    ])
}
