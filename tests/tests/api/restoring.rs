//! What a request to restore a container is checked for, and what a failure leaves. What comes back
//! is looked at in the container tests.

use rstest::rstest;
use tests::Daemon;

use crate::attackers::as_root;
use crate::{ANN, with_guest};

const PATH: &str = "/nodes/pve1/lxc";
const BACKUP: &str = "local:backup/vzdump-lxc-100-2026_01_01-00_00_00.tar";

/// ann may do this.
fn world(acl: &str) -> Daemon {
    let users = "user:root@pam:1:0:::::\nuser:ann@pve:1:0:::::\ntoken:ann@pve!look:0:0::\n\
        token:root@pam!test:0:0::\n\n\npool:p1:::::\n\n";
    with_guest()
        .file("etc/pve/user.cfg", &format!("{users}{acl}"))
        .file("var/lib/vz/dump/vzdump-lxc-100-2026_01_01-00_00_00.tar", "no archive")
        .file("var/lib/vz/images/100/vm-100-disk-0.raw", "")
        .file("etc/pve/nodes/pve1/lxc/101.conf", "arch: amd64\nprotection: 1\n")
        .file("etc/pve/nodes/pve1/lxc/102.conf", "arch: amd64\nlock: backup\n")
        .file("etc/pve/nodes/pve1/qemu-server/103.conf", "")
        .start()
}

fn restore<'p>(more: &[(&'p str, &'p str)]) -> Vec<(&'p str, &'p str)> {
    let default = [("vmid", "200"), ("ostemplate", BACKUP), ("restore", "1")];
    let given = |name: &str| more.iter().any(|(other, _)| *other == name);
    default.into_iter().filter(|(name, _)| !given(name)).chain(more.iter().copied()).collect()
}

#[rstest]
#[case::taken(&[("vmid", "100")], "500 CT 100 already exists on node 'pve1'")]
#[case::machine(&[("vmid", "103"), ("force", "1")], "500 VM 103 already exists on node 'pve1'")]
#[case::protected(
    &[("vmid", "101"), ("force", "1")],
    "500 unable to restore CT 101 - protection mode enabled"
)]
#[case::locked(
    &[("vmid", "102"), ("force", "1")],
    "500 unable to restore CT 102 - CT is locked (backup)"
)]
#[case::pool(&[("pool", "nope")], "403 Permission check failed (pool 'nope' does not exist)")]
#[case::pipe(&[("ostemplate", "-")], "500 pipe requires cli environment")]
#[case::path(
    &[("ostemplate", "/srv/x.tar")],
    "500 Only root can pass arbitrary filesystem paths."
)]
#[case::template(
    &[("ostemplate", "local:vztmpl/x.tar.gz")],
    "500 unable to use volume local:vztmpl/x.tar.gz - content type needs to be 'backup'"
)]
#[case::storage(&[("storage", "nope")], "500 storage 'nope' does not exist")]
#[case::no_rootfs(
    &[("mp0", "local:1,mp=/x")],
    "500 mount points configured, but 'rootfs' not set - aborting"
)]
fn refuses_at_once(#[case] more: &[(&str, &str)], #[case] line: &str) {
    let daemon = world("");
    assert_eq!(daemon.post(PATH, &restore(more)).line(), line);
    assert!(!daemon.config_path(200).exists());
}

const OWNER: &str =
    "acl:1:/vms/100:ann@pve:PVEVMUser:\nacl:1:/storage/local:ann@pve:PVEDatastoreUser:\n";
const POOLED: &str =
    "acl:1:/pool/p1:ann@pve:PVEAdmin:\nacl:1:/storage/local:ann@pve:PVEDatastoreUser:\n";
const OVER: [(&str, &str); 2] = [("vmid", "100"), ("force", "1")];

#[rstest]
#[case::nothing("", &[], "403 Permission check failed")]
#[case::no_force(OWNER, &[("vmid", "100")], "500 CT 100 already exists on node 'pve1'")]
#[case::another(OWNER, &[], "403 Permission check failed")]
#[case::own(OWNER, &OVER, "200 OK")]
#[case::own_without_space(
    "acl:1:/vms/100:ann@pve:PVEVMUser:\n",
    &OVER,
    "403 Permission check failed (/storage/local, Datastore.AllocateSpace)"
)]
#[case::own_made_privileged(
    OWNER,
    &[("vmid", "100"), ("force", "1"), ("unprivileged", "0")],
    "403 Permission check failed (/, Sys.Modify)"
)]
#[case::own_changed(
    OWNER,
    &[("vmid", "100"), ("force", "1"), ("memory", "64")],
    "403 Permission check failed (/vms/100, VM.Config.Memory)"
)]
#[case::other_backup(
    POOLED,
    &[("pool", "p1")],
    "403 Permission check failed (/vms/100, VM.Backup)"
)]
#[case::bind(
    POOLED,
    &[("pool", "p1"), ("rootfs", "local:1"), ("mp0", "/srv,mp=/srv")],
    "403 Permission check failed (mount point type bind is only allowed for root@pam)"
)]
#[case::ha(
    POOLED,
    &[("pool", "p1"), ("ha-managed", "1")],
    "403 Permission check failed (/, Sys.Console)"
)]
fn takes_rights(#[case] acl: &str, #[case] more: &[(&str, &str)], #[case] line: &str) {
    let daemon = world(acl);
    let reply = daemon.request_as(&[("Authorization", ANN)], "POST", PATH, &restore(more));
    assert_eq!(reply.line(), line);
}

#[test]
fn what_is_no_backup_leaves_everything_as_it_was() {
    let daemon = world("");
    let before = fs_err::read_to_string(daemon.config_path(100)).unwrap();
    for more in [vec![("unique", "1")], OVER.to_vec()] {
        let task = daemon.task(&daemon.post(PATH, &restore(&more)));
        let vmid = more.first().filter(|one| one.0 == "vmid").map_or("200", |one| one.1);
        assert!(task.upid.contains(&format!(":vzrestore:{vmid}:")), "{}", task.upid);
        let line = format!("recovering backed-up configuration from '{BACKUP}'");
        assert!(task.log.contains(&line), "{}", task.log);
        let error = "ERROR: archive contains no configuration file";
        assert_eq!(task.failed(), format!("unable to restore CT {vmid} - {error}"));
    }
    assert!(!daemon.config_path(200).exists());
    assert_eq!(fs_err::read_to_string(daemon.config_path(100)).unwrap(), before);
    let images = daemon.root().join("var/lib/vz/images");
    assert!(images.join("100/vm-100-disk-0.raw").exists() && !images.join("200").exists());
    let notes = daemon.root().join("var/lib/proxmox-lxcri/creating");
    assert_eq!(fs_err::read_dir(notes).unwrap().count(), 0);
}

#[test]
fn root_itself_may_name_any_path() {
    let daemon = world("");
    let more = [("ostemplate", "/var/lib/vz/none.tar.zst")];
    let task = daemon.task(&as_root(&daemon, "POST", PATH, &restore(&more)));
    let error = "unable to restore CT 200 - can't find file '/var/lib/vz/none.tar.zst'";
    assert_eq!(task.failed(), error);
}
