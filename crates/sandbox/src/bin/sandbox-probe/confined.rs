//! What a recluse can still do: each attempt, before or after it confined itself.
//!
//! In: how to confine (`loose`, `confined`, or one layer alone), a file that is there. Out: one line an attempt: its name,
//! and `done` or the error number.
//!
//! **Invariant:** `done` only if the effect was seen.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use seaworthy_sandbox::recluse;

use seaworthy_sandbox::attack as kernel;

/// Tries everything there is to try.
pub(crate) fn attempt_all(how: &str, file: &Path) -> Result<(), String> {
    recluse::harden().map_err(|error| error.to_string())?;
    let _listening = UnixListener::bind(file.with_file_name("open")).map_err(|error| error.to_string())?;
    let layers = match how {
        "loose" => Ok(()),
        "landlock" => recluse::confine_files().map(drop),
        "seccomp" => recluse::confine_calls().map(drop),
        _ => recluse::confine().map(drop),
    };
    layers.map_err(|error| error.to_string())?;
    let beside = |name: &str| file.with_file_name(name);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let socket = |family, kind| rustix::net::socket(family, kind, None).map(drop).map_err(io::Error::from);
    let attempts: [(&str, &dyn Fn() -> io::Result<()>); 19] = [
        ("read a file", &|| std::fs::read(file).map(drop)),
        ("look at a file", &|| std::fs::metadata(file).map(drop)),
        ("list a folder", &|| std::fs::read_dir("/").map(drop)),
        ("write a file", &|| std::fs::write(beside("made"), b"x")),
        ("rename a file", &|| std::fs::rename(beside("made"), beside("moved"))),
        ("remove a file", &|| std::fs::remove_file(beside("moved"))),
        ("read own memory", &|| std::fs::File::open("/proc/self/mem").map(drop)),
        ("internet socket", &|| socket(AddressFamily::INET, SocketType::STREAM)),
        ("netlink socket", &|| socket(AddressFamily::NETLINK, SocketType::RAW)),
        ("listen", &|| UnixListener::bind(beside("door")).map(drop)),
        ("connect", &|| UnixStream::connect(beside("open")).map(drop)),
        ("pair of sockets", &|| UnixStream::pair().map(drop)),
        ("execute", &|| Command::new("/bin/true").status().map(drop)),
        ("thread", &|| std::thread::Builder::new().spawn(|| ()).map(drop)),
        ("signal", &|| kernel::kill(std::process::id().cast_signed(), 0).map(drop)),
        ("executable memory", &kernel::executable_memory),
        ("memory file", &|| rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).map(drop).map_err(io::Error::from)),
        ("dumpable again", &|| rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(io::Error::from)),
        ("set a limit", &|| rustix::process::setrlimit(Resource::Core, none).map_err(io::Error::from)),
    ];
    for (name, attempt) in attempts {
        match attempt() {
            Ok(()) => println!("{name}: done"),
            Err(error) => println!("{name}: {}", error.raw_os_error().unwrap_or(-1)),
        }
    }
    // what it lives on still works
    let memory: Vec<u8> = vec![1; 32 << 20];
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 1);
    println!("lives: {}", memory.contains(&1) && random > 0);
    Ok(())
}
