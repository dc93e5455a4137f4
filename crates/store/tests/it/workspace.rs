//! The workspace's layout and its files.

use std::os::unix::fs::{PermissionsExt, symlink};

use seaworthy_core::event::EventKind;
use seaworthy_core::id::Name;
use seaworthy_store::workspace::{Workspace, config_file, text_file, write_atomic};

use crate::evidence::MemoryLog;
use crate::scratch::{Scratch, flip, write};

#[test]
fn a_workspace_keeps_its_id_whoever_creates_it_first() {
    let scratch = Scratch::new();
    let root = scratch.path("");
    assert!(Workspace::open(&root).is_err());
    let ids: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Workspace::create(&root).unwrap().id().to_owned())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 16));
    assert_eq!(std::fs::read_dir(scratch.path(".seaworthy")).unwrap().count(), 1, "no temporary file stays");
    let workspace = Workspace::open(&root).unwrap();
    let staging = Name::new("staging").unwrap();
    let paths = workspace.environment(&staging).unwrap();
    assert_eq!(std::fs::metadata(&paths.root).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(paths.catalog, scratch.path(".seaworthy/staging/catalog.db"));
    assert_eq!(workspace.environments().unwrap(), [staging]);
}

#[test]
fn an_edited_id_is_refused_or_found_by_the_log() {
    let scratch = Scratch::new();
    let root = scratch.path("");
    let good = Workspace::create(&root).unwrap();
    let path = scratch.path(".seaworthy/workspace.json");
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    for at in 0..length {
        flip(&path, at);
        // either it is no id any more, or it is another one
        assert!(Workspace::open(&root).map_or(true, |other| other.id() != good.id()), "{at}");
        flip(&path, at);
    }
    assert_eq!(Workspace::open(&root).unwrap(), good);
}

#[test]
fn config_files_are_bounded_text() {
    let scratch = Scratch::new();
    assert_eq!(config_file(&scratch.write("a", "text")).unwrap(), "text");
    assert_eq!(text_file(&scratch.write("b", "12345"), 5).unwrap(), "12345");
    assert_eq!(text_file(&scratch.write("b", "12345"), 4).unwrap_err().code(), "store/too-large");
    assert_eq!(config_file(&scratch.write("c", [0x61, 0xff])).unwrap_err().code(), "store/refused");
    assert_eq!(config_file(&scratch.path("")).unwrap_err().code(), "store/refused");
    assert_eq!(config_file(&scratch.path("absent")).unwrap_err().code(), "store/io");
    rustix::fs::mknodat(rustix::fs::CWD, scratch.path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert_eq!(config_file(&scratch.path("pipe")).unwrap_err().code(), "store/refused");
}

#[test]
fn files_are_replaced_as_a_whole() {
    let scratch = Scratch::new();
    let path = scratch.path("lock");
    write_atomic(&path, b"one", 0o644).unwrap();
    write_atomic(&path, b"two", 0o600).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let target = scratch.write("target", b"precious");
    symlink(&target, scratch.path("link")).unwrap();
    // control: writing through the link reaches the target
    write(&scratch.path("link"), b"overwritten");
    assert_eq!(std::fs::read(&target).unwrap(), b"overwritten");
    write_atomic(&scratch.path("link"), b"new", 0o644).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"overwritten");
    assert_eq!(std::fs::read(scratch.path("link")).unwrap(), b"new");
    assert!(write_atomic(&scratch.path("absent/x"), b"", 0o644).is_err());
    assert_eq!(std::fs::read_dir(scratch.path("")).unwrap().count(), 3);
}

#[test]
fn an_id_that_is_not_the_logs_is_a_fault() {
    let scratch = Scratch::new();
    let workspace = Workspace::create(&scratch.path("")).unwrap();
    let staging = Name::new("staging").unwrap();
    assert_eq!(workspace.audit(&staging, &MemoryLog::default()), [], "an empty log says nothing");
    let begun = |workspace: &str, environment: &str| {
        let mut log = MemoryLog::default();
        log.event(EventKind::WorkspaceCreated { workspace: workspace.into(), environment: environment.into() });
        log
    };
    assert_eq!(workspace.audit(&staging, &begun(workspace.id(), "staging")), []);
    let mut other = MemoryLog::default();
    other.event(EventKind::LockUpdated { pin: "x".into(), lock: seaworthy_core::digest::Digest::of(b""), digest: None, before: None });
    let mut garbage = MemoryLog::default();
    garbage.entries.push(b"garbage".to_vec());
    for log in [begun("0000000000000000", "staging"), begun(workspace.id(), "prod"), other, garbage] {
        assert_eq!(workspace.audit(&staging, &log).len(), 1);
    }
}
