//! The unpacked tree of an image, kept in the cache and never believed.
//!
//! in: an image, who opens its layers; out: [`ImageTree`]: open folders whose bytes were verified.
//! Layout: `CACHE/images/trees/<name>`, unpacked beside it and renamed; the listing and the seal in the state of this user, where no step writes.
//! **Invariant:** what is shown has the listing that was made while the verified layers were unpacked: all of it is hashed, or it has the
//! seal under which it was hashed before; and it has that seal again before every step.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat};
use seaworthy_core::digest::Digest;
use seaworthy_core::ports::Workers;
use seaworthy_sandbox::Mount;
use seaworthy_store::artifacts::remove_checkout;

use super::super::cache::{make_private, open_cached, put_in_place, random_name};
use super::super::error::EnvironmentError;
use super::super::host_tree::Places;
use super::super::memo::{recall_tree, remember_bytes, remember_tree};
use super::super::seal::{Seal, seal, settle};
use super::error::ImageError;
use super::listing::Listing;
use super::tree::Dropped;
use super::unpack::{Layer, OpenBlob, unpack};

/// Counts changes in how layers become a tree.
const LAYOUT: u32 = 1;
/// Names in the root that belong to the sandbox: what an image has there is not shown.
const OWN: [&str; 9] = ["proc", "dev", "out", "tmp", "sys", "in", "params", "code", "secrets"];

/// What is unpacked.
pub(super) struct Wanted<'a> {
    /// The digest of the image's manifest.
    pub(super) manifest: Digest,
    pub(super) layers: &'a [Layer],
    /// The image's working folder; empty if it has none.
    pub(super) workdir: &'a str,
    pub(super) open: OpenBlob<'a>,
    /// Read them.
    pub(super) workers: &'a dyn Workers,
}

/// Mounts of a root, and its links: place, target.
type Shown = (Vec<Mount>, Vec<(String, String)>);

/// A verified tree.
#[derive(Debug)]
pub struct ImageTree {
    place: PathBuf,
    root: OwnedFd,
    listing: Listing,
    /// What was dropped, if it was unpacked just now.
    dropped: Option<Dropped>,
    /// As it stood when its bytes were last known.
    seal: Mutex<Seal>,
}

impl ImageTree {
    /// Finds the tree in the cache, or unpacks it there.
    pub(super) fn open(wanted: &Wanted<'_>, places: Places<'_>) -> Result<Self, ImageError> {
        let name = Digest::of(format!("seaworthy image tree {LAYOUT}\nmanifest {}\n", wanted.manifest).as_bytes());
        let folder = places.cache_dir.join("images/trees");
        make_private(&folder)?;
        let place = folder.join(name.hex());
        let note = places.state_dir.join(format!("image-{}", name.hex()));
        let known = fs::read(&note).ok().and_then(Listing::parse).filter(|_| fs::symlink_metadata(&place).is_ok());
        let (listing, dropped) = match known {
            Some(listing) => (listing, None),
            None => {
                let new = folder.join(format!("new-{}", random_name(&folder)?));
                let built = build(wanted, &new).and_then(|built| Ok(put_in_place(&new, &place).map(|()| built)?));
                if built.is_err() {
                    // the first fault is the one to tell; what is left behind has a name that nobody looks up
                    let _ = remove_checkout(&new);
                }
                let (listing, dropped) = built?;
                // not remembering costs time, nothing else
                let _ = remember_bytes(places.state_dir, &note, listing.text().as_bytes());
                (listing, Some(dropped))
            }
        };
        let root = open_cached(&place, &place)?;
        let now = seal(&root, &place)?;
        let tree = Self { place, root, listing, dropped, seal: Mutex::new(now.clone()) };
        if recall_tree(places.state_dir, &name) != Some(now.digest) {
            let verified = tree.hash()?;
            // not remembering costs time, nothing else
            let _ = remember_tree(places.state_dir, &name, &verified.digest);
            *tree.seal.lock().unwrap_or_else(PoisonError::into_inner) = verified;
        }
        Ok(tree)
    }

