//! The first message of TLS: which host does the client name?
//!
//! in: the first bytes of a client (RFC 8446 §4.1.2, RFC 6066 §3); out: the server name, or why these bytes do not leave.
//! **Invariant:** every length is exact and every extension that names a host stands there once: there is no second way to read a hello
//! that passes. No input panics.

use seaworthy_core::egress::{Destination, Host};
use seaworthy_core::limits;

use super::Refusal;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// Hides the true name behind another one.
const ENCRYPTED_HELLO: u16 = 0xfe0d;
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Not all of it is there yet.
    Unfinished,
    /// The name it gives, if it gives one.
    Names(Option<String>),
}

/// Reads the records of one client hello.
pub(super) fn read(bytes: &[u8]) -> Result<Hello, Refusal> {
    let mut message = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let [kind, major, _, high, low, after @ ..] = rest else {
            return if rest.first() == Some(&HANDSHAKE) { Ok(Hello::Unfinished) } else { Err(not_tls()) };
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || *major != 3 || !(1..=RECORD_BYTES_MAX).contains(&length) {
            return Err(not_tls());
        }
        let (part, more) = after.split_at_checked(length).unwrap_or((after, &[]));
        message.extend_from_slice(part);
        rest = more;
        if let [kind, a, b, c, body @ ..] = message.as_slice() {
            let wanted = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
            if *kind != CLIENT_HELLO || wanted > limits::EGRESS_HELLO_BYTES_MAX {
                return Err(not_tls());
            }
            if let Some(body) = body.get(..wanted) {
                // what follows in the same record belongs to no hello that stands at the beginning
                let is_alone = message.len() == wanted + 4 && rest.is_empty();
                return if is_alone { Ok(Hello::Names(server_name(body).ok_or_else(not_tls)??)) } else { Err(not_tls()) };
            }
        }
        if part.len() < length {
            break;
        }
    }
    Ok(Hello::Unfinished)
}

fn not_tls() -> Refusal {
    Refusal::new("egress/not-tls", "only TLS leaves a step: these bytes do not begin like it")
}

