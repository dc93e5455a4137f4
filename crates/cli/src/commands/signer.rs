//! `seaworthy signer`: the process that holds the keys.
//!
//! in: key files, then requests on a socket: the one it was started with, or those of allowed users; out: signatures.
//! **Invariant:** after the keys are read it can open nothing, execute nothing, connect to nothing; a peer whose user is not
//! allowed is not heard; whatever a peer sends, the others are served.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use seaworthy_core::id::Name;
use seaworthy_core::limits::{SIGNER_BYTES_MAX, SIGNER_CONNECTIONS_MAX};
use seaworthy_core::ports::{KeyRole, SignerIsolation, SignerMode};
use seaworthy_engine::signer::status_of;
use seaworthy_sandbox::recluse::{self, RecluseReport};
use seaworthy_store::workspace::Workspace;
use seaworthy_trust::keys::wire::{Answer, Frame, Frames, frame};
use seaworthy_trust::keys::{LocalSigner, SignerService};
use serde_json::json;

use crate::arguments::Signer;
use crate::failure::Failure;
use crate::keystore::Keystore;
use crate::settings::Settings;
use crate::{render, signing};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

pub(crate) fn run(settings: &Settings, arguments: &Signer) -> Result<u8, Failure> {
    if let Some(socket) = &arguments.status {
        return status(settings, socket);
    }
    let keys = Keys { id: arguments.id.as_deref(), root: arguments.root, shared: arguments.listen.is_some() };
    match &arguments.listen {
        Some(path) => {
            recluse::harden().map_err(|e| unconfined(&e))?;
            service(settings, arguments, path, &keys)
        }
        None => child(settings, &keys),
    }
}

/// The exit code, if a command of ours started this program as its signer: without the time that reading arguments and
/// settings of commands takes.
pub(crate) fn started_as_child() -> Option<u8> {
    let given: Vec<String> = std::env::args_os().map(|argument| argument.into_string().unwrap_or_default()).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let [signing::CHILD, environment, id, more @ ..] = given.as_slice() else { return None };
    let keys = Keys { id: Some(id), root: more == ["--root"], shared: false };
    Some(child(&Settings::of_signer(environment), &keys).unwrap_or_else(|failure| {
        render::failure(&failure);
        failure.exit_code
    }))
}

/// Which keys to hold.
struct Keys<'a> {
    /// The workspace; none: the one of the folder.
    id: Option<&'a str>,
    /// The root key instead of the three others.
    root: bool,
    /// Nobody holds them on this process' behalf.
    shared: bool,
}

/// Serves whoever started this process, over its standard input.
fn child(settings: &Settings, keys: &Keys<'_>) -> Result<u8, Failure> {
    recluse::harden().map_err(|e| unconfined(&e))?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| Failure::internal("signer/socket", e))?;
    let own = rustix::process::geteuid();
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok().filter(|peer| peer.uid == own);
    if peer.is_none() {
        return Err(Failure::usage(
            "a signer is started by the command that needs it, which hands it a socket",
            "as a service: seaworthy --environment NAME signer --listen SOCKET --allow-uid UID",
        ));
    }
    let opened = open(settings, keys).and_then(|(_, signer)| {
        // the terminal's interrupt is for the run, which ends in good order and needs signatures for that
        rustix::process::setpgid(None, None).map_err(|e| Failure::internal("signer/group", e))?;
        confine(signer)
    });
    let (service, report) = match opened {
        Ok(opened) => opened,
        Err(failure) => return Ok(tell(&socket, failure)),
    };
    let peers = vec![Peer::new(socket, SignerMode::Process)];
    serve(&mut Desk { service, report, own: own.as_raw(), allowed: Vec::new(), peers, door: None });
    Ok(0)
}

/// The command that started this process tells the user why.
fn tell(socket: &OwnedFd, failure: Failure) -> u8 {
    let exit_code = failure.exit_code;
    let Failure { code, message, hint, .. } = failure;
    let mut asked = [0; 4096];
    // if either fails the other side sees a signer that is gone
    let _ = rustix::io::read(socket, &mut asked);
    if let Ok(bytes) = frame(&Answer::Failed { code, message, hint, exit_code }) {
        let _ = rustix::io::write(socket, &bytes);
    }
    exit_code
}

