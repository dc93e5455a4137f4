//! One connection, from the client's request to the end of both streams: the narrative of the proxy.
//!
//! in: a connection from a sandbox; out: it is refused with the reason, or relayed; both recorded.
//! **Invariant:** request, decision (recorded), addresses (checked), hello (for the same host), intent (recorded), connect: in this order.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use seaworthy_core::limits;

use super::client::Client;
use super::relay::{Relay, Relayed};
use super::wait::Ended;
use super::{Attempt, Closed, Proxy, Refusal, resolve};

impl Proxy<'_> {
    /// Serves one client to its end.
    pub(super) fn handle(&self, connection: u32, socket: &OwnedFd) {
        let mut client = Client::new(socket, &self.stop);
        let to = match client.request() {
            Ok(to) => to,
            Err(refusal) => return self.refuse(connection, None, &refusal, Some(client)),
        };
        let is_declared = self.declared.contains(&to);
        let attempt = Attempt { connection, to, is_declared };
        let addresses = match self.consider(&attempt) {
            Ok(addresses) => addresses,
            Err(refusal) => return self.refuse(connection, Some(&attempt), &refusal, Some(client)),
        };
        let admitted = client.hello(&attempt.to).and_then(|hello| {
            self.arbiter.allowed(&attempt, &addresses)?;
            Ok(hello)
        });
        match admitted {
            Ok(hello) => self.connect_and_relay(connection, socket, &addresses, hello),
            Err(refusal) => self.refuse(connection, Some(&attempt), &refusal, None),
        }
    }

    /// The decision, and then the addresses.
    fn consider(&self, attempt: &Attempt) -> Result<Vec<SocketAddr>, Refusal> {
        if attempt.connection > limits::EGRESS_CONNECTIONS_TOTAL_MAX {
            let message = format!("this step has asked for {} connections", limits::EGRESS_CONNECTIONS_TOTAL_MAX);
            return Err(Refusal::new("egress/too-many", message));
        }
        self.arbiter.decide(attempt)?;
        // whatever the arbiter says
        if !attempt.is_declared {
            return Err(not_declared(attempt));
        }
        resolve::addresses(&attempt.to, self.resolver, &self.stop)
    }

    fn refuse(&self, connection: u32, attempt: Option<&Attempt>, refusal: &Refusal, client: Option<Client<'_>>) {
        if self.denied.fetch_add(1, Ordering::SeqCst) < limits::EGRESS_DENIALS_MAX {
            self.arbiter.denied(connection, attempt, refusal);
        }
        if let Some(client) = client {
            client.refuse(refusal);
        }
    }

    fn connect_and_relay(&self, connection: u32, client: &OwnedFd, addresses: &[SocketAddr], hello: Vec<u8>) {
        self.allowed.fetch_add(1, Ordering::SeqCst);
        let relayed = match self.connect(addresses) {
            Ok(server) => {
                let relay =
                    Relay { client, server: &server, stop: &self.stop, bounds: self.bounds, sent: &self.sent, received: &self.received };
                relay.run(hello)
            }
            Err(Ended::Stopped) => Relayed::unused("stopped"),
            Err(_) => Relayed::unused("unreachable"),
        };
        self.arbiter.closed(&Closed { connection, sent: relayed.sent, received: relayed.received, ended: relayed.ended });
    }

    /// The first of the addresses that answers.
    fn connect(&self, addresses: &[SocketAddr]) -> Result<OwnedFd, Ended> {
        let until = Instant::now() + Duration::from_secs(limits::EGRESS_CONNECT_S_MAX);
        let mut last = Ended::Broken;
        for (tried, address) in (0..).zip(addresses) {
            // each gets its share of what is left
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len()).unwrap_or(1).saturating_sub(tried).max(1);
            match self.connect_one(*address, Instant::now() + share) {
                Ok(server) => return Ok(server),
                Err(Ended::Stopped) => return Err(Ended::Stopped),
                Err(ended) => last = ended,
            }
        }
        Err(last)
    }

    fn connect_one(&self, address: SocketAddr, until: Instant) -> Result<OwnedFd, Ended> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let server = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(|_| Ended::Broken)?;
        match rustix::net::connect(&server, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                self.stop.wait([(server.as_fd(), PollFlags::OUT)], until)?;
                rustix::net::sockopt::socket_error(&server).ok().and_then(Result::ok).ok_or(Ended::Broken)?;
            }
            Err(_) => return Err(Ended::Broken),
        }
        Ok(server)
    }
}

/// The refusal of what a step does not declare.
#[must_use]
pub fn not_declared(attempt: &Attempt) -> Refusal {
    let message = format!("`{}` is not declared: a step reaches the hosts of its `egress` and nothing else", attempt.to);
    Refusal::new("egress/not-declared", message)
}
