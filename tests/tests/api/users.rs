//! Users, groups, roles, tokens and rights, made and taken away through the API.

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Daemon, Reply};

use crate::{ANN, ROOT, with_guest};

/// The header of a ticket and its CSRF token.
fn session(daemon: &Daemon, user: &str, password: &str) -> [(&'static str, String); 2] {
    let fields = [("username", user), ("password", password)];
    let answer = daemon.request_as(&[], "POST", "/access/ticket", &fields).data();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    [
        ("Cookie", format!("PVEAuthCookie={}", text("ticket"))),
        ("CSRFPreventionToken", text("CSRFPreventionToken")),
    ]
}

fn as_user(
    daemon: &Daemon,
    session: &[(&'static str, String); 2],
    request: (&str, &str),
    parameters: &[(&str, &str)],
) -> Reply {
    let headers: Vec<_> = session.iter().map(|(name, value)| (*name, value.as_str())).collect();
    daemon.request_as(&headers, request.0, request.1, parameters)
}

fn user_cfg(daemon: &Daemon) -> String {
    fs_err::read_to_string(daemon.root().join("etc/pve/user.cfg")).unwrap()
}

#[track_caller]
fn done(reply: &Reply) {
    assert_eq!(reply.data(), Value::Null);
}

#[test]
fn a_user_lives_as_pve_lets_it() {
    let daemon = with_guest().start();
    done(&daemon.post("/access/groups", &[("groupid", "ops"), ("comment", "op: group")]));
    done(&daemon.post(
        "/access/users",
        &[
            ("userid", "eve@pve"),
            ("password", "eve-secret"),
            ("groups", "ops"),
            ("email", "eve@example.com"),
            ("expire", "4000000000"),
        ],
    ));
    assert_eq!(
        daemon.get("/access/users/eve@pve").data(),
        json!({
            "enable": 1, "expire": 4_000_000_000_u64, "email": "eve@example.com",
            "groups": ["ops"], "tokens": null,
        })
    );
    let again = daemon.post("/access/users", &[("userid", "eve@pve")]);
    assert_eq!(again.line(), "500 create user failed: user 'eve@pve' already exists");
    session(&daemon, "eve@pve", "eve-secret");

    done(&daemon.put("/access/users/eve@pve", &[("comment", "gone soon"), ("groups", "")]));
    let rows = daemon.request("GET", "/access/users", &[("full", "1")]).data();
    let eve = rows.as_array().unwrap().iter().find(|row| row["userid"] == "eve@pve").unwrap();
    assert_eq!(
        eve,
        &json!({
            "userid": "eve@pve", "enable": 1, "expire": 4_000_000_000_u64,
            "email": "eve@example.com", "comment": "gone soon", "groups": "", "tokens": null,
            "realm-type": "pve",
        })
    );
    let text = user_cfg(&daemon);
    assert!(text.contains("user:eve@pve:1:4000000000:::eve@example.com:gone soon::\n"), "{text}");
    assert!(text.contains("group:ops::op%3A group:\n"), "{text}");

    done(&daemon.delete("/access/users/eve@pve"));
    let gone = daemon.get("/access/users/eve@pve");
    assert_eq!(gone.line(), "500 no such user ('eve@pve')");
    let shadow = fs_err::read_to_string(daemon.root().join("etc/pve/priv/shadow.cfg")).unwrap();
    assert!(shadow.contains("joe:") && !shadow.contains("eve"), "{shadow}");
}

#[rstest]
#[case::short("POST", "/access/users", &[("userid", "eve@pve"), ("password", "short")],
    "password", "value must be at least 8 characters long")]
#[case::role("POST", "/access/roles", &[("roleid", "pveMine")],
    "roleid", "cannot use role ID starting with the (case-insensitive) 'PVE' namespace")]
#[case::path("PUT", "/access/acl", &[("path", "/nowhere"), ("roles", "PVEAdmin"), ("users", "joe@pve")],
    "path", "invalid ACL path '/nowhere'")]
#[case::nobody("PUT", "/access/acl", &[("path", "/"), ("roles", "PVEAdmin")],
    "users", "either 'users', 'groups' or 'tokens' is required.")]
