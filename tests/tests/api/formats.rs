//! The formats beside json and extjs: for browsers, for virt-viewer, for pictures.

use std::time::Instant;

use rstest::rstest;
use tests::{Client, Daemon, Reply, form, send_raw};

use crate::{ROOT, with_guest};

fn get(daemon: &Daemon, path: &str) -> Reply {
    let token = format!("PVEAPIToken={ROOT}");
    let head = format!("GET /api2/{path}");
    Client::new(daemon.address()).request(&head, &[("Authorization", &token)], b"")
}

fn login(daemon: &Daemon, password: &str) -> Reply {
    let body = form(&[("username", "joe@pve"), ("password", password)]);
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let head = "POST /api2/html/access/ticket";
    Client::new(daemon.address()).request(head, &headers, body.as_bytes())
}

#[rstest]
#[case::html("html", "text/html;charset=UTF-8")]
#[case::htmljs("htmljs", "text/html;charset=UTF-8")]
#[case::spice("spiceconfig", "application/x-virt-viewer;charset=UTF-8")]
#[case::png("png", "image/png")]
#[case::json("json", "application/json;charset=UTF-8")]
fn each_has_its_type(#[case] format: &str, #[case] kind: &str) {
    let daemon = with_guest().start();
    let reply = get(&daemon, &format!("{format}/version"));
    assert_eq!((reply.line().as_str(), reply.header("content-type")), ("200 OK", Some(kind)));
    let missing = get(&daemon, &format!("{format}/nodes/pve1/lxc/999/config"));
    assert_eq!(missing.header("content-type"), Some(kind));
    let hidden = format == "htmljs";
    let line = "500 Configuration file 'nodes/pve1/lxc/999.conf' does not exist";
    assert_eq!(missing.line(), if hidden { "200 OK" } else { line });
}

#[rstest]
#[case::gzip("gzip, deflate", Some("gzip"), b"\x1f\x8b")]
#[case::gzip_rather("deflate, gzip", Some("gzip"), b"\x1f\x8b")]
#[case::deflate("deflate", Some("deflate"), b"\x78")]
#[case::neither("br, zstd", None, b"{\"")]
fn what_is_long_is_packed(
    #[case] accept: &str,
    #[case] coding: Option<&str>,
    #[case] start: &[u8],
) {
    let daemon = with_guest().start();
    let token = format!("PVEAPIToken={ROOT}");
    let headers = [("Authorization", token.as_str()), ("Accept-Encoding", accept)];
    let mut client = Client::new(daemon.address());
    let long = client.request("GET /api2/json/access/permissions", &headers, b"");
    assert_eq!((long.header("content-encoding"), &long.body[..start.len()]), (coding, start));
    assert_eq!(long.header("content-length"), Some(long.body.len().to_string().as_str()));
    let short = client.request("GET /api2/json/version", &headers, b"");
    assert_eq!((short.header("content-encoding"), short.header("vary")), (None, None));
}

/// Scripts that look for them with grep are not rare.
#[test]
fn headers_are_written_as_pveproxy_writes_them() {
    let daemon = with_guest().start();
    let request = b"GET /api2/json/access/domains HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(send_raw(daemon.address(), request)).unwrap();
    for line in ["Content-Type: application/json;charset=UTF-8", "Connection: close"] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{answer}");
    }
}

#[test]
fn htmljs_is_extjs_in_entities() {
    let daemon = with_guest().start();
    let reply = get(&daemon, "htmljs/nodes/pve1/lxc/999/config");
    let text = reply.text().replace("&quot;", "\"").replace("&#39;", "'");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["success"], &json["status"]), (&0.into(), &500.into()));
    let message = "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n";
    assert_eq!(json["message"], message);
}

#[test]
fn spiceconfig_is_a_file_of_settings() {
    let daemon = with_guest().start();
    let text = get(&daemon, "spiceconfig/version").text();
    assert!(text.starts_with("[virt-viewer]\n") && text.contains("\nrelease=9."), "{text}");
}

#[test]
fn a_page_links_what_lies_below_and_changes_nothing() {
    let daemon = with_guest().start();
    let page = get(&daemon, "html/nodes/pve1/lxc").text();
    assert!(page.contains("<a href=\"/api2/html/nodes/pve1/lxc/100\">100</a>"), "{page}");
    assert!(page.contains("<a href=\"/api2/html/nodes\">nodes</a>"), "{page}");
    assert!(!page.contains("<form"), "{page}");
    let missing = get(&daemon, "html/nodes/%3Cscript%3E/lxc").text();
    assert!(!missing.contains("<script>"), "{missing}");
}

#[test]
fn a_browser_is_sent_to_the_login_page_and_from_there_home() {
    let daemon = with_guest().start();
    let begun = Instant::now();
    let sent = Client::new(daemon.address()).request("GET /api2/html/nodes", &[], b"");
    assert_eq!(sent.line(), "301 Moved");
    let location = sent.header("location").unwrap().to_owned();
    assert_eq!((location.as_str(), sent.text().as_str()), ("/api2/html/access/ticket", ""));
    assert!(begun.elapsed().as_millis() >= 2900, "as slow as a 401: {:?}", begun.elapsed());
    let page = Client::new(daemon.address()).request(&format!("GET {location}"), &[], b"");
    assert_eq!(page.line(), "200 OK");
    assert!(page.text().contains("<form method=\"POST\" action=\"/api2/html/access/ticket\">"));

    let wrong = login(&daemon, "secret-words");
    assert_eq!(wrong.line(), "401 authentication failure");
    assert!(wrong.text().contains("<form") && !wrong.text().contains("secret-words"));
    let right = login(&daemon, "secret-word");
    assert_eq!(
        (right.line().as_str(), right.header("location")),
        ("301 Moved", Some("/api2/html"))
    );
    let cookie = right.header("set-cookie").unwrap();
    let (ticket, rest) = cookie.split_once("; ").unwrap();
    assert_eq!(rest, "path=/; secure; SameSite=Lax;");
    let home = Client::new(daemon.address()).request("GET /api2/html", &[("Cookie", ticket)], b"");
    assert_eq!(home.line(), "200 OK");
    assert!(home.text().contains("<a href=\"/api2/html/nodes\">nodes</a>"), "{}", home.text());
}
