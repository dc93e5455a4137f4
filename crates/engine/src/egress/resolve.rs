//! Finding the addresses of a host, once, and looking at every one of them.
//!
//! in: a destination that was allowed; out: the addresses that may be connected to, or why none may.
//! **Invariant:** one address that is not to be reached spoils the whole answer: a name that points inwards now may do so again.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use seaworthy_core::egress::{Destination, Host, bar};
use seaworthy_core::limits;

use super::wait::{Ended, Stop};
use super::{Refusal, Resolver};

/// How often the switch is looked at while the system's resolver is at work, which nothing can interrupt.
const TICK: Duration = Duration::from_millis(50);
/// Answers that are still waited for by nobody: the resolver of the system gives up by itself.
const ASKED_MAX: usize = 64;

/// The resolver of the host.
pub(super) fn system(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((name, port).to_socket_addrs()?.collect())
}

/// The addresses of a destination, each fit to be connected to.
pub(super) fn addresses(to: &Destination, resolver: Resolver, stop: &Stop) -> Result<Vec<SocketAddr>, Refusal> {
    let name = match &to.host {
        Host::Address(address) => {
            let barred = to.barred();
            return match barred {
                None => Ok(vec![SocketAddr::new(*address, to.port)]),
                Some(bar) => Err(private(to, *address, bar.kind)),
            };
        }
        Host::Name(name) => name,
    };
    let unresolved = |why: &str| Refusal::new("egress/unresolved", format!("`{name}` has no address: {why}"));
    let found = match ask(name.clone(), to.port, resolver, stop) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(unresolved(&error.to_string())),
        Err(Ended::TooLate) => return Err(unresolved("no answer in time")),
        Err(_) => return Err(unresolved("the resolver is busy, or the step over")),
    };
    let mut sound: Vec<SocketAddr> = Vec::new();
    for address in found {
        if let Some(bar) = bar(address.ip()) {
            return Err(private(to, address.ip(), bar.kind));
        }
        let address = SocketAddr::new(address.ip(), to.port);
        if !sound.contains(&address) {
            sound.push(address);
        }
    }
    sound.truncate(limits::EGRESS_ADDRESSES_MAX);
    if sound.is_empty() { Err(unresolved("the answer is empty")) } else { Ok(sound) }
}

fn private(to: &Destination, address: IpAddr, kind: &str) -> Refusal {
    let message = format!("`{to}` leads to {address}, which is {kind}; a private address is reached only if it is declared as such");
    Refusal::new("egress/private-address", message)
}

/// Asks in a thread of its own, which may outlive the step, and holds nothing of it but the name.
fn ask(name: String, port: u16, resolver: Resolver, stop: &Stop) -> Result<io::Result<Vec<SocketAddr>>, Ended> {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    if ASKED.fetch_add(1, Ordering::SeqCst) >= ASKED_MAX {
        ASKED.fetch_sub(1, Ordering::SeqCst);
        return Err(Ended::Broken);
    }
    let (answer, answered) = sync_channel(1);
    let work = move || {
        // nobody listens any more: the step is over
        let _ = answer.send(resolver(&name, port));
        ASKED.fetch_sub(1, Ordering::SeqCst);
    };
    if std::thread::Builder::new().name("resolver".to_owned()).spawn(work).is_err() {
        ASKED.fetch_sub(1, Ordering::SeqCst);
        return Err(Ended::Broken);
    }
    let until = Instant::now() + Duration::from_secs(limits::EGRESS_CONNECT_S_MAX);
    loop {
        match answered.recv_timeout(TICK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Broken),
            Err(RecvTimeoutError::Timeout) if stop.is_set() => return Err(Ended::Stopped),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return Err(Ended::TooLate),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, resolver: Resolver) -> Result<Vec<String>, &'static str> {
        let found = addresses(&Destination::parse(text).unwrap(), resolver, &Stop::new().unwrap());
        found.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|refusal| refusal.code)
    }

    fn of(addresses: &[&str]) -> io::Result<Vec<SocketAddr>> {
        // another port than the one asked for must not get through
        Ok(addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 22)).collect())
    }

    #[test]
    fn one_private_answer_spoils_all() {
        assert_eq!(
            answer("a.example:443", |_, _| of(&["8.8.8.8", "2606:4700::1", "8.8.8.8"])).unwrap(),
            ["8.8.8.8:443", "[2606:4700::1]:443"]
        );
        let barred: [Resolver; 8] = [
            |_, _| of(&["127.0.0.1"]),
            |_, _| of(&["8.8.8.8", "10.0.0.1"]),
            |_, _| of(&["169.254.169.254", "8.8.8.8"]),
            |_, _| of(&["8.8.8.8", "8.8.4.4", "8.8.8.1", "8.8.8.2", "8.8.8.3", "192.168.0.1"]),
            |_, _| of(&["::ffff:127.0.0.1"]),
            |_, _| of(&["2606:4700::1", "fd00::1"]),
            |_, _| of(&["64:ff9b::a9fe:a9fe"]),
            |_, _| of(&["0.0.0.0"]),
        ];
        for resolver in barred {
            assert_eq!(answer("a.example:443", resolver), Err("egress/private-address"));
        }
        assert_eq!(answer("a.example:443", |_, _| of(&[])), Err("egress/unresolved"));
        assert_eq!(answer("a.example:443", |_, _| Err(io::ErrorKind::NotFound.into())), Err("egress/unresolved"));
    }

    #[test]
    fn an_address_is_not_resolved() {
        let never: Resolver = |_, _| panic!("asked");
        assert_eq!(answer("10.1.2.3:8443", never).unwrap(), ["10.1.2.3:8443"]);
        assert_eq!(answer("[::1]:8443", never), Err("egress/private-address"));
    }

    /// A resolver that hangs holds nobody up once the step is over.
    #[test]
    fn a_hanging_resolver_is_left_behind() {
        let stop = Stop::new().unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100));
                stop.set();
            });
            let hang: Resolver = |_, _| {
                std::thread::sleep(Duration::from_secs(20));
                of(&["8.8.8.8"])
            };
            assert!(addresses(&Destination::parse("a.example:443").unwrap(), hang, &stop).is_err());
        });
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
