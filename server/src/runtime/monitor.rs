//! A monitor as a child process: how it is called, how its words are read. What it does is its own
//! affair.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use openapi::{NodeName, Vmid};
use pve_integration::ct_config::ContainerConfig;
use pve_integration::layout::Root;
use pve_integration::oci_image;
use pve_integration::setup::Secrets;
use pve_integration::vzdump::Compress;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::report::{OWN_PACKAGE, Report};
use super::{Missing, RuntimeError};
use crate::tasks::TaskLog;

/// Cleaning up waits for a kernel that gives back mounts and cgroups.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const PLUG_TIMEOUT: Duration = Duration::from_secs(20);

/// What nothing more is known of.
const UNKNOWN_OS: &str = "unmanaged";

/// What the monitor has a container run by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct How {
    /// This `lxc-start`, not libcrun.
    pub(crate) lxc_start: Option<PathBuf>,
    /// With all that the runtime says.
    pub(crate) debug: bool,
}

/// How to call it.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    program: PathBuf,
    root: Root,
    node: NodeName,
}

/// What is to be unpacked into a new container, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unpacking {
    pub(crate) archive: PathBuf,
    /// Set up as a new system; not one that was a container before.
    pub(crate) setup: Option<Secrets>,
    /// The archive is a backup, and this config has the volumes for it. The container's own may be
    /// that of another, which stays until the unpacking went well.
    pub(crate) backup: Option<Vec<u8>>,
    /// The archive is an image in layers.
    pub(crate) image: bool,
    pub(crate) ignore_errors: bool,
    /// KiB a second.
    pub(crate) bwlimit: Option<u64>,
}

/// What an unpacked root file system turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) ostype: Option<String>,
    pub(crate) arch: Option<String>,
    /// Of an image, what that asks for.
    pub(crate) image: Option<oci_image::Unpacked>,
}

/// What to put into which archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveJob {
    pub(crate) output: PathBuf,
    pub(crate) compress: Compress,
    /// A program's, of which it has more than one.
    pub(crate) threads: Option<u64>,
    /// KiB a second; 0 for no limit.
    pub(crate) bwlimit: u64,
    /// 8 is what the kernel does when nobody else wants the disk.
    pub(crate) ionice: u64,
    /// Which copies to read instead of the volumes.
    pub(crate) snapshot: Option<String>,
    pub(crate) exclude: Vec<String>,
}