    /// Names what the tree holds: entries, bytes, execute bits, links.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.listing.digest()
    }

    /// What the tree holds, a line an entry.
    #[must_use]
    pub fn listing(&self) -> &str {
        self.listing.text()
    }

    /// What was dropped of the layers, if they were unpacked just now.
    #[must_use]
    pub fn dropped(&self) -> Option<Dropped> {
        self.dropped
    }

    /// Nothing of the tree was touched since it was hashed, or all of it is hashed again.
    pub fn check(&self) -> Result<(), ImageError> {
        let mut known = self.seal.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.holds(&self.root, &self.place)? {
            *known = self.hash()?;
        }
        Ok(())
    }

    /// Hashes every byte; how the tree stood meanwhile.
    fn hash(&self) -> Result<Seal, ImageError> {
        let tampered = |reason| EnvironmentError::Tampered { path: self.place.clone(), reason };
        let before = seal(&self.root, &self.place)?;
        let found = Listing::of_folder(&self.root).map_err(ImageError::io("read", &self.place))?;
        if let Some(difference) = self.listing.difference(&found) {
            return Err(tampered(difference).into());
        }
        // what was touched meanwhile may have been hashed before it was touched
        if seal(&self.root, &self.place)? == before { Ok(before) } else { Err(tampered("it changed while it was read".to_owned()).into()) }
    }

    /// A mount for each file and folder of the root, [checked](Self::check), and its links as they are.
    pub(super) fn show(&self) -> Result<Shown, ImageError> {
        self.check()?;
        let (mut mounts, mut links) = (Vec::new(), Vec::new());
        let examine = |name: &str| ImageError::os("examine", self.place.join(name));
        for name in self.tops()? {
            let target = format!("/{name}");
            let stat = statat(&self.root, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(examine(&name))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                let leads = readlinkat(&self.root, name.as_str(), Vec::new()).map_err(examine(&name))?;
                let leads = leads.into_string().map_err(|_| unshowable(&name, "leads to a name that is not UTF-8"))?;
                links.push((target, leads));
            } else {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = openat(&self.root, name.as_str(), flags, Mode::empty()).map_err(examine(&name))?;
                mounts.push(Mount { source, target, exec: true });
            }
        }
        Ok((mounts, links))
    }

    /// Names in the root, but for those that the sandbox lays out itself.
    fn tops(&self) -> Result<Vec<String>, ImageError> {
        let list = || ImageError::os("list", &self.place);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.root).map_err(list())? {
            let entry = entry.map_err(list())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.as_bytes() != entry.file_name().to_bytes() {
                return Err(unshowable(&name, "is not UTF-8"));
            }
            if !matches!(name.as_str(), "." | "..") && !OWN.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The folder that `path` leads to within the image, with no link in its path; none if there is none that is shown.
    pub(super) fn resolved(&self, path: &str) -> Option<String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS).ok()?;
        let name = |folder: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(folder))).ok();
        let below = name(&folder)?.strip_prefix(name(&self.root)?).ok()?.to_str()?.to_owned();
        let top = Path::new(&below).components().next()?.as_os_str().to_str()?.to_owned();
        (!OWN.contains(&top.as_str())).then(|| format!("/{below}"))
    }
}

fn unshowable(name: &str, why: &str) -> ImageError {
    ImageError::document("the root of the image", format!("`{}` {why}", name.escape_debug()))
}

fn build(wanted: &Wanted<'_>, new: &Path) -> Result<(Listing, Dropped), ImageError> {
    make_private(new)?;
    let folder = open_cached(new, new)?;
    let unpacked = unpack(wanted.layers, (wanted.open, wanted.workers), wanted.workdir, folder, new)?;
    settle();
    Ok((unpacked.listing, unpacked.dropped))
}
