//! Why a verb of the OCI runtime failed.

use std::io;
use std::path::PathBuf;

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// In libcrun's own words, which podman and containerd look for.
    #[error("{}", .0.words())]
    Libcrun(libcrun::Error),
    #[error(
        "the systemd cgroup manager is not built in; use the cgroupfs manager, as with podman's \
         option --cgroup-manager=cgroupfs"
    )]
    Systemd,
    #[error("LXC is missing: 'lxc-start' is not in PATH; install the package lxc")]
    NoLxc,
    #[error("LXC cannot give it {0}; use --runtime crun")]
    NotWithLxc(&'static str),
    /// What LXC's own log gives as the first reason.
    #[error("lxc-start failed: {0}")]
    LxcStart(String),
    /// What the keeper said.
    #[error("{0}")]
    Said(String),
    #[error("LXC does not answer")]
    Lxc(#[source] lxc_protocol::client::Error),
    #[error("LXC named no process of the container's")]
    NoPid,
    #[error("container `{0}` already exists")]
    AlreadyExists(String),
    #[error("container `{0}` does not exist")]
    Gone(String),
    #[error("the cgroup '{}' is there already: linux.cgroupsPath must be the container's own", .0.display())]
    CgroupExists(PathBuf),
    #[error("container `{0}` is not in `created` state")]
    NotCreated(String),
    #[error("container `{0}` is not in `created` or `stopped` state")]
    NotStopped(String),
    #[error("container `{0}` is not running")]
    NotRunning(String),
    #[error("container `{0}` is paused")]
    IsPaused(String),
    #[error("cannot signal container `{0}`: No such process")]
    NoProcessToKill(String),
    #[error("processes of container `{0}` do not end although they were killed")]
    Unkillable(String),
    #[error("{}: {}", .0.what, io::Error::from(.0.errno))]
    Program(crate::entrypoint::Refused),
    #[error("hook '{}' failed: {why}", hook.display())]
    Hook { hook: PathBuf, why: String },
    #[error("descriptor {0} is to be preserved, but it is not open")]
    NotOpen(u32),
    #[error("LISTEN_FDS is no number of descriptors")]
    ListenFds,
    #[error("the log '{0}' is no file, and nothing else is supported")]
    LogKind(PathBuf),
    #[error("use --console-socket with --detach when a terminal is used")]
    Terminal,
    #[error("invalid config file, `process.args` is no list of words")]
    Arguments,
    #[error("container `{0}` has no process of its own, so one must be given with --process")]
    NoProcess(String),
    #[error("the command is no UTF-8 text")]
    NotText,
    #[error("`{}` already exists", .0.display())]
    Exists(PathBuf),
    #[error("cannot parse `{}`", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("cannot parse the resources")]
    Resources(#[source] serde_json::Error),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    #[error(transparent)]
    Step(#[from] crate::error::Error),
    /// The source names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<libcrun::Error> for Error {
    fn from(err: libcrun::Error) -> Self {
        Self::Libcrun(err)
    }
}
