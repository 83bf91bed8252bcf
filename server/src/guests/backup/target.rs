//! Where a run puts its backups: a storage, or any folder.

use std::path::PathBuf;

use openapi::{Vmid, VolumeId};
use pve_integration::storage::{ContentType, DirStorage, StorageError};
use pve_integration::vzdump::{ArchiveInfo, BackupKind, Mark, Options, Retention, mark};

use super::super::volumes::Storages;
use super::super::{GuestError, Guests};

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) folder: PathBuf,
    storage: Option<DirStorage>,
    pub(super) retention: Retention,
    /// Of the storage's own configuration.
    max_protected: Option<i64>,
}

impl Target {
    /// In PVE's words, of which a storage that is not there gets two sentences.
    pub(super) fn open(guests: &Guests, options: &Options) -> Result<Self, GuestError> {
        let default = || options.default_retention.clone();
        let Some(id) = &options.storage else {
            let dir = options.dumpdir.clone().unwrap_or_default();
            let folder = guests.0.root.below(dir.trim_end_matches('/'));
            if !folder.is_dir() {
                return Err(GuestError::die(format!("dumpdir '{dir}' does not exist")));
            }
            let retention = options.retention.clone().unwrap_or_else(default);
            return Ok(Self { folder, storage: None, retention, max_protected: None });
        };
        let storages = Storages::read(&guests.0.root, &guests.0.node)?;
        let active = storages.require(id).and_then(|dir| dir.activate().map(|()| dir));
        let section = storages.section(id).map_err(|err| err.to_string()).and_then(|section| {
            if section.content().contains(&ContentType::Backup) {
                return Ok(section);
            }
            Err(format!("can't use storage '{id}' for backups - wrong content type"))
        });
        let mut errors = Vec::new();
        if let Err(err) = &active {
            errors.push(format!("could not activate storage '{id}': {err}"));
        }
        if let Err(err) = &section {
            errors.push(format!("could not get storage information for '{id}': {err}"));
        }
        let (Ok(dir), Ok(section)) = (active, section) else {
            return Err(GuestError::die(errors.join("\n")));
        };
        let own = section.get("prune-backups").and_then(|text| Retention::parse(text).ok());
        Ok(Self {
            folder: dir.folder(ContentType::Backup),
            storage: Some(dir),
            retention: options.retention.clone().or(own).unwrap_or_else(default),
            max_protected: section.get("max-protected-backups").and_then(|text| text.parse().ok()),
        })
    }

    /// PVE's limits on how many there may be, for a run that prunes nothing.
    pub(super) fn require_room(
        &self,
        vmid: Vmid,
        options: &Options,
        protected_limit: Option<u64>,
    ) -> Result<(), GuestError> {
        let limit = self.retention.limit();
        let removes = options.remove && !self.retention.keeps_all();
        if !options.protected && (limit == 0 || removes) {
            return Ok(());
        }
        let marks = self.marks(vmid);
        let count = |protected: bool| {
            let of = marks.iter().filter(|(_, mark)| (*mark == Mark::Protected) == protected);
            of.count() as u64
        };
        if !options.protected && count(false) >= limit {
            return Err(GuestError::die(format!(
                "There is a max backup limit of {limit} enforced by the target storage or the \
                 vzdump parameters. Either increase the limit or delete old backups."
            )));
        }
        let most = match self.max_protected {
            Some(most) => u64::try_from(most).ok(),
            None => protected_limit,
        };
        match (most, &options.storage) {
            (Some(most), Some(id)) if options.protected && count(true) >= most => {
                Err(GuestError::die(format!(
                    "The number of protected backups per guest is limited to {most} on storage \
                     '{id}'"
                )))
            }
            _ => Ok(()),
        }
    }

    fn marks(&self, vmid: Vmid) -> Vec<(PathBuf, Mark)> {
        match &self.storage {
            Some(dir) => {
                let backups = dir.marked_backups(&self.retention, Some(vmid), Some("lxc"));
                let path = |volid: &VolumeId| self.folder.join(file_name(volid));
                backups.iter().map(|backup| (path(&backup.volid), backup.mark)).collect()
            }
            None => self.marks_in_folder(vmid),
        }
    }

    fn marks_in_folder(&self, vmid: Vmid) -> Vec<(PathBuf, Mark)> {
        let entries = fs_err::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        let (mut paths, mut marks) = (Vec::new(), Vec::new());
        for name in names {
            let info = ArchiveInfo::of(&name);
            let standard = info.standard.filter(|standard| standard.vmid == vmid);
            let Some(standard) = standard.filter(|_| is_archive(info.kind, &name)) else {
                continue;
            };
            let path = self.folder.join(&name);
            let protected = self.folder.join(format!("{name}.protected")).exists();
            marks.push((standard.ctime, protected.then_some(Mark::Protected)));
            paths.push(path);
        }
        mark(&mut marks, &self.retention, &pve_integration::local_time::zone());
        let marks = marks.into_iter().map(|(_, mark)| mark.unwrap_or(Mark::Keep));
        paths.into_iter().zip(marks).collect()
    }

    pub(super) fn volume(&self, file: &str) -> Option<VolumeId> {
        let dir = self.storage.as_ref()?;
        format!("{}:backup/{file}", dir.id()).parse().ok()
    }

    pub(super) fn set_notes(&self, file: &str, text: &str) -> Result<(), StorageError> {
        match (&self.storage, self.volume(file)) {
            (Some(dir), Some(volume)) => dir.set_notes(&volume, text),
            _ => Ok(()),
        }
    }

    pub(super) fn protect(&self, file: &str) -> Result<(), StorageError> {
        match (&self.storage, self.volume(file)) {
            (Some(dir), Some(volume)) => dir.set_protected(&volume, true),
            _ => Ok(()),
        }
    }

    /// Remove what the retention does not cover; how many.
    pub(super) fn prune(&self, vmid: Vmid, say: &dyn Fn(String)) -> Result<usize, GuestError> {
        if let Some(dir) = &self.storage {
            let backups = dir.marked_backups(&self.retention, Some(vmid), Some("lxc"));
            let all = dir.prune(&backups, |volid, err| match err {
                None => say(format!("removing backup '{volid}'")),
                Some(err) => say(format!("error when removing backup '{volid}' - {err}")),
            });
            if !all {
                return Err(GuestError::die("error pruning backups - check log"));
            }
            return Ok(backups.iter().filter(|backup| backup.mark == Mark::Remove).count());
        }
        let doomed = self.marks_in_folder(vmid);
        let doomed = doomed.into_iter().filter(|(_, mark)| *mark == Mark::Remove);
        let mut pruned = 0;
        for (path, _) in doomed {
            say(format!("delete old backup '{}'", path.display()));
            fs_err::remove_file(&path).map_err(|err| GuestError::io("prune", err))?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = ArchiveInfo::of(name).standard.map(|standard| standard.stem);
            let beside = [format!("{name}.notes"), format!("{}.log", stem.unwrap_or(name))];
            for name in beside {
                match fs_err::remove_file(self.folder.join(name)) {
                    Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                        return Err(GuestError::io("prune", err));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            pruned += 1;
        }
        Ok(pruned)
    }
}

fn file_name(volid: &VolumeId) -> &str {
    volid.name().trim_start_matches("backup/")
}

fn is_archive(kind: BackupKind, name: &str) -> bool {
    let packings = [".tar", ".tar.gz", ".tar.zst", ".tar.lzo", ".tar.bz2", ".tgz"];
    kind == BackupKind::Lxc && packings.iter().any(|packing| name.ends_with(packing))
}
