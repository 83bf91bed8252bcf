//! Where the programs are that watch over containers, one process each.

use std::path::{Path, PathBuf};

/// Linked with libcrun.
pub(crate) const MONITOR: &str = "lxcri-monitor";
/// For all that needs no libcrun, containers under LXC first of all.
pub(crate) const LXC_MONITOR: &str = "lxcri-lxc-monitor";
const LIBEXEC: &str = "/usr/libexec/proxmox-lxcri";

/// Both of them. Either may be missing: the daemon lists, configures and shows what went wrong.
#[derive(Clone, Debug)]
pub struct Programs {
    pub crun: PathBuf,
    pub lxc: PathBuf,
}

impl Programs {
    /// Those that were named, and the others where they usually are.
    pub(crate) fn of(crun: Option<PathBuf>, lxc: Option<PathBuf>) -> Self {
        Self {
            crun: there(crun, MONITOR, "no container can start under libcrun", "--monitor"),
            lxc: there(
                lxc,
                LXC_MONITOR,
                "no container can start under LXC, be unpacked or be backed up",
                "--lxc-monitor",
            ),
        }
    }

    /// One in the place of both.
    #[cfg(test)]
    pub(crate) fn both(program: impl Into<PathBuf>) -> Self {
        let crun = program.into();
        Self { lxc: crun.clone(), crun }
    }
}

fn there(given: Option<PathBuf>, name: &str, then: &str, option: &str) -> PathBuf {
    match given.or_else(|| find(name)) {
        Some(path) if path.is_file() => path,
        Some(path) => {
            tracing::warn!(path = %path.display(), "{then}: {} is not there", path.display());
            path
        }
        None => {
            tracing::warn!(
                "{then}: {name} is neither beside this program nor in {LIBEXEC} nor in PATH; \
                 {option} names it"
            );
            Path::new(LIBEXEC).join(name)
        }
    }
}

/// Beside this program, where the package puts it, or in PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain([PathBuf::from(LIBEXEC)])
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
