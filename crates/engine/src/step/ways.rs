//! What a step's body reaches besides files: declared hosts, through the proxy, and secrets.
//!
//! in: an authorized step; out: its body run with both, what went through the proxy.
//! **Invariant:** every connection is decided by Cedar and recorded before it is made; what could not be recorded fails the step.
//! **Invariant:** an artifact never holds a secret of the step that made it.

use std::io::{Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use seaworthy_core::action::{Action, AuthorizationRequest, Resource};
use seaworthy_core::decision::Decision;
use seaworthy_core::egress::Destination;
use seaworthy_core::event::EventKind;
use seaworthy_core::limits;
use seaworthy_core::plan::PlannedStep;
use seaworthy_core::workflow::model::Step;
use seaworthy_sandbox::{CollectedOutput, Outcome, Redactor, SECRETS_FOLDER, SandboxError, Secret, Spec};

use crate::egress::{Arbiter, Attempt, Bounds, Closed, Proxy, Refusal, Traffic, not_declared};
use crate::error::EngineError;
use crate::progress::StepState;
use crate::secrets;
use crate::step::BodyContext;

/// Name and value of the variables by which a step finds its ways.
pub(crate) fn variables(step: &Step) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    if !step.egress.is_empty() {
        variables.extend(["HTTPS_PROXY", "https_proxy"].map(|name| (name, seaworthy_sandbox::proxy_url())));
    }
    if !step.secrets.is_empty() {
        variables.push(("SEAWORTHY_SECRETS", SECRETS_FOLDER.to_owned()));
    }
    variables
}

/// The destinations that a step declares.
pub(crate) fn destinations(step: &Step) -> Result<Vec<Destination>, EngineError> {
    let read = |text: &String| {
        Destination::parse(text).map_err(|e| EngineError::configuration("egress/destination", format!("`{text}`: {e}"), e.hint))
    };
    step.egress.iter().map(read).collect()
}

/// The ways of one step.
pub(crate) struct Ways<'a> {
    context: &'a BodyContext<'a>,
    destinations: Vec<Destination>,
    bounds: Bounds,
    secrets: Vec<Secret>,
}

impl<'a> Ways<'a> {
    pub(crate) fn of(context: &'a BodyContext<'a>, planned: &PlannedStep) -> Result<Self, EngineError> {
        let step = &planned.step;
        let most = Bounds::default();
        let lowered = |wanted: Option<u64>, most: u64| wanted.unwrap_or(most).min(most);
        let bounds =
            Bounds { sent: lowered(step.resources.sent_bytes, most.sent), received: lowered(step.resources.received_bytes, most.received) };
        Ok(Self { context, destinations: destinations(step)?, bounds, secrets: secrets::of_step(context.run, planned)? })
    }

    /// Runs the body. The traffic is there if the step declares hosts.
    pub(crate) fn run(
        &self,
        mut spec: Spec,
        planned: &PlannedStep,
    ) -> Result<(Result<Outcome, SandboxError>, Option<Traffic>), EngineError> {
        let (cancel, launcher) = (&self.context.run.cancel, &self.context.engine.ports.launcher);
        let secrets = self.secrets.as_slice();
        spec.env.extend(variables(&planned.step).into_iter().map(|(name, value)| (name.to_owned(), value)));
        if self.destinations.is_empty() {
            let ways = seaworthy_sandbox::Ways { secrets, ..seaworthy_sandbox::Ways::default() };
            return Ok((launcher.launch(self.context.id, spec, ways, cancel), None));
        }
        spec.profile = spec.profile.for_egress().ok_or_else(|| {
            let message = format!(
                "step `{}` declares hosts, and the profile `{}` has no empty network to lead out of",
                planned.step.name, spec.profile
            );
            EngineError::configuration("sandbox/unsupported", message, "--profile strict or no-cgroup, or a step without `egress`")
        })?;
        let record = Record::of(self.context);
        let proxy = Proxy::new(self.destinations.clone(), &record, self.bounds).map_err(|e| EngineError::internal("egress/proxy", e))?;
        let (outcome, traffic) = proxy.serve(|door| {
            let ways = seaworthy_sandbox::Ways { secrets, door: Some(door), ..seaworthy_sandbox::Ways::default() };
            launcher.launch(self.context.id, spec, ways, cancel)
        });
        drop(proxy);
        record.into_fault()?;
        Ok((outcome, Some(traffic)))
    }

