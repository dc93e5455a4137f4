//! Folders filled with traps: each refused by name, each with the control that shows what a careless reader gets.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use seaworthy_store::StoreError;
use seaworthy_store::artifacts::{FolderRules, HardLinks, folder_files, hash_folder, open_folder};

use crate::scratch::Scratch;

fn list(dir: &Path, rules: &FolderRules) -> Result<Vec<String>, StoreError> {
    Ok(folder_files(open_folder(dir)?, rules)?.into_iter().map(|file| file.name).collect())
}

#[test]
fn a_plain_tree_is_listed_in_order() {
    let scratch = Scratch::new();
    for name in ["t/b", "t/a/z", "t/a/y/x", "t/__pycache__/c.pyc", "t/a/__pycache__/c.pyc", "t/é"] {
        scratch.write(name, name);
    }
    std::fs::create_dir(scratch.path("t/empty")).unwrap();
    let rules = FolderRules { ignore: ["__pycache__".to_owned()].into(), ..FolderRules::default() };
    assert_eq!(list(&scratch.path("t"), &rules).unwrap(), ["a/y/x", "a/z", "b", "é"]);
    assert_eq!(list(&scratch.path("t"), &FolderRules::default()).unwrap().len(), 6, "nothing is ignored unless asked");
}

#[test]
fn traps_are_refused_by_name() {
    type Trap = fn(&Scratch);
    let traps: [(&str, &str, Trap); 8] = [
        ("link", "symbolic link", |s| symlink(s.path("secret"), s.path("t/link")).unwrap()),
        ("dir", "symbolic link", |s| symlink("/etc", s.path("t/dir")).unwrap()),
        ("up", "symbolic link", |s| symlink("..", s.path("t/up")).unwrap()),
        ("magic", "symbolic link", |s| symlink("/proc/self/root", s.path("t/magic")).unwrap()),
        ("pipe", "FIFO", |s| mknodat(CWD, s.path("t/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap()),
        ("socket", "socket", |s| drop(UnixListener::bind(s.path("t/socket")).unwrap())),
        ("twin", "hard link", |s| std::fs::hard_link(s.path("secret"), s.path("t/twin")).unwrap()),
        ("sub/link", "symbolic link", |s| {
            std::fs::create_dir(s.path("t/sub")).unwrap();
            symlink(s.path("secret"), s.path("t/sub/link")).unwrap();
        }),
    ];
    for (name, reason, trap) in traps {
        let scratch = Scratch::new();
        scratch.write("secret", b"host secret");
        scratch.write("t/honest", b"honest");
        assert_eq!(list(&scratch.path("t"), &FolderRules::default()).unwrap(), ["honest"]);
        trap(&scratch);
        // control: a careless reader follows (a FIFO would block it for ever, a socket cannot be opened by path)
        if !matches!(reason, "FIFO" | "socket") {
            let naive = scratch.path("t").join(name);
            assert!(std::fs::read(&naive).is_ok_and(|bytes| bytes == b"host secret") || std::fs::read_dir(&naive).is_ok(), "{name}");
        }
        let fault = list(&scratch.path("t"), &FolderRules::default()).unwrap_err();
        assert_eq!(fault.code(), "store/refused", "{name}");
        assert!(fault.to_string().contains(name) && fault.to_string().contains(reason), "{fault}");
        hash_folder(open_folder(&scratch.path("t")).unwrap(), &FolderRules::default()).unwrap_err();
    }
}

#[test]
fn a_device_is_refused() {
    let scratch = Scratch::new();
    scratch.write("t/honest", b"honest");
    let made = mknodat(CWD, scratch.path("t/zero"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5));
    // only root can make one
    if made.is_ok() {
        let fault = list(&scratch.path("t"), &FolderRules::default()).unwrap_err();
        assert!(fault.to_string().contains("device"), "{fault}");
    }
}

#[test]
fn the_folder_itself_may_not_be_a_link() {
    let scratch = Scratch::new();
    scratch.write("t/a", b"a");
    symlink(scratch.path("t"), scratch.path("link")).unwrap();
    assert!(std::fs::read(scratch.path("link/a")).is_ok(), "control");
    assert_eq!(list(&scratch.path("link"), &FolderRules::default()).unwrap_err().code(), "store/refused");
}

#[test]
fn a_file_swapped_for_a_link_after_the_listing_is_refused() {
    let scratch = Scratch::new();
    scratch.write("secret", b"host secret");
    scratch.write("out/passwd", b"host secret");
    scratch.write("t/a", b"a");
    scratch.write("t/d/passwd", b"mine");
    let rules = FolderRules::default();
    let folder = open_folder(&scratch.path("t")).unwrap();
    let mut files = seaworthy_store::artifacts::FolderFiles::new(&folder, &rules).unwrap();
    crate::scratch::remove(&scratch.path("t/a"));
    symlink(scratch.path("secret"), scratch.path("t/a")).unwrap();
    std::fs::remove_dir_all(scratch.path("t/d")).unwrap();
    symlink(scratch.path("out"), scratch.path("t/d")).unwrap();
    assert_eq!(std::fs::read(scratch.path("t/d/passwd")).unwrap(), b"host secret", "control: by path it leads out");
    assert_eq!(files.next().unwrap().unwrap_err().code(), "store/refused");
    assert_eq!(files.next().unwrap().unwrap_err().code(), "store/refused");
    assert!(files.next().is_none());
}

#[test]
fn limits_hold() {
    let scratch = Scratch::new();
    for i in 0..10 {
        scratch.write(&format!("t/{i}"), [0; 10]);
    }
    scratch.write("deep/a/b/c/d", b"");
    let rules = FolderRules::default();
    let cases = [
        ("t", FolderRules { files_max: 9, ..rules.clone() }, false),
        ("t", FolderRules { files_max: 10, ..rules.clone() }, true),
        ("t", FolderRules { bytes_max: 99, ..rules.clone() }, false),
        ("t", FolderRules { bytes_max: 100, ..rules.clone() }, true),
        ("deep", FolderRules { depth_max: 2, ..rules.clone() }, false),
        ("deep", FolderRules { depth_max: 3, ..rules.clone() }, true),
    ];
    for (dir, rules, taken) in cases {
        let got = list(&scratch.path(dir), &rules);
        assert_eq!(got.is_ok(), taken, "{rules:?}");
        assert!(got.is_ok() || got.is_err_and(|fault| fault.code() == "store/too-large"));
    }
    std::fs::hard_link(scratch.path("t/1"), scratch.path("other")).unwrap();
    assert!(list(&scratch.path("t"), &rules).is_err());
    assert!(list(&scratch.path("t"), &FolderRules { hard_links: HardLinks::Accept, ..rules }).is_ok());
}

#[test]
fn a_sparse_giant_stops_at_the_limit_without_being_read() {
    let scratch = Scratch::new();
    let path = scratch.write("t/giant", b"");
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10 << 40).unwrap();
    assert_eq!(list(&scratch.path("t"), &FolderRules::default()).unwrap_err().code(), "store/too-large");
}
