//! The signer in a process of its own, as the engine sees it: a [`Signer`] over a socket.
//!
//! in: how to reach it (a program to start, or a socket to connect to), the public keys it must have; out: [`ProcessSigner`].
//! **Invariant:** no private key is ever in this process. No answer is believed: a signature holds under the key it was asked
//! of, over the bytes that this process made, or there is none.
//! **Invariant:** a signer that died, hangs or speaks nonsense is replaced and asked again: signatures are deterministic, so
//! nothing is signed twice with two results. A new one is first shown the newest signed checkpoint, so that its memory of the
//! log begins there; one with other keys is refused, and nobody is asked for a passphrase twice.

mod link;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_core::digest::{Digest, hex_decode};
use seaworthy_core::envelope::{Bundle, PAYLOAD_TYPE, Statement, pae};
use seaworthy_core::id::StepRunId;
use seaworthy_core::limits::SIGNER_REQUEST_BYTES_MAX;
use seaworthy_core::note::Checkpoint;
use seaworthy_core::ports::{AttestRequest, CheckpointRequest, KeyRole, PortError, Signer, SignerIsolation};
use seaworthy_trust::keys::PublicKey;
use seaworthy_trust::keys::wire::{self, Answer, Attest, Hello, Request, Status};
use seaworthy_trust::transparency::is_signed_by;

use self::link::Link;
pub use self::link::SignerPlace;

/// How often a request is tried, each time with a new signer.
const TRIES_MAX: u32 = 4;
/// The exit code of a command that fails for what is no fault of its user.
const INTERNAL: u8 = 70;

/// Whom to expect.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The log it must sign for.
    pub origin: String,
    /// `SubjectPublicKeyInfo` (DER) of the keys it must have.
    pub keys: BTreeMap<KeyRole, Vec<u8>>,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signer could not start, and said why.
    #[error("{message}")]
    Failed {
        /// Its code.
        code: String,
        /// Its words.
        message: String,
        /// What to do.
        hint: String,
        /// The exit code of a command that fails for this: 2, 3, 4 or 70.
        exit_code: u8,
    },
    /// It cannot be reached, or died again and again.
    #[error("the signer cannot be reached: {0}")]
    Gone(io::Error),
    /// It has other keys than the trust file's, or signs for another log.
    #[error("the signer {0}")]
    Other(String),
    /// Its policy refused.
    #[error("{message} ({code})")]
    Refused {
        /// The policy's code.
        code: String,
        /// The policy's words.
        message: String,
    },
    /// The request is too long to be sent.
    #[error("a request of {0} bytes is over the signer's limit")]
    TooLarge(usize),
    /// It answered something else than what was asked, or with a signature that does not hold.
    #[error("the signer answered something else than was asked")]
    Answer,
}

impl SignerError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Failed { code, .. } => code,
            Self::Gone(_) => "signer/gone",
            Self::Other(_) => "signer/other",
            Self::Refused { .. } => "signer/refused",
            Self::TooLarge(_) => "signer/too-large",
            Self::Answer => "signer/answer",
        }
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Failed { hint, .. } => hint,
            Self::Gone(_) => "is the service running, and may this user use its socket? Otherwise: was the process killed?",
            Self::Other(_) => "copy `trust.json` and the public keys from the service's user again, or name another socket",
            Self::Refused { .. } => "the signer's policy: docs/src/concepts/signer.md",
            Self::TooLarge(_) => "split the folder into several outputs",
            Self::Answer => "are the signer and this program of the same version?",
        }
    }

    fn io(kind: io::ErrorKind, what: &str) -> Self {
        Self::Gone(io::Error::new(kind, what.to_owned()))
    }
}

/// A public key that the signer must have.
#[derive(Debug)]
struct Known {
    der: Vec<u8>,
    key: PublicKey,
    hint: String,
}

