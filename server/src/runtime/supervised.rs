//! Containers under our own monitor, one process each, whichever runtime is below it. The monitor is
//! the parent of the container's init, or of `lxc-start`, and cleans up after it; the daemon cleans up
//! only after a monitor that could not.

mod service;

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lxc_protocol::State;
use lxc_protocol::client::{Client, Error as ClientError};
use openapi::Vmid;
use pve_integration::layout::Root;
use pve_integration::lxc::monitor_cgroup;
use pve_integration::oci_config::RuntimeKind;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, pidfd_send_signal};
use rustix_libc_wrappers::process::SignalExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::monitor::How;
use super::monitors::Monitors;
use super::units::Units;
use super::{RuntimeError, Shutdown};
use crate::tasks::TaskLog;
use crate::turns::Turns;

/// From the call of the monitor to a running container.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGKILL for init to a monitor that has cleaned up and gone.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);
/// A monitor closes its connections and its listener at its exit, in any order.
const GONE_TIMEOUT: Duration = Duration::from_secs(2);
const GONE_POLL: Duration = Duration::from_millis(5);
/// A connection may also end before its monitor; then look again.
const REWATCH: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Supervised(Arc<Shared>);

struct Shared {
    monitors: Monitors,
    /// How monitors are started where systemd does it.
    units: Option<Units>,
    root: Root,
    /// PVE runs containers beside ours, under the same names.
    on_pve: bool,
    /// One start or clean-up of a container at a time: a clean-up would kill what a start just made.
    turns: Turns,
    /// Containers that are being cleaned up after.
    cleaning: Mutex<HashSet<Vmid>>,
    /// Containers whose supervisor is gone, and who wants to know.
    ended: mpsc::UnboundedSender<Vmid>,
    ends: Mutex<Option<mpsc::UnboundedReceiver<Vmid>>>,
}

/// While it lives, its container is one that is cleaned up after.
struct Cleaning<'a>(&'a Shared, Vmid);

impl<'a> Cleaning<'a> {
    fn new(shared: &'a Shared, vmid: Vmid) -> Self {
        shared.cleaning.lock().expect("nothing panics while it holds the lock").insert(vmid);
        Self(shared, vmid)
    }
}

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        self.0.cleaning.lock().expect("nothing panics while it holds the lock").remove(&self.1);
    }
}

impl Supervised {
    pub(crate) fn new(monitors: Monitors, root: Root, on_pve: bool) -> Self {
        let units = monitors.units();
        let (turns, cleaning) = (Turns::default(), Mutex::default());
        let (ended, ends) = mpsc::unbounded_channel();
        let ends = Mutex::new(Some(ends));
        Self(Arc::new(Shared { monitors, units, root, on_pve, turns, cleaning, ended, ends }))
    }

    /// Each container that ends from now on, in peace or not. For one who asks first.
    pub(crate) fn ends(&self) -> Option<mpsc::UnboundedReceiver<Vmid>> {
        self.0.ends.lock().expect("nothing panics while it holds the lock").take()
    }

    fn client(&self, vmid: Vmid) -> Client {
        Client::new(&self.0.root.lxc_path(), &vmid.to_string())
    }

    /// Whether somebody supervises it: a connection, no question asked.
    fn is_supervised(&self, vmid: Vmid) -> bool {
        self.connect(vmid).is_ok()
    }

    /// To a container's monitor: where LXC runs the container, that is not who answers commands.
    fn connect(&self, vmid: Vmid) -> rustix::io::Result<OwnedFd> {
        let command = lxc_protocol::socket_name(&self.0.root.lxc_path(), &vmid.to_string());
        self.guard(vmid).or_else(|_| connect(&command))
    }

    /// Whether somebody has its command socket.
    fn answers(&self, vmid: Vmid) -> bool {
        let name = lxc_protocol::socket_name(&self.0.root.lxc_path(), &vmid.to_string());
        connect(&name).is_ok()
    }

    fn guard(&self, vmid: Vmid) -> rustix::io::Result<OwnedFd> {
        connect(&lxc_protocol::guard_name(&self.0.root.lxc_path(), &vmid.to_string()))
    }

    /// What runs a container that runs.
    pub(crate) fn runtime_of(&self, vmid: Vmid) -> RuntimeKind {
        let lxc = self.guard(vmid).is_ok() || self.runs_for_pve(vmid);
        if lxc { RuntimeKind::Lxc } else { RuntimeKind::Crun }
    }

    /// Whether it is PVE that runs it: somebody answers for it who is none of our monitors.
    pub(crate) fn runs_for_pve(&self, vmid: Vmid) -> bool {
        self.0.on_pve
            && !self.libcrun_knows(vmid)
            && self.guard(vmid).is_err()
            && self.answers(vmid)
    }

    /// libcrun keeps this from before a container's first process until after its last.
    fn libcrun_knows(&self, vmid: Vmid) -> bool {
        self.0.root.libcrun_state().join(vmid.to_string()).exists()
    }

