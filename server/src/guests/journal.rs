//! The note that a container is being made.

use serde::{Deserialize, Serialize};

use super::note::Note;

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

impl Note for Journal {
    const FOLDER: &'static str = "creating";
}

#[cfg(test)]
mod tests {
    use openapi::Vmid;
    use pve_integration::layout::Root;

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