/// A signer in a process of its own.
#[derive(Debug)]
pub struct ProcessSigner {
    place: SignerPlace,
    origin: String,
    keys: BTreeMap<KeyRole, Known>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Link>,
    /// How many links there were.
    lives: u64,
    /// What the first one said of itself; a new one must say the same.
    isolation: Option<SignerIsolation>,
    /// The newest note that it signed or was told of.
    newest: Option<(u64, String)>,
}

impl ProcessSigner {
    /// A signer that is not started yet: the first signature does that, or [`Self::start`].
    pub fn new(place: SignerPlace, expected: Expected) -> Result<Self, SignerError> {
        let known = |role: KeyRole, der: Vec<u8>| {
            let read = PublicKey::from_der(&der).and_then(|key| Ok((key.hint()?, key)));
            let (hint, key) = read.map_err(|cause| SignerError::Other(format!("should have a {role:?} key that is none: {cause}")))?;
            Ok((role, Known { der, key, hint }))
        };
        let keys = expected.keys.into_iter().map(|(role, der)| known(role, der)).collect::<Result<_, SignerError>>()?;
        Ok(Self { place, origin: expected.origin, keys, state: Mutex::default() })
    }

    /// Starts the signer, or connects to it, and checks who it is.
    pub fn open(place: SignerPlace, expected: Expected) -> Result<Self, SignerError> {
        let signer = Self::new(place, expected)?;
        signer.greet()?;
        Ok(signer)
    }

    /// Lets it start while this process does other things; what fails here fails again when it is needed.
    pub fn start(&self) {
        let mut state = self.lock();
        if state.link.is_none() {
            state.link = Link::open(&self.place).ok();
        }
    }

    /// Has it say who it is, and checks that; what it says is [`Signer::isolation`] from then on.
    pub fn greet(&self) -> Result<(), SignerError> {
        self.ready(&mut self.lock())
    }

    /// Makes this checkpoint what a signer of this log must know: it signs nothing below it, nor another one of its size.
    pub fn continue_from(&self, note: &str) -> Result<(), SignerError> {
        let (checkpoint, _) = Checkpoint::parse(note.as_bytes()).map_err(|_| SignerError::Answer)?;
        let mut state = self.lock();
        if state.newest.as_ref().is_none_or(|(newest, _)| checkpoint.size > *newest) {
            state.newest = Some((checkpoint.size, note.to_owned()));
            state.link.iter_mut().for_each(|link| link.reminded = false);
        }
        Ok(())
    }

    /// What the signer did in its present life.
    pub fn status(&self) -> Result<Status, SignerError> {
        self.ask(&Request::Status {}, |answer| match answer {
            Answer::Status(status) => Some(status),
            _ => None,
        })
    }

    /// The process id, if it is a child of this process: for tests and reports.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.lock().link.as_ref().and_then(Link::process_id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One answer that `read` accepts; a signer that is gone, or gives another one, is replaced.
    fn ask<T>(&self, request: &Request<'_>, read: impl Fn(Answer) -> Option<T>) -> Result<T, SignerError> {
        self.ask_meanwhile(request, || (), read)
    }

    /// The same; `meanwhile` is done while the signer is at work.
    fn ask_meanwhile<T>(&self, request: &Request<'_>, meanwhile: impl Fn(), read: impl Fn(Answer) -> Option<T>) -> Result<T, SignerError> {
        let frame = wire::frame(request).map_err(|_| SignerError::Answer)?;
        if frame.len() > SIGNER_REQUEST_BYTES_MAX {
            return Err(SignerError::TooLarge(frame.len()));
        }
        let mut last = SignerError::io(io::ErrorKind::NotConnected, "not tried");
        for _ in 0..TRIES_MAX {
            let (answer, life) = self.exchange(&frame, &meanwhile);
            // checked outside the lock: a signature takes longer to check than to make
            last = match answer.and_then(|answer| read(answer).ok_or(SignerError::Answer)) {
                Err(SignerError::Answer) => {
                    let mut state = self.lock();
                    if state.lives == life {
                        state.link = None;
                    }
                    SignerError::Answer
                }
                Err(gone @ SignerError::Gone(_)) => gone,
                done => return done,
            };
        }
        Err(last)
    }

