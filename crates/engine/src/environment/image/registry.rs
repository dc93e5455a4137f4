//! Images of a registry (OCI distribution-spec 1.1, pull), anonymously or with a token.
//!
//! in: a reference, credentials of a private file; out: a [`Source`].
//! **Invariant:** HTTPS alone, but for registries on this machine's loopback; a redirection is held to the same, and never gets what was sent to
//! authenticate. **Invariant:** credentials are in no argument, variable, error or log; they go to the registry, or to where it says that its
//! tokens come from.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_core::digest::Digest;
use seaworthy_core::json_strict;
use seaworthy_core::limits::IMAGE_DOCUMENT_BYTES_MAX;
use serde::Deserialize;
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::credentials::Credential;
use super::document::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use super::error::ImageError;
use super::reference::Remote;
use super::source::Source;

const REDIRECTIONS_MAX: usize = 5;
const CONNECT: Duration = Duration::from_secs(20);
/// Until the first byte of an answer, and between two pieces of it.
const SILENCE: Duration = Duration::from_secs(60);
/// Until all of an image is here: who sends a byte now and then ends here too.
const TOTAL: Duration = Duration::from_secs(2 * 3600);
const TOKEN_BYTES_MAX: u64 = 1024 * 1024;
/// Where systems keep the certificates that they believe.
const SYSTEM_CERTIFICATES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// Certificates to believe, one PEM file; else the system's, else those that come with this program.
    pub ca_file: Option<PathBuf>,
    /// `http://host:port`; never for registries on this machine.
    pub proxy: Option<String>,
    /// Seconds until all of an image must be here; two hours if 0.
    pub total_s: u64,
}

/// One image of a registry.
pub(super) struct Registry {
    remote: Remote,
    agent: Agent,
    credential: Option<Credential>,
    /// When the last byte is to be here.
    deadline: Instant,
    /// The header that the registry wanted, once it asked.
    authorization: Option<String>,
    manifest: Option<(Digest, Vec<u8>)>,
}

type Answer = Response<ureq::Body>;

