//! A restore over a container that is there, cut off at each point: afterwards it is wholly the old
//! one or wholly the new one.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use images::{Compression, Compressor, Excludes, Owners, Packer};
use pve_integration::access::Access;
use rstest::rstest;
use serde_json::json;

use super::super::tests::{World, vmid};
use super::*;

const OLD: &str = "hostname: old\nmp0: local:100/vm-100-disk-1.raw,mp=/a,size=1M\n\
    rootfs: local:100/subvol-100-disk-0.subvol,size=0T\nunused0: local:100/vm-100-disk-2.raw\n\n\
    [s1]\nrootfs: local:100/subvol-100-disk-0.subvol,size=0T\n";
const OLD_FILES: [&str; 3] =
    ["subvol-100-disk-0.subvol/old", "vm-100-disk-1.raw", "vm-100-disk-2.raw"];
const NEW: &str = "hostname: new\nrootfs: local:100/subvol-100-disk-3.subvol,size=0T\n";
const NEW_FILE: &str = "subvol-100-disk-3.subvol/new";
const IMAGES: &str = "var/lib/vz/images/100";
const RULES: &str = "etc/pve/firewall/100.fw";
const OCI: &str = "etc/pve/nodes/pve1/oci/100.conf";

/// In the monitor's place: it "unpacks" into the rootfs of the config that it is given, if the old
/// container still has its own, and then does as the file `then` says.
const MONITOR: &str = r#"#!/bin/sh
images=$3/var/lib/vz/images
[ "$1" = unpack ] || exit 0
volume=$(sed -n 's/^rootfs: local:\([^,]*\).*/\1/p')
[ -e "$images/100/subvol-100-disk-0.subvol/old" ] || { echo "the old one is gone" >&2; exit 1; }
echo fresh >"$images/$volume/new"
. "$3/then"
echo "DETECTED ostype=alpine arch=amd64"
"#;

impl World {
    fn with_old() -> Self {
        let world = Self::new();
        world.config(100, OLD);
        for file in OLD_FILES {
            world.write(format!("{IMAGES}/{file}"), "old");
        }
        world.write(RULES, "old rules");
        world.write(OCI, "runtime: crun\n");
        world.write("no-monitor", MONITOR);
        let executable = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(world.dir.path().join("no-monitor"), executable).unwrap();
        world
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.dir.path().join(path)).unwrap()
    }

    fn has(&self, file: &str) -> bool {
        self.dir.path().join(IMAGES).join(file).exists()
    }

    fn volumes(&self) -> usize {
        fs_err::read_dir(self.dir.path().join(IMAGES)).unwrap().count()
    }

    /// Another daemon on the same root, after what a start of one does first.
    async fn next_daemon(&self) {
        self.another().recover().await;
        assert_eq!(Journal::all(&self.root).unwrap(), []);
    }

    fn assert_old(&self) {
        assert_eq!(self.read_config(100).unwrap(), OLD);
        assert_eq!(self.text(RULES), "old rules");
        assert!(OLD_FILES.iter().all(|file| self.text(&format!("{IMAGES}/{file}")) == "old"));
        assert_eq!(self.volumes(), OLD_FILES.len(), "something new is left");
    }

    fn assert_new(&self) {
        assert!(self.read_config(100).unwrap().contains("hostname: new\n"));
        assert_eq!(self.text(RULES), "new rules");
        assert_eq!(self.text(OCI), "runtime: crun\n");
        assert!(self.has(NEW_FILE));
        assert_eq!(self.volumes(), 1, "something old is left");
    }

    /// What happens on the disk, one step after the other.
    fn go(&self, step: usize) {
        let known = Storages::read(&self.root, &self.guests.0.node).unwrap();
        let journal = || Journal::all(&self.root).unwrap().remove(0).1;
        match step {
            1 => {
                let noted = Journal::on(&known, vmid(100), &["local".parse().unwrap()]).unwrap();
                Journal { existing: true, ..noted }.write(&self.root, vmid(100)).unwrap();
            }
            2 => {
                let mut locked = self.guests.lock(vmid(100)).unwrap();
                locked.config.set("lock", LOCK);
                locked.save().unwrap();
            }
            3 => self.write(format!("{IMAGES}/{NEW_FILE}"), "half"),
            4 => {
                let old = self.guests.read(vmid(100)).unwrap();
                let new = ContainerConfig::parse(NEW.as_bytes());
                let rules = Some(b"new rules".to_vec());
                let sealed = seal(&old.config, &new, journal(), rules, vmid(100));
                sealed.write(&self.root, vmid(100)).unwrap();
            }
            5 => self.config(100, NEW),
            6 => self.write(RULES, "new rules"),
            7 => known.free(&"local:100/vm-100-disk-1.raw".parse().unwrap()).unwrap(),
            8 => {
                for name in ["subvol-100-disk-0.subvol", "vm-100-disk-2.raw"] {
                    known.free(&format!("local:100/{name}").parse().unwrap()).unwrap();
                }
            }
            _ => {}
        }
    }
}

