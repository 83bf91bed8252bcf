//! The operations on containers below one state folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use crate::error::{Error, Failure, Operation};
use crate::features::Features;
use crate::library::{Call, Context};
use crate::options::{Options, Verbosity};
use crate::status::Status;
use crate::stdio::Stdio;
use crate::worker::{self, Streams, Worker};

/// Where containers' state lies, and how long one call may take. Holds nothing else: any process of
/// the same user may operate on a container.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub state_root: PathBuf,
    pub timeout: Duration,
    pub verbosity: Verbosity,
    /// Leave cgroups alone.
    pub no_cgroup: bool,
}

/// A process that libcrun started for us.
#[derive(Debug)]
pub struct Process {
    pub pid: Pid,
    log: File,
}

impl Process {
    /// What libcrun printed in this process up to now: if the program could not be executed after
    /// all (a wrong architecture, say), the reason. The program itself cannot write here.
    pub fn log(&self) -> String {
        worker::text(&self.log)
    }
}

impl Runtime {
    /// `state_root` is made if need be; on a tmpfs it also caches compiled seccomp filters well.
    pub fn new(state_root: impl Into<PathBuf>) -> Self {
        Self {
            state_root: state_root.into(),
            timeout: Duration::from_secs(30),
            verbosity: Verbosity::default(),
            no_cgroup: false,
        }
    }

    /// Set up the container of `bundle`/config.json; its program waits for [`start`](Self::start).
    pub fn create(&self, id: &str, bundle: &Path, io: &Stdio) -> Result<Process, Error> {
        self.create_with(id, bundle, io, &Options::default(), false)
    }

    /// Both in one worker, which costs less than two. What `create` made stays if `start` fails.
    pub fn create_and_start(&self, id: &str, bundle: &Path, io: &Stdio) -> Result<Process, Error> {
        self.create_with(id, bundle, io, &Options::default(), true)
    }

    /// As [`create_and_start`](Self::create_and_start), with `between` called when the container's
    /// first process and its namespaces are there, and its program does not run yet. It is called in
    /// the worker, which has none of the caller's descriptors and ends soon: what it does to its own
    /// process has no effect on the caller, nor has what it does to its memory. An error's text is the
    /// message of a failure of the kind [`Kind::Caller`](crate::Kind::Caller).
    pub fn create_and_start_with(
        &self,
        id: &str,
        bundle: &Path,
        io: &Stdio,
        between: impl FnOnce(Pid) -> Result<(), String>,
    ) -> Result<Process, Error> {
        let operation = Operation::Create;
        self.create_then(id, bundle, io, &Options::default(), |call, pid| {
            let pid = Pid::from_raw(pid).ok_or_else(|| "libcrun reported no process".to_owned());
            pid.and_then(between).map_err(|message| Failure::of_caller(operation, message))?;
            call.start()
        })
    }

    /// As [`create`](Self::create), or with `start` [`create_and_start`](Self::create_and_start).
    pub fn create_with(
        &self,
        id: &str,
        bundle: &Path,
        io: &Stdio,
        options: &Options,
        start: bool,
    ) -> Result<Process, Error> {
        let then = |call: &mut Call<'_>, _| if start { call.start() } else { Ok(()) };
        self.create_then(id, bundle, io, options, then)
    }

    fn create_then(
        &self,
        id: &str,
        bundle: &Path,
        io: &Stdio,
        options: &Options,
        then: impl FnOnce(&mut Call<'_>, i32) -> Result<(), Failure>,
    ) -> Result<Process, Error> {
        let operation = Operation::Create;
        let config = options.config.as_deref().unwrap_or(Path::new("config.json"));
        let config = worker::c_path(operation, &bundle.join(config))?;
        let context = self.context(operation, id)?.console(io.console_socket.as_deref())?;
        let context = context.options(options);
        let (pid, log) = self.worker(operation, io, options).run_logged(|| {
            let mut call = context.open()?;
            let pid = call.create(bundle, &config)?;
            then(&mut call, pid)?;
            Ok(pid)
        })?;
        self.verbosity.tell(|| worker::text(&log));
        Ok(Process { pid: worker::pid(operation, pid)?, log })
    }

    pub fn start(&self, id: &str) -> Result<(), Error> {
        self.plain(Operation::Start, id, |context| context.open()?.start())
    }

    pub fn state(&self, id: &str) -> Result<Status, Error> {
        self.plain(Operation::State, id, |context| context.open()?.status())
    }

    /// Send a signal, by number, to the first process.
    pub fn kill(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.plain(Operation::Kill, id, |context| context.open()?.kill(signal))
    }

    /// Send a signal, by number, to every process of the container.
    pub fn kill_all(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.plain(Operation::Kill, id, |context| context.open()?.kill_all(signal))
    }

    /// Remove the container, its cgroup and state. With `force` a running one is killed first, and one
    /// that does not exist is no error.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        self.plain(Operation::Delete, id, |context| context.open()?.delete(force))
    }

