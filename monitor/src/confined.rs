//! A process that works inside a rootfs: as the container's own root in a user namespace, with the
//! rootfs as its `/`, so that nothing in there can lead it further than the container itself could
//! get. It is this program again, under a hidden verb.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fs_err as fs;
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use pve_integration::bundle::{IdMap, IdMaps};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, chroot, set_parent_process_death_signal};

use crate::error::{During, Error, Result};
use crate::guest::warn;

/// Its first line: its user namespace waits for its mapping.
const READY: &str = "READY";

/// Of a process for `verb`.
pub(crate) fn arguments(verb: &str, rootfs: &Path, maps: &IdMaps) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![verb.into(), "--rootfs".into(), rootfs.into()];
    if !maps.is_empty() {
        arguments.push("--shifted".into());
    }
    arguments
}

/// Run it to its end; what it warns of we warn of.
pub(crate) fn run(arguments: &[OsString], input: std::fs::File, maps: &IdMaps) -> Result<()> {
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .during("cannot start the process in the rootfs")?;
    let told = relay(&mut child, maps);
    let mut cause = String::new();
    if let Some(stderr) = &mut child.stderr {
        io::Read::read_to_string(stderr, &mut cause)
            .during("cannot hear the process in the rootfs")?;
    }
    let status = child.wait().during("cannot wait for the process in the rootfs")?;
    let mut lines: Vec<&str> = cause.lines().collect();
    let last = if status.success() { None } else { Some(lines.pop()) };
    for line in lines {
        let (key, reason) = line
            .strip_prefix("WARN: ")
            .and_then(|line| line.split_once(": "))
            .unwrap_or(("rootfs", line));
        warn(key, reason);
    }
    match last {
        None => told,
        Some(None) => Err(Error::Confined(format!("ended with {status}"))),
        Some(Some(line)) => Err(Error::Confined(format!("failed: {line}"))),
    }
}

/// Pass the child's lines on, and give it its ids when it asks for them.
fn relay(child: &mut Child, maps: &IdMaps) -> Result<()> {
    let what = "cannot hear the process in the rootfs";
    let pid = child.id();
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    for line in BufReader::new(stdout).lines() {
        let line = line.during(what)?;
        if line != READY {
            writeln!(io::stdout(), "{line}").during("cannot report progress")?;
        } else {
            give_ids(pid, maps)?;
        }
    }
    Ok(())
}

/// Into a process's new user namespace; the users last, as it may wait for those.
pub(crate) fn give_ids(pid: u32, maps: &IdMaps) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/gid_map"), lines(&maps.gids))?;
    fs::write(format!("/proc/{pid}/uid_map"), lines(&maps.uids))
}

/// Those of a container that runs, whatever its config says by now.
pub(crate) fn ids_of(init: Pid) -> Result<IdMaps> {
    let read = |file: &str| {
        let text = fs::read_to_string(format!("/proc/{}/{file}", init.as_raw_nonzero()))?;
        parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    let what = "cannot read the container's ids";
    Ok(IdMaps { uids: read("uid_map").during(what)?, gids: read("gid_map").during(what)? })
}

/// user_namespaces(7). Every id as it is means that there is no mapping.
fn parse(text: &str) -> Option<Vec<IdMap>> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let (container_id, host_id) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(IdMap { container_id, host_id, size: numbers.next()?.ok()? })
    };
    let maps: Vec<IdMap> = text.lines().map(line).collect::<Option<_>>()?;
    let all = IdMap { container_id: 0, host_id: 0, size: u32::MAX };
    Some(if maps == [all] { Vec::new() } else { maps })
}

/// As the kernel reads a mapping.
fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.size)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_the_host_s_own_as_none() {
        let maps = vec![
            IdMap { container_id: 0, host_id: 300_000, size: 1000 },
            IdMap { container_id: 1000, host_id: 1000, size: 1 },
        ];
        assert_eq!(parse(&lines(&maps)).unwrap(), maps);
        assert_eq!(parse("         0          0 4294967295\n").unwrap(), []);
        assert_eq!(parse("0 0\n"), None);
    }
}
