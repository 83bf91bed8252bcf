//! Whose tags are whose, and what somebody with a second factor is told.

use crate::{ANN, with_guest, with_users};

const TFA: &str = r#"{"users":{"joe@pve":{"totp":[{"info":{"id":"a","description":"","created":1},
    "entry":"otpauth://totp/x"}],"u2f":[],"totp-locked":true,"tfa-locked-until":99999999999}}}"#;

#[test]
fn a_user_with_a_second_factor_is_told_why_not() {
    let daemon = with_users().file("etc/pve/priv/tfa.cfg", TFA).start();
    let login = |password: &str| {
        let fields = [("username", "joe@pve"), ("password", password)];
        daemon.request_as(&[], "POST", "/access/ticket", &fields).line()
    };
    assert_eq!(login("wrong-word"), "401 authentication failure");
    assert_eq!(
        login("secret-word"),
        "401 user 'joe@pve' has a second factor, which can only be checked on a PVE node"
    );
}

const TAGS: &str = "user-tag-access: user-allow=list,user-allow-list=ok;fine\n\
    registered-tags: prod\ntag-style: ordering=config\nmac_prefix: 02:AA\n";

#[test]
fn tags_are_set_by_those_who_may() {
    let acl = "user:root@pam:1:0:::::\nuser:ann@pve:1:0:::::\ntoken:ann@pve!look:0:0::\n\
        token:root@pam!test:0:0::\n\n\n\nacl:1:/vms/100:ann@pve:PVEVMAdmin:\n";
    let daemon =
        with_guest().file("etc/pve/user.cfg", acl).file("etc/pve/datacenter.cfg", TAGS).start();
    let ann = |parameters: &[(&str, &str)]| {
        let ann = [("Authorization", ANN)];
        daemon.request_as(&ann, "PUT", "/nodes/pve1/lxc/100/config", parameters).line()
    };
    let forbidden = |tag: &str| {
        format!("403 Permission check failed (/, Sys.Modify for modifying tag '{tag}')")
    };
    assert_eq!(ann(&[("tags", "other")]), forbidden("other"));
    assert_eq!(ann(&[("tags", "prod")]), forbidden("prod"));
    assert!(ann(&[("tags", "OK;fine;ok")]).starts_with("200"));
    let guest = daemon.guest(100);
    assert_eq!(guest.config()["tags"], "ok;fine");
    guest.put_config(&[("tags", "prod;ok"), ("net0", "name=eth0,bridge=vmbr0")]).data();
    assert!(guest.config()["net0"].as_str().unwrap().contains("hwaddr=02:AA:"));
    assert_eq!(ann(&[("delete", "tags")]), forbidden("prod"));
    assert!(ann(&[("tags", "prod;fine")]).starts_with("200"));
}
