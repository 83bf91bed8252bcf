//! The verb `unpack`: an archive into the container's volumes, each where it is to be mounted. A
//! child does it, as the container's own root and with the rootfs as its `/`, so that nothing in an
//! archive can reach further than the container itself could.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use fs_err as fs;
use pve_integration::bundle::IdMaps;
use pve_integration::ct_config::{self, ContainerConfig};
use rustix::fs::{AtFlags, CWD, chownat};

use crate::confined;
use crate::detect::{Detected, detect};
use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::image;
use crate::namespace;
use crate::pace::Paced;
use crate::rootfs::{Purpose, Rootfs};
use crate::setup;

/// The hidden verb of the child.
pub(crate) const CHILD: &str = "unpack-child";
/// What vzdump adds to a container.
const NOT_UNPACKED: &[&str] = &["etc/vzdump/pct.conf", "etc/vzdump/pct.fw"];

#[derive(Args)]
pub(crate) struct How {
    /// Set up a new system: what only the daemon knows is on standard input
    #[arg(long)]
    setup: bool,
    /// Go on with what could be unpacked
    #[arg(long)]
    ignore_errors: bool,
    /// The archive is a backup. The config whose volumes it goes into is on standard input: that of
    /// the container may still be another's
    #[arg(long, conflicts_with = "setup")]
    backup: bool,
    /// The archive is an image in layers
    #[arg(long, conflicts_with = "backup")]
    image: bool,
    /// KiB of the archive to read in a second, at most
    #[arg(long)]
    bwlimit: Option<u64>,
}

pub(crate) fn unpack(guest: &Guest, archive: &Path, how: &How) -> Result<()> {
    // Opened by us: the child, in its user namespace, might not be allowed to.
    let archive = fs::File::open(archive)?.into_parts().0;
    let secrets = if how.setup { Some(setup::read_secrets()?) } else { None };
    let config = if how.backup {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).during("cannot read the config")?;
        ContainerConfig::parse(&bytes)
    } else {
        ct_config::read(&guest.root, &guest.node, guest.vmid)?.0
    };
    namespace::enter()?;
    let rootfs = Rootfs::mount(guest, &config, Purpose::Fill)?;
    let maps = IdMaps::on_disk(&config)?;
    let owner = rustix::fs::Uid::from_raw(maps.root_uid().unwrap_or(0));
    let group = rustix::fs::Gid::from_raw(maps.root_gid().unwrap_or(0));
    chownat(CWD, rootfs.path(), Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .during("cannot give the rootfs to the container's root")?;

    let filled = if how.image {
        let arch = config.get("arch").map(str::to_owned);
        fill_from_image(rootfs.path(), archive, &maps, (how.bwlimit, arch))
    } else {
        fill(rootfs.path(), archive, &maps, how)
    };
    let seen = detect(rootfs.path());
    let set_up = filled.and_then(|()| match secrets {
        Some(secrets) => match setup::of_new(guest, &config, &seen, secrets, rootfs.path())? {
            Some(plan) => {
                confined::run(&confined::arguments(setup::CHILD, rootfs.path(), &maps), plan, &maps)
            }
            None => Ok(()),
        },
        None => Ok(()),
    });
    let unmounted = rootfs.unmount();
    set_up?;
    unmounted?;
    say_detected(&seen).during("cannot report what was unpacked")
}

fn fill(rootfs: &Path, archive: std::fs::File, maps: &IdMaps, how: &How) -> Result<()> {
    let mut arguments = confined::arguments(CHILD, rootfs, maps);
    if let Some(limit) = how.bwlimit {
        arguments.extend(["--bwlimit".into(), limit.to_string().into()]);
    }
    if how.backup {
        arguments.push("--backup".into());
    }
    if how.ignore_errors {
        arguments.push("--keep-going".into());
    }
    match confined::run(&arguments, archive, maps) {
        Err(Error::Confined(reason)) if how.ignore_errors => {
            warn("unpack", &format!("the process that unpacks {reason}; ignored as asked"));
            Ok(())
        }
        done => done,
    }
}

/// Half an image is none, so nothing is ignored.
fn fill_from_image(
    rootfs: &Path,
    archive: std::fs::File,
    maps: &IdMaps,
    (bwlimit, arch): (Option<u64>, Option<String>),
) -> Result<()> {
    let mut arguments = confined::arguments(image::CHILD, rootfs, maps);
    arguments.extend(bwlimit.map(|limit| format!("--bwlimit={limit}").into()));
    arguments.extend(arch.map(|arch| format!("--arch={arch}").into()));
    confined::run(&arguments, archive, maps)
}

/// The last line: what the daemon writes into the config.
fn say_detected(seen: &Detected) -> io::Result<()> {
    let (ostype, arch) = (seen.ostype.unwrap_or_default(), seen.arch.unwrap_or_default());
    writeln!(io::stdout(), "DETECTED ostype={ostype} arch={arch}")
}

/// What its parent tells the child.
#[derive(Args)]
pub(crate) struct Orders {
    #[arg(long)]
    rootfs: PathBuf,
    #[arg(long)]
    shifted: bool,
    #[arg(long)]
    bwlimit: Option<u64>,
    #[arg(long)]
    backup: bool,
    #[arg(long)]
    keep_going: bool,
}

/// The child: the archive is its standard input.
pub(crate) fn unpack_here(orders: &Orders) -> Result<()> {
    let archive = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let archive = Paced::new(archive, orders.bwlimit);
    let root = confined::enter(&orders.rootfs, orders.shifted)?;

    let mut out = io::stdout();
    let mut progress = |progress: &images::Progress| {
        // Who does not listen misses nothing but this line.
        let (entries, mib) = (progress.entries, progress.bytes >> 20);
        writeln!(out, "unpacked {entries} entries, {mib} MiB").ok();
    };
    let mut limits = if orders.backup {
        images::Limits { left_out: NOT_UNPACKED, ..images::Limits::of_a_backup() }
    } else {
        images::Limits::default()
    };
    limits.keep_going = orders.keep_going;
    let summary = images::unpack(root.as_fd(), archive, &limits, &mut progress)?;
    if summary.failed > 0 {
        warn("unpack", &format!("{} entries could not be unpacked", summary.failed));
    }
    say_left_out(&summary);
    Ok(())
}

pub(crate) fn say_left_out(summary: &images::Summary) {
    for (count, what) in [
        (summary.skipped_devices, "device nodes"),
        (summary.skipped_attributes, "extended attributes"),
        (summary.skipped_whiteouts, "whiteouts, of files on volumes,"),
    ] {
        if count > 0 {
            writeln!(io::stdout(), "left out {count} {what} of the archive").ok();
        }
    }
}
