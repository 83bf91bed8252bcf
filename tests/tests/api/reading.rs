//! What can be read of a fresh root, and what a first start leaves on disk.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tests::Daemon;

use crate::with_guest;

#[test]
fn a_fresh_root_is_laid_out_as_pve_s() {
    let daemon = Daemon::start();
    for path in [
        "etc/pve/user.cfg",
        "etc/pve/storage.cfg",
        "etc/pve/authkey.pub",
        "etc/pve/priv/authkey.key",
        "etc/pve/nodes/pve1/lxc",
        "var/lib/vz/template/cache",
        "run/proxmox-lxcri/api.sock",
    ] {
        assert!(daemon.root().join(path).exists(), "{path} is missing");
    }
    let secret = fs_err::metadata(daemon.root().join("etc/pve/priv/authkey.key")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o077, 0);
    let socket = fs_err::metadata(daemon.root().join("run/proxmox-lxcri/api.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o077, 0);
    let users = fs_err::read_to_string(daemon.root().join("etc/pve/user.cfg")).unwrap();
    assert!(users.contains("user:root@pam:1:0:"), "{users}");
}

#[test]
fn the_second_start_changes_nothing() {
    let mut daemon = Daemon::start();
    let token = daemon.token().to_owned();
    let users = fs_err::read(daemon.root().join("etc/pve/user.cfg")).unwrap();
    assert!(daemon.terminate().success());
    daemon.launch();
    assert_eq!(daemon.token(), token);
    assert_eq!(fs_err::read(daemon.root().join("etc/pve/user.cfg")).unwrap(), users);
    assert_eq!(daemon.get("/version").status, 200);
}

#[test]
fn version_and_nodes() {
    let daemon = Daemon::start();
    let version = daemon.get("/version").data();
    assert!(version["version"].as_str().unwrap().starts_with("9."), "{version}");
    assert!(version["release"].is_string() && version["repoid"].is_string(), "{version}");
    let nodes = daemon.get("/nodes").data();
    assert_eq!((&nodes[0]["node"], &nodes[0]["status"]), (&json!("pve1"), &json!("online")));
    assert_eq!(daemon.get("/nodes/localhost/lxc").data(), json!([]));
    assert_eq!(daemon.get("/cluster/nextid").data(), json!("100"));
}

#[test]
fn storages_and_what_is_in_them() {
    let daemon = Daemon::start();
    fs_err::write(daemon.templates().join("debian.tar.zst"), "x").unwrap();
    fs_err::write(daemon.templates().join("notes.txt"), "x").unwrap();
    let storages = daemon.get("/nodes/pve1/storage").data();
    assert_eq!((&storages[0]["storage"], &storages[0]["type"]), (&json!("local"), &json!("dir")));
    assert!(storages[0]["avail"].as_u64().unwrap() > 0, "{storages}");
    let content = daemon.get("/nodes/pve1/storage/local/content?content=vztmpl").data();
    assert_eq!(content.as_array().unwrap().len(), 1, "{content}");
    assert_eq!(content[0]["volid"], "local:vztmpl/debian.tar.zst");
    assert_eq!((&content[0]["format"], &content[0]["size"]), (&json!("tzst"), &json!(1)));
    let missing = daemon.get("/nodes/pve1/storage/nope/content");
    assert_eq!(missing.line(), "500 storage 'nope' does not exist");
}

#[test]
fn a_configured_container_is_listed_and_shown() {
    let daemon = with_guest().start();
    let row = daemon.get("/nodes/pve1/lxc").data()[0].clone();
    assert_eq!(
        (&row["vmid"], &row["name"], &row["status"]),
        (&json!(100), &json!("box"), &json!("stopped"))
    );
    assert_eq!(
        (&row["maxmem"], &row["maxswap"], &row["cpus"]),
        (&json!(256 << 20), &json!(0), &json!(2))
    );
    let current = daemon.get("/nodes/pve1/lxc/100/status/current").data();
    assert_eq!(current["status"], "stopped");
    assert_eq!(current["ha"], json!({"managed": 0}));
    let config = daemon.get("/nodes/pve1/lxc/100/config").data();
    assert_eq!(config["unprivileged"], 1);
    assert_eq!(config["digest"].as_str().unwrap().len(), 40);
    let resources = daemon.get("/cluster/resources").data();
    let ids: Vec<_> =
        resources.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    for id in ["lxc/100", "node/pve1", "storage/pve1/local"] {
        assert!(ids.contains(&id), "{id} is not in {ids:?}");
    }
}

#[test]
fn the_document_is_openapi_3_1_and_describes_what_is_served() {
    let daemon = Daemon::start();
    let reply = tests::Client::new(daemon.address()).request("GET /api2/openapi.json", &[], b"");
    assert_eq!(reply.line(), "200 OK");
    let document = reply.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in [
        ("/version", &["get"][..]),
        ("/access/ticket", &["post"]),
        ("/nodes/{node}/lxc", &["get", "post"]),
        ("/nodes/{node}/lxc/{vmid}/config", &["get", "put"]),
        ("/nodes/{node}/lxc/{vmid}/status/start", &["post"]),
        ("/nodes/{node}/tasks/{upid}/log", &["get"]),
        ("/cluster/nextid", &["get"]),
    ] {
        let found =
            paths.iter().find(|(known, _)| known.ends_with(path) && known.len() <= path.len() + 12);
        let (_, item) = found.unwrap_or_else(|| panic!("{path} is not described"));
        for method in methods {
            assert!(item[method]["responses"].is_object(), "{method} {path}");
        }
    }
    let start = serde_json::to_string(&document).unwrap();
    assert!(start.contains("\"minimum\":16"), "the limits of memory are not described");
}
