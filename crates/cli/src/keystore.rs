//! Key files: where they are, how they are opened. They stand outside every workspace; keys inside one would vouch for themselves.
//!
//! in: the configuration folder; out: a signer, public keys, the trust file.
//! **Invariant:** private keys are opened by the signer's process alone; they are age files of mode 0600; a passphrase is read from the terminal once a process, never from the environment.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use seaworthy_core::digest::hex_encode;
use seaworthy_core::id::Name;
use seaworthy_core::note::KeyKind;
use seaworthy_core::ports::KeyRole;
use seaworthy_core::principal::{PrincipalId, runner_id};
use seaworthy_trust::attest::{SourceOwner, TrustRoot, TrustedKey, TrustedLog};
use seaworthy_trust::keys::{
    Identity, LocalSigner, PrivateKey, PublicKey, open_with_identity, open_with_passphrase, seal_to, seal_with_passphrase,
};
use seaworthy_trust::transparency;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::names::Names;
use crate::settings::Settings;

/// All roles, with the names of their files.
pub(crate) const ROLES: [(KeyRole, &str); 4] =
    [(KeyRole::User, "user"), (KeyRole::Runner, "runner"), (KeyRole::Log, "log"), (KeyRole::Root, "root")];

/// Characters of a key's hint that name it.
const HINT_CHARS_MIN: usize = 8;

/// The key folder of one workspace environment.
#[derive(Debug, Clone)]
pub(crate) struct Keystore {
    dir: PathBuf,
    workspace_id: String,
    environment: String,
    config_dir: PathBuf,
    os_user: Option<String>,
    /// A lock on the key folder, held as long as keys are open: nobody changes a key that a run is signing with.
    held: Arc<OnceLock<File>>,
}

impl Keystore {
    pub(crate) fn new(settings: &Settings, workspace_id: &str, environment: &Name) -> Self {
        let dir = settings.config_dir.join(workspace_id).join(environment.as_str());
        Self {
            dir,
            workspace_id: workspace_id.to_owned(),
            environment: environment.to_string(),
            config_dir: settings.config_dir.clone(),
            os_user: settings.os_user.clone(),
            held: Arc::default(),
        }
    }

    /// Origin line of the log's checkpoints.
    pub(crate) fn origin(&self) -> String {
        format!("{}.seaworthy.internal/{}/log", self.workspace_id, self.environment)
    }

    pub(crate) fn workspace_id(&self) -> &str {
        &self.workspace_id
    }

    pub(crate) fn environment(&self) -> &str {
        &self.environment
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn trust_path(&self) -> PathBuf {
        self.dir.join("trust.json")
    }

    fn key_path(&self, role: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{role}.age"))
    }

    fn public_path(&self, role: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{role}.pub.pem"))
    }

    fn identity_path(&self) -> PathBuf {
        self.dir.join("keys/identity.txt")
    }

    /// The keys open without anybody being asked.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity_path().is_file()
    }

    pub(crate) fn has(&self, role: &str) -> bool {
        self.key_path(role).is_file()
    }

