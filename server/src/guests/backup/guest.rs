//! One guest's backup: locked, kept still as long as the mode asks for, archived, named, noted. As
//! `exec_backup_task` of pve-manager's `PVE/VZDump.pm` and pve-container's `PVE/VZDump/LXC.pm`.
//!
//! PVE's modes for a running container come down to these here: *stop* archives while it is
//! stopped. *snapshot* and *suspend* freeze it while its volumes are copied beside themselves (at no
//! cost where the filesystem shares blocks) and archive the copies while it runs on.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use openapi::{Vmid, VolumeId};
use pve_integration::ct_config::{ContainerConfig, MountPoint, MountSource};
use pve_integration::local_time;
use pve_integration::storage::Version;
use pve_integration::vzdump::{Compress, Mode, NoteFacts, notes};
use tokio_util::sync::CancellationToken;

use super::super::config::check_lock;
use super::super::lifecycle::Start;
use super::super::note::Note as _;
use super::super::operation::{Halt, Operation};
use super::super::snapshot::{Feature, supports};
use super::super::volumes::Storages;
use super::super::{GuestError, Guests};
use super::hook::{Hook, Phase, Subject};
use super::log::{BackupLog, now};
use super::target::Target;
use super::{BackupRun, packing};
use crate::runtime::{ArchiveJob, Said, Shutdown};
use crate::tasks::TaskLog;

/// PVE's reserved name; no snapshot of a user's has it.
const COPIES: &str = "vzdump";
/// Where PVE keeps the log of the last run of a guest.
const LOGS: &str = "/var/log/vzdump";

/// What all backups of a run have in common.
pub(super) struct Place<'a> {
    pub(super) run: &'a BackupRun,
    pub(super) target: &'a Target,
    pub(super) hook: &'a Hook,
}

/// What one backup is made of.
struct Job<'a> {
    vmid: Vmid,
    run: &'a BackupRun,
    target: &'a Target,
    hook: &'a Hook,
    /// Once it is known.
    mode: OnceLock<Mode>,
    hostname: OnceLock<String>,
    log: &'a BackupLog,
    task: &'a TaskLog,
    cancel: &'a CancellationToken,
    /// The archive's name, and without its packing.
    file: String,
    stem: String,
}

impl Guests {
    /// Said and told, whether it went well or not.
    pub(super) async fn back_up_guest(
        &self,
        vmid: Vmid,
        place: &Place<'_>,
        task: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), GuestError> {
        let (log, begun) = (BackupLog::of_guest(task), Instant::now());
        let Place { run, target, hook } = *place;
        let (file, stem) = free_name(vmid, run.options.compress, target).await;
        let (mode, hostname) = (OnceLock::new(), OnceLock::new());
        let log = &log;
        let job = Job { vmid, run, target, hook, mode, hostname, log, task, cancel, file, stem };
        let done = self.archive_guest(&job).await;
        let date = || local_time::format(now(), "%F %H:%M:%S");
        match &done {
            Ok(()) => {
                let took = begun.elapsed().as_secs();
                let took = format!("{:02}:{:02}:{:02}", took / 3600, took / 60 % 60, took % 60);
                log.info(format!("Finished Backup of VM {vmid} ({took})"));
                log.info_task(format!("Backup finished at {}", date()));
            }
            Err(err) => {
                let cause = if cancel.is_cancelled() {
                    "interrupted by signal".to_owned()
                } else {
                    err.to_string()
                };
                log.error(format!("Backup of VM {vmid} failed - {cause}"));
                log.info_task(format!("Failed at {}", date()));
                // Whoever interrupts the run does not interrupt its end.
                if let Err(err) = job.call_to_the_end(Phase::BackupAbort).await {
                    task.warn(err.to_string());
                }
            }
        }
        self.keep_log(&job);
        if let Err(err) = job.call_to_the_end(Phase::LogEnd).await {
            task.warn(err.to_string());
        }
        done
    }

