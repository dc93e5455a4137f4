//! Where everything of a workspace lies, and how its files are read and written.
//!
//! in: the workspace folder; out: its id and, per environment, the paths of store, log, journal and catalog.
//!
//! ```text
//! .seaworthy/workspace.json              {"id":"<16 hex>"}
//! .seaworthy/<environment>/store/        artifacts
//! .seaworthy/<environment>/log/          the transparency log and its bundles
//! .seaworthy/<environment>/journal/      unfinished work
//! .seaworthy/<environment>/catalog.db    the index, made again from the log at will (and `catalog.sum`)
//! ```
//! **Invariant:** no key and no trust file lies below this folder: they would vouch for themselves.
//! **Invariant:** a file that a user sees is replaced as a whole or not at all.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fchmod, fstat, statat};
use rustix::io::Errno;
use seaworthy_core::event::{Event, EventKind};
use seaworthy_core::id::Name;
use seaworthy_core::json_strict;
use seaworthy_core::limits::CONFIG_FILE_BYTES_MAX;
use seaworthy_core::ports::EvidenceSource;

use crate::artifacts::{FaultKind, StoreFault};
use crate::barrier;
use crate::disk::{self, linkat, openat, renameat, unlinkat};
use crate::error::StoreError;
use crate::folders;

const FOLDER_NAME: &str = ".seaworthy";
const ID_FILE: &str = "workspace.json";

/// A workspace: the folder with `seaworthy.yaml` and `.seaworthy/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workspace {
    root: PathBuf,
    id: String,
}

/// Where the parts of one environment lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentPaths {
    /// `.seaworthy/<environment>`.
    pub root: PathBuf,
    /// Artifacts.
    pub store: PathBuf,
    /// The log.
    pub log: PathBuf,
    /// The journal.
    pub journal: PathBuf,
    /// The catalog.
    pub catalog: PathBuf,
}

impl Workspace {
    /// Opens the workspace in `root`, giving it an id and its folder (0700) if it has none.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let inner = root.join(FOLDER_NAME);
        let folder = folders::private_folder(&inner)?;
        folders::refuse_network_file_system(&folder, &inner)?;
        if statat(&folder, ID_FILE, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|errno| errno == Errno::NOENT) {
            let id = folders::random_hex::<8>(&inner)?;
            write_new(&folder, &inner, ID_FILE, id_document(&id).as_bytes())?;
        }
        Self::open(root)
    }

    /// Opens the workspace in `root`, which must have been created; changes nothing.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(FOLDER_NAME).join(ID_FILE);
        let text = text_file(&path, 1024)?;
        let layout = |reason: String| StoreError::Layout { path: path.clone(), reason };
        let document = json_strict::parse(text.as_bytes()).map_err(|fault| layout(format!("its id cannot be read: {fault}")))?;
        let id = document.get("id").and_then(|id| id.as_str()).unwrap_or_default().to_owned();
        let hex = id.len() == 16 && id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || text != id_document(&id) {
            return Err(layout("its id is not 16 hex digits, or more was written beside it".into()));
        }
        Ok(Self { root: root.to_path_buf(), id })
    }

    /// 16 hex digits, random; part of every SPIFFE id and log origin.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The workspace folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the parts of an environment lie, whether they exist or not.
    #[must_use]
    pub fn paths(&self, environment: &Name) -> EnvironmentPaths {
        let root = self.root.join(FOLDER_NAME).join(environment.as_str());
        EnvironmentPaths {
            store: root.join("store"),
            log: root.join("log"),
            journal: root.join("journal"),
            catalog: root.join("catalog.db"),
            root,
        }
    }

    /// The same, with the environment's own folder (0700) made if need be; the parts make theirs.
    pub fn environment(&self, environment: &Name) -> Result<EnvironmentPaths, StoreError> {
        let paths = self.paths(environment);
        folders::private_folder(&paths.root)?;
        Ok(paths)
    }

    /// The environments that exist, sorted.
    pub fn environments(&self) -> Result<Vec<Name>, StoreError> {
        let path = self.root.join(FOLDER_NAME);
        let folder = folders::folder(&path)?;
        let names = folders::names(&folder).map_err(StoreError::os("list", &path))?;
        Ok(names.into_iter().filter(|name| folders::folder_in(&folder, name).is_ok()).filter_map(|name| Name::new(name).ok()).collect())
    }

    /// Compares the id and environment with those that the log began with: an edited `workspace.json` shows here.
    pub fn audit(&self, environment: &Name, evidence: &dyn EvidenceSource) -> Vec<StoreFault> {
        let fault = |message: String| vec![StoreFault::new(ID_FILE, FaultKind::Corrupt, message)];
        let first = match evidence.size() {
            Ok(0) => return Vec::new(),
            Ok(_) => evidence.entry(0),
            Err(cause) => Err(cause),
        };
        let begun = first
            .map_err(|cause| cause.to_string())
            .and_then(|bytes| json_strict::parse_typed::<Event>(&bytes).map_err(|cause| cause.to_string()));
        match begun.map(|event| event.kind) {
            Ok(EventKind::WorkspaceCreated { workspace, environment: name }) if workspace == self.id && name == environment.as_str() => {
                Vec::new()
            }
            Ok(EventKind::WorkspaceCreated { workspace, environment: name }) => {
                fault(format!("the log began as workspace `{workspace}`, environment `{name}`; this is `{}`, `{environment}`", self.id))
            }
            Ok(_) => fault("the log does not begin with the workspace's creation".into()),
            Err(cause) => fault(format!("the log's first leaf cannot be read: {cause}")),
        }
    }
}