/// Serves the allowed users over a socket in the file system, until it is stopped.
fn service(settings: &Settings, arguments: &Signer, path: &Path, keys: &Keys<'_>) -> Result<u8, Failure> {
    let own = rustix::process::geteuid().as_raw();
    let allowed = if arguments.allow_uid.is_empty() { vec![own] } else { arguments.allow_uid.clone() };
    if let Some(uid) = allowed.iter().find(|uid| !is_a_user(**uid)) {
        let message = format!("user {uid} is nobody here: every user of another namespace looks like that");
        return Err(Failure::usage(message, "name the number of a user of this namespace"));
    }
    let (_held, signer) = open(settings, keys)?;
    let door = bind(path, arguments.group)?;
    let (service, report) = confine(signer)?;
    let users = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    render::note(&format!("signer: listening on `{}` for user {users}", path.display()));
    serve(&mut Desk { service, report, own, allowed, peers: Vec::new(), door: Some(door) });
    Ok(0)
}

/// Whether this number is one user's: the number for those whom this user namespace does not know stands for all of them.
fn is_a_user(uid: u32) -> bool {
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok().and_then(|text| text.trim().parse().ok());
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mapped = map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        match (numbers.next().flatten(), numbers.nth(1).flatten()) {
            (Some(first), Some(count)) => (first..first.saturating_add(count)).contains(&u64::from(uid)),
            _ => false,
        }
    });
    mapped || (uid != overflow.unwrap_or(65_534) && map.is_empty())
}