    fn exchange(&self, frame: &[u8], meanwhile: impl Fn()) -> (Result<Answer, SignerError>, u64) {
        let mut state = self.lock();
        let answer = self.ready(&mut state).and_then(|()| {
            let answer = state.link.as_mut().ok_or(SignerError::Answer)?.exchange(frame, meanwhile);
            if matches!(answer, Err(SignerError::Gone(_))) {
                state.link = None;
            }
            answer
        });
        (answer, state.lives)
    }

    /// A signer is there, is the right one, and knows the newest checkpoint.
    fn ready(&self, state: &mut State) -> Result<(), SignerError> {
        let mut link = match state.link.take() {
            Some(link) => link,
            None if self.place.asks() && state.isolation.is_some() => {
                return Err(SignerError::io(
                    io::ErrorKind::NotConnected,
                    "it would have to ask for the passphrase again; run the command again",
                ));
            }
            None => Link::open(&self.place)?,
        };
        if !link.greeted {
            state.lives += 1;
            let hello = link.hello(self.place.asks())?;
            self.check(&hello)?;
            if state.isolation.as_ref().is_some_and(|before| *before != hello.isolation) {
                return Err(SignerError::Other("is kept apart in another way than before".to_owned()));
            }
            state.isolation = Some(hello.isolation);
            link.greeted = true;
        }
        if let Some((_, note)) = state.newest.as_ref().filter(|_| !link.reminded) {
            let frame = wire::frame(&Request::Remember { note: note.clone() }).map_err(|_| SignerError::Answer)?;
            let Answer::Remembered {} = link.exchange(&frame, || ())? else { return Err(SignerError::Answer) };
            link.reminded = true;
        }
        state.link = Some(link);
        Ok(())
    }

    fn check(&self, hello: &Hello) -> Result<(), SignerError> {
        if hello.origin != self.origin {
            let said: String = hello.origin.chars().filter(|char| !char.is_control()).take(200).collect();
            return Err(SignerError::Other(format!("signs for the log `{said}`, not for `{}`", self.origin)));
        }
        for (role, known) in &self.keys {
            let has = hello.keys.get(role).and_then(|hex| hex_decode(hex));
            if has.as_ref() != Some(&known.der) || hello.isolation.keys.get(role) != Some(&known.hint) {
                return Err(SignerError::Other(format!("has another {role:?} key than the one in the key folder")));
            }
        }
        Ok(())
    }

    fn known(&self, role: KeyRole) -> Result<&Known, SignerError> {
        let missing = || SignerError::Refused { code: "sign/no-key".to_owned(), message: format!("the signer has no {role:?} key") };
        self.keys.get(&role).ok_or_else(missing)
    }

    fn sign_statement(&self, request: &AttestRequest<'_>) -> Result<Bundle, SignerError> {
        let known = self.known(request.role)?;
        let step = request.step.map(StepRunId::to_string);
        let attest = Attest { role: request.role, step, statement: Cow::Borrowed(request.statement) };
        let made = OnceCell::new();
        let own = || made.get_or_init(|| Own::of(request.statement));
        self.ask_meanwhile(
            &Request::Attest(attest),
            || _ = own(),
            |answer| {
                let Answer::Signed { signature, key_hint, pae } = answer else { return None };
                let Own { payload, signed, digest } = own();
                let signature = hex_decode(&signature)?;
                // the signer made its payload itself: it must be this one, and the signature must be this key's
                let holds = key_hint == known.hint && pae == *digest && known.key.verify(signed, &signature).is_ok();
                holds.then(|| Bundle { payload: payload.clone(), signature, key_hint, log_proof: None })
            },
        )
    }

