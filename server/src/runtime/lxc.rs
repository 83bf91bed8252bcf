//! liblxc's `lxc-start`, called by the monitor, which mounts and cleans up as it does for libcrun.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use openapi::Vmid;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::monitor::{How, clean};
use super::{Missing, Runtime, RuntimeError, Supervised};
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
            unusable(format!("LXC is missing: '{sought}' does not exist"))
        })
    }

    async fn version(&self) -> Result<String, RuntimeError> {
        let program = self.program()?;
        let unusable = |why: String| {
            let program = program.display();
            unusable(format!("LXC cannot be used: '{program} --version' {why}"))
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

    /// The monitor's own, which runs for it, with LXC's version.
    async fn probe(&self) -> Result<Value, RuntimeError> {
        let version = self.version().await?;
        let mut probe = self.supervised.monitors().lxc.probe().await?;
        if let Some(probe) = probe.as_object_mut() {
            probe.insert("version".to_owned(), version.into());
        }
        Ok(probe)
    }
}

fn unusable(why: String) -> RuntimeError {
    RuntimeError::Unusable(Missing { what: PROGRAM.to_owned(), why, package: Some(PACKAGE) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pve_integration::layout::Root;

    use super::super::Monitors;
    use super::*;
    use crate::programs::Programs;

    fn lxc(dir: &tempfile::TempDir, script: Option<&str>) -> Lxc {
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let monitors = Monitors::new(Programs::both(dir.path().join("monitor")), &root, &node);
        let program = dir.path().join("lxc-start");
        if let Some(script) = script {
            fs_err::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Lxc::new(Supervised::new(monitors, root, false), Some(program))
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