fn id_document(id: &str) -> String {
    format!("{{\"id\":\"{id}\"}}\n")
}

/// Reads a text file of at most `bytes_max` bytes: a regular file, UTF-8.
pub fn text_file(path: &Path, bytes_max: usize) -> Result<String, StoreError> {
    let file =
        openat(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).map_err(StoreError::os("open", path))?;
    let stat = fstat(&file).map_err(StoreError::os("examine", path))?;
    let name = || path.display().to_string();
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(StoreError::refused(name(), "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::from(file).take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if bytes.len() > bytes_max {
        return Err(StoreError::TooLarge { what: format!("`{}` in bytes", path.display()), limit: bytes_max as u64 });
    }
    String::from_utf8(bytes).map_err(|fault| StoreError::refused(name(), format!("byte {} is not UTF-8", fault.utf8_error().valid_up_to())))
}

/// [`text_file`] with the limit of workflow, settings, schema and lock files.
pub fn config_file(path: &Path) -> Result<String, StoreError> {
    text_file(path, CONFIG_FILE_BYTES_MAX)
}

/// Replaces (or creates) the file at `path` as a whole, durably; one barrier.
///
/// A reader sees the old bytes or the new ones. A symbolic link at `path` is replaced, not followed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let refuse = || StoreError::refused(path.display().to_string(), "it names no file");
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(refuse)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // the parent may be a link of the user's own making
    let folder =
        openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(StoreError::os("open", parent))?;
    let temp = Temp::write(&folder, parent, name, bytes, mode)?;
    barrier::group(|group| {
        group.sync(&temp.file).map_err(StoreError::io("sync", path))?;
        renameat(&folder, &*temp.name, &folder, name).map_err(StoreError::os("replace", path))?;
        group.sync(&folder).map_err(StoreError::io("sync", parent))
    })
}

/// Removes a file for good: when this returns its name does not come back after a power cut. False if it was not there.
pub fn remove_file(path: &Path) -> Result<bool, StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let open = openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = match open {
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        other => other.map_err(StoreError::os("open", parent))?,
    };
    let name = path.file_name().ok_or_else(|| StoreError::refused(path.display().to_string(), "it names no file"))?;
    match unlinkat(&folder, name, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        other => other.map_err(StoreError::os("remove", path))?,
    }
    barrier::group(|group| group.sync(&folder).map_err(StoreError::io("sync", parent)))?;
    Ok(true)
}

/// Makes the folder `dir` (0700) and those above it that are missing; one that others may enter is refused.
pub fn private_folder(dir: &Path) -> Result<(), StoreError> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk::make_folders(parent).map_err(StoreError::io("create", parent))?;
    }
    folders::private_folder(dir).map(drop)
}

/// Creates a file that must not be there yet; of two who do so at once, the first wins.
fn write_new(folder: &OwnedFd, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temp = Temp::write(folder, dir, name, bytes, 0o644)?;
    barrier::group(|group| {
        group.sync(&temp.file).map_err(StoreError::io("sync", dir.join(name)))?;
        match linkat(folder, &*temp.name, folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(StoreError::os("create", dir.join(name))(errno)),
        }
        group.sync(folder).map_err(StoreError::io("sync", dir))
    })
}

/// A temporary file beside its target; its name is gone when it is dropped.
struct Temp<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: File,
}

impl<'a> Temp<'a> {
    fn write(folder: &'a OwnedFd, dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<Self, StoreError> {
        let temp = format!(".{name}.{}", folders::random_hex::<6>(dir)?);
        let path = dir.join(&temp);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, &*temp, flags, Mode::RUSR | Mode::WUSR).map_err(StoreError::os("create", &path))?;
        let temp = Self { folder, name: temp, file: File::from(file) };
        disk::write_all(&temp.file, bytes).map_err(StoreError::io("write", &path))?;
        fchmod(&temp.file, Mode::from_raw_mode(mode)).map_err(StoreError::os("set the mode of", &path))?;
        Ok(temp)
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        // after the rename the name is gone already; otherwise a hidden file that cannot be removed does no harm
        _ = unlinkat(self.folder, &*self.name, AtFlags::empty());
    }
}
