//! Running what PVE answers with a UPID. Each task has a thread of its own, whose number and start
//! time are in the UPID, so that the files tell who lives by PVE's own rule, also after we died.
//! The files themselves are `pve_integration::tasks`'; what a task does is its caller's.
//!
//! The order is: log, list of active tasks, UPID to the client, work, last line, index, end. A
//! daemon that dies in between leaves a log without a last line, which the next one indexes as
//! `unexpected status`.

mod log;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use openapi::{AuthId, InvalidUpid, NodeName, Upid};
use pve_integration::layout::Root;
use pve_integration::tasks::{Filter, List, LogPage, TaskDir, process};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub use self::log::TaskLog;

/// How long PVE waits between asking a worker to end and killing it.
const ASK: Duration = Duration::from_secs(5);
/// How long a cancelled task may clean up before it is dropped where it stands.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Each is a thread; nobody has as many containers to start at once.
const MOST: usize = 1000;

/// What became of a task that was asked for, or asked about.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error("the daemon is shutting down")]
    ShuttingDown,
    #[error("too many tasks are running")]
    TooMany,
    #[error(transparent)]
    Upid(#[from] InvalidUpid),
    #[error("starting worker failed: {0}")]
    Start(#[source] io::Error),
    /// PVE's answer is a parameter error of `upid`.
    #[error("no such task")]
    NoSuchTask,
    #[error("the task runs in another process, {0}, which may do other things as well")]
    Foreign(u32),
    #[error("unable to signal the worker: {0}")]
    Signal(#[source] io::Error),
}

/// What `GET tasks/UPID/status` tells beyond the UPID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    Running,
    /// With PVE's `exitstatus`.
    Stopped(String),
}

/// The daemon's tasks, and the files that also have other programs'.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    dir: TaskDir,
    node: NodeName,
    clean_up: Duration,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    closed: bool,
    tasks: HashMap<Upid, Worker>,
}

/// What others hold of a running task.
#[derive(Clone)]
struct Worker {
    cancel: CancellationToken,
    /// Cancelled when the task is in the index.
    ended: CancellationToken,
}

impl Tasks {
    /// Ends what a daemon before this one left behind.
    pub fn new(root: &Root, node: NodeName) -> Self {
        Self::with_clean_up(root, node, CLEAN_UP)
    }

    fn with_clean_up(root: &Root, node: NodeName, clean_up: Duration) -> Self {
        let dir = TaskDir::new(root);
        if let Err(err) = dir.refresh() {
            tracing::error!(error = %err, "cannot read which tasks were running: {err}");
        }
        Self(Arc::new(Inner { dir, node, clean_up, running: Mutex::default() }))
    }

    /// Run `work` as a task of `who` and give its UPID at once. `work` is told to end by the token
    /// and should then return an error, having undone what it did; what it returns is the last line
    /// of the log. Blocks for less than a millisecond. To be called within a runtime.
    pub fn spawn<W, F, E>(
        &self,
        kind: &str,
        id: &str,
        who: &AuthId,
        work: W,
    ) -> Result<Upid, TaskError>
    where
        W: FnOnce(TaskLog, CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let runtime = Handle::current();
        let (tell, told) = mpsc::sync_channel(1);
        let (inner, name) = (Arc::clone(&self.0), format!("task {kind}"));
        let (kind, id, who) = (kind.to_owned(), id.to_owned(), who.to_string());
        let thread =
            thread::Builder::new().name(name).spawn(move || match inner.begin(&kind, &id, &who) {
                Err(err) => drop(tell.send(Err(err))),
                Ok(begun) => {
                    drop(tell.send(Ok(begun.upid.clone())));
                    let outcome = begun.run(&runtime, work);
                    inner.end(begun, &outcome);
                }
            });
        thread.map_err(TaskError::Start)?;
        let gone = || TaskError::Start(io::ErrorKind::BrokenPipe.into());
        told.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// Whether there is such a task, ours or not, running or not.
    pub fn exists(&self, upid: &Upid) -> bool {
        self.0.dir.exists(upid)
    }

    pub fn status(&self, upid: &Upid) -> Result<TaskState, TaskError> {
        if !self.exists(upid) {
            return Err(TaskError::NoSuchTask);
        }
        if self.0.running().tasks.contains_key(upid) || worker::runs_elsewhere(upid) {
            return Ok(TaskState::Running);
        }
        Ok(TaskState::Stopped(self.0.dir.exit_status(upid)))
    }

    /// A page of the log; reads a file, so not for an async thread. See `TaskDir::log`.
    pub fn log(&self, upid: &Upid, start: u64, limit: u64) -> LogPage {
        self.0.dir.log(upid, start, limit)
    }

    /// Reads files, so not for an async thread.
    pub fn list(&self, filter: &Filter) -> io::Result<List> {
        self.0.dir.list(filter)
    }

    /// The task whose worker is a child of this process: that which a command of PVE's works as.
    /// Reads files, so not for an async thread.
    pub(crate) fn of_parent(&self, pid: u32) -> Option<Upid> {
        let active = self.0.dir.active().ok()?;
        let ours = |upid: &Upid| {
            let worker = process(upid.pid());
            worker.is_some_and(|worker| worker.start == upid.pstart() && worker.parent == pid)
        };
        active.into_iter().map(|entry| entry.upid).find(ours)
    }

    /// Kill what is left of another program's task.
    pub(crate) fn kill(&self, upid: &Upid) -> Result<(), TaskError> {
        worker::kill_elsewhere(upid)
    }

    /// Tell a task to end, and wait for it as long as PVE does. That it has ended before is no error.
    pub async fn abort(&self, upid: &Upid) -> Result<(), TaskError> {
        if !self.exists(upid) {
            return Err(TaskError::NoSuchTask);
        }
        let worker = self.0.running().tasks.get(upid).cloned();
        match worker {
            Some(worker) => {
                worker.cancel.cancel();
                drop(tokio::time::timeout(ASK, worker.ended.cancelled()).await);
                Ok(())
            }
            None => worker::abort_elsewhere(upid, ASK).await,
        }
    }

    /// Wait for one of our own tasks; whether it has ended.
    pub async fn wait(&self, upid: &Upid, patience: Duration) -> bool {
        let worker = self.0.running().tasks.get(upid).cloned();
        match worker {
            Some(worker) => tokio::time::timeout(patience, worker.ended.cancelled()).await.is_ok(),
            None => true,
        }
    }

    /// Take no more tasks, wait for those that run, then tell the rest to end and wait again, half
    /// as long. What still runs then dies with the process.
    pub async fn shutdown(&self, patience: Duration) {
        let workers: Vec<_> = {
            let mut running = self.0.running();
            running.closed = true;
            running.tasks.values().cloned().collect()
        };
        let all_ended = async || {
            for worker in &workers {
                worker.ended.cancelled().await;
            }
        };
        if tokio::time::timeout(patience, all_ended()).await.is_ok() {
            return;
        }
        for worker in &workers {
            worker.cancel.cancel();
        }
        if tokio::time::timeout(patience / 2, all_ended()).await.is_err() {
            let left = self.0.running().tasks.len();
            tracing::warn!(task.count = left, "{left} tasks did not end in time");
        }
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing is done under the lock that could leave the map half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
