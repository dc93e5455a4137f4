//! Attacks whose effect is seen in files, sockets and processes.
//!
//! In: paths, addresses, marks. Out: a verdict each.
//!
//! **Invariant:** what succeeds is undone.
#![expect(clippy::disallowed_methods, reason = "attacks write, execute and exit as they like")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::kernel::{self, SMALL_PROGRAMS};
use super::verdict::{self, Verdict};

/// Creates, and removes, a file in each folder.
pub(crate) fn create_in(folders: &[&str]) -> Verdict {
    verdict::worst(folders.iter().map(|folder| {
        let path = Path::new(folder).join("probe-was-here");
        let made = File::create(&path);
        if made.is_ok() {
            // Left behind it would only be noise.
            let _ = fs::remove_file(&path);
        }
        verdict::of(made)
    }))
}

pub(crate) fn read(path: &str) -> Verdict {
    let first = File::open(path).and_then(|mut file| file.read(&mut [0u8; 64]));
    match first {
        Ok(0) => Verdict::Blocked("empty".into()),
        other => verdict::of(other),
    }
}

/// Whether any of these can be opened for reading with content.
pub(crate) fn read_any(paths: &[&str]) -> Verdict {
    verdict::worst(paths.iter().map(|path| read(path)))
}

pub(crate) fn open_for_writing(path: &str) -> Verdict {
    verdict::of(File::options().write(true).open(path))
}

pub(crate) fn list(path: &str) -> Verdict {
    match fs::read_dir(path).map(Iterator::count) {
        Ok(0) => Verdict::Blocked("empty".into()),
        other => verdict::of(other),
    }
}

/// Any way to change a file that is to be read only.
pub(crate) fn modify(path: &str) -> Verdict {
    let written = File::options().write(true).open(path).and_then(|file| file.write_at(b"!", 0));
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() | 0o222);
    let loosened = mode.and_then(|mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    let second = format!("{path}.second");
    let linked = fs::hard_link(path, &second);
    let removed = fs::remove_file(path);
    verdict::worst([verdict::of(written), verdict::of(loosened), verdict::of(linked), verdict::of(removed)])
}

pub(crate) fn secret_in_environment(mark: &str) -> Verdict {
    verdict::seen(std::env::vars_os().any(|(_, value)| value.as_bytes() == mark.as_bytes()), "own environment")
}

/// Looks for the mark in every process' environment.
pub(crate) fn secret_in_any_environment(mark: &str) -> Verdict {
    let found = processes().into_iter().filter(|pid| *pid != std::process::id()).any(|pid| {
        let text = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        text.windows(mark.len().max(1)).any(|part| part == mark.as_bytes())
    });
    verdict::seen(found, "in /proc/*/environ")
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(crate) fn foreign_processes() -> Verdict {
    let others: Vec<u32> = processes().into_iter().filter(|pid| *pid != std::process::id()).collect();
    let told = others.iter().filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| !text.is_empty()));
    let count = told.count();
    verdict::seen(count > 0, format!("{count} foreign processes"))
}

pub(crate) fn inherited_descriptors() -> Verdict {
    let open = kernel::open_descriptors(false);
    verdict::seen(!open.is_empty(), format!("descriptors {open:?}"))
}

/// A socket that leads out carries descriptors in and out.
pub(crate) fn sockets_open() -> Verdict {
    let open = kernel::open_descriptors(true);
    verdict::seen(!open.is_empty(), format!("sockets {open:?}"))
}

pub(crate) fn connect(address: &str) -> Verdict {
    let parsed = address.parse().map_err(io::Error::other);
    verdict::of(parsed.and_then(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2))))
}

/// A route, and a socket to use it: nothing is sent.
pub(crate) fn route(address: &str) -> Verdict {
    verdict::of(UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect(address)))
}

pub(crate) fn abstract_socket(name: &str) -> Verdict {
    verdict::of(SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address)))
}

