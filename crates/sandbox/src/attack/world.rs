//! What the attacks aim at: listeners, secrets, a process and files of the host, made for them.
//!
//! In: a folder of its own. Out: [`World`], with the words that attacks are filled in with.
//!
//! **Invariant:** nothing of it outlives the value: processes are killed, the folder is removed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::WORD;

pub(super) struct World {
    /// Placeholder, value.
    words: Vec<(&'static str, String)>,
    pub(super) dir: PathBuf,
    pub(super) secret: String,
    /// A program of root's with the set-user-id bit, if one could be made.
    pub(super) set_user_id: Option<String>,
    sleeper: Child,
    _listeners: (OwnedFd, UnixListener, UnixListener),
    /// Inherited by whatever is started: sockets without close-on-exec.
    _inherited: (OwnedFd, OwnedFd),
}

/// A name that nothing else on this machine has.
pub(super) fn unique(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("seaworthy-{}-{}-{name}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

impl World {
    pub(super) fn build(program: &Path) -> io::Result<Self> {
        let name = unique("world");
        let dir = std::env::temp_dir().join(&name);
        let (scratch, blobs) = (dir.join("scratch"), dir.join("blobs"));
        fs::create_dir_all(&scratch)?;
        fs::create_dir_all(&blobs)?;
        // launchers of other users work here too
        for folder in [&dir, &scratch] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
        }
        let file = |path: PathBuf, mode: u32| -> io::Result<String> {
            put(&path, "secret-of-the-host\n")?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            Ok(path.display().to_string())
        };
        let tcp = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&tcp, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        rustix::net::listen(&tcp, 16)?;
        let port = SocketAddrV4::try_from(rustix::net::getsockname(&tcp)?)?.port();
        let socket = dir.join("daemon.sock");
        let path_listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777))?;
        let secret = format!("token-{name}");
        let sleeper = sleeper(program, &secret)?;
        let set_user_id = set_user_id(&dir);
        let home = if rustix::process::geteuid().is_root() { "/root".to_owned() } else { dir.display().to_string() };
        let words = vec![
            ("{scratch}", scratch.display().to_string()),
            ("{home}", home),
            ("{key}", file(dir.join("id_ed25519"), 0o600)?),
            ("{data}", file(dir.join("data"), 0o666)?),
            ("{victim}", file(dir.join("victim"), 0o666)?),
            ("{other}", file(dir.join("other-run-output"), 0o644)?),
            ("{blob}", file(blobs.join("blob"), 0o444)?),
            ("{secret}", secret.clone()),
            ("{port}", port.to_string()),
            ("{abstract}", name.clone()),
            ("{socket}", socket.display().to_string()),
            ("{pid}", sleeper.id().to_string()),
        ];
        let abstract_listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let inherited = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None)?;
        Ok(Self { words, dir, secret, set_user_id, sleeper, _listeners: (tcp, abstract_listener, path_listener), _inherited: inherited })
    }

    /// An attack's words with the placeholders filled in.
    pub(super) fn fill(&self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| self.words.iter().fold((*word).to_owned(), |word, (place, value)| word.replace(place, value))).collect()
    }

    pub(super) fn word(&self, place: &str) -> String {
        self.fill(&[place]).concat()
    }
}

fn sleeper(program: &Path, secret: &str) -> io::Result<Child> {
    let mut command = super::battery::command(program);
    command.args([WORD, "behave", "sleep"]).env("TOKEN", secret);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// `id` with the bit, which root alone can make.
fn set_user_id(dir: &Path) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let path = dir.join("set-user-id");
    fs::copy("/usr/bin/id", &path).ok()?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).ok()?;
    path.to_str().map(str::to_owned)
}

impl Drop for World {
    fn drop(&mut self) {
        // already dead, or ours to kill; a folder left behind is only noise
        let _ = self.sleeper.kill();
        let _ = self.sleeper.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
