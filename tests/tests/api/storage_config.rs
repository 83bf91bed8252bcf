//! storage.cfg over the API: storages come, change and go.

use serde_json::{Value, json};
use tests::Daemon;

use crate::{ANN, with_users};

fn config(daemon: &Daemon) -> String {
    fs_err::read_to_string(daemon.root().join("etc/pve/storage.cfg")).unwrap()
}

#[test]
fn a_storage_is_made_changed_used_and_forgotten() {
    let daemon = Daemon::start();
    let fields =
        [("storage", "box"), ("type", "dir"), ("path", "/srv/box"), ("content", "vztmpl,iso")];

    assert_eq!(daemon.post("/storage", &fields).data(), json!({"storage": "box", "type": "dir"}));

    assert!(config(&daemon).ends_with("dir: box\n\tpath /srv/box\n\tcontent iso,vztmpl\n\n"));
    let cache = daemon.root().join("srv/box/template/cache");
    fs_err::write(cache.join("a.tar"), "x").unwrap();
    let there = daemon.get("/nodes/pve1/storage/box/content").data();
    assert_eq!(there[0]["volid"], "box:vztmpl/a.tar");
    let again = daemon.post("/storage", &fields);
    assert_eq!(again.line(), "500 create storage failed: storage ID 'box' already defined");

    let definition = daemon.get("/storage/box").data();
    let digest = definition["digest"].as_str().unwrap().to_owned();
    let change = [
        ("prune-backups", "keep-last=2"),
        ("shared", "1"),
        ("nodes", "pve1,pve2"),
        ("digest", &digest),
    ];
    let changed = daemon.put("/storage/box", &change);
    assert_eq!(changed.data(), json!({"storage": "box", "type": "dir"}));
    let stale = daemon.put("/storage/box", &change);
    assert_eq!(
        stale.line(),
        "500 update storage failed: detected modified configuration - file changed by other user? \
         Try again."
    );
    let definition = daemon.get("/storage/box").data();
    assert_eq!(
        [&definition["shared"], &definition["nodes"], &definition["prune-backups"]],
        [&json!(1), &json!("pve1,pve2"), &json!("keep-last=2")]
    );
    daemon.put("/storage/box", &[("delete", "nodes,shared"), ("disable", "1")]).data();
    let off = daemon.get("/nodes/pve1/storage/box/content");
    assert_eq!(off.line(), "500 storage 'box' is disabled");

    assert_eq!(daemon.delete("/storage/box").data(), Value::Null);
    assert!(!config(&daemon).contains("box"), "{}", config(&daemon));
    assert!(cache.join("a.tar").exists());
    let gone = daemon.delete("/storage/box");
    assert_eq!(gone.line(), "500 delete storage failed: storage 'box' does not exist");
}

#[test]
fn a_storage_is_checked_in_pve_s_words() {
    let daemon = Daemon::start();
    let post = |fields: &[(&str, &str)]| {
        daemon.post("/storage", &[&[("storage", "box")], fields].concat())
    };

    assert_eq!(post(&[("type", "dir")]).line(), "500 missing value for required option 'path'");
    let odd = post(&[("type", "dir"), ("path", "relative")]).errors();
    assert_eq!(odd["path"], "invalid format - value does not look like a valid absolute path\n");
    let kind = post(&[("type", "dri"), ("path", "/x")]).errors();
    assert!(kind["type"].as_str().unwrap().starts_with("value 'dri' does not have a value in"));
    let nfs = [("type", "nfs"), ("path", "/x"), ("server", "10.0.0.1"), ("export", "/e")];
    assert_eq!(
        post(&nfs).line(),
        "500 storage 'box' is of type 'nfs', but only 'dir' storages are supported here"
    );
    let words = post(&[("type", "dir"), ("path", "/x"), ("content", "iso,films")]).errors();
    assert_eq!(words["content"], "invalid format - invalid content type 'films'\n");
    assert!(!daemon.root().join("x").exists());
}

#[test]
fn what_was_granted_on_a_storage_goes_with_it() {
    let daemon = Daemon::start();
    let fields = [("storage", "box"), ("type", "dir"), ("path", "/srv/box")];
    daemon.post("/storage", &fields).data();
    let grant = [("path", "/storage/box"), ("roles", "PVEDatastoreUser"), ("users", "root@pam")];
    daemon.put("/access/acl", &grant).data();

    daemon.delete("/storage/box").data();

    let users = fs_err::read_to_string(daemon.root().join("etc/pve/user.cfg")).unwrap();
    assert!(!users.contains("/storage/box"), "{users}");
}

#[test]
fn who_may_not_define_storages_does_not() {
    let daemon = with_users().start();
    let new: &[_] = &[("storage", "box"), ("type", "dir"), ("path", "/srv/box")];
    let calls = [
        ("POST", "/storage", new),
        ("PUT", "/storage/local", &[("disable", "1")]),
        ("DELETE", "/storage/local", &[]),
    ];
    for (method, path, fields) in calls {
        let refused = daemon.request_as(&[("Authorization", ANN)], method, path, fields);
        let words = "403 Permission check failed (/storage, Datastore.Allocate)";
        assert_eq!(refused.line(), words, "{method}");
    }
}

#[test]
fn a_directory_has_no_identity_and_no_files_in_backups() {
    let backup = "vzdump-lxc-100-2026_01_31-01_02_03.tar.zst";
    let file = format!("var/lib/vz/dump/{backup}");
    let daemon = Daemon::builder().file(&file, "backup").start();
    let get = |path: &str| daemon.get(&format!("/nodes/pve1/storage/local/{path}"));

    assert_eq!(get("identity").line(), "500 get_identity not implemented for this plugin");
    let list = get(&format!("file-restore/list?volume={backup}&filepath=/")).errors();
    assert_eq!(list, json!({"storage": "Only PBS storages supported for file-restore."}));
    let other = get("file-restore/download?volume=other:backup/x&filepath=/").errors();
    assert_eq!(other, json!({"volume": "storage ID mismatch (other != local)."}));
    let wrong = get("import-metadata?volume=vztmpl/a.tar");
    assert_eq!(wrong.line(), "500 invalid content type 'vztmpl'");
}
