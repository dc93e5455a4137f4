//! What a step costs outside its sandbox: authorize, check out, hash, stage, attest, log, journal.
//!
//! in: a short and a long chain of steps that do nothing; out: their difference per step, without the sandbox' own share.
//! **Invariant:** the sandbox' share is what the sandbox itself reported for each step (usage in the journal, whole
//! milliseconds rounded down: the remainder counts as ours).

use std::fs;
use std::process::{Command, Stdio};

use super::measure::{mean, median, timed};
use super::peers::installed;
use super::workspace::{Body, Workspace};
use super::{Bench, Row};

const SHORT: usize = 10;
const LONG: usize = 40;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>, String> {
    let short = Workspace::chain(bench, "short", SHORT, Body::Shell, false)?;
    let long = Workspace::chain(bench, "long", LONG, Body::Shell, false)?;
    timed(&mut short.run()?)?;
    timed(&mut long.run()?)?;
    let (mut wall, mut cpu, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let (few, many) = (outside(&short)?, outside(&long)?);
        wall.push((many.wall_ms - few.wall_ms) / STEPS_MORE);
        cpu.push((many.cpu_ms - few.cpu_ms) / STEPS_MORE);
        inside.push((many.inside_ms - few.inside_ms) / STEPS_MORE);
    }
    let mut rows = vec![
        bench.at_most("a step outside the sandbox: wall", median(wall), "ms", 5.0),
        bench.at_most("a step outside the sandbox: processor time", mean(cpu), "ms", 3.0),
        Row::plain("a step inside the sandbox (a shell that does nothing): wall", median(inside), "ms"),
    ];
    rows.extend(barriers(bench, &short, &long)?);
    Ok(rows)
}

/// Steps that the long chain has more.
const STEPS_MORE: f64 = 30.0;

/// A run's cost without its sandboxes, and theirs.
struct Outside {
    wall_ms: f64,
    cpu_ms: f64,
    inside_ms: f64,
}

fn outside(workspace: &Workspace) -> Result<Outside, String> {
    let taken = timed(&mut workspace.run()?)?;
    let journal = fs::read(workspace.journal()).map_err(|error| format!("{}: {error}", workspace.journal().display()))?;
    let journal = String::from_utf8_lossy(&journal);
    let new = newest_run(&journal).ok_or("the journal knows of no run")?;
    let (inside_ms, inside_cpu_ms) = (sum(new, "\"wall_ms\":"), (sum(new, "\"cpu_us\":") + sum(new, "\"launcher_cpu_us\":")) / 1e3);
    Ok(Outside { wall_ms: taken.wall_ms - inside_ms, cpu_ms: taken.cpu_ms - inside_cpu_ms, inside_ms })
}

/// The journal from where its newest run started: nobody else runs meanwhile. What stood before may have been taken away.
fn newest_run(journal: &str) -> Option<&str> {
    journal.rfind("\"state\":\"RUN_STARTED\"").and_then(|at| journal.get(at..))
}

/// The sum of the numbers that follow `key`.
fn sum(text: &str, key: &str) -> f64 {
    let numbers = text.split(key).skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    numbers.filter_map(|number| number.parse::<f64>().ok()).sum()
}

/// Waits for the disk per step, as the kernel sees them.
fn barriers(bench: &Bench, short: &Workspace, long: &Workspace) -> Result<Vec<Row>, String> {
    let Some(strace) = installed("strace") else {
        return Err("strace is needed to count barriers".to_owned());
    };
    let count = |workspace: &Workspace| -> Result<Barriers, String> {
        let trace = workspace.dir.join("../trace");
        let run = workspace.run()?;
        let mut traced = Command::new(&strace);
        // what the product executes (the signer, the sandboxes) is let go: the signer refuses to be traced
        traced
            .args(["-f", "-b", "execve", "-y", "-Y", "-e", "trace=fsync,fdatasync,syncfs", "-o"])
            .arg(&trace)
            .arg(run.get_program())
            .args(run.get_args());
        traced.current_dir(&workspace.dir).stdout(Stdio::null()).stderr(Stdio::null());
        workspace.settle(&mut traced);
        let status = traced.status().map_err(|error| format!("strace: {error}"))?;
        if !status.success() {
            return Err(format!("strace: {status}"));
        }
        let text = fs::read_to_string(&trace).map_err(|error| format!("{}: {error}", trace.display()))?;
        Ok(count_barriers(&text))
    };
    let (few, many) = (count(short)?, count(long)?);
    Ok(vec![
        bench.at_most("durable barriers", (many.waited - few.waited) / STEPS_MORE, "a step", 4.0),
        Row::plain("… system calls in them (fsync, fdatasync)", (many.calls - few.calls) / STEPS_MORE, "a step"),
        Row::plain("… syncs by the log's own thread, which no step waits for", (many.aside - few.aside) / STEPS_MORE, "a step"),
    ])
}

/// What was synced.
#[derive(Default, PartialEq, Debug)]
struct Barriers {
    /// Syncs of the store that follow each other are one group, which its caller waits for once.
    waited: f64,
    calls: f64,
    /// By the thread that writes the log's files while steps run.
    aside: f64,
}

fn count_barriers(trace: &str) -> Barriers {
    let (mut found, mut in_group) = (Barriers::default(), false);
    // a call that another thread's interrupts is told in two lines
    for line in trace.lines().filter(|line| line.contains("sync") && !line.contains(" resumed>")) {
        if line.contains("<log-files>") {
            found.aside += 1.0;
            continue;
        }
        let of_store = line.contains("/.seaworthy/staging/store");
        if !(of_store && in_group) {
            found.waited += 1.0;
        }
        in_group = of_store;
        found.calls += 1.0;
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_group_of_the_store_is_one_barrier() {
        let line = |name: &str| format!("7 fsync(4</w/.seaworthy/staging/{name}>) = 0\n");
        let trace = [line("log/wal"), line("log/wal"), line("store/blobs/aa"), line("store/blobs/bb"), line("journal/journal")].concat();
        let trace = trace + "8<log-files> fsync(5</w/.seaworthy/staging/log/tile/0/000>) = 0\n";
        assert_eq!(super::count_barriers(&trace), super::Barriers { waited: 4.0, calls: 5.0, aside: 1.0 });
        let trace = "7<seaworthy> fsync(4</w/log/wal> <unfinished ...>\n7<seaworthy> <... fsync resumed>) = 0\n";
        assert_eq!(super::count_barriers(trace).waited, 1.0);
        let journal = "{\"run\":\"a\",\"state\":\"RUN_STARTED\"}{\"wall_ms\":7}{\"run\":\"b\",\"state\":\"RUN_STARTED\"}{\"wall_ms\":12}";
        assert_eq!(super::newest_run(journal).map(|new| super::sum(new, "\"wall_ms\":")), Some(12.0));
        assert_eq!(super::newest_run("{\"wall_ms\":7}"), None);
        assert_eq!(super::sum("{\"wall_ms\":12},{\"wall_ms\":3}", "\"wall_ms\":"), 15.0);
    }
}
