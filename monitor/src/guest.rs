//! Which container this process works for, and the names that follow from it.

use std::path::PathBuf;

use lxc_protocol::client::Client;
use lxc_protocol::server::Listener;
use lxc_protocol::wire::Message;
use openapi::{NodeName, Vmid};
use pve_integration::bundle::Surroundings;
use pve_integration::layout::Root;
use rustix::process::Pid;

use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) root: Root,
    pub(crate) node: NodeName,
    pub(crate) vmid: Vmid,
    /// Whoever started it wants to hear all that the runtime says.
    pub(crate) debug: bool,
}

impl Guest {
    /// Its name for libcrun and for LXC's tools.
    pub(crate) fn name(&self) -> String {
        self.vmid.to_string()
    }

    pub(crate) fn config_json(&self) -> PathBuf {
        self.root.bundle(self.vmid).join("config.json")
    }

    /// The cgroup that carries the limits: what is left when the container is gone, and removed.
    pub(crate) fn limit_cgroup(&self) -> String {
        format!("{}/{}", self.root.cgroup_parent(), self.vmid)
    }

    /// Where `lxc-start` itself runs.
    pub(crate) fn monitor_cgroup(&self) -> String {
        pve_integration::lxc::monitor_cgroup(&self.limit_cgroup())
    }

    /// Its first process, as its supervisor says it is. By the time the number is used it may be another's:
    /// whoever opened something by it asks once more.
    pub(crate) fn init(&self) -> Result<Pid> {
        let pid = Client::new(&self.root.lxc_path(), &self.name()).init_pid().ok();
        pid.and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(Error::NotRunning(self.vmid))
    }

    /// What a start finds here.
    pub(crate) fn surroundings(&self) -> Result<Surroundings> {
        Ok(Surroundings::read(&self.root, &self.node, self.vmid)?)
    }

    /// Take the command socket, which makes us the only monitor of this container.
    pub(crate) fn bind(&self) -> Result<Listener> {
        let listener = self.bind_command()?;
        // Between two lives of a container that LXC runs nobody else has the socket.
        let guard = self.bind_guard()?;
        drop(guard);
        Ok(listener)
    }

    pub(crate) fn bind_command(&self) -> Result<Listener> {
        let bound = Listener::bind(&self.root.lxc_path(), &self.name());
        bound.map_err(|err| self.not_bound(err))
    }

    /// For a container whose command socket is `lxc-start`'s.
    pub(crate) fn bind_guard(&self) -> Result<Listener> {
        let bound = Listener::bind_guard(&self.root.lxc_path(), &self.name());
        bound.map_err(|err| self.not_bound(err))
    }

    fn not_bound(&self, err: lxc_protocol::server::Error) -> Error {
        use lxc_protocol::server::Error::AlreadyRunning;

        if matches!(err, AlreadyRunning) {
            Error::AlreadyRunning(self.vmid)
        } else {
            Error::Socket(err)
        }
    }

    /// Tell `lxc-monitord`. That it cannot be told changes nothing for the container.
    pub(crate) fn announce(&self, message: &Message) {
        if let Err(err) = lxc_protocol::notify::send(&self.root.lxc_path(), &self.name(), message) {
            warn("lxc-monitord", &err.to_string());
        }
    }
}

/// Lines on standard error that the daemon passes on to the task's log. None becomes a warning.
pub(crate) fn tell(text: &str) {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: String = lines.map(|line| format!("DEBUG: {line}\n")).collect();
    // As of a warning.
    std::io::Write::write_all(&mut std::io::stderr(), lines.as_bytes()).ok();
}

/// A line on standard error that the daemon turns into a task warning.
pub(crate) fn warn(key: &str, reason: &str) {
    // Standard error is a file of the daemon's; if it cannot take the line, nobody can be told.
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("WARN: {key}: {reason}\n").as_bytes(),
    )
    .ok();
}
