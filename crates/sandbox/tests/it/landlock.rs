//! The profile without namespaces: places, limits, what is attested, what is left behind.
//!
//! In: scripts. Out: what they saw; the report.
//!
//! **Invariant:** what it cannot stop is in the report by number.

use serde_json::json;

use crate::harness::{self, drive, script, text};

fn described(line: &str) -> serde_json::Value {
    let mut described = script(line);
    described["profile"] = json!("landlock");
    described["closures"] = json!([]);
    for (host, place) in
        [("/usr", "/usr"), ("/bin", "/bin"), ("/lib", "/lib"), ("/lib64", "/lib64"), ("/etc/ld.so.cache", "/etc/ld.so.cache")]
    {
        if std::path::Path::new(host).exists() {
            described["mounts"].as_array_mut().unwrap().push(json!([host, place, true]));
        }
    }
    described["env"]["SEAWORTHY_INPUTS"] = json!("/in");
    described["env"]["SEAWORTHY_OUTPUTS"] = json!("/out");
    described["env"]["TMPDIR"] = json!("/tmp");
    described
}

#[test]
fn places_are_found_by_the_variables_and_results_are_collected() {
    let folder = harness::scratch("landlock");
    std::fs::write(folder.join("data"), "seen\n").unwrap();
    let line = "cat $SEAWORTHY_INPUTS/d/data && cp $SEAWORTHY_INPUTS/d/data $SEAWORTHY_OUTPUTS/out/copy && pwd && echo $SEAWORTHY_OUTPUTS";
    let mut wanted = described(line);
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&folder), "/in/d", false]));
    let outcome = drive(&wanted);
    assert_eq!(outcome["exit"], json!({"code": 0}), "{outcome}");
    let printed = text(&outcome, "stdout");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((lines[0], outcome["outputs"][0]["files"][0]["start"].as_str()), ("seen", Some("seen\n")), "{outcome}");
    let view = lines[2].strip_suffix("/out").unwrap();
    assert_eq!(lines[1], format!("{view}/tmp"));
    assert!(!std::path::Path::new(view).exists(), "its folder is gone when it is over");
}

#[test]
fn the_report_says_that_there_were_no_namespaces_and_what_was_open() {
    let outcome = drive(&described("true"));
    let enforced = &outcome["enforced"];
    assert_eq!((&enforced["namespaces"], &enforced["network"]), (&json!([]), &json!("none")), "{outcome}");
    assert!(enforced["gaps"].to_string().contains("no namespaces"), "{enforced}");
    let open = enforced["not_stopped"].as_array().unwrap();
    assert!(open.contains(&json!(6)) && open.contains(&json!(50)) && !open.contains(&json!(2)), "{enforced}");
    assert_eq!(open.contains(&json!(45)), !harness::is_root(), "{enforced}");
}

/// A host file that everybody may read, and one of the launching user's own.
#[test]
fn nothing_is_read_that_was_not_shown() {
    let secret = harness::scratch("landlock-secret").join("key");
    std::fs::write(&secret, "key").unwrap();
    for path in ["/etc/hostname", "/etc/passwd", "/proc/1/status", "/proc/self/mountinfo", secret.to_str().unwrap()] {
        let outcome = drive(&described(&format!("cat {path}")));
        assert_ne!(outcome["exit"], json!({"code": 0}), "{path}: {outcome}");
    }
    // control: without the sandbox each can be read
    assert!(std::fs::read("/etc/passwd").is_ok() && std::fs::read(&secret).is_ok());
}

#[test]
fn a_folder_closed_by_the_step_is_removed_all_the_same() {
    let outcome = drive(&described("mkdir -p $TMPDIR/a/b && chmod 0 $TMPDIR/a && echo $TMPDIR"));
    let printed = text(&outcome, "stdout");
    assert!(printed.contains("seaworthy-step-") && !std::path::Path::new(printed.trim()).exists(), "{outcome}");
}

/// 17, 60: the kernel makes datagram sockets of "raw" pairs, which could be sent anywhere.
#[test]
fn no_pair_of_sockets_reaches_a_socket_of_the_host() {
    let folder = harness::scratch("landlock-socket");
    let place = folder.join("s");
    let listener = std::os::unix::net::UnixDatagram::bind(&place).unwrap();
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    listener.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    for kind in ["SOCK_DGRAM", "SOCK_RAW"] {
        let program = format!(
            "use Socket; socketpair(A,B,AF_UNIX,{kind},0) or exit 7; send(A,'out',0,pack_sockaddr_un('{}')) or exit 8; exit 0",
            harness::string(&place)
        );
        let (mut heard, mut wanted) = ([0; 8], described("true"));
        wanted["argv"] = json!(["/usr/bin/perl", "-e", program]);
        assert_eq!(drive(&wanted)["exit"], json!({"code": 7}), "{kind}");
        assert!(listener.recv(&mut heard).is_err(), "{kind}");
        // the control: the same program without a sandbox is heard
        let bare = std::process::Command::new("/usr/bin/perl").args(["-e", &program]).status().unwrap();
        assert_eq!((bare.code(), listener.recv(&mut heard).ok()), (Some(0), Some(3)), "{kind}");
    }
    // what programs need goes on: a pair of streams
    let mut wanted = described("true");
    wanted["argv"] = json!(["/usr/bin/perl", "-e", "use Socket; socketpair(A,B,AF_UNIX,SOCK_STREAM,0) or exit 7; exit 0"]);
    assert_eq!(drive(&wanted)["exit"], json!({"code": 0}));
}

