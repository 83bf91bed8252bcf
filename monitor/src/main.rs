//! `lxcri-monitor`: one small, single-threaded process per container: mounts, libcrun, log, exit
//! status, and LXC's command socket. It needs no daemon; the daemon finds it by that socket.
//!
//! What a container gets is decided in `pve_integration::bundle`, how libcrun is called in `libcrun`.
//!
//! Without the feature `crun` it is `lxcri-lxc-monitor`, of the package `lxc-monitor`: the same for
//! containers under LXC, and without libcrun and the libraries that it needs.

#![cfg_attr(
    not(feature = "crun"),
    expect(
        dead_code,
        reason = "some things only libcrun's containers need; what nobody needs at all shows in the program that has both"
    )
)]

mod apparmor;
mod archive;
mod as_root;
mod cgroup;
mod cleanup;
mod confined;
#[cfg_attr(not(feature = "crun"), path = "without_crun.rs")]
mod crun;
mod detect;
mod devices;
mod disk;
mod entrypoint;
mod error;
mod given;
mod guest;
mod hotplug;
mod id_mapped;
mod image;
mod lease;
mod lxc;
mod lxc_tools;
mod names;
mod namespace;
mod net;
mod output;
mod pace;
mod packing;
mod probe;
mod quota;
mod rootfs;
mod run;
mod setup;
mod target;
mod unblocked;
mod unpack;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use openapi::{NodeName, Vmid};
use pve_integration::layout::Root;

use guest::Guest;

