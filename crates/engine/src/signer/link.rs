//! One life of a signer's process: started or connected to, greeted, asked, and ended.
//!
//! in: a [`SignerPlace`], frames; out: answers as the other side gives them, of which nothing is believed yet.
//! **Invariant:** every exchange has a deadline, but for the first of a program that may ask for a passphrase; a child never
//! outlives its [`Link`].

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use seaworthy_core::limits::SIGNER_ANSWER_BYTES_MAX;
use seaworthy_sandbox::recluse;
use seaworthy_trust::keys::wire::{self, Answer, HEAD_BYTES, Hello, Request};

use super::SignerError;

/// How long an answer may take. A signature takes less than a millisecond; a very large manifest a few seconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a service may be away: it may be being restarted.
const SERVICE_WAIT: Duration = Duration::from_millis(500);
/// Characters of another process' words.
const WORDS_MAX: usize = 500;

/// Where the signer is.
#[derive(Debug, Clone)]
pub enum SignerPlace {
    /// A program to start, with one end of a socket as its standard input.
    Program {
        /// The program.
        path: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
        /// All of its environment.
        environment: Vec<(OsString, OsString)>,
        /// It may have to ask somebody for a passphrase first.
        asks: bool,
    },
    /// The socket of a service.
    Service(PathBuf),
}

impl SignerPlace {
    pub(super) const fn asks(&self) -> bool {
        matches!(self, Self::Program { asks: true, .. })
    }
}

/// A connection to a signer.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    child: Option<Child>,
    /// It has said who it is, and was found right.
    pub(super) greeted: bool,
    /// It knows the newest checkpoint.
    pub(super) reminded: bool,
}

impl Link {
    pub(super) fn open(place: &SignerPlace) -> Result<Self, SignerError> {
        match place {
            SignerPlace::Program { path, arguments, environment, .. } => {
                let (stream, other) = UnixStream::pair().map_err(SignerError::Gone)?;
                let child = recluse::spawn(path, arguments, environment, other.into()).map_err(SignerError::Gone)?;
                Ok(Self::over(stream, Some(child)))
            }
            SignerPlace::Service(socket) => {
                let stream = UnixStream::connect(socket).or_else(|_| {
                    std::thread::sleep(SERVICE_WAIT);
                    UnixStream::connect(socket)
                });
                let stream = stream.map_err(SignerError::Gone)?;
                check_owner(&stream, socket)?;
                Ok(Self::over(stream, None))
            }
        }
    }

    const fn over(stream: UnixStream, child: Option<Child>) -> Self {
        Self { stream, child, greeted: false, reminded: false }
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Asks who it is. What a program says of itself instead, when it could not start, counts as if this process said it.
    pub(super) fn hello(&mut self, patient: bool) -> Result<Hello, SignerError> {
        let asked = wire::frame(&Request::Hello {}).map_err(|_| SignerError::Answer)?;
        match self.exchange_within(&asked, (!patient).then_some(ANSWER_TIME_MAX), || ())? {
            Answer::Hello(hello) => Ok(hello),
            Answer::Failed { code, message, hint, exit_code } if self.child.is_some() => {
                let exit_code = if matches!(exit_code, 2..=4) { exit_code } else { super::INTERNAL };
                Err(SignerError::Failed { code: words(&code), message: words(&message), hint: words(&hint), exit_code })
            }
            _ => Err(SignerError::Answer),
        }
    }

    /// The answer to `frame`. What is done `meanwhile` costs the asker no time.
    pub(super) fn exchange(&mut self, frame: &[u8], meanwhile: impl FnOnce()) -> Result<Answer, SignerError> {
        match self.exchange_within(frame, Some(ANSWER_TIME_MAX), meanwhile)? {
            Answer::Refused { code, message } => Err(SignerError::Refused { code: words(&code), message: words(&message) }),
            answer => Ok(answer),
        }
    }

    fn exchange_within(&mut self, frame: &[u8], limit: Option<Duration>, meanwhile: impl FnOnce()) -> Result<Answer, SignerError> {
        let end = limit.map(|limit| Instant::now() + limit);
        // a signer that failed to start has answered before it was asked, and reads no more
        let sent = self.send(frame, end);
        meanwhile();
        let mut head = [0; HEAD_BYTES];
        self.receive(&mut head, end)?;
        let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > SIGNER_ANSWER_BYTES_MAX {
            return Err(SignerError::Answer);
        }
        let mut content = vec![0; length];
        self.receive(&mut content, end)?;
        let answer = wire::read(&content).map_err(|_| SignerError::Answer)?;
        match (sent, &answer) {
            (Err(error), answer) if !matches!(answer, Answer::Failed { .. }) => Err(error),
            _ => Ok(answer),
        }
    }

    fn send(&mut self, mut bytes: &[u8], end: Option<Instant>) -> Result<(), SignerError> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(remaining(end)?).map_err(SignerError::Gone)?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(SignerError::io(io::ErrorKind::WriteZero, "it takes no more")),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SignerError::Gone(error)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, mut buffer: &mut [u8], end: Option<Instant>) -> Result<(), SignerError> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(remaining(end)?).map_err(SignerError::Gone)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(SignerError::io(io::ErrorKind::UnexpectedEof, "it ended")),
                Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SignerError::Gone(error)),
            }
        }
        Ok(())
    }
}

impl Drop for Link {
    /// A child is ended and reaped: it has nothing to lose, and nothing of it may stay behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // both fail only if it is dead and reaped already
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn remaining(end: Option<Instant>) -> Result<Option<Duration>, SignerError> {
    let Some(end) = end else { return Ok(None) };
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(SignerError::io(io::ErrorKind::TimedOut, "it does not answer")) } else { Ok(Some(left)) }
}

/// One line of another process' words, of which it may say anything.
fn words(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect()
}

/// The socket stands in a folder where nobody but root and the user of the service can have put it.
fn check_owner(stream: &UnixStream, socket: &Path) -> Result<(), SignerError> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| SignerError::Gone(error.into()))?;
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = std::fs::metadata(folder).map_err(SignerError::Gone)?;
    let sound = (owner.uid() == 0 || owner.uid() == peer.uid.as_raw()) && owner.mode() & 0o022 == 0;
    if sound { Ok(()) } else { Err(SignerError::Other(format!("listens in `{}`, where others may write", folder.display()))) }
}
