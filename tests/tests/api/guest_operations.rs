//! What is done with a container's volumes while it is stopped: copied, kept, put back, grown,
//! moved. The volumes are real, nothing is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::Daemon;

use crate::{ANN, with_users};

const MIB: u64 = 1 << 20;
const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,rootdir,images\n\n\
    dir: other\n\tpath /srv/other\n\tcontent rootdir\n\n\
    dir: papers\n\tpath /srv/papers\n\tcontent iso\n";

/// CT 100, with an image of 16 MiB and a directory that holds `motd`.
fn world() -> Daemon {
    let config = "arch: amd64\nhostname: box\nmemory: 256\n\
        mp0: local:100/subvol-100-disk-1.subvol,mp=/data,size=0T\n\
        net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,type=veth\nostype: unmanaged\n\
        rootfs: local:100/vm-100-disk-0.raw,size=16M\nswap: 0\nunprivileged: 1\n";
    let daemon = with_users()
        .file("etc/pve/storage.cfg", STORAGES)
        .file("etc/pve/nodes/pve1/lxc/100.conf", config)
        .file("var/lib/vz/images/100/subvol-100-disk-1.subvol/motd", "before")
        .file("srv/other/.keep", "")
        .start();
    let image = daemon.root().join("var/lib/vz/images/100/vm-100-disk-0.raw");
    fs_err::File::create(&image).unwrap().set_len(16 * MIB).unwrap();
    let made = Command::new("mkfs.ext4")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-q", "-F"])
        .arg(&image)
        .status();
    assert!(made.unwrap().success());
    daemon
}

fn volume(daemon: &Daemon, volume: &str) -> PathBuf {
    let (storage, name) = volume.split_once(':').unwrap();
    let folder = if storage == "local" { "var/lib/vz" } else { "srv/other" };
    daemon.root().join(folder).join("images").join(name)
}

fn motd(daemon: &Daemon) -> PathBuf {
    volume(daemon, "local:100/subvol-100-disk-1.subvol").join("motd")
}

