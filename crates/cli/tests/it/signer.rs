//! The signer's process: what the engine's process cannot reach, what the signer refuses, what its death changes, and whom it hears.
//!
//! in: the real binary as signer, started by runs, by these tests, and as a service; out: memory, answers, logs, levels.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use seaworthy_core::attestation::run_request::RunRequest;
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::{Bundle, Statement};
use seaworthy_core::id::{Name, RunId};
use seaworthy_core::limits::SIGNER_REQUEST_BYTES_MAX;
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, Signer as _, SignerIsolation, SignerMode};
use seaworthy_engine::signer::{Expected, ProcessSigner, SignerPlace};
use seaworthy_trust::keys::wire::{self, Answer, Request};
use seaworthy_trust::keys::{Identity, PrivateKey, PublicKey, open_with_identity};

use crate::stop::{sleepy, wait_for_start};
use crate::workspace::{Finished, Tiny, copy_folder};

const SEAWORTHY: &str = env!("CARGO_BIN_EXE_seaworthy");

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// The folder of the environment's keys, and the workspace's id.
fn keys_of(tiny: &Tiny) -> (PathBuf, String) {
    let mut found = std::fs::read_dir(tiny.base().join("config/seaworthy")).unwrap().map(|entry| entry.unwrap().path());
    let workspace = found.find(|path| path.is_dir()).unwrap();
    let id = workspace.file_name().unwrap().to_string_lossy().into_owned();
    (workspace.join("staging/keys"), id)
}

/// What must not be in a process without keys: the opened private keys in every form they have, and what opens them.
fn secrets(tiny: &Tiny) -> Vec<Vec<u8>> {
    let (keys, _) = keys_of(tiny);
    let text = std::fs::read_to_string(keys.join("identity.txt")).unwrap();
    let identity = Identity::parse(&text).unwrap();
    let mut needles = vec![text.trim().as_bytes().to_vec()];
    for role in ["user", "runner", "log"] {
        let pem = open_with_identity(&identity, &std::fs::read(keys.join(format!("{role}.age"))).unwrap()).unwrap();
        let pem = String::from_utf8(pem.to_vec()).unwrap();
        needles.push(pem.lines().nth(1).unwrap().as_bytes().to_vec());
        let scalar = match PrivateKey::from_pkcs8_pem(&pem).unwrap() {
            PrivateKey::P256(key) => key.to_bytes().to_vec(),
            PrivateKey::Ed25519(key) => key.to_bytes().to_vec(),
        };
        needles.push(scalar.iter().rev().copied().collect());
        needles.push(scalar);
    }
    needles
}

/// How many of `needles` stand somewhere in a process' memory; `None` if it may not be read.
fn found_in(pid: u32, needles: &[Vec<u8>]) -> Option<usize> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut found = BTreeSet::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|access| access.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue; // a mapping without pages
        }
        for (at, needle) in needles.iter().enumerate() {
            let first = needle[0];
            let mut rest = &bytes[..];
            while let Some(next) = rest.iter().position(|byte| *byte == first) {
                if rest[next..].starts_with(needle) {
                    found.insert(at);
                    break;
                }
                rest = &rest[next + 1..];
            }
        }
    }
    Some(found.len())
}

