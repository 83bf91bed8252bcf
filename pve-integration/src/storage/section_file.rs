//! storage.cfg: `type: id` lines, each followed by indented `key value` lines.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use fs_err as fs;
use openapi::{NodeName, StorageId};

use super::{ContentType, DirStorage, StorageError};
use crate::layout::Root;

const LOCAL_PATH: &str = "/var/lib/vz";

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    id: StorageId,
    kind: String,
    properties: BTreeMap<String, String>,
}

impl Storage {
    pub fn id(&self) -> &StorageId {
        &self.id
    }

    /// PVE's `type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn enabled(&self) -> bool {
        !self.flag("disable")
    }

    pub fn shared(&self) -> bool {
        self.flag("shared")
    }

    /// `nodes` limits a storage to some nodes; without it, all have it.
    pub fn on_node(&self, node: &NodeName) -> bool {
        let Some(nodes) = self.get("nodes") else { return true };
        split_list(nodes).any(|name| name == node.to_string())
    }

    /// PVE's default is that of its `dir` plug-in, which most others share.
    pub fn content(&self) -> BTreeSet<ContentType> {
        let Some(words) = self.get("content") else {
            return BTreeSet::from([ContentType::Images, ContentType::Rootdir]);
        };
        split_list(words).filter_map(ContentType::from_word).collect()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }

    pub(super) fn new(id: StorageId, kind: String, properties: BTreeMap<String, String>) -> Self {
        Self { id, kind, properties }
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        self.properties.insert(key.to_owned(), value);
    }

    pub(super) fn unset(&mut self, key: &str) {
        self.properties.remove(key);
    }
}

/// As PVE writes it (its `SectionConfig.pm`): what switches the storage off, what the type cannot do
/// without, then the rest, each by name.
impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.id)?;
        if !self.enabled() {
            writeln!(f, "\tdisable")?;
        }
        let required = required(&self.kind);
        let (first, rest): (Vec<_>, Vec<_>) =
            self.properties().partition(|(key, _)| required.contains(key));
        let told = first.into_iter().chain(rest);
        for (key, value) in told.filter(|(key, value)| *key != "disable" && !value.is_empty()) {
            writeln!(f, "\t{key} {value}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    storages: Vec<Storage>,
}

impl StorageConfig {
    /// Without the file there still is `local`, as in PVE.
    pub fn read(root: &Root) -> Result<Self, StorageError> {
        let path = root.storage_cfg();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::parse("")),
            Err(err) => Err(StorageError::io("read", path)(err)),
        }
    }

    /// Lines that make no sense are skipped, as PVE does with a warning.
    pub fn parse(text: &str) -> Self {
        let mut storages: Vec<Storage> = Vec::new();
        let mut open = false;
        for line in text.lines() {
            if line.trim().is_empty() {
                open = false;
            } else if line.starts_with('#') {
            } else if let Some(storage) = header(line) {
                storages.retain(|other| other.id != storage.id);
                storages.push(storage);
                open = true;
            } else if let Some(storage) = storages.last_mut().filter(|_| open && indented(line)) {
                let (key, value) =
                    line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), "1"));
                storage.properties.insert(key.to_owned(), value.trim().to_owned());
            } else {
                open = false;
            }
        }
        let mut config = Self { storages };
        config.ensure_local();
        config
    }

    pub fn iter(&self) -> impl Iterator<Item = &Storage> {
        self.storages.iter()
    }

    pub fn get(&self, id: &StorageId) -> Result<&Storage, StorageError> {
        let found = self.storages.iter().find(|storage| storage.id == *id);
        found.ok_or_else(|| StorageError::NoStorage(id.clone()))
    }

    pub(super) fn get_mut(&mut self, id: &StorageId) -> Result<&mut Storage, StorageError> {
        let found = self.storages.iter_mut().find(|storage| storage.id == *id);
        found.ok_or_else(|| StorageError::NoStorage(id.clone()))
    }

    pub(super) fn push(&mut self, storage: Storage) {
        self.storages.push(storage);
    }

    pub(super) fn remove(&mut self, id: &StorageId) {
        self.storages.retain(|storage| storage.id != *id);
    }

    /// A storage whose volumes can be used on `node`.
    pub fn dir(
        &self,
        root: &Root,
        node: &NodeName,
        id: &StorageId,
    ) -> Result<DirStorage, StorageError> {
        let storage = self.get(id)?;
        if !storage.on_node(node) {
            return Err(StorageError::NotOnNode(id.clone(), node.clone()));
        }
        if !storage.enabled() {
            return Err(StorageError::Disabled(id.clone()));
        }
        DirStorage::new(root, storage)
    }

    /// PVE wants `local` to be the same everywhere: a `dir` at its usual path, on every node.
    fn ensure_local(&mut self) {
        let at = self.storages.iter().position(|storage| storage.id.to_string() == "local");
        let usual = |storage: &Storage| {
            storage.kind == "dir" && storage.get("path").is_none_or(|path| path == LOCAL_PATH)
        };
        if let Some(local) = at.map(|at| &mut self.storages[at]).filter(|local| usual(local)) {
            local.properties.insert("path".to_owned(), LOCAL_PATH.to_owned());
            local.properties.remove("nodes");
            return;
        }
        let properties = [
            ("path", LOCAL_PATH),
            ("content", "backup,images,iso,rootdir,snippets,vztmpl"),
            ("prune-backups", "keep-all=1"),
        ];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let id = "local".parse().expect("'local' is a storage id");
        self.storages.retain(|storage| storage.id != id);
        self.storages.insert(0, Storage { id, kind: "dir".to_owned(), properties });
    }
}

