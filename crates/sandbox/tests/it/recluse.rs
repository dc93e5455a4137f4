//! A recluse that confined itself can do nothing but what it lives on; the same program before that can do everything.
//!
//! In: the probe's attempts. Out: pass or fail.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::harness::{PROBE, is_root};

/// What the filter says, and what Landlock says of files.
const EPERM: &str = "1";
const EACCES: &str = "13";

fn attempts(how: &str, ordinary: bool) -> BTreeMap<String, String> {
    let dir = std::env::temp_dir().join(format!("seaworthy-recluse-{}-{how}-{ordinary}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (file, probe) = (dir.join("file"), dir.join("probe"));
    std::fs::write(&file, b"there").unwrap();
    assert!(Command::new("cp").arg(PROBE).arg(&probe).status().unwrap().success());
    let mut command = if ordinary && is_root() {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(&dir).status().unwrap().success());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&probe);
        command
    } else {
        Command::new(&probe)
    };
    let output = command.args(["recluse", how]).arg(&file).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{how}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(&dir).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_once(": ")).map(|(name, end)| (name.to_owned(), end.to_owned())).collect()
}

#[test]
fn a_confined_recluse_opens_connects_and_executes_nothing() {
    for ordinary in [false, true] {
        // control: before it confines itself all of this works
        let mut loose = attempts("loose", ordinary);
        // not dumpable any more: an ordinary user's own memory file belongs to root by then
        loose.remove("read own memory");
        let failed: Vec<_> = loose.iter().filter(|(name, end)| *end != "done" && *name != "lives").collect();
        assert!(failed.is_empty(), "ordinary: {ordinary}: {failed:?}");
        let confined = attempts("confined", ordinary);
        assert_eq!(confined.get("lives").map(String::as_str), Some("true"));
        let other: Vec<_> = confined.iter().filter(|(name, end)| *end != EPERM && *name != "lives").collect();
        assert!(other.is_empty(), "ordinary: {ordinary}: not refused by the filter: {other:?}");
        assert_eq!(confined.len(), 20, "{confined:?}");
    }
}

/// The two layers one by one: each refuses by itself what it is there for, by its own error, and what is not its own goes on.
#[test]
fn each_layer_of_a_recluse_refuses_its_own_by_itself() {
    for ordinary in [false, true] {
        let files = attempts("landlock", ordinary);
        for name in ["read a file", "list a folder", "write a file", "listen", "execute"] {
            assert_eq!(files.get(name).map(String::as_str), Some(EACCES), "ordinary: {ordinary}: {name}: {files:?}");
        }
        for name in ["thread", "pair of sockets", "executable memory", "memory file", "look at a file"] {
            assert_eq!(files.get(name).map(String::as_str), Some("done"), "ordinary: {ordinary}: {name}");
        }
        let calls = attempts("seccomp", ordinary);
        let through: Vec<_> = calls.iter().filter(|(name, end)| *end != EPERM && *name != "lives").collect();
        assert!(through.is_empty(), "ordinary: {ordinary}: {through:?}");
        assert_eq!(calls.get("lives").map(String::as_str), Some("true"));
    }
}