/// The signer that a run started.
fn signer_of(run: u32) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_string_lossy().parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let is_signer = String::from_utf8_lossy(&command).starts_with("seaworthy-recluse\0") && state != "Z";
        (is_signer && parent == run.to_string()).then_some(pid)
    })
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Code in the engine's process finds no key there, and no way to the signer's memory. Control: the same search finds every key in
/// the process that has them (which only root may look at).
#[test]
fn no_key_is_in_the_engines_process() {
    let tiny = sleepy();
    let needles = secrets(&tiny);
    let run = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    let signer = signer_of(run.id()).expect("the run has a signer of its own");
    assert_eq!(found_in(run.id(), &needles), Some(0), "keys in the engine's process");
    for entry in std::fs::read_dir(format!("/proc/{}/fd", run.id())).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!name.ends_with(".age") && name != "identity.txt", "{}", target.display());
    }
    match found_in(signer, &needles) {
        Some(count) => assert!(is_root() && count >= 3, "control: {count} of {} found where they are", needles.len()),
        None => assert!(!is_root()),
    }
    let status = std::fs::read_to_string(format!("/proc/{signer}/status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1", "Threads:\t1"] {
        assert!(status.contains(line), "`{line}` is missing:\n{status}");
    }
    let open = std::fs::read_dir(format!("/proc/{signer}/fd")).map(|fds| fds.flatten().count());
    assert!(open.is_err() || matches!(open, Ok(4)), "input, output, errors and the socket: {open:?}");
    end(run);
    let gone = Instant::now() + Duration::from_secs(5);
    while Path::new(&format!("/proc/{signer}")).exists() {
        assert!(Instant::now() < gone, "the signer outlives its run");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The signer as these tests start it, over a socket they hold.
fn raw(tiny: &Tiny) -> (Child, UnixStream) {
    let (_, id) = keys_of(tiny);
    let (own, other) = UnixStream::pair().unwrap();
    let mut command = tiny.command(&["--environment", "staging", "signer", "--id", &id]);
    let child = command.stdin(Stdio::from(std::os::fd::OwnedFd::from(other))).spawn().unwrap();
    own.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (child, own)
}

fn answer(stream: &mut UnixStream) -> Answer {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut content = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut content).unwrap();
    wire::read(&content).unwrap()
}

fn ask(stream: &mut UnixStream, request: &Request<'_>) -> Answer {
    stream.write_all(&wire::frame(request).unwrap()).unwrap();
    answer(stream)
}

fn refusal(answer: &Answer) -> &str {
    match answer {
        Answer::Refused { code, .. } => code,
        other => panic!("not refused: {other:?}"),
    }
}

fn checkpoint(origin: &str, size: u64, root: &[u8]) -> Request<'static> {
    Request::Checkpoint { origin: origin.to_owned(), size, root: Digest::of(root) }
}

fn request(signer: Option<SignerIsolation>) -> RunRequest {
    let digest = Digest::of(b"x");
    let nonce = "00112233445566778899aabbccddeeff".to_owned();
    RunRequest {
        run: RunId("r1".into()),
        plan: digest,
        lock: digest,
        workflow: digest,
        environment: Name::new("staging").unwrap(),
        nonce,
        signer,
    }
}

