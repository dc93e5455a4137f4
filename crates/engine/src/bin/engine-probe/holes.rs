//! A worker with a hole: what it reads tells it what to do.
//!
//! in: a request whose first file may begin with [`MARK`]; out: whatever that file says.
//! **Invariant:** an attack says `done` only if it saw the effect.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use seaworthy_core::finding::CheckReport;
use seaworthy_core::worker::{Answer, PartKind, Stage, Subject};
use seaworthy_engine::workers::{Desk, perform};
use serde_json::Value;

/// What a file begins with that tells the worker what to do.
pub(crate) const MARK: &str = "HOLE ";

pub(crate) fn serve() -> ExitCode {
    let served = Desk::open().and_then(|mut desk| {
        let Some((request, files)) = desk.receive()? else { return Ok(()) };
        match wish(&files) {
            Some(wish) => act(&mut desk, &wish, &files),
            None => {
                let answer = perform(&request, files, &mut |kind, bytes| desk.part(kind, bytes))?;
                desk.answer(answer)
            }
        }
    });
    ExitCode::from(u8::from(served.is_err()))
}

fn wish(files: &[File]) -> Option<String> {
    let mut bytes = vec![0; 64 * 1024];
    let count = files.first()?.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(bytes.get(..count)?).ok()?.strip_prefix(MARK).map(str::to_owned)
}

fn says(message: String) -> Answer {
    let (code, hint) = ("check/failed".to_owned(), String::new());
    Answer::Refused { stage: Stage::Check, subject: Subject::Data, code, message, hint }
}

fn act(desk: &mut Desk, wish: &str, files: &[File]) -> io::Result<()> {
    let frame = |kind: u8, length: u32, bytes: &[u8]| [&[kind], length.to_be_bytes().as_slice(), bytes].concat();
    let (word, rest) = wish.trim_end().split_once(' ').unwrap_or((wish.trim_end(), ""));
    match word {
        "crash" => std::process::abort(),
        "fault" => overflow(0).map(drop),
        "leave" => Ok(()),
        "hang" => loop {
            std::hint::spin_loop();
        },
        "garbage" => desk.socket().write_all(&[0x5a; 4096]),
        "long" => desk.socket().write_all(&frame(b'a', 1 << 30, &[b' '; 4096])),
        "gigabyte" => {
            desk.socket().write_all(&frame(b'a', 30 << 20, b""))?;
            loop {
                desk.socket().write_all(&[b' '; 65_536])?;
            }
        }
        "bomb" => {
            let mut held: Vec<Vec<u8>> = Vec::new();
            loop {
                held.push(vec![1; 64 << 20]);
            }
        }
        "parts" => desk.part(PartKind::Content, b"content"),
        "twice" => {
            desk.answer(says("once".to_owned()))?;
            desk.answer(says("twice".to_owned()))
        }
        "other" => {
            let text = format!("{{\"number\": {}, \"answer\": {}}}", desk.number() + 1, serde_json::to_value(says("x".to_owned()))?);
            let length = u32::try_from(text.len()).map_err(io::Error::other)?;
            desk.socket().write_all(&frame(b'a', length, text.as_bytes()))
        }
        "again" => desk.socket().write_all(&frame(b'h', 2, b"{}")),
        "double" => {
            let text = format!("{{\"number\": {0}, \"number\": {0}, \"answer\": {{}}}}", desk.number());
            let length = u32::try_from(text.len()).map_err(io::Error::other)?;
            desk.socket().write_all(&frame(b'a', length, text.as_bytes()))
        }
        "foreign" => {
            let report = CheckReport { check: "performance".to_owned(), parameters: [].into(), facts: [].into(), findings: Vec::new() };
            desk.answer(Answer::Reports { inferred: None, reports: vec![report] })
        }
        "code" => desk.answer(Answer::Refused {
            stage: Stage::Open,
            subject: Subject::Data,
            code: "step/cancelled".to_owned(),
            message: String::new(),
            hint: String::new(),
        }),
        "attack" => {
            let told = attack(rest, files.first(), Some(desk));
            desk.answer(says(told))
        }
        other => desk.answer(says(format!("unknown wish {other}"))),
    }
}

fn overflow(depth: u64) -> io::Result<u64> {
    let filler = [depth; 512];
    if std::hint::black_box(depth) == u64::MAX {
        return Ok(0);
    }
    let below = overflow(std::hint::black_box(depth + 1))?;
    Ok(below + filler.iter().sum::<u64>())
}

/// The control: the same attacks from a process that nothing confines.
pub(crate) fn attack_loose(targets: &str, file: &Path) -> String {
    attack(targets, File::open(file).ok().as_ref(), None)
}

