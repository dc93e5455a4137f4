//! The copy of the host's files that steps are shown: attacks on the cache between runs and between the steps of one.
//!
//! in: the host's closure, a cache of our own; out: what is refused, and what runs with the check left out.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use seaworthy_core::artifact::Manifest;
use seaworthy_core::workflow::model::EnvironmentSource;
use seaworthy_engine::environment::{EnvironmentError, HostFiles, Places, Setting};
use seaworthy_engine::runtime;
use seaworthy_sandbox::{Cancel, ClosureFile, Exit, Mount, host_closure};
use seaworthy_store::artifacts::{Artifacts, NewFile, hash_files};

use crate::environment::{Folder, init, run, said, settings, write};

struct Host {
    folder: Folder,
    closure: Vec<ClosureFile>,
    manifest: Manifest,
}

impl Host {
    fn new(name: &str) -> Self {
        Self::with(name, |_| host_closure().unwrap())
    }

    fn with(name: &str, closure: impl Fn(&Path) -> Vec<ClosureFile>) -> Self {
        init();
        let folder = Folder::new(name);
        let closure = closure(&folder.0);
        let open = |file: &ClosureFile| NewFile {
            name: file.target.to_str().unwrap().trim_start_matches('/').to_owned(),
            file: fs::File::open(&file.source).unwrap(),
            executable: true,
        };
        let (manifest, _) = hash_files(closure.iter().filter(|file| !file.is_dir).map(open).collect()).unwrap();
        Self { folder, closure, manifest }
    }

    /// As a new process would find it.
    fn files(&self) -> Result<HostFiles, EnvironmentError> {
        let (cache_dir, state_dir) = (self.folder.0.join("cache"), self.folder.0.join("state"));
        HostFiles::plain(
            &self.closure,
            self.manifest.clone(),
            seaworthy_sandbox::Profile::Strict,
            Places { cache_dir: &cache_dir, state_dir: &state_dir },
        )
    }

    fn tree(&self, files: &HostFiles) -> PathBuf {
        self.folder.0.join("cache/host").join(files.digest().hex())
    }
}

/// What `sh -c 'echo good'` says.
fn speak(mounts: Vec<Mount>) -> String {
    let env = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into();
    let outcome = run(Setting { mounts, env, ..Setting::default() }, &["/bin/sh", "-c", "echo good"]);
    assert_eq!(outcome.exit, Exit::Code(0), "{}", said(&outcome));
    said(&outcome).trim().to_owned()
}

/// The tree as it lies there, unverified.
fn unchecked(tree: &Path) -> Vec<Mount> {
    let tops = fs::read_dir(tree).unwrap().map(|top| top.unwrap());
    tops.map(|top| mount(&top.path(), &format!("/{}", top.file_name().to_str().unwrap()))).collect()
}

fn mount(source: &Path, target: &str) -> Mount {
    Mount { source: fs::File::open(source).unwrap().into(), target: target.to_owned(), exec: true }
}

fn executable(path: &Path, bytes: &[u8]) {
    write(path, bytes);
    fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
}

