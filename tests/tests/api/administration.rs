//! Users, tokens and rights from the shell, on a root whose daemon runs.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::json;
use tests::{Daemon, binary};

use crate::with_guest;

fn run(daemon: &Daemon, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(binary("proxmox-lxcri"))
        .args(arguments)
        .arg("--root")
        .arg(daemon.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have ended before.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn says(daemon: &Daemon, arguments: &[&str], input: &str) -> String {
    let output = run(daemon, arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_user_made_in_the_shell_logs_in_and_may_what_was_given() {
    let daemon = with_guest().start();
    says(&daemon, &["user", "add", "eve@pve", "--password", "--comment", "new"], "eve-secret\n");
    assert!(says(&daemon, &["user", "list"], "").contains("eve@pve\tenabled\tnew\n"));
    let login = |password: &str| {
        let fields = [("username", "eve@pve"), ("password", password)];
        daemon.request_as(&[], "POST", "/access/ticket", &fields).status
    };
    assert_eq!(login("eve-secret"), 200);
    says(&daemon, &["user", "passwd", "eve@pve"], "other-secret\n");
    assert_eq!(login("other-secret"), 200);

    let token = says(&daemon, &["token", "add", "eve@pve!ci", "--no-privsep"], "");
    assert!(token.starts_with("eve@pve!ci="), "{token}");
    let header = format!("PVEAPIToken={}", token.trim());
    let get = || {
        let headers = [("Authorization", header.as_str())];
        daemon.request_as(&headers, "GET", "/nodes/pve1/lxc/100/config", &[]).status
    };
    assert_eq!(get(), 403);
    let grant = ["/vms/100", "--roles", "PVEAuditor", "--users", "eve@pve"];
    says(&daemon, &[&["acl", "modify"], &grant[..]].concat(), "");
    assert!(says(&daemon, &["acl", "list"], "").contains("/vms/100\teve@pve\tPVEAuditor\t"));
    assert_eq!(get(), 200);
    says(&daemon, &[&["acl", "delete"], &grant[..]].concat(), "");
    assert_eq!(get(), 403);
    says(&daemon, &["token", "delete", "eve@pve!ci"], "");
    assert_eq!(says(&daemon, &["token", "list", "eve@pve"], ""), "");
    says(&daemon, &["user", "delete", "eve@pve"], "");
    assert!(!says(&daemon, &["user", "list"], "").contains("eve"));
}

#[test]
fn users_groups_and_tokens_are_changed() {
    let daemon = with_guest().start();
    says(&daemon, &["group", "add", "ops", "--comment", "on call"], "");
    says(&daemon, &["group", "add", "dev"], "");
    let set = ["--comment", "new", "--email", "joe@example.org", "--groups", "ops"];
    says(&daemon, &[&["user", "modify", "joe@pve"], &set[..]].concat(), "");
    says(&daemon, &["user", "modify", "joe@pve", "--groups", "dev", "--append"], "");
    let groups = says(&daemon, &["group", "list"], "");
    assert_eq!(groups, "dev\tjoe@pve\t\nops\tjoe@pve\ton call\n");
    assert!(says(&daemon, &["user", "list"], "").contains("joe@pve\tenabled\tnew\n"));
    says(&daemon, &["user", "modify", "joe@pve", "--enable", "false"], "");
    let joe = daemon.get("/access/users/joe@pve").data();
    assert_eq!((&joe["enable"], &joe["email"]), (&json!(0), &json!("joe@example.org")));
    says(&daemon, &["group", "delete", "ops"], "");
    assert_eq!(says(&daemon, &["group", "list"], ""), "dev\tjoe@pve\t\n");

    let get = |token: &str| {
        let header = format!("PVEAPIToken={}", token.trim());
        let headers = [("Authorization", header.as_str())];
        daemon.request_as(&headers, "GET", "/version", &[]).status
    };
    let old = says(&daemon, &["token", "add", "root@pam!ci"], "");
    assert_eq!(get(&old), 200);
    let nothing =
        says(&daemon, &["token", "modify", "root@pam!ci", "--comment", "x", "--privsep=false"], "");
    assert_eq!((nothing.as_str(), get(&old)), ("", 200));
    let new = says(&daemon, &["token", "modify", "root@pam!ci", "--regenerate"], "");
    assert!(new.starts_with("root@pam!ci=") && new != old, "{new}");
    assert_eq!((get(&old), get(&new)), (401, 200));
    let told = daemon.get("/access/users/root@pam/token/ci").data();
    assert_eq!((&told["comment"], &told["privsep"]), (&json!("x"), &json!(0)));
}

#[test]
fn programs_get_what_the_api_says() {
    let daemon = with_guest().start();
    says(&daemon, &["group", "add", "ops"], "");
    says(&daemon, &["acl", "modify", "/vms", "--roles", "PVEAuditor", "--groups", "ops"], "");
    for (words, path) in [
        (&["user", "list"][..], "/access/users?full=1"),
        (&["group", "list"], "/access/groups"),
        (&["token", "list", "root@pam"], "/access/users/root@pam/token"),
        (&["acl", "list"], "/access/acl"),
    ] {
        let told = says(&daemon, &[words, &["--format", "json"]].concat(), "");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told, daemon.get(path).data(), "{words:?}");
    }
    let made = says(&daemon, &["token", "add", "root@pam!ci", "--format", "json"], "");
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["full-tokenid"], "root@pam!ci");
    assert_eq!(made["value"].as_str().unwrap().len(), 36);
}

#[rstest]
#[case::no_group(&["group", "delete", "none"], "delete group failed: group 'none' does not exist")]
#[case::odd_group(&["group", "add", "a b"], "group name 'a b' contains invalid characters")]
#[case::no_such_user(
    &["user", "modify", "eve@pve", "--comment", "x"],
    "update user failed: no such user ('eve@pve')"
)]
#[case::no_token(
    &["token", "modify", "joe@pve!none", "--regenerate"],
    "updating token info failed: no such token 'none' for user 'joe@pve'"
)]
#[case::known(&["user", "add", "joe@pve"], "create user failed: user 'joe@pve' already exists")]
#[case::short(&["user", "passwd", "joe@pve"], "a password has 8 to 64 characters")]
#[case::unknown(&["user", "delete", "eve@pve"], "no such user ('eve@pve')")]
#[case::path(
    &["acl", "modify", "/nowhere", "--roles", "PVEAdmin", "--users", "joe@pve"],
    "invalid ACL path '/nowhere'"
)]
fn a_refused_command_names_the_cause(#[case] arguments: &[&str], #[case] reason: &str) {
    let daemon = with_guest().start();
    let output = run(&daemon, arguments, "short\n");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, format!("proxmox-lxcri: {reason}\n"));
}

#[test]
fn a_root_that_no_daemon_laid_out_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binary("proxmox-lxcri"))
        .args(["user", "add", "eve@pve", "--root"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("start the daemon"));
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
}
