//! What a node and the data centre can be set to.

use serde_json::{Value, json};
use tests::Daemon;

use super::{ANN, with_users};

fn file(daemon: &Daemon, path: &str) -> String {
    fs_err::read_to_string(daemon.root().join(path)).unwrap()
}

#[test]
fn the_resolver_is_set() {
    let daemon = with_users()
        .file("etc/resolv.conf", "search old\nnameserver 10.0.0.1\noptions edns0\n")
        .start();
    let set = [("search", "example.com"), ("dns1", "9.9.9.9"), ("dns3", "::1")];

    assert_eq!(daemon.put("/nodes/pve1/dns", &set).data(), Value::Null);

    let text = "search example.com\nnameserver 9.9.9.9\nnameserver ::1\noptions edns0\n";
    assert_eq!(file(&daemon, "etc/resolv.conf"), text);
    let wrong = daemon.put("/nodes/pve1/dns", &[("search", "x"), ("dns1", "a")]);
    let message = "invalid format - value does not look like a valid IP address\n";
    assert_eq!(wrong.errors(), json!({"dns1": message}));
}

#[test]
fn hosts_are_checked_and_written() {
    let daemon = with_users().file("etc/hosts", "127.0.0.1 localhost\n").start();
    let path = "/nodes/pve1/hosts";
    let digest = daemon.get(path).data()["digest"].as_str().unwrap().to_owned();
    let text = "127.0.0.1 localhost\n10.0.0.1 pve1.example pve1\n";

    let wrong = daemon.post(path, &[("data", "10.0.0.300 x\n")]);
    assert_eq!(wrong.errors(), json!({"data": "Invalid IP '10.0.0.300'"}));
    daemon.post(path, &[("data", text), ("digest", &digest)]).data();
    assert_eq!(file(&daemon, "etc/hosts"), text);
    let stale = daemon.post(path, &[("data", text), ("digest", &digest)]);
    let modified = "500 detected modified configuration - file changed by other user? Try again.";
    assert_eq!(stale.line(), modified);
}

#[test]
fn the_zone_is_one_of_the_machine_s() {
    let daemon = with_users().start();
    let path = "/nodes/pve1/time";

    let wrong = daemon.put(path, &[("timezone", "Mars/Foo")]);
    assert_eq!(wrong.errors(), json!({"timezone": "No such timezone"}));
    daemon.put(path, &[("timezone", "UTC")]).data();
    assert_eq!(daemon.get(path).data()["timezone"], "UTC");
}

#[test]
fn the_node_s_notes_are_set() {
    let daemon = with_users().start();
    let path = "/nodes/pve1/config";
    let set = [("description", "rack: 7\nshelf 2"), ("startall-onboot-delay", "5")];

    daemon.put(path, &set).data();

    let told = daemon.get(path).data();
    assert_eq!(told["description"], "rack: 7\nshelf 2\n");
    assert_eq!(told["startall-onboot-delay"], "5");
    let delete = [("delete", "description"), ("digest", told["digest"].as_str().unwrap())];
    daemon.put(path, &delete).data();
    assert_eq!(file(&daemon, "etc/pve/nodes/pve1/config"), "startall-onboot-delay: 5\n");
    let stale = daemon.put(path, &delete);
    assert!(stale.line().contains("detected modified configuration"), "{}", stale.line());
    let refused = daemon.request_as(&[("Authorization", ANN)], "PUT", path, &set);
    assert_eq!(refused.line(), "403 Permission check failed (/, Sys.Modify)");
}

#[test]
fn the_data_centre_s_options_are_set() {
    let daemon = with_users().file("etc/pve/datacenter.cfg", "keyboard: de\n").start();
    let path = "/cluster/options";
    let set = [
        ("next-id", "upper=300,lower=200"),
        ("description", "ours"),
        ("registered-tags", "b;a"),
        ("delete", "keyboard"),
    ];

    daemon.put(path, &set).data();

    let text = "#ours\n\nnext-id: lower=200,upper=300\nregistered-tags: b;a\n";
    assert_eq!(file(&daemon, "etc/pve/datacenter.cfg"), text);
    let told = daemon.get(path).data();
    assert_eq!(told["next-id"], json!({"lower": "200", "upper": "300"}));
    assert_eq!(told["description"], "ours\n");
    let wrong = daemon.put(path, &[("next-id", "lower=300,upper=200")]);
    assert_eq!(wrong.line(), "500 lower (300) <= upper (200) boundary rule broken");
    let wrong = daemon.put(path, &[("migration", "foo")]);
    assert!(wrong.errors()["migration"].as_str().unwrap().starts_with("invalid format"));
}

#[test]
fn what_one_node_cannot_do() {
    let daemon = with_users().start();

    let wake = daemon.post("/nodes/pve1/wakeonlan", &[]);
    assert_eq!(wake.line(), "500 'pve1' is local node, cannot wake my self!");
    let wake = daemon.post("/nodes/pve9/wakeonlan", &[]);
    assert_eq!(wake.line(), "500 no such cluster node 'pve9'");
    assert_eq!(daemon.get("/nodes/pve1/netstat").data(), json!([]));

    let path = "/nodes/pve1/subscription";
    assert_eq!(daemon.post(path, &[]).data(), Value::Null);
    assert_eq!(daemon.delete(path).data(), Value::Null);
    let wrong = daemon.put(path, &[("key", "mine")]);
    assert_eq!(wrong.errors(), json!({"key": "value does not match the regex pattern"}));
    let refused = daemon.put(path, &[("key", "pve8p-0123456789")]);
    assert_eq!(refused.status, 500, "{}", refused.line());
}