/// One thing that code in a worker may try.
type Attempt<'a> = Box<dyn Fn() -> io::Result<()> + 'a>;

/// Tries everything there is to try; a line with how each ended, `done` or the error number.
fn attack(targets: &str, given: Option<&File>, desk: Option<&mut Desk>) -> String {
    let targets: Value = serde_json::from_str(targets).unwrap_or_default();
    let text = |name: &str| targets.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let engine = text("engine");
    let victim: i32 = text("victim").parse().unwrap_or(0);
    let descriptor = given.map_or(-1, |file| file.as_raw_fd());
    let (inside, pair) = desk.map_or_else(|| (None, UnixStream::pair().ok()), |desk| (Some(desk), None));
    let way =
        inside.map_or_else(|| pair.as_ref().map(|(one, _)| one.as_fd()), |desk| Some(<File as std::os::fd::AsFd>::as_fd(desk.socket())));
    let attempts: Vec<(&str, Attempt<'_>)> = vec![
        ("read a key", Box::new(|| fs::read(text("key")).map(drop))),
        ("list the workspace", Box::new(|| fs::read_dir(text("workspace")).map(drop))),
        ("read the journal", Box::new(|| fs::read(text("journal")).map(drop))),
        ("read another artifact", Box::new(|| fs::read(text("artifact")).map(drop))),
        ("look at a file", Box::new(|| fs::metadata(text("key")).map(drop))),
        ("write into the workspace", Box::new(|| fs::write(Path::new(&text("workspace")).join("made"), b"x"))),
        ("read the engine's memory", Box::new(|| File::open(format!("/proc/{engine}/mem")).map(drop))),
        ("read the engine's environment", Box::new(|| fs::read(format!("/proc/{engine}/environ")).map(drop))),
        ("list the engine's descriptors", Box::new(|| fs::read_dir(format!("/proc/{engine}/fd")).map(drop))),
        ("connect to a socket", Box::new(|| UnixStream::connect(text("socket")).map(drop))),
        (
            "connect to an abstract socket",
            Box::new(|| UnixStream::connect_addr(&SocketAddr::from_abstract_name(text("abstract"))?).map(drop)),
        ),
        ("listen", Box::new(|| UnixListener::bind(Path::new(&text("workspace")).join("door")).map(drop))),
        ("connect to the network", Box::new(|| TcpStream::connect(("127.0.0.1", text("port").parse().unwrap_or(1))).map(drop))),
        ("send a datagram", Box::new(|| UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", "127.0.0.1:9").map(drop))),
        ("trace a process", Box::new(|| seaworthy_sandbox::attack::seize(victim).map(drop))),
        ("signal a process", Box::new(|| seaworthy_sandbox::attack::kill(victim, 0).map(drop))),
        ("execute", Box::new(|| std::process::Command::new("/bin/true").status().map(drop))),
        ("thread", Box::new(|| std::thread::Builder::new().spawn(|| ()).map(drop))),
        ("executable memory", Box::new(seaworthy_sandbox::attack::executable_memory)),
        ("memory file", Box::new(|| rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).map(drop).map_err(Into::into))),
        (
            "open the given file again to write",
            Box::new(|| OpenOptions::new().write(true).open(format!("/proc/self/fd/{descriptor}")).map(drop)),
        ),
        (
            "change the given file's mode",
            Box::new(|| {
                given.map_or(Err(io::ErrorKind::NotFound.into()), |file| rustix::fs::fchmod(file, 0o600.into()).map_err(Into::into))
            }),
        ),
        ("duplicate the given file", Box::new(|| given.map_or(Err(io::ErrorKind::NotFound.into()), |file| file.try_clone().map(drop)))),
        (
            "smuggle a descriptor",
            Box::new(|| way.zip(given).map_or(Err(io::ErrorKind::NotFound.into()), |(way, file)| smuggle(way, file.as_fd()))),
        ),
        (
            "be dumpable again",
            Box::new(|| rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).map_err(Into::into)),
        ),
    ];
    let ended = attempts.iter().map(|(name, attempt)| match attempt() {
        Ok(()) => format!("{name}=done"),
        Err(error) => format!("{name}={}", error.raw_os_error().unwrap_or(-1)),
    });
    let mut told: Vec<String> = ended.collect();
    // what it lives on still works
    let mut given_bytes = [0; 4];
    let lives = given.is_some_and(|mut file| file.read_at(&mut given_bytes, 0).is_ok() && file.read(&mut given_bytes).is_ok());
    told.push(format!("lives={}", if lives { "done" } else { "no" }));
    told.join(";")
}

fn smuggle(way: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    rustix::net::sendmsg(way, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::NOSIGNAL).map(drop).map_err(Into::into)
}
