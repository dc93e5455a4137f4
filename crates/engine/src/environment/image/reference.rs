//! What people call an image.
//!
//! in: a text; out: [`Reference`].
//! Grammar: paths begin with `/`, `./` or `../`; images of a registry with its host (`localhost`, or a name with a dot or a port), as in
//! `registry.example:5000/team/app:1.2` or `…/app@sha256:…`; anything else is a name that `image add` gave.
//! **Invariant:** no registry is assumed: what does not name its host is never fetched.

use std::path::PathBuf;

use seaworthy_core::digest::Digest;

use super::document;
use super::error::ImageError;

const NAME_BYTES_MAX: usize = 255;

/// What a text names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reference {
    /// A layout folder or an archive.
    Path(PathBuf),
    /// An image of a registry.
    Registry(Remote),
    /// A name of this user's.
    Name(String),
}

/// An image of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Remote {
    /// Host, perhaps with a port.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, ImageError> {
        let refuse = |reason: &str| ImageError::Reference { text: text.escape_debug().to_string(), reason: reason.to_owned() };
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || matches!(text, "." | "..") {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let printable = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(printable) {
            return Err(refuse("names are letters, digits and `._-/:@`, at most 255 of them"));
        }
        let Some((registry, rest)) = text.split_once('/').filter(|(host, _)| is_host(host)) else {
            return Ok(Self::Name(text.to_owned()));
        };
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(document::digest(digest).ok_or_else(|| refuse("behind `@` stands no `sha256:…`"))?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !is_repository(repository) {
            return Err(refuse("a repository is lower-case parts between slashes"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("a tag is at most 128 letters, digits and `._-`"));
        }
        Ok(Self::Registry(Remote { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest }))
    }
}

impl Remote {
    /// What is asked for: the digest if it is known, else the tag.
    pub(super) fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Whether the registry is on this machine: only there is plain HTTP spoken.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let fine = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    let port_fine = port.is_none_or(|port| port.parse::<u16>().is_ok());
    fine && port_fine && (host == "localhost" || port.is_some() || host.contains('.'))
}

/// The distribution specification's: parts of lower-case letters and digits, with single separators within.
fn is_repository(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(inner)) && part.bytes().all(|byte| inner(byte) || b"._-".contains(&byte))
    };
    text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_what_they_say() {
        for (text, wanted) in [
            ("./a.tar", "path"),
            ("/images/a", "path"),
            ("..", "path"),
            ("secure_preproc:2026.06", "name"),
            ("team/app:1", "name"),
            ("localhost:5000/a/b:1", "localhost:5000 a/b 1"),
            ("registry.example/app", "registry.example app latest"),
            (
                "127.0.0.1:1/x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "127.0.0.1:1 x sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
        ] {
            let found = match Reference::parse(text).unwrap() {
                Reference::Path(_) => "path".to_owned(),
                Reference::Name(_) => "name".to_owned(),
                Reference::Registry(remote) => format!("{} {} {}", remote.registry, remote.repository, remote.wanted()),
            };
            assert_eq!(found, wanted, "{text}");
        }
        for text in [
            "",
            "a b",
            "host.example/../x",
            "host.example/A",
            "host.example/a:",
            "host.example/a@sha256:12",
            "host.example/a@md5:00",
            "host.example/a//b",
            "ä",
            "host.example/a:b\n",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    /// Plain HTTP to another machine would let anybody on the way answer.
    #[test]
    fn only_this_machine_is_loopback() {
        for (host, wanted) in [
            ("localhost:1", true),
            ("127.0.0.1:1", true),
            ("127.8.8.8", true),
            ("localhost.example", false),
            ("127.0.0.1.example:1", false),
            ("10.0.0.1:1", false),
        ] {
            let Reference::Registry(remote) = Reference::parse(&format!("{host}/a")).unwrap() else { panic!("{host}") };
            assert_eq!(remote.is_loopback(), wanted, "{host}");
        }
    }
}
