//! What the node's own files say.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::{Daemon, eventually};

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

#[test]
fn the_report_has_the_guests_and_no_secrets() {
    let daemon = crate::with_guest().start();
    let report = daemon.get("/nodes/pve1/report").data();
    let report = report.as_str().unwrap();
    assert!(
        report.starts_with("\n==== general system info ====\n\n# cat /etc/hosts\n"),
        "{report}"
    );
    let guest = "# cat /etc/pve/nodes/pve1/lxc/100.conf\narch: amd64\n";
    assert!(report.contains(guest), "{report}");
    let storage = "\n==== info about storage ====\n\n# cat /etc/pve/storage.cfg\n";
    assert!(report.contains(storage), "{report}");
    assert!(!report.contains("11111111-2222"), "a token's secret: {report}");
}

/// Answers one request with `response`.
fn serve_once(response: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(response.as_bytes()).unwrap();
    });
    format!("http://{address}")
}

#[test]
fn a_url_is_asked_what_it_holds() {
    let daemon = Daemon::start();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: application/x-tar; a=b\r\n\r\n";
    let url = serve_once(head.to_owned()) + "/images/a.tar?x=1";
    let asked = daemon.request("GET", "/nodes/pve1/query-url-metadata", &[("url", &url)]);
    let told = json!({"filename": "a.tar", "size": 7, "mimetype": "application/x-tar"});
    assert_eq!(asked.data(), told);

    let url = serve_once("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned());
    let asked = daemon.request("GET", "/nodes/pve1/query-url-metadata", &[("url", &url)]);
    assert_eq!(asked.line(), "500 invalid server response: '404 Not Found'");
}

#[test]
fn a_template_of_the_index_is_fetched_and_verified() {
    let server = serve_once(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc".to_owned(),
    );
    let index = format!(
        "Package: tiny\nVersion: 1\nType: lxc\nLocation: {server}/tiny.tar.gz\n\
         md5sum: 900150983cd24fb0d6963f7d28e17f72\nDescription: Tiny\n"
    );
    let path = "var/lib/pve-manager/apl-info/download.proxmox.com";
    let daemon = Daemon::builder().file(path, &index).start();
    let offered = daemon.get("/nodes/pve1/aplinfo").data();
    assert_eq!(
        (&offered[0]["template"], &offered[0]["type"]),
        (&json!("tiny.tar.gz"), &json!("lxc"))
    );

    let unknown = [("storage", "local"), ("template", "other.tar.gz")];
    let unknown = daemon.post("/nodes/pve1/aplinfo", &unknown);
    assert_eq!(unknown.errors(), json!({"template": "no such template"}));
    let wanted = [("storage", "local"), ("template", "tiny.tar.gz")];
    daemon.post("/nodes/pve1/aplinfo", &wanted).data();
    let stored = daemon.templates().join("tiny.tar.gz");
    let bytes = eventually(30, "the template is there", || fs_err::read(&stored).ok());
    assert_eq!(bytes, b"abc");
}