/// What a registry answers who did not authenticate: how, and where.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    pub(super) fn new(remote: &Remote, settings: &RegistrySettings, credential: Option<Credential>) -> Result<Self, ImageError> {
        let loopback = remote.is_loopback();
        let roots = if loopback { RootCerts::WebPki } else { certificates(settings.ca_file.as_deref())? };
        let refused = |reason: String| ImageError::Registry { registry: remote.registry.clone(), reason };
        let proxy = match settings.proxy.as_deref().filter(|_| !loopback) {
            Some(proxy) => Some(ureq::Proxy::new(proxy).map_err(|e| refused(format!("has a proxy that is none: {e}")))?),
            None => None,
        };
        let config = Agent::config_builder()
            .https_only(!loopback)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .user_agent(concat!("seaworthy/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        let total = if settings.total_s == 0 { TOTAL } else { Duration::from_secs(settings.total_s) };
        let deadline = Instant::now().checked_add(total).ok_or_else(|| refused("has a deadline that no clock holds".to_owned()))?;
        Ok(Self { remote: remote.clone(), agent: config.new_agent(), credential, deadline, authorization: None, manifest: None })
    }

    fn scheme(&self) -> &'static str {
        if self.remote.is_loopback() { "http" } else { "https" }
    }

    fn fault(&self, reason: impl Into<String>) -> ImageError {
        ImageError::Registry { registry: self.remote.registry.clone(), reason: reason.into() }
    }

    /// What is left of the time for all of the image.
    fn left(&self) -> Result<Duration, ImageError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.fault("took too long to send the image")) } else { Ok(left) }
    }

    /// Asks for `path` below the repository; authenticates if the registry wants that.
    fn get(&mut self, path: &str, accept: &str) -> Result<Answer, ImageError> {
        let url = format!("{}://{}/v2/{}/{path}", self.scheme(), self.remote.registry, self.remote.repository);
        let mut answer = self.follow(&url, accept)?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).and_then(challenge);
            let challenge = challenge.ok_or_else(|| self.fault("wants authentication, but does not say which"))?;
            self.authorization = Some(self.authenticate(&challenge)?);
            answer = self.follow(&url, accept)?;
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.fault(match self.credential {
                Some(_) => "refuses these credentials",
                None => "wants credentials",
            })),
            StatusCode::NOT_FOUND => Err(self.fault(format!("has no `{}` of `{}`", path, self.remote.repository))),
            other => Err(self.fault(format!("answered {other} when asked for `{path}`"))),
        }
    }

    /// Follows redirections; elsewhere than at the registry nothing authenticates.
    fn follow(&self, url: &str, accept: &str) -> Result<Answer, ImageError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTIONS_MAX {
            let own = origin(&url) == Some((self.scheme(), self.remote.registry.as_str()));
            let request = self.agent.get(&url).config().timeout_global(Some(self.left()?)).build();
            let mut request = request.header(header::ACCEPT, accept);
            if let Some(authorization) = self.authorization.as_ref().filter(|_| own) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let answer = request.call().map_err(|error| self.fault(format!("cannot be asked: {}", without_secrets(&error))))?;
            if !answer.status().is_redirection() {
                // a challenge of another place would have our credentials sent where it likes
                let foreign = answer.status() == StatusCode::UNAUTHORIZED && !own;
                return if foreign { Err(self.fault("sends elsewhere, to a place that wants credentials of its own")) } else { Ok(answer) };
            }
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location
                .and_then(|location| self.redirected(&url, location))
                .ok_or_else(|| self.fault("sends elsewhere, to no place that is taken"))?;
        }
        Err(self.fault("sends elsewhere again and again"))
    }

    /// Where a redirection leads: HTTPS, or as plain as the registry itself and on this machine too.
    fn redirected(&self, from: &str, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            let (scheme, host) = origin(from)?;
            return Some(format!("{scheme}://{host}{location}"));
        }
        let (scheme, host) = origin(location)?;
        let remote = Remote { registry: host.to_owned(), ..self.remote.clone() };
        (scheme == "https" || (self.remote.is_loopback() && remote.is_loopback())).then(|| location.to_owned())
    }

    /// The header that answers the challenge.
    fn authenticate(&self, challenge: &Challenge) -> Result<String, ImageError> {
        let basic = self.credential.as_ref().map(Credential::header);
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return basic.ok_or_else(|| self.fault("wants credentials"));
        }
        if !challenge.scheme.eq_ignore_ascii_case("bearer") {
            return Err(self.fault(format!("wants authentication of the kind `{}`", challenge.scheme.escape_debug())));
        }
        let realm = challenge.parameters.get("realm").filter(|realm| {
            origin(realm).is_some_and(|(scheme, host)| {
                let remote = Remote { registry: host.to_owned(), ..self.remote.clone() };
                scheme == "https" || (self.remote.is_loopback() && remote.is_loopback())
            })
        });
        let realm = realm.ok_or_else(|| self.fault("names no place of its tokens, or one without HTTPS"))?;
        // what is asked for is ours to say, not the registry's
        let scope = format!("repository:{}:pull", self.remote.repository);
        let mut request = self.agent.get(realm).config().timeout_global(Some(self.left()?)).build().query("scope", &scope);
        if let Some(service) = challenge.parameters.get("service") {
            request = request.query("service", service);
        }
        if let Some(basic) = basic {
            request = request.header(header::AUTHORIZATION, basic);
        }
        let mut answer = request.call().map_err(|error| self.fault(format!("gives no token: {}", without_secrets(&error))))?;
        if answer.status() != StatusCode::OK {
            return Err(self.fault(format!("gives no token: {}", answer.status())));
        }
        let mut bytes = Vec::new();
        let body = answer.body_mut().as_reader().take(TOKEN_BYTES_MAX).read_to_end(&mut bytes);
        body.map_err(|_| self.fault("broke off while it gave a token"))?;
        let token: Token = json_strict::parse_typed(&bytes).map_err(|_| self.fault("gives a token that cannot be read"))?;
        let token =
            token.token.or(token.access_token).filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.map(|token| format!("Bearer {token}")).ok_or_else(|| self.fault("gives a token that cannot be read"))
    }
}

impl Source for Registry {
    fn root(&mut self, tag: Option<&str>) -> Result<Descriptor, ImageError> {
        if tag.is_some() {
            return Err(self.fault("has a tag in the reference already: `--tag` is for layouts and archives"));
        }
        let wanted = self.remote.wanted();
        let accept = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let mut answer = self.get(&format!("manifests/{wanted}"), &accept)?;
        let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        if ![OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&media_type.as_str()) {
            return Err(self.fault(format!("answered with `{}` instead of a manifest", media_type.escape_debug())));
        }
        let mut bytes = Vec::new();
        let read = answer.body_mut().as_reader().take(IMAGE_DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.fault(format!("broke off: {error}")))?;
        if bytes.len() as u64 > IMAGE_DOCUMENT_BYTES_MAX {
            return Err(ImageError::document("the manifest", format!("it has more than {IMAGE_DOCUMENT_BYTES_MAX} bytes")));
        }
        let digest = Digest::of(&bytes);
        if let Some(promised) = self.remote.digest.filter(|promised| *promised != digest) {
            return Err(ImageError::digest("the manifest", &promised, &digest));
        }
        let size = bytes.len() as u64;
        self.manifest = Some((digest, bytes));
        Ok(Descriptor { media_type, digest, size, platform: None, annotations: BTreeMap::new() })
    }

