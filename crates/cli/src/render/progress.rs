//! Progress of a run: a live line a step on a terminal, plain lines or JSON events elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use seaworthy_engine::progress::{Progress, StepState, StepUpdate};
use serde_json::json;

use crate::render;
use crate::settings::Settings;

/// The watcher that fits the settings.
pub(crate) fn progress(settings: &Settings) -> Box<dyn Progress> {
    if settings.json {
        Box::new(Events)
    } else if settings.terminal {
        Box::new(Live::default())
    } else {
        Box::new(Lines)
    }
}

/// One JSON object a line on stdout.
struct Events;

impl Progress for Events {
    fn run_started(&self, run: &str, steps: &[String]) {
        render::json_line(&json!({"event": "run_started", "run": run, "steps": steps}));
    }

    fn step(&self, update: &StepUpdate) {
        render::json_line(&json!({"event": "step", "update": update}));
    }
}

/// Plain lines on stderr.
struct Lines;

impl Progress for Lines {
    fn run_started(&self, run: &str, steps: &[String]) {
        render::note(&format!("run {run}: {}", steps.join(" → ")));
    }

    fn step(&self, update: &StepUpdate) {
        render::note(&describe(update));
    }
}

fn describe(update: &StepUpdate) -> String {
    let seconds = Duration::from_millis(update.elapsed_ms).as_secs_f64();
    format!("{seconds:>7.2}s  {:<20} {}", update.step, progress_of(update))
}

/// A fault is told once, with its hint, when the run has ended: here its code stands for it.
fn progress_of(update: &StepUpdate) -> String {
    let said = update.code.as_ref().map_or_else(|| update.detail.clone(), |code| format!("[{code}]"));
    format!("{:<11} {}", state_name(update.state), render::clean(&said))
}

const fn state_name(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Authorizing => "authorizing",
        StepState::Running => "running",
        StepState::Attesting => "attesting",
        StepState::Committed => "committed",
        StepState::Reused => "reused",
        StepState::Denied => "DENIED",
        StepState::Failed => "FAILED",
        StepState::TimedOut => "TIMED OUT",
        StepState::Cancelled => "cancelled",
        StepState::Skipped => "skipped",
    }
}

/// A live line a step.
#[derive(Default)]
struct Live {
    all: MultiProgress,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Progress for Live {
    fn run_started(&self, run: &str, steps: &[String]) {
        drop(self.all.println(format!("run {run}")));
        let Ok(mut bars) = self.bars.lock() else { return };
        for step in steps {
            let bar = self.all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:<20} {msg:.dim} {elapsed:>4.dim}") {
                bar.set_style(style);
            }
            bar.set_prefix(step.clone());
            bar.set_message("waiting");
            bars.insert(step.clone(), bar);
        }
    }

    fn step(&self, update: &StepUpdate) {
        let Ok(bars) = self.bars.lock() else { return };
        let Some(bar) = bars.get(&update.step) else { return };
        let message = progress_of(update);
        match update.state {
            StepState::Authorizing => {
                bar.reset_elapsed();
                bar.enable_steady_tick(Duration::from_millis(120));
                bar.set_message(message);
            }
            StepState::Waiting | StepState::Running | StepState::Attesting => bar.set_message(message),
            _ => bar.finish_with_message(message),
        }
    }
}
