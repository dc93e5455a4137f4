//! `seaworthy sandbox selftest`: the numbered attacks, tried by this very program on this machine.

use seaworthy_sandbox::attack::battery::{self, Battery, Report, Try};
use seaworthy_sandbox::attack::verdict::Verdict;
use seaworthy_sandbox::profile::LAYERS;
use seaworthy_sandbox::{Profile, preflight};
use serde_json::json;

use super::profile;
use crate::failure::{DENIED, Failure};
use crate::render;
use crate::settings::Settings;

pub(super) fn run(settings: &Settings, name: Option<&str>) -> Result<u8, Failure> {
    let profile = match name {
        Some(name) => profile(name)?,
        None => strictest()?,
    };
    preflight(profile).map_err(|e| Failure::configuration(e.code(), e.to_string(), e.hint()))?;
    let program = std::env::current_exe().map_err(|e| Failure::internal("sandbox/selftest", e))?;
    render::note(&format!("65 attacks against profile `{profile}`: each is tried in a sandbox and, where that harms nobody, without one"));
    let report = battery::run(&Battery { program, prefix: Vec::new(), profile }).map_err(|e| {
        Failure::configuration("sandbox/selftest", e.to_string(), "`seaworthy sandbox explain` says what this machine lacks")
    })?;
    let broken: Vec<u8> = report.broken().map(|tried| tried.number).collect();
    if settings.json {
        render::json(&json!({"report": report, "broken": broken}));
    } else {
        page(&report);
    }
    Ok(if broken.is_empty() { 0 } else { DENIED })
}

/// The strictest profile for steps that this machine can have.
fn strictest() -> Result<Profile, Failure> {
    let first = match preflight(Profile::Strict) {
        Ok(_) => return Ok(Profile::Strict),
        Err(unsupported) => unsupported,
    };
    let plain = [Profile::NoCgroup, Profile::Landlock];
    let next = LAYERS.iter().map(|row| row.profile).find(|profile| plain.contains(profile) && preflight(*profile).is_ok());
    let next = next.ok_or_else(|| Failure::configuration(first.code(), first.to_string(), first.hint()))?;
    render::note(&format!("`{next}`, because {first}"));
    Ok(next)
}

fn page(report: &Report) {
    for tried in &report.attacks {
        let claimed = match (&tried.verdict, tried.not_claimed) {
            (Verdict::Allowed(_), Some(why)) => format!(" [known: {why}]"),
            (Verdict::Allowed(_), None) => " [BROKEN: the profile claims to stop it]".to_owned(),
            (Verdict::Blocked(_), _) => unshown(&tried.tries),
            (Verdict::Inconclusive(_), _) => String::new(),
        };
        render::line(&format!("{:>2} {:<12} {}{claimed}", tried.number, word(&tried.verdict), tried.title));
        for one in tried.tries.iter().filter(|one| word(&one.inside) != "blocked") {
            render::line(&format!("     {}: {} {}", one.attack, word(&one.inside), one.inside.reason()));
        }
    }
    let [blocked, allowed, inconclusive] = report.counts();
    let works = |one: &&Try| matches!(one.outside, Some(Verdict::Allowed(_)));
    let shown = report.attacks.iter().filter(|tried| tried.tries.iter().any(|one| works(&one))).count();
    render::line(&format!(
        "profile {} on Linux {}, Landlock {}: {blocked} blocked, {allowed} allowed, {inconclusive} inconclusive; {shown} were seen to work without the sandbox",
        report.profile, report.kernel, report.landlock_abi
    ));
}

/// What blocked says nothing about: an attack that came to nothing without the sandbox, too.
fn unshown(tries: &[Try]) -> String {
    if tries.iter().any(|one| matches!(one.outside, Some(Verdict::Allowed(_)))) {
        return String::new();
    }
    match tries.iter().find_map(|one| one.outside.as_ref().map(|outside| (outside, one.note))) {
        Some((_, Some(note))) => format!(" [came to nothing without the sandbox: {note}]"),
        Some((outside, None)) => format!(" [came to nothing without the sandbox: {}]", outside.reason()),
        None => " [tried in the sandbox alone]".to_owned(),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Blocked(_) => "blocked",
        Verdict::Allowed(_) => "allowed",
        Verdict::Inconclusive(_) => "inconclusive",
    }
}
