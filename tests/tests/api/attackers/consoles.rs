//! Console tickets that are shown twice, late, elsewhere, or were signed by somebody else.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};
use tests::{Daemon, Reply, Terminal};

use super::credentials::{base64, now, openssl};

const REFUSED: &str = "401 permission denied - invalid PVEVNC ticket";

fn world() -> Daemon {
    crate::with_guest().file("etc/pve/nodes/pve1/lxc/101.conf", crate::CONFIG).start()
}

/// What `termproxy` answered, and the port in it.
fn open(daemon: &Daemon, vmid: u32) -> (Value, String) {
    let opened = daemon.post(&format!("/nodes/pve1/lxc/{vmid}/termproxy"), &[]).data();
    let port = opened["port"].as_str().unwrap().to_owned();
    (opened, port)
}

/// Without an upgrade it says whether the ticket would do.
fn show(daemon: &Daemon, vmid: u32, port: &str, ticket: &str) -> Reply {
    let path = format!("/nodes/pve1/lxc/{vmid}/vncwebsocket");
    daemon.request("GET", &path, &[("port", port), ("vncticket", ticket)])
}

fn ticket_of(opened: &Value) -> &str {
    opened["ticket"].as_str().unwrap()
}

/// As whoever has `key` would sign it, so many seconds ago, for this console.
fn signed(key: &Path, age: i64, place: &str) -> String {
    let plain = format!("PVEVNC:{:08X}", now().checked_add_signed(-age).unwrap());
    let arguments = ["dgst", "-sha256", "-sign", key.to_str().unwrap()];
    let signature = openssl(&arguments, &format!("{plain}:{place}"));
    format!("{plain}::{}", base64(&signature))
}

#[test]
fn a_ticket_is_for_one_console() {
    let daemon = world();
    let ((first, port), (second, other)) = (open(&daemon, 100), open(&daemon, 101));
    assert_ne!(port, other);
    assert_eq!(show(&daemon, 100, &port, ticket_of(&first)).data(), json!({"port": port}));

    // The console itself takes no other's. It waits for ten seconds only, so it is asked first.
    let mut terminal = Terminal::connect(other.parse().unwrap()).unwrap();
    terminal.log_in(&first);
    assert_eq!(terminal.rest(), "");
    let ended = daemon.task_of(second["upid"].as_str().unwrap()).failed();
    assert!(ended.starts_with("authentication failure: "), "{ended}");
    // Of another guest, on another port, and on both.
    assert_eq!(show(&daemon, 101, &port, ticket_of(&first)).line(), REFUSED);
    assert_eq!(show(&daemon, 100, &other, ticket_of(&first)).line(), REFUSED);
    assert_eq!(show(&daemon, 101, &other, ticket_of(&first)).line(), REFUSED);
    super::assert_well(&daemon);
}

/// PVE's tickets are not used up: for 40 seconds one opens the same console again. What is used up is
/// the console: it takes one client, and then its port is closed.
#[test]
fn a_second_use_finds_no_console() {
    let daemon = world();
    let (opened, port) = open(&daemon, 100);
    let mut terminal = Terminal::connect(port.parse().unwrap()).unwrap();
    terminal.log_in(&opened);
    assert_eq!(terminal.rest(), "OKCT 100 not running\r\n");

    assert_eq!(show(&daemon, 100, &port, ticket_of(&opened)).data(), json!({"port": port}));
    assert!(Terminal::connect(port.parse().unwrap()).is_err());
    let query = tests::form(&[("port", &port), ("vncticket", ticket_of(&opened))]);
    let authorization = format!("PVEAPIToken={}", daemon.token());
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let head = format!("GET /api2/json/nodes/pve1/lxc/100/vncwebsocket?{query}");
    let again = tests::Client::new(daemon.address()).request(&head, &headers, b"").line();
    assert!(again.starts_with(&format!("500 connect to 'localhost:{port}' failed: ")), "{again}");
}

#[rstest]
#[case::fresh(0, true)]
#[case::in_time(30, true)]
#[case::too_late(41, false)]
#[case::from_the_future(-30, false)]
fn a_ticket_lives_forty_seconds(#[case] age: i64, #[case] good: bool) {
    let daemon = world();
    let (_, port) = open(&daemon, 100);
    let key = daemon.root().join("etc/pve/priv/authkey.key");
    let ticket = signed(&key, age, &format!("root@pam!test:/vms/100:{port}"));
    let shown = show(&daemon, 100, &port, &ticket);
    assert_eq!(shown.line(), if good { "200 OK" } else { REFUSED });
}

#[rstest]
#[case::another_user("root@pam:/vms/100:PORT")]
#[case::the_whole_node("root@pam!test:/nodes/pve1:PORT")]
#[case::no_port("root@pam!test:/vms/100")]
fn our_own_signature_is_not_enough(#[case] place: &str) {
    let daemon = world();
    let (_, port) = open(&daemon, 100);
    let key = daemon.root().join("etc/pve/priv/authkey.key");
    let ticket = signed(&key, 0, &place.replace("PORT", &port));
    assert_eq!(show(&daemon, 100, &port, &ticket).line(), REFUSED);
}

#[test]
fn another_root_s_ticket_is_none_here() {
    let (daemon, elsewhere) = (world(), world());
    let (_, port) = open(&daemon, 100);
    let key = elsewhere.root().join("etc/pve/priv/authkey.key");
    let ticket = signed(&key, 0, &format!("root@pam!test:/vms/100:{port}"));
    assert_eq!(show(&daemon, 100, &port, &ticket).line(), REFUSED);
    // Nor is a login's ticket, though the same key signs it.
    let key = daemon.root().join("etc/pve/priv/authkey.key");
    let plain = format!("PVE:root@pam:{:08X}", now());
    let signature = openssl(&["dgst", "-sha256", "-sign", key.to_str().unwrap()], &plain);
    let ticket = format!("{plain}::{}", base64(&signature));
    assert_eq!(show(&daemon, 100, &port, &ticket).line(), REFUSED);
}
