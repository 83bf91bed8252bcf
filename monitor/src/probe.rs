//! `--probe`: what this host can run, and what exactly is missing, as JSON for the daemon.

use std::collections::BTreeSet;
use std::io::{self, Write};

use fs_err as fs;
use pve_integration::host::{CgroupVersion, HostFacts};
use serde::Serialize;

use crate::error::{During, Result};
use crate::{crun, namespace};

#[derive(Debug, Serialize)]
struct Probe {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    libcrun: Option<crun::Library>,
    cgroup: Cgroup,
    namespaces: BTreeSet<String>,
    seccomp: bool,
    apparmor: bool,
    kernel: String,
    usable: bool,
    missing: Vec<Missing>,
}

#[derive(Debug, Default, Serialize)]
struct Cgroup {
    mode: &'static str,
    controllers: BTreeSet<String>,
}

/// One thing that a container needs, why it is not there, and what to install, if that helps.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Missing {
    what: &'static str,
    why: String,
    package: Option<&'static str>,
}

/// Namespaces that every container gets.
const NEEDED: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];

pub(crate) fn probe() -> Result<()> {
    let text = serde_json::to_string_pretty(&look())
        .map_err(io::Error::from)
        .during("cannot write JSON")?;
    writeln!(io::stdout(), "{text}").during("cannot write to standard output")
}

fn look() -> Probe {
    let mut missing = Vec::new();
    let mut lacks = |what, why: String| missing.push(Missing { what, why, package: None });
    if !rustix::process::geteuid().is_root() {
        lacks("root", "containers are run by root only".to_owned());
    } else if let Err(err) = namespace::enter() {
        lacks("mount namespace", crate::one_line(&err));
    }
    let namespaces = namespaces();
    for name in NEEDED.iter().filter(|name| !namespaces.contains(**name)) {
        lacks("namespace", format!("the kernel has no '{name}' namespaces"));
    }
    let facts = HostFacts::read().map_err(|err| lacks("cgroup", crate::one_line(&err))).ok();
    let version = facts.as_ref().map(|facts| facts.cgroup.version);
    let libcrun = crun::library(version, &mut lacks);
    let cgroup = facts.as_ref().map_or_else(Cgroup::default, |facts| Cgroup {
        mode: match facts.cgroup.version {
            CgroupVersion::V1 => "v1",
            CgroupVersion::V2 => "v2",
            CgroupVersion::Hybrid => "hybrid",
        },
        controllers: facts.cgroup.controllers.clone(),
    });
    Probe {
        version: env!("CARGO_PKG_VERSION"),
        libcrun,
        cgroup,
        namespaces,
        seccomp: facts.as_ref().is_some_and(|facts| facts.seccomp),
        apparmor: facts.as_ref().is_some_and(|facts| facts.apparmor.is_some()),
        kernel: facts.map(|facts| facts.kernel).unwrap_or_default(),
        usable: missing.is_empty(),
        missing,
    }
}

fn namespaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with("_for_children")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_kernels_namespaces() {
        let found = namespaces();
        assert!(
            found.contains("pid") && !found.iter().any(|name| name.contains("for_children")),
            "{found:?}"
        );
    }
}
