//! What the node's own files say.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::Daemon;

#[test]
fn the_resolver_the_hosts_and_the_notes() {
    let daemon = Daemon::builder()
        .file("etc/resolv.conf", "search example.com\nnameserver 10.0.0.1\n")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .file("etc/pve/nodes/pve1/config", "#rack%3A 7\nstartall-onboot-delay: 5\n")
        .start();

    let dns = daemon.get("/nodes/pve1/dns").data();
    assert_eq!(dns, json!({"search": "example.com", "dns1": "10.0.0.1"}));
    let hosts = daemon.get("/nodes/pve1/hosts").data();
    assert_eq!(hosts["data"], "127.0.0.1 localhost\n");
    assert_eq!(hosts["digest"].as_str().unwrap().len(), 40);
    let config = daemon.get("/nodes/pve1/config").data();
    assert_eq!(config["description"], "rack: 7\n");
    let one = daemon.get("/nodes/pve1/config?property=description").data();
    assert_eq!(one, json!({"description": "rack: 7\n"}));
}

#[test]
fn the_clock_and_the_subscription() {
    let daemon = Daemon::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

    let time = daemon.get("/nodes/pve1/time").data();

    assert!(time["time"].as_u64().unwrap().abs_diff(now) < 60, "{time}");
    assert!(time["localtime"].is_u64() && time["timezone"].is_string(), "{time}");
    assert_eq!(daemon.get("/nodes/pve1/subscription").data()["status"], "notfound");
    assert_eq!(daemon.get("/nodes/pve1/config").data(), json!({}));
}
