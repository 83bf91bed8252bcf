//! The script that a container's `hookscript` names, called around its life. As `exec_hookscript` of
//! pve-guest-common's `PVE/GuestHelpers.pm`: its arguments are the container's number and the step.

use std::{fmt, io};

use openapi::Vmid;
use pve_integration::exit::ExitRecord;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::volumes::Storages;
use super::{GuestError, Guests, script};
use crate::runtime::RuntimeError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    PreStart,
    PostStart,
    PreStop,
    PostStop,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreStart => "pre-start",
            Self::PostStart => "post-start",
            Self::PreStop => "pre-stop",
            Self::PostStop => "post-stop",
        })
    }
}

impl Guests {
    /// `hear` gets what it says. Without a script it is done at once.
    pub(super) async fn hookscript(
        &self,
        vmid: Vmid,
        phase: Phase,
        hear: &(dyn Fn(&str) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let found = self.blocking(move |guests| {
            let entry = guests.read(vmid)?;
            let Some(volume) = entry.config.get("hookscript") else { return Ok(None) };
            Storages::read(&guests.0.root, &guests.0.node)?.hookscript(volume).map(Some)
        });
        let Some(path) = found.await? else { return Ok(()) };
        let mut command = Command::new(&path);
        command.arg(vmid.to_string()).arg(phase.to_string());
        match script::run(command, hear, cancel).await {
            Ok(()) => Ok(()),
            Err(script::Failure::Cancelled) => Err(RuntimeError::Cancelled.into()),
            Err(script::Failure::Failed(why)) => {
                let line = format!("{} {vmid} {phase}", path.display());
                Err(GuestError::die(format!(
                    "hookscript error for {vmid} on {phase}: command '{line}' failed: {why}"
                )))
            }
        }
    }

    /// At any step but the one before a start what fails is only said. An abort is one of the task.
    pub(super) async fn tell_hookscript(
        &self,
        vmid: Vmid,
        phase: Phase,
        hear: &(dyn Fn(&str) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        match self.hookscript(vmid, phase, hear, cancel).await {
            Err(err) if !cancel.is_cancelled() => hear(&err.to_string()),
            done => return done,
        }
        Ok(())
    }

    /// `post-stop`, once for each end: the task that wanted it does that, or whoever sees it first.
    /// PVE's own hook does it where that is. Returns when no such script runs any more.
    pub(super) async fn hear_end(
        &self,
        vmid: Vmid,
        hear: &(dyn Fn(&str) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let _turn = self.0.ends.take_or(vmid, cancel).await.ok_or(RuntimeError::Cancelled)?;
        let on_pve = self.0.runtimes.pct().is_some();
        let path = self.0.root.exit_record(vmid);
        let fresh = self.blocking(move |_| {
            let failed = |err| GuestError::io("exit record", err);
            let mut record = match ExitRecord::read(&path) {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(false),
                // It says nothing any more, and the next end writes another.
                Err(err) if err.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(guest.vmid = %vmid, error = %err, "the end of CT {vmid} is not known: {err}");
                    return Ok(false);
                }
                Err(err) => return Err(failed(err)),
            };
            if !std::mem::take(&mut record.unheard) {
                return Ok(false);
            }
            // Before the script: one that kills the daemon is not called for ever.
            record.write(&path).map_err(failed)?;
            Ok(!on_pve)
        });
        if fresh.await? {
            self.tell_hookscript(vmid, Phase::PostStop, hear, cancel).await?;
        }
        Ok(())
    }
}
