//! Changing storage.cfg, under PVE's lock. Upstream: pve-storage's `API2/Storage/Config.pm` and
//! `Storage/DirPlugin.pm`. Only `dir` storages are made and changed: others have passwords, mounts
//! and pools that only their plug-ins know.

use std::collections::BTreeMap;
use std::io;

use fs_err as fs;
use openapi::{NodeName, StorageId};
use sha1::{Digest as _, Sha1};

use super::section_file::{is_true, required, split_list};
use super::{ContentType, Storage, StorageConfig, StorageError};
use crate::access::edit::forget_storage;
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

/// What a `dir` storage may say, and whether it is said once and for all.
const OPTIONS: [(&str, bool); 16] = [
    ("bwlimit", false),
    ("content", false),
    ("content-dirs", false),
    ("create-base-path", false),
    ("create-subdirs", false),
    ("disable", false),
    ("format", false),
    ("is_mountpoint", false),
    ("max-protected-backups", false),
    ("mkdir", false),
    ("nodes", false),
    ("path", true),
    ("preallocation", false),
    ("prune-backups", false),
    ("shared", false),
    ("snapshot-as-volume-chain", true),
];

const BOOLEANS: [&str; 6] = [
    "create-base-path",
    "create-subdirs",
    "disable",
    "mkdir",
    "shared",
    "snapshot-as-volume-chain",
];

/// Values by name, as they were given and checked by the schema.
type Properties = BTreeMap<String, String>;

/// What is to become of a storage.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub set: Properties,
    pub delete: Vec<String>,
    /// Of the file that the change was made for.
    pub digest: Option<String>,
}

/// A new storage, with its folders if `node` uses it.
pub fn create_storage(
    root: &Root,
    node: &NodeName,
    id: &StorageId,
    kind: &str,
    mut properties: Properties,
) -> Result<(), StorageError> {
    if properties.get("nodes").is_some_and(String::is_empty) {
        properties.remove("nodes");
    }
    let properties = decode_new(id, kind, properties)?;
    edit("create", root, None, |config| {
        if config.get(id).is_ok() {
            return Err(StorageError::Defined(id.clone()));
        }
        config.push(Storage::new(id.clone(), kind.to_owned(), properties));
        activate(root, node, id, config)
    })
}

fn decode_new(id: &StorageId, kind: &str, given: Properties) -> Result<Properties, StorageError> {
    if kind == "dir" {
        let unknown = given.keys().find(|key| option(key).is_none());
        if let Some(key) = unknown {
            return Err(StorageError::Property(key.clone()));
        }
    }
    let missing = required(kind).iter().find(|key| !given.contains_key(**key));
    if let Some(key) = missing {
        return Err(StorageError::Required(key));
    }
    if kind != "dir" {
        return Err(StorageError::Kind { id: id.clone(), kind: kind.to_owned() });
    }
    let mut decoded = decode(given)?;
    if let Some(path) = decoded.get_mut("path") {
        *path = canonical(path)?;
    }
    decoded.entry("content".to_owned()).or_insert_with(|| "images,rootdir".to_owned());
    Ok(decoded)
}

/// That it can be used is found out at once, where it is to be used at all.
fn activate(
    root: &Root,
    node: &NodeName,
    id: &StorageId,
    config: &StorageConfig,
) -> Result<(), StorageError> {
    let storage = config.get(id)?;
    if !storage.enabled() || !storage.on_node(node) {
        return Ok(());
    }
    config.dir(root, node, id)?.activate()
}

/// What kind of storage it is.
pub fn change_storage(root: &Root, id: &StorageId, change: Change) -> Result<String, StorageError> {
    edit("update", root, change.digest.as_deref(), |config| {
        let storage = config.get_mut(id)?;
        let kind = storage.kind().to_owned();
        if kind != "dir" {
            return Err(StorageError::Kind { id: id.clone(), kind });
        }
        for key in change.set.keys() {
            match option(key) {
                None => return Err(StorageError::Property(key.clone())),
                Some(true) => return Err(StorageError::Fixed(key.clone())),
                Some(false) => {}
            }
        }
        let set = decode(change.set)?;
        for key in &change.delete {
            check_deletion(&kind, key, &set)?;
        }
        change.delete.iter().for_each(|key| storage.unset(key));
        set.into_iter().for_each(|(key, value)| storage.set(&key, value));
        Ok(kind)
    })
}

fn check_deletion(kind: &str, key: &str, set: &Properties) -> Result<(), StorageError> {
    match option(key) {
        None => Err(StorageError::NoOption(key.to_owned())),
        Some(_) if required(kind).contains(&key) => {
            Err(StorageError::Undeletable("required", key.to_owned()))
        }
        Some(true) => Err(StorageError::Undeletable("fixed", key.to_owned())),
        Some(false) if set.contains_key(key) => Err(StorageError::SetAndDelete(key.to_owned())),
        Some(false) => Ok(()),
    }
}

