//! A registry on loopback that speaks the distribution specification's pull with tokens, and lies when told to.
//!
//! in: an image served over HTTP; out: what is pulled, what is refused, and what was sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use seaworthy_core::digest::Digest;
use seaworthy_engine::environment::Places;
use seaworthy_engine::environment::image::{Add, Image, ImageError, Images, RegistrySettings};
use serde_json::json;

use crate::environment::Folder;
use crate::environment::workers;
use crate::image_maker::{Packing, Recipe, Tar, architecture};

const TOKEN: &str = "let-me-in";

/// What the server does besides serving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Open,
    /// Wants a token, for which it wants a password.
    Tokens,
    /// Blobs are at another port, as with object stores.
    Elsewhere,
    /// Blobs are at an address that is not this machine.
    FarAway,
    /// Blobs are at another port, which wants our password.
    Fishing,
    /// In circles.
    Circles,
    /// Another layer.
    Lying,
    /// Half a layer.
    Short,
    /// Without end.
    Endless,
    /// A byte now and then.
    Dripping,
    /// A manifest that is a page.
    Page,
}

/// Paths, and what authenticated.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A registry, and what it was asked.
struct Registry {
    host: String,
    seen: Seen,
}

impl Registry {
    fn serve(recipe: &Recipe, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (host, elsewhere) = (listener.local_addr().unwrap().to_string(), other.local_addr().unwrap().to_string());
        let manifest = serde_json::to_vec(&recipe.manifest()).unwrap();
        let platform = |machine: &str| json!({"architecture": machine, "os": "linux"});
        let described = |digest: Digest, machine| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{digest}"),
                "size": manifest.len(), "platform": platform(machine)})
        };
        let index = json!({"schemaVersion": 2, "manifests": [described(Digest::of(b"other"), "s390x"), described(Digest::of(&manifest), architecture())]});
        let index = serde_json::to_vec(&index).unwrap();
        let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for bytes in recipe.layers.iter().map(|(bytes, _)| bytes).chain([&recipe.config()]) {
            blobs.insert(format!("sha256:{}", Digest::of(bytes)), bytes.clone());
        }
        let site = Arc::new(Site { host: host.clone(), elsewhere, mood, manifest, index, blobs, seen: Arc::default() });
        for listener in [listener, other] {
            let site = site.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let site = site.clone();
                    std::thread::spawn(move || site.answer(&stream));
                }
            });
        }
        Self { host, seen: site.seen.clone() }
    }
}

struct Site {
    host: String,
    elsewhere: String,
    mood: Mood,
    manifest: Vec<u8>,
    index: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    seen: Seen,
}

impl Site {
    /// One request a connection.
    fn answer(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let sent = head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case("authorization")));
        let sent = sent.map(|(_, value)| value.to_owned());
        self.seen.lock().unwrap().push((path.clone(), sent.clone()));
        // the other side may have had enough
        let _ = self.reply(stream, &path, sent.as_deref());
    }

    fn reply(&self, mut stream: &TcpStream, path: &str, sent: Option<&str>) -> std::io::Result<()> {
        let host = &self.host;
        let mut send = |status: &str, headers: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)
        };
        if path.starts_with("/token") {
            // dXNlcjpzZWNyZXQ= is user:secret
            let fine = sent == Some("Basic dXNlcjpzZWNyZXQ=")
                && path.contains("scope=repository%3Ateam%2Fapp%3Apull")
                && path.contains("service=here");
            return if fine {
                send("200 OK", "", format!("{{\"token\": \"{TOKEN}\"}}").as_bytes())
            } else {
                send("401 Unauthorized", "", b"")
            };
        }
        if self.mood == Mood::Fishing && path.starts_with("/kept") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{}/fished\"\r\n", self.elsewhere);
            return send("401 Unauthorized", &challenge, b"");
        }
        if self.mood == Mood::Tokens && sent != Some(&format!("Bearer {TOKEN}")) {
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"here\",scope=\"repository:other:push\"\r\n");
            return send("401 Unauthorized", &challenge, b"");
        }
        if path == "/v2/team/app/manifests/1" {
            let kind = if self.mood == Mood::Page { "text/html" } else { "application/vnd.oci.image.index.v1+json; charset=utf-8" };
            return send("200 OK", &format!("Content-Type: {kind}\r\n"), &self.index);
        }
        if path.starts_with("/v2/team/app/manifests/sha256:") {
            return send("200 OK", "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n", &self.manifest);
        }
        let Some(blob) = path.rsplit('/').next().and_then(|name| self.blobs.get(name.split('?').next()?)) else {
            return send("404 Not Found", "", b"");
        };
        let target = match self.mood {
            Mood::Elsewhere | Mood::Fishing if !path.starts_with("/kept") => {
                format!("http://{}/kept/{}?signature=s3cret", self.elsewhere, path.rsplit('/').next().unwrap())
            }
            Mood::FarAway => "http://192.0.2.1/blob".to_owned(),
            Mood::Circles => format!("http://{host}{path}"),
            _ => String::new(),
        };
        if !target.is_empty() {
            return send("307 Temporary Redirect", &format!("Location: {target}\r\n"), b"");
        }
        match self.mood {
            Mood::Lying if blob.first() == Some(&0x1f) => send("200 OK", "", &blob.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()),
            Mood::Short if blob.first() == Some(&0x1f) => send("200 OK", "", &blob[..blob.len() / 2]),
            Mood::Endless if blob.first() == Some(&0x1f) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[0; 65536])?;
                }
            }
            Mood::Dripping if blob.first() == Some(&0x1f) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                for byte in blob {
                    stream.write_all(&[*byte])?;
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                Ok(())
            }
            _ => send("200 OK", "", blob),
        }
    }
}

