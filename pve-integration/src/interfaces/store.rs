//! The files: what holds, what waits, and the difference.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use super::{Interfaces, InterfacesError, Link, links, parse};
use crate::layout::Root;
use crate::{atomic, file_lock};

const FILE: &str = "/etc/network/interfaces";
const NEW: &str = "/etc/network/interfaces.new";

/// The newest configuration, and how it differs from the one that holds.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    /// Nothing without a file.
    pub interfaces: Option<Interfaces>,
    pub changes: Option<String>,
}

fn of_machine(root: &Root) -> bool {
    root.prefix() == Path::new("/")
}

/// Of this machine only where the file is this machine's.
fn known_links(root: &Root) -> io::Result<Vec<Link>> {
    if of_machine(root) { links() } else { Ok(Vec::new()) }
}

fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

pub fn read(root: &Root) -> Result<Pending, InterfacesError> {
    let (file, new) = (root.below(FILE), root.below(NEW));
    let waiting = read_file(&new)?;
    let changes = if waiting.is_some() { difference(&file, &new)? } else { None };
    let bytes = match waiting {
        Some(bytes) => Some(bytes),
        None => read_file(&file)?,
    };
    let Some(bytes) = bytes else { return Ok(Pending::default()) };
    Ok(Pending { interfaces: Some(parse(&bytes, &known_links(root)?)), changes })
}

/// As PVE shows it, under the files' names on a node.
fn difference(file: &Path, new: &Path) -> io::Result<Option<String>> {
    let label = |name: &str, path: &Path| {
        let time = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let time = time.and_then(|time| jiff::Timestamp::try_from(time).ok()).unwrap_or_default();
        format!("{name}\t{}", time.strftime("%Y-%m-%d %H:%M:%S.%9f +0000"))
    };
    let shown = Command::new("diff")
        .args(["-b", "-N", "-u", "--label", &label(FILE, file), "--label", &label(NEW, new)])
        .args([file, new])
        .output()?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Lock, read, change, write beside; the file itself holds until a reload.
pub fn edit(
    root: &Root,
    change: impl FnOnce(&mut Interfaces) -> Result<(), InterfacesError>,
) -> Result<(), InterfacesError> {
    let _lock = file_lock::take(&root.below("/etc/network/.pve-interfaces.lock"))?;
    let read = read(root)?.interfaces;
    let mut interfaces = match read {
        Some(interfaces) => interfaces,
        None => parse(b"", &known_links(root)?),
    };
    change(&mut interfaces)?;
    let text = interfaces.to_text(ifupdown2(root).exists())?;
    Ok(atomic::write(&root.below(NEW), 0o644, text.as_bytes())?)
}

/// Forgets what waits.
pub fn revert(root: &Root) -> io::Result<()> {
    match fs::remove_file(root.below(NEW)) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What waits is what holds from now on.
pub fn promote(root: &Root) -> io::Result<()> {
    match fs::rename(root.below(NEW), root.below(FILE)) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where the program lies that can reload the network.
pub fn ifupdown2(root: &Root) -> PathBuf {
    root.below("/usr/share/ifupdown2")
}
