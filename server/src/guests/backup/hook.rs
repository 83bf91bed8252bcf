//! The script that an administrator has called at each step of a run. As `run_hook_script` of
//! pve-manager's `PVE/VZDump.pm`: the step's name, and for one guest its mode and number, are its
//! arguments; the rest it finds in its environment.

use std::path::{Path, PathBuf};

use openapi::{StorageId, Vmid};
use pve_integration::layout::Root;
use pve_integration::vzdump::{Mode, Options};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::{GuestError, script};
use crate::runtime::RuntimeError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    JobInit,
    JobStart,
    JobEnd,
    JobAbort,
    BackupStart,
    BackupEnd,
    BackupAbort,
    LogEnd,
    PreStop,
    PreRestart,
    PostRestart,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::JobInit => "job-init",
            Self::JobStart => "job-start",
            Self::JobEnd => "job-end",
            Self::JobAbort => "job-abort",
            Self::BackupStart => "backup-start",
            Self::BackupEnd => "backup-end",
            Self::BackupAbort => "backup-abort",
            Self::LogEnd => "log-end",
            Self::PreStop => "pre-stop",
            Self::PreRestart => "pre-restart",
            Self::PostRestart => "post-restart",
        }
    }
}

/// The guest that a step is about.
pub(super) struct Subject<'a> {
    pub(super) vmid: Vmid,
    pub(super) mode: Mode,
    pub(super) hostname: Option<&'a str>,
    pub(super) target: &'a Path,
    pub(super) logfile: &'a Path,
}

/// Of a run, which may have none.
#[derive(Clone, Debug, Default)]
pub(super) struct Hook {
    script: Option<PathBuf>,
    storage: Option<StorageId>,
    folder: Option<PathBuf>,
}

impl Hook {
    pub(super) fn of(root: &Root, options: &Options) -> Self {
        let below = |path: &String| root.below(path);
        Self {
            script: options.script.as_ref().map(below),
            storage: options.storage.clone(),
            folder: options.dumpdir.as_ref().map(below),
        }
    }

    /// Where backups go is known once a storage is.
    pub(super) fn into_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// Fails as the script does. `hear` gets what it says.
    pub(super) async fn run(
        &self,
        phase: Phase,
        subject: Option<&Subject<'_>>,
        hear: &(dyn Fn(&str) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let Some(script) = &self.script else { return Ok(()) };
        let shown = script.display();
        match script::is_executable(script) {
            Some(true) => {}
            Some(false) => {
                let text = format!("Error: The hook script '{shown}' is not executable.");
                return Err(GuestError::die(text));
            }
            None => {
                let text = format!("Error: The hook script '{shown}' does not exist.");
                return Err(GuestError::die(text));
            }
        }
        let arguments = arguments(phase, subject);
        let line = std::iter::once(shown.to_string()).chain(arguments.clone());
        let line = line.collect::<Vec<_>>().join(" ");
        let mut command = Command::new(script);
        command.args(&arguments).envs(self.environment(subject));
        match script::run(command, hear, cancel).await {
            Ok(()) => Ok(()),
            Err(script::Failure::Cancelled) => Err(RuntimeError::Cancelled.into()),
            Err(script::Failure::Failed(why)) => {
                Err(GuestError::die(format!("command '{line}' failed: {why}")))
            }
        }
    }

    fn environment(&self, subject: Option<&Subject<'_>>) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let mut all = Vec::new();
        all.extend(self.storage.as_ref().map(|storage| ("STOREID", storage.to_string())));
        all.extend(self.folder.as_ref().map(|folder| ("DUMPDIR", path(folder))));
        if let Some(subject) = subject {
            all.push(("VMTYPE", "lxc".to_owned()));
            all.extend(subject.hostname.map(|name| ("HOSTNAME", name.to_owned())));
            all.push(("TARGET", path(subject.target)));
            all.push(("LOGFILE", path(subject.logfile)));
        }
        all
    }
}

fn arguments(phase: Phase, subject: Option<&Subject<'_>>) -> Vec<String> {
    let of_guest =
        subject.map(|subject| [subject.mode.as_str().to_owned(), subject.vmid.to_string()]);
    std::iter::once(phase.as_str().to_owned()).chain(of_guest.into_iter().flatten()).collect()
}