    fn sign_checkpoint(&self, request: &CheckpointRequest) -> Result<String, SignerError> {
        let CheckpointRequest { origin, size, root } = request.clone();
        self.checkpoint_of(&Request::Checkpoint { origin, size, root }, request)
    }

    fn sign_again(&self, request: &CheckpointRequest) -> Result<Option<String>, SignerError> {
        let CheckpointRequest { origin, size, root } = request.clone();
        match self.checkpoint_of(&Request::Again { origin, size, root }, request) {
            // another root of that size: then this one was not signed
            Err(SignerError::Refused { code, .. }) if code == "sign/unknown" || code == "sign/fork" => Ok(None),
            signed => signed.map(Some),
        }
    }

    fn checkpoint_of(&self, asked: &Request<'_>, wanted: &CheckpointRequest) -> Result<String, SignerError> {
        let known = self.known(KeyRole::Log)?;
        let note = self.ask(asked, |answer| {
            let Answer::Checkpoint { note } = answer else { return None };
            let (signed, lines) = Checkpoint::parse(note.as_bytes()).ok()?;
            let same = signed.size == wanted.size && signed.root == wanted.root && signed.extensions.is_empty();
            let alone = lines.signatures.len() == 1 && lines.format() == note;
            (same && alone && is_signed_by(&note, &wanted.origin, &known.key)).then_some(note)
        })?;
        let mut state = self.lock();
        if state.newest.as_ref().is_none_or(|(newest, _)| *newest < wanted.size) {
            state.newest = Some((wanted.size, note.clone()));
        }
        Ok(note)
    }
}

/// Who the service at `socket` is and what it did, whatever keys it has.
pub fn status_of(socket: &Path) -> Result<(Hello, Status), SignerError> {
    let mut link = Link::open(&SignerPlace::Service(socket.to_owned()))?;
    let hello = link.hello(false)?;
    let asked = wire::frame(&Request::Status {}).map_err(|_| SignerError::Answer)?;
    let Answer::Status(status) = link.exchange(&asked, || ())? else { return Err(SignerError::Answer) };
    Ok((hello, status))
}

/// What this process makes of a statement itself.
struct Own {
    payload: Vec<u8>,
    /// Its pre-authentication encoding: what is signed.
    signed: Vec<u8>,
    digest: Digest,
}

impl Own {
    fn of(statement: &Statement) -> Self {
        let payload = statement.to_payload();
        let signed = pae(PAYLOAD_TYPE, &payload);
        let digest = Digest::of(&signed);
        Self { payload, signed, digest }
    }
}

impl Signer for ProcessSigner {
    fn attest(&self, request: &AttestRequest<'_>) -> Result<Bundle, PortError> {
        self.sign_statement(request).map_err(|cause| port("sign a statement", &cause))
    }

    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        self.sign_checkpoint(request).map_err(|cause| port("sign a checkpoint", &cause))
    }

    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        self.sign_again(request).map_err(|cause| port("sign a checkpoint again", &cause))
    }

    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        let known = self.known(KeyRole::Log).map_err(|cause| port("check a checkpoint", &cause))?;
        Ok(is_signed_by(note, &self.origin, &known.key))
    }

    fn public_key(&self, role: KeyRole) -> Result<Vec<u8>, PortError> {
        self.known(role).map(|known| known.der.clone()).map_err(|cause| port("read a public key", &cause))
    }

    fn isolation(&self) -> Option<SignerIsolation> {
        let mut state = self.lock();
        // one that cannot be asked signs nothing either: the next request says why
        let ready = self.ready(&mut state);
        ready.ok().and_then(|()| state.isolation.clone())
    }
}

fn port(what: &str, cause: &SignerError) -> PortError {
    match cause {
        SignerError::Refused { .. } => PortError::new(what, cause),
        other => PortError::new(what, format!("{other} ({})", other.code())),
    }
}
