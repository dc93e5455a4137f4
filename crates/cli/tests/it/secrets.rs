//! Secrets of steps: where they are seen, and where they never are.
//!
//! in: a workspace whose step declares a secret; out: what the step sees, what is left on disk.
//! **Invariant:** every search for the value has a control that finds it where it is not kept away.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::workspace::{Finished, Tiny};

/// Long enough to be found nowhere by chance.
const VALUE: &str = "s3a-w0rthy-p4ssphrase-77f1";

fn profile() -> &'static str {
    match seaworthy_sandbox::preflight(seaworthy_sandbox::Profile::Strict) {
        Ok(_) => "strict",
        Err(_) => "no-cgroup",
    }
}

/// A workspace whose step `double` declares the secret `db` and runs these lines first; keys and lock made, the secret not set.
fn declaring(lines: &str) -> Tiny {
    let tiny = Tiny::unlocked();
    tiny.edit("seaworthy.yaml", "outputs: {doubled: dataset}", "outputs: {doubled: dataset}, secrets: ['secret://file/db']");
    tiny.edit("src/double.sh", "echo doubled", &format!("{lines}\necho doubled"));
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    tiny
}

fn set(tiny: &Tiny, name: &str, value: &str) -> Finished {
    let mut child = tiny.command(&["secrets", "set", name, "--file", "-"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let done = Finished::of(&child.wait_with_output().unwrap());
    assert_eq!(done.code, 0, "{}", done.stderr);
    done
}

fn run(tiny: &Tiny) -> Finished {
    tiny.run(&["run", "workflow.yaml", "--profile", profile()])
}

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(holding(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|text| text.windows(bytes.len()).any(|part| part == bytes)) {
            found.push(path);
        }
    }
    found
}

/// What a step printed, from the store: the one blob that begins like this.
fn printed(tiny: &Tiny, beginning: &str) -> String {
    let found = holding(&tiny.dir.join(".seaworthy"), beginning.as_bytes());
    let texts: Vec<String> = found.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect();
    texts.into_iter().find(|text| text.starts_with(beginning)).unwrap_or_default()
}

const LOOK: &str =
    "echo looked: $(ls -ln $SEAWORTHY_SECRETS/db | cut -d' ' -f1,3) $(grep ' /secrets ' /proc/mounts | cut -d' ' -f3,4 | cut -d, -f1-4)
echo value: $(cat $SEAWORTHY_SECRETS/db)
(echo changed > $SEAWORTHY_SECRETS/db) 2>/dev/null && echo written
(echo x > $SEAWORTHY_SECRETS/more) 2>/dev/null && echo written
echo environment: $(cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n' | grep -c 's3a[-]w0rthy')";

/// The step reads it from a file of its own; what it prints is kept without it; nothing on disk holds it. The control: a step that
/// prints something like it, which is no secret, is kept with it.
#[test]
fn a_secret_is_a_file_and_is_left_nowhere() {
    let tiny = declaring(LOOK);
    set(&tiny, "db", &format!("{VALUE}\n"));
    let done = run(&tiny);
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    let text = printed(&tiny, "looked:");
    assert_eq!(text, "looked: -r-------- 1000 ramfs ro,nosuid,nodev,noexec\nvalue: [secret db]\nenvironment: 0\ndoubled\n");
    assert!(!done.stdout.contains(VALUE) && !done.stderr.contains(VALUE));
    assert_eq!(holding(tiny.base(), VALUE.as_bytes()), Vec::<PathBuf>::new(), "the workspace, the log, the journal, caches and keys");

    let control = declaring(&format!("echo looked: {VALUE}"));
    set(&control, "db", "another-value");
    assert_eq!(run(&control).code, 0);
    assert!(printed(&control, "looked:").contains(VALUE));
}

/// Only the step that declares it sees it: its sibling has no such place. The control is the test above.
#[test]
fn a_step_that_does_not_declare_it_sees_nothing() {
    let tiny = declaring("true");
    tiny.edit("src/total.sh", "sum=0", "sum=0\necho sibling: $(ls /secrets 2>&1) $(env | grep -c SECRETS)");
    tiny.ok(&["lock", "--update", "code:src/"]);
    set(&tiny, "db", VALUE);
    assert_eq!(run(&tiny).code, 0);
    let text = printed(&tiny, "sibling:");
    assert!(text.contains("No such file or directory 0"), "{text}");
}

/// Before any body runs, and with what to type.
#[test]
fn a_missing_secret_is_said_before_any_body_runs() {
    let tiny = declaring("true");
    let done = run(&tiny);
    assert_eq!(done.code, 3, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("secrets/missing") && done.stderr.contains("seaworthy secrets set db"), "{}", done.stderr);
    let log = tiny.run(&["log", "show", "--json"]);
    assert!(!log.stdout.contains("step.started") && !log.stdout.contains("run.started"), "{}", log.stdout);
    set(&tiny, "db", VALUE);
    assert_eq!(run(&tiny).code, 0, "the control");
}

/// An output that holds it would be kept, shared and exported. The control: the same output with another value in it is taken.
#[test]
fn an_output_that_holds_it_is_refused() {
    for (lines, refused) in [
        ("cat $SEAWORTHY_SECRETS/db >> $SEAWORTHY_OUTPUTS/doubled/numbers.csv", true),
        ("cp $SEAWORTHY_OUTPUTS/doubled/numbers.csv $SEAWORTHY_OUTPUTS/doubled/$(cat $SEAWORTHY_SECRETS/db).csv", true),
        ("cp $SEAWORTHY_OUTPUTS/doubled/numbers.csv $SEAWORTHY_OUTPUTS/doubled/more.csv", false),
    ] {
        let tiny = declaring(lines);
        set(&tiny, "db", VALUE);
        let done = run(&tiny);
        assert_eq!(done.code, i32::from(refused), "{lines}: {}{}", done.stdout, done.stderr);
        if refused {
            assert!(done.stderr.contains("secrets/in-output"), "{}", done.stderr);
            assert_eq!(holding(tiny.base(), VALUE.as_bytes()), Vec::<PathBuf>::new(), "{lines}");
        }
    }
}

/// What is set anew runs anew; what stays the same does not. The log says nothing of which it was.
#[test]
fn another_value_is_another_step() {
    let tiny = declaring("true");
    set(&tiny, "db", VALUE);
    let committed = |done: &Finished| done.stdout.lines().find(|line| line.contains("committed")).unwrap_or_default().to_owned();
    let first = run(&tiny);
    assert!(committed(&first).contains("3 committed"), "{}{}", first.stdout, first.stderr);
    set(&tiny, "db", VALUE);
    assert!(committed(&run(&tiny)).contains("3 reused"), "the same value again");
    set(&tiny, "db", "another-passphrase");
    let third = committed(&run(&tiny));
    assert!(third.contains("1 committed, 2 reused"), "only the step that declares it: {third}");
    // an oracle would be the digest of a value that can be guessed
    let digest = seaworthy_core::digest::Digest::of(VALUE.as_bytes()).hex();
    assert_eq!(holding(tiny.base(), digest.as_bytes()), Vec::<PathBuf>::new());
}

#[test]
fn values_are_sealed_files_and_never_arguments() {
    let tiny = declaring("true");
    set(&tiny, "db", VALUE);
    set(&tiny, "secret://file/api.token", "hf-0123456789");
    assert_eq!(tiny.ok(&["secrets", "list"]).stdout, "api.token\ndb\n");
    let sealed = holding(tiny.base(), b"age-encryption.org");
    let secrets: Vec<&PathBuf> = sealed.iter().filter(|path| path.parent().is_some_and(|dir| dir.ends_with("secrets"))).collect();
    assert_eq!(secrets.len(), 2, "{sealed:?}");
    for path in secrets {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        assert!(!path.starts_with(&tiny.dir), "outside the workspace");
    }
    tiny.ok(&["secrets", "remove", "db"]);
    assert_eq!(tiny.ok(&["secrets", "list"]).stdout, "api.token\n");
    tiny.refused(&["secrets", "set", "db"], 2, "--file");
    tiny.refused(&["secrets", "set", "db", VALUE], 2, "unexpected argument");
    tiny.refused(&["secrets", "set", "../db", "--file", "/dev/null"], 2, "secret://file/NAME");
    tiny.refused(&["secrets", "set", "db", "--file", "/dev/null"], 3, "secrets/size");
}

/// Without namespaces there is no place that only the step sees.
#[test]
fn providers_of_later_releases_are_refused_by_name() {
    let tiny = Tiny::unlocked();
    tiny.edit("seaworthy.yaml", "outputs: {doubled: dataset}", "outputs: {doubled: dataset}, secrets: ['secret://vault/db#user']");
    tiny.refused(&["plan", "workflow.yaml"], 3, "secrets/provider");
}