    pub(crate) fn units(&self) -> Option<&Units> {
        self.0.units.as_ref()
    }

    pub(super) fn monitors(&self) -> &Monitors {
        &self.0.monitors
    }

    /// What only a monitor that was killed leaves behind.
    fn has_leftovers(&self, vmid: Vmid) -> bool {
        if self.libcrun_knows(vmid) {
            return true;
        }
        if self.0.on_pve {
            // Cgroups of these names are PVE's as well, and their processes are not ours to kill.
            return false;
        }
        let cgroup = format!("{}/{vmid}", self.0.root.cgroup_parent());
        let cgroups = [monitor_cgroup(&cgroup), cgroup];
        let hierarchies = ["", "unified", "memory", "pids", "cpu"];
        hierarchies.iter().any(|name| {
            let mount = self.0.root.cgroups().join(name);
            cgroups.iter().any(|cgroup| mount.join(cgroup).is_dir())
        })
    }

    /// Remove what a dead monitor left of this container, if nobody supervises it now.
    pub(crate) async fn sweep(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let _turn = self.0.turns.take(vmid).await;
        if self.is_supervised(vmid) || !self.has_leftovers(vmid) {
            return Ok(());
        }
        tracing::warn!(guest.vmid = %vmid, "monitor of CT {vmid} died, cleaning up after it");
        self.cleanup(vmid).await
    }

    async fn cleanup(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let _cleaning = Cleaning::new(&self.0, vmid);
        self.0.monitors.cleanup(vmid, self.libcrun_knows(vmid)).await
    }

    /// Whether a dead monitor is cleaned up after. Whoever does that holds the container's command
    /// socket, so that no start comes in between; it does not run for all that.
    pub(crate) fn is_cleaning(&self, vmid: Vmid) -> bool {
        self.0.cleaning.lock().expect("nothing panics while it holds the lock").contains(&vmid)
    }

    async fn sweep_logged(&self, vmid: Vmid) {
        if let Err(err) = self.sweep(vmid).await {
            tracing::error!(guest.vmid = %vmid, error = %err, "cannot clean up after CT {vmid}: {err}");
        }
    }

    /// Watch a monitor that an earlier daemon started: a connection that says nothing stays open for
    /// as long as the monitor lives. One descriptor and a sleeping task each.
    pub(crate) fn adopt(&self, vmid: Vmid) {
        let supervised = self.clone();
        tokio::spawn(async move {
            while let Ok(socket) = supervised.connect(vmid) {
                wait_closed(socket).await;
                tokio::time::sleep(REWATCH).await;
            }
            supervised.ended(vmid).await;
        });
    }

    /// Reap a monitor that we started. It lives on when we end.
    fn reap(&self, vmid: Vmid, mut child: Child) {
        let supervised = self.clone();
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) => {
                    tracing::info!(guest.vmid = %vmid, "monitor of CT {vmid} ended: {status}")
                }
                Err(err) => {
                    tracing::error!(guest.vmid = %vmid, error = %err, "cannot wait for the monitor of CT {vmid}: {err}")
                }
            }
            supervised.ended(vmid).await;
        });
    }

    async fn ended(&self, vmid: Vmid) {
        // A monitor that ends in peace has removed all it made.
        if self.has_leftovers(vmid) {
            self.sweep_logged(vmid).await;
        }
        self.0.ended.send(vmid).ok(); // nobody may want to know
    }

    /// Run a blocking call of the command protocol off the runtime's threads.
    async fn ask<T: Send + 'static>(
        &self,
        vmid: Vmid,
        call: impl FnOnce(&Client) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let client = self.client(vmid);
        let answer = tokio::task::spawn_blocking(move || call(&client)).await;
        answer.unwrap_or_else(|err| Err(ClientError::Io(std::io::Error::other(err))))
    }

    /// After the last answer: until the names are free for the next monitor. One that is no more than
    /// `lxc-start`'s parent has still to clean up by then.
    async fn wait_gone(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let gone = async {
            while self.is_supervised(vmid) {
                tokio::time::sleep(GONE_POLL).await;
            }
        };
        let timeout = if self.guard(vmid).is_ok() { STOP_TIMEOUT } else { GONE_TIMEOUT };
        tokio::time::timeout(timeout, gone).await.map_err(|_| RuntimeError::DidNotStop)
    }

    async fn wait_running(&self, vmid: Vmid, stdout: ChildStdout) -> Option<u32> {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(pid) = line.strip_prefix("RUNNING ").and_then(|pid| pid.trim().parse().ok())
            {
                return Some(pid);
            }
            tracing::debug!(guest.vmid = %vmid, "monitor of CT {vmid}: {line}");
        }
        None
    }

    /// End a monitor that must not go on, and what it made.
    async fn give_up(&self, vmid: Vmid, mut child: Child) {
        if let Err(err) = child.kill().await {
            tracing::error!(guest.vmid = %vmid, error = %err, "cannot kill the monitor of CT {vmid}: {err}");
        }
        if let Err(err) = self.cleanup(vmid).await {
            tracing::error!(guest.vmid = %vmid, error = %err, "cannot clean up after CT {vmid}: {err}");
        }
    }

    fn tell(&self, vmid: Vmid, log: &TaskLog, with_lines: bool) {
        self.0.monitors.lxc.report(vmid).tell(log, with_lines);
    }

    async fn kill(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        match self.ask(vmid, |client| client.stop(STOP_TIMEOUT)).await {
            // Gone already: what was wanted.
            Ok(()) | Err(ClientError::NotRunning) => self.wait_gone(vmid).await,
            Err(ClientError::TimedOut) => Err(RuntimeError::DidNotStop),
            Err(err) => Err(RuntimeError::command(vmid, err)),
        }
    }
}

