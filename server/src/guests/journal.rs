//! The note that a container is being made.

use openapi::{StorageId, Vmid};
use serde::{Deserialize, Serialize};

use super::GuestError;
use super::note::Note;
use super::volumes::Storages;

/// Which volumes were there before, so that only new ones are ever removed, and who unpacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Storages that get a volume.
    pub(crate) storages: Vec<String>,
    /// Volumes of this number that were there before.
    pub(crate) before: Vec<String>,
    pub(crate) worker: Option<Worker>,
    /// The container was there before, and stays unless a whole one takes its place.
    #[serde(default)]
    pub(crate) existing: bool,
    /// A restore has all ready, and only the config is to be written. Once that is done, there is no
    /// way back, and this is what is still to do.
    #[serde(default)]
    pub(crate) replacing: Option<Replacing>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replacing {
    /// Volumes of the container that was there.
    pub(crate) doomed: Vec<String>,
    /// The firewall's rules in the backup. None leave those that are there.
    pub(crate) firewall: Option<Vec<u8>>,
}

/// A process by pid and start, which together are never used again before the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl Journal {
    /// May make volumes on `storages`.
    pub(super) fn on(
        known: &Storages<'_>,
        vmid: Vmid,
        storages: &[StorageId],
    ) -> Result<Self, GuestError> {
        let mut journal = Self::default();
        for storage in storages {
            journal.before.extend(known.volumes_of(storage, vmid)?.iter().map(ToString::to_string));
            journal.storages.push(storage.to_string());
        }
        Ok(journal)
    }

    pub(super) fn storages(&self) -> impl Iterator<Item = StorageId> {
        self.storages.iter().filter_map(|name| name.parse().ok())
    }
}

impl Note for Journal {
    const FOLDER: &'static str = "creating";
}

#[cfg(test)]
mod tests {
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
            existing: true,
            replacing: Some(Replacing::default()),
        };

        assert_eq!(Journal::all(&root).unwrap(), []);
        journal.write(&root, vmid).unwrap();
        assert_eq!(Journal::all(&root).unwrap(), [(vmid, journal)]);
        Journal::remove(&root, vmid).unwrap();
        Journal::remove(&root, vmid).unwrap();
        assert_eq!(Journal::all(&root).unwrap(), []);
    }
}
