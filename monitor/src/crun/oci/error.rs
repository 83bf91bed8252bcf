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
