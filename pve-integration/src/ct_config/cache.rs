//! Configs for lists: one directory scan, and only what changed is read and parsed again.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use openapi::{Digest, NodeName, Vmid};

use super::{ConfigError, ContainerConfig, digest};
use crate::layout::Root;
use crate::stamp::Stamp;

/// A parsed file and its digest.
#[derive(Debug)]
pub struct Entry {
    pub config: ContainerConfig,
    pub digest: Digest,
}

type OfNode = HashMap<Vmid, (Stamp, Arc<Entry>)>;

/// Shared between threads. The lock is held for map operations only, never while a file is read.
#[derive(Debug, Default)]
pub struct ConfigCache {
    entries: Mutex<HashMap<NodeName, OfNode>>,
    parsed: AtomicU64,
}

impl ConfigCache {
    /// The same entry as before, not just an equal one, for as long as the file does not change.
    pub fn get(&self, root: &Root, node: &NodeName, vmid: Vmid) -> Result<Arc<Entry>, ConfigError> {
        let path = root.lxc_config(node, vmid);
        let entry = fs::metadata(&path)
            .and_then(|metadata| self.load(&metadata, || path.clone(), node, vmid));
        entry.map_err(|source| {
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
            let entry = metadata(&name)
                .and_then(|metadata| self.load(&metadata, || name.path(), node, vmid));
            if let Ok(entry) = entry {
                found.insert(vmid, entry);
            }
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = entries.get_mut(node) {
            entries.retain(|vmid, _| found.contains_key(vmid));
        }
        Ok(found)
    }

    /// How often a file was read and parsed, for tests of what is not.
    pub fn parsed(&self) -> u64 {
        self.parsed.load(Ordering::Relaxed)
    }

    fn known(&self, metadata: &Metadata, node: &NodeName, vmid: Vmid) -> Option<Arc<Entry>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, entry) = entries.get(node)?.get(&vmid)?;
        (*stamp == Stamp::of(metadata)).then(|| Arc::clone(entry))
    }

    fn load(
        &self,
        metadata: &Metadata,
        path: impl FnOnce() -> PathBuf,
        node: &NodeName,
        vmid: Vmid,
    ) -> io::Result<Arc<Entry>> {
        if let Some(known) = self.known(metadata, node, vmid) {
            return Ok(known);
        }
        let bytes = fs::read(path())?;
        self.parsed.fetch_add(1, Ordering::Relaxed);
        let (config, digest) = (ContainerConfig::parse(&bytes), digest(&bytes));
        let entry = Arc::new(Entry { config, digest });
        let stamp = Stamp::of(metadata);
        if stamp.is_settled() {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let entries = entries.entry(node.clone()).or_default();
            entries.insert(vmid, (stamp, Arc::clone(&entry)));
        }
        Ok(entry)
    }
}

/// By the directory's descriptor, which spares the kernel the way there. Links are followed.
fn metadata(name: &fs::DirEntry) -> io::Result<Metadata> {
    let metadata = name.metadata()?;
    if metadata.is_symlink() { fs::metadata(name.path()) } else { Ok(metadata) }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

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
        assert_eq!(cache.entries.lock().unwrap()[&node].len(), 1);
    }

    /// What keeps a list of a thousand containers cheap.
    #[test]
    fn a_list_parses_only_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let cache = ConfigCache::default();
        for vmid in 100..150 {
            write(&root, &node, &vmid.to_string(), "memory: 512\n", true);
        }
        for _ in 0..3 {
            cache.list(&root, &node).unwrap();
        }
        cache.get(&root, &node, "120".parse().unwrap()).unwrap();
        assert_eq!(cache.parsed(), 50);

        write(&root, &node, "120", "memory: 256\n", true);

        let listed = cache.list(&root, &node).unwrap();
        assert_eq!(cache.parsed(), 51);
        assert_eq!(listed[&"120".parse().unwrap()].config.memory(), 256);
    }

    #[test]
    fn follows_links_to_what_they_lead_to_now() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let cache = ConfigCache::default();
        write(&root, &node, "100", "memory: 512\n", true);
        let [target, link] = ["100", "101"].map(|id| root.lxc_config(&node, id.parse().unwrap()));
        std::os::unix::fs::symlink(target, link).unwrap();
        let memory = || cache.list(&root, &node).unwrap()[&"101".parse().unwrap()].config.memory();

        assert_eq!(memory(), 512);
        write(&root, &node, "100", "memory: 256\n", true);
        assert_eq!(memory(), 256);
    }
}
