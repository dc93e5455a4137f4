//! The battery of all numbered attacks, each in a sandbox and, where that harms nobody, without one.
//!
//! In: `seaworthy_sandbox::attack`, which ships. Out: what a profile claims to stop is blocked, and its control works.
//!
//! **Invariant:** an attack counts as stopped only if the same attack works without the sandbox, or the table says why that
//! cannot be tried.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::Command;

use seaworthy_sandbox::Profile;
use seaworthy_sandbox::attack::battery::{self, Battery, Report};
use seaworthy_sandbox::attack::verdict::Verdict;
use serde_json::json;

use crate::harness::{self, PROBE, is_root};

fn strictest() -> Profile {
    harness::profile().parse().unwrap()
}

/// One line a try; what is not as it should be, of the attacks that the profile claims to stop.
fn faults(report: &Report, controls: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for tried in &report.attacks {
        assert!(!tried.tries.is_empty(), "nothing tries attack {}: {}", tried.number, tried.title);
        for one in &tried.tries {
            let line = format!("{:>2} {:<40} inside: {:?} outside: {:?} {:?}", tried.number, one.attack, one.inside, one.outside, one.note);
            let excused = tried.not_claimed.is_some() || matches!(tried.number, 18 | 42);
            if !matches!(one.inside, Verdict::Blocked(_)) && !excused {
                faults.push(format!("inside: {line}"));
            }
            let shown = matches!(one.outside, Some(Verdict::Allowed(_)));
            if controls && one.outside.is_some() && one.note.is_none() && !shown {
                faults.push(format!("control: {line}"));
            }
        }
    }
    faults
}

#[test]
fn every_attack_is_blocked_and_works_without_the_sandbox() {
    let report = battery::run(&Battery { program: PROBE.into(), prefix: Vec::new(), profile: strictest() }).unwrap();
    let faults = faults(&report, true);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(report.broken().count(), 0);
    let [blocked, allowed, inconclusive] = report.counts();
    println!("{blocked} blocked, {allowed} allowed, {inconclusive} inconclusive");
    assert_eq!(blocked + allowed + inconclusive, 65);
    if strictest() == Profile::Strict {
        assert!(allowed == 0 && blocked >= 64, "{blocked} blocked, {allowed} allowed");
    }
    let shown = report.attacks.iter().flat_map(|tried| &tried.tries).filter(|one| matches!(one.outside, Some(Verdict::Allowed(_))));
    assert!(shown.count() >= 40, "controls that show their attack");
}

/// The same battery against the weaker sandbox of an ordinary user: open is what the profile says, and nothing else.
#[test]
fn an_ordinary_user_without_a_cgroup_leaves_open_what_the_profile_says() {
    let report = battery::run(&ordinary(Profile::NoCgroup)).unwrap();
    let faults = faults(&report, false);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let open: Vec<u8> =
        report.attacks.iter().filter(|tried| matches!(tried.verdict, Verdict::Allowed(_))).map(|tried| tried.number).collect();
    assert_eq!(open, [49], "and it really is open");
}

/// The battery by somebody who is not root.
pub(crate) fn ordinary(profile: Profile) -> Battery {
    let (_, program) = crate::ordinary::launcher();
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let prefix = if is_root() { words.map(str::to_owned).to_vec() } else { Vec::new() };
    Battery { program: PathBuf::from(program), prefix, profile }
}

/// The weakest profile, as root and as an ordinary user to whom the kernel refuses user namespaces: what it claims to stop is stopped.
#[test]
fn without_user_namespaces_landlock_stops_what_it_claims() {
    let mut refused = ordinary(Profile::Landlock);
    // a user namespace in which no other can be made: what pods and some desktops look like from inside
    let words = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    refused.prefix.extend(["unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", words, "sh"].map(str::to_owned));
    let mut control = Command::new(&refused.prefix[0]);
    let control = control.args(&refused.prefix[1..]).arg(&refused.program).args(["preflight", "no-cgroup"]).output().unwrap();
    assert!(String::from_utf8_lossy(&control.stdout).contains("user.max_user_namespaces"), "{control:?}");
    for battery in [refused, Battery { program: PROBE.into(), prefix: Vec::new(), profile: Profile::Landlock }] {
        let report = battery::run(&battery).unwrap();
        let faults = faults(&report, false);
        assert!(faults.is_empty(), "{:?}: {}", battery.prefix, faults.join("\n"));
        let [blocked, allowed, _] = report.counts();
        assert!(blocked >= 60 && allowed >= 1, "{blocked} blocked, {allowed} allowed");
    }
}

/// A profile that leaves a wall out is found out: the report of provisioning is not that of strict.
#[test]
fn what_a_profile_does_not_claim_is_told_from_what_broke() {
    if !is_root() {
        println!("skipped: the launcher itself must be able to make the cgroup");
        return;
    }
    let report = battery::run(&Battery { program: PROBE.into(), prefix: Vec::new(), profile: Profile::Provision }).unwrap();
    let loopback = report.attacks.iter().find(|tried| tried.number == 8).unwrap();
    assert!(matches!(loopback.verdict, Verdict::Allowed(_)) && loopback.not_claimed.is_some(), "{loopback:?}");
    assert_eq!(report.broken().map(|tried| tried.number).collect::<Vec<_>>(), Vec::<u8>::new());
}

/// The walls of the network are the profile's doing: the same attack in the profile that leaves them out.
#[test]
fn provisioning_reaches_the_network_and_says_so() {
    let (name, listener) = (harness::unique("abstract"), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let profile = if harness::profile() == "strict" { "provision" } else { return };
    for words in [["attack", "connect", &address], ["attack", "abstract-socket", &name]] {
        let mut described = harness::probe(&words);
        described["profile"] = json!(profile);
        let outcome = harness::drive(&described);
        // Landlock keeps abstract sockets apart even here.
        let expected = if words[1] == "connect" { "ALLOWED" } else { "BLOCKED" };
        assert!(harness::text(&outcome, "stdout").starts_with(expected), "{outcome}");
        assert_eq!(outcome["enforced"]["network"], "host");
        assert!(outcome["enforced"]["gaps"].to_string().contains("network of the host"), "{outcome}");
    }
}

/// 42, the control: the same file does make an ordinary user root.
#[test]
fn set_user_id_programs_work_outside() {
    if !is_root() {
        println!("skipped: only root can make a program of root's");
        return;
    }
    let path = harness::scratch("set-user-id").join("id");
    fs::copy("/usr/bin/id", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let output = Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&path).arg("-u").output().unwrap();
    assert_eq!(output.stdout, b"0\n", "{output:?}");
}

/// 36, 45: a device or a set-id file that lies in an input folder already.
#[test]
fn devices_in_inputs_are_dead() {
    if !is_root() {
        println!("skipped: only root can make a device");
        return;
    }
    let folder = harness::scratch("device-input");
    let device = folder.join("zero");
    let made = Command::new("mknod").arg(&device).args(["c", "1", "5"]).status().unwrap();
    assert!(made.success());
    fs::set_permissions(&device, fs::Permissions::from_mode(0o666)).unwrap();
    let mut described = harness::probe(&["attack", "read", "/in/zero"]);
    described["mounts"].as_array_mut().unwrap().push(json!([harness::string(&folder), "/in", false]));
    let outcome = harness::drive(&described);
    assert!(harness::text(&outcome, "stdout").starts_with("BLOCKED"), "{outcome}");
    assert!(File::open(&device).is_ok(), "the control opens it");
}
