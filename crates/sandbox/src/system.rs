//! The host's own programs, as the sandbox shows them to a command that is no step: all of `/usr`, read-only.
//!
//! In: this machine. Out: [`SystemView`]. Steps see a closed set of hashed files instead ([`crate::host_closure`]).
//!
//! **Invariant:** of `/etc` only what leads to programs and libraries; no accounts, no keys, no settings.

use std::fs;
use std::path::{Path, PathBuf};

/// What leads into `/usr` on most systems, and holds programs by itself on others.
const TOPS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
const EXTRAS: [&str; 2] = ["/etc/alternatives", "/etc/ld.so.cache"];
/// Where programs are looked for.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to show.
#[derive(Debug, Default)]
pub struct SystemView {
    /// Files and folders, each at its own place.
    pub mounts: Vec<PathBuf>,
    /// Symbolic links: link, target.
    pub links: Vec<(String, String)>,
    /// Small files instead of the host's: place, content.
    pub texts: Vec<(String, String)>,
}

/// Finds it.
pub fn system_view() -> SystemView {
    let mut view = SystemView { mounts: vec!["/usr".into()], ..SystemView::default() };
    for top in TOPS {
        match fs::read_link(top).ok().and_then(|target| target.into_os_string().into_string().ok()) {
            Some(target) => view.links.push((top.to_owned(), target)),
            None if Path::new(top).is_dir() => view.mounts.push(top.into()),
            None => {}
        }
    }
    view.mounts.extend(EXTRAS.iter().map(PathBuf::from).filter(|path| path.exists()));
    for (place, text) in [
        ("/etc/passwd", "step:x:1000:1000:step:/tmp:/bin/sh\n"),
        ("/etc/group", "step:x:1000:\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ] {
        view.texts.push((place.to_owned(), text.to_owned()));
    }
    view
}

/// Where drivers put their libraries.
const LIBRARY_FOLDERS: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib"];
/// How the names of accelerators' drivers begin: the half of a driver that has to fit the kernel's.
const DRIVERS: [&str; 7] =
    ["libcuda.so", "libcudadebugger.so", "libnvidia-", "libnvcuvid.so", "libnvoptix.so", "libnvidia.so", "libdxcore.so"];
/// Libraries at most.
const DRIVERS_MAX: usize = 256;

/// The drivers' libraries of this machine: name, and the file itself.
pub fn driver_libraries() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = LIBRARY_FOLDERS.iter().flat_map(|folder| drivers_in(Path::new(folder))).collect();
    found.sort();
    found.dedup_by(|one, other| one.0 == other.0);
    found.truncate(DRIVERS_MAX);
    found
}

fn drivers_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let real = fs::canonicalize(entry.path()).ok().filter(|real| real.is_file())?;
            let is_driver = name.contains(".so") && DRIVERS.iter().any(|start| name.starts_with(start));
            is_driver.then_some((name, real))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drivers_are_libraries_of_drivers() {
        let folder = std::env::temp_dir().join(format!("seaworthy-drivers-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["libcuda.so.570.1", "libnvidia-ml.so.1", "libc.so.6", "libnvidia-notes.txt", "libcudart.so.12"] {
            fs::File::options().write(true).create(true).truncate(true).open(folder.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("libcuda.so.570.1", folder.join("libcuda.so.1")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("libcuda.so")).unwrap();
        let mut names: Vec<String> = drivers_in(&folder).into_iter().map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["libcuda.so.1", "libcuda.so.570.1", "libnvidia-ml.so.1"]);
    }

    #[test]
    fn a_shell_is_in_view() {
        let view = system_view();
        let bin = Path::new("/bin");
        assert!(view.mounts.iter().any(|path| path == bin) || view.links.iter().any(|(link, _)| link == "/bin"), "{view:?}");
        assert!(view.mounts.iter().all(|path| path.exists() && !path.ends_with("etc")), "{view:?}");
    }
}
