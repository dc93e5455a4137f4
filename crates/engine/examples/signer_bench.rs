//! Measures signatures: in this process, and by the signer's process, one after another and from several threads.
//!
//! in: the binary, the XDG configuration folder with keys, workspace id, environment, how many signatures; out: one flat line of JSON.
//! Run with `cargo run --release -p seaworthy-engine --example signer_bench -- BINARY CONFIG ID ENVIRONMENT [COUNT]`.
#![expect(clippy::print_stdout, reason = "an example prints its figures")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use seaworthy_core::attestation::blob;
use seaworthy_core::attestation::provenance::{BuildType, ExternalParameters, InternalParameters, Provenance, WorkflowDigest, WorkflowRef};
use seaworthy_core::attestation::time::Timestamp;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::Statement;
use seaworthy_core::id::{Name, RunId, StepRunId};
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, Signer};
use seaworthy_core::principal::runner_id;
use seaworthy_engine::signer::{Expected, ProcessSigner, SignerPlace};
use seaworthy_trust::keys::{LocalSigner, PrivateKey, PublicKey};
use serde_json::json;

const THREADS: u32 = 4;
const ROUNDS: usize = 5;

fn step() -> Result<StepRunId, Box<dyn Error>> {
    Ok(StepRunId { run: RunId("r0192f00000000000".to_owned()), workflow: Name::new("bench")?, step: Name::new("train")?, attempt: 1 })
}

/// Provenance as a step has it: eight inputs, an environment, parameters.
fn statement(builder: String, number: u32) -> Result<Statement, Box<dyn Error>> {
    let digest = Digest::of(&number.to_be_bytes());
    let workflow = WorkflowRef { uri: "workflow.yaml".to_owned(), digest: WorkflowDigest { sha256: digest } };
    let provenance = Provenance {
        build_type: BuildType::Step,
        external: ExternalParameters { workflow, step: "bench/train".to_owned(), params: json!({"epochs": 3, "rate": 0.01}) },
        internal: InternalParameters {
            sandbox: json!({"profile": "strict", "namespaces": ["user", "mount", "pid", "ipc", "uts", "cgroup", "net"], "landlock_abi": 7}),
            environment_variables: json!(["PATH", "HOME", "SEAWORTHY_INPUTS", "SEAWORTHY_OUTPUTS"]),
            seed: Some(7),
            device: None,
            code_integrity: None,
        },
        dependencies: (0..8).map(|input| blob(&format!("input-{input}/raw"), &digest)).collect(),
        builder,
        invocation: step()?,
        started: Timestamp(1),
        finished: Timestamp(2),
        byproducts: vec![],
    };
    Ok(provenance.statement(vec![blob("train/out", &digest)]))
}

/// Signs all; the time of each, sorted.
fn one_after_another(signer: &dyn Signer, statements: &[Statement]) -> Result<Vec<Duration>, Box<dyn Error>> {
    let step = step()?;
    let mut times = Vec::with_capacity(statements.len());
    for statement in statements {
        let begun = Instant::now();
        signer.attest(&AttestRequest { role: KeyRole::Runner, statement, step: Some(&step) })?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times)
}

fn at_once(signer: &dyn Signer, statements: &[Statement]) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let failed = thread::scope(|scope| {
        let each = |_| scope.spawn(|| one_after_another(signer, statements).is_err());
        let threads: Vec<_> = (0..THREADS).map(each).collect();
        threads.into_iter().any(|thread| thread.join().unwrap_or(true))
    });
    if failed { Err("a signature failed".into()) } else { Ok(rate(statements.len() * 4, begun.elapsed())) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench are small")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn open(binary: &str, config: &str, id: &str, environment: &str) -> Result<ProcessSigner, Box<dyn Error>> {
    let folder = Path::new(config).join("seaworthy").join(id).join(environment).join("keys");
    let mut keys = BTreeMap::new();
    for (role, name) in [(KeyRole::User, "user"), (KeyRole::Runner, "runner"), (KeyRole::Log, "log")] {
        let pem = std::fs::read_to_string(folder.join(format!("{name}.pub.pem")))?;
        keys.insert(role, PublicKey::from_pem(&pem)?.to_der()?);
    }
    let arguments = [environment, id].map(OsString::from).to_vec();
    let variables = vec![("XDG_CONFIG_HOME".into(), config.into())];
    let place = SignerPlace::Program { path: binary.into(), arguments, environment: variables, asks: false };
    Ok(ProcessSigner::open(place, Expected { origin: format!("{id}.seaworthy.internal/{environment}/log"), keys })?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (binary, config, id, environment, count) = match given.as_slice() {
        [binary, config, id, environment] => (binary, config, id, environment, 1_000),
        [binary, config, id, environment, count] => (binary, config, id, environment, count.parse()?),
        _ => return Err("usage: signer_bench BINARY CONFIG ID ENVIRONMENT [COUNT]".into()),
    };
    let runner = runner_id(id, environment);
    let statements = (0..count).map(|number| statement(runner.0.clone(), number)).collect::<Result<Vec<_>, _>>()?;
    let origin = format!("{id}.seaworthy.internal/{environment}/log");
    let local = LocalSigner::new(origin.clone(), runner).with_key(KeyRole::Runner, PrivateKey::generate(KeyRole::Runner)?)?;
    let begun = Instant::now();
    let process = open(binary, config, id, environment)?;
    let start_ms = begun.elapsed().as_secs_f64() * 1e3;
    let middle = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e6;
    let (mut within, mut beyond, mut many, mut within_us, mut beyond_us) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let times = one_after_another(&local, &statements)?;
        within.push(rate(times.len(), times.iter().sum()));
        within_us.push(middle(&times));
        let times = one_after_another(&process, &statements)?;
        beyond.push(rate(times.len(), times.iter().sum()));
        beyond_us.push(middle(&times));
        many.push(at_once(&process, &statements)?);
    }
    let begun = Instant::now();
    for size in 1..=u64::from(count) {
        process.checkpoint(&CheckpointRequest { origin: origin.clone(), size, root: Digest::of(&size.to_be_bytes()) })?;
    }
    let checkpoints = rate(statements.len(), begun.elapsed());
    let (within, beyond, many) = (median(within), median(beyond), median(many));
    let added_us = median(beyond_us) - median(within_us);
    println!(
        "{{\"in_process_per_s\": {within:.0}, \"by_process_per_s\": {beyond:.0}, \"by_process_four_threads_per_s\": {many:.0}, \
         \"added_us\": {added_us:.1}, \"checkpoints_per_s\": {checkpoints:.0}, \"start_ms\": {start_ms:.1}}}"
    );
    Ok(())
}
