//! Who gets in, and how others are turned away.

use std::time::Instant;

use rstest::rstest;
use serde_json::Value;
use tests::{BCRYPT_OF_SECRET_WORD, Daemon};

use crate::{ANN, JOE_EXPIRED, with_guest, with_users};

#[rstest]
#[case::nothing(&[], "401 No ticket")]
#[case::bad_ticket(&[("Cookie", "PVEAuthCookie=PVE:root@pam:66666666::c2ln")], "401 Authentication failed!")]
#[case::bad_token(&[("Authorization", "PVEAPIToken=root@pam!lxcri=wrong")], "401 Authentication failed!")]
#[case::unknown_token(&[("Authorization", "PVEAPIToken=root@pam!no=x")], "401 Authentication failed!")]
#[case::expired_token(&[("Authorization", JOE_EXPIRED)], "401 Authentication failed!")]
fn turns_away(#[case] headers: &[(&str, &str)], #[case] line: &str) {
    let daemon = with_users().start();
    let begun = Instant::now();
    let reply = daemon.request_as(headers, "GET", "/nodes", &[]);
    assert_eq!((reply.line().as_str(), reply.text().as_str()), (line, ""));
    // As PVE does, against guessing.
    assert!(begun.elapsed().as_millis() >= 2900, "{:?}", begun.elapsed());
}

fn login(daemon: &Daemon, user: &str, password: &str) -> Value {
    daemon
        .request_as(&[], "POST", "/access/ticket", &[("username", user), ("password", password)])
        .data()
}

#[rstest]
#[case::sha256(tests::SHA256_OF_SECRET_WORD)]
#[case::bcrypt(BCRYPT_OF_SECRET_WORD)]
fn a_ticket_opens_and_its_csrf_token_lets_write(#[case] hash: &str) {
    let daemon = with_guest().file("etc/pve/priv/shadow.cfg", &format!("joe:{hash}:\n")).start();
    let answer = login(&daemon, "joe@pve", "secret-word");
    assert_eq!(answer["username"], "joe@pve");
    let cookie = format!("PVEAuthCookie={}", answer["ticket"].as_str().unwrap());
    let csrf = answer["CSRFPreventionToken"].as_str().unwrap();

    let read = daemon.request_as(&[("Cookie", &cookie)], "GET", "/nodes", &[]);
    assert_eq!(read.data()[0]["node"], "pve1");
    let path = "/nodes/pve1/lxc/100/config";
    let blind = daemon.request_as(&[("Cookie", &cookie)], "PUT", path, &[("memory", "64")]);
    assert_eq!(blind.line(), "401 Permission denied - invalid csrf token");
    let headers = [("Cookie", cookie.as_str()), ("CSRFPreventionToken", csrf)];
    assert_eq!(daemon.request_as(&headers, "PUT", path, &[("memory", "64")]).status, 200);
    assert_eq!(daemon.get(path).data()["memory"], 64);
}

#[test]
fn a_ticket_outlives_the_daemon_that_gave_it() {
    let mut daemon = with_users().start();
    let answer = login(&daemon, "joe@pve", "secret-word");
    let cookie = format!("PVEAuthCookie={}", answer["ticket"].as_str().unwrap());
    daemon.kill();
    daemon.launch();
    let read = daemon.request_as(&[("Cookie", &cookie)], "GET", "/version", &[]);
    assert_eq!(read.status, 200, "{}", read.line());
}

#[rstest]
#[case::wrong_password("joe@pve", "secret-words")]
#[case::no_password_set("ann@pve", "")]
#[case::no_such_user("eve@pve", "secret-word")]
#[case::no_such_realm("joe@nowhere", "secret-word")]
fn a_login_fails_without_saying_why(#[case] user: &str, #[case] password: &str) {
    let daemon = with_users().start();
    let reply = daemon.request_as(
        &[],
        "POST",
        "/access/ticket",
        &[("username", user), ("password", if password.is_empty() { "guess" } else { password })],
    );
    assert_eq!(reply.line(), "401 authentication failure");
    assert_eq!(reply.json()["data"], Value::Null);
}

