//! Unpacking an image, beside `tar` and `gzip` on the same layers.
//!
//! in: the example `image_bench` of engine, layers made of this machine's own `/usr` and of one large file; out: times, and the peak of memory.
//! **Invariant:** both unpack the same files in turns; ours ends with a tree whose every byte was hashed, theirs with a folder.

use std::fs;
use std::path::Path;

use super::{Bench, Row, example, number};
use crate::process::{program, run};

/// Part of what tar's wall time must be of ours.
const RATIO_MIN: f64 = 0.8;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let base = bench.dir.join("image");
    if base.exists() {
        // trees are read-only, also for their owner
        run(program("chmod", &["-R", "u+w", &base.to_string_lossy()]))?;
        fs::remove_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    }
    fs::create_dir_all(&base).map_err(|error| format!("{}: {error}", base.display()))?;
    let shell = |script: &str, file: &Path| run(program("sh", &["-euc", script, &file.to_string_lossy()]));
    let (libraries, small, large) = (base.join("libraries.tar.gz"), base.join("small.tar.gz"), base.join("large.tar.gz"));
    // thousands of files of every size, as images have them
    let folders = bench.pick("bin lib/python3 lib/python3.11 include share/doc", "lib/python3 include");
    shell(&format!("{{ tar -C /usr -cf - {folders} 2>/dev/null || true; }} | gzip -6 > \"$0\""), &libraries)?;
    let one = |mebibytes: u32| {
        format!(
            "d=$(mktemp -d); base64 /dev/urandom | head -c {mebibytes}M > \"$d/weights\"; tar -C \"$d\" -cf - weights | gzip -1 > \"$0\"; rm -r \"$d\""
        )
    };
    shell(&one(32), &small)?;
    shell(&one(bench.pick(1024, 64)), &large)?;
    let measured = |name: &str, rounds: &str, layers: &[&Path]| {
        let folder = base.join(name);
        let names: Vec<String> = layers.iter().map(|layer| layer.to_string_lossy().into_owned()).collect();
        let mut arguments = vec![folder.to_string_lossy().into_owned(), rounds.to_owned()];
        arguments.extend(names);
        example("seaworthy-engine", "image_bench", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let rounds = bench.pick("5", "1");
    let (many, few, big) =
        (measured("many", rounds, &[&libraries, &small])?, measured("few", "1", &[&small])?, measured("big", rounds, &[&large])?);
    let against = |what: &str, pairs: &[(String, String)]| {
        let (ours, tar) = (number(pairs, "ours_ms")?, number(pairs, "tar_ms")?);
        Ok::<Row, String>(Row::ratio(what, ours, ("tar -xzf", tar), "ms", if bench.smoke { None } else { Some(RATIO_MIN) }))
    };
    Ok(vec![
        against("unpack an image of this machine's programs, two layers", &many)?,
        against("unpack an image of one large file", &big)?,
        bench.at_most(
            "… memory that the large file takes more than one of 32 MiB",
            number(&big, "peak_mb")? - number(&few, "peak_mb")?,
            "MB",
            16.0,
        ),
        Row::plain("… peak of memory", number(&big, "peak_mb")?, "MB"),
    ])
}
