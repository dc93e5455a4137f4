//! Unpacks checked wheels into one new read-only tree.
//!
//! in: [`Wheel`]s and a folder that does not exist yet; out: the tree: folders 0555, files 0444 (0555 where the wheel had an execute bit).
//! **Invariant:** what is written hashes to what RECORD promised, or the tree is not used; no file is opened that already exists.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use seaworthy_core::artifact::{Manifest, ManifestEntry};
use seaworthy_core::digest::Hasher;

use super::error::EnvironmentError;
use super::wheel::{Contents, WheelFile, WheelListing, shown};

/// The tree that `wheels` make together, from their tables of contents alone.
pub(super) fn expected_tree(wheels: &[&WheelListing]) -> Result<Manifest, EnvironmentError> {
    let mut owners: HashMap<&str, (&str, &WheelFile)> = HashMap::new();
    let mut entries = Vec::new();
    for wheel in wheels {
        for file in wheel.files() {
            match owners.insert(&file.path, (&wheel.name().file, file)) {
                // namespace packages bring the same small file in several wheels
                Some((_, before)) if before.digest == file.digest && before.executable == file.executable => continue,
                Some((first, _)) => {
                    let (first, second) = (first.to_owned(), wheel.name().file.clone());
                    return Err(EnvironmentError::Collision { first, second, path: shown(&file.path) });
                }
                None => {}
            }
            let mode = if file.executable { 0o755 } else { 0o644 };
            entries.push(ManifestEntry { name: file.path.clone(), digest: file.digest, size: file.size, mode });
        }
    }
    Manifest::new(entries).map_err(|fault| EnvironmentError::wheel(&names(wheels), fault.to_string()))
}

/// `PYTHONPATH` comes before the standard library: a wheel with an `os.py` would be imported in its place by everything.
pub(super) fn refuse_hiding(wheels: &[&WheelListing], stdlib: &Path) -> Result<(), EnvironmentError> {
    for wheel in wheels {
        let tops: BTreeSet<&str> = wheel.files().iter().filter_map(|file| file.path.split(['/', '.']).next()).collect();
        // carelessly packed wheels bring a `test`, and nobody imports that of the standard library
        let hidden = tops
            .iter()
            .find(|top| **top != "test" && (stdlib.join(format!("{top}.py")).is_file() || stdlib.join(top).join("__init__.py").is_file()));
        if let Some(top) = hidden {
            return Err(EnvironmentError::wheel(&wheel.name().file, format!("its `{}` would hide the standard library's", shown(top))));
        }
    }
    Ok(())
}

fn names(wheels: &[&WheelListing]) -> String {
    let all: Vec<&str> = wheels.iter().map(|wheel| wheel.name().file.as_str()).collect();
    if let [one] = all.as_slice() { (*one).to_owned() } else { format!("{} wheels together", all.len()) }
}

/// Unpacks all of `wheels` into the new folder `dir`; call [`expected_tree`] first: it refuses collisions.
pub(super) fn unpack(wheels: &mut [&mut dyn Contents], dir: &Path) -> Result<(), EnvironmentError> {
    make_folder(dir)?;
    let mut folders = BTreeSet::new();
    let mut written = BTreeSet::new();
    for wheel in wheels {
        let name = wheel.name().to_owned();
        wheel.each(&mut |file, content| {
            if written.insert(file.path.clone()) {
                make_parents(dir, &file.path, &mut folders)?;
                write_file(&name, file, content, dir)?;
            }
            Ok(())
        })?;
    }
    // innermost first, and the root last: a folder without the write bit takes no more names
    for folder in folders.iter().rev() {
        close_folder(&dir.join(folder))?;
    }
    close_folder(dir)
}

pub(super) fn make_folder(path: &Path) -> Result<(), EnvironmentError> {
    DirBuilder::new().mode(0o700).create(path).map_err(EnvironmentError::io("create", path))
}

pub(super) fn close_folder(path: &Path) -> Result<(), EnvironmentError> {
    fs::set_permissions(path, Permissions::from_mode(0o555)).map_err(EnvironmentError::io("set the mode of", path))
}

pub(super) fn make_parents(dir: &Path, file: &str, made: &mut BTreeSet<String>) -> Result<(), EnvironmentError> {
    for (end, _) in file.match_indices('/') {
        let folder = file.get(..end).unwrap_or_default();
        if made.insert(folder.to_owned()) {
            make_folder(&dir.join(folder))?;
        }
    }
    Ok(())
}

fn write_file(wheel: &str, file: &WheelFile, content: &mut dyn Read, dir: &Path) -> Result<(), EnvironmentError> {
    let path = dir.join(&file.path);
    let refuse = |reason: String| EnvironmentError::wheel(wheel, format!("`{}` {reason}", shown(&file.path)));
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(EnvironmentError::io("create", &path))?;
    let mut hasher = Hasher::new();
    // one byte more than promised is enough to see that there is more
    let count = copy(&mut content.take(file.size.saturating_add(1)), &mut out, &mut hasher)
        .map_err(|error| refuse(format!("cannot be unpacked: {error}")))?;
    if count != file.size {
        return Err(refuse(format!("does not have the {} bytes that the archive says", file.size)));
    }
    let found = hasher.finish();
    if found != file.digest {
        return Err(refuse(format!("hashes to `{found}` where RECORD says `{}`", file.digest)));
    }
    let mode = if file.executable { 0o555 } else { 0o444 };
    out.set_permissions(Permissions::from_mode(mode)).map_err(EnvironmentError::io("set the mode of", &path))
}

pub(super) fn copy(reader: &mut dyn Read, out: &mut File, hasher: &mut Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let count = reader.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok(total);
        }
        hasher.update(chunk);
        out.write_all(chunk)?;
        total = total.saturating_add(chunk.len() as u64);
    }
}