    /// Creates every key that is missing and the trust file; returns the roles created.
    pub(crate) fn create(&self, passphrase: bool) -> Result<Vec<&'static str>, Failure> {
        seaworthy_store::workspace::private_folder(&self.dir.join("keys")).map_err(|e| unwritable(&self.dir, &e))?;
        let mut created = Vec::new();
        let mut seal = Sealing::new(self, passphrase);
        for (role, name) in ROLES {
            if !self.has(name) {
                self.put(role, name, &mut seal)?;
                created.push(name);
            }
        }
        if !self.trust_path().is_file() {
            self.write_trust(&self.fresh_trust()?)?;
        }
        if created.contains(&"user") {
            self.name_user()?;
        }
        Ok(created)
    }

    /// A new id reads as its own user's name, for this user alone.
    fn name_user(&self) -> Result<(), Failure> {
        let Some(name) = &self.os_user else { return Ok(()) };
        Names::read(&self.config_dir)?.set_default(&self.user()?.0, name)
    }

    fn put(&self, role: KeyRole, name: &str, seal: &mut Sealing<'_>) -> Result<(), Failure> {
        NewKey::generate(role, seal)?.write(self, name)
    }

    /// Replaces the key of `role` at leaf `index`: the old one is trusted for what it signed before, and for nothing after.
    ///
    /// The trust file goes first: stopped between the two, no key of this role is opened until it is rotated again.
    pub(crate) fn rotate(&self, role: &str, index: u64) -> Result<String, Failure> {
        let Some((role, name)) = ROLES.into_iter().find(|(_, name)| *name == role && *name != "log") else {
            return Err(Failure::usage(
                format!("no key called `{role}` can be rotated"),
                "user, runner or root; a log's key is its identity",
            ));
        };
        let mut trust = self.trust()?.ok_or_else(|| missing_keys(&self.environment))?;
        let old_hint = self.hint(name)?;
        let retired = self.dir.join("keys").join(format!("{name}.{}.age", old_hint.chars().take(12).collect::<String>()));
        let old_bytes = read(&self.key_path(name))?;
        write(&retired, &old_bytes, 0o600)?;
        let passphrase = !self.identity_path().is_file();
        let new = NewKey::generate(role, &mut Sealing::new(self, passphrase))?;
        let principal = self.principal(role, &new.public)?;
        let entry = TrustedKey::new(role, principal, &new.public, index).map_err(|e| Failure::internal("keys/trust", e))?;
        let hint = entry.hint.clone();
        trust.keys.iter_mut().filter(|key| key.hint == old_hint).for_each(|key| key.end_at(index));
        trust.keys.push(entry);
        self.write_trust(&trust)?;
        new.write(self, name)?;
        Ok(hint)
    }

    /// Nobody else of this user's processes has keys open as long as this keystore lives; refused if one has.
    pub(crate) fn hold_alone(&self) -> Result<(), Failure> {
        match self.held()?.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(Failure::configuration(
                "keys/in-use",
                "a run or another command is signing with these keys",
                "wait for it to end, or stop it with `seaworthy runs cancel`",
            )),
            Err(TryLockError::Error(e)) => Err(unwritable(&self.dir, &e)),
        }
    }

    /// The keys stay as they are as long as this keystore lives.
    pub(crate) fn hold_with_others(&self) -> Result<(), Failure> {
        match self.held()?.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::configuration("keys/in-use", "the keys are being changed right now", "run the command again"))
            }
            Err(TryLockError::Error(e)) => Err(unwritable(&self.dir, &e)),
        }
    }

    fn held(&self) -> Result<&File, Failure> {
        if let Some(file) = self.held.get() {
            return Ok(file);
        }
        let folder = File::open(self.dir.join("keys")).map_err(|_| missing_keys(&self.environment))?;
        Ok(self.held.get_or_init(|| folder))
    }

    /// Refuses to sign with a key that counts no more: every leaf of it would be a fault.
    pub(crate) fn refuse_ended(&self, trust: &TrustRoot) -> Result<(), Failure> {
        for name in ["user", "runner"] {
            let hint = self.hint(name)?;
            if let Some(until) = trust.keys.iter().find(|key| key.hint == hint).and_then(|key| key.until) {
                let message = format!("your {name} key counts no more from leaf {until} on");
                return Err(Failure::configuration("keys/ended", message, format!("`seaworthy keys rotate {name}` makes a new one")));
            }
        }
        Ok(())
    }

    /// The one key of the trust file that `given` begins the hint of, and that none of the roles uses any more.
    pub(crate) fn revocable(&self, trust: &TrustRoot, given: &str) -> Result<TrustedKey, Failure> {
        let named: Vec<&TrustedKey> =
            trust.keys.iter().filter(|key| given.len() >= HINT_CHARS_MIN && key.hint.starts_with(given)).collect();
        let [key] = named.as_slice() else {
            let message = format!("{} keys of the trust file begin with `{given}`", named.len());
            let hint = format!("give at least {HINT_CHARS_MIN} characters of a key's digest, as `seaworthy trust export` shows it");
            return Err(Failure::usage(message, hint));
        };
        for (_, name) in ROLES {
            if self.has(name) && self.hint(name)? == key.hint {
                let message = format!("this is your present {name} key: nothing could be signed after its end");
                let hint = format!("`seaworthy keys rotate {name}` first, then revoke it");
                return Err(Failure::configuration("keys/present", message, hint));
            }
        }
        Ok((*key).clone())
    }

    /// hex(sha256(PEM)) of the present key of a role.
    fn hint(&self, name: &str) -> Result<String, Failure> {
        self.public(name)?.hint().map_err(|e| Failure::internal("keys/hint", e))
    }

    pub(crate) fn public(&self, role: &str) -> Result<PublicKey, Failure> {
        let bytes = read(&self.public_path(role))?;
        PublicKey::from_pem(&String::from_utf8_lossy(&bytes))
            .map_err(|e| Failure::configuration("keys/public", e.to_string(), "restore the key folder"))
    }

    /// The opaque id of a key's holder: users are known by their first key, everything else by its SPIFFE id.
    fn principal(&self, role: KeyRole, key: &PublicKey) -> Result<PrincipalId, Failure> {
        let path = self.dir.join("user.id");
        match role {
            KeyRole::User if path.is_file() => Ok(PrincipalId(String::from_utf8_lossy(&read(&path)?).trim().to_owned())),
            KeyRole::User => {
                let mut random = [0_u8; 8];
                getrandom::fill(&mut random).map_err(|e| Failure::internal("keys/random", e))?;
                let id = format!("user:p-{}", hex_encode(&random));
                write(&path, format!("{id}\n").as_bytes(), 0o600)?;
                Ok(PrincipalId(id))
            }
            KeyRole::Runner => Ok(runner_id(&self.workspace_id, &self.environment)),
            KeyRole::Log | KeyRole::Root => {
                let hint = key.hint().map_err(|e| Failure::internal("keys/hint", e))?;
                Ok(PrincipalId(format!("root:p-{}", hint.chars().take(16).collect::<String>())))
            }
        }
    }

    /// The user of this machine, as an opaque id.
    pub(crate) fn user(&self) -> Result<PrincipalId, Failure> {
        self.principal(KeyRole::User, &self.public("user")?)
    }

    fn fresh_trust(&self) -> Result<TrustRoot, Failure> {
        let failed = |e: seaworthy_trust::keys::KeyError| Failure::internal("keys/trust", e);
        let mut keys = Vec::new();
        for (role, name) in ROLES.into_iter().filter(|(_, name)| *name != "log") {
            let public = self.public(name)?;
            let principal = self.principal(role, &public)?;
            keys.push(TrustedKey::new(role, principal, &public, 0).map_err(failed)?);
        }
        let environment = Name::new(&self.environment).map_err(|e| Failure::configuration("workspace/environment", e.to_string(), ""))?;
        let log = self.public("log")?;
        let vkey =
            transparency::verifier_key(&self.origin(), KeyKind::Ed25519, &log).map_err(|e| Failure::internal("keys/vkey", e))?.to_string();
        Ok(TrustRoot {
            version: 1,
            workspace: self.workspace_id.clone(),
            environment,
            log: TrustedLog { origin: self.origin(), vkey },
            keys,
            witnesses: Vec::new(),
            quorum: 0,
            sources: Vec::new(),
            minimum_release: std::collections::BTreeMap::new(),
        })
    }

    /// The trust file, if it has been made.
    pub(crate) fn trust(&self) -> Result<Option<TrustRoot>, Failure> {
        let path = self.trust_path();
        if !path.is_file() {
            return Ok(None);
        }
        let trust = TrustRoot::parse(&read(&path)?)
            .map_err(|e| Failure::configuration("trust/invalid", format!("`{}`: {e}", path.display()), e.hint()))?;
        Ok(Some(trust))
    }

    pub(crate) fn write_trust(&self, trust: &TrustRoot) -> Result<(), Failure> {
        write(&self.trust_path(), &trust.to_json(), 0o644)
    }

    /// Names the user's key as owner of the sources below `prefix`.
    pub(crate) fn own_source(&self, trust: &mut TrustRoot, prefix: &str) -> Result<(), Failure> {
        if trust.sources.iter().any(|source| source.prefix == prefix) {
            return Ok(());
        }
        let key = self.public("user")?.hint().map_err(|e| Failure::internal("keys/hint", e))?;
        trust.sources.push(SourceOwner { prefix: prefix.to_owned(), key });
        self.write_trust(trust)
    }

    /// Refuses if the key file of a role is not there.
    pub(crate) fn demand(&self, name: &str) -> Result<(), Failure> {
        if self.has(name) { Ok(()) } else { Err(missing_keys(&self.environment)) }
    }

    /// Opens private keys: in the signer's process alone.
    pub(crate) fn open(&self, wanted: impl Fn(KeyRole) -> bool) -> Result<LocalSigner, Failure> {
        let mut signer = LocalSigner::new(self.origin(), runner_id(&self.workspace_id, &self.environment));
        let mut opening = Opening::new(self)?;
        for (role, name) in ROLES.into_iter().filter(|(role, _)| wanted(*role)) {
            self.demand(name)?;
            let plain = opening.open(&read_private(&self.key_path(name))?)?;
            let pem = std::str::from_utf8(&plain)
                .map_err(|e| Failure::configuration("keys/unreadable", e.to_string(), "restore the key folder"))?;
            let key = PrivateKey::from_pkcs8_pem(pem)
                .map_err(|e| Failure::configuration("keys/unreadable", e.to_string(), "restore the key folder"))?;
            signer =
                signer.with_key(role, key).map_err(|e| Failure::configuration("keys/role", e.to_string(), "restore the key folder"))?;
        }
        Ok(signer)
    }
}

