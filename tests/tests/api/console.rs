//! Opening consoles: tickets, ports, and what happens to whoever has none. What a console shows is
//! for the container tests.

use serde_json::{Value, json};
use tests::{Daemon, Terminal};

use crate::{ANN, with_guest};

const CT: &str = "/nodes/pve1/lxc/100";

fn open(daemon: &Daemon) -> (Value, u16) {
    let opened = daemon.post(&format!("{CT}/termproxy"), &[]).data();
    let port = opened["port"].as_str().unwrap().parse().unwrap();
    (opened, port)
}

#[test]
fn a_console_has_a_port_a_ticket_and_a_task() {
    let daemon = with_guest().start();
    let (opened, port) = open(&daemon);
    assert!((5900..=5999).contains(&port));
    assert_eq!(opened["user"], "root@pam!test");
    assert!(opened["ticket"].as_str().unwrap().starts_with("PVEVNC:"), "{opened}");
    let upid = opened["upid"].as_str().unwrap();
    assert!(upid.contains(":vncproxy:100:root@pam!test:"), "{upid}");

    // One client, and no second one.
    let mut terminal = Terminal::connect(port).unwrap();
    terminal.log_in(&opened);
    terminal.expect("OK");
    assert_eq!(terminal.rest(), "OKCT 100 not running\r\n");
    assert_eq!(daemon.task_of(upid).failed(), "CT 100 not running");
    assert!(Terminal::connect(port).is_err());
}

#[test]
fn a_second_client_finds_nobody() {
    let daemon = with_guest().start();
    let (opened, port) = open(&daemon);
    let mut first = Terminal::connect(port).unwrap();
    tests::eventually(10, "the port closed", || Terminal::connect(port).is_err().then_some(()));
    first.log_in(&opened);
    first.expect("OK");
}

#[test]
fn who_has_no_ticket_sees_nothing() {
    let daemon = with_guest().start();
    let (opened, port) = open(&daemon);
    let mut terminal = Terminal::connect(port).unwrap();
    terminal.send("root@pam!test:PVEVNC:00000000::AAAA\n");
    assert_eq!(terminal.rest(), "");
    let error = daemon.task_of(opened["upid"].as_str().unwrap()).failed();
    assert_eq!(error, "authentication failure: permission denied - invalid PVEVNC ticket");

    // A ticket is good for its own port only.
    let (first, _) = open(&daemon);
    let (second, port) = open(&daemon);
    let mut terminal = Terminal::connect(port).unwrap();
    terminal.log_in(&first);
    assert_eq!(terminal.rest(), "");
    daemon.task_of(second["upid"].as_str().unwrap()).failed();
    assert_eq!(
        daemon.delete(&format!("/nodes/pve1/tasks/{}", first["upid"].as_str().unwrap())).data(),
        Value::Null
    );
}

#[test]
fn a_console_needs_a_container_and_the_right() {
    let daemon = with_guest().start();
    let none = daemon.post("/nodes/pve1/lxc/999/termproxy", &[]);
    assert_eq!(none.line(), "500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist");
    let ann = daemon.request_as(&[("Authorization", ANN)], "POST", &format!("{CT}/termproxy"), &[]);
    assert_eq!(ann.line(), "403 Permission check failed (/vms/100, VM.Console)");
    let spice = daemon.post(&format!("{CT}/spiceproxy"), &[]);
    assert_eq!(spice.line(), "500 CT 100 not running");
    let wide = daemon.post(&format!("{CT}/vncproxy"), &[("width", "5")]);
    assert_eq!(wide.errors(), json!({"width": "value must have a minimum value of 16"}));
}

#[test]
fn vncproxy_names_the_package_that_it_needs() {
    if std::path::Path::new("/usr/bin/vncterm").exists() {
        return; // on a PVE node
    }
    let daemon = with_guest().file("etc/pve/pve-root-ca.pem", "PEM").start();
    let reply = daemon.post(&format!("{CT}/vncproxy"), &[("websocket", "1")]);
    assert_eq!(reply.status, 500);
    assert!(reply.reason.contains("it is in the package vncterm"), "{}", reply.reason);
    let tasks = tests::eventually(10, "the task's end", || {
        Some(daemon.get("/nodes/pve1/tasks").data()).filter(|tasks| tasks[0].is_object())
    });
    assert_eq!(tasks[0]["type"], "vncproxy");
    assert_eq!(tasks[0]["status"], json!(reply.reason));
}

