//! What is kept of a container on disk, and what can be told from it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use lxc_protocol::client::Client;
use oci_spec::runtime::{Hooks, Process, Spec};
use oci_verbs::ContainerId;
use pve_integration::lxc::from_bundle::{NewNode, monitor_cgroup};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::within;
use crate::cgroup::Cgroup;
use crate::crun::oci::error::{Error, Result};
use crate::crun::oci::show::{OCI_VERSION, Row};
use crate::error::During as _;

/// Below the state folder.
const FOLDER: &str = ".lxc";
/// What was decided at `create`.
const RECORD: &str = "record.json";
/// The bundle's, as it was then; where libcrun keeps it too.
const BUNDLE: &str = "config.json";
/// Where LXC's own tools look for it.
pub(super) const CONFIG: &str = "config";
pub(super) const SECCOMP: &str = "seccomp";
pub(super) const DEVICES: &str = "dev";
pub(super) const LOG: &str = "log";
/// Locked as long as there is a keeper.
const KEEPER: &str = "keeper";
/// Of the container's first process, once there is one.
const PID: &str = "pid";
/// Who made this file has started the container.
const STARTED: &str = "started";
/// Why its program did not come to run.
const FAILURE: &str = "failure";
/// Fifos: what the keeper says to `create`, LXC to the keeper, and `start` to LXC.
pub(super) const REPORT: &str = "report";
pub(super) const READY: &str = "ready";
pub(super) const GATE: &str = "gate";
/// What opens the gate. Anything else, and the container is not started.
const OPEN: &str = "open\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) cgroup: String,
    pub(super) created: String,
    pub(super) owner: Option<String>,
    /// `lxc-start`; its other programs are beside it.
    pub(super) lxc_start: PathBuf,
    pub(super) command: Vec<String>,
    pub(super) nodes: Vec<NewNode>,
}

#[derive(Debug)]
pub(crate) struct Container {
    id: String,
    folder: PathBuf,
    record: Record,
}

impl Container {
    /// All there are, by name.
    pub(crate) fn all(state_root: &Path) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(lxcpath(state_root)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Ok(id) = name.parse::<ContainerId>() {
                // One that is just being made or removed is none.
                found.extend(Self::find(state_root, &id)?);
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    pub(crate) fn find(state_root: &Path, id: &ContainerId) -> Result<Option<Self>> {
        Self::open(folder(state_root, id), id.as_str())
    }

    pub(super) fn open(folder: PathBuf, id: &str) -> Result<Option<Self>> {
        let path = folder.join(RECORD);
        let bytes = match fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let record =
            serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?;
        Ok(Some(Self { id: id.to_owned(), folder, record }))
    }

    /// In a folder that is there and new. From here on it is a container.
    pub(super) fn make(folder: &Path, id: &str, spec: &Value, record: Record) -> Result<Self> {
        for fifo in [REPORT, READY, GATE] {
            rustix::fs::mkfifoat(rustix::fs::CWD, folder.join(fifo), Mode::RUSR | Mode::WUSR)
                .during("cannot make a fifo")?;
        }
        private(&folder.join(KEEPER), b"")?;
        private(&folder.join(BUNDLE), spec.to_string().as_bytes())?;
        let text = serde_json::to_vec(&record).expect("a record is JSON");
        pve_integration::atomic::write(&folder.join(RECORD), 0o600, &text)?;
        Ok(Self { id: id.to_owned(), folder: folder.to_owned(), record })
    }

    pub(super) fn id(&self) -> String {
        self.id.clone()
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What LXC calls the folder of all its containers.
    pub(super) fn lxcpath(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.lxcpath(), &self.id)
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup> {
        cgroup_at(&self.record.cgroup)
    }

    pub(crate) fn status(&self) -> Result<Status> {
        if !self.is_kept()? {
            return Ok(Status::Stopped);
        }
        Ok(match self.pid() {
            None => Status::Creating,
            Some(_) if self.cgroup()?.is_frozen() => Status::Paused,
            Some(_) if self.is_held_back() => Status::Created,
            Some(_) => Status::Running,
        })
    }

    /// Its first process, unless that has ended.
    pub(super) fn init(&self) -> Option<Pid> {
        self.pid().filter(|_| self.is_kept().unwrap_or(false))
    }

    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(self.file(PID))
            .ok()
            .and_then(|text| Pid::from_raw(text.trim().parse().ok()?))
    }

    /// Before `start`.
    pub(super) fn is_held_back(&self) -> bool {
        !self.file(STARTED).exists()
    }

    fn is_kept(&self) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(self.file(KEEPER), flags, Mode::empty()) {
            // Somebody else removes the container, which is when its keeper has ended.
            Err(Errno::NOENT) => return Ok(false),
            file => file.during("cannot open the keeper's lock")?,
        };
        // Ours goes with the descriptor.
        Ok(flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// As its keeper, until what is returned is closed.
    pub(super) fn lock(&self) -> Result<std::os::fd::OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let what = "cannot lock the container";
        let file = rustix::fs::open(self.file(KEEPER), flags, Mode::empty()).during(what)?;
        // Somebody may look at this very moment.
        flock(&file, FlockOperation::LockExclusive).during(what)?;
        rustix::io::write(&file, std::process::id().to_string().as_bytes()).during(what)?;
        Ok(file)
    }

    /// One that does not end by itself. Held, so that its number is not another's by now.
    pub(super) fn kill_keeper(&self) -> Result<()> {
        let text = match fs::read_to_string(self.file(KEEPER)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if self.is_kept()? {
            // It may have ended by itself.
            pidfd_send_signal(&process, Signal::KILL).ok();
        }
        Ok(())
    }

    /// It is there, as this process, and held back.
    pub(super) fn write_pid(&self, pid: Pid) -> Result<()> {
        let digits = pid.as_raw_nonzero().to_string();
        Ok(pve_integration::atomic::write(&self.file(PID), 0o600, digits.as_bytes())?)
    }

    /// Once.
    pub(super) fn open_gate(&self) -> Result<()> {
        let mut once = std::fs::OpenOptions::new();
        match once.write(true).create_new(true).mode(0o600).open(self.file(STARTED)) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::NotCreated(self.id()));
            }
            made => drop(made?),
        }
        // The keeper has it open, so this neither waits nor is lost.
        let mut gate = std::fs::OpenOptions::new().read(true).write(true).open(self.file(GATE))?;
        Ok(gate.write_all(OPEN.as_bytes())?)
    }

