//! liblxc's `lxc-start`, called by the monitor, which mounts and cleans up as it does for libcrun.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use openapi::Vmid;
use pve_integration::host::{CgroupVersion, HostFacts};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::monitor::{How, clean};
use super::{Runtime, RuntimeError, Supervised};
use crate::tasks::TaskLog;

const PROGRAM: &str = "lxc-start";
/// Debian's, of the program.
const PACKAGE: &str = "lxc";
/// Where Debian and a build from source put it. The daemon's own PATH says nothing of the host's.
const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Lxc {
    supervised: Supervised,
    /// Instead of the one that is looked for.
    given: Option<PathBuf>,
}

impl Lxc {
    pub(super) fn new(supervised: Supervised, given: Option<PathBuf>) -> Self {
        Self { supervised, given }
    }

    /// `lxc-start`, if it is there.
    pub(super) fn program(&self) -> Result<PathBuf, RuntimeError> {
        let candidates: Vec<PathBuf> = match &self.given {
            Some(program) => vec![program.clone()],
            None => FOLDERS.iter().map(|folder| PathBuf::from(folder).join(PROGRAM)).collect(),
        };
        candidates.into_iter().find(|program| program.is_file()).ok_or_else(|| {
            let sought = self.given.as_ref().map_or(PROGRAM.into(), |path| path.to_string_lossy());
            RuntimeError::Unusable(format!(
                "LXC is missing: '{sought}' does not exist; install the package {PACKAGE}"
            ))
        })
    }

    async fn version(&self) -> Result<String, RuntimeError> {
        let program = self.program()?;
        let unusable = |why: String| {
            let program = program.display();
            RuntimeError::Unusable(format!(
                "LXC cannot be used: '{program} --version' {why}; install the package {PACKAGE}"
            ))
        };
        let mut command = clean(&program);
        command.arg("--version").stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await;
        let output = output.map_err(|_| unusable("takes too long".to_owned()))?;
        let output = output.map_err(|err| unusable(format!("fails: {err}")))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && !version.is_empty() {
            return Ok(version);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.lines().last().unwrap_or_default().trim().to_owned();
        Err(unusable(format!("fails ({}): {words}", output.status)))
    }
}

#[async_trait]
impl Runtime for Lxc {
    async fn start(
        &self,
        vmid: Vmid,
        debug: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let how = How { lxc_start: Some(self.program()?), debug };
        self.supervised.start(vmid, &how, log, cancel).await
    }

    async fn probe(&self) -> Result<Value, RuntimeError> {
        let version = self.version().await?;
        if let Some(reason) = self.supervised.monitor().missing() {
            return Err(RuntimeError::Unusable(reason));
        }
        let facts = HostFacts::read().map_err(|err| RuntimeError::io("LXC", err))?;
        let mode = match facts.cgroup.version {
            CgroupVersion::V1 => "v1",
            CgroupVersion::V2 => "v2",
            CgroupVersion::Hybrid => "hybrid",
        };
        Ok(json!({
            "version": version,
            "cgroup": { "mode": mode, "controllers": facts.cgroup.controllers },
            "seccomp": facts.seccomp,
            "apparmor": facts.apparmor,
            "kernel": facts.kernel,
            "usable": true,
            "missing": [],
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pve_integration::layout::Root;

    use super::super::Monitor;
    use super::*;

    fn lxc(dir: &tempfile::TempDir, script: Option<&str>) -> Lxc {
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let monitor = Monitor::new(dir.path().join("monitor"), root.clone(), node);
        let program = dir.path().join("lxc-start");
        if let Some(script) = script {
            fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Lxc::new(Supervised::new(monitor, root, false), Some(program))
    }

    #[tokio::test]
    async fn a_missing_lxc_names_its_package() {
        let dir = tempfile::tempdir().unwrap();

        let err = lxc(&dir, None).probe().await.unwrap_err().to_string();

        assert!(err.starts_with("LXC is missing: '"), "{err}");
        assert!(err.ends_with("lxc-start' does not exist; install the package lxc"), "{err}");
    }

    #[tokio::test]
    async fn one_that_does_not_load_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo liblxc.so.1: no such file >&2; exit 127";

        let err = lxc(&dir, Some(script)).probe().await.unwrap_err().to_string();

        assert!(err.contains("liblxc.so.1: no such file; install the package lxc"), "{err}");
    }

    #[tokio::test]
    async fn it_is_of_no_use_without_the_monitor() {
        let dir = tempfile::tempdir().unwrap();

        let err = lxc(&dir, Some("echo 5.0.2")).probe().await.unwrap_err().to_string();

        assert!(err.ends_with("install the package proxmox-lxcri"), "{err}");
    }
}
