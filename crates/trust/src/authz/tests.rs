//! Each action with a request that is allowed and its neighbours that are not; faults; and a naive model as referee.

use proptest::prelude::*;
use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::decision::Decision;
use seaworthy_core::digest::Digest;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::principal::{Principal, PrincipalId, PrincipalKind, runner_id, step_id};

use super::*;

const USER: &str = "user:p-0123456789abcdef";

fn user() -> Principal {
    Principal { id: PrincipalId(USER.to_owned()), kind: PrincipalKind::User }
}

fn runner(environment: &str) -> Principal {
    Principal { id: runner_id("w1", environment), kind: PrincipalKind::Runner }
}

fn step(environment: &str) -> Principal {
    let run = StepRunId {
        run: RunId("r0000000000000001".to_owned()),
        workflow: Name::new("wf").unwrap(),
        step: Name::new("train").unwrap(),
        attempt: 1,
    };
    Principal { id: step_id("w1", environment, &run), kind: PrincipalKind::Step }
}

fn ask(principal: Principal, action: Action, resource: Resource, environment: &str) -> AuthorizationRequest {
    AuthorizationRequest { principal, action, resource, environment: environment.to_owned() }
}

fn name() -> String {
    "thing".to_owned()
}

fn gate(pinned: bool) -> Resource {
    Resource::Gate { name: name(), digest: Digest::of(b"gate"), pinned }
}

fn model(gated: bool) -> Resource {
    Resource::Model { name: name(), digest: Digest::of(b"model"), gated }
}

fn artifact(declared: bool, verified: bool) -> Resource {
    Resource::Artifact { name: name(), digest: Some(Digest::of(b"data")), declared, verified }
}

fn host(declared: bool) -> Resource {
    Resource::Host { name: "pypi.org".to_owned(), port: 443, declared }
}

fn body(sandboxed: bool) -> Resource {
    body_under("strict", sandboxed)
}

fn body_under(profile: &str, sandboxed: bool) -> Resource {
    Resource::Step { name: "wf/train".to_owned(), kind: "train".to_owned(), sandboxed, profile: profile.to_owned() }
}

/// The control: the request of each action that must be allowed in staging.
fn allowed(action: Action) -> AuthorizationRequest {
    let (principal, resource) = match action {
        Action::RunWorkflow | Action::CancelRun => (user(), Resource::Workflow { name: name() }),
        Action::UpdateLock => (user(), Resource::Pin { name: name() }),
        Action::RunStep => (runner("staging"), body(true)),
        Action::EvaluateGate => (runner("staging"), gate(true)),
        Action::RegisterModel | Action::PromoteModel => (runner("staging"), model(true)),
        Action::ReadArtifact => (step("staging"), artifact(true, true)),
        Action::WriteArtifact => (step("staging"), artifact(true, false)),
        Action::Connect => (step("staging"), host(true)),
        Action::ReadSecret => (step("staging"), Resource::Secret { name: name(), declared: true }),
    };
    ask(principal, action, resource, "staging")
}

/// The same request with one thing wrong, and the rule that must say so.
fn denied(action: Action) -> (AuthorizationRequest, &'static str) {
    let mut request = allowed(action);
    let rule = match action {
        Action::RunWorkflow | Action::CancelRun | Action::UpdateLock => {
            request.principal = runner("staging");
            "schema"
        }
        Action::RunStep => {
            request.resource = body(false);
            "builtin/guard-sandbox"
        }
        Action::EvaluateGate => {
            request.resource = gate(false);
            "builtin/guard-gate-pinned"
        }
        Action::RegisterModel | Action::PromoteModel => {
            request.resource = model(false);
            "builtin/guard-model-gated"
        }
        Action::ReadArtifact => {
            request.resource = artifact(true, false);
            "builtin/guard-verified"
        }
        Action::WriteArtifact => {
            request.resource = artifact(false, true);
            "builtin/guard-declared"
        }
        Action::Connect => {
            request.resource = host(false);
            "builtin/guard-egress-declared"
        }
        Action::ReadSecret => {
            request.resource = Resource::Secret { name: name(), declared: false };
            "builtin/guard-secret-declared"
        }
    };
    (request, rule)
}

fn rules(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Allow { .. } => Vec::new(),
        Decision::Deny { reasons } => {
            assert!(reasons.iter().all(|r| !r.message.is_empty() && !r.hint.is_empty() && !r.rule.is_empty()));
            reasons.iter().map(|r| r.rule.clone()).collect()
        }
    }
}

