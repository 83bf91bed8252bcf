//! Many guests in one task: in the order of their `startup`, so many at once, each in a task of its
//! own. What PVE's `startall`, `stopall` and the bulk actions do; who may is the API's.

mod startup;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openapi::{AuthId, Upid, Vmid};
use pve_integration::tasks::{Filter, Source};
use tokio_util::sync::CancellationToken;

use self::startup::Startup;
use super::{GuestError, Guests, Start};
use crate::tasks::{TaskLog, TaskState};

/// How often the tasks that run are looked at when a place or their end is waited for.
const POLL: Duration = Duration::from_millis(100);
/// PVE's wait for a shutdown that nobody set.
const SHUTDOWN_S: u64 = 180;

/// Which guests, and how many at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Only these; none are all.
    pub(crate) vmids: Option<BTreeSet<Vmid>>,
    pub(crate) workers: Option<usize>,
}

/// How many seconds a guest has to end, and what then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) timeout: Option<u64>,
    pub(crate) force: bool,
}

/// By order, and within one by number.
type Ordered = BTreeMap<u64, BTreeMap<Vmid, Startup>>;

/// The tasks of a batch that run.
struct Workers<'a> {
    guests: &'a Guests,
    cancel: &'a CancellationToken,
    most: usize,
    running: Vec<(Vmid, Upid)>,
}

impl<'a> Workers<'a> {
    fn new(guests: &'a Guests, cancel: &'a CancellationToken, most: usize) -> Self {
        Self { guests, cancel, most: most.max(1), running: Vec::new() }
    }

    /// Wait until no more than `left` run; each that has ended goes to `ended` with its outcome, an
    /// error or nothing. A batch that is aborted leaves alone what it has begun, as PVE's does.
    async fn wait(
        &mut self,
        left: usize,
        mut ended: impl FnMut(Vmid, Option<String>),
    ) -> Result<(), GuestError> {
        loop {
            let mut still = Vec::new();
            for (vmid, upid) in std::mem::take(&mut self.running) {
                if self.guests.0.tasks.wait(&upid, Duration::ZERO).await {
                    ended(vmid, self.guests.failure(&upid).await?);
                } else {
                    still.push((vmid, upid));
                }
            }
            self.running = still;
            if self.running.len() <= left {
                return Ok(());
            }
            pause(POLL, self.cancel).await?;
        }
    }

    async fn wait_for_place(
        &mut self,
        ended: impl FnMut(Vmid, Option<String>),
    ) -> Result<(), GuestError> {
        self.wait(self.most - 1, ended).await
    }
}

async fn pause(time: Duration, cancel: &CancellationToken) -> Result<(), GuestError> {
    let waited = cancel.run_until_cancelled(tokio::time::sleep(time)).await;
    waited.ok_or_else(|| GuestError::die("received interrupt"))
}