impl fmt::Display for StorageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.storages.iter().try_for_each(|storage| writeln!(f, "{storage}"))
    }
}

/// What a storage of a type must have; a plug-in that is not PVE's own is not known here.
pub(super) fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "dir" | "btrfs" | "cephfs" => &["path"],
        "nfs" => &["export", "path", "server"],
        "cifs" => &["path", "server", "share"],
        "pbs" => &["datastore", "server"],
        "lvm" => &["vgname"],
        "lvmthin" => &["thinpool", "vgname"],
        "iscsi" | "iscsidirect" => &["portal", "target"],
        "zfspool" => &["pool"],
        "zfs" => &["blocksize", "iscsiprovider", "pool", "portal", "target"],
        "esxi" => &["server", "username"],
        _ => &[],
    }
}

pub(super) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "yes" | "on" | "true")
}

fn indented(line: &str) -> bool {
    line.starts_with(char::is_whitespace)
}

fn header(line: &str) -> Option<Storage> {
    let (kind, id) = line.split_once(':').filter(|_| !indented(line))?;
    let blank = kind.contains(char::is_whitespace);
    let id = id.trim().parse().ok().filter(|_| !blank)?;
    Some(Storage { id, kind: kind.to_ascii_lowercase(), properties: BTreeMap::new() })
}

pub(super) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', ' ', '\t']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,rootdir\n\tnodes pve9\n\n\
                       DIR: fast\n\tpath /mnt/fast\n\tdisable\n\nnfs: far\n\tserver x\n\tnodes pve1,pve2\n";

    fn root() -> Root {
        Root::new("/srv").unwrap()
    }

    #[test]
    fn reads_sections() {
        let config = StorageConfig::parse(CFG);
        let names: Vec<_> =
            config.iter().map(|s| (s.id().to_string(), s.kind().to_owned())).collect();

        assert_eq!(
            names,
            [("local", "dir"), ("fast", "dir"), ("far", "nfs")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(config.get(&"far".parse().unwrap()).unwrap().get("server"), Some("x"));
        assert!(config.iter().next().unwrap().on_node(&"pve1".parse().unwrap()));
    }

    #[test]
    fn says_why_a_storage_cannot_be_used() {
        let config = StorageConfig::parse(CFG);
        let reason = |id: &str, node: &str| {
            let node = node.parse().unwrap();
            config.dir(&root(), &node, &id.parse().unwrap()).unwrap_err().to_string()
        };

        assert_eq!(reason("nope", "pve1"), "storage 'nope' does not exist");
        assert_eq!(reason("fast", "pve1"), "storage 'fast' is disabled");
        assert_eq!(reason("far", "pve9"), "storage 'far' is not available on node 'pve9'");
        assert!(reason("far", "pve1").contains("type 'nfs'"));
    }

    #[test]
    fn always_has_local_at_its_place_below_the_root() {
        for text in ["", "dir: local\n\tpath /elsewhere\n", "nfs: local\n\tserver x\n"] {
            let config = StorageConfig::parse(text);
            let node = "pve1".parse().unwrap();
            let local = config.dir(&root(), &node, &"local".parse().unwrap()).unwrap();
            assert_eq!(local.path(), std::path::Path::new("/srv/var/lib/vz"));
        }
    }
}
