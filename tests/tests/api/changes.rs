//! Changes of a stopped container's config that make and give up volumes.

use serde_json::{Value, json};
use tests::Daemon;

use crate::{with_guest, with_users};

const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,rootdir,images\n\n\
    dir: tapes\n\tpath /srv/tapes\n\tcontent backup\n";
const CONFIG: &str = "arch: amd64\nhostname: box\nmemory: 256\nostype: unmanaged\n\
    rootfs: local:100/subvol-100-disk-0.subvol,size=0T\nswap: 0\nunprivileged: 1\n";

fn world(config: &str) -> Daemon {
    with_users()
        .file("etc/pve/storage.cfg", STORAGES)
        .file("etc/pve/nodes/pve1/lxc/100.conf", config)
        .file("var/lib/vz/images/100/subvol-100-disk-0.subvol/etc/hostname", "box")
        .start()
}

fn volumes(daemon: &Daemon) -> Vec<String> {
    let entries = fs_err::read_dir(daemon.root().join("var/lib/vz/images/100")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const ROOTFS: &str = "subvol-100-disk-0.subvol";

#[test]
fn a_mount_point_is_made_given_up_and_destroyed() {
    let daemon = world(CONFIG);
    let guest = daemon.guest(100);

    assert_eq!(
        guest.put_config(&[("mp0", "volume=local:0.01,mp=/srv,backup=1")]).data(),
        json!(null)
    );

    // 0.01 GiB are 10485 KiB.
    let config = guest.config();
    assert_eq!(config["mp0"], "local:100/vm-100-disk-1.raw,mp=/srv,backup=1,size=10485K");
    assert_eq!(volumes(&daemon), [ROOTFS, "vm-100-disk-1.raw"]);

    assert_eq!(guest.put_config(&[("delete", "mp0")]).status, 200);
    let config = guest.config();
    assert_eq!(
        (&config["mp0"], &config["unused0"]),
        (&Value::Null, &json!("local:100/vm-100-disk-1.raw"))
    );
    assert_eq!(volumes(&daemon).len(), 2, "not lost");

    assert_eq!(guest.put_config(&[("delete", "unused0")]).status, 200);
    assert_eq!(guest.config()["unused0"], Value::Null);
    assert_eq!(volumes(&daemon), [ROOTFS]);
}

#[test]
fn a_volume_that_exists_is_stored_with_its_size() {
    let daemon = world(CONFIG);
    let guest = daemon.guest(100);
    let image = daemon.root().join("var/lib/vz/images/100/vm-100-disk-3.raw");
    fs_err::File::create(image).unwrap().set_len(32 << 20).unwrap();

    guest.put_config(&[("mp5", "local:100/vm-100-disk-3.raw,ro=1,mp=/x")]).data();

    assert_eq!(guest.config()["mp5"], "local:100/vm-100-disk-3.raw,mp=/x,ro=1,size=32M");
}

/// A refused change leaves neither a volume nor a key.
#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let daemon = world(CONFIG);
    let guest = daemon.guest(100);
    let before = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    let put = |mp1: &str| guest.put_config(&[("mp0", "local:0,mp=/a"), ("mp1", mp1)]);

    let content = "500 storage 'tapes' does not allow content type 'rootdir' (Container)";
    assert_eq!(put("tapes:1,mp=/b").line(), content);
    assert_eq!(put("nope:1,mp=/b").line(), "500 storage 'nope' does not exist");
    // As large as no file system takes: the first volume is there when the second fails.
    let reply = put("local:99999999999,mp=/b");
    assert_eq!(reply.line(), "400 Parameter verification failed.");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let error = body["errors"]["mp1"].as_str().unwrap();
    assert!(error.starts_with("unable to apply pending change mp1 : "), "{error}");

    assert_eq!(fs_err::read_to_string(daemon.config_path(100)).unwrap(), before);
    assert_eq!(volumes(&daemon), [ROOTFS]);
}

#[test]
fn a_volume_that_a_snapshot_has_outlives_its_unused_entry() {
    let snapshot = "unused0: local:100/subvol-100-disk-1.subvol\n\n[s1]\narch: amd64\n\
        mp0: local:100/subvol-100-disk-1.subvol,mp=/data,size=0T\nmemory: 256\n\
        ostype: unmanaged\nrootfs: local:100/subvol-100-disk-0.subvol,size=0T\nsnaptime: 1\n";
    let daemon = world(&format!("{CONFIG}{snapshot}"));
    fs_err::create_dir(daemon.root().join("var/lib/vz/images/100/subvol-100-disk-1.subvol"))
        .unwrap();

    daemon.guest(100).put_config(&[("delete", "unused0")]).data();

    assert_eq!(daemon.guest(100).config()["unused0"], Value::Null);
    assert_eq!(volumes(&daemon), [ROOTFS, "subvol-100-disk-1.subvol"]);
}

/// Clients delete every key they know of, also those that only root may set.
#[test]
fn who_is_not_root_may_delete_what_is_not_there() {
    let daemon = world(&format!("{CONFIG}dev0: /dev/null\n"));
    let delete = |keys: &str| daemon.guest(100).put_config(&[("delete", keys)]).line();

    assert_eq!(delete("hookscript,dev1,tags"), "200 OK");
    let refused =
        "403 Permission check failed (configuring device passthrough is only allowed for root@pam)";
    assert_eq!(delete("dev0"), refused);
}

#[test]
fn paths_of_the_host_are_for_root_alone() {
    let daemon = world(CONFIG);
    let put = |mp: &str| daemon.guest(100).put_config(&[("mp0", mp)]).line();
    for (mp, kind) in [("/srv,mp=/srv", "bind"), ("/dev/loop0,mp=/srv", "device")] {
        let refused = format!(
            "403 Permission check failed (mount point type {kind} is only allowed for root@pam)"
        );
        assert_eq!(put(mp), refused);
    }
}

/// Unless the administrator lists them.
#[test]
fn folders_that_are_listed_are_for_others_too() {
    let list = "[[bind-mount]]\npath = \"/srv/share\"\n\
        [[bind-mount]]\npath = \"/srv/media\"\nread-only = true\nusers = [\"ann@pve\"]\n";
    let daemon = with_guest().file("etc/proxmox-lxcri/config.toml", list).start();
    let put = |mp: &str| daemon.guest(100).put_config(&[("mp0", mp)]).line();
    let refused = |what: &str| format!("403 Permission check failed ({what})");
    let unlisted = refused("mount point type bind is only allowed for root@pam");

    for mp in ["/srv,mp=/x", "/srv/shared,mp=/x", "/srv/media,mp=/x,ro=1"] {
        assert_eq!(put(mp), unlisted, "{mp}");
    }
    assert_eq!(put("/srv/share/../x,mp=/x"), "400 Parameter verification failed.");
    let ids = refused("mount point type bind with idmap is only allowed for root@pam");
    assert_eq!(put("/srv/share,mp=/x,idmap=passthrough"), ids);
    assert_eq!(put("/srv/share/docs,mp=/x"), "200 OK");
    assert_eq!(daemon.guest(100).config()["mp0"], "/srv/share/docs,mp=/x");
    // Nor does the list of folders say anything of devices, or of the root file system.
    assert_eq!(
        put("/dev/loop0,mp=/x"),
        refused("mount point type device is only allowed for root@pam")
    );
    assert_eq!(daemon.guest(100).put_config(&[("rootfs", "/srv/share")]).line(), unlisted);
}