/// The definition, and what was granted on it. What lies on it stays.
pub fn delete_storage(root: &Root, id: &StorageId) -> Result<(), StorageError> {
    edit("delete", root, None, |config| {
        let kind = config.get(id)?.kind().to_owned();
        let on_it = format!("{id}:");
        let is_base =
            |storage: &Storage| storage.get("base").is_some_and(|base| base.starts_with(&on_it));
        if config.iter().any(is_base) {
            return Err(StorageError::IsBase);
        }
        if kind != "dir" {
            return Err(StorageError::Kind { id: id.clone(), kind });
        }
        config.remove(id);
        Ok(())
    })?;
    Ok(forget_storage(root, id)?)
}

/// Lock, read, change, write.
fn edit<T>(
    what: &'static str,
    root: &Root,
    digest: Option<&str>,
    change: impl FnOnce(&mut StorageConfig) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let path = root.storage_cfg();
    let run = || {
        let _lock = ClusterLock::take(root, "file-storage_cfg")?;
        let text = match fs::read_to_string(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(StorageError::io("read", &path))?,
        };
        let digest = digest.filter(|digest| !digest.is_empty());
        if digest.is_some_and(|digest| digest != hex::encode(Sha1::digest(&text))) {
            return Err(StorageError::Modified);
        }
        let mut config = StorageConfig::parse(&text);
        let done = change(&mut config)?;
        let text = config.to_string();
        atomic::write(&path, 0o640, text.as_bytes()).map_err(StorageError::io("write", &path))?;
        Ok(done)
    };
    run().map_err(|cause| StorageError::During { what, cause: Box::new(cause) })
}

/// Whether it is fixed, if there is such a one.
fn option(key: &str) -> Option<bool> {
    OPTIONS.iter().find(|(known, _)| *known == key).map(|(_, fixed)| *fixed)
}

fn decode(given: Properties) -> Result<Properties, StorageError> {
    let mut decoded = Properties::new();
    for (key, value) in given {
        if value.contains(['\n', '\r']) {
            return Err(StorageError::LineFeed(key));
        }
        let value = match key.as_str() {
            "content" => content(&value)?,
            "nodes" => split_list(&value).collect::<Vec<_>>().join(","),
            flag if BOOLEANS.contains(&flag) => u8::from(is_true(&value)).to_string(),
            _ => value,
        };
        decoded.insert(key, value);
    }
    Ok(decoded)
}

/// `none` is what PVE writes for an empty list.
fn content(list: &str) -> Result<String, StorageError> {
    let words: Vec<_> = split_list(list).collect();
    let kinds: Vec<_> = ContentType::ALL.into_iter().map(ContentType::as_str).collect();
    let known: Vec<_> = kinds.into_iter().filter(|kind| words.contains(kind)).collect();
    match (words.contains(&"none"), known.as_slice()) {
        (true, [_, ..]) => Err(StorageError::NoneAndMore),
        (_, []) => Ok("none".to_owned()),
        (false, known) => Ok(known.join(",")),
    }
}

