//! An ordinary user without a cgroup: provisioning from the index, a run, a verification. As root, these become user 65534 first.
//!
//! in: a tiny workspace with one locked Python step; out: the same commands by somebody who is not root.

use std::path::Path;
use std::process::Command;

use crate::workspace::{Finished, Tiny};

const SIX: &str = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";

#[test]
fn an_ordinary_user_downloads_runs_and_verifies_without_a_cgroup() {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: an ordinary user needs an interpreter that all may read");
        return;
    }
    let tiny = Tiny::unlocked();
    tiny.edit("workflow.yaml", "sandbox: true", "container: six:1");
    tiny.edit("seaworthy.yaml", "steps:\n", "environments: {'six:1': {python: envs/six.lock}}\nsteps:\n");
    tiny.edit("seaworthy.yaml", "run: [sh, double.sh]", "run: [python, double.py]");
    tiny.write("envs/six.lock", SIX.as_bytes());
    let program = "import os, six, shutil\nshutil.copy(os.environ['SEAWORTHY_INPUTS'] + '/raw/numbers.csv', \
                   os.environ['SEAWORTHY_OUTPUTS'] + '/doubled/numbers.csv')\nprint('six', six.__version__)\n";
    tiny.write("src/double.py", program.as_bytes());
    let binary = tiny.base().join("seaworthy");
    // by another process: a descriptor open for writing here could be inherited by a test's child meanwhile ("text file busy")
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_seaworthy")).arg(&binary).status().unwrap().success());
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(tiny.base()).status().unwrap().success());
    }
    let ordinary = |arguments: &[&str]| by(&tiny, &binary, is_root, arguments);

    assert_eq!(ordinary(&["keys", "create"]).code, 0);
    if is_root {
        // control: without the flag, what is missing is said, and what to type
        let refused = ordinary(&["lock"]);
        assert_ne!(refused.code, 0);
        assert!(refused.stderr.contains("--profile no-cgroup"), "{}", refused.stderr);
    }
    for (arguments, said) in [
        (&["lock", "--profile", "no-cgroup"][..], "pinned environment:six:1"),
        (&["run", "workflow.yaml", "--profile", "no-cgroup"], "succeeded: 3 committed"),
        (&["verify", "log"], "assurance: L0 · signer: a process of its own (same user) · witnesses: 0"),
    ] {
        let done = ordinary(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains(said), "{arguments:?}: {}{}", done.stdout, done.stderr);
    }
}

/// The profiles of provisioning have the network of the host: no step gets them by a flag.
#[test]
fn no_step_runs_under_a_profile_of_provisioning() {
    let tiny = Tiny::new();
    for profile in ["provision", "provision-no-cgroup"] {
        tiny.refused(&["run", "workflow.yaml", "--profile", profile], 2, "no profile for steps");
    }
    tiny.ok(&["run", "workflow.yaml", "--profile", "no-cgroup"]);
}

pub(crate) fn by(tiny: &Tiny, binary: &Path, is_root: bool, arguments: &[&str]) -> Finished {
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary);
        command
    } else {
        Command::new(binary)
    };
    command.args(arguments).current_dir(&tiny.dir).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", tiny.base());
    for name in ["PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    Finished::of(&command.output().unwrap())
}