    pub(super) fn fail(&self, reason: &str) -> Result<()> {
        private(&self.file(FAILURE), reason.as_bytes())
    }

    pub(super) fn failure(&self) -> Option<String> {
        fs::read_to_string(self.file(FAILURE)).ok()
    }

    pub(super) fn await_end(&self, patience: Duration) -> Result<()> {
        let ended = within(patience, || Ok(!self.is_kept()?))?;
        if ended { Ok(()) } else { Err(Error::Unkillable(self.id())) }
    }

    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            // Whoever was making it gives up too.
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
        // Others may be in it.
        fs::remove_dir(self.lxcpath()).ok();
        Ok(())
    }

    pub(super) fn spec(&self) -> Result<Spec> {
        let path = self.file(BUNDLE);
        serde_json::from_slice(&fs::read(&path)?).map_err(|source| Error::Json { path, source })
    }

    pub(super) fn process(&self) -> Result<Process> {
        self.spec()?.process().clone().ok_or_else(|| Error::NoProcess(self.id()))
    }

    pub(super) fn hooks(&self) -> Result<Option<Hooks>> {
        Ok(self.spec()?.hooks().clone())
    }

    pub(super) fn annotations(&self) -> Result<Map<String, Value>> {
        let all = self.spec()?.annotations().clone().unwrap_or_default();
        Ok(all.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// As hooks read it.
    pub(super) fn state_document(&self) -> Result<Value> {
        let row = self.row()?;
        Ok(json!({
            "ociVersion": OCI_VERSION,
            "id": row.id,
            "status": row.status,
            "pid": row.pid,
            "bundle": row.bundle,
            "annotations": self.annotations()?,
        }))
    }

    pub(crate) fn row(&self) -> Result<Row> {
        let status = self.status()?;
        let pid = self.pid().filter(|_| status != Status::Stopped);
        Ok(Row {
            id: self.id(),
            pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get()),
            status: status.word(),
            bundle: self.record.bundle.clone(),
            rootfs: self.record.rootfs.clone(),
            created: self.record.created.clone(),
            owner: self.record.owner.clone(),
        })
    }
}

/// Of a bundle, and that of its `lxc-start`.
pub(super) fn cgroup_at(path: &str) -> Result<Cgroup> {
    Ok(Cgroup::at(path.to_owned(), path.to_owned(), monitor_cgroup(path))?)
}

fn lxcpath(state_root: &Path) -> PathBuf {
    state_root.join(FOLDER)
}

pub(crate) fn folder(state_root: &Path, id: &ContainerId) -> PathBuf {
    lxcpath(state_root).join(id.as_str())
}

/// For root alone: an environment may hold secrets.
pub(super) fn private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file: File = options.open(path)?;
    Ok(file.write_all(bytes)?)
}

/// A shell command that says the pid of the container's first process, and waits for the gate.
pub(super) fn gate_command(folder: &Path) -> Result<String> {
    let quoted = |name: &str| -> Result<String> {
        let path = folder.join(name);
        Ok(shell_words::quote(path.to_str().ok_or(Error::NotText)?).into_owned())
    };
    let script = format!(
        "echo \"$LXC_PID\" >{} && read -r word <{} && test \"$word\" = {}",
        quoted(READY)?,
        quoted(GATE)?,
        OPEN.trim()
    );
    Ok(format!("sh -c {}", shell_words::quote(&script)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `create`, which gives up, and `delete --force` may do so at once.
    #[test]
    fn one_that_somebody_else_removes_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record {
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            cgroup: "c".to_owned(),
            created: String::new(),
            owner: None,
            lxc_start: "/usr/bin/lxc-start".into(),
            command: Vec::new(),
            nodes: Vec::new(),
        };
        let container = Container::make(dir.path(), "c1", &json!({}), record).unwrap();
        let lock = container.lock().unwrap();
        assert!(container.await_end(Duration::ZERO).is_err());

        fs::remove_dir_all(dir.path()).unwrap();

        container.await_end(Duration::ZERO).unwrap();
        container.kill_keeper().unwrap();
        drop(lock);
    }
}
