//! What a cluster of one node says of itself.

use rstest::rstest;
use serde_json::json;
use tests::Daemon;

use crate::{ANN, with_guest, with_users};

#[test]
fn one_node_is_the_cluster() {
    let daemon = Daemon::start();
    let rows = daemon.get("/cluster/status").data();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let node = &rows[0];
    assert_eq!(
        [&node["type"], &node["id"], &node["name"], &node["online"], &node["local"]],
        [&json!("node"), &json!("node/pve1"), &json!("pve1"), &json!(1), &json!(1)]
    );
    assert_eq!([&node["nodeid"], &node["level"]], [&json!(0), &json!("")]);
    assert!(node["ip"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok(), "{node}");
}

#[test]
fn nothing_is_replicated() {
    let daemon = Daemon::start();
    for path in
        ["/cluster/replication", "/nodes/pve1/replication", "/nodes/pve1/replication?guest=100"]
    {
        assert_eq!(daemon.get(path).data(), json!([]), "{path}");
    }

    let jobs = "local: 100-0\n\ttarget pve2\n";
    let daemon = Daemon::builder().file("etc/pve/replication.cfg", jobs).start();
    let denied = "500 replication is not supported here, and replication.cfg has jobs";
    assert_eq!(daemon.get("/nodes/pve1/replication").line(), denied);
}

#[test]
fn the_last_tasks_are_listed_for_whom_they_concern() {
    let daemon = with_guest().file("var/lib/vz/template/cache/a.tar", "x").start();
    let removed = daemon.delete("/nodes/pve1/storage/local/content/vztmpl/a.tar?delay=20");
    assert_eq!(removed.data(), json!(null));

    let tasks = daemon.get("/cluster/tasks").data();

    assert_eq!(
        [&tasks[0]["type"], &tasks[0]["user"], &tasks[0]["tokenid"], &tasks[0]["status"]],
        [&json!("imgdel"), &json!("root@pam"), &json!("test"), &json!("OK")]
    );
    assert!(tasks[0]["saved"].is_string() && tasks[0]["endtime"].is_u64(), "{tasks}");
    let seen = daemon.request_as(&[("Authorization", ANN)], "GET", "/cluster/tasks", &[]);
    assert_eq!(seen.data(), json!([]));
}

#[test]
fn options_are_datacenter_cfg_and_little_of_it_for_most() {
    let text = "keyboard: de\nnext-id: lower=200\ntag-style: shape=full\nregistered-tags: x;y\n";
    let daemon = with_guest().file("etc/pve/datacenter.cfg", text).start();

    let all = daemon.get("/cluster/options").data();
    let some = daemon.request_as(&[("Authorization", ANN)], "GET", "/cluster/options", &[]);

    assert_eq!(
        all,
        json!({
            "allowed-tags": ["x", "y"],
            "description": "",
            "keyboard": "de",
            "mac_prefix": "BC:24:11",
            "next-id": {"lower": "200"},
            "registered-tags": ["x", "y"],
            "tag-style": {"shape": "full"},
        })
    );
    assert_eq!(some.data(), json!({"allowed-tags": [], "tag-style": {"shape": "full"}}));
}

#[test]
fn without_backup_jobs_no_guest_is_covered() {
    let daemon = with_guest().start();
    assert_eq!(daemon.get("/cluster/backup").data(), json!([]));
    assert_eq!(daemon.get("/cluster/log").data(), json!([]));
    let guests = daemon.get("/cluster/backup-info/not-backed-up").data();
    assert_eq!(guests, json!([{"vmid": 100, "type": "lxc", "name": "box"}]));
}

#[test]
fn options_are_set_told_and_deleted() {
    let daemon = with_users().start();
    let set = [
        ("keyboard", "de"),
        ("migration", "secure,network=10.0.0.0/8"),
        ("tag-style", "case-sensitive=1"),
        ("description", "two\nlines"),
    ];
    assert_eq!(daemon.put("/cluster/options", &set).line(), "200 OK");
    let options = daemon.get("/cluster/options").data();
    assert_eq!(options["migration"], json!({"type": "secure", "network": "10.0.0.0/8"}));
    assert_eq!(options["tag-style"], json!({"case-sensitive": 1}));
    assert_eq!(options["description"], "two\nlines\n");
    assert_eq!(daemon.put("/cluster/options", &[("delete", "keyboard")]).line(), "200 OK");
    assert_eq!(daemon.get("/cluster/options").data()["keyboard"], json!(null));
    let range = daemon.put("/cluster/options", &[("next-id", "lower=300,upper=200")]);
    assert_eq!(range.line(), "500 lower (300) <= upper (200) boundary rule broken");
}

#[test]
fn a_nodes_notes_are_written_with_their_digest() {
    let daemon = with_users().start();
    let path = "/nodes/pve1/config";
    let set = [("description", "notes"), ("wakeonlan", "00:11:22:33:44:55")];
    assert_eq!(daemon.put(path, &set).line(), "200 OK");
    let config = daemon.get(path).data();
    assert_eq!(config["description"], "notes\n");
    let digest = config["digest"].as_str().unwrap();
    assert_eq!(daemon.put(path, &[("delete", "wakeonlan"), ("digest", digest)]).line(), "200 OK");
    let stale = daemon.put(path, &[("description", "x"), ("digest", digest)]);
    assert!(stale.line().starts_with("500 detected modified configuration"), "{}", stale.line());
}

const HA: &str = "/cluster/ha/resources";

#[test]
fn no_guest_is_managed_by_ha() {
    let daemon = with_guest().start();

    assert_eq!(daemon.get(HA).data(), json!([]));
    assert_eq!(daemon.get(&format!("{HA}?type=ct")).data(), json!([]));
    // How a client asks of one guest, and hears that there is nothing to compare.
    for sid in ["ct:100", "ct%3A100", "100"] {
        let answer = daemon.get(&format!("{HA}/{sid}"));
        assert_eq!(answer.line(), "500 no such resource 'ct:100'", "{sid}");
        assert_eq!(answer.json(), json!({"data": null, "message": "no such resource 'ct:100'\n"}));
    }
    let status = daemon.get("/cluster/ha/status/current").data();
    let quorum = json!({
        "id": "quorum", "type": "quorum", "node": "pve1", "status": "OK", "quorate": 1,
    });
    assert_eq!(status, json!([quorum]));
    assert!(daemon.get("/cluster/ha/groups").line().contains("have been migrated to rules"));
    let denied = daemon.request_as(&[("Authorization", ANN)], "GET", HA, &[]);
    assert_eq!(denied.line(), "403 Permission check failed (/, Sys.Audit)");
}

#[rstest]
#[case::a_guest("POST", "", &[("sid", "ct:100")], "create resource failed: no HA manager runs on this host")]
#[case::by_number("POST", "", &[("sid", "100")], "create resource failed: no HA manager runs on this host")]
#[case::no_guest("POST", "", &[("sid", "ct:999")], "resource 'ct:999' does not exist in cluster")]
#[case::no_number("POST", "", &[("sid", "999")], "unable to detect SID from VMID - VM/CT 999 does not exist")]
#[case::another_kind("POST", "", &[("sid", "vm:100")], "resource 'vm:100' - guest with ID 100 is not a VM")]
#[case::two_kinds("POST", "", &[("sid", "ct:100"), ("type", "vm")], "types does not match")]
#[case::strange_kind("POST", "", &[("sid", "ip:100")], "unknown section type 'ip'")]
#[case::a_group("POST", "", &[("sid", "ct:100"), ("group", "g1")], "invalid parameter 'group': ha groups have been migrated to rules")]
#[case::changed("PUT", "/ct:100", &[("state", "stopped")], "update resources config failed: no such resource 'ct:100'")]
#[case::removed("DELETE", "/ct:100", &[], "cannot delete service 'ct:100', not HA managed!")]
fn ha_takes_no_guest(
    #[case] verb: &str,
    #[case] path: &str,
    #[case] fields: &[(&str, &str)],
    #[case] message: &str,
) {
    let daemon = with_guest().start();
    let reply = daemon.request(verb, &format!("{HA}{path}"), fields);
    assert_eq!(reply.line(), format!("500 {message}"));
}

#[test]
fn what_nobody_manages_is_not_passed_over() {
    let text = "ct: 100\n\tstate started\n";
    let daemon = with_guest().file("etc/pve/ha/resources.cfg", text).start();
    let listed = "500 no HA manager runs on this host, and ha/resources.cfg has resources";
    assert_eq!(daemon.get(HA).line(), listed);
    assert_eq!(daemon.get(&format!("{HA}?type=vm")).data(), json!([]));
    let one = "500 no HA manager runs on this host: 'ct:100' is only in ha/resources.cfg";
    assert_eq!(daemon.get(&format!("{HA}/100")).line(), one);
}
