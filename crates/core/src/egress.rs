//! Where a step may connect: destinations as they are declared and asked for, and which addresses may be reached at all.
//!
//! in: `host:port` as text, addresses that a name resolved to; out: [`Destination`], or why not; [`bar`].
//! **Invariant:** one destination has one text: lower case, no trailing dot, addresses in their shortest form. What a resolver could read
//! in another way (numbers of other forms, names that end in a number, letters beyond ASCII) is no destination.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

/// A name that is still to be resolved, or an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// At least two labels, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Text that is no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DestinationError {
    /// What is wrong with it, one phrase.
    pub what: &'static str,
    /// What to write instead.
    pub hint: &'static str,
}

const fn wrong(what: &'static str, hint: &'static str) -> DestinationError {
    DestinationError { what, hint }
}

impl Destination {
    /// Reads `host:port`, `a.b.c.d:port` or `[v6]:port`.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        const FORM: &str = "write host:port, for instance pypi.org:443, 10.1.2.3:8443 or [2001:4860::8888]:443";
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port", FORM))?;
        let plain = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let port = port.parse::<u16>().ok().filter(|_| plain).ok_or_else(|| wrong("its port is no number from 1 to 65535", FORM))?;
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| wrong("what stands in brackets is no IPv6 address", FORM))?;
            return Ok(Self { host: Host::Address(IpAddr::V6(address)), port });
        }
        if host.contains(':') {
            return Err(wrong("an IPv6 address stands in brackets", FORM));
        }
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Why nothing may ever connect there, declared or not.
    #[must_use]
    pub fn barred(&self) -> Option<Bar> {
        match self.host {
            Host::Name(_) => None,
            Host::Address(address) => bar(address).filter(|bar| !bar.if_declared),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(out, "[{address}]:{}", self.port),
            host => write!(out, "{host}:{}", self.port),
        }
    }
}