fn list(vmids: &BTreeSet<Vmid>) -> String {
    vmids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a bulk action says first.
fn announce(log: &TaskLog, batch: &Batch, verb: &str, suffix: &str) {
    match &batch.vmids {
        Some(vmids) => log.line(format!("{verb} guests{suffix}: {}", list(vmids))),
        None => log.line(format!("{verb} all guests{suffix}")),
    }
}

impl Guests {
    /// `startall`: those that start with the host, or all of them if forced.
    pub(crate) fn start_all(
        &self,
        batch: Batch,
        force: bool,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let (guests, owner) = (self.clone(), who.clone());
        self.batch("startall", who, move |log, cancel| async move {
            guests.remove_backup_locks(&log).await?;
            let ordered = guests.ordered(&batch, !force).await?;
            let failed = |vmid, failure: Option<String>| {
                if let Some(failure) = failure {
                    log.line(format!("Starting CT {vmid} failed: {failure}"));
                }
            };
            let most = guests.workers(&batch);
            for group in ordered.into_values() {
                let mut workers = Workers::new(&guests, &cancel, most);
                for (vmid, startup) in group {
                    if guests.is_running_now(vmid).await? {
                        continue;
                    }
                    log.line(format!("Starting CT {vmid}"));
                    match guests.start(vmid, Start::default(), &owner).await {
                        Ok(upid) => workers.running.push((vmid, upid)),
                        Err(err) => {
                            log.line(err.to_string());
                            continue;
                        }
                    }
                    if let Some(up) = startup.up.filter(|up| *up > 0) {
                        log.line(format!("Waiting for {up} seconds (startup delay)"));
                        pause(Duration::from_secs(up), &cancel).await?;
                    }
                    workers.wait_for_place(failed).await?;
                }
                workers.wait(0, failed).await?;
            }
            Ok(())
        })
    }

    /// `stopall`: in the reverse order.
    pub(crate) fn stop_all(
        &self,
        batch: Batch,
        ending: Ending,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let (guests, owner) = (self.clone(), who.clone());
        self.batch("stopall", who, move |log, cancel| async move {
            let ordered = guests.ordered(&batch, false).await?;
            let most = guests.workers(&batch);
            for group in ordered.into_values().rev() {
                let mut workers = Workers::new(&guests, &cancel, most);
                for (vmid, startup) in group.into_iter().rev() {
                    if !guests.is_running_now(vmid).await? {
                        continue;
                    }
                    let timeout = startup.down.or(ending.timeout).unwrap_or(SHUTDOWN_S);
                    log.line(format!("Stopping CT {vmid} (timeout = {timeout} seconds)"));
                    match guests.shutdown(vmid, Some(timeout), ending.force, &owner).await {
                        Ok(upid) => workers.running.push((vmid, upid)),
                        Err(err) => log.line(err.to_string()),
                    }
                    workers.wait_for_place(|_, _| ()).await?;
                }
                workers.wait(0, |_, _| ()).await?;
            }
            Ok(())
        })
    }

    /// `suspendall` and `bulk-suspend`: PVE suspends virtual machines to disk, and no containers.
    pub(crate) fn suspend_all(
        &self,
        kind: &'static str,
        batch: Batch,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.batch(kind, who, move |log, _| async move {
            if kind == "bulk-suspend" {
                announce(&log, &batch, "Suspending", "");
            }
            for group in guests.ordered(&batch, false).await?.into_values().rev() {
                for vmid in group.into_keys() {
                    log.warn(format!("skipping {vmid}, only VMs can be suspended"));
                }
            }
            Ok(())
        })
    }

    /// `bulk-start`: whether they start with the host or not.
    pub(crate) fn bulk_start(&self, batch: Batch, who: &AuthId) -> Result<Upid, GuestError> {
        let (guests, owner) = (self.clone(), who.clone());
        self.batch("bulk-start", who, move |log, cancel| async move {
            announce(&log, &batch, "Starting", "");
            let ordered = guests.ordered(&batch, false).await?;
            let most = batch.workers.unwrap_or_else(|| guests.configured_workers().unwrap_or(4));
            let mut failed = BTreeSet::new();
            for group in ordered.into_values() {
                let mut workers = Workers::new(&guests, &cancel, most);
                let delays: BTreeMap<Vmid, u64> =
                    group.iter().filter_map(|(vmid, startup)| Some((*vmid, startup.up?))).collect();
                let mut started = Vec::new();
                for vmid in group.into_keys() {
                    workers.wait_for_place(|vmid, failure| started.push((vmid, failure))).await?;
                    guests.after_start(&mut started, &delays, &mut failed, &log, &cancel).await?;
                    if guests.is_running_now(vmid).await? {
                        log.warn(format!("Skipping CT {vmid}, already running."));
                        continue;
                    }
                    log.line(format!("Starting CT {vmid}"));
                    match guests.start(vmid, Start::default(), &owner).await {
                        Ok(upid) => workers.running.push((vmid, upid)),
                        Err(err) => {
                            log.warn(err.to_string());
                            failed.insert(vmid);
                        }
                    }
                }
                workers.wait(0, |vmid, failure| started.push((vmid, failure))).await?;
                guests.after_start(&mut started, &delays, &mut failed, &log, &cancel).await?;
            }
            if failed.is_empty() {
                return Ok(());
            }
            Err(GuestError::die(format!("Some guests failed to start: {}", list(&failed))))
        })
    }

    /// What PVE does when one of a bulk start has ended: it waits, or says what went wrong.
    async fn after_start(
        &self,
        started: &mut Vec<(Vmid, Option<String>)>,
        delays: &BTreeMap<Vmid, u64>,
        failed: &mut BTreeSet<Vmid>,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        for (vmid, failure) in started.drain(..) {
            if let Some(failure) = failure {
                log.warn(format!("Starting CT {vmid} failed: {failure}"));
                failed.insert(vmid);
            } else if let Some(up) = delays.get(&vmid).filter(|up| **up > 0) {
                log.line(format!("Waiting for {up} seconds (startup delay)"));
                pause(Duration::from_secs(*up), cancel).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn bulk_shutdown(
        &self,
        batch: Batch,
        ending: Ending,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let (guests, owner) = (self.clone(), who.clone());
        self.batch("bulk-shutdown", who, move |log, cancel| async move {
            announce(&log, &batch, "Shutting down", "");
            let ordered = guests.ordered(&batch, false).await?;
            let most = batch.workers.unwrap_or_else(|| guests.configured_workers().unwrap_or(4));
            let mut failed = BTreeSet::new();
            for group in ordered.into_values().rev() {
                let mut workers = Workers::new(&guests, &cancel, most);
                let mut lost = Vec::new();
                for (vmid, startup) in group {
                    workers.wait_for_place(|vmid, failure| lost.push((vmid, failure))).await?;
                    if !guests.is_running_now(vmid).await? {
                        log.warn(format!("Skipping CT {vmid}, not running."));
                        continue;
                    }
                    let timeout = startup.down.or(ending.timeout).unwrap_or(SHUTDOWN_S);
                    log.line(format!("Shutting down CT {vmid} (Timeout = {timeout} seconds)"));
                    match guests.shutdown(vmid, Some(timeout), ending.force, &owner).await {
                        Ok(upid) => workers.running.push((vmid, upid)),
                        Err(err) => {
                            log.warn(err.to_string());
                            failed.insert(vmid);
                        }
                    }
                }
                workers.wait(0, |vmid, failure| lost.push((vmid, failure))).await?;
                for (vmid, failure) in lost {
                    if let Some(failure) = failure {
                        log.warn(format!("Stopping CT {vmid} failed: {failure}"));
                        failed.insert(vmid);
                    }
                }
            }
            if failed.is_empty() {
                return Ok(());
            }
            Err(GuestError::die(format!("Some guests failed to shutdown {}", list(&failed))))
        })
    }

    /// There is one node: who is to go to it is there, and to another nobody can.
    pub(crate) fn bulk_migrate(
        &self,
        batch: Batch,
        target: String,
        who: &AuthId,
    ) -> Result<Upid, GuestError> {
        let guests = self.clone();
        self.batch("bulk-migrate", who, move |log, _| async move {
            announce(&log, &batch, "Migrating", &format!(" to {target}"));
            let mut failed = BTreeSet::new();
            let all = guests.selected(&batch, true).await?;
            for vmid in all.into_keys() {
                if target == guests.0.node.as_str() {
                    log.warn(format!("CT {vmid} already on {target}, skipping."));
                    continue;
                }
                log.line(format!("Migrating CT {vmid}"));
                log.warn(format!("no such cluster node '{target}'"));
                failed.insert(vmid);
            }
            if failed.is_empty() {
                return Ok(());
            }
            Err(GuestError::die(format!("Some guests failed to migrate {}", list(&failed))))
        })
    }

    fn batch<W, F>(&self, kind: &str, who: &AuthId, work: W) -> Result<Upid, GuestError>
    where
        W: FnOnce(TaskLog, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), GuestError>>,
    {
        Ok(self.0.tasks.spawn(kind, "", who, work)?)
    }

    /// The guests of a batch, but no templates unless asked for.
    async fn selected(
        &self,
        batch: &Batch,
        templates: bool,
    ) -> Result<BTreeMap<Vmid, (bool, Startup)>, GuestError> {
        let wanted = batch.vmids.clone();
        self.blocking(move |guests| {
            let configs = guests.0.configs.list(&guests.0.root, &guests.0.node)?;
            let wanted = configs.iter().filter(|(vmid, entry)| {
                wanted.as_ref().is_none_or(|wanted| wanted.contains(vmid))
                    && (templates || !entry.config.template())
            });
            Ok(wanted
                .map(|(vmid, entry)| {
                    let onboot = entry.config.get("onboot") == Some("1");
                    let startup = entry.config.get("startup").unwrap_or_default();
                    (*vmid, (onboot, Startup::parse(startup)))
                })
                .collect())
        })
        .await
    }

    async fn ordered(&self, batch: &Batch, onboot_only: bool) -> Result<Ordered, GuestError> {
        let mut ordered = Ordered::new();
        for (vmid, (onboot, startup)) in self.selected(batch, false).await? {
            if onboot || !onboot_only {
                let order = startup.order.unwrap_or(u64::MAX);
                ordered.entry(order).or_default().insert(vmid, startup);
            }
        }
        Ok(ordered)
    }

    /// What a task that has ended failed with.
    async fn failure(&self, upid: &Upid) -> Result<Option<String>, GuestError> {
        let upid = upid.clone();
        let status = self.blocking(move |guests| Ok(guests.0.tasks.status(&upid)?)).await?;
        Ok(match status {
            TaskState::Stopped(status) if status != "OK" && !status.starts_with("WARNINGS") => {
                Some(status)
            }
            TaskState::Stopped(_) | TaskState::Running => None,
        })
    }

    fn workers(&self, batch: &Batch) -> usize {
        let spare = usize::try_from(self.0.host_cpus).unwrap_or(usize::MAX).saturating_sub(1);
        batch.workers.or_else(|| self.configured_workers()).unwrap_or_else(|| spare.clamp(1, 8))
    }

    /// `max_workers` of datacenter.cfg.
    pub(crate) fn configured_workers(&self) -> Option<usize> {
        let text = fs_err::read_to_string(self.0.root.datacenter_cfg()).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix("max_workers:"))?;
        value.trim().parse().ok().filter(|workers| *workers > 0)
    }

    /// A backup that the last end of the host interrupted left its lock. Not while one runs.
    async fn remove_backup_locks(&self, log: &TaskLog) -> Result<(), GuestError> {
        let removed = self.blocking(|guests| {
            let filter = Filter {
                kind: Some("vzdump".to_owned()),
                source: Source::Active,
                ..Filter::default()
            };
            let tasks = guests.0.tasks.list(&filter).map_err(|err| GuestError::io("tasks", err))?;
            let runs = |upid| matches!(guests.0.tasks.status(upid), Ok(TaskState::Running));
            if tasks.entries.iter().any(|entry| runs(&entry.upid)) {
                return Ok(Vec::new());
            }
            let configs = guests.0.configs.list(&guests.0.root, &guests.0.node)?;
            let mut removed = Vec::new();
            for (vmid, entry) in configs.iter() {
                if entry.config.lock() != Some("backup") {
                    continue;
                }
                let mut locked = guests.lock(*vmid)?;
                if locked.config.lock() == Some("backup") {
                    locked.config.remove("lock");
                    locked.commit()?;
                    removed.push(*vmid);
                }
            }
            Ok(removed)
        });
        for vmid in removed.await? {
            log.line(format!("removed left over backup lock from '{vmid}'!"));
        }
        Ok(())
    }
}
