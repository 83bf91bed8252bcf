//! Configs for lists: one directory scan, and only what changed is read and parsed again.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use openapi::{Digest, NodeName, Vmid};

use super::{ConfigError, ContainerConfig, digest};
use crate::layout::Root;

/// A file this young may be rewritten within the clock's tick, with the same size and, as inodes
/// are used again, under the same number. Such an entry is given out but not believed twice.
const SETTLED: Duration = Duration::from_millis(100);

/// A parsed file and its digest.
#[derive(Debug)]
pub struct Entry {
    pub config: ContainerConfig,
    pub digest: Digest,
}

type Key = (NodeName, Vmid);

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

/// Shared between threads. The lock is held for map operations only, never while a file is read.
#[derive(Debug, Default)]
pub struct ConfigCache {
    entries: Mutex<HashMap<Key, (Stamp, Arc<Entry>)>>,
}

impl ConfigCache {
    pub fn get(&self, root: &Root, node: &NodeName, vmid: Vmid) -> Result<Arc<Entry>, ConfigError> {
        let path = root.lxc_config(node, vmid);
        self.load(&path, node, vmid).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                return ConfigError::NotFound(node.clone(), vmid);
            }
            ConfigError::Read { path, source }
        })
    }

    /// Every container of `node`. A file that goes away meanwhile is left out; so is one that
    /// cannot be read, as one broken file must not hide the others.
    pub fn list(
        &self,
        root: &Root,
        node: &NodeName,
    ) -> Result<BTreeMap<Vmid, Arc<Entry>>, ConfigError> {
        let dir = root.lxc_configs(node);
        let names = match fs::read_dir(&dir) {
            Ok(names) => names,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(ConfigError::Read { path: dir, source }),
        };
        let mut found = BTreeMap::new();
        for name in names.flatten() {
            let vmid =
                name.file_name().to_str().and_then(|n| n.strip_suffix(".conf")?.parse().ok());
            let Some(vmid) = vmid else { continue };
            if let Ok(entry) = self.load(&name.path(), node, vmid) {
                found.insert(vmid, entry);
            }
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(other, vmid), _| other != node || found.contains_key(vmid));
        Ok(found)
    }

    fn load(&self, path: &Path, node: &NodeName, vmid: Vmid) -> io::Result<Arc<Entry>> {
        let key = (node.clone(), vmid);
        let metadata = fs::metadata(path)?;
        let stamp = stamp(&metadata);
        {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, entry)) = entries.get(&key).filter(|(known, _)| *known == stamp) {
                return Ok(Arc::clone(entry));
            }
        }
        let bytes = fs::read(path)?;
        let (config, digest) = (ContainerConfig::parse(&bytes), digest(&bytes));
        let entry = Arc::new(Entry { config, digest });
        let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        // Stamped before the read: if the file changed in between, the next look sees it.
        if age.is_some_and(|age| age > SETTLED) {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.insert(key, (stamp, Arc::clone(&entry)));
        }
        Ok(entry)
    }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    Stamp {
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        size: metadata.size(),
        inode: metadata.ino(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Root, node: &NodeName, vmid: &str, text: &str, settled: bool) {
        let path = root.lxc_config(node, vmid.parse().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if settled {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.file().set_modified(SystemTime::now() - Duration::from_secs(5)).unwrap();
        }
    }

    #[test]
    fn parses_a_settled_file_once_and_a_changed_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let (cache, vmid) = (ConfigCache::default(), "100".parse().unwrap());
        write(&root, &node, "100", "memory: 512\n", true);

        let first = cache.get(&root, &node, vmid).unwrap();
        let again = cache.get(&root, &node, vmid).unwrap();
        write(&root, &node, "100", "memory: 256\n", false);
        let changed = cache.get(&root, &node, vmid).unwrap();

        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(changed.config.memory(), 256);
    }

    #[test]
    fn lists_configs_and_forgets_removed_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let cache = ConfigCache::default();
        assert!(cache.list(&root, &node).unwrap().is_empty());
        for name in ["100", "1000"] {
            write(&root, &node, name, "memory: 512\n", true);
        }
        fs::write(root.lxc_configs(&node).join(".lxcri-x.tmp"), "").unwrap();

        let vmids: Vec<_> = cache.list(&root, &node).unwrap().into_keys().map(Vmid::get).collect();
        fs::remove_file(root.lxc_config(&node, "100".parse().unwrap())).unwrap();

        assert_eq!(vmids, [100, 1000]);
        assert_eq!(cache.list(&root, &node).unwrap().len(), 1);
        assert_eq!(cache.entries.lock().unwrap().len(), 1);
    }
}
