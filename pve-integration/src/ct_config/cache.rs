//! Configs for lists: at most one directory scan, none where the kernel says that nothing changed, and
//! only what changed is read and parsed again.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use openapi::{Digest, NodeName, Vmid};

use super::{ConfigError, ContainerConfig, digest};
use crate::layout::Root;
use crate::stamp::Stamp;
use crate::watch::Watch;

/// A parsed file and its digest.
#[derive(Debug)]
pub struct Entry {
    pub config: ContainerConfig,
    pub digest: Digest,
}

/// Every container of a node.
pub type Configs = BTreeMap<Vmid, Arc<Entry>>;

type OfNode = HashMap<Vmid, (Stamp, Arc<Entry>)>;

/// The last list of one node.
#[derive(Debug)]
struct Listed {
    watch: Watch,
    /// Counts the changes seen. A list that was begun before one is not kept.
    changes: u64,
    /// Holds until the watch says otherwise.
    configs: Option<Arc<Configs>>,
}

/// Shared between threads. The lock is held for map operations only, never while a file is read.
#[derive(Debug, Default)]
pub struct ConfigCache {
    entries: Mutex<HashMap<NodeName, OfNode>>,
    listed: Mutex<HashMap<NodeName, Listed>>,
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

    /// Every container of `node`, the same list as before, not just an equal one, for as long as it
    /// is known that nothing changed. A file that goes away meanwhile is left out; so is one that
    /// cannot be read, as one broken file must not hide the others.
    pub fn list(&self, root: &Root, node: &NodeName) -> Result<Arc<Configs>, ConfigError> {
        let dir = root.lxc_configs(node);
        let begun = {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            match current(&mut listed, node, &dir) {
                Some(Listed { configs: Some(configs), .. }) => return Ok(Arc::clone(configs)),
                Some(Listed { changes, .. }) => Some(*changes),
                None => None,
            }
        };
        let (configs, all_seen) = self.scan(&dir, node)?;
        let configs = Arc::new(configs);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if all_seen
            && let Some(listed) = listed.get_mut(node)
            && Some(listed.changes) == begun
        {
            listed.configs = Some(Arc::clone(&configs));
        }
        Ok(configs)
    }

    /// The last list, if it is known that nothing changed since. Never waits for a disk.
    pub fn unchanged(&self, root: &Root, node: &NodeName) -> Option<Arc<Configs>> {
        let mut listed = self.listed.try_lock().ok()?;
        current(&mut listed, node, &root.lxc_configs(node))?.configs.clone()
    }

    /// What there is, and whether a watch sees every change to it.
    fn scan(&self, dir: &Path, node: &NodeName) -> Result<(Configs, bool), ConfigError> {
        let names = match fs::read_dir(dir) {
            Ok(names) => names,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                return Ok((BTreeMap::new(), false));
            }
            Err(source) => return Err(ConfigError::Read { path: dir.to_owned(), source }),
        };
        let (mut found, mut all_seen) = (BTreeMap::new(), true);
        for name in names.flatten() {
            let vmid =
                name.file_name().to_str().and_then(|n| n.strip_suffix(".conf")?.parse().ok());
            let Some(vmid) = vmid else { continue };
            let entry = name.metadata().and_then(|metadata| {
                // Of either, the file may be written to by another folder's name.
                all_seen &= !metadata.is_symlink() && metadata.nlink() == 1;
                let metadata = followed(metadata, &name)?;
                self.load(&metadata, || name.path(), node, vmid)
            });
            if let Ok(entry) = entry {
                found.insert(vmid, entry);
            }
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = entries.get_mut(node) {
            entries.retain(|vmid, _| found.contains_key(vmid));
        }
        Ok((found, all_seen))
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

/// What is watched of `node`, begun if it is not yet. `None` where nothing can be.
fn current<'a>(
    listed: &'a mut HashMap<NodeName, Listed>,
    node: &NodeName,
    dir: &Path,
) -> Option<&'a Listed> {
    if listed.get(node).is_some_and(|listed| !listed.watch.is_of(dir)) {
        listed.remove(node);
    }
    if !listed.contains_key(node) {
        let watch = Watch::new(dir)?;
        listed.insert(node.clone(), Listed { watch, changes: 0, configs: None });
    }
    let listed = listed.get_mut(node)?;
    if !listed.watch.was_quiet() {
        listed.changes += 1;
        listed.configs = None;
    }
    Some(listed)
}

/// `metadata` was taken by the directory's descriptor, which spares the kernel the way there.
fn followed(metadata: Metadata, name: &fs::DirEntry) -> io::Result<Metadata> {
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

        let vmids: Vec<_> =
            cache.list(&root, &node).unwrap().keys().map(|vmid| vmid.get()).collect();
        fs::remove_file(root.lxc_config(&node, "100".parse().unwrap())).unwrap();

        assert_eq!(vmids, [100, 1000]);
        assert_eq!(cache.list(&root, &node).unwrap().len(), 1);
        assert_eq!(cache.entries.lock().unwrap()[&node].len(), 1);
    }

    /// What keeps a list of a thousand containers cheaper still.
    #[test]
    fn a_list_of_which_nothing_changed_is_the_same_list() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let cache = ConfigCache::default();
        let vmid: Vmid = "100".parse().unwrap();
        write(&root, &node, "100", "memory: 512\n", false);
        if Watch::new(&root.lxc_configs(&node)).is_none() {
            return; // cannot be watched here
        }

        let first = cache.list(&root, &node).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.list(&root, &node).unwrap()));
        assert!(Arc::ptr_eq(&first, &cache.unchanged(&root, &node).unwrap()));

        fs::write(root.lxc_config(&node, vmid), "memory: 256\n").unwrap();
        assert!(cache.unchanged(&root, &node).is_none());
        assert_eq!(cache.list(&root, &node).unwrap()[&vmid].config.memory(), 256);

        let (lxc, old) = (root.lxc_configs(&node), dir.path().join("old"));
        fs::rename(&lxc, &old).unwrap();
        fs::create_dir(&lxc).unwrap();
        assert!(cache.list(&root, &node).unwrap().is_empty(), "another folder is there now");
    }

    #[test]
    fn a_config_with_a_second_name_is_looked_at_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (root, node) = (Root::new(dir.path()).unwrap(), "pve1".parse().unwrap());
        let cache = ConfigCache::default();
        let vmid: Vmid = "100".parse().unwrap();
        write(&root, &node, "100", "memory: 512\n", true);
        let elsewhere = dir.path().join("elsewhere");
        fs::hard_link(root.lxc_config(&node, vmid), &elsewhere).unwrap();
        cache.list(&root, &node).unwrap();

        fs::write(&elsewhere, "memory: 256\n").unwrap();

        assert_eq!(cache.list(&root, &node).unwrap()[&vmid].config.memory(), 256);
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
