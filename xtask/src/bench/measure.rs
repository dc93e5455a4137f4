//! A command's wall time, processor time and memory.
//!
//! in: a command; out: [`Measured`].
//! **Invariant:** processor time is that of the whole tree of processes: the kernel's account of reaped children.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The kernel counts reaped processor time in this unit (USER_HZ is 100 on every Linux).
const TICK_MS: f64 = 10.0;
/// How often the peak of memory is read.
const MEMORY_PERIOD: Duration = Duration::from_millis(2);

/// What a command cost. `cpu_ms` of one command is exact to a tick; the mean over several to much less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) wall_ms: f64,
    pub(super) cpu_ms: f64,
}

/// Runs a command, which must succeed.
pub(super) fn timed(command: &mut Command) -> Result<Measured, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (start, before) = (Instant::now(), children_cpu_ms()?);
    let output = command.output().map_err(|error| format!("`{command:?}` cannot be started: {error}"))?;
    let measured = Measured { wall_ms: start.elapsed().as_secs_f64() * 1e3, cpu_ms: children_cpu_ms()? - before };
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(format!("`{command:?}` failed: {}: {}", output.status, String::from_utf8_lossy(&said)));
    }
    Ok(measured)
}

/// Runs a command, which must succeed, and returns the peak of its own resident memory in MB (without its children's).
pub(super) fn peak_memory_mb(command: &mut Command) -> Result<f64, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("`{command:?}` cannot be started: {error}"))?;
    let (path, ended) = (format!("/proc/{}/status", child.id()), AtomicBool::new(false));
    let watch = || {
        let mut peak = 0.0_f64;
        while !ended.load(Ordering::Acquire) {
            // a process that is just gone has no status any more
            peak = peak.max(std::fs::read_to_string(&path).ok().and_then(|text| high_water_mb(&text)).unwrap_or(0.0));
            std::thread::sleep(MEMORY_PERIOD);
        }
        peak
    };
    let (status, peak) = std::thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let status = child.wait();
        ended.store(true, Ordering::Release);
        (status, watcher.join().unwrap_or(0.0))
    });
    match status {
        Ok(status) if status.success() && peak > 0.0 => Ok(peak),
        Ok(status) => Err(format!("`{command:?}`: {status}, memory {peak} MB")),
        Err(error) => Err(format!("`{command:?}` was lost: {error}")),
    }
}

fn high_water_mb(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
}

/// Processor time of all children that this process has waited for, and of theirs.
fn children_cpu_ms() -> Result<f64, String> {
    let text = std::fs::read_to_string("/proc/self/stat").map_err(|error| format!("/proc/self/stat: {error}"))?;
    children_ticks(&text).map(|ticks| ticks * TICK_MS).ok_or_else(|| "/proc/self/stat cannot be read".to_owned())
}

fn children_ticks(stat: &str) -> Option<f64> {
    // the name in parentheses may hold spaces
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The middle one.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Their mean: for processor time, whose ticks are too coarse for a median.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 30 12 20 0 1 0";
        assert_eq!(super::children_ticks(stat), Some(42.0));
        assert_eq!(super::high_water_mb("Name:\tx\nVmHWM:\t   50000 kB\n"), Some(51.2));
        assert_eq!(super::median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::mean([1.0, 2.0]), 1.5);
    }
}