/// The volumes and what lies beside them.
fn files(daemon: &Daemon, folder: &str) -> Vec<String> {
    let entries = fs_err::read_dir(daemon.root().join(folder));
    let Ok(entries) = entries else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn disk(config: &Value, key: &str) -> String {
    config[key].as_str().unwrap().split(',').next().unwrap().to_owned()
}

#[test]
fn a_snapshot_is_taken_named_put_back_and_deleted() {
    let daemon = world();
    let (guest, base) = (daemon.guest(100), "/nodes/pve1/lxc/100/snapshot");
    assert_eq!(
        daemon.get("/nodes/pve1/lxc/100/feature?feature=snapshot").data(),
        json!({"hasFeature": 1})
    );
    daemon.task(&daemon.post(base, &[("snapname", "s1"), ("description", "first")])).ok();
    fs_err::write(motd(&daemon), "after").unwrap();

    let rows = daemon.get(base).data();
    assert_eq!(rows[0]["name"], "s1");
    assert!(rows[0]["snaptime"].is_u64() && rows[0].get("snapstate").is_none(), "{rows}");
    assert_eq!(
        (&rows[1]["name"], &rows[1]["parent"], &rows[1]["running"]),
        (&json!("current"), &json!("s1"), &json!(0))
    );
    let taken = daemon.task(&daemon.post(base, &[("snapname", "s1")])).failed();
    assert_eq!(taken, "snapshot name 's1' already used");

    daemon.put(&format!("{base}/s1/config"), &[("description", "renamed")]).data();
    let kept = daemon.get(&format!("{base}/s1/config")).data();
    assert_eq!((&kept["description"], &kept["memory"]), (&json!("renamed\n"), &json!(256)));
    assert!(kept.get("digest").is_none(), "{kept}");

    guest.put_config(&[("memory", "320")]).data();
    daemon.task(&daemon.post(&format!("{base}/s1/rollback"), &[])).ok();
    assert_eq!(fs_err::read_to_string(motd(&daemon)).unwrap(), "before");
    let config = guest.config();
    assert_eq!((&config["memory"], &config["parent"]), (&json!(256), &json!("s1")));
    assert!(config.get("lock").is_none(), "{config}");

    daemon.task(&daemon.delete(&format!("{base}/s1"))).ok();
    assert_eq!(daemon.get(base).data().as_array().unwrap().len(), 1);
    assert!(guest.config().get("parent").is_none());
    assert_eq!(
        files(&daemon, "var/lib/vz/images/100"),
        ["subvol-100-disk-1.subvol", "vm-100-disk-0.raw"]
    );
    assert_eq!(files(&daemon, "var/lib/proxmox-lxcri/changing"), Vec::<String>::new());
}

#[test]
fn a_copy_has_its_own_volumes_address_and_name() {
    let daemon = world();
    let parameters = [("newid", "200"), ("hostname", "copy"), ("description", "a copy")];
    let log = daemon.task(&daemon.post("/nodes/pve1/lxc/100/clone", &parameters)).ok();
    assert!(log.contains("creating a clone of container 100 with ID 200"), "{log}");

    let (source, copy) = (daemon.guest(100).config(), daemon.guest(200).config());
    assert_eq!((&copy["hostname"], &copy["memory"]), (&json!("copy"), &json!(256)));
    assert_eq!(copy["description"], "a copy\n");
    assert_ne!(copy["net0"], source["net0"]);
    assert!(copy.get("lock").is_none() && source.get("lock").is_none());
    assert_eq!(disk(&copy, "rootfs"), "local:200/vm-200-disk-1.raw");
    let inside = volume(&daemon, &disk(&copy, "mp0")).join("motd");
    assert_eq!(fs_err::read_to_string(inside).unwrap(), "before");
    let sizes = [&source, &copy]
        .map(|config| fs_err::metadata(volume(&daemon, &disk(config, "rootfs"))).unwrap().len());
    assert_eq!(sizes, [16 * MIB, 16 * MIB]);

    daemon.guest(200).destroy();
    assert!(files(&daemon, "var/lib/vz/images/200").is_empty());
}

#[test]
fn a_copy_that_fails_leaves_neither_container_nor_lock() {
    let daemon = world();
    fs_err::remove_file(volume(&daemon, "local:100/vm-100-disk-0.raw")).unwrap();

    let error =
        daemon.task(&daemon.post("/nodes/pve1/lxc/100/clone", &[("newid", "200")])).failed();

    assert_eq!(error, "clone failed: volume 'local:100/vm-100-disk-0.raw' does not exist");
    assert!(!daemon.config_path(200).exists());
    assert!(files(&daemon, "var/lib/vz/images/200").is_empty());
    assert!(daemon.guest(100).config().get("lock").is_none());
    assert!(files(&daemon, "var/lib/proxmox-lxcri/changing").is_empty());
    assert!(files(&daemon, "var/lib/proxmox-lxcri/creating").is_empty());
}

#[test]
fn copies_are_refused_before_any_task() {
    let daemon = world();
    let clone =
        |parameters: &[(&str, &str)]| daemon.post("/nodes/pve1/lxc/100/clone", parameters).line();
    assert_eq!(clone(&[("newid", "100")]), "500 CT 100 already exists on node 'pve1'");
    assert_eq!(
        clone(&[("newid", "200"), ("storage", "nope")]),
        "500 storage 'nope' does not exist"
    );
    assert_eq!(
        clone(&[("newid", "200"), ("pool", "nope")]),
        "403 Permission check failed (pool 'nope' does not exist)"
    );
    assert_eq!(clone(&[("newid", "200"), ("target", "pve9")]), "500 no such cluster node 'pve9'");
    assert_eq!(
        clone(&[("newid", "200"), ("full", "0")]),
        "500 Linked clone feature for 'local:100/subvol-100-disk-1.subvol' is not available"
    );
    assert!(!daemon.config_path(200).exists());
    assert!(daemon.guest(100).config().get("lock").is_none());
    assert_eq!(daemon.get("/nodes/pve1/tasks").data(), json!([]));
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let daemon = world();
    let resize = |size: &str| {
        daemon.put("/nodes/pve1/lxc/100/resize", &[("disk", "rootfs"), ("size", size)])
    };
    daemon.task(&resize("+16M")).ok();
    daemon.task(&resize("40960K")).ok();

    assert_eq!(daemon.guest(100).config()["rootfs"], "local:100/vm-100-disk-0.raw,size=40M");
    let image = volume(&daemon, "local:100/vm-100-disk-0.raw");
    assert_eq!(fs_err::metadata(image).unwrap().len(), 40 * MIB);
    assert_eq!(resize("1M").line(), "500 unable to shrink disk size");
    assert_eq!(resize("40M").line(), "500 disk is already at specified size");
}

#[test]
fn a_disk_moves_with_or_without_its_source() {
    let daemon = world();
    let path = "/nodes/pve1/lxc/100/move_volume";
    let to = |storage| [("volume", "rootfs"), ("storage", storage), ("delete", "1")];
    daemon.task(&daemon.post(path, &to("other"))).ok();
    let config = daemon.guest(100).config();
    assert_eq!(config["rootfs"], "other:100/vm-100-disk-0.raw,size=16M");
    assert!(volume(&daemon, &disk(&config, "rootfs")).exists());
    assert_eq!(files(&daemon, "var/lib/vz/images/100"), ["subvol-100-disk-1.subvol"]);

    daemon.task(&daemon.post(path, &[("volume", "mp0"), ("storage", "other")])).ok();
    let config = daemon.guest(100).config();
    assert_eq!(config["unused0"], "local:100/subvol-100-disk-1.subvol");
    assert!(volume(&daemon, &disk(&config, "mp0")).join("motd").exists());
    assert!(motd(&daemon).exists() && config.get("lock").is_none(), "{config}");
    let complaints = daemon.post(path, &[("volume", "rootfs")]).errors();
    assert!(complaints["storage"].as_str().unwrap().contains("missing"), "{complaints}");
}

/// 2 MiB at 2 MiB a second, and whatever else there is.
#[test]
fn a_copy_is_no_faster_than_it_may_be() {
    let daemon = world();
    fs_err::write(motd(&daemon), vec![7; 2 << 20]).unwrap();
    let timed = |path: &str, parameters: &[(&str, &str)]| {
        let begun = Instant::now();
        let task = daemon.task(&daemon.post(&format!("/nodes/pve1/lxc/{path}"), parameters));
        assert_eq!(task.exitstatus, "OK", "{}", task.log);
        begun.elapsed()
    };

    let took = timed("100/clone", &[("newid", "200"), ("bwlimit", "2048")]);
    assert!(took >= Duration::from_millis(950), "{took:?}");
    let config = daemon.guest(200).config();
    let copy = volume(&daemon, &disk(&config, "mp0")).join("motd");
    assert!(fs_err::read(copy).unwrap() == vec![7; 2 << 20]);
    let image = volume(&daemon, &disk(&config, "rootfs"));
    let original = volume(&daemon, "local:100/vm-100-disk-0.raw");
    assert!(fs_err::read(image).unwrap() == fs_err::read(original).unwrap());

    let moved = [("volume", "mp0"), ("storage", "other"), ("bwlimit", "2048")];
    let took = timed("100/move_volume", &moved);
    assert!(took >= Duration::from_millis(950), "{took:?}");

    // Of the storage and of the data centre, for those who ask for nothing.
    let limited = STORAGES.replacen("local\n", "local\n\tbwlimit clone=2048,move=0\n", 1);
    fs_err::write(daemon.root().join("etc/pve/storage.cfg"), limited).unwrap();
    fs_err::write(daemon.root().join("etc/pve/datacenter.cfg"), "bwlimit: move=2048\n").unwrap();
    let took = timed("200/clone", &[("newid", "201")]);
    assert!(took >= Duration::from_millis(950), "{took:?}");
    let took = timed("200/move_volume", &[("volume", "mp0"), ("storage", "other")]);
    assert!(took >= Duration::from_millis(950), "{took:?}");
}

#[test]
fn a_slow_copy_can_be_aborted() {
    let daemon = world();
    fs_err::write(motd(&daemon), vec![7; 1 << 20]).unwrap();
    let slow = daemon.post("/nodes/pve1/lxc/100/clone", &[("newid", "200"), ("bwlimit", "16")]);
    let upid = slow.data().as_str().unwrap().to_owned();
    tests::eventually(30, "a copy under way", || {
        let there = files(&daemon, "var/lib/vz/images/200");
        (!there.is_empty()).then_some(())
    });
    assert_eq!(daemon.delete(&format!("/nodes/pve1/tasks/{upid}")).data(), Value::Null);

    assert_eq!(daemon.task(&slow).failed(), "clone failed: received interrupt");
    assert!(!daemon.config_path(200).exists());
    assert_eq!(files(&daemon, "var/lib/vz/images/200"), [""; 0]);
    assert!(daemon.guest(100).config().get("lock").is_none());
}

/// As a resize of one, for upstream parses it before it looks.
#[test]
fn a_disk_that_is_not_there_does_not_move() {
    let daemon = world();
    for (call, wanted) in
        [("move_volume", ("volume", "storage", "other")), ("resize", ("disk", "size", "1G"))]
    {
        let parameters = [(wanted.0, "mp7"), (wanted.1, wanted.2)];
        let path = format!("/nodes/pve1/lxc/100/{call}");
        let reply = match call {
            "resize" => daemon.put(&path, &parameters),
            _ => daemon.post(&path, &parameters),
        };
        assert_eq!(reply.line(), "500 format error");
        let missing = "property is missing and it is not optional";
        assert_eq!(reply.json()["errors"], json!({"mp": missing, "volume": missing}), "{call}");
    }
}

/// Upstream looks at the storage in its task.
#[test]
fn a_move_to_a_storage_that_is_none_fails_as_a_task() {
    let daemon = world();
    let to = |storage: &str| {
        let parameters = [("volume", "rootfs"), ("storage", storage)];
        let reply = daemon.post("/nodes/pve1/lxc/100/move_volume", &parameters);
        daemon.task(&reply).failed()
    };
    assert_eq!(to("nope"), "storage 'nope' does not exist");
    let content = "content type 'rootdir' is not available or configured on storage 'papers'";
    assert_eq!(to("papers"), content);
    assert_eq!(daemon.guest(100).config().get("lock"), None);
}

#[test]
fn a_template_has_base_images_and_is_not_started() {
    let daemon = world();
    assert_eq!(daemon.post("/nodes/pve1/lxc/100/template", &[]).data(), Value::Null);
    let upid = tests::eventually(10, "the task", || {
        let tasks = daemon.get("/nodes/pve1/tasks").data();
        tasks[0]["upid"].as_str().map(str::to_owned)
    });
    daemon.task_of(&upid).ok();

    let config = daemon.guest(100).config();
    assert_eq!(config["template"], 1);
    assert_eq!(config["rootfs"], "local:100/base-100-disk-0.raw,size=16M");
    assert_eq!(
        files(&daemon, "var/lib/vz/images/100"),
        ["base-100-disk-0.raw", "subvol-100-disk-1.subvol"]
    );
    assert_eq!(
        daemon.post("/nodes/pve1/lxc/100/template", &[]).line(),
        "500 you can't convert a template to a template"
    );
    daemon.task(&daemon.post("/nodes/pve1/lxc/100/clone", &[("newid", "200"), ("full", "1")])).ok();
    assert!(daemon.guest(200).config().get("template").is_none());
    daemon.guest(100).destroy();
}

#[test]
fn a_stopped_container_has_no_interfaces_and_goes_nowhere() {
    let daemon = world();
    let path = |rest: &str| format!("/nodes/pve1/lxc/100/{rest}");
    assert_eq!(daemon.get(&path("interfaces")).data(), Value::Null);
    assert_eq!(
        daemon.get(&path("migrate")).data(),
        json!({"running": 0, "allowed-nodes": [], "not-allowed-nodes": {}})
    );
    let target = |node: &str| daemon.post(&path("migrate"), &[("target", node)]);
    assert_eq!(target("pve1").errors(), json!({"target": "target is local node."}));
    assert_eq!(target("pve9").line(), "500 no such cluster node 'pve9'");
}

/// ann may look and nothing else; none of it says whether her parameters were right.
#[test]
fn whoever_may_only_look_changes_nothing() {
    let daemon = world();
    let refused = |method: &str, rest: &str, parameters: &[(&str, &str)], privilege: &str| {
        let path = format!("/nodes/pve1/lxc/100/{rest}");
        let reply = daemon.request_as(&[("Authorization", ANN)], method, &path, parameters);
        let wanted = format!("403 Permission check failed (/vms/100, {privilege})");
        assert_eq!(reply.line(), wanted, "{method} {rest}");
    };
    refused("POST", "snapshot", &[("snapname", "s1")], "VM.Snapshot");
    refused("DELETE", "snapshot/s1", &[], "VM.Snapshot");
    refused("POST", "snapshot/s1/rollback", &[], "VM.Snapshot|VM.Snapshot.Rollback");
    refused("POST", "clone", &[("newid", "200")], "VM.Clone");
    refused("PUT", "resize", &[("disk", "rootfs"), ("size", "+1G")], "VM.Config.Disk");
    refused("POST", "move_volume", &[("volume", "rootfs")], "VM.Config.Disk");
    refused("POST", "template", &[], "VM.Allocate");
    refused("GET", "migrate", &[], "VM.Migrate");
    assert_eq!(daemon.get("/nodes/pve1/tasks").data(), json!([]));
}

/// It accepts connections before it has settled what the one before left.
fn relaunch(daemon: &mut Daemon, note: &Path) {
    daemon.launch();
    tests::eventually(10, "the end of what was begun", || (!note.exists()).then_some(()));
}

/// What a daemon leaves that is killed in the middle of each, and what the next makes of it.
#[test]
fn the_next_daemon_ends_what_a_killed_one_began() {
    let mut daemon = world();
    daemon.task(&daemon.post("/nodes/pve1/lxc/100/snapshot", &[("snapname", "s1")])).ok();
    fs_err::write(motd(&daemon), "after").unwrap();
    let images = daemon.root().join("var/lib/vz/images/100");
    let note = daemon.root().join("var/lib/proxmox-lxcri/changing/100");
    let config = daemon.config_path(100);
    let text = fs_err::read_to_string(&config).unwrap();
    let locked =
        |lock: &str| text.replacen("hostname: box\n", &format!("hostname: box\nlock: {lock}\n"), 1);
    let operation = |lock: &str, restoring: Option<&str>| {
        json!({"lock": lock, "storages": ["local"], "before": ["local:100/vm-100-disk-0.raw",
            "local:100/subvol-100-disk-1.subvol"], "doomed": [], "restoring": restoring})
        .to_string()
    };

    // A move that had begun to copy.
    daemon.kill();
    fs_err::write(images.join("vm-100-disk-2.raw"), "half").unwrap();
    fs_err::write(&config, locked("disk")).unwrap();
    fs_err::write(&note, operation("disk", None)).unwrap();
    relaunch(&mut daemon, &note);
    assert!(!images.join("vm-100-disk-2.raw").exists());
    assert_eq!(fs_err::read_to_string(&config).unwrap(), text);

    // A snapshot whose copies were not all made.
    daemon.kill();
    let half = "\n[s2]\nmemory: 256\nrootfs: local:100/vm-100-disk-0.raw,size=16M\nsnapstate: prepare\nsnaptime: 5\n";
    fs_err::write(&config, locked("snapshot") + half).unwrap();
    fs_err::write(images.join("vm-100-disk-0.raw@s2"), "half").unwrap();
    fs_err::write(&note, operation("snapshot", None)).unwrap();
    relaunch(&mut daemon, &note);
    assert!(!images.join("vm-100-disk-0.raw@s2").exists());
    assert!(images.join("vm-100-disk-0.raw@s1").exists());
    assert_eq!(daemon.get("/nodes/pve1/lxc/100/snapshot").data().as_array().unwrap().len(), 2);

    // A rollback that had copied all and put nothing in its place.
    daemon.kill();
    fs_err::write(&config, locked("rollback")).unwrap();
    fs_err::create_dir(images.join("subvol-100-disk-1.subvol@.draft")).unwrap();
    fs_err::write(images.join("subvol-100-disk-1.subvol@.draft/motd"), "before").unwrap();
    fs_err::write(&note, operation("rollback", Some("s1"))).unwrap();
    relaunch(&mut daemon, &note);
    assert_eq!(fs_err::read_to_string(motd(&daemon)).unwrap(), "before");
    assert!(daemon.guest(100).config().get("lock").is_none());
    assert_eq!(
        files(&daemon, "var/lib/vz/images/100"),
        [
            "subvol-100-disk-1.subvol",
            "subvol-100-disk-1.subvol@s1",
            "vm-100-disk-0.raw",
            "vm-100-disk-0.raw@s1"
        ]
    );
}

#[test]
fn a_volume_is_handed_to_another_container() {
    let daemon = world();
    let config = "arch: amd64\nhostname: other\nmemory: 256\nostype: unmanaged\n\
        rootfs: local:200/vm-200-disk-0.raw,size=16M\n";
    fs_err::write(daemon.config_path(200), config).unwrap();
    let extra = "mp1: local:100/vm-100-disk-7.raw,mp=/srv,size=16M\n";
    let old = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    fs_err::write(daemon.config_path(100), old + extra).unwrap();
    let image = volume(&daemon, "local:100/vm-100-disk-7.raw");
    fs_err::write(&image, "an image").unwrap();
    let hand = |volume: &str, more: &[(&str, &str)]| {
        let all = [&[("volume", volume), ("target-vmid", "200")], more].concat();
        daemon.post("/nodes/pve1/lxc/100/move_volume", &all)
    };
    assert_eq!(hand("rootfs", &[]).line(), "500 Cannot move to/from 'rootfs'");
    assert_eq!(
        hand("mp0", &[]).line(),
        "500 Storage does not support moving of this disk to another container"
    );
    assert_eq!(
        hand("mp1", &[("target-digest", "0000")]).line(),
        "500 Container 200: detected modified configuration - file changed by other user? Try again."
    );

    let upid = hand("mp1", &[("target-volume", "mp3")]).data();
    let upid = upid.as_str().unwrap();

    assert!(upid.contains(":move_volume:100-mp1>200-mp3:"), "{upid}");
    let task = daemon.task_of(&upid.replace('>', "%3E"));
    assert!(task.ok().ends_with("target container '200' updated with 'mp3'\nTASK OK"));
    assert!(daemon.guest(100).config().get("mp1").is_none() && !image.exists());
    let moved = daemon.guest(200).config()["mp3"].as_str().unwrap().to_owned();
    assert!(moved.ends_with(",mp=/srv,size=16M"), "{moved}");
    let there = volume(&daemon, moved.split(',').next().unwrap());
    assert_eq!(fs_err::read_to_string(there).unwrap(), "an image");
}
