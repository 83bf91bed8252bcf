//! The note that a container is being made: written before anything is made, removed when all of it
//! is. What a daemon finds of it at its start is what a killed one left behind.

use std::io;
use std::path::Path;

use fs_err as fs;
use openapi::Vmid;
use pve_integration::atomic;
use pve_integration::layout::Root;
use serde::{Deserialize, Serialize};

/// Which volumes were there before, so that only new ones are ever removed, and who unpacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Storages that get a volume.
    pub(crate) storages: Vec<String>,
    /// Volumes of this number that were there before.
    pub(crate) before: Vec<String>,
    pub(crate) worker: Option<Worker>,
}

/// A process by pid and start, which together are never used again before the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl Journal {
    pub(crate) fn write(&self, root: &Root, vmid: Vmid) -> io::Result<()> {
        let path = root.creating(vmid);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let bytes = serde_json::to_vec(self)?;
        atomic::write(&path, 0o600, &bytes)
    }

    /// What it says, or nothing if it was never written whole: then nothing was made either.
    fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?).unwrap_or_default())
    }

    pub(crate) fn remove(root: &Root, vmid: Vmid) -> io::Result<()> {
        match fs::remove_file(root.creating(vmid)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Every one there is.
    pub(crate) fn all(root: &Root) -> io::Result<Vec<(Vmid, Self)>> {
        let dir = root.state_dir().join("creating");
        let names = match fs::read_dir(dir) {
            Ok(names) => names,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut found = Vec::new();
        for name in names {
            let name = name?;
            let vmid = name.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(vmid) = vmid {
                found.push((vmid, Self::read(&name.path())?));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        let vmid: Vmid = "200".parse().unwrap();
        let journal = Journal {
            storages: vec!["local".to_owned()],
            before: vec!["local:200/vm-200-disk-0.raw".to_owned()],
            worker: Some(Worker { pid: 7, start: 9 }),
        };

        assert_eq!(Journal::all(&root).unwrap(), []);
        journal.write(&root, vmid).unwrap();
        assert_eq!(Journal::all(&root).unwrap(), [(vmid, journal)]);
        Journal::remove(&root, vmid).unwrap();
        Journal::remove(&root, vmid).unwrap();
        assert_eq!(Journal::all(&root).unwrap(), []);
    }
}