impl Supervised {
    /// Returns when the container runs; its monitor lives on without us. Whoever fails or is cancelled
    /// leaves nothing of the container running.
    pub(super) async fn start(
        &self,
        vmid: Vmid,
        how: &How,
        log: &TaskLog,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let _turn = self.0.turns.take(vmid).await;
        if self.is_supervised(vmid) {
            // One whose container has just ended may still clean up.
            let ending = !self.answers(vmid) && self.wait_gone(vmid).await.is_ok();
            if !ending {
                return Err(RuntimeError::AlreadyRunning(vmid));
            }
        }
        let unit =
            self.0.units.as_ref().and_then(|units| Some((units, units.of_guest(vmid, how)?)));
        if let Some((units, unit)) = unit {
            return self.start_unit(units, unit, how, log, cancel).await;
        }
        let mut child = self.0.monitors.of(how).spawn_run(vmid, how)?;
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let outcome = tokio::select! {
            pid = self.wait_running(vmid, stdout) => Ok(pid),
            () = tokio::time::sleep(START_TIMEOUT) => Err(RuntimeError::StartTimeout(START_TIMEOUT)),
            () = cancel.cancelled() => Err(RuntimeError::Cancelled),
        };
        match outcome {
            Ok(Some(_)) => {
                self.tell(vmid, log, true);
                self.reap(vmid, child);
                Ok(())
            }
            Ok(None) => {
                let status = child.wait().await.map_err(|err| RuntimeError::io("monitor", err))?;
                self.tell(vmid, log, how.debug);
                let cause = self.0.monitors.of(how).report(vmid).cause(status);
                if self.has_leftovers(vmid) && !self.is_supervised(vmid) {
                    self.cleanup(vmid).await?;
                }
                Err(RuntimeError::Failed(cause))
            }
            Err(err) => {
                self.tell(vmid, log, true);
                self.give_up(vmid, child).await;
                Err(err)
            }
        }
    }

    /// Kill it. Returns when the monitor has cleaned up.
    pub(crate) async fn stop(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        self.kill(vmid).await?;
        self.sweep(vmid).await
    }

    /// Ask it to end.
    pub(crate) async fn shutdown(
        &self,
        vmid: Vmid,
        how: Shutdown,
        cancel: &CancellationToken,
    ) -> Result<(), RuntimeError> {
        let pidfd = self.ask(vmid, Client::init_pidfd).await;
        let pidfd = pidfd.map_err(|err| RuntimeError::command(vmid, err))?;
        // systemd's wish to halt is a real-time signal, which rustix alone has no name for.
        let signal = Signal::from_raw(how.signal);
        let signal = signal.ok_or(RuntimeError::Signal(vmid, rustix::io::Errno::INVAL))?;
        pidfd_send_signal(pidfd, signal).map_err(|err| RuntimeError::Signal(vmid, err))?;
        let timeout = how.timeout;
        let waiting = self.ask(vmid, move |client| client.wait_for(&[State::Stopped], timeout));
        let ended = tokio::select! {
            ended = waiting => ended,
            () = cancel.cancelled() => return Err(RuntimeError::Cancelled),
        };
        match ended {
            Ok(_) | Err(ClientError::NotRunning) => self.wait_gone(vmid).await,
            Err(ClientError::TimedOut) if how.force => self.stop(vmid).await,
            Err(ClientError::TimedOut) => Err(RuntimeError::DidNotStop),
            Err(err) => Err(RuntimeError::command(vmid, err)),
        }
    }

    pub(crate) async fn suspend(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let done = self.ask(vmid, |client| client.freeze(FREEZE_TIMEOUT)).await;
        done.map_err(|err| RuntimeError::command(vmid, err))
    }

    pub(crate) async fn resume(&self, vmid: Vmid) -> Result<(), RuntimeError> {
        let done = self.ask(vmid, |client| client.unfreeze(FREEZE_TIMEOUT)).await;
        done.map_err(|err| RuntimeError::command(vmid, err))
    }
}

fn connect(name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    Ok(socket)
}

async fn wait_closed(socket: OwnedFd) {
    let Ok(mut stream) = UnixStream::from_std(socket.into()) else { return };
    let mut byte = [0];
    // Nothing was asked, so nothing but the end can come.
    while matches!(stream.read(&mut byte).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests;