impl Host {
    /// Reads a name or an IPv4 address, without a port.
    pub fn parse(text: &str) -> Result<Self, DestinationError> {
        const FULL: &str = "write the full name of the host, for instance pypi.org";
        if !text.is_ascii() {
            return Err(wrong("the host has letters beyond ASCII", "write the name as it goes over the wire, with xn--"));
        }
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(wrong("the host is no name", FULL));
        }
        let Some((_, last)) = text.rsplit_once('.') else {
            return Err(wrong("the host is a name of one word, which every network reads in its own way", FULL));
        };
        // 127.1, 0x7f.0.0.1 and the like are addresses to a resolver
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
            return Err(wrong("the host ends in a number, but is no address in plain form", "write all four numbers, in decimal"));
        }
        Ok(Self::Name(text))
    }

    /// What may stand in the log of a host that a program made up: data can hide in the front of a name, so only its last two labels.
    #[must_use]
    pub fn outline(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Name(name) => {
                let from = name.rmatch_indices('.').nth(1).map(|(dot, _)| dot + 1);
                from.and_then(|from| name.get(from..)).map_or_else(|| name.clone(), |end| format!("*.{end}"))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Address(address) => write!(out, "{address}"),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Why an address is not to be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bar {
    /// What kind of address it is.
    pub kind: &'static str,
    /// It may be reached all the same if exactly this address was declared.
    pub if_declared: bool,
}

const fn never(kind: &'static str) -> Option<Bar> {
    Some(Bar { kind, if_declared: false })
}

const fn declared_only(kind: &'static str) -> Option<Bar> {
    Some(Bar { kind, if_declared: true })
}

/// What keeps an address from being reached; none for addresses of the public internet.
///
/// IANA's registries of special-purpose addresses (RFC 6890 and its updates). Of IPv6 only 2000::/3 and the translation prefix
/// 64:ff9b::/96 are public at all; what embeds an IPv4 address is as barred as that.
#[must_use]
pub fn bar(address: IpAddr) -> Option<Bar> {
    match address {
        IpAddr::V4(address) => bar_v4(address),
        IpAddr::V6(address) => bar_v6(address),
    }
}

fn bar_v4(address: Ipv4Addr) -> Option<Bar> {
    match address.octets() {
        [0, ..] => never("unspecified"),
        [127, ..] => never("loopback"),
        [169, 254, ..] => never("link-local"),
        [224..=239, ..] => never("multicast"),
        [240..=255, ..] => never("reserved"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => declared_only("private"),
        [100, 64..=127, ..] => declared_only("carrier-private"),
        [198, 18 | 19, ..] => declared_only("benchmarking"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => declared_only("documentation"),
        [192, 0, 0, _] | [192, 88, 99, _] => never("reserved"),
        _ => None,
    }
}

fn bar_v6(address: Ipv6Addr) -> Option<Bar> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    let embedded = |inner: Ipv4Addr| bar_v4(inner).map(|bar| Bar { if_declared: false, ..bar });
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => never("loopback"),
        [0, 0, 0, 0, 0, 0xffff, ..] => never("an IPv4 address written as IPv6"),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(v4(high, low)),
        [0x2002, high, low, ..] => embedded(v4(high, low)),
        [0xfe80..=0xfebf, ..] => never("link-local"),
        [0xff00..=0xffff, ..] => never("multicast"),
        [0xfc00..=0xfdff, ..] => declared_only("unique-local"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => declared_only("documentation"),
        // protocol assignments, Teredo among them
        [0x2001, 0..=0x1ff, ..] => never("reserved"),
        [0x2000..=0x3fff, ..] => None,
        _ => never("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(text: &str) -> String {
        Destination::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_destination_has_one_text() {
        assert_eq!(same("PyPI.org.:443"), "pypi.org:443");
        assert_eq!(same("10.1.2.3:8443"), "10.1.2.3:8443");
        assert_eq!(same("[2001:DB8:0:0::1]:1"), "[2001:db8::1]:1");
        assert_eq!(same("xn--bcher-kva.example:65535"), "xn--bcher-kva.example:65535");
    }

    #[test]
    fn what_a_resolver_could_read_otherwise_is_none() {
        for text in [
            "",
            ":",
            "pypi.org",
            "pypi.org:",
            "pypi.org:0",
            "pypi.org:0443",
            "pypi.org:+443",
            "pypi.org:65536",
            "pypi.org:443 ",
            " pypi.org:443",
            "pypi.org\n:443",
            "pypi.org\0.evil:443",
            "pypі.org:443",
            "ｐypi.org:443",
            "user@pypi.org:443",
            "http://pypi.org:443",
            "127.1:443",
            "0x7f.0.0.1:443",
            "0x7f000001:443",
            "2130706433:443",
            "0177.0.0.1:443",
            "1.2.3.4.5:443",
            "01.2.3.4:443",
            "a.0x1:1",
            "localhost:443",
            "::1:443",
            "[::1%lo]:443",
            "[::1]",
            "[1.2.3.4]:443",
            "a..b:443",
            ".a.b:443",
            "-a.b:443",
            "a-.b:443",
            "a_b.c:443",
            "*.pypi.org:443",
            "pypi.org..:443",
            "pypi.org/:443",
            "pypi.org%2eevil.example:443",
        ] {
            assert!(Destination::parse(text).is_err(), "{text:?}");
        }
        assert!(Destination::parse(&format!("{}.example:1", "a".repeat(64))).is_err());
        assert!(Destination::parse(&format!("{}example:1", "a.".repeat(130))).is_err());
    }

    #[test]
    fn of_a_name_that_a_program_made_up_little_is_told() {
        let outline = |text: &str| Host::parse(text).unwrap().outline();
        assert_eq!(outline("c2VjcmV0.more.evil.example"), "*.evil.example");
        assert_eq!((outline("evil.example").as_str(), outline("1.2.3.4").as_str()), ("evil.example", "1.2.3.4"));
    }

    #[test]
    fn only_public_addresses_are_not_barred() {
        let barred = |text: &str| bar(text.parse().unwrap());
        for text in ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "223.255.255.255"] {
            assert_eq!(barred(text), None, "{text}");
        }
        for text in ["2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1", "2001:200::1"] {
            assert_eq!(barred(text), None, "{text}");
        }
        for text in
            ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "203.0.113.7", "fd00::1", "2001:db8::1"]
        {
            assert!(barred(text).is_some_and(|bar| bar.if_declared), "{text}");
        }
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.88.99.1",
            "192.0.0.170",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::1",
            "2001::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(barred(text).is_some_and(|bar| !bar.if_declared), "{text}: {:?}", barred(text));
        }
    }
}
