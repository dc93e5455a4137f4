//! What a client asks of the proxy: `CONNECT host:port`, and nothing else.
//!
//! in: bytes up to the empty line; out: a [`Destination`], or the answer that says why not.
//! **Invariant:** there is one way to write a request; what two readers could read in two ways is refused. No input panics.

use seaworthy_core::egress::Destination;

use super::Refusal;

const HEADERS_MAX: usize = 64;

/// Where the head ends: behind the first empty line.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4)
}

/// Reads a head, its empty line included.
pub(super) fn read(head: &[u8]) -> Result<Destination, Refusal> {
    let malformed =
        |what: &str| Refusal::new("egress/malformed", format!("{what}; the proxy understands `CONNECT host:port HTTP/1.1` alone"));
    let text = std::str::from_utf8(head).ok().filter(|text| text.is_ascii()).ok_or_else(|| malformed("the request is no text"))?;
    let text = text.strip_suffix("\r\n\r\n").ok_or_else(|| malformed("the request has no end"))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(malformed("the request line has control characters"));
    }
    let (method, rest) = line.split_once(' ').ok_or_else(|| malformed("the request line is cut"))?;
    if method != "CONNECT" {
        let what = "only CONNECT is answered: what is not encrypted does not leave a step. Use https, and $HTTPS_PROXY as it is set";
        return Err(Refusal::new("egress/method", what));
    }
    let (target, version) = rest.split_once(' ').ok_or_else(|| malformed("the request line is cut"))?;
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(malformed("the version is another"));
    }
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > HEADERS_MAX {
            return Err(malformed("the request has too many headers"));
        }
        check_header(line).map_err(malformed)?;
    }
    Destination::parse(target).map_err(|wrong| Refusal::new("egress/destination", format!("{}: {}", wrong.what, wrong.hint)))
}

fn check_header(line: &str) -> Result<(), &'static str> {
    let (name, value) = line.split_once(':').ok_or("a header has no colon")?;
    let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_token {
        return Err("a header has no plain name");
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("a header has control characters");
    }
    let has_body = ["content-length", "transfer-encoding", "upgrade", "expect"].iter().any(|other| name.eq_ignore_ascii_case(other));
    if has_body { Err("the request announces a body") } else { Ok(()) }
}

/// The answer to a refused request.
pub(super) fn answer(refusal: &Refusal) -> Vec<u8> {
    let status = match refusal.code {
        "egress/method" => "405 Method Not Allowed\r\nAllow: CONNECT",
        "egress/malformed" | "egress/destination" => "400 Bad Request",
        "egress/unresolved" => "502 Bad Gateway",
        _ => "403 Forbidden",
    };
    let clean: String = refusal.message.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let body = format!("seaworthy: [{}] {clean}\n", refusal.code);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// The answer after which the client speaks TLS.
pub(super) const GO_ON: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_write_is_read() {
        for head in [
            "CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\r\n",
            "CONNECT PyPI.ORG.:443 HTTP/1.0\r\n\r\n",
        ] {
            assert_eq!(read(head.as_bytes()).unwrap().to_string(), "pypi.org:443", "{head}");
        }
    }

    /// Requests that a laxer reader could take for one to an allowed host.
    #[test]
    fn hostile_requests_are_refused_each_with_a_code() {
        let cases: &[(&str, &str)] = &[
            ("GET http://pypi.org/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n", "egress/method"),
            ("POST http://pypi.org/ HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "egress/method"),
            ("connect pypi.org:443 HTTP/1.1\r\n\r\n", "egress/method"),
            ("PRI * HTTP/2.0\r\n\r\n", "egress/method"),
            ("CONNECT\tpypi.org:443 HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("CONNECT  pypi.org:443 HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443  HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\n\n\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1 \r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\r\n evil: x\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\r\nA: b\nCONNECT evil.example:443 HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\r\nno colon\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org:443 HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT pypi.org:443@evil.example:443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT http://pypi.org:443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT pypi.org:443/../evil HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT 0x7f000001:443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT 127.1:443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT localhost:443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT :443 HTTP/1.1\r\n\r\n", "egress/destination"),
            ("CONNECT pyp\u{456}.org:443 HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("CONNECT pypi.org\0:443 HTTP/1.1\r\n\r\n", "egress/malformed"),
            ("\r\n\r\n", "egress/malformed"),
        ];
        for (head, code) in cases {
            let refusal = read(head.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, *code, "{head:?}: {refusal:?}");
            let answer = String::from_utf8(answer(&refusal)).unwrap();
            assert!(answer.starts_with("HTTP/1.1 4") && answer.contains(code), "{answer}");
        }
        let many = format!("CONNECT pypi.org:443 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(read(many.as_bytes()).unwrap_err().code, "egress/malformed");
    }

    #[test]
    fn no_bytes_panic() {
        let good = b"CONNECT pypi.org:443 HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 0..good.len() {
            for change in [0, b'\r', b'\n', b' ', b':', 0xff, b'['] {
                let mut bytes = good.to_vec();
                bytes[cut] = change;
                // whatever it says, it says it
                let _ = (read(&bytes), read(&good[..cut]), head_length(&bytes));
            }
        }
    }
}