/// 54: the first process dies alone; the step's main process goes with it.
#[test]
fn who_loses_its_warden_dies() {
    let seconds = format!("{}", 70_000 + std::process::id() % 10_000);
    let wanted = described(&format!("exec sleep {seconds}"));
    let launcher = std::thread::spawn(move || drive(&wanted));
    let mut warden = None;
    assert!(harness::eventually(|| {
        let step = harness::marked(&seconds).first().copied();
        let stat = step.and_then(|step| std::fs::read_to_string(format!("/proc/{step}/stat")).ok());
        warden = stat.and_then(|stat| stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<i32>().ok());
        warden.is_some()
    }));
    let killed = std::process::Command::new("kill").args(["-9", &warden.unwrap().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(harness::eventually(|| harness::marked(&seconds).is_empty()), "the step outlived its warden");
    launcher.join().unwrap();
}

/// What a mask hides in a folder that is shown cannot be read, though its name shows; all else can.
#[test]
fn a_mask_hides_contents_within_a_folder() {
    let folder = harness::scratch("landlock-mask");
    for (name, text) in [("lib/own.py", "own"), ("lib/deep/own.py", "deep"), ("lib/site-packages/other.py", "other")] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let line = "cd $SEAWORTHY_INPUTS/lib && cat own.py deep/own.py && cat site-packages/other.py; ls site-packages";
    for (masked, said) in [(true, "owndeepother.py\n"), (false, "owndeepotherother.py\n")] {
        let mut wanted = described(line);
        let mounts = wanted["mounts"].as_array_mut().unwrap();
        mounts.push(json!([harness::string(&folder.join("lib")), "/in/lib", false]));
        if masked {
            mounts.push(json!(["/dev/null", "/in/lib/site-packages", false]));
        }
        let outcome = drive(&wanted);
        assert_eq!(text(&outcome, "stdout"), said, "{outcome}");
    }
}

/// A mask that would have to hide a mount of its own is refused, not forgotten.
#[test]
fn a_mask_over_a_mount_is_refused() {
    let folder = harness::scratch("landlock-over");
    std::fs::write(folder.join("data"), "seen").unwrap();
    let mut wanted = described("cat $SEAWORTHY_INPUTS/d/data");
    let mounts = wanted["mounts"].as_array_mut().unwrap();
    mounts.push(json!([harness::string(&folder), "/in/d", false]));
    let control = drive(&wanted);
    assert_eq!(text(&control, "stdout"), "seen", "{control}");
    wanted["mounts"].as_array_mut().unwrap().push(json!(["/dev/null", "/in/d", false]));
    assert_eq!(drive(&wanted)["error"]["code"], "sandbox/setup");
}

/// Words of the command that are places lead there; others stay.
#[test]
fn places_in_the_command_are_found() {
    let folder = harness::scratch("landlock-words");
    std::fs::write(folder.join("data"), "seen\n").unwrap();
    let mut wanted = described("true");
    wanted["argv"] =
        json!(["/bin/sh", "-c", "cat \"$1\" \"${2#--input=}\"; echo \"$3\"", "/in/d", "/in/d/data", "--input=/in/d/data", "a=/in/d"]);
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&folder), "/in/d", false]));
    let untouched = drive(&wanted);
    assert_ne!(text(&untouched, "stdout"), "seen\nseen\na=/in/d\n", "not asked for: {untouched}");
    wanted["places_in_words"] = json!(true);
    let outcome = drive(&wanted);
    assert_eq!(text(&outcome, "stdout"), "seen\nseen\na=/in/d\n", "{outcome}");
}

/// Root's step is a user of its own: what that user cannot reach is shown as a copy, which it cannot change; a program is refused.
#[test]
fn what_is_closed_to_others_is_copied() {
    if !harness::is_root() {
        println!("skipped: only root's steps are other users");
        return;
    }
    let closed = harness::scratch("landlock-closed");
    std::fs::create_dir_all(closed.join("in/below")).unwrap();
    std::fs::write(closed.join("in/below/data"), "seen\n").unwrap();
    std::os::unix::fs::symlink("/etc/shadow", closed.join("in/link")).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let line = "cat $SEAWORTHY_INPUTS/d/below/data; cat $SEAWORTHY_INPUTS/d/link; echo x > $SEAWORTHY_INPUTS/d/below/data; \
                chmod 777 $SEAWORTHY_INPUTS/d/below/data; rm $SEAWORTHY_INPUTS/d/below/data; echo end";
    let mut wanted = described(line);
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&closed.join("in")), "/in/d", false]));
    let outcome = drive(&wanted);
    assert_eq!(text(&outcome, "stdout"), "seen\nend\n", "{outcome}");
    assert_eq!(std::fs::read_to_string(closed.join("in/below/data")).unwrap(), "seen\n");
    // a program at its own place: no copy can stand there
    let program = closed.join("tool");
    std::fs::copy("/bin/true", &program).unwrap();
    let mut wanted = described("true");
    wanted["mounts"].as_array_mut().unwrap().push(json!([harness::string(&program), harness::string(&program), true]));
    let refused = drive(&wanted);
    assert_eq!(refused["error"]["code"], "sandbox/unsupported", "{refused}");
    assert!(refused["error"]["message"].to_string().contains("cannot reach the program"), "{refused}");
}