#[test]
fn the_signer_refuses_what_its_policy_forbids_and_goes_on() {
    let tiny = Tiny::new();
    let (mut child, mut stream) = raw(&tiny);
    let Answer::Hello(hello) = ask(&mut stream, &Request::Hello {}) else { panic!("no hello") };
    assert_eq!(hello.isolation.mode, SignerMode::Process);
    assert!(hello.isolation.is_confined(), "{:?}", hello.isolation);
    assert!(matches!(ask(&mut stream, &checkpoint(&hello.origin, 5, b"a")), Answer::Checkpoint { .. }));
    let attest = |role, statement| Request::Attest(wire::Attest { role, step: None, statement: std::borrow::Cow::Owned(statement) });
    let honest = request(None).statement();
    let claimed = request(Some(SignerIsolation { mode: SignerMode::User, ..hello.isolation.clone() })).statement();
    for (asked, code) in [
        (checkpoint(&hello.origin, 5, b"b"), "sign/fork"),
        (checkpoint(&hello.origin, 4, b"b"), "sign/rollback"),
        (checkpoint("another.example/log", 6, b"b"), "sign/origin"),
        (attest(KeyRole::Runner, honest.clone()), "sign/role"),
        (attest(KeyRole::Root, honest.clone()), "sign/role"),
        (attest(KeyRole::User, claimed), "sign/isolation"),
    ] {
        assert_eq!(refusal(&ask(&mut stream, &asked)), code);
    }
    for content in [&b"\x01{\"sign\":\"raw\"}"[..], b"\x09{}", b""] {
        stream.write_all(&u32::try_from(content.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(content).unwrap();
        assert_eq!(refusal(&answer(&mut stream)), "sign/request");
    }
    // more than may be: refused before it is there, and skipped
    let bytes = SIGNER_REQUEST_BYTES_MAX + 1;
    stream.write_all(&u32::try_from(bytes).unwrap().to_be_bytes()).unwrap();
    assert_eq!(refusal(&answer(&mut stream)), "sign/too-large");
    stream.write_all(&vec![b'x'; bytes]).unwrap();
    // control: what is allowed is signed
    assert!(matches!(ask(&mut stream, &attest(KeyRole::User, honest)), Answer::Signed { .. }));
    assert!(matches!(ask(&mut stream, &checkpoint(&hello.origin, 6, b"c")), Answer::Checkpoint { .. }));
    let Answer::Status(status) = ask(&mut stream, &Request::Status {}) else { panic!("no status") };
    assert_eq!((status.refused, status.size, status.signed[&KeyRole::Log]), (10, Some(6), 2));
    drop(stream);
    assert!(child.wait().unwrap().success(), "without its peer it ends");
}

/// Half a minute by design: run with `--ignored`.
#[test]
#[ignore = "a hanging signer is given up after 30 seconds"]
fn a_hanging_signer_is_replaced() {
    let tiny = Tiny::new();
    let signer = client(&tiny, None);
    let statement = request(None).statement();
    let asked = AttestRequest { role: KeyRole::User, statement: &statement, step: None };
    let before = signer.attest(&asked).unwrap();
    let pid = signer.process_id().unwrap();
    assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
    assert_eq!(signer.attest(&asked).unwrap(), before);
    assert_ne!(signer.process_id().unwrap(), pid);
}

/// The client as the engine has it, on the binary these tests were built with.
fn client(tiny: &Tiny, newest: Option<&str>) -> ProcessSigner {
    let (keys, id) = keys_of(tiny);
    let arguments = ["staging", id.as_str()].map(OsString::from).to_vec();
    let environment = vec![(OsString::from("XDG_CONFIG_HOME"), tiny.base().join("config").into_os_string())];
    let public = |role: &str| PublicKey::from_pem(&std::fs::read_to_string(keys.join(format!("{role}.pub.pem"))).unwrap()).unwrap();
    let of = |role, name| (role, public(name).to_der().unwrap());
    let keys = BTreeMap::from([of(KeyRole::User, "user"), of(KeyRole::Runner, "runner"), of(KeyRole::Log, "log")]);
    let expected = Expected { origin: format!("{id}.seaworthy.internal/staging/log"), keys };
    let signer =
        ProcessSigner::new(SignerPlace::Program { path: SEAWORTHY.into(), arguments, environment, asks: false }, expected).unwrap();
    newest.into_iter().for_each(|note| signer.continue_from(note).unwrap());
    signer.greet().unwrap();
    signer
}

#[test]
fn a_killed_signer_is_replaced_and_the_new_one_still_refuses_a_fork() {
    let tiny = Tiny::new();
    let signer = client(&tiny, None);
    let origin = format!("{}.seaworthy.internal/staging/log", keys_of(&tiny).1);
    let size_of = |size, root: &[u8]| CheckpointRequest { origin: origin.clone(), size, root: Digest::of(root) };
    let statement = request(signer.isolation()).statement();
    let asked = AttestRequest { role: KeyRole::User, statement: &statement, step: None };
    let before = signer.attest(&asked).unwrap();
    signer.checkpoint(&size_of(7, b"a")).unwrap();
    for signal in ["-KILL", "-TERM"] {
        let pid = signer.process_id().unwrap();
        assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
        assert_eq!(signer.attest(&asked).unwrap(), before, "the same signature, by another process");
        assert_ne!(signer.process_id().unwrap(), pid);
    }
    assert!(signer.checkpoint(&size_of(7, b"b")).unwrap_err().to_string().contains("sign/fork"));
    assert!(signer.checkpoint(&size_of(6, b"b")).unwrap_err().to_string().contains("sign/rollback"));
    let eight = signer.checkpoint(&size_of(8, b"b")).unwrap();
    assert!(signer.is_signed_by_log(&eight).unwrap() && !signer.is_signed_by_log(&eight.replacen('8', "9", 1)).unwrap());
    // what stands in the log before the signer lived counts too; control: without it the fork is signed
    let reminded = client(&tiny, Some(&eight));
    assert!(reminded.checkpoint(&size_of(8, b"x")).unwrap_err().to_string().contains("sign/fork"));
    client(&tiny, None).checkpoint(&size_of(8, b"x")).unwrap();
}

#[test]
fn a_run_whose_signer_is_killed_again_and_again_ends_the_same() {
    let tiny = Tiny::unlocked();
    for file in ["src/double.sh", "src/total.sh"] {
        let text = tiny.read(file);
        tiny.write(file, format!("sleep 0.4\n{text}").as_bytes());
    }
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let mut run = tiny.spawn(&["run", "workflow.yaml"]);
    let mut killed = BTreeSet::new();
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        // once each life, and only after its first words: the start of a command without a signer is another matter
        if let Some(signer) = signer_of(run.id()).filter(|signer| !killed.contains(signer)) {
            std::thread::sleep(Duration::from_millis(120));
            if signer_of(run.id()) == Some(signer) {
                assert!(Command::new("kill").args(["-KILL", &signer.to_string()]).status().unwrap().success());
                killed.insert(signer);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    assert!(killed.len() >= 2, "control: the signer was killed {} times", killed.len());
    let verified = tiny.ok(&["verify", "log"]);
    assert!(verified.stdout.contains("assurance: L0 · signer: a process of its own (same user)"), "{}", verified.stdout);
    for code in ["step.committed", "step.started"] {
        assert_eq!(tiny.events_of(code).len(), 3, "{code}");
    }
    assert_eq!((tiny.events_of("run.started").len(), tiny.events_of("run.ended").len()), (1, 1));
    assert!(tiny.ok(&["run", "workflow.yaml"]).stdout.contains("0 committed, 3 reused"));
}

/// Ends the service when the test ends.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Group 65534 may connect; what the service says of whom it refuses goes into a file.
fn serve(tiny: &Tiny, socket: &Path, uids: &[&str]) -> Service {
    let (_, id) = keys_of(tiny);
    let socket_text = socket.to_string_lossy().into_owned();
    let mut arguments = vec!["--environment", "staging", "signer", "--id", &id, "--listen", &socket_text, "--group", "65534"];
    uids.iter().for_each(|uid| arguments.extend(["--allow-uid", uid]));
    let said = File::create(tiny.base().join("said")).unwrap();
    let service = Service(tiny.command(&arguments).stderr(said).spawn().unwrap());
    let end = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < end, "the service does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    service
}

fn by(uid: &str, binary: &Path, dir: &Path, home: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new("setpriv");
    let id = [format!("--reuid={uid}"), "--regid=65534".to_owned(), "--clear-groups".to_owned()];
    command.args(id).arg(binary).args(arguments).current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
    Finished::of(&command.output().unwrap())
}

/// The service is root's here, and the user who runs the workflow has public keys alone. Needs root to play three users.
#[test]
fn a_service_of_another_user_signs_for_whom_it_may_and_for_nobody_else() {
    if !is_root() {
        eprintln!("skipped: only root can be three users");
        return;
    }
    let tiny = Tiny::unlocked();
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let socket = tiny.base().join("signer.sock");
    let service = serve(&tiny, &socket, &["65534"]);
    // the runner's own home: a copy of the workspace, the trust file and the public keys
    let home = tiny.base().join("home");
    let (dir, binary) = (home.join("workspace"), home.join("seaworthy"));
    std::fs::create_dir_all(home.join(".config")).unwrap();
    copy_folder(&tiny.dir, &dir);
    copy_folder(&tiny.base().join("config/seaworthy"), &home.join(".config/seaworthy"));
    let (keys, id) = keys_of(&tiny);
    let theirs = home.join(".config/seaworthy").join(&id).join("staging/keys");
    for file in std::fs::read_dir(&theirs).unwrap().flatten().filter(|file| !file.file_name().to_string_lossy().ends_with(".pub.pem")) {
        std::fs::remove_file(file.path()).unwrap();
    }
    assert!(keys.join("identity.txt").is_file());
    assert!(Command::new("cp").arg(SEAWORTHY).arg(&binary).status().unwrap().success());
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&home).status().unwrap().success());
    std::fs::set_permissions(tiny.base(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let socket_text = socket.to_string_lossy().into_owned();
    let run = ["--signer", &socket_text, "run", "workflow.yaml", "--profile", "no-cgroup"];
    // control: without the service this user has no keys
    let alone = by("65534", &binary, &dir, &home, &["run", "workflow.yaml", "--profile", "no-cgroup"]);
    assert!(alone.stderr.contains("keys/missing"), "{}", alone.stderr);
    let done = by("65534", &binary, &dir, &home, &run);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let verified = by("65534", &binary, &dir, &home, &["verify", "log"]);
    assert!(verified.stdout.contains("assurance: L0 · signer: a service of another user, by its own word"), "{}", verified.stdout);
    // the verifier, who knows that only the service has the keys, says so in the trust file they use
    let vouched = home.join("vouched.json");
    let mut trust: serde_json::Value =
        serde_json::from_slice(&std::fs::read(theirs.parent().unwrap().join("trust.json")).unwrap()).unwrap();
    for key in trust["keys"].as_array_mut().unwrap().iter_mut().filter(|key| key["role"] != "root") {
        key["custody"] = "service".into();
    }
    std::fs::write(&vouched, serde_json::to_vec(&trust).unwrap()).unwrap();
    let with_it = ["verify", "log", "--trust", vouched.to_str().unwrap()];
    let verified = by("65534", &binary, &dir, &home, &with_it);
    let expected = "assurance: L1 · signer: a service of another user, which alone has the keys · witnesses: 0";
    assert!(verified.stdout.contains(expected), "{}{}", verified.stdout, verified.stderr);
    let status = by("65534", &binary, &dir, &home, &["signer", "--status", &socket_text]);
    assert!(status.stdout.contains("a process of another user; landlock"), "{}{}", status.stdout, status.stderr);
    // another user on the same socket, and even root, is not heard
    let other = || by("65533", &PathBuf::from(&binary), &dir, Path::new("/"), &["signer", "--status", &socket_text]);
    let refused = other();
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    assert!(refused.stderr.contains("signer/gone"), "{}", refused.stderr);
    tiny.refused(&["signer", "--status", &socket_text], 3, "signer/gone");
    let said = std::fs::read_to_string(tiny.base().join("said")).unwrap();
    for uid in ["65533", "0"] {
        assert!(said.contains(&format!("a process of user {uid} was refused")), "{said}");
    }
    // who is not in the socket's group does not come that far
    let mut outside = Command::new("setpriv");
    let outside =
        outside.args(["--reuid=65534", "--regid=65532", "--clear-groups"]).arg(&binary).args(["signer", "--status", &socket_text]);
    let outside = Finished::of(&outside.env_clear().env("HOME", "/").current_dir("/").output().unwrap());
    assert!(outside.code == 3 && outside.stderr.contains("ermission denied"), "{}", outside.stderr);
    // nobody changes its keys meanwhile
    tiny.refused(&["keys", "rotate", "runner"], 3, "keys/in-use");
    // a service that comes back is found again; and it was the number alone that kept the other one out
    drop(service);
    let _again = serve(&tiny, &socket, &["65534", "65533"]);
    let admitted = other();
    assert_eq!(admitted.code, 0, "{}", admitted.stderr);
    let again = by("65534", &binary, &dir, &home, &run);
    assert!(again.stdout.contains("0 committed, 3 reused"), "{}{}", again.stdout, again.stderr);
}

/// Another process of the signer's own user cannot look into it. Control: into one that is no recluse it can. Needs root to be
/// somebody whom the kernel refuses anything.
#[test]
fn an_ordinary_user_cannot_read_the_memory_of_their_own_signer() {
    if !is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let tiny = Tiny::new();
    let home = tiny.base().join("home");
    let binary = home.join("seaworthy");
    std::fs::create_dir_all(home.join(".config")).unwrap();
    copy_folder(&tiny.base().join("config/seaworthy"), &home.join(".config/seaworthy"));
    assert!(Command::new("cp").arg(SEAWORTHY).arg(&binary).status().unwrap().success());
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&home).status().unwrap().success());
    std::fs::set_permissions(tiny.base(), std::fs::Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let as_user = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home).current_dir("/").stdin(Stdio::null());
        command
    };
    let socket = home.join("signer.sock");
    let (_, id) = keys_of(&tiny);
    let arguments = ["--environment", "staging", "signer", "--id", &id, "--listen", socket.to_str().unwrap()];
    let service = Service(as_user(&binary, &arguments).stderr(Stdio::null()).spawn().unwrap());
    let control = Service(as_user(Path::new("sleep"), &["60"]).spawn().unwrap());
    let ready = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < ready, "the service does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let looks = |pid: u32, file: &str| {
        let path = format!("/proc/{pid}/{file}");
        as_user(Path::new("dd"), &[&format!("if={path}"), "of=/dev/null", "bs=1", "count=1"]).output().unwrap()
    };
    for file in ["maps", "environ", "auxv"] {
        assert!(looks(control.0.id(), file).status.success(), "control: {file}");
        let refused = looks(service.0.id(), file);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("ermission denied"), "{file}: {said}");
    }
}

