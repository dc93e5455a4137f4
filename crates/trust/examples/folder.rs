//! Signs or checks a folder with a key in PEM, as `model_signing` does: `folder sign|verify DIR KEY SIGNATURE`.
//!
//! in: a folder, a PKCS#8 or SPKI key in PEM; out: `SIGNATURE` written, or every difference and exit 1.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for interoperability tests and benches, not the product"
)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use seaworthy_core::artifact::ManifestEntry;
use seaworthy_core::ports::KeyRole;
use seaworthy_core::principal::runner_id;
use seaworthy_trust::attest::folder::{hash_file, sign_folder, verify_folder};
use seaworthy_trust::keys::{LocalSigner, PrivateKey, PublicKey};

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => walk(root, &entry.path(), found),
            (_, true) => found.push(entry.path().strip_prefix(root).unwrap().to_owned()),
            _ => panic!("`{}` is neither a regular file nor a folder", entry.path().display()),
        }
    }
}

/// Hashes all files on two threads, each with one buffer.
fn entries(root: &Path) -> Vec<ManifestEntry> {
    let mut files = Vec::new();
    walk(root, root, &mut files);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut buffer, mut done) = (vec![0_u8; 1 << 18], Vec::new());
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut file = File::open(root.join(path)).unwrap();
            let executable = file.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let (digest, size) = hash_file(&mut file, &mut buffer).unwrap();
            let mode = if executable { 0o755 } else { 0o644 };
            done.push(ManifestEntry { name: path.to_str().unwrap().to_owned(), digest, size, mode });
        }
        done
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut own = work();
        own.extend(other.join().unwrap());
        own
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, verb, folder, key, signature] = arguments.as_slice() else { panic!("usage: folder sign|verify DIR KEY SIGNATURE") };
    let key = fs::read_to_string(key).unwrap();
    let root = Path::new(folder);
    if verb == "sign" {
        let signer = LocalSigner::new("none", runner_id("none", "dev"));
        let signer = signer.with_key(KeyRole::Runner, PrivateKey::from_pkcs8_pem(&key).unwrap()).unwrap();
        let name = root.file_name().unwrap().to_str().unwrap();
        fs::write(signature, sign_folder(&signer, KeyRole::Runner, name, entries(root)).unwrap()).unwrap();
        return;
    }
    let checked = verify_folder(&fs::read(signature).unwrap(), &PublicKey::from_pem(&key).unwrap(), entries(root)).unwrap();
    for difference in &checked.differences {
        println!("{difference:?}");
    }
    assert_eq!(checked.differences, [], "the folder is not what was signed");
    println!("{} files are what was signed", checked.claim.files.len());
}