    /// The log lies beside the backup and, of the last run, where PVE looks for it.
    fn keep_log(&self, job: &Job<'_>) {
        let text = job.log.text();
        if text.is_empty() {
            return; // it did not get far enough to say something
        }
        let last = self.0.root.below(LOGS).join(format!("lxc-{}.log", job.vmid));
        for path in [last, job.target.folder.join(format!("{}.log", job.stem))] {
            let folder = path.parent().map_or(Ok(()), fs_err::create_dir_all);
            if let Err(err) = folder.and_then(|()| fs_err::write(&path, &text)) {
                job.task.warn(format!("cannot write the log: {err}"));
            }
        }
    }

    async fn archive_guest(&self, job: &Job<'_>) -> Result<(), GuestError> {
        let (vmid, log) = (job.vmid, job.log);
        let missing = || GuestError::die(format!("unable to find VM '{vmid}'"));
        self.entry(vmid).await.map_err(|_| missing())?;
        let (target, options) = (job.target.clone(), job.run.options.clone());
        let protected_limit = job.run.protected_limit;
        self.blocking(move |_| target.require_room(vmid, &options, protected_limit)).await?;
        log.info(format!("Starting Backup of VM {vmid} (lxc)"));
        log.info_task(format!("Backup started at {}", local_time::format(now(), "%F %H:%M:%S")));
        let running = self.is_running_now(vmid).await?;
        log.info(format!("status = {}", if running { "running" } else { "stopped" }));
        let file = job.temporary();
        let operation = Operation { files: vec![file], ..Operation::new("backup") };
        let begun = operation.clone();
        let config = self
            .blocking(move |guests| {
                let locked = guests.lock(vmid)?;
                check_lock(&locked.config, &[])?;
                let config = locked.config.clone();
                guests.begin(vmid, locked, &begun)?;
                Ok(config)
            })
            .await?;
        let mode = job.mode(running);
        let name = config.hostname().map_or_else(|| format!("CT{vmid}"), str::to_owned);
        job.hostname.get_or_init(|| name);
        let work = async {
            let last = self.archive_in(mode, running, &config, &operation, job).await?;
            self.complete(&config, job).await?;
            job.call(Phase::BackupEnd).await?;
            Ok(last)
        };
        self.settled(vmid, operation.clone(), work).await
    }

    /// The archive under its temporary name; the container runs again when this returns.
    async fn archive_in(
        &self,
        mode: Mode,
        running: bool,
        config: &ContainerConfig,
        operation: &Operation,
        job: &Job<'_>,
    ) -> Result<Operation, GuestError> {
        let mut mode = mode;
        let volumes = if mode == Mode::Snapshot {
            let volumes = prepare(config, job);
            let current = config.current().clone();
            let able = self.blocking(move |guests| {
                let storages = Storages::read(&guests.0.root, &guests.0.node)?;
                Ok(supports(&current, &storages, Feature::Snapshot, None))
            });
            if !able.await? {
                job.log.info("mode failure - some volumes do not support snapshots");
                job.log.info("trying 'suspend' mode instead");
                mode = Mode::Suspend;
            }
            Some(volumes)
        } else {
            None
        };
        job.mode.get_or_init(|| mode);
        job.log.info(format!("backup mode: {}", mode.as_str()));
        let options = &job.run.options;
        if options.bwlimit > 0 {
            job.log.info(format!("bandwidth limit: {} KiB/s", options.bwlimit));
        }
        job.log.info(format!("ionice priority: {}", options.ionice));
        let volumes = volumes.unwrap_or_else(|| prepare(config, job));
        job.call(Phase::BackupStart).await?;
        match mode {
            Mode::Stop => {
                let halted =
                    Operation { halted: running.then_some(Halt::Stopped), ..operation.clone() };
                self.archive_stopped(&halted, job).await
            }
            Mode::Suspend | Mode::Snapshot => {
                let halted = Operation { halted: Some(Halt::Frozen), ..operation.clone() };
                self.copy_frozen(mode, volumes, &halted, job).await?;
                self.write_archive(Some(COPIES), job).await?;
                if mode == Mode::Snapshot {
                    job.log.info("cleanup temporary 'vzdump' snapshot");
                }
                Ok(operation.clone())
            }
        }
    }

