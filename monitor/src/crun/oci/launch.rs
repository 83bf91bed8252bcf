//! `create`, `run` and `exec`: the verbs that start a process.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use libcrun::{Options, Stdio};
use oci_verbs::{Bundle, Exec, Run};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, kill_process};

use super::Context;
use super::attend::{Attendant, exit_code, write_pid_file};
use super::console::Console;
use super::descriptors::streams;
use super::error::{Error, Result};
use super::lxc::Container;
use super::process::{Config, Process};
use crate::error::During as _;

pub(super) fn create(context: &Context, bundle: &Bundle) -> Result<()> {
    // What is typed on the caller's terminal must not leave half a container.
    let _signals = Attendant::new()?;
    let launch = Launch::new(context, bundle)?;
    let io = Stdio { console_socket: bundle.io.console_socket.clone(), ..streams()? };
    let init = launch.create(&io)?;
    launch.or_undo(write_pid_file(&bundle.io, init.pid))
}

pub(super) fn run(context: &Context, run: &Run) -> Result<u8> {
    let attendant = Attendant::new()?;
    let launch = Launch::new(context, &run.bundle)?;
    let terminal = launch.config.has_terminal();
    let console = Console::of(terminal, run.detach, &run.bundle.io, &context.runtime.state_root)?;
    let io = console.stdio()?;
    if !run.detach {
        libcrun::become_subreaper()?;
    }
    let init = launch.create(&io)?;
    let id = run.bundle.id.as_str();
    let started = write_pid_file(&run.bundle.io, init.pid)
        .and_then(|()| console.receive())
        .and_then(|console| context.runtime.start(id).map(|()| console).map_err(Error::from));
    let console = launch.or_undo(started)?;
    if run.detach {
        return Ok(0);
    }
    let ended = launch.or_undo(attendant.attend(init.pid, init.pid, console))?;
    if !run.keep {
        context.runtime.delete(id, true)?;
    }
    Ok(exit_code(ended))
}

pub(super) fn exec(context: &Context, exec: &Exec) -> Result<u8> {
    let attendant = Attendant::new()?;
    let id = exec.id.as_str();
    let process = match &exec.process {
        Some(path) => Process::read(path)?,
        None => Process::like_init(&context.runtime.state_root, exec)?,
    };
    let console =
        Console::of(process.terminal(), exec.detach, &exec.io, &context.runtime.state_root)?;
    let io = console.stdio()?;
    if !exec.detach {
        libcrun::become_subreaper()?;
    }
    let file = memory_file(process.json().as_bytes())?;
    // The worker has our descriptors no more; it finds the file through us, who wait for it.
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let options = context.inherited.options();
    let started = context.runtime.exec_with(id, Path::new(&path), &io, &options)?;
    let console = match write_pid_file(&exec.io, started.pid).and_then(|()| console.receive()) {
        Ok(console) => console,
        Err(err) => {
            // It may have ended by itself.
            kill_process(started.pid, Signal::KILL).ok();
            return Err(err);
        }
    };
    if exec.detach {
        return Ok(0);
    }
    Ok(exit_code(attendant.attend(started.pid, started.pid, console)?))
}

/// A bundle that is about to become a container.
struct Launch<'a> {
    context: &'a Context,
    bundle: &'a Bundle,
    folder: PathBuf,
    config: Config,
    options: Options,
}

impl<'a> Launch<'a> {
    fn new(context: &'a Context, bundle: &'a Bundle) -> Result<Self> {
        let folder = fs::canonicalize(&bundle.bundle)?;
        // Relative to where we are, not to the bundle.
        let config = bundle.config.as_deref().map(fs::canonicalize).transpose()?;
        let file = config.clone().unwrap_or_else(|| folder.join("config.json"));
        let options = Options {
            config,
            no_pivot: bundle.no_pivot,
            no_new_keyring: bundle.no_new_keyring,
            ..context.inherited.options()
        };
        Ok(Self { context, bundle, folder, config: Config::read(&file)?, options })
    }

    fn create(&self, io: &Stdio) -> Result<libcrun::Process> {
        let id = self.bundle.id.as_str();
        if Container::find(&self.context.runtime.state_root, &self.bundle.id)?.is_some() {
            return Err(Error::AlreadyExists(id.to_owned()));
        }
        let fresh = self.config.absent_cgroups(id);
        let created = self.context.runtime.create_with(id, &self.folder, io, &self.options, false);
        created.map_err(|err| {
            // libcrun leaves an empty cgroup behind. What is not empty is not its own.
            fresh.iter().for_each(|folder| fs::remove_dir(folder).unwrap_or_default());
            err.into()
        })
    }

    /// A container that did not get as far as it was asked to is none.
    fn or_undo<T>(&self, done: Result<T>) -> Result<T> {
        done.inspect_err(|_| {
            if let Err(err) = self.context.runtime.delete(self.bundle.id.as_str(), true) {
                self.context.log.warn(&crate::one_line(&err));
            }
        })
    }
}

fn memory_file(bytes: &[u8]) -> Result<OwnedFd> {
    let file = memfd_create("lxcri-process", MemfdFlags::CLOEXEC)
        .during("cannot make a file in memory")?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, bytes)?;
    Ok(file.into())
}
