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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_in_view() {
        let view = system_view();
        let bin = Path::new("/bin");
        assert!(view.mounts.iter().any(|path| path == bin) || view.links.iter().any(|(link, _)| link == "/bin"), "{view:?}");
        assert!(view.mounts.iter().all(|path| path.exists() && !path.ends_with("etc")), "{view:?}");
    }
}