    /// Refuses outputs that hold a secret: an artifact is kept, shared and exported, and cannot be taken back.
    pub(crate) fn refuse_secrets(&self, step: &Step, outputs: &mut [CollectedOutput]) -> Result<(), EngineError> {
        if self.secrets.is_empty() {
            return Ok(());
        }
        let redactor = Redactor::new(&self.secrets);
        let failed = |e: std::io::Error| EngineError::internal("step/output", e);
        let refuse = |output: &str, secret: &str| {
            let message = format!("`{}` wrote the secret `{secret}` into output `{output}`", step.name);
            Err(EngineError::body("secrets/in-output", message, "write results without it; nothing of this output was kept"))
        };
        for output in outputs {
            for file in &mut output.files {
                if let Some(secret) = redactor.search(file.path.as_bytes()).map_err(failed)? {
                    return refuse(&output.name, secret);
                }
                file.file.seek(SeekFrom::Start(0)).map_err(failed)?;
                if let Some(secret) = redactor.search(&file.file).map_err(failed)? {
                    return refuse(&output.name, secret);
                }
                file.file.seek(SeekFrom::Start(0)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Decides by Cedar, and writes to the log what it decided and what came of it.
struct Record<'a> {
    context: &'a BodyContext<'a>,
    denials: AtomicU32,
    fault: Mutex<Option<EngineError>>,
}

impl<'a> Record<'a> {
    const fn of(context: &'a BodyContext<'a>) -> Self {
        Self { context, denials: AtomicU32::new(0), fault: Mutex::new(None) }
    }

    /// Appends events of the step durably; what fails is remembered, and fails the step.
    fn write(&self, kinds: Vec<EventKind>) -> Result<(), Refusal> {
        let engine = self.context.engine;
        let principal = engine.step_principal(self.context.id).id;
        let leaves: Vec<_> = kinds.into_iter().map(|kind| engine.event(&principal, kind)).collect();
        engine.record(&leaves).map(drop).map_err(|error| {
            if let Ok(mut fault) = self.fault.lock() {
                fault.get_or_insert(error);
            }
            Refusal::new("egress/unrecorded", "the connection could not be recorded")
        })
    }

    fn into_fault(self) -> Result<(), EngineError> {
        match self.fault.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(EngineError::internal("engine/poisoned", "a thread died holding the record of connections")),
        }
    }

    fn is_lost(&self) -> bool {
        self.fault.lock().map_or(true, |fault| fault.is_some())
    }
}

impl Arbiter for Record<'_> {
    fn decide(&self, attempt: &Attempt) -> Result<(), Refusal> {
        if self.is_lost() {
            return Err(Refusal::new("egress/unrecorded", "an earlier connection could not be recorded"));
        }
        let engine = self.context.engine;
        let resource = resource(&attempt.to, attempt.is_declared);
        let request = AuthorizationRequest {
            principal: engine.step_principal(self.context.id),
            action: Action::Connect,
            resource: resource.clone(),
            environment: engine.settings.environment.clone(),
        };
        let decision = engine.authorizer.decide(&request);
        let refusal = match &decision {
            Decision::Allow { .. } => None,
            Decision::Deny { .. } if !attempt.is_declared => Some(not_declared(attempt)),
            Decision::Deny { reasons } => {
                let why = reasons.first().map_or("nothing permits it", |reason| reason.message.as_str());
                Some(Refusal::new("authz/denied", format!("`{}`: {why}", attempt.to)))
            }
        };
        let decided = EventKind::AuthorizationDecided { step: Some(self.context.id.clone()), action: Action::Connect, resource, decision };
        match refusal {
            None => self.write(vec![decided]),
            Some(refusal) => {
                // those beyond the bound are counted
                if self.denials.fetch_add(1, Ordering::SeqCst) < limits::EGRESS_DENIALS_MAX {
                    self.write(vec![decided])?;
                }
                Err(refusal)
            }
        }
    }

    fn allowed(&self, attempt: &Attempt, addresses: &[SocketAddr]) -> Result<(), Refusal> {
        self.write(vec![EventKind::EgressAllowed {
            step: self.context.id.clone(),
            connection: attempt.connection,
            host: attempt.to.host.to_string(),
            port: attempt.to.port,
            addresses: addresses.iter().map(|address| address.ip().to_string()).collect(),
        }])
    }

    fn denied(&self, connection: u32, attempt: Option<&Attempt>, refusal: &Refusal) {
        let outline = |attempt: &Attempt| if attempt.is_declared { attempt.to.host.to_string() } else { attempt.to.host.outline() };
        let told = EventKind::EgressDenied {
            step: self.context.id.clone(),
            connection: Some(connection),
            host: attempt.map(outline),
            port: attempt.map(|attempt| attempt.to.port),
            reason: refusal.code.to_owned(),
            count: 1,
        };
        // what could not be written is remembered and fails the step
        let _ = self.write(vec![told]);
        self.context.run.tell(self.context.id, StepState::Running, &format!("[{}] {}", refusal.code, refusal.message));
    }

    fn denied_more(&self, count: u64) {
        let step = self.context.id.clone();
        let reason = "egress/too-many-denials".to_owned();
        // as above
        let _ = self.write(vec![EventKind::EgressDenied { step, connection: None, host: None, port: None, reason, count }]);
    }

    fn closed(&self, closed: &Closed) {
        let Closed { connection, sent, received, ended } = *closed;
        let step = self.context.id.clone();
        // as above
        let _ = self.write(vec![EventKind::EgressClosed { step, connection, sent, received, ended: ended.to_owned() }]);
    }
}

/// A destination as what is asked about; of one that a program made up no more than its outline.
pub(crate) fn resource(to: &Destination, declared: bool) -> Resource {
    let name = if declared { to.host.to_string() } else { to.host.outline() };
    Resource::Host { name, port: to.port, declared }
}