#[case::token("POST", "/access/users/ann@pve/token/look", &[], "tokenid", "Token already exists.")]
fn refuses_a_parameter(
    #[case] method: &str,
    #[case] path: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] name: &str,
    #[case] text: &str,
) {
    let daemon = with_guest().start();
    let before = user_cfg(&daemon);
    assert_eq!(daemon.request(method, path, parameters).errors()[name], text);
    assert_eq!(user_cfg(&daemon), before);
}

#[rstest]
#[case::user("DELETE", "/access/users/eve@pve", &[], "500 no such user ('eve@pve')")]
#[case::group("GET", "/access/groups/gone", &[], "500 group 'gone' does not exist")]
#[case::no_group("DELETE", "/access/groups/gone", &[],
    "500 delete group failed: group 'gone' does not exist")]
#[case::role("GET", "/access/roles/Gone", &[], "500 role 'Gone' does not exist")]
#[case::builtin("PUT", "/access/roles/PVEAdmin", &[("privs", "VM.Audit")],
    "500 auto-generated role 'PVEAdmin' cannot be modified")]
#[case::acl_role("PUT", "/access/acl", &[("path", "/"), ("roles", "Gone"), ("users", "joe@pve")],
    "500 ACL update failed: role 'Gone' does not exist")]
#[case::acl_user("PUT", "/access/acl", &[("path", "/"), ("roles", "PVEAdmin"), ("users", "eve@pve")],
    "500 ACL update failed: user 'eve@pve' does not exist")]
#[case::token("GET", "/access/users/ann@pve/token/gone", &[],
    "500 no such token 'gone' for user 'ann@pve'")]
#[case::realm("GET", "/access/domains/gone", &[], "500 domain 'gone' does not exist")]
#[case::password("PUT", "/access/password", &[("userid", "ann@pve"), ("password", "ann-secret")],
    "403 Permission check failed (URI '/access/password' not available with API token, need proper ticket.")]
fn says_what_pve_says(
    #[case] method: &str,
    #[case] path: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] line: &str,
) {
    let daemon = with_guest().start();
    assert_eq!(daemon.request(method, path, parameters).line(), line);
}

#[test]
fn a_token_s_secret_is_shown_once_and_opens() {
    let daemon = with_guest().start();
    let path = "/access/users/joe@pve/token/ci";
    let made = daemon.post(path, &[("privsep", "0"), ("comment", "ci")]).data();
    let secret = made["value"].as_str().unwrap().to_owned();
    assert_eq!(
        made,
        json!({
            "full-tokenid": "joe@pve!ci", "value": secret,
            "info": {"privsep": "0", "comment": "ci"},
        })
    );
    let opens = |secret: &str| {
        let header = format!("PVEAPIToken=joe@pve!ci={secret}");
        daemon.request_as(&[("Authorization", &header)], "GET", "/nodes", &[]).status == 200
    };
    assert!(opens(&secret));
    let shown = json!({"privsep": 0, "expire": 0, "comment": "ci"});
    assert_eq!(daemon.get(path).data(), shown);
    let user = daemon.get("/access/users/joe@pve").data();
    assert_eq!(user["tokens"]["ci"], shown);
    assert!(!user_cfg(&daemon).contains(&secret) && !daemon.log().contains(&secret));

    let changed = daemon.put(path, &[("regenerate", "1")]).data();
    let second = changed["value"].as_str().unwrap();
    assert_eq!(changed["privsep"], 0);
    assert!(opens(second) && !opens(&secret));
    done(&daemon.delete(path));
    assert!(!opens(second));
}

#[test]
fn rights_hold_as_soon_as_they_are_given() {
    let daemon = with_guest().start();
    let ann = [("Authorization", ANN)];
    let start = || daemon.request_as(&ann, "POST", "/nodes/pve1/lxc/100/status/start", &[]).status;
    assert_eq!(start(), 403);
    done(&daemon.post("/access/roles", &[("roleid", "Power"), ("privs", "VM.PowerMgmt")]));
    assert_eq!(daemon.get("/access/roles/Power").data(), json!({"VM.PowerMgmt": 1}));
    let grant =
        [("path", "/vms/100"), ("roles", "Power"), ("users", "ann@pve"), ("propagate", "0")];
    done(&daemon.put("/access/acl", &grant));
    let rows = daemon.get("/access/acl").data();
    let row = json!({
        "path": "/vms/100", "type": "user", "ugid": "ann@pve", "roleid": "Power", "propagate": 0,
    });
    assert!(rows.as_array().unwrap().contains(&row), "{rows}");
    let mine = daemon.request_as(&ann, "GET", "/access/permissions", &[("path", "/vms/100")]);
    assert_eq!(mine.data()["/vms/100"]["VM.PowerMgmt"], 0);
    let others = daemon.request_as(&ann, "GET", "/access/permissions", &[("userid", "joe@pve")]);
    assert_eq!(others.line(), "403 Permission check failed (/access, Sys.Audit)");
    assert_eq!(start(), 200);
    done(&daemon.put("/access/acl", &[&grant[..], &[("delete", "1")]].concat()));
    assert_eq!(start(), 403);
}

