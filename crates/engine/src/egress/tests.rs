//! The proxy between a client of ours and nothing: what is refused, in which order, how much is recorded; and the relay between two sockets.
//! Real servers are met in a network namespace: `crates/cli/tests/it/egress.rs`.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use seaworthy_core::egress::Destination;
use seaworthy_core::limits;

use super::hello::tests::{hello, name_extension};
use super::relay::Relay;
use super::wait::Stop;
use super::{Arbiter, Attempt, Bounds, Closed, Proxy, Refusal};

/// Writes down what it is told; refuses what `refuses` names.
#[derive(Default)]
struct Notes {
    told: Mutex<Vec<String>>,
    refuses: Option<&'static str>,
}

impl Notes {
    fn note(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Arbiter for Notes {
    fn decide(&self, attempt: &Attempt) -> Result<(), Refusal> {
        self.note(format!("decide {} {}", attempt.to, attempt.is_declared));
        if self.refuses == Some("decide") { Err(Refusal::new("authz/denied", "no")) } else { Ok(()) }
    }

    fn allowed(&self, attempt: &Attempt, addresses: &[SocketAddr]) -> Result<(), Refusal> {
        self.note(format!("allowed {} {addresses:?}", attempt.to));
        if self.refuses == Some("allowed") { Err(Refusal::new("egress/unrecorded", "the log is full")) } else { Ok(()) }
    }

    fn denied(&self, _: u32, _: Option<&Attempt>, refusal: &Refusal) {
        self.note(format!("denied {}", refusal.code));
    }

    fn denied_more(&self, count: u64) {
        self.note(format!("denied {count} more"));
    }

    fn closed(&self, closed: &Closed) {
        self.note(format!("closed {} {} {}", closed.sent, closed.received, closed.ended));
    }
}

fn connection() -> (UnixStream, OwnedFd) {
    let (client, proxy) = UnixStream::pair().unwrap();
    proxy.set_nonblocking(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (client, proxy.into())
}

fn of(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(vec![SocketAddr::new(address.parse().unwrap(), 443)])
}

/// What a client that sends these bytes gets, and what the arbiter was told.
fn answer(notes: &Notes, resolver: super::Resolver, bytes: &[u8]) -> String {
    let declared = ["good.example:443", "127.0.0.1:443"].map(|text| Destination::parse(text).unwrap()).to_vec();
    let proxy = Proxy::new(declared, notes, Bounds::default()).unwrap().resolving_by(resolver);
    let (mut client, theirs) = connection();
    let (text, _) = proxy.serve(|door| {
        door(theirs);
        client.write_all(bytes).unwrap();
        let mut text = String::new();
        // a connection that is reset after its answer says all the same
        let _ = client.read_to_string(&mut text);
        text
    });
    text
}

const NEVER: super::Resolver = |_, _| panic!("asked for an address");

/// Nothing is looked up for a host that is not declared, or that the arbiter refuses. The control: one that is allowed is looked up.
#[test]
fn what_is_refused_is_not_resolved() {
    let notes = Notes::default();
    let text = answer(&notes, NEVER, b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 403") && text.contains("egress/not-declared"), "{text}");
    let text = answer(&notes, NEVER, b"CONNECT good.example:444 HTTP/1.1\r\n\r\n");
    assert!(text.contains("egress/not-declared"), "another port is another destination: {text}");
    let strict = Notes { refuses: Some("decide"), ..Notes::default() };
    let text = answer(&strict, NEVER, b"CONNECT good.example:443 HTTP/1.1\r\n\r\n");
    assert!(text.contains("authz/denied"), "{text}");
    assert_eq!(strict.all(), ["decide good.example:443 true", "denied authz/denied"]);
    let text = answer(&notes, |_, _| Err(io::ErrorKind::NotFound.into()), b"CONNECT GOOD.example.:443 HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 502") && text.contains("egress/unresolved"), "{text}");
}

#[test]
fn a_name_that_leads_inwards_is_refused_and_loopback_even_if_declared() {
    for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00::1"] {
        let resolver: super::Resolver = match address {
            "127.0.0.1" => |_, _| of("127.0.0.1"),
            "10.0.0.1" => |_, _| of("10.0.0.1"),
            "169.254.169.254" => |_, _| of("169.254.169.254"),
            "fd00::1" => |_, _| of("fd00::1"),
            _ => |_, _| of("::ffff:127.0.0.1"),
        };
        let text = answer(&Notes::default(), resolver, b"CONNECT good.example:443 HTTP/1.1\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 403") && text.contains("egress/private-address"), "{address}: {text}");
    }
    let text = answer(&Notes::default(), NEVER, b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n");
    assert!(text.contains("egress/private-address"), "{text}");
}

/// After the answer the client must name the same host; nothing is connected, nor recorded as about to be, before it did.
#[test]
fn nothing_is_connected_before_the_hello_fits() {
    let public: super::Resolver = |_, _| of("192.88.98.1");
    let request = b"CONNECT good.example:443 HTTP/1.1\r\n\r\n".to_vec();
    for (what, more, code) in [
        ("another host", hello(&name_extension("evil.example")), "egress/server-name"),
        ("no host", hello(&[]), "egress/no-server-name"),
        ("no TLS", b"SSH-2.0-OpenSSH\r\n".to_vec(), "egress/not-tls"),
        ("a second request", b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n".to_vec(), "egress/not-tls"),
    ] {
        let notes = Notes::default();
        let text = answer(&notes, public, &[request.clone(), more].concat());
        assert!(text.starts_with("HTTP/1.1 200"), "{what}: {text}");
        assert_eq!(notes.all(), ["decide good.example:443 true".to_owned(), format!("denied {code}")], "{what}");
    }
    // the control: the right host is recorded as about to be connected to; if that cannot be recorded nothing is
    let full = Notes { refuses: Some("allowed"), ..Notes::default() };
    answer(&full, public, &[request, hello(&name_extension("good.example"))].concat());
    let expected = ["decide good.example:443 true", "allowed good.example:443 [192.88.98.1:443]", "denied egress/unrecorded"];
    assert_eq!(full.all(), expected);
}

/// A client that says nothing, or little and slowly, is closed with the step.
#[test]
fn a_slow_client_does_not_hold_the_step() {
    let notes = Notes::default();
    let proxy = Proxy::new(vec![Destination::parse("good.example:443").unwrap()], &notes, Bounds::default()).unwrap();
    let begun = Instant::now();
    let mut clients = Vec::new();
    let ((), traffic) = proxy.serve(|door| {
        for part in [&b""[..], b"C", b"CONNECT good.example:443 HTTP/1.1\r\nA: "] {
            let (mut client, theirs) = connection();
            door(theirs);
            client.write_all(part).unwrap();
            clients.push(client);
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((traffic.connections, traffic.denied), (0, 3));
    assert!(clients.iter_mut().all(|client| matches!(client.read_to_end(&mut Vec::new()), Ok(_) | Err(_))));
}

/// Denials are told one by one up to the bound, then counted; connections beyond those that may be open at once are closed.
#[test]
fn a_flood_is_bounded() {
    let notes = Notes::default();
    let proxy = Proxy::new(Vec::new(), &notes, Bounds::default()).unwrap();
    let ((), traffic) = proxy.serve(|door| {
        for _ in 0..40 {
            let (mut client, theirs) = connection();
            door(theirs);
            client.write_all(b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n").unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    let told = notes.all().iter().filter(|line| line.starts_with("denied egress/")).count();
    assert_eq!(told, usize::try_from(limits::EGRESS_DENIALS_MAX).unwrap());
    assert_eq!(notes.all().last().unwrap(), "denied 24 more");
    assert_eq!(traffic.denied, 40);

    let held = Notes::default();
    let proxy = Proxy::new(Vec::new(), &held, Bounds::default()).unwrap();
    let ((), traffic) = proxy.serve(|door| {
        let mut open: Vec<UnixStream> = Vec::new();
        for _ in 0..limits::EGRESS_CONNECTIONS_MAX + 3 {
            let (client, theirs) = connection();
            door(theirs);
            open.push(client);
        }
        for mut refused in open.drain(limits::EGRESS_CONNECTIONS_MAX..) {
            assert_eq!(refused.read(&mut [0]).unwrap(), 0, "closed at once");
        }
    });
    assert_eq!(traffic.denied, u64::try_from(limits::EGRESS_CONNECTIONS_MAX).unwrap() + 3);
}

fn relay(bounds: Bounds, client: &OwnedFd, server: &OwnedFd, stop: &Stop) -> (u64, u64, &'static str) {
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let relayed = Relay { client, server, stop, bounds, sent: &sent, received: &received }.run(b"hello".to_vec());
    (relayed.sent, relayed.received, relayed.ended)
}

/// Half-closed streams go on in the other direction; large amounts arrive whole.
#[test]
fn both_directions_end_on_their_own() {
    let ((mut client, near), (mut server, far), stop) = (connection(), connection(), Stop::new().unwrap());
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let back = sent.clone();
    std::thread::scope(|scope| {
        let done = scope.spawn(|| relay(Bounds::default(), &near, &far, &stop));
        scope.spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"hello-and-more");
            server.write_all(&back).unwrap();
        });
        client.write_all(b"-and-more").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert!(all == sent, "{} of {} bytes", all.len(), sent.len());
        assert_eq!(done.join().unwrap(), (14, 3_000_000, "done"));
    });
}

#[test]
fn bytes_are_bounded_in_both_directions() {
    for (bounds, ended) in
        [(Bounds { sent: 1000, received: 1 << 40 }, "sent-limit"), (Bounds { sent: 1 << 40, received: 1000 }, "received-limit")]
    {
        let ((mut client, near), (mut server, far), stop) = (connection(), connection(), Stop::new().unwrap());
        std::thread::scope(|scope| {
            let done = scope.spawn(|| relay(bounds, &near, &far, &stop));
            let upload = ended == "sent-limit";
            // the relay may be gone before all of it is taken
            let _ = if upload { client.write_all(&[7; 100_000]) } else { server.write_all(&[7; 100_000]) };
            let (sent, received, why) = done.join().unwrap();
            assert_eq!(why, ended);
            assert!(sent <= bounds.sent && received <= bounds.received, "{sent} {received}");
        });
    }
    // the control: within the bounds all of it arrives, which `both_directions_end_on_their_own` shows
}

/// A reader that does not read is left when the step ends.
#[test]
fn the_end_of_the_step_ends_a_relay() {
    let ((mut client, near), (_server, far), stop) = (connection(), connection(), Stop::new().unwrap());
    client.set_nonblocking(true).unwrap();
    std::thread::scope(|scope| {
        let done = scope.spawn(|| relay(Bounds::default(), &near, &far, &stop));
        for _ in 0..100 {
            // as much as fits
            let _ = client.write(&[0; 65536]);
        }
        std::thread::sleep(Duration::from_millis(100));
        stop.set();
        assert_eq!(done.join().unwrap().2, "stopped");
    });
}
