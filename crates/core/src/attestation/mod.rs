//! Typed builders and readers of every predicate of the chain.