/// A key that was made and sealed, not written yet.
struct NewKey {
    sealed: Vec<u8>,
    public: PublicKey,
}

impl NewKey {
    fn generate(role: KeyRole, seal: &mut Sealing<'_>) -> Result<Self, Failure> {
        let key = PrivateKey::generate(role).map_err(|e| Failure::internal("keys/generate", e))?;
        let pem = key.to_pkcs8_pem().map_err(|e| Failure::internal("keys/generate", e))?;
        Ok(Self { sealed: seal.seal(pem.as_bytes())?, public: key.public() })
    }

    fn write(&self, keystore: &Keystore, name: &str) -> Result<(), Failure> {
        let pem = self.public.to_pem().map_err(|e| Failure::internal("keys/generate", e))?;
        write(&keystore.public_path(name), pem.as_bytes(), 0o644)?;
        write(&keystore.key_path(name), &self.sealed, 0o600)
    }
}

/// Seals new keys: to the identity file (made if missing), or by one passphrase asked on the terminal.
struct Sealing<'a> {
    keystore: &'a Keystore,
    passphrase: bool,
    asked: Option<Zeroizing<String>>,
}

impl<'a> Sealing<'a> {
    const fn new(keystore: &'a Keystore, passphrase: bool) -> Self {
        Self { keystore, passphrase, asked: None }
    }

    fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, Failure> {
        let failed = |e: seaworthy_trust::keys::KeyError| Failure::internal("keys/seal", e);
        if self.passphrase {
            let secret = match &self.asked {
                Some(secret) => secret.clone(),
                None => ask("New passphrase for the keys: ")?,
            };
            self.asked = Some(secret.clone());
            return seal_with_passphrase(secret, plain).map_err(failed);
        }
        let path = self.keystore.identity_path();
        if !path.is_file() {
            write(&path, Identity::generate().to_text().as_bytes(), 0o600)?;
        }
        let text = read_private(&path)?;
        let identity = Identity::parse(&String::from_utf8_lossy(&text)).map_err(failed)?;
        seal_to(&identity.recipient(), plain).map_err(failed)
    }
}

/// Opens key files: by the identity file if there is one, else by a passphrase asked once.
struct Opening {
    identity: Option<Identity>,
    asked: Option<Zeroizing<String>>,
}

impl Opening {
    fn new(keystore: &Keystore) -> Result<Self, Failure> {
        let path = keystore.identity_path();
        let identity = if path.is_file() {
            let text = read_private(&path)?;
            let identity = Identity::parse(&String::from_utf8_lossy(&text));
            Some(identity.map_err(|e| Failure::configuration("keys/identity", e.to_string(), "restore identity.txt"))?)
        } else {
            None
        };
        Ok(Self { identity, asked: None })
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let refused = |e: seaworthy_trust::keys::KeyError| {
            Failure::configuration("keys/locked", e.to_string(), "the passphrase or identity.txt is not the one the key was sealed to")
        };
        if let Some(identity) = &self.identity {
            return open_with_identity(identity, sealed).map_err(refused);
        }
        let secret = match &self.asked {
            Some(secret) => secret.clone(),
            None => ask("Passphrase of the keys: ")?,
        };
        self.asked = Some(secret.clone());
        open_with_passphrase(secret, sealed).map_err(refused)
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|e| {
        Failure::configuration(
            "keys/no-terminal",
            format!("a passphrase can only be typed on a terminal: {e}"),
            "for runs without one, create keys with an identity file: `seaworthy keys create`",
        )
    })
}

fn missing_keys(environment: &str) -> Failure {
    Failure::configuration(
        "keys/missing",
        format!("this user has no keys for environment `{environment}` of this workspace"),
        "`seaworthy keys create` makes them",
    )
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    seaworthy_store::workspace::write_atomic(path, bytes, mode).map_err(|e| unwritable(path, &e))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| {
        Failure::configuration("keys/unreadable", format!("`{}`: {e}", path.display()), "`seaworthy keys create` makes missing keys")
    })
}

/// Reads a file that holds a secret; one that others can read is refused.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777).unwrap_or(0);
    if mode & 0o077 != 0 {
        let message = format!("`{}` has mode {mode:o}: others can read it", path.display());
        return Err(Failure::configuration("keys/mode", message, format!("chmod 600 {}", path.display())));
    }
    read(path).map(Zeroizing::new)
}

fn unwritable(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::configuration(
        "keys/unwritable",
        format!("`{}`: {cause}", path.display()),
        "the configuration folder must be yours and writable",
    )
}
