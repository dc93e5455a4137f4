//! Checks that look at data and models: readers given by the caller in, reports out.
//!
//! **Invariant:** pure compute. No file is opened here, nothing is written, no clock is read, and every pseudo-random choice
//! comes from a stated seed, so that a report can be made again from the same bytes.
//! **Invariant:** hostile bytes give an error that names the file and what is wrong with it, never a panic.

pub mod check;
pub mod checks;
pub mod model;
mod random;
pub mod registry;
pub mod schema;
pub mod score;
pub mod special;
pub mod table;