    /// Run another process in the container, described by an OCI process object in the file `process`.
    /// It becomes the child of the nearest subreaper, which must reap it: an unreaped one keeps the
    /// container from ending.
    pub fn exec(&self, id: &str, process: &Path, io: &Stdio) -> Result<Process, Error> {
        self.exec_with(id, process, io, &Options::default())
    }

    /// Of the options only those about descriptors mean something here.
    pub fn exec_with(
        &self,
        id: &str,
        process: &Path,
        io: &Stdio,
        options: &Options,
    ) -> Result<Process, Error> {
        let operation = Operation::Exec;
        let context = self.context(operation, id)?.console(io.console_socket.as_deref())?;
        let context = context.options(options);
        let process = worker::c_path(operation, process)?;
        let worker = self.worker(operation, io, options);
        let (pid, log) = worker.run_logged(|| context.open()?.exec(&process))?;
        self.verbosity.tell(|| worker::text(&log));
        Ok(Process { pid: worker::pid(operation, pid)?, log })
    }

    /// Freeze every process. With cgroup v1 [`state`](Self::state) may say `Running` a little longer.
    pub fn pause(&self, id: &str) -> Result<(), Error> {
        self.plain(Operation::Pause, id, |context| context.open()?.pause())
    }

    pub fn resume(&self, id: &str) -> Result<(), Error> {
        self.plain(Operation::Resume, id, |context| context.open()?.resume())
    }

    /// Apply `resources`, the JSON of config.json's `linux.resources`. libcrun ignores values of the
    /// wrong JSON type without a word, so check them before.
    pub fn update(&self, id: &str, resources: &str) -> Result<(), Error> {
        let resources = worker::c_text(Operation::Update, resources)?;
        self.plain(Operation::Update, id, |context| context.open()?.update(&resources))
    }

    /// Every process in the container's cgroup and those below it.
    pub fn pids(&self, id: &str) -> Result<Vec<i32>, Error> {
        self.plain(Operation::Pids, id, |context| context.open()?.pids())
    }

    /// Every container below the state folder; one that vanishes meanwhile is left out.
    pub fn list(&self) -> Result<Vec<Status>, Error> {
        self.plain(Operation::List, "", |context| context.open()?.list())
    }

    /// What the linked library can do, independent of this host.
    pub fn features(&self) -> Result<Features, Error> {
        self.plain(Operation::Features, "", |context| context.open()?.features())
    }

    fn context(&self, operation: Operation, id: &str) -> Result<Context, Error> {
        Context::new(operation, self, id)
    }

    fn worker<'a>(&self, operation: Operation, io: &'a Stdio, options: &Options) -> Worker<'a> {
        Worker {
            operation,
            timeout: self.timeout,
            streams: Streams::Given(io),
            preserve: options.preserve_fds,
            keep_stderr: options.late_errors_to_stderr,
        }
    }

    fn plain<T>(
        &self,
        operation: Operation,
        id: &str,
        call: impl FnOnce(&Context) -> Result<T, Failure>,
    ) -> Result<T, Error>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        let context = self.context(operation, id)?;
        let (timeout, streams) = (self.timeout, Streams::Log);
        let worker = Worker { operation, timeout, streams, preserve: 0, keep_stderr: false };
        let (answer, log) = worker.run_logged(|| call(&context))?;
        self.verbosity.tell(|| worker::text(&log));
        Ok(answer)
    }
}