/// Each piece comes in time, all of them never would: the whole image has a deadline.
#[test]
fn who_sends_a_byte_now_and_then_is_given_up() {
    let registry = Registry::serve(&recipe(), Mood::Dripping);
    let folder = Folder::new("registry-dripping");
    let settings = RegistrySettings { total_s: 2, ..RegistrySettings::default() };
    let begun = std::time::Instant::now();
    let error = pull(&folder, &format!("{}/team/app:1", registry.host), Add { registry: Some(&settings), ..Add::default() }).unwrap_err();
    let took = begun.elapsed();
    assert!(took.as_secs() >= 1 && took.as_secs() < 15, "{took:?}: {error}");
    // the control: a registry that sends it at once has time enough
    let open = Registry::serve(&recipe(), Mood::Open);
    pull(&Folder::new("registry-quick"), &format!("{}/team/app:1", open.host), Add { registry: Some(&settings), ..Add::default() })
        .unwrap();
}

fn recipe() -> Recipe {
    Recipe::new(&[Tar::default().file("app", &"reviewed ".repeat(10_000)).end()], Packing::Gzip)
}

fn pull(folder: &Folder, reference: &str, add: Add<'_>) -> Result<Image, ImageError> {
    let (cache_dir, state_dir) = (folder.0.join("cache"), folder.0.join("state"));
    let images = Images::open(Places { cache_dir: &cache_dir, state_dir: &state_dir }, workers()).unwrap();
    let image = images.add(reference, Path::new("/"), add)?;
    images.tree(&image)?;
    Ok(image)
}

#[test]
fn an_image_is_pulled_for_this_machine_out_of_an_index() {
    let folder = Folder::new("registry-open");
    let (recipe, registry) = (recipe(), Registry::serve(&recipe(), Mood::Open));
    let image = pull(&folder, &format!("{}/team/app:1", registry.host), Add::default()).unwrap();
    assert_eq!(image.manifest, Digest::of(&serde_json::to_vec(&recipe.manifest()).unwrap()));
    // by its digest, which any registry may serve
    pull(&folder, &format!("{}/team/app@sha256:{}", registry.host, image.manifest), Add::default()).unwrap();
    // a pin counts more than the tag, and what is there already is not asked for again
    let before = registry.seen.lock().unwrap().len();
    pull(&folder, &format!("{}/team/app:gone", registry.host), Add { pinned: Some(image.manifest), ..Add::default() }).unwrap();
    let asked: Vec<String> = registry.seen.lock().unwrap()[before..].iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(asked.len(), 2, "the manifest and the configuration: {asked:?}");
    let error = pull(&folder, &format!("{}/team/app:gone", registry.host), Add::default()).unwrap_err();
    assert_eq!(error.code(), "image/registry");
    // offline nobody is asked
    let before = registry.seen.lock().unwrap().len();
    let error = pull(&folder, &format!("{}/team/app:1", registry.host), Add { offline: true, ..Add::default() }).unwrap_err();
    assert_eq!(error.code(), "image/offline");
    assert_eq!(registry.seen.lock().unwrap().len(), before);
}

