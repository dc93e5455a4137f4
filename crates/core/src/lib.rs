//! The nouns and rules of a secure workflow: everything other crates agree on.
//!
//! **Invariant:** pure. No input or output, no clock, no randomness, no framework.
#![warn(missing_docs)]

pub mod action;
pub mod artifact;
pub mod attestation;
pub mod decision;
pub mod deployment;
pub mod digest;
pub mod egress;
pub mod envelope;
pub mod event;
pub mod finding;
pub mod id;
pub mod json_strict;
pub mod limits;
pub mod lock;
pub mod merkle;
pub mod model;
pub mod note;
pub mod plan;
pub mod ports;
pub mod principal;
pub mod secret;
pub mod worker;
pub mod workflow;