    async fn archive_stopped(
        &self,
        halted: &Operation,
        job: &Job<'_>,
    ) -> Result<Operation, GuestError> {
        let vmid = job.vmid;
        let done = Operation { halted: None, ..halted.clone() };
        if halted.halted.is_none() {
            self.write_archive(None, job).await?;
            return Ok(done);
        }
        job.log.info("stopping virtual guest");
        let since = Instant::now();
        job.call(Phase::PreStop).await?;
        self.note(vmid, halted).await?;
        let signal = self.blocking(move |guests| guests.stop_signal(vmid)).await?;
        let timeout = Duration::from_secs(job.run.options.stopwait.saturating_mul(60));
        let how = Shutdown { signal, timeout, force: true };
        // Once asked to end it ends; only then can it be started again.
        let own = CancellationToken::new();
        let written = match self.0.supervised.shutdown(vmid, how, &own).await {
            Ok(()) => self.write_archive(None, job).await,
            Err(err) => Err(err.into()),
        };
        if !self.is_running_now(vmid).await? {
            // Neither an interrupted run nor a script that fails may leave it stopped.
            job.call_or_warn(Phase::PreRestart).await;
            job.log.info("restarting vm");
            let start = Start { skiplock: true, ..Start::default() };
            match self.start_now(vmid, start, job.task, &own).await {
                Ok(()) => online(since, job.log),
                Err(err) => job.log.warn(format!("the container does not start: {err}")),
            }
            job.call_or_warn(Phase::PostRestart).await;
        }
        self.note(vmid, &done).await?;
        written.map(|()| done)
    }

    /// Copies of the volumes as they are at one moment.
    async fn copy_frozen(
        &self,
        mode: Mode,
        volumes: Vec<VolumeId>,
        halted: &Operation,
        job: &Job<'_>,
    ) -> Result<(), GuestError> {
        let vmid = job.vmid;
        let say = |suspend: &str, snapshot: &str| {
            job.log.info(if mode == Mode::Suspend { suspend } else { snapshot });
        };
        job.call(Phase::PreStop).await?;
        say("suspending guest", "suspend vm to make snapshot");
        let since = Instant::now();
        self.note(vmid, halted).await?;
        self.0.supervised.suspend(vmid).await?;
        let copied = async {
            // Nobody writes now; what was written goes to the images.
            self.blocking(|_| {
                rustix::fs::sync();
                Ok(())
            })
            .await?;
            if mode == Mode::Snapshot {
                job.log.info("create storage snapshot 'vzdump'");
            }
            self.copy_versions(volumes, Version::Current, COPIES, job.task, job.cancel).await
        };
        let copied = copied.await;
        job.call_or_warn(Phase::PreRestart).await;
        say("resuming guest", "resume vm");
        match self.0.supervised.resume(vmid).await {
            Ok(()) => online(since, job.log),
            Err(err) => job.log.warn(format!("the container stands still: {err}")),
        }
        job.call_or_warn(Phase::PostRestart).await;
        self.note(vmid, &Operation { halted: None, ..halted.clone() }).await?;
        copied
    }

    async fn note(&self, vmid: Vmid, operation: &Operation) -> Result<(), GuestError> {
        let operation = operation.clone();
        self.blocking(move |guests| {
            let written = operation.write(&guests.0.root, vmid);
            written.map_err(|err| GuestError::io("journal", err))
        })
        .await
    }

