//! The operations crate: console, monitor and incidents. Nothing is here yet; `seaworthy serve` refuses and says so.
