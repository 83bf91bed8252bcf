//! Backups as vzdump makes them: one task for any number of guests, one run at a time on a node, one
//! guest after the other. What is done for one guest is in `guest`. As `exec_backup` of pve-manager's
//! `PVE/VZDump.pm`.

mod guest;
mod hook;
mod log;
mod packing;
mod target;

use std::time::{Duration, Instant};

use openapi::{AuthId, Upid, Vmid};
use pve_integration::atomic;
use pve_integration::ct_config::MountSource;
use pve_integration::vzdump::Options;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::hook::{Hook, Phase};
use self::log::BackupLog;
pub(crate) use self::packing::{LZOP, is_installed};
use self::target::Target;
use super::create::Taken;
use super::{GuestError, Guests};
use crate::runtime::RuntimeError;
use crate::tasks::{TaskError, TaskLog};

/// Shared with PVE's own vzdump where there is one.
const LOCK: &str = "/run/vzdump.lock";
/// The UPID of the run that holds the lock.
const RUN: &str = "/run/vzdump.pid";
const TICK: Duration = Duration::from_millis(100);

/// One guest of a run.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) vmid: Vmid,
    /// Why the caller may not back it up.
    pub(crate) denied: Option<String>,
}

/// A run that was allowed.
#[derive(Clone, Debug)]
pub(crate) struct BackupRun {
    pub(crate) members: Vec<Member>,
    /// All guests were asked for: those that the caller may not are left out.
    pub(crate) all: bool,
    pub(crate) options: Options,
    pub(crate) command_line: String,
    /// How many protected backups a guest may have if the storage does not say.
    pub(crate) protected_limit: Option<u64>,
}

/// A disk, and whether backups have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackupVolume {
    pub(crate) key: String,
    pub(crate) volume: String,
    pub(crate) included: bool,
    pub(crate) reason: &'static str,
}

/// Which guests a request or a job means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Included {
    /// Of this node, and numbers that no node has.
    pub(crate) here: Vec<Vmid>,
    /// Numbers that no node has.
    pub(crate) orphaned: Vec<Vmid>,
}

impl Guests {
    /// `vmid`, `pool`, or `all` without `exclude`, in this order. `members` are those of the pool.
    pub(crate) async fn included(
        &self,
        job: &Map<String, Value>,
        members: Vec<Vmid>,
    ) -> Result<Included, GuestError> {
        let taken = self.blocking(|guests| guests.taken()).await?;
        Ok(included(job, &members, &taken, self.0.node.as_str()))
    }

    /// A container's name, and each of its disks with what a backup does with it.
    pub(crate) async fn backup_volumes(
        &self,
        vmid: Vmid,
    ) -> Result<(Option<String>, Vec<BackupVolume>), GuestError> {
        let entry = self.entry(vmid).await?;
        let volume = |part: guest::Part| BackupVolume {
            volume: match &part.point.source {
                MountSource::Volume(volume) => volume.to_string(),
                MountSource::Bind(path) | MountSource::Device(path) => path.display().to_string(),
            },
            key: part.key,
            included: part.included,
            reason: part.reason,
        };
        let parts = guest::backup_parts(&entry.config).into_iter().map(volume).collect();
        Ok((entry.config.hostname().map(str::to_owned), parts))
    }

    pub(crate) fn back_up(&self, run: BackupRun, who: &AuthId) -> Result<Upid, GuestError> {
        let id = match run.members.as_slice() {
            [only] => only.vmid.to_string(),
            _ => String::new(),
        };
        let guests = self.clone();
        Ok(self.0.tasks.spawn("vzdump", &id, who, async move |log, cancel| {
            guests.back_up_now(run, &log, &cancel).await
        })?)
    }

    async fn back_up_now(
        &self,
        run: BackupRun,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let task = BackupLog::of_task(log);
        let options = run.options.clone();
        let say = |line: &str| task.info(line);
        let hook = Hook::of(&self.0.root, &options);
        hook.run(Phase::JobInit, None, &say, cancel).await?;
        let target = self.blocking(move |guests| Target::open(guests, &options)).await?;
        let hook = hook.into_folder(&target.folder);
        let _held = self.only_run(run.options.lockwait, &task, cancel).await?;
        task.info(format!("starting new backup job: {}", run.command_line));
        for reason in &run.options.ignored {
            task.info(reason);
        }
        for reason in &run.options.undone {
            task.warn(reason);
        }
        let mut members = Vec::new();
        for member in &run.members {
            match &member.denied {
                Some(_) if run.all => {}
                Some(reason) => return Err(GuestError::die(reason.as_str())),
                None => members.push(member.vmid),
            }
        }
        let place = guest::Place { run: &run, target: &target, hook: &hook };
        match self.back_up_all(members, &place, log, cancel).await {
            Ok(false) => task.info("Backup job finished successfully"),
            Ok(true) => {
                task.info("Backup job finished with errors");
                return Err(GuestError::die("job errors"));
            }
            Err(err) => {
                let mut text = err.to_string();
                // Whoever interrupts the run does not interrupt its end.
                let own = CancellationToken::new();
                if let Err(more) = hook.run(Phase::JobAbort, None, &say, &own).await {
                    text = format!("{text}\n{more}");
                }
                task.error(format!("Backup job failed - {text}"));
                return Err(GuestError::die(text));
            }
        }
        Ok(())
    }

