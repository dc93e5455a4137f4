//! `seaworthy sandbox` as a tool: exit codes, streams, places, refusals.
//!
//! in: commands run by the real binary; out: what they saw and how it ended.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::workspace::{Finished, Tiny};

/// The strictest profile that this user can have.
fn profile() -> &'static str {
    match seaworthy_sandbox::preflight(seaworthy_sandbox::Profile::Strict) {
        Ok(_) => "strict",
        Err(_) => "no-cgroup",
    }
}

fn sandboxed(tiny: &Tiny, options: &[&str], command: &[&str]) -> Finished {
    let fixed = ["sandbox", "run", "--profile", profile()];
    tiny.run(&[&fixed[..], options, &["--"], command].concat())
}

#[test]
fn output_and_exit_code_are_the_commands_own() {
    let tiny = Tiny::unlocked();
    let done = sandboxed(&tiny, &[], &["sh", "-c", "printf 'a\\tb'; echo talk >&2; exit 7"]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (7, "a\tb", "talk\n"));
    let done = sandboxed(&tiny, &[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!((done.code, done.stdout.as_str()), (137, ""), "{}", done.stderr);
    let done = sandboxed(&tiny, &[], &["sh", "-c", "cat; id -u; ls /in /root /home 2>&1 | head -1; env | sort | head -1"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!((lines[0], lines[2]), ("1000", "HOME=/tmp"), "{}", done.stdout);
    assert!(lines[1].contains("No such file"), "{}", done.stdout);
}

/// 124, 125, 126, 127 and 137, each with what it says.
#[test]
fn ends_that_are_not_the_commands_have_codes_of_their_own() {
    let tiny = Tiny::unlocked();
    let cases: [(&[&str], &[&str], i32, &str); 13] = [
        (&["--timeout", "1"], &["sleep", "60"], 124, "time is over"),
        (&[], &["/no/such/program"], 127, "sandbox/exec"),
        (&[], &["/tmp"], 126, "sandbox/exec"),
        (&["--memory", "lots"], &["true"], 125, "is no size"),
        (&["--timeout", "soon"], &["true"], 125, "is no time"),
        (&["--processes", "0"], &["true"], 125, "--processes 0"),
        (&["--ro", "/nonexistent:/in/x"], &["true"], 125, "No such file"),
        (&["--ro", "/etc:/proc/x"], &["true"], 125, "sandbox/spec"),
        (&["--rw", "x:/in/x"], &["true"], 125, "HOST:/out/NAME"),
        (&["--rw", "x:/out/a/b"], &["true"], 125, "sandbox/spec"),
        (&["--egress", "example.org"], &["true"], 125, "egress/destination"),
        (&["--egress", "127.0.0.1:443"], &["true"], 125, "loopback"),
        (&["--image", "alpine"], &["true"], 125, "there is no image `alpine`"),
    ];
    for (options, command, code, said) in cases {
        let done = sandboxed(&tiny, options, command);
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{options:?} {command:?}: {}", done.stderr);
        assert!(done.stderr.contains(said), "{options:?} {command:?}: {}", done.stderr);
    }
    for profile in ["provision", "nonsense", "network"] {
        let done = tiny.run(&["sandbox", "run", "--profile", profile, "--", "true"]);
        assert_eq!(done.code, 125, "{profile}: {}", done.stderr);
        assert!(done.stderr.contains("hint:"), "{}", done.stderr);
    }
    // without namespaces there is no empty network to lead out of
    let done = tiny.run(&["sandbox", "run", "--profile", "landlock", "--egress", "example.org:443", "--", "true"]);
    assert!(done.code == 125 && done.stderr.contains("sandbox/unsupported"), "{} {}", done.code, done.stderr);
}

#[test]
fn memory_ends_it_with_137_where_a_cgroup_bounds_it() {
    if profile() != "strict" {
        eprintln!("skipped: only a cgroup kills for want of memory");
        return;
    }
    let tiny = Tiny::unlocked();
    let done =
        sandboxed(&tiny, &["--memory", "64MiB"], &["sh", "-c", "exec 2>/dev/null; head -c 200000000 /dev/zero > /dev/shm/x; echo lived"]);
    assert!(done.stdout.is_empty() || profile() != "strict", "{}", done.stdout);
    assert_eq!(done.code, 137, "{}{}", done.stdout, done.stderr);
    assert!(done.stderr.contains("want of memory"), "{}", done.stderr);
}

#[test]
fn inputs_are_read_and_results_are_copied_out() {
    let tiny = Tiny::unlocked();
    let data = tiny.dir.join("data/raw");
    let results = tiny.dir.join("results");
    std::fs::create_dir_all(results.join("old")).unwrap();
    std::fs::write(results.join("count"), "stale").unwrap();
    std::os::unix::fs::symlink("/tmp", results.join("way")).unwrap();
    let (ro, rw) = (format!("{}:/in/data", data.display()), format!("{}:/out/results", results.display()));
    let script = "cd /out/results && grep -c , /in/data/numbers.csv > count && mkdir -p deep && cp /in/data/numbers.csv deep/ && \
                  ls /out/results && ! touch /in/data/new 2>/dev/null";
    let done = sandboxed(&tiny, &["--ro", &ro, "--rw", &rw], &["sh", "-c", script]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "count\ndeep\n"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(results.join("count")).unwrap(), "201\n");
    assert_eq!(std::fs::read(results.join("deep/numbers.csv")).unwrap(), std::fs::read(data.join("numbers.csv")).unwrap());
    assert!(results.join("old").is_dir(), "what was there stays");
    // what is no plain file is not taken, and nothing leaves the folder by a link that lies in it
    for (script, said) in [
        ("ln -s /etc/passwd /out/results/link", "sandbox/output-kind"),
        ("mkdir /out/results/way && echo x > /out/results/way/escaped", "sandbox/output-unwritable"),
    ] {
        let done = sandboxed(&tiny, &["--rw", &rw], &["sh", "-c", script]);
        assert_eq!(done.code, 125, "{script}: {}", done.stderr);
        assert!(done.stderr.contains(said), "{script}: {}", done.stderr);
    }
    assert!(!Path::new("/tmp/escaped").exists());
}

/// Bytes arrive while the command still runs, all of them, and a reader that leaves ends it.
#[test]
fn streams_pass_through_as_they_come() {
    let tiny = Tiny::unlocked();
    let run = |command: &[&str]| {
        let mut all = vec!["sandbox", "run", "--profile", profile(), "--"];
        all.extend(command);
        tiny.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let begun = Instant::now();
    let mut child = run(&["sh", "-c", "echo early; sleep 5"]);
    let mut first = [0u8; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(&first == b"early\n" && begun.elapsed().as_secs() < 4, "{first:?} after {:?}", begun.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();

    let child = run(&["sh", "-c", "head -c 3000000 /dev/zero"]);
    assert_eq!(child.wait_with_output().unwrap().stdout.len(), 3_000_000);

    let begun = Instant::now();
    let mut child = run(&["sh", "-c", "while echo y; do :; done"]);
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141), "SIGPIPE, as in any pipeline");
    assert!(begun.elapsed().as_secs() < 30);
}

/// A file behind standard output is not the command's to read.
#[test]
fn the_file_behind_standard_output_stays_out_of_reach() {
    let tiny = Tiny::unlocked();
    let path = tiny.dir.join("transcript");
    let mut file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(b"secret\n").unwrap();
    let attack = ["sh", "-c", "(exec 3</proc/self/fd/1; timeout 1 head -1 <&3 >&2); true"];
    let told = |command: &mut Command| {
        let output = command.stdout(file.try_clone().unwrap()).stderr(Stdio::piped()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let inside = told(&mut tiny.command(&[&["sandbox", "run", "--profile", profile(), "--"][..], &attack].concat()));
    assert!(!inside.contains("secret"), "{inside}");
    // control: handed over as it is, it can be read
    assert_eq!(told(Command::new("sh").args(&attack[1..])), "secret\n");
}

#[test]
fn an_ordinary_user_runs_commands_without_a_cgroup() {
    let tiny = Tiny::unlocked();
    let binary = tiny.base().join("seaworthy");
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_seaworthy")).arg(&binary).status().unwrap().success());
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let out = tiny.base().join("out");
    std::fs::create_dir_all(&out).unwrap();
    if is_root {
        assert!(Command::new("chown").arg("65534:65534").arg(&out).status().unwrap().success());
    }
    let rw = format!("{}:/out/o", out.display());
    let arguments = ["sandbox", "run", "--profile", "no-cgroup", "--rw", &rw, "--", "sh", "-c", "id -u; echo x > /out/o/x"];
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
        command
    } else {
        Command::new(&binary)
    };
    let done = Finished::of(&command.args(arguments).env_clear().env("HOME", tiny.base()).output().unwrap());
    assert_eq!((done.code, done.stdout.as_str()), (0, "1000\n"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(out.join("x")).unwrap(), "x\n");
}

#[test]
fn a_profile_explains_what_it_cannot_stop_and_whether_it_can_be_had() {
    let tiny = Tiny::unlocked();
    let page = tiny.ok(&["sandbox", "explain", "no-cgroup"]).stdout;
    assert!(page.contains("49 memory bomb") && page.contains("this machine: can"), "{page}");
    let told: serde_json::Value = serde_json::from_str(&tiny.ok(&["sandbox", "explain", "strict", "--json"]).stdout).unwrap();
    assert_eq!((&told["profile"], &told["cannot_stop"]), (&"strict".into(), &serde_json::json!([])));
    let all: serde_json::Value = serde_json::from_str(&tiny.ok(&["sandbox", "explain", "--json"]).stdout).unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(9));
    tiny.refused(&["sandbox", "explain", "loose"], 2, "there is no profile `loose`");
}

/// All 65 against the shipped program itself; every one is decided but the proxy that this release does not have.
#[test]
fn the_selftest_attacks_the_real_binary() {
    let tiny = Tiny::unlocked();
    let report: serde_json::Value = serde_json::from_str(&tiny.ok(&["sandbox", "selftest", "--json"]).stdout).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]));
    let attacks = report["report"]["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 65);
    let of = |verdict: &str| {
        attacks.iter().filter(|one| one["verdict"]["verdict"] == verdict).map(|one| one["number"].clone()).collect::<Vec<_>>()
    };
    if profile() == "strict" {
        assert_eq!((of("allowed"), of("inconclusive")), (vec![], vec![18.into()]), "{report}");
    }
    // control: a profile that leaves the network open shows it as allowed, known, and the exit code is still 0
    let page =
        tiny.ok(&["sandbox", "selftest", "--profile", if profile() == "strict" { "provision" } else { "provision-no-cgroup" }]).stdout;
    assert!(page.contains(" 8 allowed") && page.contains("[known: the network is the host's]"), "{page}");
}

/// The profile for places without user namespaces: same command line, same codes.
#[test]
fn landlock_confines_commands_without_namespaces() {
    let tiny = Tiny::new();
    let (ro, out) = (format!("{}:/in/raw", tiny.dir.join("data/raw").display()), tiny.dir.join("out"));
    let rw = format!("{}:/out/o", out.display());
    let script = "wc -l < $SEAWORTHY_INPUTS/raw/numbers.csv > $SEAWORTHY_OUTPUTS/o/count; cat /etc/passwd 2>/dev/null; exit 3";
    let done = tiny.run(&["sandbox", "run", "--profile", "landlock", "--ro", &ro, "--rw", &rw, "--", "sh", "-c", script]);
    assert_eq!((done.code, done.stdout.as_str()), (3, ""), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(out.join("count")).unwrap().trim(), "201");
    let done = tiny.run(&["sandbox", "run", "--profile", "landlock", "--timeout", "1", "--", "sh", "-c", "(setsid sleep 60 &) ; sleep 60"]);
    assert_eq!(done.code, 124, "{}", done.stderr);
}