#[test]
fn a_websocket_needs_the_ticket() {
    let daemon = with_guest().start();
    let (opened, port) = open(&daemon);
    let (ticket, port) = (opened["ticket"].as_str().unwrap(), port.to_string());
    let path = format!("{CT}/vncwebsocket");
    let get = |port: &str, ticket: &str| {
        daemon.request("GET", &path, &[("port", port), ("vncticket", ticket)])
    };

    // Without an upgrade it says what it would do.
    assert_eq!(get(&port, ticket).data(), json!({"port": port}));
    let forged = get(&port, "PVEVNC:6B043E48::AAAA");
    assert_eq!(forged.line(), "401 permission denied - invalid PVEVNC ticket");
    assert_eq!(forged.json()["message"], "permission denied - invalid PVEVNC ticket\n");
    let out_of_range = get("6000", ticket);
    assert_eq!(out_of_range.errors(), json!({"port": "value must have a maximum value of 5999"}));

    let query = tests::form(&[("port", &port), ("vncticket", ticket)]);
    let head = format!("GET /api2/json{path}?{query}");
    let authorization = format!("PVEAPIToken={}", daemon.token());
    let upgrade = |headers: &[(&str, &str)]| {
        let mut all = vec![("Authorization", authorization.as_str()), ("Connection", "upgrade")];
        all.extend(headers);
        tests::Client::new(daemon.address()).request(&head, &all, b"").line()
    };
    let version = upgrade(&[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "12")]);
    assert_eq!(version, "500 unsupported websocket-version '12'");
    assert_eq!(upgrade(&[("Upgrade", "h2c")]), "500 unable to upgrade to protocol 'h2c'");
    let key = upgrade(&[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]);
    assert_eq!(key, "500 missing websocket-key");

    let mut terminal = Terminal::websocket(daemon.address(), daemon.token(), &path, &opened);
    terminal.log_in(&opened);
    assert_eq!(terminal.rest(), "OKCT 100 not running\r\n");
    let gone =
        [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "x")];
    assert!(upgrade(&gone).starts_with(&format!("500 connect to 'localhost:{port}' failed: ")));
}

#[test]
fn vncticket_says_nothing_or_401() {
    let daemon = with_guest().start();
    let (opened, port) = open(&daemon);
    let port = port.to_string();
    let ask = |authid: &str, ticket: &str, path: &str, privs: &str| {
        let mut parameters =
            vec![("authid", authid), ("vncticket", ticket), ("path", path), ("privs", privs)];
        parameters.push(("port", &port));
        // For everyone, so without credentials.
        daemon.request_as(&[], "POST", "/access/vncticket", &parameters)
    };
    let ticket = opened["ticket"].as_str().unwrap();
    let good = ask("root@pam!test", ticket, "/vms/100", "VM.Console");
    assert_eq!(good.data(), Value::Null);
    let behind_password =
        ask("root@pam!test", &format!("12345678:{ticket}"), "/vms/100", "VM.Console");
    assert_eq!(behind_password.data(), Value::Null);
    for refused in [
        ask("root@pam", ticket, "/vms/100", "VM.Console"),
        ask("root@pam!test", ticket, "/vms/101", "VM.Console"),
        ask("ann@pve!look", ticket, "/vms/100", "VM.Console"),
    ] {
        assert_eq!(refused.line(), "401 authentication failure");
    }
}

#[test]
fn a_daemon_that_ends_waits_for_no_console() {
    let mut daemon = with_guest().start();
    let (_, port) = open(&daemon);
    let _terminal = Terminal::connect(port).unwrap();
    let before = std::time::Instant::now();
    assert!(daemon.terminate().success());
    assert!(before.elapsed().as_secs() < 5, "it took {:?}", before.elapsed());
}
