//! The profile `gpu`: declared accelerators and nothing else.
//!
//! In: stand-in nodes in a `/dev` of the test's own. Out: what the step sees of them, and every node that is refused.
//!
//! **Invariant:** each refused node can be opened outside, where nothing refuses it, or is no device at all.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{self, PROBE, script, text};

/// Runs a description where `/dev` is a folder of its own, with stand-ins made by `make`.
fn with_devices(make: &str, described: &Value) -> Value {
    let folder = harness::scratch("dev");
    let words = format!(
        "set -e; d={dir}; mount -t tmpfs -o mode=0755 none $d; \
         for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 $d/${{n%:*}} c 1 ${{n#*:}}; done; \
         mkdir $d/dri $d/shm; cd $d; {make}; cd /; mount --bind $d /dev; exec \"$0\" drive",
        dir = harness::string(&folder)
    );
    harness::drive_by(Command::new("unshare").args(["-m", "sh", "-c", &words, PROBE]), described)
}

fn described(line: &str, devices: &[&str]) -> Value {
    let mut described = script(line);
    described["profile"] = json!("gpu");
    described["devices"] = json!(devices);
    described
}

/// Only root can make device nodes, and a `/dev` of its own.
fn can_try() -> bool {
    harness::is_root() && harness::profile() == "strict"
}

#[test]
fn a_declared_device_is_there_and_no_other() {
    if !can_try() {
        println!("skipped: only root can make devices");
        return;
    }
    let make = "mknod -m 666 nvidia0 c 1 5; mknod -m 666 nvidia1 c 1 5; mknod -m 666 dri/renderD128 c 1 3; mknod -m 666 sda b 7 0";
    let line = "head -c 4 /dev/nvidia0 | wc -c; echo x > /dev/dri/renderD128 && echo written; \
                for d in nvidia1 sda; do test -e /dev/$d && echo $d; done; chmod 600 /dev/nvidia0; rm /dev/nvidia0; echo end";
    let outcome = with_devices(make, &described(line, &["/dev/nvidia0", "/dev/dri/renderD128"]));
    assert_eq!(text(&outcome, "stdout").split_whitespace().collect::<Vec<_>>(), ["4", "written", "end"], "{outcome}");
    let enforced = &outcome["enforced"];
    assert_eq!(enforced["devices"], json!(["nvidia0 (1:5)", "dri/renderD128 (1:3)"]), "{enforced}");
    assert!(enforced["not_stopped"].as_array().unwrap().contains(&json!(37)), "{enforced}");
    // the control: what is not declared is not there, though the host has it
    let none = with_devices(make, &described("head -c 4 /dev/nvidia0 | wc -c", &[]));
    assert_eq!(text(&none, "stdout").trim(), "0", "{none}");
}

#[test]
fn what_is_no_accelerator_is_refused() {
    if !can_try() {
        println!("skipped: only root can make devices");
        return;
    }
    for (make, path, why) in [
        ("mknod nvidia0 b 7 0", "/dev/nvidia0", "is no character device"),
        ("echo x > nvidia0", "/dev/nvidia0", "is no character device"),
        ("mkdir nvidia0", "/dev/nvidia0", "is no character device"),
        ("mkfifo nvidia0", "/dev/nvidia0", "is no character device"),
        ("ln -s zero nvidia0", "/dev/nvidia0", "is no character device"),
        ("mkdir x; mknod x/renderD128 c 1 5; rmdir dri; ln -s x dri", "/dev/dri/renderD128", "cannot be looked at"),
        ("mknod nvidia0 c 1 1", "/dev/nvidia0", "has the number 1:1"),
        ("mknod nvidia0 c 1 11", "/dev/nvidia0", "has the number 1:11"),
        ("mknod nvidia0 c 10 232", "/dev/nvidia0", "has the number 10:232"),
        ("mknod kfd c 5 1", "/dev/kfd", "has the number 5:1"),
        ("mknod mem c 1 1", "/dev/mem", "is no accelerator"),
        ("mknod kmsg c 1 11", "/dev/kmsg", "is no accelerator"),
        ("mknod sda b 7 0", "/dev/sda", "is no accelerator"),
        ("mknod nvidia0 c 1 5", "/dev/dri/../nvidia0", "is no plain path"),
        ("mknod nvidia0 c 1 5", "/proc/self/root/dev/nvidia0", "does not lie in /dev"),
        ("true", "/dev/nvidia0", "cannot be looked at"),
    ] {
        let outcome = with_devices(make, &described("true", &[path]));
        assert_eq!(outcome["error"]["code"], "sandbox/spec", "{make}: {outcome}");
        assert!(outcome["error"]["message"].as_str().unwrap().contains(why), "{make}: {outcome}");
    }
}

#[test]
fn other_profiles_show_no_devices() {
    if !can_try() {
        println!("skipped: only root can make devices");
        return;
    }
    for profile in ["strict", "no-cgroup", "landlock"] {
        let mut wanted = described("true", &["/dev/nvidia0"]);
        wanted["profile"] = json!(profile);
        let outcome = with_devices("mknod -m 666 nvidia0 c 1 5", &wanted);
        assert_eq!(outcome["error"]["code"], "sandbox/spec", "{profile}: {outcome}");
    }
    let twice = with_devices("mknod nvidia0 c 1 5", &described("true", &["/dev/nvidia0", "/dev/nvidia0"]));
    assert!(twice["error"]["message"].as_str().unwrap().contains("declared twice"), "{twice}");
}
