//! What a daemon does first: end what a killed one began, find the containers that run, clean up
//! after monitors that were killed. A fault of one guest does not keep the others waiting, let alone
//! the API.

use std::str::FromStr as _;

use openapi::{AuthId, Vmid};
use pve_integration::tasks::process;
use rustix::process::{Pid, Signal, kill_process};

use super::journal::{Journal, Worker};
use super::lifecycle::Start;
use super::note::Note as _;
use super::operation::Halt;
use super::{GuestError, Guests};
use crate::runtime::Runtime as _;

impl Guests {
    /// Returns when nothing of an earlier daemon is in the way; slow clean-ups go on behind it.
    pub async fn recover(&self) {
        match self.blocking(|guests| guests.undo_journals()).await {
            Ok(undone) => {
                for vmid in undone {
                    tracing::warn!(guest.vmid = %vmid, "CT {vmid} was being made when the daemon died; what was not finished is undone");
                }
            }
            Err(err) => {
                tracing::error!(error = %err, "cannot look for half-made containers: {err}")
            }
        }
        let halted = self.blocking(|guests| guests.settle_all()).await.unwrap_or_else(|err| {
            tracing::error!(error = %err, "cannot look for half-changed containers: {err}");
            Vec::new()
        });
        let found = self.blocking(|guests| {
            let listening = guests.listening()?;
            let known = guests.0.configs.list(&guests.0.root, &guests.0.node)?;
            Ok((listening, known.into_keys().collect::<Vec<_>>()))
        });
        let (listening, known) = match found.await {
            Ok(found) => found,
            Err(err) => {
                tracing::error!(error = %err, "cannot look for running containers: {err}");
                return;
            }
        };
        tracing::info!(guest.count = listening.len(), "{} containers run", listening.len());
        for vmid in &listening {
            self.0.crun.adopt(*vmid);
        }
        for (vmid, halt) in halted {
            self.let_go(vmid, halt).await;
        }
        for vmid in known.into_iter().filter(|vmid| !listening.contains(vmid)) {
            let crun = self.0.crun.clone();
            tokio::spawn(async move {
                if let Err(err) = crun.sweep(vmid).await {
                    tracing::error!(guest.vmid = %vmid, error = %err, "cannot clean up after CT {vmid}: {err}");
                }
            });
        }
    }

    /// Work that needed a container to keep still is over.
    async fn let_go(&self, vmid: Vmid, halt: Halt) {
        let done = match halt {
            Halt::Frozen => self.0.crun.resume(vmid).await.map_err(GuestError::from),
            Halt::Stopped => {
                let who = AuthId::from_str("root@pam").expect("it is a user's name");
                self.start(vmid, Start::default(), &who).await.map(drop)
            }
        };
        if let Err(err) = done {
            tracing::error!(guest.vmid = %vmid, error = %err, "cannot let CT {vmid} run again: {err}");
        }
    }

    /// No create of ours runs yet, and the lock on the root says that there is no other daemon.
    fn undo_journals(&self) -> Result<Vec<Vmid>, GuestError> {
        let journals = Journal::all(&self.0.root).map_err(|err| GuestError::io("journals", err))?;
        let mut undone = Vec::new();
        for (vmid, journal) in journals {
            journal.worker.into_iter().for_each(end_worker);
            match self.undo_create(vmid, &journal) {
                Ok(()) => undone.push(vmid),
                Err(err) => {
                    tracing::error!(guest.vmid = %vmid, error = %err, "cannot remove the half-made CT {vmid}: {err}");
                }
            }
        }
        Ok(undone)
    }
}

/// The unpacking of a killed daemon may still be at work. It is gone before its volume goes.
fn end_worker(worker: Worker) {
    let alive = || process(worker.pid).is_some_and(|now| now.start == worker.start && !now.zombie);
    let pid = i32::try_from(worker.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| alive()) else { return };
    if let Err(err) = kill_process(pid, Signal::KILL) {
        tracing::error!(error = %err, "cannot kill the unpacking process {}: {err}", worker.pid);
    }
    for _ in 0..100 {
        if !alive() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    tracing::error!("the unpacking process {} does not end", worker.pid);
}
