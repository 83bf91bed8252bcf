//! What can go wrong with a call: libcrun's own errors, and those of the worker around it.

use std::fmt;
use std::io;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// What was asked of libcrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Create,
    Start,
    State,
    Kill,
    Delete,
    Exec,
    Pause,
    Resume,
    Update,
    List,
    Pids,
    Features,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::State => "state",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::Exec => "exec",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Update => "update",
            Self::List => "list",
            Self::Pids => "pids",
            Self::Features => "features",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// There is no container of that id.
    NotFound,
    AlreadyExists,
    /// It has exited, or was never started.
    NotRunning,
    /// It must be stopped first, or `delete` forced.
    StillRunning,
    Paused,
    /// The program is missing in the container, or is no executable file.
    Executable,
    /// The root filesystem named in the bundle is not there.
    RootFilesystem,
    /// config.json, a process file or a resources block cannot be read or parsed.
    Config,
    /// The worker was killed after [`Runtime::timeout`](crate::Runtime::timeout).
    TimedOut,
    /// The worker ended without an answer.
    Died,
    /// The calling process has more than one thread; nothing was tried.
    Threads,
    /// Another version of libcrun is linked than this program was built for.
    Version,
    /// The worker could not be set up; `status` is the errno.
    Worker,
    /// What the caller had done in the worker failed; `message` is its own.
    Caller,
    /// libcrun failed in another way: `status` and `message` tell.
    Failed,
}

/// A failed call. `status` is an errno or 0, `message` libcrun's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub operation: Operation,
    pub status: i32,
    pub message: String,
    /// What libcrun printed meanwhile; mostly the message again, sometimes the only explanation.
    pub log: String,
    kind: Kind,
}

impl Error {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn new(operation: Operation, kind: Kind, message: String) -> Self {
        Self { operation, status: 0, message, log: String::new(), kind }
    }

    pub(crate) fn with_log(self, log: String) -> Self {
        Self { log, ..self }
    }

    /// Around the call, not in it.
    pub(crate) fn worker(operation: Operation, what: &str, err: &io::Error) -> Self {
        let status = err.raw_os_error().unwrap_or(0);
        let message = if status == 0 { format!("{what}: {err}") } else { what.to_owned() };
        Self { status, ..Self::new(operation, Kind::Worker, message) }
    }

    /// From the failure a worker reported; without a message (failed hooks set none) the log's last
    /// line is the cause.
    pub(crate) fn from_failure(failure: Failure, log: String) -> Self {
        let Failure { operation, status, kind, message } = failure;
        let message = message.or_else(|| last_line(&log));
        let message = message.unwrap_or_else(|| "libcrun gave no reason".to_owned());
        let kind = kind.unwrap_or_else(|| classify(operation, status, &message));
        Self { operation, status, message, log, kind }
    }
}

impl Error {
    /// The message as libcrun's own program would show it: nothing before it, the errno's text behind.
    pub fn words(&self) -> String {
        // libcrun's "readlink ``" names nothing.
        let unnamed = self.kind == Kind::RootFilesystem;
        let message = if unnamed { "the root filesystem" } else { &self.message };
        match self.status {
            0 => message.to_owned(),
            errno => format!("{message}: {}", Errno::from_raw(errno).desc()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.words())
    }
}

impl std::error::Error for Error {}

/// A failure as it travels from worker to caller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) operation: Operation,
    pub(crate) status: i32,
    /// Unless libcrun's words are to decide.
    pub(crate) kind: Option<Kind>,
    pub(crate) message: Option<String>,
}

impl Failure {
    pub(crate) fn of_caller(operation: Operation, message: String) -> Self {
        Self { operation, status: 0, kind: Some(Kind::Caller), message: Some(message) }
    }

    pub(crate) fn worker(operation: Operation, what: &str, err: &io::Error) -> Self {
        let Error { status, message, .. } = Error::worker(operation, what, err);
        Self { operation, status, kind: Some(Kind::Worker), message: Some(message) }
    }
}

pub(crate) fn last_line(log: &str) -> Option<String> {
    log.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// libcrun has no error codes, so its words decide. The tests hold the words of the linked version.
fn classify(operation: Operation, status: i32, message: &str) -> Kind {
    let has = |part: &str| message.contains(part);
    if message.starts_with("container `") && has("` does not exist") {
        Kind::NotFound
    } else if message.starts_with("container `") && has("` already exists") {
        Kind::AlreadyExists
    } else if has("is not in `created` or `stopped` state") {
        Kind::StillRunning
    } else if has("is not running")
        || (operation == Operation::Kill && status == Errno::ESRCH as i32)
    {
        Kind::NotRunning
    } else if has("` is paused") {
        Kind::Paused
    } else if message.starts_with("executable file `")
        || has("exists but it is not executable")
        || has("is not a regular file")
    {
        Kind::Executable
    } else if operation == Operation::Create
        && status == Errno::ENOENT as i32
        && message.starts_with("readlink ``")
    {
        Kind::RootFilesystem
    } else if message.starts_with("load ")
        || message.starts_with("invalid config file")
        || message.starts_with("cannot parse")
    {
        Kind::Config
    } else {
        Kind::Failed
    }
}

#[cfg(test)]
mod tests;
