//! The files themselves: read, changed under PVE's lock, copied and removed with their guest.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use fs_err as fs;
use openapi::Vmid;

use super::{Firewall, FirewallError, Parsed, parse, parse_cluster};
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

/// A guest's firewall and what the data centre's file names for all of them.
#[derive(Clone, Debug, Default)]
pub struct Firewalls {
    pub cluster: Firewall,
    pub guest: Firewall,
    /// What was left out or is wrong, each with its file and line.
    pub warnings: Vec<String>,
}

fn path(root: &Root, name: &str) -> PathBuf {
    root.etc_pve().join("firewall").join(format!("{name}.fw"))
}

fn read(path: &PathBuf) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// A guest without a file has an empty firewall; whether there is such a guest is not asked.
pub fn load(root: &Root, vmid: Vmid) -> Result<Firewalls, FirewallError> {
    let (cluster, guest) = ("cluster".to_owned(), vmid.to_string());
    let mut warnings = Vec::new();
    let mut told = |name: &str, parsed: Parsed| {
        let lines = parsed.warnings.into_iter();
        warnings
            .extend(lines.map(|(line, text)| format!("firewall/{name}.fw (line {line}): {text}")));
        parsed.firewall
    };
    let cluster = told(&cluster, parse_cluster(&read(&path(root, &cluster))?));
    let guest = told(&guest, parse(&read(&path(root, &guest))?, &cluster));
    Ok(Firewalls { cluster, guest, warnings })
}

fn lock(root: &Root, vmid: Vmid) -> Result<ClusterLock, FirewallError> {
    Ok(ClusterLock::take(root, &format!("firewall-vm-{vmid}"))?)
}

/// Lock, read, change, write. Warnings are of lines that the new file does not have any more.
pub fn edit(
    root: &Root,
    vmid: Vmid,
    change: impl FnOnce(&Firewall, &mut Firewall) -> Result<(), FirewallError>,
) -> Result<Vec<String>, FirewallError> {
    let _lock = lock(root, vmid)?;
    let Firewalls { cluster, mut guest, warnings } = load(root, vmid)?;
    change(&cluster, &mut guest)?;
    let text = guest.to_text()?;
    if text.is_empty() {
        remove(root, vmid)?;
    } else {
        write(root, vmid, text.as_bytes())?;
    }
    Ok(warnings)
}

fn write(root: &Root, vmid: Vmid, bytes: &[u8]) -> io::Result<()> {
    let path = path(root, &vmid.to_string());
    fs::create_dir_all(root.etc_pve().join("firewall"))?;
    atomic::write(&path, 0o640, bytes)
}

/// A restored guest has the firewall of its backup, to the letter.
pub fn replace(root: &Root, vmid: Vmid, bytes: &[u8]) -> Result<(), FirewallError> {
    let _lock = lock(root, vmid)?;
    Ok(write(root, vmid, bytes)?)
}

pub fn is_there(root: &Root, vmid: Vmid) -> bool {
    path(root, &vmid.to_string()).exists()
}

/// With its guest. One that is not there is gone already.
pub fn remove(root: &Root, vmid: Vmid) -> io::Result<()> {
    match fs::remove_file(path(root, &vmid.to_string())) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A copy has the firewall of what it was copied from, to the letter, or none.
pub fn copy(root: &Root, from: Vmid, to: Vmid) -> Result<(), FirewallError> {
    let _lock = lock(root, to)?;
    let bytes = read(&path(root, &from.to_string()))?;
    if bytes.is_empty() {
        remove(root, to)?
    } else {
        write(root, to, &bytes)?
    }
    Ok(())
}