/// The socket: nobody but its user and its group reaches it, and nobody else can put another one in its place.
fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, Failure> {
    let listening = |e: &dyn std::fmt::Display| {
        let hint = "name a path in a folder of this user that the allowed users may enter, for instance /run/seaworthy/signer.sock";
        Failure::configuration("signer/listen", format!("`{}`: {e}", path.display()), hint)
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = std::fs::metadata(folder).map_err(|e| listening(&e))?;
    let own = rustix::process::geteuid().as_raw();
    if owner.mode() & 0o022 != 0 || (owner.uid() != own && owner.uid() != 0) {
        return Err(listening(&"others may write in its folder"));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) && UnixStream::connect(path).is_err() {
        // nobody answers there any more
        rustix::fs::unlink(path).map_err(|e| listening(&e))?;
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let door = UnixListener::bind(path);
    rustix::process::umask(before);
    let door = door.map_err(|e| listening(&e))?;
    if let Some(group) = group {
        let group = Some(rustix::fs::Gid::from_raw(group));
        rustix::fs::chownat(rustix::fs::CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| listening(&e))?;
    }
    Ok(door)
}

/// Reads the key files, by the identity file or a passphrase typed on the terminal.
fn open(settings: &Settings, keys: &Keys<'_>) -> Result<(Keystore, LocalSigner), Failure> {
    let name = settings.environment.as_deref().ok_or_else(|| Failure::usage("which environment's keys?", "--environment NAME"))?;
    let environment = Name::new(name).map_err(|e| Failure::usage(e.to_string(), "for instance staging"))?;
    let id = match keys.id {
        Some(id) => id.to_owned(),
        None => {
            let dir = settings.workspace_dir(None)?;
            let workspace = Workspace::open(&dir).map_err(|e| Failure::configuration("workspace/no-state", e.to_string(), "--id ID"))?;
            workspace.id().to_owned()
        }
    };
    let keystore = Keystore::new(settings, &id, &environment);
    if keys.shared {
        // a child's keys are held by the command that started it
        keystore.hold_with_others()?;
    }
    let signer = keystore.open(|role| (role == KeyRole::Root) == keys.root)?;
    Ok((keystore, signer))
}

fn confine(signer: LocalSigner) -> Result<(SignerService, RecluseReport), Failure> {
    let locked = recluse::lock_memory();
    let report = recluse::confine().map_err(|e| unconfined(&e))?;
    Ok((SignerService::new(signer, locked), report))
}

fn unconfined(error: &seaworthy_sandbox::SandboxError) -> Failure {
    Failure::configuration("signer/unconfined", format!("the signer cannot be confined: {error}"), error.hint())
}

/// Everybody who is heard.
struct Desk {
    service: SignerService,
    report: RecluseReport,
    own: u32,
    allowed: Vec<u32>,
    peers: Vec<Peer>,
    door: Option<UnixListener>,
}

/// One connection.
struct Peer {
    socket: OwnedFd,
    frames: Frames,
    mode: SignerMode,
    gone: bool,
}

impl Peer {
    fn new(socket: OwnedFd, mode: SignerMode) -> Self {
        Self { socket, frames: Frames::default(), mode, gone: false }
    }
}

/// Until there is nobody left who could ask.
fn serve(desk: &mut Desk) {
    let mut buffer = vec![0_u8; READ_BYTES];
    while desk.door.is_some() || !desk.peers.is_empty() {
        let door = desk.door.iter().map(|door| door.as_fd());
        let fds = desk.peers.iter().map(|peer| peer.socket.as_fd()).chain(door);
        let mut set: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match rustix::event::poll(&mut set, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = set.iter().map(|one| !one.revents().is_empty()).collect();
        let came = desk.door.is_some() && ready.last() == Some(&true);
        let RecluseReport { landlock, system_calls } = desk.report;
        let mut kept: usize = desk.peers.iter().map(|peer| peer.frames.kept()).sum();
        for (peer, _) in desk.peers.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
            let before = peer.frames.kept();
            hear(&mut desk.service, peer, &mut buffer, &SignerIsolation { mode: peer.mode, landlock, system_calls, keys: BTreeMap::new() });
            kept = kept.saturating_sub(before).saturating_add(peer.frames.kept());
            // whoever brings it over the bound is given up, with what was kept of them
            if kept > SIGNER_BYTES_MAX {
                kept = kept.saturating_sub(peer.frames.kept());
                peer.gone = true;
            }
        }
        desk.peers.retain(|peer| !peer.gone);
        if came {
            admit(desk);
        }
    }
}

/// Takes a connection, if its user may speak.
fn admit(desk: &mut Desk) {
    let Some(door) = &desk.door else { return };
    let Ok(socket) = rustix::net::accept_with(door, SocketFlags::CLOEXEC) else { return };
    let Ok(peer) = rustix::net::sockopt::socket_peercred(&socket) else { return };
    let uid = peer.uid.as_raw();
    if !desk.allowed.contains(&uid) {
        render::note(&format!("signer: a process of user {uid} was refused"));
        return;
    }
    if desk.peers.len() >= SIGNER_CONNECTIONS_MAX {
        render::note("signer: a connection was refused: there are too many");
        return;
    }
    // root reaches the memory of every process
    let mode = if uid == desk.own || uid == 0 { SignerMode::Process } else { SignerMode::User };
    desk.peers.push(Peer::new(socket, mode));
}

/// Reads what is there and answers every whole request. A peer that takes no answers is given up.
fn hear(service: &mut SignerService, peer: &mut Peer, buffer: &mut [u8], isolation: &SignerIsolation) {
    let read = match rustix::net::recv(&peer.socket, &mut *buffer, RecvFlags::DONTWAIT) {
        Ok((count, _)) if count > 0 => buffer.get(..count).unwrap_or_default(),
        Err(Errno::AGAIN | Errno::INTR) => return,
        _ => {
            peer.gone = true;
            return;
        }
    };
    peer.frames.push(read);
    while let Some(next) = peer.frames.next_frame() {
        let answer = match next {
            Frame::Content(content) => service.answer(&content, isolation),
            Frame::TooLarge(bytes) => service.too_large(bytes),
        };
        let sent = frame(&answer).ok().and_then(|bytes| {
            let sent = rustix::net::send(&peer.socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok()?;
            (sent == bytes.len()).then_some(())
        });
        if sent.is_none() {
            peer.gone = true;
            return;
        }
    }
}

/// What a service says of itself.
fn status(settings: &Settings, socket: &Path) -> Result<u8, Failure> {
    let (hello, status) = status_of(socket).map_err(|e| signing::failure(&e))?;
    if settings.json {
        render::json(&json!({"signer": hello, "status": status}));
        return Ok(0);
    }
    let isolation = &hello.isolation;
    let whose = match isolation.mode {
        SignerMode::Process => "the same user as this command, or within its reach",
        SignerMode::User => "another user",
    };
    render::line(&format!("log {}", hello.origin));
    render::line(&format!("a process of {whose}; landlock {}, {} system calls", isolation.landlock, isolation.system_calls));
    for (role, count) in &status.signed {
        render::line(&format!("signed {count} with the {} key", format!("{role:?}").to_lowercase()));
    }
    let size = status.size.map_or_else(|| "no checkpoint signed yet".to_owned(), |size| format!("newest checkpoint {size}"));
    render::line(&format!("refused {}, {size}", status.refused));
    Ok(0)
}
