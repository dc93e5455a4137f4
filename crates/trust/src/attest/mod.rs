//! Attestations believed or refused: bundles, the trust file, and the chain from a reference back to its sources.
//!
//! in: bundles, a log, artifact bytes, a [`TrustRoot`]; out: verified statements, a [`ChainReport`].
//! **Invariant:** trust comes from the trust file alone; what cannot be checked is a fault, never a pass.

pub mod bundle;
pub mod chain;
pub mod folder;
mod sigstore;
pub mod trust_root;

pub use bundle::{BundleError, verify_bundle, verify_signature};
pub use chain::{ChainReport, Evidence, Fault, Reference, VerifyOptions, verify_chain};
pub use sigstore::sigstore_trusted_root;
pub use trust_root::{Custody, SourceOwner, TrustRoot, TrustRootError, TrustedKey, TrustedLog, TrustedWitness};
