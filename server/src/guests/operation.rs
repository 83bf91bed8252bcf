//! Work on a guest's volumes that takes a while: noted before it begins, with PVE's `lock:` in the
//! config while it lasts. `settle` is its one end, however it went: after success, after a failure,
//! and by the next daemon if this one was killed in between. What the config says by then decides
//! which volumes stay.

use std::io;
use std::path::PathBuf;

use openapi::{StorageId, Vmid, VolumeId};
use pve_integration::ct_config::{ConfigError, ContainerConfig, Locked, Section};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::change::{is_indexed, is_owned};
use super::note::Note;
use super::volumes::Storages;
use super::{GuestError, Guests, snapshot};
use crate::runtime::RuntimeError;

/// The note of work under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Operation {
    /// PVE's word in `lock:`.
    pub(super) lock: String,
    /// Storages that may get volumes.
    pub(super) storages: Vec<String>,
    /// The guest's volumes there before.
    pub(super) before: Vec<String>,
    /// What goes once no config names it.
    pub(super) doomed: Vec<String>,
    /// A snapshot whose copies are ready to take the place of what is there: no way back.
    pub(super) restoring: Option<String>,
    /// Files that go when the work ends, however it ends.
    #[serde(default)]
    pub(super) files: Vec<PathBuf>,
    /// What was done to the running container for as long as the work needs it.
    #[serde(default)]
    pub(super) halted: Option<Halt>,
}

/// How a running container was kept still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Halt {
    Frozen,
    Stopped,
}

impl Operation {
    pub(super) fn new(lock: &str) -> Self {
        Self { lock: lock.to_owned(), ..Self::default() }
    }

    /// May make volumes on `storages`.
    pub(super) fn on(
        mut self,
        known: &Storages<'_>,
        vmid: Vmid,
        storages: &[StorageId],
    ) -> Result<Self, GuestError> {
        for storage in storages {
            self.before.extend(known.volumes_of(storage, vmid)?.iter().map(ToString::to_string));
            self.storages.push(storage.to_string());
        }
        Ok(self)
    }
}

impl Note for Operation {
    const FOLDER: &'static str = "changing";
}

impl Guests {
    /// The note, then the lock in the config: no lock is ever left that nobody knows to be ours.
    pub(super) fn begin(
        &self,
        vmid: Vmid,
        mut locked: Locked,
        operation: &Operation,
    ) -> Result<(), GuestError> {
        operation.write(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))?;
        locked.config.set("lock", operation.lock.as_str());
        if let Err(err) = locked.commit() {
            self.end_operation(vmid)?;
            return Err(err.into());
        }
        Ok(())
    }

    fn end_operation(&self, vmid: Vmid) -> Result<(), GuestError> {
        Operation::remove(&self.0.root, vmid).map_err(|err| GuestError::io("journal", err))
    }

    /// Ends work in whichever state it is. When this fails, the note is left and the next daemon
    /// tries again.
    pub(super) fn settle(&self, vmid: Vmid, operation: &Operation) -> Result<(), GuestError> {
        match self.lock(vmid) {
            Ok(locked) => self.settle_locked(vmid, locked, operation),
            Err(GuestError::Config(ConfigError::NotFound(..))) => self.end_operation(vmid),
            Err(err) => Err(err),
        }
    }

    pub(super) fn settle_locked(
        &self,
        vmid: Vmid,
        mut locked: Locked,
        operation: &Operation,
    ) -> Result<(), GuestError> {
        let storages = Storages::read(&self.0.root, &self.0.node)?;
        if locked.config.lock() == Some(operation.lock.as_str()) {
            if let Some(name) = &operation.restoring {
                snapshot::restore(&mut locked.config, &storages, name, vmid)?;
            }
            snapshot::drop_unfinished(&mut locked.config);
            locked.config.remove("lock");
            locked.save()?;
        }
        clean_up(&locked.config, &storages, vmid, operation)?;
        for file in &operation.files {
            match fs_err::remove_file(file) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(GuestError::io("unfinished file", err));
                }
                Ok(()) | Err(_) => {}
            }
        }
        // The lock is let go of last: the next work's note is not ours to remove.
        self.end_operation(vmid)
    }

    /// What a killed daemon was at; before any work of ours begins. Which containers it kept still.
    pub(super) fn settle_all(&self) -> Result<Vec<(Vmid, Halt)>, GuestError> {
        let found = Operation::all(&self.0.root).map_err(|err| GuestError::io("journals", err))?;
        let halted = found.iter().filter_map(|(vmid, operation)| Some((*vmid, operation.halted?)));
        let halted = halted.collect();
        for (vmid, operation) in found {
            match self.settle(vmid, &operation) {
                Ok(()) => tracing::warn!(
                    guest.vmid = %vmid,
                    "CT {vmid} was being changed ({}) when the daemon died; settled",
                    operation.lock
                ),
                Err(err) => {
                    tracing::error!(guest.vmid = %vmid, error = %err, "cannot settle CT {vmid}: {err}");
                }
            }
        }
        Ok(halted)
    }

    /// `work`, and then the end of it. The work's own failure is the one to tell.
    pub(super) async fn settled(
        &self,
        vmid: Vmid,
        operation: Operation,
        work: impl Future<Output = Result<Operation, GuestError>>,
    ) -> Result<(), GuestError> {
        let (operation, done) = match work.await {
            Ok(last) => (last, Ok(())),
            Err(err) => (operation, Err(err)),
        };
        let settled = self.blocking(move |guests| guests.settle(vmid, &operation)).await;
        done.and(settled)
    }
}