pub(crate) fn path_socket(path: &str) -> Verdict {
    verdict::of(UnixStream::connect(path))
}

pub(crate) fn parent_memory() -> Verdict {
    let parent = std::os::unix::process::parent_id();
    let maps = fs::read_to_string(format!("/proc/{parent}/maps"));
    let start = maps.and_then(|text| {
        let first = text.split('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        first.ok_or_else(|| io::ErrorKind::PermissionDenied.into())
    });
    let read = start.and_then(|start| File::open(format!("/proc/{parent}/mem")).and_then(|file| file.read_at(&mut [0u8; 4], start)));
    match read {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Verdict::Blocked(error.to_string()),
        other => verdict::of(other),
    }
}

/// The program of pid 1 is the launcher's.
pub(crate) fn overwrite_launcher() -> Verdict {
    verdict::worst(["/proc/1/exe", "/proc/1/mem"].map(open_for_writing))
}

pub(crate) fn capabilities_left() -> Verdict {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let left: Vec<&str> = status.lines().filter(|line| line.starts_with("Cap") && !line.trim_end().ends_with("0000000000000000")).collect();
    if status.is_empty() {
        // out of reach: the calls tell as much
        let left = kernel::capabilities_by_call();
        return verdict::seen(!left.is_empty(), left.join(", "));
    }
    verdict::seen(!left.is_empty(), left.join(", "))
}

/// Runs a set-user-id copy of `id`, which prints who it is.
pub(crate) fn set_user_id(path: &str) -> Verdict {
    match Command::new(path).arg("-u").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Verdict::Inconclusive("the program is not there".into()),
        Err(error) => verdict::of::<()>(Err(error)),
        Ok(output) => {
            let (_, own) = kernel::user();
            let became = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            verdict::seen(became != own.to_string(), format!("user {own} became {became}"))
        }
    }
}

/// Copies a small program there and runs it.
pub(crate) fn execute_from(folder: &str) -> Verdict {
    let path = Path::new(folder).join("program");
    match SMALL_PROGRAMS.iter().map(|small| fs::copy(small, &path)).find(Result::is_ok) {
        Some(_) => {}
        None if fs::metadata(folder).is_ok() && File::create(&path).is_err() => {
            return Verdict::Blocked("nothing can be written there".into());
        }
        None => return Verdict::Inconclusive("no small program could be copied there".into()),
    }
    let ran = fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).and_then(|()| Command::new(&path).status());
    let _ = fs::remove_file(&path); // left behind it would only be noise
    verdict::of(ran)
}

pub(crate) fn make_device(folder: &str) -> Verdict {
    match CString::new(format!("{folder}/device")) {
        Ok(path) => kernel::mknod(&path),
        Err(error) => Verdict::Inconclusive(error.to_string()),
    }
}

/// Touches so much memory.
pub(crate) fn eat_memory(mebibytes: usize) -> Verdict {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for _ in 0..mebibytes {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            return Verdict::Blocked(format!("{} MiB", held.len()));
        }
        block.resize(1 << 20, 1u8);
        held.push(block);
    }
    verdict::seen(held.iter().all(|block| block.first() == Some(&1)), format!("{mebibytes} MiB"))
}

pub(crate) fn fill(folder: &str, mebibytes: usize) -> Verdict {
    let path = Path::new(folder).join("filling");
    let block = vec![1u8; 1 << 20];
    let filled = File::create(&path).and_then(|mut file| (0..mebibytes).try_for_each(|_| file.write_all(&block)));
    let _ = fs::remove_file(&path); // a full disk helps nobody
    verdict::of(filled)
}

pub(crate) fn fill_inodes(folder: &str, count: usize) -> Verdict {
    let made = (0..count).try_for_each(|number| File::create(Path::new(folder).join(format!("n{number}"))).map(drop));
    for number in 0..count {
        let _ = fs::remove_file(Path::new(folder).join(format!("n{number}"))); // those that were made
    }
    verdict::of(made)
}
