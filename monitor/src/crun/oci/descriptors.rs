//! What the caller's descriptors are to the container: three standard streams, and those it asked to
//! preserve.

use std::os::fd::AsFd as _;

use libcrun::{Options, Stdio};
use oci_verbs::{Io, Verb};

use super::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct Inherited {
    preserve: u32,
    listen: u32,
}

impl Inherited {
    /// Must be the first thing that is done with a command line: a descriptor that is not open now
    /// would be one of ours later, and go to the container.
    pub(super) fn of(verb: &Verb) -> Result<Self> {
        let none = Self { preserve: 0, listen: 0 };
        let Some(io) = io(verb) else { return Ok(none) };
        let listen = match std::env::var("LISTEN_FDS") {
            Ok(text) => text.parse::<u16>().map_err(|_| Error::ListenFds)?.into(),
            Err(_) => 0,
        };
        let preserve = u32::from(io.preserve_fds) + listen;
        let first = 3;
        let open =
            |number: &u32| fs_err::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
        match (first..first + preserve).find(|number| !open(number)) {
            Some(number) => Err(Error::NotOpen(number)),
            None => Ok(Self { preserve, listen }),
        }
    }

    /// From 3 on.
    pub(super) fn count(&self) -> u32 {
        self.preserve
    }

    pub(super) fn options(&self) -> Options {
        Options {
            preserve_fds: self.preserve,
            listen_fds: self.listen,
            late_errors_to_stderr: true,
            ..Options::default()
        }
    }
}

fn io(verb: &Verb) -> Option<&Io> {
    match verb {
        Verb::Create(create) => Some(&create.bundle.io),
        Verb::Run(run) => Some(&run.bundle.io),
        Verb::Exec(exec) => Some(&exec.io),
        Verb::Start(_)
        | Verb::State(_)
        | Verb::Kill(_)
        | Verb::Delete(_)
        | Verb::List(_)
        | Verb::Ps(_)
        | Verb::Pause(_)
        | Verb::Resume(_)
        | Verb::Update(_)
        | Verb::Features
        | Verb::Spec(_) => None,
    }
}

/// Our own standard streams.
pub(super) fn streams() -> Result<Stdio> {
    Ok(Stdio {
        stdin: Some(std::io::stdin().as_fd().try_clone_to_owned()?),
        stdout: Some(std::io::stdout().as_fd().try_clone_to_owned()?),
        stderr: Some(std::io::stderr().as_fd().try_clone_to_owned()?),
        console_socket: None,
    })
}
