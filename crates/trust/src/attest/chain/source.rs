//! Where a chain ends: the source an ingest step read, and its owner's word for it.
//!
//! in: a `source:` dependency; out: evidence.
//! **Invariant:** a source below a prefix of the trust file counts only with the signature of that prefix' owner: on its
//! manifest, or on the run request whose lock pins it.

use seaworthy_core::attestation::provenance::SOURCE;
use seaworthy_core::attestation::{artifact_of, sha256_of};
use seaworthy_core::digest::Digest;
use seaworthy_core::envelope::ResourceDescriptor;
use seaworthy_core::lock::{Lock, PinKind};

use super::Walker;
use super::bytes::{Depth, read_blob};
use super::history::Commit;
use super::log::Claim;
use super::report::Evidence;
use crate::attest::trust_root::SourceOwner;

impl Walker<'_> {
    /// The source: its digest, its bytes if they are kept here, its owner's signature if the trust file names one.
    pub(crate) fn source(&mut self, commit: &Commit, name: &str, source: &ResourceDescriptor) -> Evidence {
        let uri = source.uri.clone().unwrap_or_default();
        let label = format!("source {}", name.strip_prefix(SOURCE).unwrap_or(name));
        let digest = artifact_of(source).or_else(|| sha256_of(source));
        let (Some(digest), false) = (digest, uri.is_empty()) else {
            let message = format!("{}: source `{name}` has no URI or no digest", commit.step);
            return self.fail("verify/wrong-inputs", &label, message, Some(commit.leaf), None);
        };
        let kept = matches!(self.bytes.open(&digest), Ok(Some(_)));
        let line = if kept {
            self.described(&label, source, Depth::Files)
        } else {
            Evidence::ok(&label, "pinned by digest; its bytes are not kept here").about(digest)
        };
        let line = Evidence { detail: format!("{uri}: {}", line.detail), ..line };
        let owner = self.trust.owner_of(&uri).cloned();
        match owner {
            None => line.with([Evidence::warn("owner", format!("the trust file names no owner of `{uri}`"))]),
            Some(owner) => {
                let child = self.owner(commit, name, &digest, &owner);
                line.with([child])
            }
        }
    }

    fn owner(&mut self, commit: &Commit, name: &str, digest: &Digest, owner: &SourceOwner) -> Evidence {
        let manifest = self.log.statements.iter().find(|statement| {
            statement.leaf < commit.leaf
                && self.trust.is_key_of_owner(&statement.hint, owner)
                && statement.revoked.is_none()
                && matches!(statement.claim, Claim::Manifest(_))
                && statement.is_about(digest)
        });
        if let Some(statement) = manifest {
            return Evidence::ok("owner", format!("manifest signed by {}", statement.principal)).at(statement.leaf);
        }
        match self.pinned_by(commit, name, digest, owner) {
            Some((leaf, principal)) => Evidence::ok("owner", format!("pinned in the lock that {principal} signed a request for")).at(leaf),
            None => {
                let message =
                    format!("{}: the owner of `{}` signed neither `{name}` nor a request that pins it", commit.step, owner.prefix);
                self.fail("verify/source-unsigned", "owner", message, Some(commit.leaf), Some(*digest))
            }
        }
    }

    /// The owner's own run request, if the lock it names pins the source to this digest.
    fn pinned_by(&self, commit: &Commit, name: &str, digest: &Digest, owner: &SourceOwner) -> Option<(u64, String)> {
        let started = self.history.runs.get(&commit.step.run)?;
        let statement = self.log.statement(&started.request)?;
        let Claim::Request(request) = &statement.claim else { return None };
        if !self.trust.is_key_of_owner(&statement.hint, owner) || statement.revoked.is_some() {
            return None;
        }
        let lock = Lock::parse(&String::from_utf8(read_blob(self.bytes, &request.lock)?).ok()?).ok()?;
        let pinned = lock.pins.get(name).is_some_and(|pin| pin.kind == PinKind::Source && pin.digest == *digest);
        pinned.then(|| (statement.leaf, statement.principal.to_string()))
    }
}