#[test]
fn the_root_token_is_root_s_alone_and_opens() {
    let daemon = Daemon::start();
    let path = daemon.root().join("root-token");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(daemon.token().starts_with("root@pam!"), "{}", daemon.token());
    assert!(daemon.log().contains(path.to_str().unwrap()), "{}", daemon.log());
    assert!(!daemon.log().contains(daemon.token().split('=').next_back().unwrap()));
    assert_eq!(daemon.get("/version").status, 200);
}

#[test]
fn one_who_may_only_look_may_only_look() {
    let daemon = with_guest().start();
    let ann = [("Authorization", ANN)];
    let get = |path: &str| daemon.request_as(&ann, "GET", path, &[]);
    assert_eq!(get("/nodes/pve1/lxc/100/config").data()["memory"], 256);
    assert_eq!(
        get("/nodes/pve1/lxc/101/config").line(),
        "403 Permission check failed (/vms/101, VM.Audit)"
    );
    let start = daemon.request_as(&ann, "POST", "/nodes/pve1/lxc/100/status/start", &[]);
    assert_eq!(start.line(), "403 Permission check failed (/vms/100, VM.PowerMgmt)");
    // Rights are asked for before parameters are looked at.
    let put = daemon.request_as(&ann, "PUT", "/nodes/pve1/lxc/100/config", &[("memory", "1")]);
    assert_eq!(put.status, 403, "{}", put.line());
    assert_eq!(get("/nodes/pve1/lxc").data().as_array().unwrap().len(), 1);
}

#[test]
fn an_edit_of_the_user_list_counts_at_once() {
    let daemon = with_guest().start();
    let ann = [("Authorization", ANN)];
    assert_eq!(daemon.request_as(&ann, "GET", "/nodes/pve1/lxc/100/config", &[]).status, 200);
    std::thread::sleep(std::time::Duration::from_millis(20)); // another mtime
    let path = daemon.root().join("etc/pve/user.cfg");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replace("acl:1:/vms/100:ann@pve:PVEAuditor:\n", "")).unwrap();
    assert_eq!(
        daemon.request_as(&ann, "GET", "/nodes/pve1/lxc/100/config", &[]).line(),
        "403 Permission check failed (/vms/100, VM.Audit)"
    );
}

/// Nobody here has a second factor, so PVE asks for none; and tickets have one format.
#[rstest]
#[case::code(&[("otp", "123456")])]
#[case::old_format(&[("new-format", "0")])]
#[case::both(&[("otp", "123456"), ("new-format", "1")])]
fn what_old_clients_send_changes_no_login(#[case] more: &[(&str, &str)]) {
    let daemon = with_users().start();
    let fields = [&[("username", "joe@pve"), ("password", "secret-word")], more].concat();
    let answer = daemon.request_as(&[], "POST", "/access/ticket", &fields).data();
    let cookie = format!("PVEAuthCookie={}", answer["ticket"].as_str().unwrap());
    let read = daemon.request_as(&[("Cookie", &cookie)], "GET", "/version", &[]);
    assert_eq!(read.line(), "200 OK");
}

#[test]
fn a_code_is_no_way_around_a_second_factor() {
    let factors = r#"{"users":{"joe@pve":{"totp":[{"id":"a","entry":"x"}]}}}"#;
    let daemon = with_users().file("etc/pve/priv/tfa.cfg", factors).start();
    let fields = [("username", "joe@pve"), ("password", "secret-word"), ("otp", "123456")];
    let reply = daemon.request_as(&[], "POST", "/access/ticket", &fields);
    let reason = "user 'joe@pve' has a second factor, which can only be checked on a PVE node";
    assert_eq!(reply.line(), format!("401 {reason}"));
}
