//! The life of one worker: a thread of ours, or what we can see of a process that is not ours.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openapi::Upid;
use pve_integration::tasks::{Outcome, Process, is_running};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Inner, MOST, TaskError, TaskLog, Worker};

/// A task that is in the files and about to work.
pub(super) struct Begun {
    pub(super) upid: Upid,
    log: TaskLog,
    worker: Worker,
    clean_up: Duration,
}

impl Inner {
    /// On the task's own thread, as its number is part of the UPID.
    pub(super) fn begin(&self, kind: &str, id: &str, who: &str) -> Result<Begun, TaskError> {
        let this = Process::this_thread().ok_or_else(|| {
            TaskError::Start(io::Error::other("unable to read process start time"))
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (node, Process { pid, start, .. }) = (&self.node, this);
        let upid: Upid =
            format!("UPID:{node}:{pid:08X}:{start:08X}:{now:08X}:{kind}:{id}:{who}:").parse()?;
        let worker = Worker { cancel: CancellationToken::new(), ended: CancellationToken::new() };
        {
            let mut running = self.running();
            if running.closed {
                return Err(TaskError::ShuttingDown);
            }
            if running.tasks.len() >= MOST {
                return Err(TaskError::TooMany);
            }
            running.tasks.insert(upid.clone(), worker.clone());
        }
        match self.dir.create_log(&upid).and_then(|writer| self.list(&upid).map(|()| writer)) {
            Ok(writer) => {
                tracing::info!(task.upid = %upid, "task begins");
                let log = TaskLog::new(upid.clone(), writer);
                Ok(Begun { upid, log, worker, clean_up: self.clean_up })
            }
            Err(err) => {
                self.forget(&upid, &worker);
                Err(TaskError::Start(err))
            }
        }
    }

    fn list(&self, upid: &Upid) -> io::Result<()> {
        self.dir.begin(upid).inspect_err(|_| {
            // A log that no list mentions would only lie about.
            if let Err(err) = self.dir.remove_log(upid) {
                tracing::error!(error = %err, "cannot remove a task's log: {err}");
            }
        })
    }

    pub(super) fn end(&self, begun: Begun, outcome: &Outcome) {
        let Begun { upid, log, worker, .. } = begun;
        log.finish(outcome);
        if let Err(err) = self.dir.end(&upid, outcome) {
            tracing::error!(task.upid = %upid, error = %err, "cannot index a task: {err}");
        }
        tracing::info!(task.upid = %upid, task.status = %outcome, "task ends: {outcome}");
        self.forget(&upid, &worker);
    }

    fn forget(&self, upid: &Upid, worker: &Worker) {
        self.running().tasks.remove(upid);
        worker.ended.cancel();
    }
}

impl Begun {
    /// Blocks until the work is done, or until it was cancelled and did not end.
    pub(super) fn run<W, F, E>(&self, runtime: &Handle, work: W) -> Outcome
    where
        W: FnOnce(TaskLog, CancellationToken) -> F,
        F: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let (log, cancel) = (self.log.clone(), self.worker.cancel.clone());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let work = pin!(work(log, cancel.clone()));
                let patience = async {
                    cancel.cancelled().await;
                    tokio::time::sleep(self.clean_up).await;
                };
                tokio::select! {
                    biased;
                    ended = work => ended.map_err(|err| err.to_string()),
                    () = patience => Err("received interrupt".to_owned()), // PVE's words
                }
            })
        }));
        match ended {
            Ok(Ok(())) => self.log.success(),
            Ok(Err(text)) => Outcome::Error(text),
            Err(panic) => Outcome::Error(format!("internal error: {}", panic_text(panic.as_ref()))),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

/// The process a worker is part of. A thread's own number is another.
fn thread_group(pid: u32) -> Option<u32> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

/// Whether the worker lives and is none of ours: one of ours that has ended may take a moment to be
/// gone.
pub(super) fn runs_elsewhere(upid: &Upid) -> bool {
    is_running(upid.pid(), upid.pstart())
        && thread_group(upid.pid()).is_some_and(|group| group != process::id())
}

/// Ask the worker's process group to end, and kill it if it does not, as PVE does.
pub(super) async fn abort_elsewhere(upid: &Upid, patience: Duration) -> Result<(), TaskError> {
    if !runs_elsewhere(upid) {
        return Ok(());
    }
    match thread_group(upid.pid()) {
        Some(group) if group == upid.pid() => {}
        // A thread cannot be ended from outside without its whole process.
        Some(other) => return Err(TaskError::Foreign(other)),
        None => return Ok(()),
    }
    signal(upid, Signal::TERM)?;
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < patience {
        tokio::time::sleep(step).await;
        waited += step;
        if !is_running(upid.pid(), upid.pstart()) {
            return Ok(());
        }
    }
    signal(upid, Signal::KILL)
}

/// At once.
pub(super) fn kill_elsewhere(upid: &Upid) -> Result<(), TaskError> {
    if runs_elsewhere(upid) { signal(upid, Signal::KILL) } else { Ok(()) }
}

/// Only while the number still is the worker's.
fn signal(upid: &Upid, signal: Signal) -> Result<(), TaskError> {
    let worker = pve_integration::tasks::process(upid.pid());
    let Some(worker) = worker.filter(|worker| worker.start == upid.pstart()) else { return Ok(()) };
    let Some(pid) = i32::try_from(worker.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let sent = if worker.group == worker.pid {
        kill_process_group(pid, signal)
    } else {
        kill_process(pid, signal) // one that a shell started has the shell's group
    };
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(err) => Err(TaskError::Signal(err.into())),
    }
}
