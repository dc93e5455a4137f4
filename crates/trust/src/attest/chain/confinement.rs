//! How a step was confined, as its provenance says.
//!
//! in: the report of the sandbox in a provenance; out: one line of evidence, or why this environment takes no such step.
//! **Invariant:** what the sandbox could not stop is shown; outside dev and staging nothing that ran without namespaces holds.

use serde_json::Value;

use super::report::Evidence;

/// Environments that take steps without namespaces: the ones that the built-in policy `guard-profile` names.
const LENIENT: [&str; 2] = ["dev", "staging"];

/// One line about how a step was confined, nothing for a step that ran no program; or why `environment` takes no such step.
pub(crate) fn judge(sandbox: &Value, ran_program: bool, environment: &str) -> Result<Option<Evidence>, String> {
    match Confinement::of(sandbox) {
        Some(confinement) => confinement.refused_in(environment).map_or_else(|| Ok(Some(confinement.evidence())), Err),
        // what is missing is a fault, not a default
        None if ran_program && !LENIENT.contains(&environment) => {
            Err(format!("it does not say how its program was confined, which environment `{environment}` demands"))
        }
        None => Ok(None),
    }
}

/// What a sandbox enforced on a step's body; none if no program ran.
struct Confinement<'a> {
    profile: &'a str,
    namespaces: usize,
    not_stopped: Vec<u64>,
}

impl<'a> Confinement<'a> {
    fn of(sandbox: &'a Value) -> Option<Self> {
        let enforced = sandbox.get("process")?.get("enforced")?;
        let listed = |key| enforced.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            profile: enforced.get("profile").and_then(Value::as_str).unwrap_or("unknown"),
            namespaces: listed("namespaces").len(),
            not_stopped: listed("not_stopped").iter().filter_map(Value::as_u64).collect(),
        })
    }

    /// Why `environment` takes no step that was confined so.
    fn refused_in(&self, environment: &str) -> Option<String> {
        let refused = self.namespaces == 0 && !LENIENT.contains(&environment);
        refused.then(|| {
            format!("it ran under profile `{}`, without namespaces, which environment `{environment}` does not take", self.profile)
        })
    }

    /// The profile, and the numbered attacks that were open.
    fn evidence(&self) -> Evidence {
        if self.not_stopped.is_empty() {
            return Evidence::ok("sandbox", format!("profile {}", self.profile));
        }
        let numbers: Vec<String> = self.not_stopped.iter().map(ToString::to_string).collect();
        let detail = format!("profile {}: attacks {} were not stopped (`seaworthy sandbox explain`)", self.profile, numbers.join(", "));
        Evidence::warn("sandbox", detail)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::Status;
    use super::*;

    fn report(profile: &str, namespaces: &[&str], not_stopped: &[u8]) -> Value {
        let enforced = json!({"profile": profile, "namespaces": namespaces, "not_stopped": not_stopped});
        json!({"body_attempt": 1, "process": {"enforced": enforced, "usage": {}}})
    }

    #[test]
    fn production_takes_no_step_without_namespaces() {
        let (weak, strict) = (report("landlock", &[], &[6, 50]), report("strict", &["user", "mount"], &[]));
        // a report that leaves its profile out, or lies about it, is judged by the namespaces
        let liar = report("strict", &[], &[]);
        for (sandbox, environment, refused) in [
            (&weak, "prod", true),
            (&weak, "production", true),
            (&liar, "prod", true),
            (&weak, "staging", false),
            (&weak, "dev", false),
            (&strict, "prod", false),
        ] {
            assert_eq!(Confinement::of(sandbox).unwrap().refused_in(environment).is_some(), refused, "{environment}: {sandbox}");
        }
    }

    /// The control: the same silence of a step that ran nothing, and where the environment takes every profile.
    #[test]
    fn a_program_without_a_report_is_refused_outside_dev_and_staging() {
        let workers = json!({"body_attempt": 1, "process": {"workers": {"landlock": 7}}});
        for silent in [Value::Null, json!({"body_attempt": 1, "process": null}), workers] {
            assert!(judge(&silent, true, "prod").is_err_and(|why| why.contains("does not say")), "{silent}");
            assert!(judge(&silent, false, "prod").is_ok_and(|line| line.is_none()), "{silent}");
            assert!(judge(&silent, true, "staging").is_ok(), "{silent}");
        }
        assert!(judge(&report("strict", &["user"], &[]), true, "prod").is_ok_and(|line| line.is_some()));
    }

    #[test]
    fn what_was_open_is_shown() {
        let weak = report("landlock", &[], &[6, 50]);
        let shown = Confinement::of(&weak).unwrap().evidence();
        assert_eq!(shown.status, Status::Warn);
        assert!(shown.detail.contains("landlock: attacks 6, 50 were not stopped"), "{}", shown.detail);
        let strict = report("strict", &["user"], &[]);
        assert_eq!(Confinement::of(&strict).unwrap().evidence().status, Status::Ok);
        // a step whose body was no program has nothing to show
        assert!(Confinement::of(&json!({"body_attempt": 1, "process": null})).is_none());
    }
}
