//! The verb `unpack`: an archive into the container's rootfs volume. A child does it, as the
//! container's own root and with the volume as its `/`, so that nothing in an archive can reach
//! further than the container itself could.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fs_err as fs;
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use pve_integration::bundle::{IdMap, IdMaps};
use pve_integration::ct_config;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, chownat};
use rustix::process::{Signal, chroot, set_parent_process_death_signal};

use crate::detect::{Detected, detect};
use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::namespace;
use crate::rootfs::Rootfs;

/// The hidden verb of the child. Its first line says that its user namespace waits for its mapping.
pub(crate) const CHILD: &str = "unpack-child";
const READY: &str = "READY";

pub(crate) fn unpack(guest: &Guest, archive: &Path) -> Result<()> {
    // Opened by us: the child, in its user namespace, might not be allowed to.
    let archive = fs::File::open(archive)?;
    let (config, _digest) = ct_config::read(&guest.root, &guest.node, guest.vmid)?;
    namespace::enter()?;
    let rootfs = Rootfs::mount(guest, &config)?;
    let maps = IdMaps::of(&config)?;
    let owner = rustix::fs::Uid::from_raw(maps.root_uid().unwrap_or(0));
    let group = rustix::fs::Gid::from_raw(maps.root_gid().unwrap_or(0));
    chownat(CWD, rootfs.path(), Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .during("cannot give the rootfs to the container's root")?;

    let unpacked = run_child(rootfs.path(), archive.into_parts().0, &maps);
    let seen = detect(rootfs.path());
    let unmounted = rootfs.unmount();
    unpacked?;
    unmounted?;
    say_detected(&seen).during("cannot report what was unpacked")
}

/// The last line: what the daemon writes into the config.
fn say_detected(seen: &Detected) -> io::Result<()> {
    let (ostype, arch) = (seen.ostype.unwrap_or_default(), seen.arch.unwrap_or_default());
    writeln!(io::stdout(), "DETECTED ostype={ostype} arch={arch}")
}

fn run_child(rootfs: &Path, archive: std::fs::File, maps: &IdMaps) -> Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(CHILD).arg("--rootfs").arg(rootfs);
    if !maps.is_empty() {
        command.arg("--shifted");
    }
    let mut child = command
        .stdin(archive)
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
    if status.success() {
        return told;
    }
    let mut lines: Vec<&str> = cause.lines().collect();
    let last = lines
        .pop()
        .map_or_else(|| format!("ended with {status}"), |line| format!("failed: {line}"));
    for line in lines {
        warn("unpack", line);
    }
    Err(Error::Unpacker(last))
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

/// The child: the archive is its standard input.
pub(crate) fn unpack_here(rootfs: &Path, shifted: bool) -> Result<()> {
    let die_with_parent =
        || set_parent_process_death_signal(Some(Signal::KILL)).during("cannot tie to the parent");
    die_with_parent()?;
    let archive = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // While still the host's root: the container's may not be allowed through the folders above.
    // Now, as the container's root may not get there: its way may lead through a closed directory.
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
    let root = open_root().during("cannot open the rootfs")?;

    let mut out = io::stdout();
    let mut progress = |progress: &images::Progress| {
        // Who does not listen misses nothing but this line.
        let (entries, mib) = (progress.entries, progress.bytes >> 20);
        writeln!(out, "unpacked {entries} entries, {mib} MiB").ok();
    };
    let summary = images::unpack(root.as_fd(), archive, &images::Limits::default(), &mut progress)?;
    for (count, what) in [
        (summary.skipped_devices, "device nodes"),
        (summary.skipped_attributes, "extended attributes"),
    ] {
        if count > 0 {
            writeln!(io::stdout(), "left out {count} {what} of the archive").ok();
        }
    }
    Ok(())
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