fn clean_up(
    config: &ContainerConfig,
    storages: &Storages<'_>,
    vmid: Vmid,
    operation: &Operation,
) -> Result<(), GuestError> {
    let named = named_volumes(config);
    let unnamed = |volume: &VolumeId| !named.contains(volume) && is_owned(volume, vmid);
    let places = operation.storages.iter().filter_map(|name| name.parse::<StorageId>().ok());
    let mut doomed: Vec<VolumeId> =
        operation.doomed.iter().filter_map(|name| name.parse().ok()).collect();
    for storage in places {
        let now = storages.volumes_of(&storage, vmid)?;
        doomed.extend(now.into_iter().filter(|one| !operation.before.contains(&one.to_string())));
    }
    for volume in doomed.iter().filter(|volume| unnamed(volume)) {
        storages.free(volume)?;
    }
    let snapshots: Vec<&str> = config.snapshots().map(|(name, _)| name).collect();
    for volume in named.iter().filter(|volume| is_owned(volume, vmid)) {
        // A storage that is gone or of another kind has nothing of ours.
        if let Ok(storage) = storages.require(volume.storage()) {
            storage.sweep(volume, &snapshots)?;
        }
    }
    Ok(())
}

/// By any section.
pub(super) fn named_volumes(config: &ContainerConfig) -> Vec<VolumeId> {
    let snapshots = config.snapshots().map(|(_, section)| section);
    let sections = std::iter::once(config.current()).chain(config.pending()).chain(snapshots);
    let of = |section: &Section| {
        let unused = section.iter().filter(|(key, _)| is_indexed(key, "unused"));
        let unused: Vec<_> = unused.map(|(_, value)| value.to_owned()).collect();
        section.volumes().into_iter().chain(unused).filter_map(|text| text.parse().ok())
    };
    sections.flat_map(|section| of(section).collect::<Vec<VolumeId>>()).collect()
}

/// Run a copy to its end. It dies with the task's thread, and before this returns if the task is
/// told to end.
pub(super) async fn copy(
    command: std::process::Command,
    cancel: &CancellationToken,
) -> Result<(), GuestError> {
    use tokio::io::AsyncReadExt as _;

    let failed = |err| GuestError::io("unable to copy a volume", err);
    let mut command = tokio::process::Command::from(command);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
    let mut stderr = child.stderr.take().expect("it was asked for as a pipe");
    let mut words = Vec::new();
    let reading = stderr.read_to_end(&mut words);
    tokio::select! {
        read = reading => read.map_err(failed)?,
        () = cancel.cancelled() => {
            child.kill().await.map_err(failed)?;
            return Err(RuntimeError::Cancelled.into());
        }
    };
    if child.wait().await.map_err(failed)?.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&words);
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(GuestError::die(format!("unable to copy a volume: {}", last.trim())))
}
