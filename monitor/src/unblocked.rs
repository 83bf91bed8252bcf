//! Programs of others. Signals that we block, to read them from a descriptor, stay blocked in what we
//! start, as Rust's `Command` leaves the mask alone: a shell script so started cannot be ended by
//! SIGTERM, and never hears of its children. The mask cannot be changed between fork and exec without
//! unsafe code, and no more around a fork, as what waits would then end us. So a child of this same
//! binary unblocks them, and becomes the program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use nix::sys::signal::SigSet;
use rustix::fs::{Access, access};

use crate::error::{During, Error, Result};

pub(crate) const CHILD: &str = "unblocked";

#[derive(Args)]
pub(crate) struct Orders {
    program: PathBuf,
    /// What it is called, and its arguments
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// `program`, which is called `name`, without arguments yet.
pub(crate) fn command(program: &Path, name: &OsStr) -> std::io::Result<Command> {
    access(program, Access::EXEC_OK)?;
    if cfg!(test) {
        return Ok(Command::new(program)); // no verbs there, and nothing blocked
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD).arg(program).arg("--").arg(name);
    Ok(command)
}

pub(crate) fn become_it(orders: &Orders) -> Result<()> {
    let mut arguments = orders.arguments.iter();
    let mut command = Command::new(&orders.program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    exec(command.args(arguments))
}

/// Become the program; there is only the way back that tells why not.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    SigSet::all().thread_unblock().during("cannot unblock signals")?;
    let source = command.exec();
    Err(Error::Open { path: command.get_program().into(), source })
}
