//! Steps where the kernel refuses user namespaces: provisioning, a run, what is attested and shown, and who takes it.
//!
//! in: tiny workspaces; out: the same commands by an ordinary user in a user namespace that allows no other, and by root.

use std::path::Path;
use std::process::Command;

use crate::workspace::{Finished, Tiny};

const SIX: &str = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";

/// Looks for packages of the host besides doing its work: what is not locked must look as if it were not installed.
const PROGRAM: &str = "import json, os, shutil, sys, six
try:
    import pip
    sys.exit('a package of the host was imported')
except ImportError:
    pass
assert json.load(open(os.environ['SEAWORTHY_PARAMS'])) == {'depth': 3}
assert six.__cached__ and os.path.exists(six.__cached__), six.__cached__
shutil.copy(os.environ['SEAWORTHY_INPUTS'] + '/raw/numbers.csv', os.environ['SEAWORTHY_OUTPUTS'] + '/doubled/numbers.csv')
print('six', six.__version__)
";

/// The command by somebody who is not root and to whom the kernel refuses user namespaces.
fn refused_namespaces(tiny: &Tiny, binary: &Path, arguments: &[&str]) -> Finished {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut words: Vec<&str> = Vec::new();
    if is_root {
        words.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all \"$@\"";
    words.extend(["unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", none, "sh", binary.to_str().unwrap()]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(arguments).current_dir(&tiny.dir).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", tiny.base());
    for name in ["PIP_INDEX_URL", "PIP_CERT", "PIP_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "HTTPS_PROXY"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    Finished::of(&command.output().unwrap())
}

fn handed_over(tiny: &Tiny) -> std::path::PathBuf {
    let binary = tiny.base().join("seaworthy");
    // by another process: a descriptor open for writing here could be inherited by a test's child meanwhile ("text file busy")
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_seaworthy")).arg(&binary).status().unwrap().success());
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(tiny.base()).status().unwrap().success());
    }
    binary
}

#[test]
fn without_user_namespaces_an_environment_is_provisioned_and_steps_run() {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: an ordinary user needs an interpreter that all may read");
        return;
    }
    let tiny = Tiny::unlocked();
    tiny.edit("workflow.yaml", "sandbox: true", "container: six:1");
    tiny.edit("seaworthy.yaml", "steps:\n", "environments: {'six:1': {python: envs/six.lock}}\nsteps:\n");
    tiny.edit("seaworthy.yaml", "run: [sh, double.sh]", "run: [python, double.py], params: {depth: 3}");
    tiny.write("envs/six.lock", SIX.as_bytes());
    tiny.write("src/double.py", PROGRAM.as_bytes());
    let binary = handed_over(&tiny);
    let by = |arguments: &[&str]| refused_namespaces(&tiny, &binary, arguments);

    assert_eq!(by(&["keys", "create"]).code, 0);
    // the control: it is the namespaces that are missing, and nothing runs without being asked to
    let refused = by(&["lock", "--profile", "no-cgroup"]);
    assert!(refused.code != 0 && refused.stderr.contains("user.max_user_namespaces"), "{}", refused.stderr);
    for (arguments, said) in [
        (&["lock", "--profile", "landlock"][..], "pinned environment:six:1"),
        (&["run", "workflow.yaml", "--profile", "landlock"], "succeeded: 3 committed"),
        (&["run", "workflow.yaml", "--profile", "landlock"], "0 committed, 3 reused"),
        (&["verify", "log"], "assurance: L0 · signer: a process of its own (same user) · witnesses: 0"),
    ] {
        let done = by(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stdout.contains(said), "{arguments:?}: {}{}", done.stdout, done.stderr);
    }
    // the run that did the work: the second one reused all of it
    let runs: serde_json::Value = serde_json::from_str(&by(&["runs", "list", "--json"]).stdout).unwrap();
    let ids: Vec<&str> = runs.as_array().unwrap().iter().filter_map(|run| run["run"].as_str().or(run["id"].as_str())).collect();
    assert_eq!(ids.len(), 2, "{runs}");
    let shown = ids.iter().map(|id| by(&["verify", &format!("run:{id}")])).find(|shown| shown.stdout.contains("profile landlock"));
    let shown = shown.expect("a run's provenance names the profile");
    let open = "profile landlock: attacks 1, 6, 43, 45, 48, 49, 50, 54, 59 were not stopped";
    assert!(shown.code == 0 && shown.stdout.contains(open), "{}{}", shown.stdout, shown.stderr);
}

/// Root's steps are another user, who reaches neither the store nor the workspace: copies are shown.
#[test]
fn roots_steps_are_shown_copies_of_what_is_closed_to_others() {
    let tiny = Tiny::new();
    let done = tiny.ok(&["run", "workflow.yaml", "--profile", "landlock"]);
    assert!(done.stdout.contains("succeeded: 3 committed"), "{}", done.stdout);
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().ends_with("-shown")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn production_takes_no_step_without_namespaces() {
    let tiny = Tiny::unlocked();
    tiny.edit("seaworthy.yaml", "environment: staging", "environment: prod");
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny.refused(&["run", "workflow.yaml", "--profile", "landlock"], 1, "authz/denied");
    // the control: the same workspace under a profile with namespaces
    let done = tiny.ok(&["run", "workflow.yaml", "--profile", "no-cgroup"]);
    assert!(done.stdout.contains("succeeded: 3 committed"), "{}", done.stdout);
}

#[test]
fn an_image_needs_namespaces() {
    let tiny = Tiny::unlocked();
    tiny.edit("workflow.yaml", "sandbox: true", "container: base:1");
    tiny.edit("seaworthy.yaml", "steps:\n", "environments: {'base:1': {oci: ./image}}\nsteps:\n");
    tiny.ok(&["keys", "create"]);
    tiny.refused(&["lock", "--profile", "landlock"], 3, "without namespaces an image cannot be a step's root");
}