#[test]
fn every_action_has_a_deny_and_its_control() {
    let authorizer = Authorizer::builtin().unwrap();
    for action in Action::ALL {
        let control = authorizer.decide(&allowed(action));
        assert!(control.is_allow(), "{action:?}: {control:?}");
        let (request, rule) = denied(action);
        let decision = authorizer.decide(&request);
        assert_eq!(rules(&decision), [rule], "{action:?}");
    }
}

/// Without namespaces steps run in dev and staging alone; whatever is not known to have them, and any other environment, is refused.
#[test]
fn no_step_runs_without_namespaces_in_production() {
    let authorizer = Authorizer::builtin().unwrap();
    let decide =
        |profile, environment| authorizer.decide(&ask(runner(environment), Action::RunStep, body_under(profile, true), environment));
    for environment in ["prod", "production", "eu-prod"] {
        for profile in ["landlock", "", "Strict", "provision-landlock"] {
            assert_eq!(rules(&decide(profile, environment)), ["builtin/guard-profile"], "{profile} in {environment}");
        }
        for control in ["strict", "no-cgroup"] {
            assert!(decide(control, environment).is_allow(), "{control} in {environment}");
        }
    }
    for environment in ["dev", "staging"] {
        assert!(decide("landlock", environment).is_allow(), "{environment}");
    }
}

#[test]
fn an_allow_names_its_policies() {
    let decision = Authorizer::builtin().unwrap().decide(&allowed(Action::RunStep));
    assert_eq!(decision, Decision::Allow { policies: vec!["builtin/runner-runs-steps".to_owned()] });
}

#[test]
fn unknown_or_disguised_principals_are_denied() {
    let authorizer = Authorizer::builtin().unwrap();
    let forged = [
        ("", PrincipalKind::User),
        ("user:alice", PrincipalKind::User),
        ("user:p-0123456789ABCDEF", PrincipalKind::User),
        ("user:p-0123456789abcdef0", PrincipalKind::User),
        ("user:p-0123456789abcde\u{0435}", PrincipalKind::User),
        (USER, PrincipalKind::Runner),
        ("spiffe://w1.seaworthy.internal/staging/runner", PrincipalKind::User),
        ("spiffe://evil.example/staging/runner", PrincipalKind::Runner),
        ("spiffe://w1.seaworthy.internal/staging/../staging/runner", PrincipalKind::Runner),
        ("spiffe://w1.seaworthy.internal//runner", PrincipalKind::Runner),
        ("spiffe://w1.seaworthy.internal/staging/runner?x=1", PrincipalKind::Runner),
        ("spiffe://w1.seaworthy.internal/staging/run/r1/wf/train/x", PrincipalKind::Step),
    ];
    for action in Action::ALL {
        for (id, kind) in forged {
            let mut request = allowed(action);
            request.principal = Principal { id: PrincipalId(id.to_owned()), kind };
            assert_eq!(rules(&authorizer.decide(&request)), ["principal"], "{action:?} {id:?}");
        }
    }
}

#[test]
fn a_principal_of_another_environment_is_denied() {
    let authorizer = Authorizer::builtin().unwrap();
    for action in Action::ALL {
        let mut request = allowed(action);
        request.environment = "prod".to_owned();
        let decision = authorizer.decide(&request);
        if request.principal.kind == PrincipalKind::User {
            assert!(decision.is_allow());
        } else {
            assert_eq!(rules(&decision), ["builtin/guard-environment"], "{action:?}");
        }
    }
}

#[test]
fn dev_lifts_only_the_sandbox_and_the_pin() {
    let authorizer = Authorizer::builtin().unwrap();
    let lifted = [Action::RunStep, Action::EvaluateGate];
    for action in Action::ALL {
        let (mut request, _) = denied(action);
        request.environment = "dev".to_owned();
        request.principal = match request.principal.kind {
            PrincipalKind::User => user(),
            PrincipalKind::Runner => runner("dev"),
            PrincipalKind::Step => step("dev"),
        };
        assert_eq!(authorizer.decide(&request).is_allow(), lifted.contains(&action), "{action:?}");
    }
}

#[test]
fn an_erring_forbid_denies_where_cedar_alone_would_allow() {
    let faulty = r#"@id("overflow") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };"#;
    let authorizer = Authorizer::with_workspace(&[("extra", faulty)]).unwrap();
    let request = allowed(Action::RunStep);

    let (query, entities) = authorizer.build(&request).unwrap();
    let naive = authorizer.cedar.is_authorized(&query, &authorizer.policies, &entities);
    assert_eq!(naive.decision(), cedar_policy::Decision::Allow, "the control: Cedar skips the forbid");

    let Decision::Deny { reasons } = authorizer.decide(&request) else { panic!("allowed") };
    assert_eq!(reasons[0].code, "authz/policy_error");
    assert!(reasons[0].message.contains("extra/overflow"), "{}", reasons[0].message);
}

