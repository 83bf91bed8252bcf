//! What a daemon does first: end what a killed one began, find the containers that run, clean up
//! after monitors that were killed. A fault of one guest does not keep the others waiting, let alone
//! the API.

use std::str::FromStr as _;

use openapi::{AuthId, Vmid};
use pve_integration::ct_config::ConfigError;
use pve_integration::exit::ExitRecord;
use pve_integration::tasks::process;
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, Worker};
use super::lifecycle::Start;
use super::note::Note as _;
use super::operation::Halt;
use super::{GuestError, Guests};

impl Guests {
    /// Returns when nothing of an earlier daemon is in the way; slow clean-ups go on behind it.
    pub async fn recover(&self) {
        self.keep_units().await;
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
            Ok((listening, known.keys().copied().collect::<Vec<_>>()))
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
            self.0.supervised.adopt(*vmid);
        }
        for (vmid, halt) in halted {
            self.let_go(vmid, halt).await;
        }
        if let Some(mut ends) = self.0.supervised.ends() {
            let guests = self.clone();
            tokio::spawn(async move {
                while let Some(vmid) = ends.recv().await {
                    let guests = guests.clone();
                    tokio::spawn(async move { guests.after_end(vmid).await });
                }
            });
        }
        for vmid in known.into_iter().filter(|vmid| !listening.contains(vmid)) {
            let guests = self.clone();
            tokio::spawn(async move {
                if let Err(err) = guests.0.supervised.sweep(vmid).await {
                    tracing::error!(guest.vmid = %vmid, error = %err, "cannot clean up after CT {vmid}: {err}");
                }
                // Who never ran here may have changes that wait for a first start.
                if guests.0.root.exit_record(vmid).exists() {
                    guests.after_end(vmid).await;
                }
            });
        }
    }

    /// A container ended, whoever wanted it: what waited for that is applied, and one that rebooted
    /// is started again.
    async fn after_end(&self, vmid: Vmid) {
        match self.is_pves(vmid).await {
            Ok(false) => {}
            // It has hooks of its own for that.
            Ok(true) => return,
            Err(err) => {
                tracing::error!(guest.vmid = %vmid, error = %err, "after the end of CT {vmid}: {err}");
                return;
            }
        }
        let tell = move |text: &str| tracing::warn!(guest.vmid = %vmid, "CT {vmid}: {text}");
        let rebooted = async {
            self.blocking(move |guests| guests.apply_stopped(vmid, tell)).await?;
            let hear = |line: &str| {
                tracing::info!(guest.vmid = %vmid, "hookscript of CT {vmid}: {line}");
            };
            self.hear_end(vmid, &hear, &CancellationToken::new()).await?;
            self.blocking(move |guests| guests.takes_reboot(vmid)).await
        };
        let done = match rebooted.await {
            Ok(false) => return,
            Ok(true) => {
                let who = AuthId::from_str("root@pam").expect("it is a user's name");
                self.start(vmid, Start::default(), &who).await.map(drop)
            }
            Err(err) => Err(err),
        };
        match done {
            // It was destroyed, or somebody was quicker.
            Ok(())
            | Err(GuestError::AlreadyRunning(_) | GuestError::Config(ConfigError::NotFound(..))) => {
            }
            Err(err) => {
                tracing::error!(guest.vmid = %vmid, error = %err, "after the end of CT {vmid}: {err}");
            }
        }
    }

    /// Whether it ended to be started again. It is told once.
    fn takes_reboot(&self, vmid: Vmid) -> Result<bool, GuestError> {
        let path = self.0.root.exit_record(vmid);
        let failed = |err| GuestError::io("exit record", err);
        let Some(mut record) = ExitRecord::read(&path).map_err(failed)? else { return Ok(false) };
        if !std::mem::take(&mut record.reboot) {
            return Ok(false);
        }
        record.write(&path).map_err(failed)?;
        Ok(true)
    }

    /// Work that needed a container to keep still is over.
    async fn let_go(&self, vmid: Vmid, halt: Halt) {
        let done = match halt {
            Halt::Frozen => self.0.supervised.resume(vmid).await.map_err(GuestError::from),
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
