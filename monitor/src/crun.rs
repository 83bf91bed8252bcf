//! All that needs libcrun: containers that it runs, and the OCI runtime of the command line.
//! `without_crun.rs` is what the program without it has instead.

mod command;
mod console;
mod container;
mod hooks;
pub(crate) mod mknod;
pub(crate) mod oci;
mod run;
mod supervisor;
mod terminal;
mod ttys;

use std::path::Path;

use pve_integration::host::CgroupVersion;
use serde::Serialize;

use crate::error::{Error as AnyError, Result};
use crate::guest::Guest;

pub(crate) use libcrun::Error;
pub(crate) use run::run;

pub(crate) const PROGRAM: &str = "lxcri-monitor";

/// Of the probe's answer.
#[derive(Debug, Serialize)]
pub(crate) struct Library {
    version: &'static str,
    /// What the linked library says of itself; absent if it could not be asked.
    features: Option<libcrun::Features>,
}

/// `cgroups` as this process sees them: a hybrid host's are v1 once [`crate::namespace::enter`] did its work.
pub(crate) fn library(
    cgroups: Option<CgroupVersion>,
    lacks: &mut dyn FnMut(&'static str, String),
) -> Option<Library> {
    if cgroups == Some(CgroupVersion::Hybrid) {
        lacks("cgroup", "libcrun runs nothing where v1 and v2 are mounted side by side".to_owned());
    }
    // libcrun wants a state folder even for this.
    let dir = std::env::temp_dir().join(format!("lxcri-probe-{}", std::process::id()));
    let features = libcrun::Runtime::new(&dir).features();
    fs_err::remove_dir_all(&dir).ok();
    let features = features.map_err(|err| lacks("libcrun", crate::one_line(&err))).ok();
    Some(Library { version: libcrun::version(), features })
}

fn runtime(guest: &Guest) -> libcrun::Runtime {
    libcrun::Runtime::new(guest.root.libcrun_state())
}

/// What libcrun keeps of a container whose processes are gone, after the hooks for its end.
pub(crate) fn forget(guest: &Guest, _state: &Path) -> Result<()> {
    Ok(runtime(guest).delete(&guest.name(), true)?)
}

impl From<Error> for AnyError {
    fn from(err: Error) -> Self {
        if err.kind() == libcrun::Kind::Executable {
            return Self::Entrypoint(err.message);
        }
        if err.kind() == libcrun::Kind::Caller {
            return Self::InWorker(err.message);
        }
        Self::Libcrun(err)
    }
}