/// What it says while it works.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'l> {
    Line(&'l str),
    Warning(&'l str),
}

impl Unpacked {
    /// What the config does not say itself.
    pub(crate) fn complete(self, config: &mut ContainerConfig) {
        let found = [
            ("ostype", self.ostype.unwrap_or_else(|| UNKNOWN_OS.to_owned())),
            ("arch", self.arch.unwrap_or_else(|| host_arch().to_owned())),
        ];
        for (key, value) in found {
            if config.get(key).is_none() {
                config.set(key, value);
            }
        }
    }
}

impl Monitor {
    pub(crate) fn new(program: PathBuf, root: Root, node: NodeName) -> Self {
        Self { program, root, node }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    fn command(&self, verb: &str, vmid: Vmid) -> Command {
        let mut command = self.bare();
        command.arg(verb).arg("--root").arg(self.root.prefix());
        command.arg("--node").arg(self.node.as_str()).arg(vmid.to_string());
        command
    }

    fn bare(&self) -> Command {
        clean(&self.program)
    }

    /// The container's supervisor, its stderr in the container's own file. It makes a session of
    /// its own and outlives us.
    pub(super) fn spawn_run(&self, vmid: Vmid, how: &How) -> Result<Child, RuntimeError> {
        let dir = self.root.guest_run(vmid);
        let io_error = |err| RuntimeError::io(format!("CT {vmid}"), err);
        fs_err::create_dir_all(&dir).map_err(io_error)?;
        let stderr = fs_err::File::create(self.root.monitor_stderr(vmid)).map_err(io_error)?;
        let mut command = self.command("run", vmid);
        if let Some(program) = &how.lxc_start {
            command.arg("--lxc-start").arg(program);
        }
        if how.debug {
            command.arg("--debug");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::from(stderr.into_file()));
        command.spawn().map_err(|err| self.cannot_spawn(&err))
    }

    pub(super) fn report(&self, vmid: Vmid) -> Report {
        Report::parse(&fs_err::read(self.root.monitor_stderr(vmid)).unwrap_or_default())
    }

    /// Remove what a dead monitor left: processes, mounts, cgroup, run files.
    pub(crate) async fn cleanup(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let mut command = self.command("cleanup", vmid);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(CLEANUP_TIMEOUT, command.output());
        let output = output.await.map_err(|_| RuntimeError::DidNotStop)?;
        let output = output.map_err(|err| self.cannot_spawn(&err))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Report::parse(&output.stderr).failure(output.status))
    }

    /// Change a network interface of a container that runs under libcrun.
    pub(crate) async fn plug(
        &self,
        vmid: Vmid,
        key: &str,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<(), RuntimeError> {
        let mut command = self.command("net", vmid);
        command.arg(key);
        command.args(old.map(|old| format!("--old={old}")));
        command.args(new.map(|new| format!("--new={new}")));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(PLUG_TIMEOUT, command.output()).await;
        let late = |_| RuntimeError::Failed("the change takes too long".to_owned());
        let output = output.map_err(late)?.map_err(|err| self.cannot_spawn(&err))?;
        changed(vmid, &output)
    }

    /// Give a container that runs one more mount point. Blocks for as long as a mount takes.
    pub(crate) fn mount(&self, vmid: Vmid, key: &str, value: &str) -> Result<(), RuntimeError> {
        let mut command = self.command("mount", vmid).into_std();
        command.args(["--key", key, "--value", value]).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|err| self.cannot_spawn(&err))?;
        changed(vmid, &output)
    }

    /// What this host can run, as the monitor finds it.
    pub(crate) async fn probe(&self) -> Result<serde_json::Value, RuntimeError> {
        let mut command = self.bare();
        command.arg("--probe").stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = tokio::time::timeout(PROBE_TIMEOUT, command.output()).await;
        let output =
            output.map_err(|_| RuntimeError::Failed("the probe takes too long".to_owned()))?;
        let output = output.map_err(|err| self.cannot_spawn(&err))?;
        if !output.status.success() {
            let report = Report::parse(&output.stderr);
            let failed = || self.unusable(report.cause(output.status), None);
            return Err(report.missing().map_or_else(failed, RuntimeError::Unusable));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|err| RuntimeError::Failed(format!("the probe's answer is no JSON: {err}")))
    }

    /// Unpack into the volumes that the container's config names. `started` is told the worker's
    /// pid before anything else happens, so that a later daemon can end it.
    pub(crate) async fn unpack(
        &self,
        vmid: Vmid,
        what: &Unpacking,
        log: &TaskLog,
        cancel: &CancellationToken,
        started: impl FnOnce(u32) -> io::Result<()>,
    ) -> Result<Unpacked, RuntimeError> {
        let mut command = self.command("unpack", vmid);
        command.arg("--archive").arg(&what.archive).kill_on_drop(true);
        if what.ignore_errors {
            command.arg("--ignore-errors");
        }
        if what.image {
            command.arg("--image");
        }
        if let Some(limit) = what.bwlimit {
            command.arg("--bwlimit").arg(limit.to_string());
        }
        let secrets = what.setup.as_ref().map(serde_json::to_vec).transpose();
        let secrets = secrets.map_err(|err| RuntimeError::io("unpack", err.into()))?;
        if secrets.is_some() {
            command.arg("--setup").stdin(Stdio::piped());
        } else if what.backup.is_some() {
            command.arg("--backup").stdin(Stdio::piped());
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|err| self.cannot_spawn(&err))?;
        let io_error = |err| RuntimeError::io("unpack", err);
        if let Some(pid) = child.id() {
            started(pid).map_err(io_error)?;
        }
        let told = secrets.as_ref().or(what.backup.as_ref());
        if let (Some(bytes), Some(mut stdin)) = (told, child.stdin.take()) {
            // One that ended already says on stderr why.
            match stdin.write_all(bytes).await {
                Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(io_error(err)),
                Ok(()) | Err(_) => {}
            }
        }
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let mut stderr = child.stderr.take().expect("it was asked for as a pipe");
        let reading = async {
            let (mut unpacked, mut image) = (Unpacked::default(), None);
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                if let Some(found) = detected(&line) {
                    unpacked = found;
                } else if let Some(found) = line.strip_prefix("IMAGE ") {
                    image = Some(serde_json::from_str(found)?);
                } else {
                    log.line(line.as_str());
                }
            }
            Ok::<_, io::Error>(Unpacked { image, ..unpacked })
        };
        let mut words = Vec::new();
        let talking = stderr.read_to_end(&mut words);
        let both = async { tokio::join!(reading, talking) };
        let (unpacked, talked) = tokio::select! {
            both = both => both,
            () = cancel.cancelled() => {
                child.kill().await.map_err(io_error)?;
                return Err(RuntimeError::Cancelled);
            }
        };
        talked.map_err(io_error)?;
        let status = child.wait().await.map_err(io_error)?;
        let report = Report::parse(&words);
        for warning in &report.warnings {
            log.warn(warning.as_str());
        }
        if !status.success() {
            return Err(RuntimeError::Failed(report.cause(status)));
        }
        unpacked.map_err(io_error)
    }

    /// Write what `job` says. It dies with the thread that waits for it; the file it began is the
    /// caller's to remove.
    pub(crate) async fn archive(
        &self,
        vmid: Vmid,
        job: &ArchiveJob,
        hear: &(dyn Fn(Said<'_>) + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let monitor = self.command("archive", vmid);
        let mut command = Self::polite(job.ionice);
        command.arg(monitor.as_std().get_program()).args(monitor.as_std().get_args());
        command.arg("--output").arg(&job.output);
        command.args(["--compress", packing(job.compress)]);
        command.args(job.threads.map(|threads| format!("--threads={threads}")));
        command.arg(format!("--bwlimit={}", job.bwlimit));
        command.args(job.snapshot.iter().map(|name| format!("--snapshot={name}")));
        command.args(job.exclude.iter().map(|pattern| format!("--exclude={pattern}")));
        command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|err| self.cannot_spawn(&err))?;
        let io_error = |err| RuntimeError::io("archive", err);
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let mut stderr = child.stderr.take().expect("it was asked for as a pipe");
        let reading = async {
            let mut lines = BufReader::new(stdout).lines();
            while let Some(line) = lines.next_line().await? {
                hear(Said::Line(&line));
            }
            Ok::<_, io::Error>(())
        };
        let mut words = Vec::new();
        let talking = stderr.read_to_end(&mut words);
        let both = async { tokio::join!(reading, talking) };
        let (read, talked) = tokio::select! {
            both = both => both,
            () = cancel.cancelled() => {
                child.kill().await.map_err(io_error)?;
                return Err(RuntimeError::Cancelled);
            }
        };
        talked.map_err(io_error)?;
        read.map_err(io_error)?;
        let status = child.wait().await.map_err(io_error)?;
        let report = Report::parse(&words);
        for warning in &report.warnings {
            hear(Said::Warning(warning));
        }
        if status.success() { Ok(()) } else { Err(RuntimeError::Failed(report.cause(status))) }
    }

    /// Runs what follows on its command line with this I/O priority. Where the kernel has none, that
    /// is no reason not to run it.
    fn polite(priority: u64) -> Command {
        let mut command = clean("ionice".as_ref());
        match priority {
            ..8 => command.args(["-t", "-c2", "-n"]).arg(priority.to_string()),
            8.. => command.args(["-t", "-c3"]),
        };
        command
    }

    fn cannot_spawn(&self, err: &io::Error) -> RuntimeError {
        let program = self.program.display();
        if err.kind() == io::ErrorKind::NotFound {
            // Also what the kernel says of a program whose loader is missing.
            let why = format!("the container runtime is missing: '{program}' does not exist");
            return self.unusable(why, Some(OWN_PACKAGE));
        }
        self.unusable(format!("the container runtime '{program}' cannot be started: {err}"), None)
    }

    fn unusable(&self, why: String, package: Option<&'static str>) -> RuntimeError {
        let what = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        RuntimeError::Unusable(Missing { what, why, package })
    }
}

/// What a running container was given, or why not.
fn changed(vmid: Vmid, output: &Output) -> Result<(), RuntimeError> {
    let report = Report::parse(&output.stderr);
    for warning in &report.warnings {
        tracing::warn!(guest.vmid = %vmid, "CT {vmid}: {warning}");
    }
    if output.status.success() {
        return Ok(());
    }
    Err(RuntimeError::Failed(report.cause(output.status)))
}

/// Nothing of ours goes with it: std opens every descriptor close-on-exec.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// As the monitor takes it.
fn packing(compress: Compress) -> &'static str {
    match compress {
        Compress::None => "none",
        Compress::Gzip => "gzip",
        Compress::Zstd => "zstd",
        Compress::Lzo => "lzo",
    }
}

