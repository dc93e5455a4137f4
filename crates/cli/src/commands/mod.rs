//! One file a command; each parses nothing and decides nothing: it opens, calls, renders.

pub(crate) mod attest;
pub(crate) mod catalog;
pub(crate) mod demo;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod lineage;
pub(crate) mod load;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod sandbox;
pub(crate) mod secrets;
pub(crate) mod signer;
pub(crate) mod store;
pub(crate) mod trust;
pub(crate) mod verify;
