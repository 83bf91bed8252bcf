//! What a request to create a container is checked for before anything is made.

use rstest::rstest;
use serde_json::json;

use crate::attackers::as_root;
use crate::{ANN, with_guest, with_users};

const NEW: [(&str, &str); 2] = [("vmid", "200"), ("ostemplate", "local:vztmpl/x.tar.gz")];
const ROOT_ONLY: &str =
    "403 Permission check failed (mount point type bind is only allowed for root@pam)";

#[rstest]
#[case::keys(&[("ssh-public-keys", "ssh-rsa nonsense")], "500 SSH public key validation error")]
#[case::pool(&[("pool", "nope")], "403 Permission check failed (pool 'nope' does not exist)")]
#[case::storage(&[("rootfs", "nope:4")], "500 storage 'nope' does not exist")]
#[case::no_rootfs(
    &[("mp0", "local:1,mp=/x")],
    "500 mount points configured, but 'rootfs' not set - aborting"
)]
fn refuses_at_once(#[case] more: &[(&str, &str)], #[case] line: &str) {
    let daemon = with_users().start();
    assert_eq!(daemon.post("/nodes/pve1/lxc", &[&NEW, more].concat()).line(), line);
    assert!(!daemon.config_path(200).exists());
}

#[rstest]
#[case::not_mounted(
    "away",
    "500 unable to activate storage 'away' - directory is expected to be a mount point but is not \
     mounted: '/away'"
)]
#[case::no_content("files", "400 Parameter verification failed.")]
fn takes_a_storage_that_can_be_used(#[case] storage: &str, #[case] line: &str) {
    let storages = "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,rootdir\n\n\
        dir: away\n\tpath /away\n\tis_mountpoint 1\n\tcontent rootdir\n\n\
        dir: files\n\tpath /files\n\tcontent iso\n";
    let daemon = with_users().file("etc/pve/storage.cfg", storages).start();
    let reply = daemon.post("/nodes/pve1/lxc", &[&NEW[..], &[("storage", storage)]].concat());
    assert_eq!(reply.line(), line);
    assert!(!daemon.config_path(200).exists());
}

#[rstest]
#[case::other_content(
    "local:iso/x.iso",
    "500 unable to use volume local:iso/x.iso - content type needs to be 'vztmpl'"
)]
#[case::no_volume_name("local:x.tar", "500 unable to parse directory volume name 'x.tar'")]
#[case::unknown_storage("nope:vztmpl/x.tar", "500 storage 'nope' does not exist")]
#[case::pipe("-", "500 pipe requires cli environment")]
#[case::path("/srv/x.tar.gz", "500 Only root can pass arbitrary filesystem paths.")]
fn refuses_what_is_no_template(#[case] archive: &str, #[case] line: &str) {
    let daemon = with_users().start();
    let reply = daemon.post("/nodes/pve1/lxc", &[("vmid", "200"), ("ostemplate", archive)]);
    assert_eq!(reply.line(), line);
    assert!(!daemon.config_path(200).exists());
}

#[rstest]
#[case("/srv/none.tar.gz", "can't find file '/srv/none.tar.gz'")]
#[case("/srv/notes", "file does not look like a template archive: ")]
#[case("/srv/x.tar.rar", "unrecognized compression format: .rar")]
fn root_itself_may_name_any_path(#[case] path: &str, #[case] error: &str) {
    let daemon = with_users().file("srv/notes", "x").file("srv/x.tar.rar", "x").start();
    let reply =
        as_root(&daemon, "POST", "/nodes/pve1/lxc", &[("vmid", "200"), ("ostemplate", path)]);
    let failed = daemon.task(&reply).failed();
    assert!(failed.starts_with(&format!("unable to create CT 200 - {error}")), "{failed}");
    assert!(!daemon.config_path(200).exists());
}

/// ann may make containers on storage local in her pool.
const POOLED: &str = "user:root@pam:1:0:::::\nuser:ann@pve:1:0:::::\ntoken:ann@pve!look:0:0::\n\
    token:root@pam!test:0:0::\n\n\npool:p1:::::\n\n\
    acl:1:/pool/p1:ann@pve:PVEAdmin:\nacl:1:/storage/local:ann@pve:PVEDatastoreUser:\n";

#[rstest]
#[case::without_the_pool(&[], "403 Permission check failed")]
#[case::bind(&[("pool", "p1"), ("rootfs", "local:1"), ("mp0", "/srv,mp=/srv")], ROOT_ONLY)]
#[case::privileged(
    &[("pool", "p1"), ("unprivileged", "0")],
    "403 Permission check failed (/, Sys.Modify)"
)]
#[case::ha(
    &[("pool", "p1"), ("ha-managed", "1")],
    "403 Permission check failed (/, Sys.Console)"
)]
fn whoever_may_use_a_pool_may_not_all(#[case] more: &[(&str, &str)], #[case] line: &str) {
    let daemon = with_users().file("etc/pve/user.cfg", POOLED).start();
    let ann = [("Authorization", ANN)];
    let reply = daemon.request_as(&ann, "POST", "/nodes/pve1/lxc", &[&NEW, more].concat());
    assert_eq!(reply.line(), line);
}

#[test]
fn a_create_in_a_pool_gets_as_far_as_its_template() {
    let daemon = with_users().file("etc/pve/user.cfg", POOLED).start();
    let ann = [("Authorization", ANN)];
    let wanted = [&NEW[..], &[("pool", "p1"), ("password", "secret-word")]].concat();

    let reply = daemon.request_as(&ann, "POST", "/nodes/pve1/lxc", &wanted);

    let task = daemon.task(&reply);
    assert!(!task.log.contains("secret-word"), "{}", task.log);
    let error = "unable to create CT 200 - volume 'local:vztmpl/x.tar.gz' does not exist";
    assert_eq!(task.failed(), error);
    let pools = daemon.get("/pools/p1").data();
    assert_eq!(pools["members"], json!([]));
}

#[test]
fn a_copy_joins_its_pool() {
    let daemon = with_guest()
        .file(
            "etc/pve/nodes/pve1/lxc/100.conf",
            "arch: amd64\nhostname: box\nmemory: 256\n\
            ostype: unmanaged\nrootfs: local:100/subvol-100-disk-0.subvol,size=0T\n",
        )
        .file("var/lib/vz/images/100/subvol-100-disk-0.subvol/motd", "hi")
        .start();
    let clone =
        |pool: &str| daemon.post("/nodes/pve1/lxc/100/clone", &[("newid", "200"), ("pool", pool)]);
    assert_eq!(clone("p1").line(), "403 Permission check failed (pool 'p1' does not exist)");
    daemon.post("/pools", &[("poolid", "p1")]).data();

    daemon.task(&clone("p1")).ok();

    let pool = daemon.get("/pools/p1").data();
    assert_eq!(pool["members"][0]["id"], "lxc/200");
}