#[test]
fn a_workspace_adds_forbids_and_permits_but_lifts_no_guard() {
    let freeze = r#"@id("freeze") @hint("wait for Monday") forbid (principal, action == Action::"run_workflow", resource);"#;
    let decision = Authorizer::with_workspace(&[("team", freeze)]).unwrap().decide(&allowed(Action::RunWorkflow));
    let Decision::Deny { reasons } = decision else { panic!("allowed") };
    assert_eq!((reasons[0].rule.as_str(), reasons[0].hint.as_str()), ("team/freeze", "wait for Monday"));

    let generous = Authorizer::with_workspace(&[("team", "permit (principal, action, resource);")]).unwrap();
    for action in Action::ALL {
        assert!(!generous.decide(&denied(action).0).is_allow(), "{action:?}");
    }
}

/// A workspace may forbid a host to all steps, whatever they declare.
#[test]
fn a_workspace_forbids_a_host() {
    let policy = r#"@id("no-mirror") forbid (principal, action == Action::"connect", resource) when { resource == Host::"pypi.org" || resource.port != 443 };"#;
    let authorizer = Authorizer::with_workspace(&[("team", policy)]).unwrap();
    assert_eq!(rules(&authorizer.decide(&allowed(Action::Connect))), ["team/no-mirror"]);
    let mut other = allowed(Action::Connect);
    other.resource = Resource::Host { name: "example.org".to_owned(), port: 443, declared: true };
    assert!(authorizer.decide(&other).is_allow());
    other.resource = Resource::Host { name: "example.org".to_owned(), port: 22, declared: true };
    assert_eq!(rules(&authorizer.decide(&other)), ["team/no-mirror"]);
}

#[test]
fn without_a_permit_nothing_is_allowed() {
    let only = r#"@id("pins") permit (principal is User, action == Action::"update_lock", resource is Pin);"#;
    let authorizer = Authorizer::new(SCHEMA, &[("only", only)]).unwrap();
    for action in Action::ALL {
        let decision = authorizer.decide(&allowed(action));
        if action == Action::UpdateLock {
            assert!(decision.is_allow());
        } else {
            assert_eq!(rules(&decision), ["default-deny"]);
        }
    }
}