    fn open<'a>(&'a mut self, blob: &Descriptor) -> Result<Box<dyn Read + 'a>, ImageError> {
        if let Some((_, bytes)) = self.manifest.as_ref().filter(|(digest, _)| *digest == blob.digest) {
            return Ok(Box::new(Cursor::new(bytes.clone())));
        }
        let is_manifest = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX].contains(&blob.media_type.as_str());
        let kind = if is_manifest { "manifests" } else { "blobs" };
        let answer = self.get(&format!("{kind}/sha256:{}", blob.digest), &blob.media_type)?;
        // whoever reads it stops behind the promised size
        Ok(Box::new(answer.into_body().into_reader()))
    }
}

/// Scheme, and host with port.
fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let host = rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty() && !host.contains('@'))?;
    Some((scheme, host))
}

/// Errors of the client may hold the address, whose query may hold signatures.
fn without_secrets(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "its address cannot be read".to_owned(),
        ureq::Error::RequireHttpsOnly(_) => "it would be asked without HTTPS".to_owned(),
        other => other.to_string(),
    }
}

/// `SCHEME key="value",key=value`.
fn challenge(text: &str) -> Option<Challenge> {
    let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut parameters = BTreeMap::new();
    while let Some((key, behind)) = rest.split_once('=') {
        let value;
        (value, rest) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => behind.split_once(',').unwrap_or((behind, "")),
        };
        parameters.insert(key.trim_matches([',', ' ']).to_ascii_lowercase(), value.to_owned());
    }
    (!scheme.is_empty()).then(|| Challenge { scheme: scheme.to_owned(), parameters })
}

/// The certificates that are believed.
fn certificates(file: Option<&Path>) -> Result<RootCerts, ImageError> {
    let chosen = file.map(Path::to_path_buf).or_else(|| SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.is_file()));
    let Some(path) = chosen else { return Ok(RootCerts::WebPki) };
    let bytes = std::fs::read(&path).map_err(ImageError::io("read", &path))?;
    let found: Vec<Certificate<'static>> =
        parse_pem(&bytes).filter_map(|item| if let Ok(PemItem::Certificate(one)) = item { Some(one) } else { None }).collect();
    if found.is_empty() {
        return Err(ImageError::document(format!("`{}`", path.display()), "it holds no certificate"));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(host: &str) -> Registry {
        let remote = Remote { registry: host.to_owned(), repository: "a/b".to_owned(), tag: None, digest: None };
        Registry::new(&remote, &RegistrySettings::default(), None).unwrap()
    }

    #[test]
    fn challenges_are_read() {
        let found = challenge(r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#).unwrap();
        assert_eq!(found.scheme, "Bearer");
        assert_eq!(found.parameters["realm"], "https://auth.example/token");
        assert_eq!(found.parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(challenge("Basic realm=x, charset=utf-8").unwrap().parameters["charset"], "utf-8");
        assert_eq!(challenge("Bearer realm=\"open"), None);
        assert_eq!(challenge(""), None);
    }

    /// A redirection may not undo what the reference promised: HTTPS, and nothing on this machine but for who is there himself.
    #[test]
    fn redirections_stay_as_safe_as_the_registry() {
        let far = registry("r.example");
        for (location, taken) in [
            ("https://cdn.example/x?sig=1", true),
            ("/v2/other", true),
            ("http://cdn.example/x", false),
            ("http://127.0.0.1/x", false),
            ("//cdn.example/x", false),
            ("file:///etc/passwd", false),
            ("https://user@cdn.example/x", false),
            ("x", false),
        ] {
            assert_eq!(far.redirected("https://r.example/v2/a", location).is_some(), taken, "{location}");
        }
        let near = registry("127.0.0.1:5000");
        assert!(near.redirected("http://127.0.0.1:5000/v2/a", "http://localhost:9/x").is_some());
        assert!(near.redirected("http://127.0.0.1:5000/v2/a", "http://10.0.0.1/x").is_none());
    }

    #[test]
    fn tokens_come_from_safe_places_only() {
        let far = registry("r.example");
        for realm in ["http://auth.example/token", "ftp://x/", "https://", ""] {
            let challenge = Challenge { scheme: "Bearer".to_owned(), parameters: BTreeMap::from([("realm".to_owned(), realm.to_owned())]) };
            let error = far.authenticate(&challenge).unwrap_err();
            assert!(error.to_string().contains("without HTTPS"), "{realm}: {error}");
        }
        let digest = Challenge { scheme: "Digest".to_owned(), parameters: BTreeMap::new() };
        assert!(far.authenticate(&digest).is_err());
    }
}
