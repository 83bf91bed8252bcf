//! The verb `unpack`: an archive into the container's volumes, each where it is to be mounted. A
//! child does it, as the container's own root and with the rootfs as its `/`, so that nothing in an
//! archive can reach further than the container itself could.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;
use fs_err as fs;
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use pve_integration::bundle::{IdMap, IdMaps};
use pve_integration::ct_config::{self, ContainerConfig};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, chownat};
use rustix::process::{Signal, chroot, set_parent_process_death_signal};

use crate::detect::{Detected, detect};
use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::image;
use crate::namespace;
use crate::pace::Paced;
use crate::rootfs::{Purpose, Rootfs};
use crate::setup;

/// The hidden verb of the child. Its first line says that its user namespace waits for its mapping.
pub(crate) const CHILD: &str = "unpack-child";
const READY: &str = "READY";
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
    let maps = IdMaps::of(&config)?;
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
        Some(secrets) => match setup::plan(guest, &config, &seen, secrets, rootfs.path())? {
            Some(plan) => run_child(&child(setup::CHILD, rootfs.path(), &maps), plan, &maps),
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
    let mut arguments = child(CHILD, rootfs, maps);
    if let Some(limit) = how.bwlimit {
        arguments.extend(["--bwlimit".into(), limit.to_string().into()]);
    }
    if how.backup {
        arguments.push("--backup".into());
    }
    if how.ignore_errors {
        arguments.push("--keep-going".into());
    }
    match run_child(&arguments, archive, maps) {
        Err(Error::Unpacker(reason)) if how.ignore_errors => {
            warn("unpack", &format!("the child that unpacks {reason}; ignored as asked"));
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
    let mut arguments = child(image::CHILD, rootfs, maps);
    arguments.extend(bwlimit.map(|limit| format!("--bwlimit={limit}").into()));
    arguments.extend(arch.map(|arch| format!("--arch={arch}").into()));
    run_child(&arguments, archive, maps)
}

/// Arguments of a child that works inside the rootfs.
fn child(verb: &str, rootfs: &Path, maps: &IdMaps) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![verb.into(), "--rootfs".into(), rootfs.into()];
    if !maps.is_empty() {
        arguments.push("--shifted".into());
    }
    arguments
}

/// The last line: what the daemon writes into the config.
fn say_detected(seen: &Detected) -> io::Result<()> {
    let (ostype, arch) = (seen.ostype.unwrap_or_default(), seen.arch.unwrap_or_default());
    writeln!(io::stdout(), "DETECTED ostype={ostype} arch={arch}")
}

fn run_child(arguments: &[OsString], input: std::fs::File, maps: &IdMaps) -> Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .during("cannot start the process that unpacks")?;
    let told = relay(&mut child, maps);
    let mut cause = String::new();
    if let Some(stderr) = &mut child.stderr {
        io::Read::read_to_string(stderr, &mut cause)
            .during("cannot hear the process that unpacks")?;
    }
    let status = child.wait().during("cannot wait for the process that unpacks")?;
    let mut lines: Vec<&str> = cause.lines().collect();
    let last = if status.success() { None } else { Some(lines.pop()) };
    for line in lines {
        let (key, reason) = line
            .strip_prefix("WARN: ")
            .and_then(|line| line.split_once(": "))
            .unwrap_or(("unpack", line));
        warn(key, reason);
    }
    match last {
        None => told,
        Some(None) => Err(Error::Unpacker(format!("ended with {status}"))),
        Some(Some(line)) => Err(Error::Unpacker(format!("failed: {line}"))),
    }
}

/// Pass the child's lines on, and give it its ids when it asks for them.
fn relay(child: &mut Child, maps: &IdMaps) -> Result<()> {
    let what = "cannot hear the process that unpacks";
    let pid = child.id();
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    for line in BufReader::new(stdout).lines() {
        let line = line.during(what)?;
        if line != READY {
            writeln!(io::stdout(), "{line}").during("cannot report progress")?;
        } else {
            fs::write(format!("/proc/{pid}/gid_map"), lines(&maps.gids))?;
            // Last, as the child waits for this one.
            fs::write(format!("/proc/{pid}/uid_map"), lines(&maps.uids))?;
        }
    }
    Ok(())
}

/// As the kernel reads a mapping.
fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.size)).collect()
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
    let root = enter(&orders.rootfs, orders.shifted)?;

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

/// Make the rootfs our `/`, as the container's root in a user namespace of its own.
pub(crate) fn enter(rootfs: &Path, shifted: bool) -> Result<OwnedFd> {
    let die_with_parent =
        || set_parent_process_death_signal(Some(Signal::KILL)).during("cannot tie to the parent");
    die_with_parent()?;
    // While still the host's root: the container's may not be allowed through the folders above.
    rustix::process::chdir(rootfs).during("cannot enter the rootfs")?;
    let flags = if shifted { CloneFlags::CLONE_NEWUSER } else { CloneFlags::empty() };
    nix::sched::unshare(flags | CloneFlags::CLONE_NEWNS)
        .during("cannot enter namespaces of its own")?;
    if shifted {
        writeln!(io::stdout(), "{READY}").during("cannot ask for the id mapping")?;
        wait_for_mapping()?;
        setgroups(&[]).during("cannot drop groups")?;
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(gid, gid, gid).during("cannot become the container's root")?;
        setresuid(uid, uid, uid).during("cannot become the container's root")?;
        die_with_parent()?; // a change of ids clears it
    }
    chroot(".").during("cannot make the rootfs the root directory")?;
    open_root().during("cannot open the rootfs")
}

fn open_root() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The parent writes the mapping; until then every id of ours is the overflow id.
fn wait_for_mapping() -> Result<()> {
    for _ in 0..2000 {
        if !fs::read_to_string("/proc/self/uid_map")?.trim().is_empty() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(io::Error::from(io::ErrorKind::TimedOut)).during("no id mapping was given")
}