    async fn write_archive(&self, snapshot: Option<&str>, job: &Job<'_>) -> Result<(), GuestError> {
        let options = &job.run.options;
        let path = job.target.folder.join(&job.file);
        job.log.info(format!("creating vzdump archive '{}'", path.display()));
        let (threads, missing) = packing::threads(options);
        if let Some(missing) = missing {
            job.log.warn(missing);
        }
        let archive = ArchiveJob {
            output: job.temporary(),
            compress: options.compress,
            threads,
            bwlimit: options.bwlimit,
            ionice: options.ionice,
            snapshot: snapshot.map(str::to_owned),
            exclude: options.exclude.clone(),
        };
        let hear = |said: Said<'_>| match said {
            Said::Line(line) => job.log.info(line),
            Said::Warning(line) => job.log.warn(line),
        };
        self.0.monitor.archive(job.vmid, &archive, &hear, job.cancel).await?;
        Ok(())
    }

    /// From the temporary name to what users see.
    async fn complete(&self, config: &ContainerConfig, job: &Job<'_>) -> Result<(), GuestError> {
        let (from, path) = (job.temporary(), job.target.folder.join(&job.file));
        let renamed = path.clone();
        let size = self.blocking(move |_| {
            let failed = |err| GuestError::io("archive", err);
            fs_err::rename(from, &renamed).map_err(failed)?;
            Ok(fs_err::metadata(&renamed).map_err(failed)?.len())
        });
        job.log.info(format!("archive file size: {}", size_text(size.await?)));
        let options = &job.run.options;
        if let Some(template) = &options.notes_template {
            job.log.info("adding notes to backup");
            let (vmid, node) = (job.vmid.to_string(), self.0.node.to_string());
            let name = config.hostname().map_or_else(|| format!("CT{vmid}"), str::to_owned);
            let facts = NoteFacts {
                cluster: "standalone node",
                guestname: &name,
                node: &node,
                vmid: &vmid,
            };
            if let Err(err) = job.target.set_notes(&job.file, &notes(template, facts)) {
                job.log.warn(format!("unable to add notes - {err}"));
            }
        }
        if options.protected {
            job.log.info("marking backup as protected");
            let set = job.target.protect(&job.file);
            set.map_err(|err| GuestError::die(format!("unable to set protected flag - {err}")))?;
        }
        if options.remove && !job.target.retention.keeps_all() {
            let keep = &job.target.retention;
            job.log.info(format!("prune older backups with retention: {keep:#}"));
            let pruned = job.target.prune(job.vmid, &|line| job.log.info(line))?;
            let extra = if pruned > 0 { " not covered by keep-retention policy" } else { "" };
            job.log.info(format!("pruned {pruned} backup(s){extra}"));
        }
        Ok(())
    }
}

impl Job<'_> {
    async fn call(&self, phase: Phase) -> Result<(), GuestError> {
        self.call_until(phase, self.cancel).await
    }

    async fn call_to_the_end(&self, phase: Phase) -> Result<(), GuestError> {
        self.call_until(phase, &CancellationToken::new()).await
    }

    async fn call_or_warn(&self, phase: Phase) {
        if let Err(err) = self.call_to_the_end(phase).await {
            self.log.warn(err.to_string());
        }
    }

    async fn call_until(&self, phase: Phase, cancel: &CancellationToken) -> Result<(), GuestError> {
        let subject = Subject {
            vmid: self.vmid,
            mode: self.mode.get().copied().unwrap_or(self.run.options.mode),
            hostname: self.hostname.get().map(String::as_str),
            target: &self.target.folder.join(&self.file),
            logfile: &self.target.folder.join(format!("{}.log", self.stem)),
        };
        // The file is kept by the time of the last step.
        let say = |line: &str| {
            if phase == Phase::LogEnd {
                self.log.info_task(line);
            } else {
                self.log.info(line);
            }
        };
        self.hook.run(phase, Some(&subject), &say, cancel).await
    }

    fn temporary(&self) -> std::path::PathBuf {
        let name = self.file.rsplit_once('.').map_or(self.file.as_str(), |(stem, _)| stem);
        self.target.folder.join(format!("{name}.dat"))
    }

    /// What does not run needs nothing to be done to it.
    fn mode(&self, running: bool) -> Mode {
        if running { self.run.options.mode } else { Mode::Stop }
    }
}