/// What the signer's process says when it cannot open the keys is what the command says.
#[test]
fn a_signer_that_cannot_start_says_why() {
    let tiny = Tiny::new();
    let (keys, _) = keys_of(&tiny);
    let identity = keys.join("identity.txt");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o644)).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/mode");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&identity, Identity::generate().to_text().as_bytes()).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/locked");
    tiny.refused(&["run", "workflow.yaml", "--signer", "/nowhere/signer.sock"], 3, "signer/gone");
    tiny.refused(&["signer", "--environment", "staging"], 2, "hands it a socket");
    tiny.refused(&["signer", "--environment", "staging", "--listen", "x.sock"], 2, "--id");
    std::fs::remove_file(keys.join("log.age")).unwrap();
    tiny.refused(&["run", "workflow.yaml"], 3, "keys/missing");
}

/// Every signed request in the log, as it stands there.
fn requests(tiny: &Tiny) -> Vec<RunRequest> {
    let mut folders = vec![tiny.dir.join(".seaworthy")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("/bundles/") {
                let bundle = Bundle::from_json(&std::fs::read(&path).unwrap()).unwrap();
                let statement = Statement::from_payload(&bundle.payload).unwrap();
                found.extend(RunRequest::read(&statement).ok());
            }
        }
    }
    found
}

/// A run that is killed and goes on says of its signer then too: it may be another one.
#[test]
fn a_continued_run_states_its_signer_again() {
    let tiny = Tiny::unlocked();
    let text = tiny.read("src/double.sh");
    tiny.write("src/double.sh", format!("sleep 2\n{text}").as_bytes());
    tiny.ok(&["keys", "create"]);
    tiny.ok(&["lock"]);
    let run = tiny.spawn(&["run", "workflow.yaml"]);
    wait_for_start(&tiny, "double");
    end(run);
    assert_eq!(requests(&tiny).len(), 1, "control");
    tiny.ok(&["run", "workflow.yaml"]);
    assert_eq!(tiny.events_of("run.started").len(), 1, "it is the same run");
    let requests = requests(&tiny);
    assert_eq!(requests.len(), 2);
    assert!(requests[0].run == requests[1].run && requests[0].nonce != requests[1].nonce);
    for request in &requests {
        assert_eq!(request.signer.as_ref().map(|signer| (signer.mode, signer.keys.len())), Some((SignerMode::Process, 3)));
    }
    let verified = tiny.ok(&["verify", "log"]);
    assert!(verified.stdout.contains("assurance: L0 · signer: a process of its own (same user)"), "{}", verified.stdout);
}
