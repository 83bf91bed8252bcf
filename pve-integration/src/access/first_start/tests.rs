use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

use fs_err as fs;

use super::*;
use crate::access::Access;

fn node() -> NodeName {
    "pve1".parse().unwrap()
}

fn empty() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path()).unwrap();
    (dir, root)
}

/// Every file below the prefix, with its mode and content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        if path.is_dir() {
            files.insert(path.clone(), (mode, Vec::new()));
            files.extend(tree(&path));
        } else {
            let content = fs::read(&path).unwrap();
            files.insert(path, (mode, content));
        }
    }
    files
}

#[test]
fn lets_roots_token_in() {
    let (_dir, root) = empty();
    let FirstStart::Own { token: Some(path) } = first_start(&root, &node()).unwrap() else {
        panic!("a new root has a token");
    };

    let sent = fs::read_to_string(&path).unwrap();
    let access = Access::read(&root).unwrap();
    assert_eq!(access.verify_token(sent.trim_end()).unwrap().to_string(), TOKEN);
    assert!(access.config.ignored.is_empty());
    let files = tree(root.prefix());
    assert_eq!(files[&path].0, 0o600);
    assert_eq!(files[&root.token_cfg()].0, 0o600);
    assert_eq!(files[&root.etc_pve().join("priv")].0, 0o700);
    assert_eq!(files[&root.storage_cfg()].1, STORAGE.as_bytes());
    assert!(root.lxc_configs(&node()).is_dir());
}

#[test]
fn changes_nothing_the_second_time() {
    let (_dir, root) = empty();
    first_start(&root, &node()).unwrap();
    let before = tree(root.prefix());

    first_start(&root, &node()).unwrap();

    assert_eq!(tree(root.prefix()), before);
}

#[test]
fn completes_what_was_killed_half_way() {
    let (_dir, root) = empty();
    first_start(&root, &node()).unwrap();
    let whole = tree(root.prefix());
    for (path, (_, content)) in whole.iter().filter(|(path, _)| path.is_file()) {
        fs::remove_file(path).unwrap();
        first_start(&root, &node()).unwrap();

        let access = Access::read(&root).unwrap();
        let sent = fs::read_to_string(root.prefix().join("root-token")).unwrap();
        // A secret that was lost cannot match a file that was handed out, and is left alone.
        let lost = *path == root.token_cfg();
        assert_eq!(access.verify_token(sent.trim_end()).is_ok(), !lost, "{path:?}");
        fs::write(path, content).unwrap();
    }
}

#[test]
fn leaves_a_tree_that_was_brought_along_as_it_is() {
    let (_dir, root) = empty();
    fs::create_dir_all(root.etc_pve()).unwrap();
    fs::write(root.user_cfg(), "user:root@pam:1:0:::::\n").unwrap();

    assert_eq!(first_start(&root, &node()).unwrap(), FirstStart::Own { token: None });

    assert_eq!(fs::read_to_string(root.user_cfg()).unwrap(), "user:root@pam:1:0:::::\n");
    assert!(!root.prefix().join("root-token").exists() && !root.token_cfg().exists());
}

#[test]
fn writes_nothing_into_the_cluster_filesystem() {
    let (_dir, root) = empty();
    fs::create_dir_all(root.node_dir(&node())).unwrap();
    symlink("nodes/pve1", root.etc_pve().join("local")).unwrap();
    let before = tree(&root.prefix().join("etc"));

    assert_eq!(first_start(&root, &node()).unwrap(), FirstStart::Cluster);
    assert_eq!(tree(&root.prefix().join("etc")), before);
}

#[test]
fn writes_nothing_below_a_mount_that_is_missing() {
    let (_dir, root) = empty();
    fs::create_dir_all(root.below("/var/lib/pve-cluster")).unwrap();
    fs::write(root.below("/var/lib/pve-cluster/config.db"), "").unwrap();

    assert!(matches!(first_start(&root, &node()), Err(FirstStartError::ClusterDown)));
    assert!(!root.etc_pve().exists());
}