/// A name that nobody has: it holds the second, and two runs may want the same.
async fn free_name(vmid: Vmid, compress: Compress, target: &Target) -> (String, String) {
    loop {
        let stem = local_time::format(now(), &format!("vzdump-lxc-{vmid}-%Y_%m_%d-%H_%M_%S"));
        let taken = fs_err::read_dir(&target.folder)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with(&stem));
        if !taken {
            return (format!("{stem}.{}", compress.extension()), stem);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tell what goes in and what does not; the volumes that do.
fn prepare(config: &ContainerConfig, job: &Job<'_>) -> Vec<VolumeId> {
    if let Some(name) = config.hostname() {
        job.log.info(format!("CT Name: {name}"));
    }
    let mut volumes = Vec::new();
    for part in backup_parts(config) {
        let (key, mp) = (&part.key, part.point.mp.display());
        if let (true, MountSource::Volume(volume)) = (part.included, &part.point.source) {
            job.log.info(format!("including mount point {key} ('{mp}') in backup"));
            volumes.push(volume.clone());
        } else {
            let kind = source_kind(&part.point.source);
            let reason = part.reason;
            job.log.info(format!(
                "excluding {kind} mount point {key} ('{mp}') from backup ({reason})"
            ));
        }
    }
    volumes
}

fn source_kind(source: &MountSource) -> &'static str {
    match source {
        MountSource::Volume(_) => "volume",
        MountSource::Bind(_) => "bind",
        MountSource::Device(_) => "device",
    }
}

/// A disk of a container, and whether backups have it (`mountpoint_backup_enabled` of
/// pve-container's `PVE/LXC/Config.pm`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) key: String,
    pub(super) point: MountPoint,
    pub(super) included: bool,
    pub(super) reason: &'static str,
}

pub(super) fn backup_parts(config: &ContainerConfig) -> Vec<Part> {
    let rootfs = config.rootfs().ok().map(|point| ("rootfs".to_owned(), point));
    let points = config.mount_points().into_iter();
    let points = points.filter_map(|(key, point)| Some((key.to_owned(), point.ok()?)));
    let part = |(key, point): (String, MountPoint)| {
        let (included, reason) = match (&point.source, point.backup) {
            _ if key == "rootfs" => (true, "rootfs"),
            (MountSource::Bind(_) | MountSource::Device(_), _) => (false, "not a volume"),
            (MountSource::Volume(_), Some(true)) => (true, "enabled"),
            (MountSource::Volume(_), Some(false) | None) => (false, "disabled"),
        };
        Part { key, point, included, reason }
    };
    rootfs.into_iter().chain(points).map(part).collect()
}

fn online(since: Instant, log: &BackupLog) {
    let seconds = match since.elapsed().as_secs() {
        0 => "<1".to_owned(),
        seconds => seconds.to_string(),
    };
    log.info(format!("guest is online again after {seconds} seconds"));
}

/// As vzdump writes it: rounded down, and with a fraction from gigabytes on.
fn size_text(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    let hundredths = |unit: u64| {
        let part = u128::from(bytes) * 100 / u128::from(unit);
        format!("{}.{:02}", part / 100, part % 100)
    };
    match bytes.checked_ilog2().unwrap_or_default() {
        ..20 => format!("{}KB", bytes / KIB),
        20..30 => format!("{}MB", bytes / KIB / KIB),
        30..40 => format!("{}GB", hundredths(1 << 30)),
        40.. => format!("{}TB", hundredths(1 << 40)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(100, "0KB")]
    #[case(5 << 20, "5MB")]
    #[case(3 << 29, "1.50GB")]
    #[case(5 << 39, "2.50TB")]
    fn prints_sizes(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(size_text(bytes), text);
    }

    #[test]
    fn a_mount_point_is_in_when_it_says_so() {
        let config = ContainerConfig::parse(
            b"mp0: local:100/vm-100-disk-1.raw,mp=/a,backup=1\nmp1: local:100/vm-100-disk-2.raw,mp=/b\n\
              mp2: /srv,mp=/c,backup=1\nrootfs: local:100/vm-100-disk-0.raw\n",
        );
        let parts: Vec<_> = backup_parts(&config)
            .into_iter()
            .map(|part| (part.key, part.included, part.reason))
            .collect();
        let expected = [
            ("rootfs", true, "rootfs"),
            ("mp0", true, "enabled"),
            ("mp1", false, "disabled"),
            ("mp2", false, "not a volume"),
        ];
        assert_eq!(parts, expected.map(|(key, included, why)| (key.to_owned(), included, why)));
    }
}