/// As Perl's `File::Spec->canonpath`: no empty parts, no `.`, no slash at the end. Where the path
/// goes up, PVE lets it; below a prefix that would lead out of it.
fn canonical(path: &str) -> Result<String, StorageError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-/_.@".contains(c);
    let absolute = path.strip_prefix('/').filter(|rest| !rest.is_empty());
    if absolute.is_none() || !path.chars().all(plain) || path.split('/').any(|part| part == "..") {
        return Err(StorageError::IllegalPath(path.to_owned()));
    }
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    Ok(parts.fold(String::new(), |path, part| path + "/" + part))
        .map(|path| if path.is_empty() { "/".to_owned() } else { path })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn properties(list: &[(&str, &str)]) -> Properties {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn fresh() -> (tempfile::TempDir, Root, NodeName) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs::create_dir_all(root.etc_pve()).unwrap();
        (dir, root, "pve1".parse().unwrap())
    }

    fn create(root: &Root, kind: &str, list: &[(&str, &str)]) -> Result<(), String> {
        let (node, id) = ("pve1".parse().unwrap(), "box".parse().unwrap());
        create_storage(root, &node, &id, kind, properties(list)).map_err(|err| err.to_string())
    }

    #[test]
    fn writes_as_pve_does() {
        let (_dir, root, _node) = fresh();
        let other = "nfs: far\n\tserver x\n\texport /e\n\tpath /mnt/pve/far\n\tcontent iso\n\n";
        fs::write(root.storage_cfg(), format!("dir: local\n\tpath /var/lib/vz\n\n{other}"))
            .unwrap();

        let list = [
            ("path", "/srv//box/"),
            ("content", "vztmpl,rootdir"),
            ("shared", "0"),
            ("nodes", "pve1;pve2"),
            ("prune-backups", "keep-last=3"),
        ];
        create(&root, "dir", &list).unwrap();

        let text = fs::read_to_string(root.storage_cfg()).unwrap();
        let expected = "dir: local\n\tpath /var/lib/vz\n\nnfs: far\n\texport /e\n\tpath /mnt/pve/far\n\
                        \tserver x\n\tcontent iso\n\n\
                        dir: box\n\tpath /srv/box\n\tcontent rootdir,vztmpl\n\tnodes pve1,pve2\n\
                        \tprune-backups keep-last=3\n\tshared 0\n\n";
        assert_eq!(text, expected);
        let below = root.below("/srv/box");
        for folder in ["private", "template/cache", "dump"] {
            assert!(below.join(folder).is_dir(), "{folder}");
        }
        assert!(!below.join("snippets").exists());
        let again = create(&root, "dir", &list).unwrap_err();
        assert_eq!(again, "create storage failed: storage ID 'box' already defined");
    }

    #[rstest]
    #[case("dir", &[], "missing value for required option 'path'")]
    #[case("nfs", &[("path", "/x")], "missing value for required option 'export'")]
    #[case(
        "lvm",
        &[("vgname", "pve")],
        "storage 'box' is of type 'lvm', but only 'dir' storages are supported here"
    )]
    #[case("dir", &[("path", "/x"), ("server", "y")], "unexpected property 'server'")]
    #[case("dir", &[("path", "/a b")], "illegal path for directory storage: /a b")]
    #[case("dir", &[("path", "/../x")], "illegal path for directory storage: /../x")]
    #[case(
        "dir",
        &[("path", "/x"), ("content", "none,iso")],
        "unable to combine 'none' with other content types"
    )]
    #[case(
        "dir",
        &[("path", "/x"), ("create-base-path", "0")],
        "create storage failed: unable to activate storage 'box' - directory "
    )]
    #[case(
        "dir",
        &[("path", "/x"), ("is_mountpoint", "yes")],
        "create storage failed: unable to activate storage 'box' - directory is expected to be a \
         mount point but is not mounted: '/x'"
    )]
    #[case(
        "dir",
        &[("path", "/x"), ("content", "iso,vztmpl"), ("content-dirs", "iso=a,vztmpl=a")],
        "create storage failed: storage 'box' uses directory "
    )]
    fn refuses_and_writes_nothing(
        #[case] kind: &str,
        #[case] list: &[(&str, &str)],
        #[case] words: &str,
    ) {
        let (_dir, root, _node) = fresh();
        let refused = create(&root, kind, list).unwrap_err();
        assert!(refused.starts_with(words), "{refused}");
        assert!(!root.storage_cfg().exists());
    }

    #[test]
    fn changes_what_may_change() {
        let (_dir, root, _node) = fresh();
        create(&root, "dir", &[("path", "/x"), ("content", "iso"), ("shared", "1")]).unwrap();
        let id: StorageId = "box".parse().unwrap();
        let change = |set: &[(&str, &str)], delete: &[&str], digest: Option<&str>| {
            let delete = delete.iter().map(|key| (*key).to_owned()).collect();
            let digest = digest.map(str::to_owned);
            change_storage(&root, &id, Change { set: properties(set), delete, digest })
                .map_err(|err| err.to_string())
        };

        assert_eq!(change(&[("disable", "1"), ("content", "")], &["shared"], None).unwrap(), "dir");
        let text = fs::read_to_string(root.storage_cfg()).unwrap();
        assert!(text.ends_with("dir: box\n\tdisable\n\tpath /x\n\tcontent none\n\n"), "{text}");
        let said = |result: Result<String, String>| {
            result.unwrap_err().strip_prefix("update storage failed: ").unwrap().to_owned()
        };
        assert_eq!(
            said(change(&[("path", "/y")], &[], None)),
            "can't change value of fixed parameter 'path'"
        );
        assert_eq!(said(change(&[], &["nope"], None)), "no such option 'nope'");
        assert_eq!(said(change(&[], &["path"], None)), "unable to delete required option 'path'");
        assert_eq!(
            said(change(&[("nodes", "pve1")], &["nodes"], None)),
            "cannot set and delete property 'nodes' at the same time!"
        );
        assert!(said(change(&[], &[], Some("00"))).starts_with("detected modified configuration"));
        let digest = hex::encode(Sha1::digest(&text));
        change(&[("disable", "0")], &[], Some(&digest)).unwrap();
        assert!(!fs::read_to_string(root.storage_cfg()).unwrap().contains("disable"));
    }

    #[test]
    fn deletes_the_definition_alone() {
        let (_dir, root, _node) = fresh();
        create(&root, "dir", &[("path", "/x")]).unwrap();
        let id: StorageId = "box".parse().unwrap();
        fs::write(root.below("/x/file"), "").unwrap();

        delete_storage(&root, &id).unwrap();

        assert!(!fs::read_to_string(root.storage_cfg()).unwrap().contains("box"));
        assert!(root.below("/x/file").exists());
        let again = delete_storage(&root, &id).unwrap_err().to_string();
        assert_eq!(again, "delete storage failed: storage 'box' does not exist");
    }

    proptest! {
        /// What is written is what is read, whatever was there before.
        #[test]
        fn keeps_all_it_does_not_change(text in "(dir: [a-z]{2,4}\n(\t[a-z]{2,5} [a-z0-9/]{1,4}\n){0,3}\n){0,4}") {
            let once = StorageConfig::parse(&text);
            let written = once.to_string();
            prop_assert_eq!(StorageConfig::parse(&written).to_string(), written);
        }
    }
}