/// `DETECTED ostype=debian arch=amd64`
fn detected(line: &str) -> Option<Unpacked> {
    let words = line.strip_prefix("DETECTED ")?;
    let of = |key: &str| {
        let value =
            words.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    Some(Unpacked { ostype: of("ostype"), arch: of("arch"), image: None })
}

/// PVE's name for what this daemon was built for.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "riscv32" => "riscv32",
        "riscv64" => "riscv64",
        _ => "amd64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(program: &Path, root: &Path) -> Monitor {
        Monitor::new(program.to_owned(), Root::new(root).unwrap(), "pve1".parse().unwrap())
    }

    #[test]
    fn takes_what_the_monitor_detected() {
        let found = detected("DETECTED ostype=alpine arch=amd64").unwrap();
        assert_eq!(
            (found.ostype.as_deref(), found.arch.as_deref()),
            (Some("alpine"), Some("amd64"))
        );
        assert_eq!(detected("DETECTED ostype="), Some(Unpacked::default()));
        assert_eq!(detected("usr/bin/DETECTED "), None);
    }

    #[tokio::test]
    async fn a_missing_program_names_its_package() {
        let dir = tempfile::tempdir().unwrap();

        let err = monitor(&dir.path().join("none"), dir.path()).probe().await.unwrap_err();

        assert!(matches!(err, RuntimeError::Unusable(_)));
        assert!(err.to_string().ends_with("install the package proxmox-lxcri"), "{err}");
        assert_eq!(err.to_string().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_failed_cleanup_says_the_last_line() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("monitor");
        fs_err::write(&program, "#!/bin/sh\necho first >&2\necho \"cannot $1 $6\" >&2\nexit 3\n")
            .unwrap();
        fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();

        let err = monitor(&program, dir.path()).cleanup("101".parse().unwrap()).await.unwrap_err();

        assert_eq!(err.to_string(), "cannot cleanup 101");
    }
}
