//! What a container may be made or joined with beyond its bundle.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

/// The default is what a supervisor wants: config.json of the bundle, and nothing inherited.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Instead of `config.json` in the bundle.
    pub config: Option<PathBuf>,
    /// How many of the caller's descriptors from 3 on the program gets, under the same numbers. Those
    /// that are not open are not the container's either: check that nothing else has their number.
    pub preserve_fds: u32,
    /// As many of them are sockets that systemd's protocol names; they count in `preserve_fds` too.
    pub listen_fds: u32,
    /// Move the root filesystem instead of pivoting into it, for a host whose root is an initramfs.
    pub no_pivot: bool,
    /// Stay in the caller's session keyring.
    pub no_new_keyring: bool,
    /// What is said when this call has been answered (that the program cannot be executed after all)
    /// goes to the program's standard error, as it does with crun, and not into
    /// [`Process::log`](crate::Process::log).
    pub late_errors_to_stderr: bool,
}

/// How much libcrun says beside its errors, and who is told.
#[derive(Clone, Default)]
pub enum Verbosity {
    #[default]
    Errors,
    Warnings(Listener),
    Everything(Listener),
}

/// Called with what libcrun printed in a call that succeeded; after a failure it is in the error.
pub type Listener = Rc<dyn Fn(&str)>;

impl Verbosity {
    pub(crate) fn level(&self) -> std::ffi::c_int {
        match self {
            Self::Errors => 0,
            Self::Warnings(_) => 1,
            Self::Everything(_) => 2,
        }
    }

    pub(crate) fn tell(&self, said: impl FnOnce() -> String) {
        match self {
            Self::Errors => {}
            Self::Warnings(listener) | Self::Everything(listener) => listener(&said()),
        }
    }
}

impl fmt::Debug for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "Errors",
            Self::Warnings(_) => "Warnings",
            Self::Everything(_) => "Everything",
        })
    }
}
