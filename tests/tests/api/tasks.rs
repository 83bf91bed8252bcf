//! Tasks' logs as files.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tests::{Client, Reply};

use crate::with_users;

const UPID: &str = "UPID:pve1:00000001:00000001:6B043E61:vzstart:100:root@pam:";

/// The log of a task long ago, asked for by someone who accepts no packing.
fn download(text: &str, query: &str) -> Reply {
    let daemon = with_users().file(&format!("var/log/pve/tasks/1/{UPID}"), text).start();
    let token = format!("PVEAPIToken={}", daemon.token());
    let head = format!("GET /api2/json/nodes/pve1/tasks/{UPID}/log?{query}");
    Client::new(daemon.address()).request(&head, &[("Authorization", &token)], b"")
}

fn log(length: usize) -> String {
    let end = "\nTASK OK\n";
    format!("{}{end}", "x".repeat(length - end.len()))
}

#[test]
fn a_short_log_is_downloaded_as_it_is() {
    let reply = download(&log(1024), "download=1");
    assert_eq!(reply.text(), log(1024));
    assert_eq!(reply.header("content-encoding"), None);
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    let name = "attachment; filename=\"task-pve1-vzstart-2026-11-23T13:23:45Z.log\"";
    assert_eq!(reply.header("content-disposition"), Some(name));
}

#[test]
fn a_long_log_is_packed_for_everyone() {
    let reply = download(&log(1025), "download=1");
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&reply.body).unwrap();
    let plain = gzip.wait_with_output().unwrap();
    assert!(plain.status.success());
    assert_eq!(String::from_utf8(plain.stdout).unwrap(), log(1025));
}

#[test]
fn a_page_is_no_download() {
    let reply = download(&log(100), "download=1&limit=5");
    let line = "500 'download' cannot be used together with 'start' or 'limit' parameters";
    assert_eq!(reply.line(), line);
}