#[test]
fn tokens_are_got_with_a_private_file_and_go_nowhere_else() {
    let folder = Folder::new("registry-tokens");
    let registry = Registry::serve(&recipe(), Mood::Tokens);
    let reference = format!("{}/team/app:1", registry.host);
    let error = pull(&folder, &reference, Add::default()).unwrap_err();
    assert!(error.to_string().contains("gives no token"), "{error}");
    let file = folder.0.join("credentials.json");
    let credentials = |text: String, mode| {
        let _ = fs::remove_file(&file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        pull(&folder, &reference, Add { credentials: Some(&file), ..Add::default() })
    };
    let good = json!({registry.host.clone(): {"username": "user", "password": "secret"}}).to_string();
    for (text, mode, code) in [
        (good.clone(), 0o644, "image/document"),
        (good.clone(), 0o640, "image/document"),
        (good.replace("secret", "wrong-one"), 0o600, "image/registry"),
        (good.replace("127.0.0.1", "127.0.0.2"), 0o600, "image/registry"),
        (good.replace('{', "["), 0o600, "image/document"),
        ("{\"auths\": {}, \"credsStore\": \"desktop\"}".to_owned(), 0o600, "image/document"),
    ] {
        let error = credentials(text, mode).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(!format!("{error} {error:?}").contains("secret") && !error.to_string().contains("wrong-one"), "{error:?}");
    }
    credentials(good, 0o600).unwrap();
    credentials(json!({"auths": {registry.host.clone(): {"auth": "dXNlcjpzZWNyZXQ="}}}).to_string(), 0o600).unwrap();
    // the password went to where tokens come from, and there alone
    let seen = registry.seen.lock().unwrap();
    assert!(seen.iter().all(|(path, sent)| path.starts_with("/token") || !sent.as_deref().unwrap_or_default().starts_with("Basic")));
    assert!(seen.iter().any(|(path, sent)| path.contains("/blobs/") && sent.as_deref() == Some(&format!("Bearer {TOKEN}"))));
}

#[test]
fn redirections_are_followed_without_what_authenticates_and_not_to_other_machines() {
    let folder = Folder::new("registry-elsewhere");
    let registry = Registry::serve(&recipe(), Mood::Elsewhere);
    pull(&folder, &format!("{}/team/app:1", registry.host), Add::default()).unwrap();
    let kept = |(path, sent): &(String, Option<String>)| path.starts_with("/kept") && sent.is_none();
    assert!(registry.seen.lock().unwrap().iter().any(kept));
    for (mood, says) in [(Mood::FarAway, "to no place that is taken"), (Mood::Circles, "again and again")] {
        let folder = Folder::new("registry-redirected");
        let registry = Registry::serve(&recipe(), mood);
        let error = pull(&folder, &format!("{}/team/app:1", registry.host), Add::default()).unwrap_err();
        assert!(error.to_string().contains(says), "{mood:?}: {error}");
    }
}

/// CVE-2020-15157: the place of a redirection asks for a password, and says where to send it.
#[test]
fn no_place_of_a_redirection_is_sent_a_password() {
    let folder = Folder::new("registry-fishing");
    let registry = Registry::serve(&recipe(), Mood::Fishing);
    let file = folder.0.join("credentials.json");
    fs::write(&file, json!({registry.host.clone(): {"username": "user", "password": "secret"}}).to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let reference = format!("{}/team/app:1", registry.host);
    let error = pull(&folder, &reference, Add { credentials: Some(&file), ..Add::default() }).unwrap_err();
    assert!(error.to_string().contains("wants credentials of its own"), "{error}");
    let seen = registry.seen.lock().unwrap();
    assert!(seen.iter().any(|(path, _)| path.starts_with("/kept")) && !seen.iter().any(|(path, _)| path.starts_with("/fished")));
}

/// What people call an image must not look like a promise about its bytes.
#[test]
fn no_image_is_given_a_name_that_speaks_of_a_digest() {
    let folder = Folder::new("registry-names");
    let registry = Registry::serve(&recipe(), Mood::Open);
    let reference = format!("{}/team/app:1", registry.host);
    let zeros = "0".repeat(64);
    for name in [format!("{}/team/app@sha256:{zeros}", registry.host), format!("sha256:{zeros}")] {
        assert_eq!(pull(&folder, &reference, Add { name: Some(&name), ..Add::default() }).unwrap_err().code(), "image/reference", "{name}");
    }
    pull(&folder, &reference, Add { name: Some("app:1"), ..Add::default() }).unwrap();
    // a pin does not overrule the digest that a reference says itself
    let said = format!("{}/team/app@sha256:{zeros}", registry.host);
    let pinned = pull(&folder, &reference, Add::default()).unwrap().manifest;
    assert!(pull(&folder, &said, Add { pinned: Some(pinned), ..Add::default() }).is_err());
}

#[test]
fn a_registry_that_lies_is_not_believed() {
    for (mood, code) in
        [(Mood::Lying, "image/digest"), (Mood::Short, "image/digest"), (Mood::Endless, "image/digest"), (Mood::Page, "image/registry")]
    {
        let folder = Folder::new("registry-lying");
        let registry = Registry::serve(&recipe(), mood);
        let error = pull(&folder, &format!("{}/team/app:1", registry.host), Add::default()).unwrap_err();
        assert_eq!(error.code(), code, "{mood:?}: {error}");
    }
    // nobody is there
    let folder = Folder::new("registry-nobody");
    let error = pull(&folder, "127.0.0.1:1/team/app:1", Add::default()).unwrap_err();
    assert_eq!(error.code(), "image/registry");
    // plain HTTP to another machine is not even tried: there it is HTTPS that nobody speaks
    let error = pull(&folder, "localhost.invalid:1/team/app:1", Add::default()).unwrap_err();
    assert_eq!(error.code(), "image/registry");
}