/// Runs one container and watches over it.
#[derive(Parser)]
#[command(name = crun::PROGRAM, version)]
struct Arguments {
    /// Print what this host can run, and what is missing, as JSON
    #[arg(long)]
    probe: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a container until it ends
    Run {
        #[command(flatten)]
        guest: GuestArguments,
        /// Let this program of LXC's run it, not libcrun
        #[arg(long, value_name = "FILE")]
        lxc_start: Option<PathBuf>,
        /// Say on standard error all that the runtime says
        #[arg(long)]
        debug: bool,
    },
    /// Change one network interface of a container that runs under libcrun
    Net {
        #[command(flatten)]
        guest: GuestArguments,
        #[command(flatten)]
        change: net::Change,
    },
    /// Remove what a container without a monitor left behind
    Cleanup(GuestArguments),
    /// Mount one more mount point in a container that runs
    Mount {
        #[command(flatten)]
        guest: GuestArguments,
        /// `mpN`
        #[arg(long)]
        key: String,
        /// As it will stand in the config
        #[arg(long)]
        value: String,
    },
    /// Unpack an archive into a container's rootfs
    Unpack {
        #[command(flatten)]
        guest: GuestArguments,
        /// A root filesystem as a tar file, plain or compressed
        #[arg(long)]
        archive: PathBuf,
        #[command(flatten)]
        how: unpack::How,
    },
    /// Write a container's volumes and config into an archive, as vzdump does
    Archive {
        #[command(flatten)]
        guest: GuestArguments,
        #[command(flatten)]
        how: archive::ArchiveArguments,
    },
    /// Be an OCI runtime: `proxmox-lxcri` passes its command line on
    #[cfg(feature = "crun")]
    #[command(disable_help_flag = true)]
    Oci {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    #[command(name = unpack::CHILD, hide = true)]
    UnpackChild(unpack::Orders),
    #[command(name = image::CHILD, hide = true)]
    ImageChild(image::Orders),
    #[command(name = lease::CHILD, hide = true)]
    Lease(lease::Orders),
    #[command(name = lxc::CHILD, hide = true)]
    LxcChild {
        #[arg(long)]
        parent: i32,
        #[arg(long)]
        terminal: bool,
        program: PathBuf,
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    #[cfg(feature = "crun")]
    #[command(name = crun::oci::KEEPER, hide = true)]
    LxcKeeper(crun::oci::KeeperOrders),
    #[cfg(feature = "crun")]
    #[command(name = crun::oci::ENTRANCE, hide = true)]
    LxcEntrance(crun::oci::EntranceOrders),
    #[cfg(feature = "crun")]
    #[command(name = crun::mknod::CHILD, hide = true)]
    Mknod(crun::mknod::Orders),
    #[cfg(feature = "crun")]
    #[command(name = unblocked::CHILD, hide = true)]
    Unblocked(unblocked::Orders),
    #[command(name = id_mapped::CHILD, hide = true)]
    UserNamespaceChild,
    #[command(name = setup::CHILD, hide = true)]
    SetupChild {
        #[arg(long)]
        rootfs: PathBuf,
        #[arg(long)]
        shifted: bool,
    },
}

#[derive(Args)]
struct GuestArguments {
    /// The folder under which everything lies; `/` on a PVE host
    #[arg(long)]
    root: PathBuf,
    #[arg(long)]
    node: NodeName,
    vmid: Vmid,
}

impl GuestArguments {
    fn check(self) -> anyhow::Result<Guest> {
        let root = std::path::absolute(&self.root).context("--root")?;
        Ok(Guest { root: Root::new(root)?, node: self.node, vmid: self.vmid, debug: false })
    }
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse()) {
        Ok(code) => code,
        Err(err) => {
            let line = flat(&format!("{err:#}"));
            // Where nobody can read it, there is nobody to tell.
            writeln!(std::io::stderr(), "{line}").ok();
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        _ if arguments.probe => probe::probe()?,
        Some(Verb::Run { guest, lxc_start, debug }) => {
            let guest = guest.check()?;
            // Where PVE's service starts us the command line is always the same.
            let marked = fs_err::remove_file(guest.root.debug_mark(guest.vmid)).is_ok();
            let guest = Guest { debug: debug || marked, ..guest };
            match lxc_start {
                None => crun::run(&guest)?,
                Some(program) => lxc::run(&guest, &program)?,
            }
        }
        Some(Verb::LxcChild { parent, terminal, program, arguments }) => {
            lxc::become_lxc_start(parent, terminal, &program, &arguments)?;
        }
        #[cfg(feature = "crun")]
        Some(Verb::LxcKeeper(orders)) => return Ok(crun::oci::keep(&orders)),
        #[cfg(feature = "crun")]
        Some(Verb::LxcEntrance(orders)) => crun::oci::enter(&orders)?,
        #[cfg(feature = "crun")]
        Some(Verb::Mknod(orders)) => crun::mknod::serve(&orders)?,
        #[cfg(feature = "crun")]
        Some(Verb::Unblocked(orders)) => unblocked::become_it(&orders)?,
        Some(Verb::Net { guest, change }) => {
            net::change(&guest.check()?, &change)?;
        }
        Some(Verb::Mount { guest, key, value }) => hotplug::mount(&guest.check()?, &key, &value)?,
        Some(Verb::Cleanup(guest)) => cleanup::cleanup(&guest.check()?)?,
        Some(Verb::Unpack { guest, archive, how }) => {
            unpack::unpack(&guest.check()?, &archive, &how)?;
        }
        Some(Verb::UnpackChild(orders)) => unpack::unpack_here(&orders)?,
        Some(Verb::ImageChild(orders)) => image::unpack_here(&orders)?,
        Some(Verb::Lease(orders)) => lease::keep(&orders)?,
        Some(Verb::SetupChild { rootfs, shifted }) => setup::setup_here(&rootfs, shifted)?,
        Some(Verb::UserNamespaceChild) => id_mapped::lend_here()?,
        Some(Verb::Archive { guest, how }) => archive::archive(&guest.check()?, &how)?,
        // Its errors go into a log of its own too.
        #[cfg(feature = "crun")]
        Some(Verb::Oci { arguments }) => return Ok(crun::oci::main(arguments)),
        None => Arguments::command().print_help()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An error with its causes, as the one line that is shown to users.
fn one_line(err: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(err.source(), |err| err.source());
    flat(&causes.fold(err.to_string(), |text, cause| format!("{text}: {cause}")))
}

fn flat(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let err = error::Error::Mount {
            what: "volume 'local:1/x'".to_owned(),
            source: std::io::Error::other("no\nluck\n"),
        };
        assert_eq!(one_line(&err), "cannot mount volume 'local:1/x': no; luck");
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
