//! What this user has seen of a log: its newest checkpoint, and which log a workspace folder had. Kept outside every workspace.
//!
//! in: the state folder, a log's origin, a workspace folder; out: a refusal where the log went back, forked or was exchanged.
//! **Invariant:** a log is never extended, and never verified, that does not continue what was seen before; what is
//! remembered but cannot be read is a refusal, not a first meeting.

use std::path::{Path, PathBuf};

use seaworthy_core::digest::Digest;
use seaworthy_core::note::Checkpoint;
use seaworthy_store::log::LogReader;
use seaworthy_store::workspace::write_atomic;
use seaworthy_trust::transparency::{CheckpointError, verify_continuation};

use crate::failure::Failure;
use crate::render;
use crate::settings::Settings;

/// The memory of one log in one workspace folder.
#[derive(Debug, Clone)]
pub(crate) struct LastSeen {
    folder: PathBuf,
    checkpoint: PathBuf,
    place: PathBuf,
    origin: String,
}

impl LastSeen {
    pub(crate) fn of(settings: &Settings, origin: &str, dir: &Path, environment: &str) -> Self {
        let named = |text: &str| Digest::of(text.as_bytes()).hex();
        let folder = settings.state_dir.join("checkpoints");
        Self {
            checkpoint: folder.join(named(origin)),
            place: folder.join(format!("place-{}", named(&format!("{}\n{environment}", dir.display())))),
            folder,
            origin: origin.to_owned(),
        }
    }

    /// The newest checkpoint seen; none if this user never looked.
    pub(crate) fn read(&self) -> Result<Option<Checkpoint>, Failure> {
        let Some(text) = remembered(&self.checkpoint)? else { return Ok(None) };
        let checkpoint = Checkpoint::from_text(&text).map_err(|e| unreadable(&self.checkpoint, &e))?;
        Ok(Some(checkpoint))
    }

    /// A folder whose log this user knew under another name, and no key of whose log the user has: it was exchanged.
    pub(crate) fn refuse_exchanged(&self) -> Result<(), Failure> {
        match remembered(&self.place)? {
            Some(known) if known != self.origin => {
                let message = format!("the log of this workspace was `{known}`, now it is `{}`, which nobody vouches for", self.origin);
                Err(Failure::integrity("verify/log-exchanged", message))
            }
            _ => Ok(()),
        }
    }

    /// Before the log is extended: it must be there and continue what was seen.
    pub(crate) fn refuse_rollback(&self, log_dir: &Path, there: bool) -> Result<(), Failure> {
        let Some(before) = self.read()? else { return Ok(()) };
        let refused = |cause: &CheckpointError| {
            let hint = format!("{}; if you put an older copy back on purpose, remove `{}`", cause.hint(), self.checkpoint.display());
            Failure::new(crate::failure::INTEGRITY, cause.code(), cause.to_string(), hint)
        };
        if !there {
            return Err(refused(&CheckpointError::Rollback { before: before.size, now: 0 }));
        }
        let log = LogReader::open(log_dir).map_err(|e| Failure::integrity("log/open", e))?;
        if log.state().size < before.size {
            return Err(refused(&CheckpointError::Rollback { before: before.size, now: log.state().size }));
        }
        let proof = log.consistency(before.size).map_err(|e| Failure::integrity("log/read", e))?;
        verify_continuation(&before, log.state(), &proof).map_err(|e| refused(&e))
    }

    /// A reader that cannot remember says so; what it verified still holds.
    pub(crate) fn write(&self, checkpoint: &Checkpoint) {
        let put = |path: &Path, text: &str| write_atomic(path, text.as_bytes(), 0o600).map_err(|e| e.to_string());
        let written = std::fs::create_dir_all(&self.folder)
            .map_err(|e| e.to_string())
            .and_then(|()| put(&self.checkpoint, &checkpoint.to_text()))
            .and_then(|()| put(&self.place, &self.origin));
        if let Err(cause) = written {
            render::note(&format!("note: the checkpoint could not be remembered ({cause}); a rollback would go unseen next time"));
        }
    }
}

fn remembered(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    let message = format!("what was seen of this log before cannot be read: `{}`: {cause}", path.display());
    Failure::configuration("verify/last-seen", message, "restore the file; only remove it if you know why it is damaged")
}
