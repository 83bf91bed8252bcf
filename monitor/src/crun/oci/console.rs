//! Where the terminal of a process that libcrun starts goes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fs_err as fs;
use libcrun::Stdio;
use oci_verbs::Io;
use rustix::fs::Mode;

use super::descriptors::streams;
use super::error::{Error, Result};
use crate::crun::console::ConsoleSocket;
use crate::error::During as _;

/// Where a process's terminal, if it has one, goes.
pub(super) enum Console {
    /// No terminal: our own standard streams.
    None,
    /// To the socket that the caller named.
    Theirs(PathBuf),
    /// To us, who show it.
    Ours(ConsoleSocket, PrivateFolder),
}

impl Console {
    pub(super) fn of(terminal: bool, detach: bool, io: &Io, state_root: &Path) -> Result<Self> {
        match (&io.console_socket, terminal) {
            (_, false) => Ok(Self::None),
            (Some(path), true) => Ok(Self::Theirs(path.clone())),
            (None, true) if detach => Err(Error::Terminal),
            (None, true) => {
                let folder = PrivateFolder::new(state_root)?;
                Ok(Self::Ours(ConsoleSocket::bind(&folder.0)?, folder))
            }
        }
    }

    pub(super) fn stdio(&self) -> Result<Stdio> {
        let console_socket = match self {
            Self::None => None,
            Self::Theirs(path) => Some(path.clone()),
            Self::Ours(socket, _) => Some(socket.path().to_owned()),
        };
        Ok(Stdio { console_socket, ..streams()? })
    }

    /// The terminal's master, if it is for us.
    pub(super) fn receive(self) -> Result<Option<OwnedFd>> {
        match self {
            Self::None | Self::Theirs(_) => Ok(None),
            Self::Ours(socket, _folder) => Ok(Some(socket.receive()?)),
        }
    }
}

/// For the console's socket: nobody else may connect. No container's name begins with a dot.
pub(super) struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn new(state_root: &Path) -> Result<Self> {
        let path = state_root.join(format!(".console-{}", std::process::id()));
        fs::create_dir_all(state_root)?;
        match fs::remove_dir_all(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
        rustix::fs::mkdir(&path, Mode::RWXU).during("cannot make a folder for the console")?;
        Ok(Self(path))
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // An empty folder that stays harms nobody.
        fs::remove_dir_all(&self.0).ok();
    }
}