    /// Whether one of them failed.
    async fn back_up_all(
        &self,
        members: Vec<Vmid>,
        place: &guest::Place<'_>,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<bool, GuestError> {
        let task = BackupLog::of_task(log);
        let say = |line: &str| task.info(line);
        let interrupted = |err: GuestError| match cancel.is_cancelled() {
            true => GuestError::die("interrupted by signal"),
            false => err,
        };
        let started = place.hook.run(Phase::JobStart, None, &say, cancel).await;
        started.map_err(interrupted)?;
        let mut failed = false;
        for vmid in members {
            let done = self.back_up_guest(vmid, place, log, cancel).await;
            failed |= done.is_err();
            if cancel.is_cancelled() {
                return Err(GuestError::die("interrupted by signal"));
            }
        }
        place.hook.run(Phase::JobEnd, None, &say, cancel).await.map_err(interrupted)?;
        Ok(failed)
    }

    /// Returns when no other run is under way; for as long as the answer is kept, none begins.
    async fn only_run(
        &self,
        minutes: u64,
        log: &BackupLog,
        cancel: &CancellationToken,
    ) -> Result<Held, GuestError> {
        let path = self.0.root.below(LOCK);
        let failed = |err: std::io::Error| {
            GuestError::die(format!("can't open lock on file '{LOCK}' - {err}"))
        };
        fs_err::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        let mut options = fs_err::OpenOptions::new();
        let file = options.create(true).append(true).open(&path).map_err(failed)?;
        let deadline = Instant::now() + Duration::from_secs(minutes.saturating_mul(60));
        let mut waited = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
            if minutes == 0 {
                return Err(GuestError::die(format!("can't acquire lock '{LOCK}' (wait = 0)")));
            }
            if Instant::now() >= deadline {
                return Err(GuestError::die(format!("can't acquire lock '{LOCK}' - got timeout")));
            }
            if !std::mem::replace(&mut waited, true) {
                log.info("trying to get global lock - waiting...");
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = cancel.cancelled() => return Err(RuntimeError::Cancelled.into()),
            }
        }
        if waited {
            log.info("got global lock");
        }
        let run = self.0.root.below(RUN);
        atomic::write(&run, 0o644, log.upid().as_bytes())
            .map_err(|err| GuestError::io("vzdump.pid", err))?;
        Ok(Held { _lock: file })
    }

    /// End the run that is under way, if there is one.
    pub(crate) async fn stop_backups(&self) -> Result<(), GuestError> {
        let path = self.0.root.below(RUN);
        let Ok(text) = fs_err::read_to_string(path) else { return Ok(()) };
        let Ok(upid) = text.trim().parse::<Upid>() else { return Ok(()) };
        match self.0.tasks.abort(&upid).await {
            Ok(()) | Err(TaskError::NoSuchTask) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

/// The node's one lock for backups; closing the file gives it back.
struct Held {
    _lock: fs_err::File,
}

fn included(job: &Map<String, Value>, members: &[Vmid], taken: &[Taken], node: &str) -> Included {
    let list = |key: &str| -> Vec<Vmid> {
        let text = job.get(key).map(super::change::text).unwrap_or_default();
        super::split_list(&text).iter().filter_map(|word| word.parse().ok()).collect()
    };
    let is_set = |key: &str| {
        job.get(key).map(super::change::text).is_some_and(|text| !matches!(text.as_str(), "" | "0"))
    };
    let mut wanted: Vec<Vmid> = if is_set("pool") {
        members.iter().copied().filter(|vmid| taken.iter().any(|one| one.vmid == *vmid)).collect()
    } else if is_set("vmid") {
        list("vmid")
    } else if is_set("all") {
        let excluded = list("exclude");
        taken.iter().map(|one| one.vmid).filter(|vmid| !excluded.contains(vmid)).collect()
    } else {
        Vec::new()
    };
    wanted.sort_by_key(|vmid| vmid.get());
    let mut found = Included::default();
    for vmid in wanted {
        match taken.iter().find(|one| one.vmid == vmid) {
            Some(one) if one.node.as_str() == node => found.here.push(vmid),
            Some(_) => {}
            None => found.orphaned.push(vmid),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::named(json!({"vmid": "102,100,999"}), &[100, 102], &[999])]
    #[case::elsewhere(json!({"vmid": "200"}), &[], &[])]
    #[case::all(json!({"all": 1}), &[100, 101, 102], &[])]
    #[case::but(json!({"all": 1, "exclude": "101"}), &[100, 102], &[])]
    #[case::pool(json!({"pool": "p1"}), &[101], &[])]
    #[case::nobody(json!({"all": 0}), &[], &[])]
    fn includes(#[case] job: Value, #[case] here: &[u32], #[case] orphaned: &[u32]) {
        let taken = |vmid: u32, node: &str| Taken {
            vmid: vmid.to_string().parse().unwrap(),
            kind: "CT",
            node: node.parse().unwrap(),
        };
        let all = [taken(102, "pve1"), taken(100, "pve1"), taken(101, "pve1"), taken(200, "pve2")];
        let pool = ["101", "700"].map(|vmid| vmid.parse().unwrap());

        let found = included(job.as_object().unwrap(), &pool, &all, "pve1");

        let numbers = |vmids: &[Vmid]| vmids.iter().map(|vmid| vmid.get()).collect::<Vec<_>>();
        assert_eq!(
            (numbers(&found.here), numbers(&found.orphaned)),
            (here.to_vec(), orphaned.to_vec())
        );
    }
}
