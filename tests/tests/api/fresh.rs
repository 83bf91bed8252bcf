//! What others write into our files shows in the very next answer, whatever we remember of them.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tests::Daemon;

use crate::with_guest;

/// Written long ago, so that what is read of it may be remembered.
fn write_old(path: &std::path::Path, text: &str) {
    fs_err::write(path, text).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.file().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

fn listed(daemon: &Daemon) -> Vec<(Value, Value)> {
    let rows = daemon.get("/nodes/pve1/lxc").data();
    rows.as_array().unwrap().iter().map(|row| (row["vmid"].clone(), row["name"].clone())).collect()
}

#[test]
fn a_config_that_others_change_shows_at_once() {
    let daemon = with_guest().start();
    let path = daemon.config_path(105);
    for name in ["one", "two", "six"] {
        // In place, of the same size.
        write_old(&path, &format!("hostname: {name}\nmemory: 64\n"));
        for _ in 0..2 {
            assert!(listed(&daemon).contains(&(json!(105), json!(name))));
            assert_eq!(daemon.get("/nodes/pve1/lxc/105/config").data()["hostname"], name);
            assert_eq!(daemon.get("/nodes/pve1/lxc/105/status/current").data()["name"], name);
            let resources = daemon.get("/cluster/resources").data();
            let row = resources.as_array().unwrap().iter().find(|row| row["id"] == "lxc/105");
            assert_eq!(row.unwrap()["name"], name);
        }
    }
    fs_err::rename(&path, daemon.config_path(106)).unwrap();
    let vmids: Vec<_> = listed(&daemon).into_iter().map(|(vmid, _)| vmid).collect();
    assert_eq!(vmids, [json!(100), json!(106)]);
    fs_err::remove_file(daemon.config_path(106)).unwrap();
    assert_eq!(listed(&daemon).len(), 1);
}

#[test]
fn a_storage_that_others_add_shows_at_once() {
    let daemon = with_guest().start();
    let path = daemon.root().join("etc/pve/storage.cfg");
    let names = |path: &str| -> Vec<String> {
        let rows = daemon.get(path).data();
        let name = |row: &Value| row["storage"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(name).collect()
    };
    for name in ["one", "two"] {
        write_old(&path, &format!("dir: {name}\n\tpath /mnt/{name}\n\tcontent rootdir\n"));
        for path in ["/storage", "/nodes/pve1/storage", "/storage", "/nodes/pve1/storage"] {
            assert_eq!(names(path), ["local", name]);
        }
    }
}

/// The list asks once for all guests of which `user.cfg` says nothing by name.
#[test]
fn a_right_that_is_taken_away_is_gone_at_once() {
    let token = "u@pve!tok=11111111-2222-3333-4444-555555555555";
    let (id, secret) = token.split_once('=').unwrap();
    let daemon =
        with_guest().token(token).file("etc/pve/priv/token.cfg", &format!("{id} {secret}\n"));
    let daemon = (101..110)
        .fold(daemon, |builder, vmid| {
            builder.file(&format!("etc/pve/nodes/pve1/lxc/{vmid}.conf"), "memory: 64\n")
        })
        .file("etc/pve/user.cfg", "user:root@pam:1:0:::::\n")
        .start();
    let seen = |acls: &str| -> Vec<u64> {
        let users = "user:root@pam:1:0:::::\nuser:u@pve:1:0:::::\ntoken:u@pve!tok:0:0::\n\
                     pool:p::101,102::\n";
        write_old(&daemon.root().join("etc/pve/user.cfg"), &format!("{users}{acls}"));
        let rows = daemon.get("/nodes/pve1/lxc").data();
        rows.as_array().unwrap().iter().map(|row| row["vmid"].as_u64().unwrap()).collect()
    };

    assert_eq!(seen("acl:1:/:u@pve:PVEAuditor:\n"), (100..110).collect::<Vec<_>>());
    assert_eq!(seen("acl:1:/vms/105:u@pve:PVEAuditor:\n"), [105]);
    assert_eq!(seen("acl:1:/pool/p:u@pve:PVEVMUser:\n"), [101, 102]);
    assert_eq!(
        seen("acl:1:/:u@pve:PVEAuditor:\nacl:1:/vms/101:u@pve:NoAccess:\n"),
        [100, 102, 103, 104, 105, 106, 107, 108, 109]
    );
    assert_eq!(seen(""), [0; 0]);
}
