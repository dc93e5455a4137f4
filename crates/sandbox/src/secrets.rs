//! Secrets of a step: files of a file system in memory that is made for it, and taken out of what it prints.
//!
//! In: [`Secret`]s. Out: `/secrets/<name>` inside; [`Redactor`], which replaces their values in a stream.
//!
//! **Invariant:** a value travels in memory alone, from the launcher to pid 1, and is overwritten there once the files are written.
//! **Invariant:** a value is found wherever the chunks of a stream are cut.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use zeroize::{Zeroize as _, Zeroizing};

use crate::error::SandboxError;

/// Where steps find them.
pub const SECRETS_FOLDER: &str = "/secrets";
/// Lines of a secret that are shorter are not looked for by themselves.
const LINE_BYTES_MIN: usize = 8;
/// Bytes of a file that are looked through at once.
const SEARCH_BYTES: u64 = 256 * 1024;

/// A secret with its name.
pub struct Secret {
    /// Of its file.
    pub name: String,
    /// What the file holds.
    pub value: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Secret({})", self.name)
    }
}

/// Names and lengths, for the order; the values lie one after the other in the file.
pub(crate) type Listed = Vec<(String, usize)>;

/// Puts the values into a file in memory.
pub(crate) fn pack(secrets: &[Secret]) -> io::Result<(Listed, OwnedFd)> {
    let mut file = File::from(rustix::fs::memfd_create("secrets", rustix::fs::MemfdFlags::CLOEXEC)?);
    let mut listed = Listed::new();
    for secret in secrets {
        file.write_all(&secret.value)?;
        listed.push((secret.name.clone(), secret.value.len()));
    }
    file.rewind()?;
    Ok((listed, file.into()))
}

/// Takes them out again, and overwrites the file.
pub(crate) fn unpack(listed: &Listed, file: OwnedFd) -> io::Result<Vec<Secret>> {
    let mut file = File::from(file);
    let mut secrets = Vec::with_capacity(listed.len());
    for (name, length) in listed {
        let mut value = Zeroizing::new(vec![0; *length]);
        file.read_exact(&mut value)?;
        secrets.push(Secret { name: name.clone(), value });
    }
    let length = listed.iter().map(|(_, length)| length).sum();
    file.rewind()?;
    file.write_all(&vec![0; length])?;
    Ok(secrets)
}

/// Names that are plain, each once.
pub(crate) fn check(secrets: &[Secret]) -> Result<(), SandboxError> {
    for (index, secret) in secrets.iter().enumerate() {
        let twice = secrets.iter().take(index).any(|other| other.name == secret.name);
        if twice || secret.value.is_empty() || !crate::spec::is_output_name(&secret.name) {
            return Err(SandboxError::Spec { what: format!("`{}` cannot be a secret", secret.name.escape_debug()) });
        }
    }
    Ok(())
}

struct Needle {
    value: Zeroizing<Vec<u8>>,
    secret: String,
    /// Not a line of a secret, but all of it.
    is_whole: bool,
}

/// What is looked for, and what stands in its place: `[secret NAME]`.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a line is not taken out of the whole.
    needles: Vec<Needle>,
    /// The end of what came before, in which a value may have begun.
    held: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Redactor({})", self.needles.len())
    }
}