#[rstest]
#[tokio::test]
async fn cut_off_anywhere_it_is_the_old_or_the_new_one(
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8)] last: usize,
) {
    let world = World::with_old();
    (0..=last).for_each(|step| world.go(step));

    world.next_daemon().await;

    if last < 5 { world.assert_old() } else { world.assert_new() }
}

/// The way back is cut off as well: the lock is gone, the note is not.
#[tokio::test]
async fn cut_off_on_its_way_back_it_is_the_old_one() {
    let world = World::with_old();
    (0..=4).for_each(|step| world.go(step));
    let sealed = Journal::all(&world.root).unwrap().remove(0).1;
    world.guests.undo_create(vmid(100), &sealed).unwrap();
    Journal { replacing: None, ..sealed }.write(&world.root, vmid(100)).unwrap();

    world.next_daemon().await;

    world.assert_old();
}

#[test]
fn what_cannot_be_noted_is_not_exchanged() {
    let world = World::with_old();
    (0..=3).for_each(|step| world.go(step));
    let journal = Journal::all(&world.root).unwrap().remove(0).1;
    let notes = world.root.state_dir().join(Journal::FOLDER);
    fs_err::remove_dir_all(&notes).unwrap();
    fs_err::write(&notes, "no folder").unwrap();
    let new = ContainerConfig::parse(NEW.as_bytes());
    let before = world.read_config(100).unwrap();

    let exchanged = world.guests.exchange(vmid(100), new, journal, None, |_| {});

    exchanged.unwrap_err();
    assert_eq!(world.read_config(100).unwrap(), before);
    assert!(OLD_FILES.iter().all(|file| world.has(file)));
}

/// Nothing of the old one goes before the new config is there.
#[test]
fn what_cannot_be_written_is_not_exchanged() {
    let world = World::with_old();
    (0..=3).for_each(|step| world.go(step));
    let journal = Journal::all(&world.root).unwrap().remove(0).1;
    let mut new = ContainerConfig::parse(NEW.as_bytes());
    new.set("hostname", "two\nlines");
    let rules = Some(b"new rules".to_vec());

    let exchanged = world.guests.exchange(vmid(100), new, journal.clone(), rules, |_| {});

    assert!(exchanged.unwrap_err().to_string().contains("hostname"));
    assert!(OLD_FILES.iter().all(|file| world.has(file)));
    world.guests.undo_create(vmid(100), &journal).unwrap();
    world.assert_old();
}

/// What was there before cannot go: the container is the new one, and a later daemon goes on.
#[tokio::test]
async fn what_is_left_undone_is_the_next_daemons() {
    let world = World::with_old();
    (0..=3).for_each(|step| world.go(step));
    let journal = Journal::all(&world.root).unwrap().remove(0).1;
    let folder = world.dir.path().join("etc/pve/firewall");
    fs_err::remove_dir_all(&folder).unwrap();
    fs_err::write(&folder, "no folder").unwrap();
    let (new, rules) = (ContainerConfig::parse(NEW.as_bytes()), Some(b"new rules".to_vec()));
    let mut said = String::new();
    world.guests.exchange(vmid(100), new, journal, rules, |text| said = text).unwrap();

    assert!(said.starts_with("what was there before is not all removed: "), "{said}");

    assert_eq!(world.read_config(100).unwrap(), NEW);
    assert!(OLD_FILES.iter().all(|file| world.has(file)));
    fs_err::remove_file(&folder).unwrap();
    world.next_daemon().await;
    world.assert_new();
}