#[test]
fn faulty_policies_are_not_loaded() {
    let cases = [
        ("permit (principal, action, resource) when { resource.sandbxed };", "authz/policy_invalid"),
        (r#"forbid (principal, action == Action::"run_setp", resource);"#, "authz/policy_invalid"),
        (r#"forbid (principal, action == Action::"run_step", resource) when { resource.kind == 3 };"#, "authz/policy_invalid"),
        ("permit (principal, action, resource)", "authz/policy_syntax"),
        ("permit (principal == ?principal, action, resource);", "authz/policy_template"),
        (r#"@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);"#, "authz/policy_id"),
    ];
    for (text, code) in cases {
        let error = Authorizer::with_workspace(&[("extra", text)]).err().unwrap_or_else(|| panic!("loaded: {text}"));
        assert_eq!(error.code(), code, "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    assert_eq!(Authorizer::new(SCHEMA, &[]).err(), Some(AuthzLoadError::Empty));
}

/// What the default policies mean, written a second time in the plainest way.
fn naive(request: &AuthorizationRequest) -> bool {
    let place = request.environment.as_str();
    let kind = request.principal.kind;
    let known = match kind {
        PrincipalKind::User => request.principal == user(),
        PrincipalKind::Runner => request.principal == runner(place),
        PrincipalKind::Step => request.principal == step(place),
    };
    if !known || place.is_empty() {
        return false;
    }
    let dev = place == "dev";
    match (kind, request.action, &request.resource) {
        (PrincipalKind::User, Action::RunWorkflow | Action::CancelRun, Resource::Workflow { .. })
        | (PrincipalKind::User, Action::UpdateLock, Resource::Pin { .. }) => true,
        (PrincipalKind::Runner, Action::RunStep, Resource::Step { sandboxed, profile, .. }) => {
            let has_namespaces = ["strict", "no-cgroup", "network", "network-no-cgroup", "gpu"].contains(&profile.as_str());
            (dev || *sandboxed) && (has_namespaces || dev || place == "staging")
        }
        (PrincipalKind::Runner, Action::EvaluateGate, Resource::Gate { pinned, .. }) => dev || *pinned,
        (PrincipalKind::Runner, Action::RegisterModel | Action::PromoteModel, Resource::Model { gated, .. }) => *gated,
        (PrincipalKind::Step, Action::ReadArtifact, Resource::Artifact { declared, verified, .. }) => *declared && *verified,
        (PrincipalKind::Step, Action::WriteArtifact, Resource::Artifact { declared, .. })
        | (PrincipalKind::Step, Action::Connect, Resource::Host { declared, .. })
        | (PrincipalKind::Step, Action::ReadSecret, Resource::Secret { declared, .. }) => *declared,
        _ => false,
    }
}

fn any_principal() -> impl Strategy<Value = Principal> {
    let ids = prop_oneof![
        3 => Just(user()),
        3 => prop::sample::select(vec!["dev", "staging", "prod"]).prop_map(runner),
        3 => prop::sample::select(vec!["dev", "staging", "prod"]).prop_map(step),
        1 => ".{0,40}".prop_map(|id| Principal { id: PrincipalId(id), kind: PrincipalKind::User }),
    ];
    let kinds = prop::sample::select(vec![PrincipalKind::User, PrincipalKind::Runner, PrincipalKind::Step]);
    (ids, kinds, prop::bool::weighted(0.1)).prop_map(|(mut principal, kind, disguise)| {
        if disguise {
            principal.kind = kind;
        }
        principal
    })
}

fn any_resource() -> impl Strategy<Value = Resource> {
    (0_u8..8, any::<bool>(), any::<bool>(), ".{0,12}").prop_map(|(which, a, b, name)| match which {
        0 => Resource::Workflow { name },
        1 => body_under(if b { "strict" } else { "landlock" }, a),
        2 => Resource::Artifact { name, digest: b.then(|| Digest::of(b"x")), declared: a, verified: b },
        3 => Resource::Gate { name, digest: Digest::of(b"x"), pinned: a },
        4 => Resource::Model { name, digest: Digest::of(b"x"), gated: a },
        5 => Resource::Pin { name },
        6 => Resource::Host { name, port: 443, declared: a },
        _ => Resource::Secret { name, declared: a },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn agrees_with_the_naive_model(
        principal in any_principal(),
        action in prop::sample::select(Action::ALL.to_vec()),
        resource in any_resource(),
        place in prop::sample::select(vec!["dev", "staging", "prod", ""]),
        repaired in any::<bool>(),
    ) {
        thread_local!(static AUTHORIZER: Authorizer = Authorizer::builtin().unwrap());
        let mut request = ask(principal, action, resource, place);
        if repaired {
            // half of the requests fit their action, so that allows are compared too
            let fitting = allowed(action);
            if std::mem::discriminant(&fitting.resource) != std::mem::discriminant(&request.resource) {
                request.resource = fitting.resource;
            }
            request.principal = match fitting.principal.kind {
                PrincipalKind::User => user(),
                PrincipalKind::Runner => runner(place),
                PrincipalKind::Step => step(place),
            };
        }
        let decided = AUTHORIZER.with(|authorizer| authorizer.decide(&request).is_allow());
        prop_assert_eq!(decided, naive(&request));
    }
}

/// The guide's example policy loads and denies.
#[test]
fn the_policy_of_the_guide_loads() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/concepts/authorization.md");
    let page = std::fs::read_to_string(page).unwrap();
    let policy = page.split("```cedar\n").nth(1).unwrap().split("```").next().unwrap();
    let authorizer = Authorizer::with_workspace(&[("team", policy)]).unwrap();
    let mut request = allowed(Action::RunWorkflow);
    assert!(authorizer.decide(&request).is_allow());
    request.environment = "prod".to_owned();
    assert_eq!(rules(&authorizer.decide(&request)), ["team/freeze"]);
}

/// `cargo test -p seaworthy-trust -- --ignored --nocapture authorization_time` prints the figure.
#[test]
#[ignore = "a measurement"]
fn authorization_time() {
    let authorizer = Authorizer::builtin().unwrap();
    let request = allowed(Action::ReadArtifact);
    let mut times: Vec<u128> = (0..2_000)
        .map(|_| {
            let start = std::time::Instant::now();
            assert!(authorizer.decide(&request).is_allow());
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    println!("authorize: p50 {} us, p99 {} us", times[1_000], times[1_980]);
}