/// Whether the hello is for the host that was asked for.
pub(super) fn check(named: Option<&str>, to: &Destination) -> Result<(), Refusal> {
    let Some(name) = named else {
        return match to.host {
            Host::Address(_) => Ok(()),
            Host::Name(_) => Err(Refusal::new("egress/no-server-name", format!("TLS does not say that it is for `{}`", to.host))),
        };
    };
    // a trailing dot has no place there; what `Host` leaves out of a name must not be in it
    if !name.ends_with('.') && Host::parse(name).is_ok_and(|host| host == to.host) {
        return Ok(());
    }
    Err(Refusal::new("egress/server-name", format!("TLS names another host than `{}`, which was asked for", to.host)))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What a length of `bytes` bytes stands before.
    fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

/// None: it is no hello. `Some(Err)`: it is one that does not leave.
fn server_name(body: &[u8]) -> Option<Result<Option<String>, Refusal>> {
    let mut hello = Reader(body);
    hello.take(2 + 32)?;
    (hello.vector(1)?.len() <= 32).then_some(())?;
    let suites = hello.vector(2)?.len();
    (suites >= 2 && suites % 2 == 0).then_some(())?;
    (!hello.vector(1)?.is_empty()).then_some(())?;
    let mut name = None;
    if hello.0.is_empty() {
        return Some(Ok(None));
    }
    let mut extensions = Reader(hello.vector(2)?);
    hello.0.is_empty().then_some(())?;
    let mut seen = std::collections::BTreeSet::new();
    while !extensions.0.is_empty() {
        let kind = u16::try_from(extensions.number(2)?).ok()?;
        let data = extensions.vector(2)?;
        seen.insert(kind).then_some(())?;
        if kind == ENCRYPTED_HELLO {
            return Some(Err(Refusal::new(
                "egress/encrypted-hello",
                "TLS hides which host it is for (encrypted client hello): switch that off",
            )));
        }
        if kind == SERVER_NAME {
            name = Some(only_name(data)?);
        }
    }
    Some(Ok(name))
}

/// The one name of a list of names.
fn only_name(data: &[u8]) -> Option<String> {
    let mut outer = Reader(data);
    let mut list = Reader(outer.vector(2)?);
    outer.0.is_empty().then_some(())?;
    (list.number(1)? == 0).then_some(())?;
    let name = list.vector(2)?;
    (list.0.is_empty() && !name.is_empty()).then_some(())?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, data)].concat()
    }

    pub(crate) fn name_extension(name: &str) -> Vec<u8> {
        extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat()))
    }

    fn body(extensions: &[u8]) -> Vec<u8> {
        [&[3, 3][..], &[7; 32], &vector(1, &[9; 32]), &vector(2, &[0x13, 1]), &vector(1, &[0]), &vector(2, extensions)].concat()
    }

    fn record(message: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1][..], &vector(2, message)].concat()
    }

    /// A hello with these extensions.
    pub(crate) fn hello(extensions: &[u8]) -> Vec<u8> {
        record(&[&[CLIENT_HELLO][..], &vector(3, &body(extensions))].concat())
    }

    fn named(bytes: &[u8]) -> Option<String> {
        match read(bytes) {
            Ok(Hello::Names(name)) => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_name_is_read_however_the_bytes_come() {
        let other = extension(43, &[2, 3, 4]);
        let whole = hello(&[other.clone(), name_extension("pypi.org"), extension(10, &[0, 2, 0, 29])].concat());
        assert_eq!(named(&whole).as_deref(), Some("pypi.org"));
        assert_eq!(named(&hello(&other)), None);
        for cut in 1..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(Hello::Unfinished), "{cut} of {} bytes", whole.len());
        }
        // the same message in records of seven bytes
        let cut: Vec<u8> = whole[5..].chunks(7).flat_map(record).collect();
        assert_eq!(named(&cut).as_deref(), Some("pypi.org"));
    }

    /// Hellos that another reader could read as one for another host, or that are none.
    #[test]
    fn hostile_hellos_do_not_leave() {
        let name = name_extension("pypi.org");
        let two_names =
            extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, b"pypi.org"), &[0], &vector(2, b"evil.example")].concat()));
        let other_kind = extension(SERVER_NAME, &vector(2, &[&[1][..], &vector(2, b"pypi.org")].concat()));
        let padded = extension(SERVER_NAME, &[&vector(2, &[&[0][..], &vector(2, b"pypi.org")].concat())[..], &[0]].concat());
        let mut long = hello(&name);
        long[7] += 1;
        let trailing = record(&[&[CLIENT_HELLO][..], &vector(3, &body(&name)), &[CLIENT_HELLO, 0, 0, 0]].concat());
        let two = [hello(&name), hello(&name_extension("evil.example"))].concat();
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("two extensions", hello(&[name.clone(), name_extension("evil.example")].concat())),
            ("two names", hello(&two_names)),
            ("a name of another kind", hello(&other_kind)),
            ("bytes behind the list", hello(&padded)),
            ("bytes behind the hello", trailing),
            ("two hellos", two),
            ("an empty name", hello(&name_extension(""))),
            ("no UTF-8", hello(&extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, &[0xff])].concat())))),
            ("a server's hello", record(&[2, 0, 0, 1, 0])),
            ("an alert", vec![21, 3, 1, 0, 2, 1, 0]),
            ("an empty record", vec![22, 3, 1, 0, 0]),
            ("a huge record", vec![22, 3, 1, 0xff, 0xff]),
            ("a huge message", record(&[1, 0xff, 0xff, 0xff])),
            ("version 2", vec![0x80, 0x2e, 1, 3, 1]),
            ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("ssh", b"SSH-2.0-x\r\n".to_vec()),
            ("extensions longer than the hello", long.iter().copied().chain([0]).collect()),
        ];
        for (what, bytes) in cases {
            let said = read(&bytes);
            assert!(matches!(said, Err(ref refusal) if refusal.code == "egress/not-tls"), "{what}: {said:?}");
        }
        let hidden = hello(&[name.clone(), extension(ENCRYPTED_HELLO, &[0; 8])].concat());
        assert_eq!(read(&hidden).unwrap_err().code, "egress/encrypted-hello");
    }

    #[test]
    fn the_name_must_be_that_of_the_request() {
        let to = |text: &str| Destination::parse(text).unwrap();
        assert!(check(Some("PyPI.org"), &to("pypi.org:443")).is_ok());
        for name in ["evil.example", "pypi.org.", "pypi.org.evil.example", "xpypi.org", "pypi.org\0", "pypі.org", ""] {
            assert_eq!(check(Some(name), &to("pypi.org:443")).unwrap_err().code, "egress/server-name", "{name:?}");
        }
        assert_eq!(check(None, &to("pypi.org:443")).unwrap_err().code, "egress/no-server-name");
        assert!(check(None, &to("10.1.2.3:443")).is_ok() && check(Some("10.1.2.3"), &to("10.1.2.3:443")).is_ok());
        assert_eq!(check(Some("evil.example"), &to("10.1.2.3:443")).unwrap_err().code, "egress/server-name");
    }

    #[test]
    fn no_bytes_panic() {
        let good = hello(&[name_extension("pypi.org"), extension(43, &[2, 3, 4])].concat());
        for place in 0..good.len() {
            for change in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = change;
                // whatever it says, it says it
                let _ = (read(&bytes), read(&bytes[place..]));
            }
        }
    }
}
