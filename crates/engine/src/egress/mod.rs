//! The policy proxy: decides about every connection that a step makes, and connects.
//!
//! in: connections that a sandbox hands over, declared destinations, an [`Arbiter`]; out: bytes relayed, [`Traffic`].
//! **Invariant:** nothing is resolved before the arbiter allowed it, nothing connected to before that is recorded, and nothing but the
//! addresses that were checked; the first bytes of the client name the same host to TLS.
//! **Invariant:** no client, server or resolver holds the run: everything waits with a deadline, and [`Proxy::serve`] ends it all.

mod client;
mod connection;
mod hello;
mod relay;
mod request;
mod resolve;
mod wait;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::Scope;

use seaworthy_core::egress::Destination;
use seaworthy_core::limits;
use serde::Serialize;

pub use connection::not_declared;
use wait::Stop;

/// One connection that a step asked for.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Counts from 1 within the step.
    pub connection: u32,
    /// Where it wants to go.
    pub to: Destination,
    /// Whether the step declares exactly this.
    pub is_declared: bool,
}

/// Why a connection is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: &'static str,
    /// For the client, and whoever reads what it prints.
    pub message: String,
}

impl Refusal {
    /// With its code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A connection that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Which.
    pub connection: u32,
    /// Bytes to the host.
    pub sent: u64,
    /// Bytes from the host.
    pub received: u64,
    /// Why it ended.
    pub ended: &'static str,
}

/// Decides, and keeps the record. What it cannot record it refuses.
pub trait Arbiter: Sync {
    /// May this connection be made? Nothing has been resolved yet. Recorded when this returns `Ok`.
    fn decide(&self, attempt: &Attempt) -> Result<(), Refusal>;
    /// It is about to be made, to the first of these addresses that answers. Recorded when this returns `Ok`.
    fn allowed(&self, attempt: &Attempt, addresses: &[SocketAddr]) -> Result<(), Refusal>;
    /// One was not made; without an attempt its request could not be read. At most [`limits::EGRESS_DENIALS_MAX`] are told of one by one.
    fn denied(&self, connection: u32, attempt: Option<&Attempt>, refusal: &Refusal);
    /// So many more were not made.
    fn denied_more(&self, count: u64);
    /// One that was allowed is over.
    fn closed(&self, closed: &Closed);
}

/// Finds the addresses of a name; asked once a connection.
pub type Resolver = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Bytes of all connections of a step together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// To hosts.
    pub sent: u64,
    /// From hosts.
    pub received: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sent: limits::EGRESS_SENT_BYTES_MAX, received: limits::EGRESS_RECEIVED_BYTES_MAX }
    }
}

/// What went through; goes into the attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Declared destinations.
    pub declared: Vec<String>,
    /// Those of them that are private addresses, reached because they are declared as such.
    pub private: Vec<String>,
    /// Connections made.
    pub connections: u64,
    /// Connections refused.
    pub denied: u64,
    /// Bytes to hosts.
    pub sent: u64,
    /// Bytes from hosts.
    pub received: u64,
}

/// One step's proxy.
pub struct Proxy<'a> {
    declared: Vec<Destination>,
    arbiter: &'a dyn Arbiter,
    resolver: Resolver,
    bounds: Bounds,
    stop: Stop,
    asked: AtomicU32,
    open: AtomicUsize,
    allowed: AtomicU32,
    denied: AtomicU32,
    sent: AtomicU64,
    received: AtomicU64,
}

impl<'a> Proxy<'a> {
    /// A proxy to these destinations.
    pub fn new(declared: Vec<Destination>, arbiter: &'a dyn Arbiter, bounds: Bounds) -> io::Result<Self> {
        Ok(Self {
            declared,
            arbiter,
            resolver: resolve::system,
            bounds,
            stop: Stop::new()?,
            asked: AtomicU32::new(0),
            open: AtomicUsize::new(0),
            allowed: AtomicU32::new(0),
            denied: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    /// The same with another way to find addresses.
    #[must_use]
    pub fn resolving_by(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// Serves every connection that `run` is given the means to hand over; when it returns, all are closed.
    pub fn serve<T>(&self, run: impl FnOnce(&mut dyn FnMut(OwnedFd)) -> T) -> (T, Traffic) {
        let done = std::thread::scope(|scope| {
            // also if the run panics: the scope waits for every connection
            let over = Over(&self.stop);
            let done = run(&mut |client| self.admit(scope, client));
            drop(over);
            done
        });
        let told = u64::from(limits::EGRESS_DENIALS_MAX);
        let denied = u64::from(self.denied.load(Ordering::SeqCst));
        if denied > told {
            self.arbiter.denied_more(denied - told);
        }
        (done, self.traffic())
    }

    fn traffic(&self) -> Traffic {
        let is_private =
            |to: &&Destination| matches!(to.host, seaworthy_core::egress::Host::Address(ip) if seaworthy_core::egress::bar(ip).is_some());
        Traffic {
            declared: self.declared.iter().map(ToString::to_string).collect(),
            private: self.declared.iter().filter(is_private).map(ToString::to_string).collect(),
            connections: u64::from(self.allowed.load(Ordering::SeqCst)),
            denied: u64::from(self.denied.load(Ordering::SeqCst)),
            sent: self.sent.load(Ordering::SeqCst),
            received: self.received.load(Ordering::SeqCst),
        }
    }

    /// Takes one connection; never blocks. More than may be open at once are closed unheard, and counted as denied.
    fn admit<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, client: OwnedFd) {
        let number = self.asked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        if self.open.fetch_add(1, Ordering::SeqCst) >= limits::EGRESS_CONNECTIONS_MAX {
            self.open.fetch_sub(1, Ordering::SeqCst);
            // only counted: a record here would hold up whoever hands connections over
            self.denied.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let spawned = std::thread::Builder::new().name("egress".to_owned()).spawn_scoped(scope, move || {
            self.handle(number, &client);
            self.open.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            // no thread to be had: the connection went with the closure
            self.open.fetch_sub(1, Ordering::SeqCst);
            self.denied.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Ends every connection when it goes.
struct Over<'a>(&'a Stop);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

#[cfg(test)]
mod tests;