#[test]
fn one_sees_oneself_and_nobody_else() {
    let daemon = with_guest().start();
    done(&daemon.post("/access/users", &[("userid", "eve@pve"), ("password", "eve-secret")]));
    let eve = session(&daemon, "eve@pve", "eve-secret");
    let get = |path: &str| as_user(&daemon, &eve, ("GET", path), &[]);
    let rows = get("/access/users").data();
    assert_eq!(rows, json!([{"userid": "eve@pve", "enable": 1, "expire": 0, "realm-type": "pve"}]));
    assert_eq!(get("/access/acl").data(), json!([]));
    assert_eq!(get("/access/groups").data(), json!([]));
    assert_eq!(get("/access/users/joe@pve").status, 403);
    let other = as_user(&daemon, &eve, ("POST", "/access/users/joe@pve/token/x1"), &[]);
    assert_eq!(other.status, 403, "{}", other.line());
    let own = as_user(&daemon, &eve, ("POST", "/access/users/eve@pve/token/x1"), &[]);
    assert_eq!(own.data()["info"], json!({"privsep": 1}));
}

/// usermod's words, which PVE passes on.
#[test]
fn who_is_no_user_of_the_system_has_no_password_of_it() {
    let daemon = with_guest().file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").start();
    let add = |user: &str, password: &[(&str, &str)]| {
        let parameters = [&[("userid", user)], password].concat();
        daemon.post("/access/users", &parameters).line()
    };
    let refused = "500 create user failed: change password failed: user 'dora' does not exist";
    assert_eq!(add("dora@pam", &[("password", "dora-secret")]), refused);
    assert_eq!(add("dora@pam", &[]), "200 OK");
}

#[test]
fn a_password_is_changed_with_the_old_one() {
    let daemon = with_guest().start();
    done(&daemon.post("/access/users", &[("userid", "eve@pve"), ("password", "eve-secret")]));
    let eve = session(&daemon, "eve@pve", "eve-secret");
    let change = |user: &str, confirmation: Option<&str>| {
        let mut fields = vec![("userid", user), ("password", "new-secret")];
        fields.extend(confirmation.map(|old| ("confirmation-password", old)));
        as_user(&daemon, &eve, ("PUT", "/access/password"), &fields)
    };
    assert_eq!(
        change("eve@pve", None).errors()["confirmation-password"],
        "password is required to modify user"
    );
    assert_eq!(change("eve@pve", Some("wrong-one")).line(), "500 invalid credentials");
    assert_eq!(change("joe@pve", Some("eve-secret")).status, 403);
    done(&change("eve@pve", Some("eve-secret")));
    session(&daemon, "eve@pve", "new-secret");
}

#[test]
fn edits_at_the_same_time_lose_nothing() {
    let daemon = with_guest().start();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let daemon = &daemon;
            let name = format!("g{number}");
            scope.spawn(move || done(&daemon.post("/access/groups", &[("groupid", &name)])));
        }
    });
    assert_eq!(daemon.get("/access/groups").data().as_array().unwrap().len(), 8);
    assert_eq!(daemon.token(), ROOT);
}

#[test]
fn a_realm_shows_its_settings() {
    let daemon = with_guest()
        .file("etc/pve/domains.cfg", "pve: pve\n\tcomment our own\n\tdefault 1\n")
        .start();
    let realm = daemon.get("/access/domains/pve").data();
    assert_eq!((&realm["type"], &realm["comment"]), (&json!("pve"), &json!("our own")));
    assert_eq!((&realm["default"], realm["digest"].as_str().unwrap().len()), (&json!(1), 40));
}
