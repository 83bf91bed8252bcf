//! Start, stop and what lies between, each a task. Checks that PVE makes before it forks are made
//! before the task, the others inside it.

use std::time::Duration;

use openapi::{AuthId, Upid, Vmid};
use pve_integration::bundle;
use pve_integration::ct_config::ContainerConfig;
use tokio_util::sync::CancellationToken;

use super::config::check_lock;
use super::hookscript::Phase;
use super::{GuestError, Guests};
use crate::runtime::pct::PctCall;
use crate::runtime::{RuntimeError, Shutdown};
use crate::tasks::TaskLog;

/// What PVE waits for a clean shutdown by default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// `mounted` is set by who looks into a stopped container; it does not hinder a start or stop.
const TOLERATED: &[&str] = &["mounted"];

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Start {
    pub(crate) skiplock: bool,
    /// Tell all that the runtime says.
    pub(crate) debug: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stop {
    pub(crate) skiplock: bool,
    /// End shutdowns of this container that are still waiting.
    pub(crate) overrule_shutdown: bool,
}

impl Guests {
    pub(crate) async fn start(
        &self,
        vmid: Vmid,
        how: Start,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        if self.is_running_now(vmid).await? {
            return Err(GuestError::AlreadyRunning(vmid));
        }
        let guests = self.clone();
        self.task("vzstart", vmid, who, move |log, cancel| async move {
            guests.start_now(vmid, how, &log, &cancel).await
        })
    }

    /// Inside a task.
    pub(super) async fn start_now(
        &self,
        vmid: Vmid,
        how: Start,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        if self.is_pves(vmid).await? {
            let call = PctCall::Start { vmid, skiplock: how.skiplock, debug: how.debug };
            return self.pct(&call, log, cancel).await;
        }
        // Who comes second finds it running, and calls no script.
        let turn = self.0.starts.take_or(vmid, cancel).await.ok_or(RuntimeError::Cancelled)?;
        let task_log = log.clone();
        self.blocking(move |guests| guests.prepare_start(vmid, how, &task_log)).await?;
        for warning in self.blocking(move |guests| guests.unenforced(vmid)).await? {
            log.warn(warning);
        }
        let hear = |line: &str| log.line(line);
        self.hear_end(vmid, &hear, cancel).await?;
        self.hookscript(vmid, Phase::PreStart, &hear, cancel).await?;
        if let Err(err) = self.launch(vmid, how.debug, log, cancel).await {
            // Its script heard of a start, so it hears of the end too.
            self.hear_end(vmid, &hear, &CancellationToken::new()).await?;
            return Err(err);
        }
        drop(turn);
        self.tell_hookscript(vmid, Phase::PostStart, &hear, cancel).await
    }

    /// Nothing of this needs the container's lock to be held on: a second start is refused by the
    /// command socket, which only one monitor can have.
    fn prepare_start(&self, vmid: Vmid, how: Start, log: &TaskLog) -> Result<(), GuestError> {
        let locked = self.lock(vmid)?;
        if locked.config.template() {
            return Err(GuestError::Template);
        }
        if !how.skiplock {
            check_lock(&locked.config, TOLERATED)?;
        }
        check_quota(&locked.config)?;
        if self.is_running(vmid)? {
            return Err(GuestError::AlreadyRunning(vmid));
        }
        self.apply_pending(vmid, locked, |text| log.warn(text))
    }

    /// Inside a task.
    pub(super) async fn stop_now(
        &self,
        vmid: Vmid,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        self.before_stop(vmid, log, cancel).await?;
        self.0.supervised.stop(vmid).await?;
        self.after_stop(vmid, log, cancel).await;
        Ok(())
    }

    async fn before_stop(
        &self,
        vmid: Vmid,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        self.tell_hookscript(vmid, Phase::PreStop, &|line| log.line(line), cancel).await
    }

    /// What waited for the end is applied; what fails of it is the next start's.
    async fn after_stop(&self, vmid: Vmid, log: &TaskLog, cancel: &CancellationToken) {
        let task_log = log.clone();
        let applied =
            self.blocking(move |guests| guests.apply_stopped(vmid, |text| task_log.warn(text)));
        if let Err(err) = applied.await {
            log.warn(format!("unable to apply pending changes: {err}"));
        }
        if let Err(err) = self.hear_end(vmid, &|line| log.line(line), cancel).await {
            log.warn(err.to_string());
        }
    }

    /// As PVE's hook at the end of a container. What fails here is the next start's.
    pub(super) fn apply_stopped(
        &self,
        vmid: Vmid,
        warn: impl FnMut(&str),
    ) -> Result<(), GuestError> {
        if self.read(vmid)?.config.pending().is_none() {
            return Ok(());
        }
        let locked = self.lock(vmid)?;
        if check_lock(&locked.config, TOLERATED).is_err() || self.is_running(vmid)? {
            return Ok(());
        }
        self.apply_pending(vmid, locked, warn)
    }

    pub(crate) async fn stop(
        &self,
        vmid: Vmid,
        how: Stop,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        self.require_running(vmid).await?;
        let guests = self.clone();
        self.task("vzstop", vmid, who, move |log, cancel| async move {
            if how.overrule_shutdown {
                guests.overrule_shutdowns(vmid, &log).await?;
            }
            let skiplock = how.skiplock;
            if guests.is_pves(vmid).await? {
                return guests.pct(&PctCall::Stop { vmid, skiplock }, &log, &cancel).await;
            }
            guests.blocking(move |guests| guests.check_unlocked(vmid, TOLERATED, skiplock)).await?;
            guests.stop_now(vmid, &log, &cancel).await
        })
    }

    /// `timeout` in seconds.
    pub(crate) async fn shutdown(
        &self,
        vmid: Vmid,
        timeout: Option<u64>,
        force: bool,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        self.require_running(vmid).await?;
        let guests = self.clone();
        self.task("vzshutdown", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                return guests
                    .pct(&PctCall::Shutdown { vmid, timeout, force }, &log, &cancel)
                    .await;
            }
            guests.shutdown_now(vmid, timeout, force, &log, &cancel).await?;
            guests.after_stop(vmid, &log, &cancel).await;
            Ok(())
        })
    }

    async fn shutdown_now(
        &self,
        vmid: Vmid,
        timeout: Option<u64>,
        force: bool,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        self.before_stop(vmid, log, cancel).await?;
        let signal = self.blocking(move |guests| guests.halt_signal(vmid)).await?;
        let timeout = timeout.map_or(SHUTDOWN_TIMEOUT, Duration::from_secs);
        Ok(self.0.supervised.shutdown(vmid, Shutdown { signal, timeout, force }, cancel).await?)
    }

    fn halt_signal(&self, vmid: Vmid) -> Result<i32, GuestError> {
        check_lock(&self.read(vmid)?.config, &[])?;
        self.stop_signal(vmid)
    }

    /// What the init that runs takes for the wish to end.
    pub(super) fn stop_signal(&self, vmid: Vmid) -> Result<i32, GuestError> {
        let entry = self.read(vmid)?;
        let running = self.0.running.of(&self.0.root, vmid).ok_or(GuestError::NotRunning(vmid))?;
        // Whether init is a systemd shows in the signals that it blocks.
        let status =
            fs_err::read_to_string(format!("/proc/{}/status", running.pid)).unwrap_or_default();
        Ok(bundle::stop_signal(&entry.config, &status))
    }

    /// Ends like a shutdown that kills what does not end, then starts with what was pending.
    pub(crate) async fn reboot(
        &self,
        vmid: Vmid,
        timeout: Option<u64>,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        if !self.is_running_now(vmid).await? {
            return Err(GuestError::NothingToReboot(vmid));
        }
        let guests = self.clone();
        self.task("vzreboot", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                return guests.pct(&PctCall::Reboot { vmid, timeout }, &log, &cancel).await;
            }
            guests.shutdown_now(vmid, timeout, true, &log, &cancel).await?;
            guests.start_now(vmid, Start::default(), &log, &cancel).await
        })
    }

    pub(crate) async fn suspend(&self, vmid: Vmid, who: &AuthId) -> Result<Upid, GuestError> {
        self.require_running(vmid).await?;
        let guests = self.clone();
        self.task("vzsuspend", vmid, who, move |log, cancel| async move {
            if guests.is_pves(vmid).await? {
                return guests.pct(&PctCall::Suspend { vmid }, &log, &cancel).await;
            }
            guests.blocking(move |guests| guests.check_unlocked(vmid, &[], false)).await?;
            Ok(guests.0.supervised.suspend(vmid).await?)
        })
    }

    /// PVE brings back a checkpoint, so it refuses a running container; ours stays in memory and
    /// only one that stands still can go on, PVE's among them if something else froze it.
    pub(crate) async fn resume(&self, vmid: Vmid, who: &AuthId) -> Result<Upid, GuestError> {
        let goes_on = self.blocking(move |guests| {
            Ok(guests.0.running.of(&guests.0.root, vmid).is_some_and(|run| !run.cgroup.frozen()))
        });
        if goes_on.await? {
            return Err(GuestError::AlreadyRunning(vmid));
        }
        let guests = self.clone();
        self.task("vzresume", vmid, who, move |log, cancel| async move {
            let runs = guests.is_running_now(vmid).await?;
            if !runs && guests.is_pves(vmid).await? {
                return guests.pct(&PctCall::Resume { vmid }, &log, &cancel).await;
            }
            if !runs {
                return Err(GuestError::NotRunning(vmid));
            }
            Ok(guests.0.supervised.resume(vmid).await?)
        })
    }

    fn check_unlocked(
        &self,
        vmid: Vmid,
        tolerated: &[&str],
        skiplock: bool,
    ) -> Result<(), GuestError> {
        let entry = self.read(vmid)?;
        if skiplock { Ok(()) } else { check_lock(&entry.config, tolerated) }
    }

    async fn overrule_shutdowns(&self, vmid: Vmid, log: &TaskLog) -> Result<(), GuestError> {
        use pve_integration::tasks::{Filter, Source};

        let filter = Filter {
            kind: Some("vzshutdown".to_owned()),
            vmid: Some(vmid),
            source: Source::Active,
            ..Filter::default()
        };
        let waiting = self.blocking(move |guests| {
            guests.0.tasks.list(&filter).map_err(|err| GuestError::io("tasks", err))
        });
        let upids: Vec<Upid> = waiting.await?.entries.into_iter().map(|entry| entry.upid).collect();
        for upid in &upids {
            self.0.tasks.abort(upid).await?;
        }
        if !upids.is_empty() {
            let list: Vec<String> = upids.iter().map(ToString::to_string).collect();
            log.line(format!("overruled vzshutdown tasks: {}", list.join(", ")));
        }
        Ok(())
    }

    async fn require_running(&self, vmid: Vmid) -> Result<(), GuestError> {
        if self.is_running_now(vmid).await? { Ok(()) } else { Err(GuestError::NotRunning(vmid)) }
    }

    pub(super) async fn is_running_now(&self, vmid: Vmid) -> Result<bool, GuestError> {
        self.blocking(move |guests| guests.is_running(vmid)).await
    }
}

pub(super) fn check_quota(config: &ContainerConfig) -> Result<(), GuestError> {
    if !config.unprivileged() {
        return Ok(());
    }
    let points = config.mount_points().into_iter().filter_map(|(_, point)| point.ok());
    if config.rootfs().into_iter().chain(points).any(|point| point.quota) {
        return Err(GuestError::die("Quotas are not supported by unprivileged containers."));
    }
    Ok(())
}