/// A storage that is away keeps its volume until it is there again; the firewall, which its owner
/// has changed since, is not written again.
#[tokio::test]
async fn each_thing_left_to_do_is_done_once() {
    let world = World::with_old();
    let away = "dir: local\n\tpath /var/lib/vz\n\ndir: away\n\tpath /away\n\tis_mountpoint 1\n";
    world.write("etc/pve/storage.cfg", away);
    let more = "unused1: away:100/vm-100-disk-0.raw\nunused2: gone:100/vm-100-disk-0.raw\n";
    world.config(100, &OLD.replace("\n[s1]", &format!("{more}\n[s1]")));
    (0..=3).for_each(|step| world.go(step));
    let journal = Journal::all(&world.root).unwrap().remove(0).1;
    let (new, rules) = (ContainerConfig::parse(NEW.as_bytes()), Some(b"new rules".to_vec()));
    let mut said = String::new();

    world.guests.exchange(vmid(100), new, journal, rules, |text| said = text).unwrap();

    assert!(said.contains("'away'"), "{said}");
    world.write(RULES, "changed since");
    world.another().recover().await;
    assert_eq!(Journal::all(&world.root).unwrap().len(), 1);
    world.write("etc/pve/storage.cfg", &away.replace("is_mountpoint", "mkdir"));
    world.write("away/images/100/vm-100-disk-0.raw", "old");
    world.next_daemon().await;
    assert!(!world.dir.path().join("away/images/100").exists());
    assert_eq!(world.text(RULES), "changed since");
}

fn request(world: &World, more: &serde_json::Value) -> Restore {
    let path = world.dir.path().join("var/lib/vz/dump/vzdump-lxc-100-2026_01_01-00_00_00.tar");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs_err::File::create(path).unwrap().into_file();
    let out = Compressor::new(file, Compression::None).unwrap();
    let mut tell = |_: images::Event<'_>| {};
    let mut packer = Packer::new(out, Owners::default(), Excludes::new([]), &mut tell);
    let config = b"hostname: new\nrootfs: local:7/subvol-7-disk-0.subvol,size=0T\n";
    packer.file(CONFIG, config, 0).unwrap();
    packer.file(FIREWALL, b"new rules", 0).unwrap();
    packer.finish().unwrap().0.finish().unwrap();
    let volume = "local:backup/vzdump-lxc-100-2026_01_01-00_00_00.tar";
    let mut params = json!({"vmid": 100, "ostemplate": volume, "restore": 1, "force": 1});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let access = Arc::new(Access::read(&world.root).unwrap());
    Restore {
        plan: Plan::new(params.as_object().unwrap(), true).unwrap(),
        overwrite: true,
        unique: false,
        mac_prefix: None,
        unprivileged: None,
        firewall: true,
        caller: Caller::proved("root@pam".parse().unwrap(), access),
    }
}

#[tokio::test]
async fn the_old_one_goes_when_the_new_one_is_whole() {
    let world = World::with_old();
    world.write("then", "");
    let more = json!({"password": "not-theirs"});
    let upid = world.guests.restore(request(&world, &more)).await.unwrap();

    assert_eq!(world.end(&upid).await, "OK");

    world.assert_new();
    let config = world.read_config(100).unwrap();
    assert!(config.contains("\nostype: alpine\n") && !config.contains("[s1]"), "{config}");
    assert_eq!(Journal::all(&world.root).unwrap(), []);
}

#[rstest]
#[case::damaged(json!({}), "echo 'the archive ends too early' >&2; exit 1", "the archive ends too early")]
#[case::into_its_own_volume(
    json!({"rootfs": "local:100/subvol-100-disk-0.subvol"}),
    "",
    "volume 'local:100/subvol-100-disk-0.subvol' is one of the container that is overwritten"
)]
#[tokio::test]
async fn one_that_fails_leaves_the_old_one(
    #[case] more: serde_json::Value,
    #[case] then: &str,
    #[case] error: &str,
) {
    let world = World::with_old();
    world.write("then", then);
    let upid = world.guests.restore(request(&world, &more)).await.unwrap();

    assert_eq!(world.end(&upid).await, format!("unable to restore CT 100 - {error}"));

    world.assert_old();
    assert_eq!(Journal::all(&world.root).unwrap(), []);
}

/// The daemon is gone while the archive is being unpacked; whoever unpacks is not.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_its_work_it_leaves_the_old_one() {
    let world = World::with_old();
    world.write("then", "echo $$ >\"$3/at-work\"; exec sleep 1000");
    let upid = world.guests.restore(request(&world, &json!({}))).await.unwrap();
    while !world.dir.path().join("at-work").exists()
        || Journal::all(&world.root).unwrap()[0].1.worker.is_none()
    {
        tokio::task::yield_now().await;
    }
    assert!(world.read_config(100).unwrap().contains("lock: create\n"));
    let refused = world.guests.restore(request(&world, &json!({}))).await.unwrap_err();
    assert_eq!(refused.to_string(), "unable to restore CT 100 - CT is locked (create)");

    world.next_daemon().await;

    world.assert_old();
    world.end(&upid).await;
}
