//! Removing what a container left behind: by itself when it ends, by an earlier monitor that was
//! killed, or by a start that failed half way. Everything here may be repeated.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use fs_err as fs;
use pve_integration::exit::ExitRecord;

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::run::epoch_seconds;
use crate::{apparmor, crun, lxc, lxc_tools, names, namespace, net};

/// The verb `cleanup`: for the daemon, when it finds a container without a monitor.
pub(crate) fn cleanup(guest: &Guest) -> Result<()> {
    // Held until the end, so that no start comes in between.
    let listener = guest.bind()?;
    namespace::enter()?;
    let lxc = guest.root.guest_run(guest.vmid).join(lxc::CONFIG);
    let bundle = fs::metadata(guest.config_json()).or_else(|_| fs::metadata(lxc)).ok();
    leftovers(guest, &Cgroup::of(guest)?, || ())?;
    let path = guest.root.exit_record(guest.vmid);
    if let Some(bundle) = bundle
        && !path.exists()
    {
        orphan_record(bundle.modified().ok()).write(&path)?;
    }
    drop(listener);
    Ok(())
}

/// All that an earlier monitor left. Its mounts need nothing: they went with its namespace.
pub(crate) fn leftovers(guest: &Guest, cgroup: &Cgroup, reap: impl FnMut()) -> Result<()> {
    end_processes(guest, cgroup, reap)?;
    remove_files(guest)
}

/// Processes, cgroups, libcrun's state and network interfaces, in the order in which one holds the
/// next.
pub(crate) fn end_processes(guest: &Guest, cgroup: &Cgroup, reap: impl FnMut()) -> Result<()> {
    if !cgroup.destroy(reap)? {
        return Err(Error::Unkillable(guest.vmid));
    }
    let state = guest.root.libcrun_state().join(guest.name());
    if state.exists() {
        crun::forget(guest, &state)?;
    }
    net::remove(guest)
}

pub(crate) fn remove_files(guest: &Guest) -> Result<()> {
    apparmor::unload(guest)?;
    remove(&guest.config_json())?;
    remove(&guest.root.mknod_socket(guest.vmid))?;
    for name in ["console.sock", lxc::CONFIG, lxc::SECCOMP, lxc::OOM] {
        remove(&guest.root.guest_run(guest.vmid).join(name))?;
    }
    let (root, vmid) = (&guest.root, guest.vmid);
    for folder in [root.rootfs_view(vmid), root.device_dir(vmid), names::folder(guest)] {
        match fs::remove_dir(folder) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
    }
    lxc_tools::hide(guest)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What can still be said of a container whose monitor was killed: the bundle was written when it
/// was started.
fn orphan_record(written: Option<SystemTime>) -> ExitRecord {
    let endtime = epoch_seconds();
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let starttime = written.and_then(since).map_or(endtime, |since| since.as_secs());
    ExitRecord {
        starttime,
        endtime,
        duration_ms: endtime.saturating_sub(starttime) * 1000,
        error: Some("the monitor was killed, so the exit status is unknown".to_owned()),
        unheard: true,
        ..ExitRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_orphan_has_times_but_no_status() {
        let record = orphan_record(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)));
        assert_eq!((record.starttime, record.exit_code, record.signal), (100, None, None));
        assert!(record.endtime > 100 && record.error.is_some());
    }
}