impl Redactor {
    /// Looks for each value without the line ends around it, and for each of its longer lines.
    #[must_use]
    pub fn new(secrets: &[Secret]) -> Self {
        let mut needles: Vec<Needle> = Vec::new();
        for secret in secrets {
            let mut add = |value: &[u8], is_whole| {
                if !value.is_empty() && !needles.iter().any(|known| known.value.as_slice() == value) {
                    needles.push(Needle { value: Zeroizing::new(value.to_vec()), secret: secret.name.clone(), is_whole });
                }
            };
            let whole = secret.value.trim_ascii();
            add(whole, true);
            // the first and last lines of keys are everybody's
            let lines = whole.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| line.len() >= LINE_BYTES_MIN);
            lines.filter(|line| !line.starts_with(b"-----")).for_each(|line| add(line, false));
        }
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.value.len()));
        Self { needles, held: Zeroizing::default() }
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.needles.is_empty()
    }

    /// The next bytes of the stream; returns those that are sure by now, without any value.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let longest = self.needles.first().map_or(0, |needle| needle.value.len());
        self.clean(longest.saturating_sub(1))
    }

    /// The end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.clean(0)
    }

    /// Cleans what is held, but for the last `keep` bytes, in which a value may begin.
    fn clean(&mut self, keep: usize) -> Vec<u8> {
        let mut clean = Vec::new();
        let mut at = 0;
        let sure = self.held.len().saturating_sub(keep);
        let mut next: Vec<Option<usize>> = self.needles.iter().map(|needle| find(&self.held, &needle.value, 0)).collect();
        loop {
            for (place, needle) in next.iter_mut().zip(&self.needles) {
                if place.is_some_and(|place| place < at) {
                    *place = find(&self.held, &needle.value, at);
                }
            }
            // the first, and of those that begin together the longest, which stands first
            let found = next.iter().zip(&self.needles).filter_map(|(place, needle)| place.map(|place| (place, needle)));
            let Some((place, needle)) = found.min_by_key(|(place, _)| *place).filter(|(place, _)| *place < sure) else {
                clean.extend_from_slice(self.held.get(at..sure).unwrap_or_default());
                at = at.max(sure);
                break;
            };
            clean.extend_from_slice(self.held.get(at..place).unwrap_or_default());
            clean.extend_from_slice(format!("[secret {}]", needle.secret).as_bytes());
            at = place + needle.value.len();
        }
        let rest = Zeroizing::new(self.held.get(at..).unwrap_or_default().to_vec());
        self.held.zeroize();
        self.held = rest;
        clean
    }

    /// The name of a secret whose whole value stands in what is read; nothing if there is none.
    pub fn search(&self, mut reader: impl io::Read) -> io::Result<Option<&str>> {
        let overlap = self.needles.first().map_or(0, |needle| needle.value.len().saturating_sub(1));
        let mut window: Zeroizing<Vec<u8>> = Zeroizing::default();
        loop {
            let read = reader.by_ref().take(SEARCH_BYTES).read_to_end(&mut window)?;
            let whole = |needle: &&Needle| needle.is_whole && find(&window, &needle.value, 0).is_some();
            if let Some(needle) = self.needles.iter().find(whole) {
                return Ok(Some(&needle.secret));
            }
            if read == 0 {
                return Ok(None);
            }
            let done = window.len().saturating_sub(overlap);
            window.drain(..done);
        }
    }
}

fn find(hay: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(hay.get(from..)?, needle).map(|place| from + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> Secret {
        Secret { name: name.to_owned(), value: Zeroizing::new(value.as_bytes().to_vec()) }
    }

    fn cleaned(secrets: &[Secret], text: &str, chunk: usize) -> String {
        let mut redactor = Redactor::new(secrets);
        let mut clean: Vec<u8> = text.as_bytes().chunks(chunk).flat_map(|part| redactor.pass(part)).collect();
        clean.extend(redactor.finish());
        String::from_utf8(clean).unwrap()
    }

    /// Every cut of the stream gives the same, and control: without a secret everything stays.
    #[test]
    fn a_value_is_found_wherever_the_stream_is_cut() {
        let secrets =
            [secret("a", "hunter22\n"), secret("b", "22-and-more"), secret("pem", "-----BEGIN X-----\nAAAABBBBCCCC\n-----END X-----\n")];
        let text = "x hunter22 hunter2hunter22-and-more22-and-more. AAAABBBBCCCC\n> -----BEGIN X-----\nAAAABBBBCCCC\n-----END X-----\n-----END X-----";
        let expected = "x [secret a] hunter2[secret a]-and-more[secret b]. [secret pem]\n> [secret pem]\n-----END X-----";
        for chunk in 1..=text.len() {
            assert_eq!(cleaned(&secrets, text, chunk), expected, "chunks of {chunk}");
            assert_eq!(cleaned(&[], text, chunk), text);
        }
        assert_eq!(cleaned(&secrets, "nothing", 3), "nothing");
    }

    #[test]
    fn it_is_found_in_a_long_file_too() {
        let secrets = [secret("token", "s3cr3t-t0k3n")];
        let redactor = Redactor::new(&secrets);
        for place in [0, 1, 256 * 1024 - 6, 256 * 1024, 700_000] {
            let mut bytes = vec![b'.'; 800_000];
            bytes[place..place + 12].copy_from_slice(b"s3cr3t-t0k3n");
            assert_eq!(redactor.search(bytes.as_slice()).unwrap(), Some("token"), "at {place}");
            bytes[place + 3] = b'!';
            assert_eq!(redactor.search(bytes.as_slice()).unwrap(), None);
        }
    }

    #[test]
    fn what_travels_is_wiped_where_it_arrived() {
        let secrets = [secret("a", "one"), secret("b", "twotwo")];
        let (listed, file) = pack(&secrets).unwrap();
        let copy = file.try_clone().unwrap();
        let arrived = unpack(&listed, file).unwrap();
        assert_eq!((arrived[1].name.as_str(), arrived[1].value.as_slice()), ("b", b"twotwo".as_slice()));
        let mut left = Vec::new();
        let mut copy = File::from(copy);
        copy.rewind().unwrap();
        copy.read_to_end(&mut left).unwrap();
        assert_eq!(left, [0; 9]);
        assert_eq!(format!("{:?}", secrets[0]), "Secret(a)");
    }
}