/// Other bytes in the same inode, of the same length, with the old time of change: what a careless check does not see.
fn flip(path: &Path) {
    let times = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_modified(times).unwrap();
    drop(file);
    fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_touched_copy_never_runs() {
    let host = Host::new("touched");
    let files = host.files().unwrap();
    let tree = host.tree(&files);
    let (bin, echo) = (tree.join("usr/bin"), fs::read(tree.join("usr/bin/echo")).unwrap());
    for folder in ["usr", "usr/bin", "bin"] {
        fs::set_permissions(tree.join(folder), Permissions::from_mode(0o755)).unwrap();
    }
    let (cat, sh) = (fs::read(bin.join("cat")).unwrap(), fs::read(tree.join("bin/sh")).unwrap());
    type Change<'a> = Box<dyn Fn() + 'a>;
    let replaced = |path: &Path, target: &Path| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    // what is done, what is said, how it is undone
    let cases: [(Change<'_>, &str, Change<'_>); 7] = [
        (Box::new(|| flip(&bin.join("cat"))), "`usr/bin/cat` was changed", Box::new(|| executable(&bin.join("cat"), &cat))),
        (Box::new(|| executable(&tree.join("bin/sh"), &echo)), "`bin/sh` was changed", Box::new(|| executable(&tree.join("bin/sh"), &sh))),
        (
            Box::new(|| executable(&bin.join("evil"), &cat)),
            "`usr/bin/evil` was added",
            Box::new(|| fs::remove_file(bin.join("evil")).unwrap()),
        ),
        (
            Box::new(|| fs::remove_file(bin.join("cat")).unwrap()),
            "`usr/bin/cat` is missing",
            Box::new(|| executable(&bin.join("cat"), &cat)),
        ),
        (
            Box::new(|| replaced(&bin.join("cat"), Path::new("echo"))),
            "`usr/bin/cat` was replaced: it is a symbolic link",
            Box::new(|| executable(&bin.join("cat"), &cat)),
        ),
        (
            Box::new(|| fs::hard_link(bin.join("cat"), host.folder.0.join("other-name")).unwrap()),
            "`usr/bin/cat` was replaced: it is a hard link",
            Box::new(|| fs::remove_file(host.folder.0.join("other-name")).unwrap()),
        ),
        (
            Box::new(|| fs::create_dir(bin.join("more")).unwrap()),
            "folder `usr/bin/more` was added",
            Box::new(|| fs::remove_dir(bin.join("more")).unwrap()),
        ),
    ];
    assert_eq!(speak(files.mounts().unwrap()), "good");
    for (change, said, undo) in cases {
        change();
        for (when, refused) in
            [("after the step", files.check()), ("in the same run", files.mounts().map(drop)), ("in the next run", host.files().map(drop))]
        {
            let error = refused.expect_err(&format!("{said}, {when}"));
            assert_eq!(error.code(), "environment/tampered", "{when}: {error}");
            assert!(error.to_string().contains(said), "{when}: {error}");
        }
        if said.contains("bin/sh") {
            // control: with the check left out, what was put there is what runs
            assert_eq!(speak(unchecked(&tree)), "-c echo good");
        }
        undo();
        assert_eq!(speak(files.mounts().unwrap()), "good", "after `{said}` was undone");
        assert_eq!(speak(host.files().unwrap().mounts().unwrap()), "good");
    }
}

#[test]
fn a_tree_that_was_put_in_the_place_of_another_is_refused() {
    let host = Host::new("swapped");
    let files = host.files().unwrap();
    let tree = host.tree(&files);
    let away = host.folder.0.join("away");
    fs::rename(&tree, &away).unwrap();
    fs::create_dir_all(tree.join("bin")).unwrap();
    executable(&tree.join("bin/sh"), b"anything");
    assert_eq!(files.mounts().unwrap_err().code(), "environment/tampered");
    assert_eq!(host.files().unwrap_err().code(), "environment/tampered");
    fs::remove_dir_all(&tree).unwrap();
    std::os::unix::fs::symlink(&away, &tree).unwrap();
    assert_eq!(host.files().unwrap_err().code(), "environment/tampered");
    fs::remove_file(&tree).unwrap();
    // gone altogether: it is copied again
    assert_eq!(speak(host.files().unwrap().mounts().unwrap()), "good");
}

/// A closure whose shell is a file that the test may change.
fn with_own_shell(folder: &Path) -> Vec<ClosureFile> {
    let shell = folder.join("host-sh");
    let mut closure = host_closure().unwrap();
    for file in closure.iter_mut().filter(|file| file.target.ends_with("bin/sh")) {
        if !shell.exists() {
            executable(&shell, &fs::read(&file.source).unwrap());
        }
        file.source.clone_from(&shell);
    }
    closure
}

#[test]
fn what_changes_on_the_host_during_a_run_does_not_reach_a_step() {
    let host = Host::with("changed-host", with_own_shell);
    let files = host.files().unwrap();
    let echo = host.closure.iter().find(|file| file.target.ends_with("bin/echo")).unwrap();
    let shell = host.folder.0.join("host-sh");
    executable(&shell, &fs::read(&echo.source).unwrap());
    assert_eq!(speak(files.mounts().unwrap()), "good");
    // control: the host's files bound one by one, as they are now
    let bound = host.closure.iter().filter(|file| !file.is_dir).map(|file| mount(&file.source, file.target.to_str().unwrap()));
    assert_eq!(speak(bound.collect()), "-c echo good");
    // and nothing is copied that is not what was hashed
    seaworthy_store::artifacts::remove_checkout(&host.tree(&files)).unwrap();
    let error = host.files().unwrap_err();
    assert_eq!(error.code(), "environment/changed");
    assert!(error.to_string().contains("host-sh"), "{error}");
    assert_eq!(fs::read_dir(host.folder.0.join("cache/host")).unwrap().count(), 0, "nothing half-made is left");
}

/// The wheels' tree of a locked environment, between two steps of one run.
#[test]
fn wheels_touched_between_two_steps_are_hashed_again() {
    init();
    let folder = Folder::new("two-steps");
    write(&folder.0.join("none.lock"), b"# no packages\n");
    let settings = settings(&folder);
    let artifacts = Artifacts::open(&folder.0.join("store")).unwrap();
    let source = EnvironmentSource::Python("none.lock".to_owned());
    let resolved = runtime::resolve("py", Some(&source), None, &folder.0, &artifacts, &settings).unwrap();
    let setting = || resolved.setting(&artifacts, &settings, &Cancel::new(), &|_| {});
    let import = |setting: Setting| said(&run(setting, &["python", "-c", "import evil"]));
    assert!(import(setting().unwrap()).contains("No module named 'evil'"));
    let packages = folder.0.join("cache/envs").join(resolved.digest.hex()).join("site-packages");
    fs::set_permissions(&packages, Permissions::from_mode(0o755)).unwrap();
    write(&packages.join("evil.py"), b"print('evil runs')");
    let error = setting().unwrap_err();
    assert_eq!(error.code, "environment/tampered");
    assert!(error.message.contains("`evil.py` was added"), "{}", error.message);
    // control: the host's part and the interpreter are as they were
    resolved.check_interpreter(&settings).unwrap();
    resolved.check_files().unwrap();
    // the refusal of one step makes nobody forget what another was shown
    let copies = fs::read_dir(folder.0.join("cache/host")).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&copies, Permissions::from_mode(0o755)).unwrap();
    write(&copies.join("evil"), b"");
    assert_eq!(resolved.check_files().unwrap_err().code, "environment/tampered");
    fs::remove_file(copies.join("evil")).unwrap();
    resolved.check_files().unwrap();
    fs::remove_file(packages.join("evil.py")).unwrap();
    let unchecked = setting().unwrap();
    write(&packages.join("evil.py"), b"print('evil runs')");
    // control: without the look before the step, it would be imported
    assert!(import(unchecked).contains("evil runs"));
    fs::remove_file(packages.join("evil.py")).unwrap();
    assert!(import(setting().unwrap()).contains("No module named 'evil'"));
}
