//! In the place of `crun.rs` where libcrun is not linked.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use pve_integration::host::CgroupVersion;
use serde::Serialize;

use crate::error::Result;
use crate::guest::{Guest, warn};

pub(crate) type Error = Infallible;

pub(crate) const PROGRAM: &str = "lxcri-lxc-monitor";

#[derive(Debug, Serialize)]
pub(crate) enum Library {}

pub(crate) fn library(
    _cgroups: Option<CgroupVersion>,
    _lacks: &mut dyn FnMut(&'static str, String),
) -> Option<Library> {
    None
}

pub(crate) fn run(_guest: &Guest) -> io::Result<()> {
    Err(io::Error::other(
        "without libcrun containers run under LXC alone: --lxc-start names its program",
    ))
}

/// What libcrun kept of a container whose monitor was killed, and which nobody can ask libcrun to
/// remove: a start under LXC must not find it for ever.
pub(crate) fn forget(_guest: &Guest, state: &Path) -> Result<()> {
    warn("libcrun", "hooks for the end of the life before do not run, as libcrun is not there");
    Ok(fs_err::remove_dir_all(state)?)
}
