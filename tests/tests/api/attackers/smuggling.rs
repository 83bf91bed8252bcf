//! Bytes that two readers could understand differently, and heads that are too large.

use rstest::rstest;
use tests::{Daemon, send_raw};

use super::assert_well;

const VERSION: &str = "GET /api2/json/version HTTP/1.1\r\nHost: x\r\n\r\n";

fn post(headers: &str, body: &str) -> String {
    format!("POST /api2/json/access/ticket HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

/// The first answer's status line, and how many answers there were.
fn ask(daemon: &Daemon, request: &str) -> (String, usize) {
    let answer =
        String::from_utf8_lossy(&send_raw(daemon.address(), request.as_bytes())).into_owned();
    let lines: Vec<_> = answer.lines().filter(|line| line.starts_with("HTTP/1.")).collect();
    (lines.first().map_or(String::new(), |line| line.trim().to_owned()), lines.len())
}

#[rstest]
#[case::both_lengths(
    post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{VERSION}")),
    "HTTP/1.1 501 chunked transfer encoding not supported"
)]
#[case::both_lengths_the_other_way(
    post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("0\r\n\r\n{VERSION}")),
    "HTTP/1.1 501 chunked transfer encoding not supported"
)]
#[case::two_lengths(
    post("Content-Length: 0\r\nContent-Length: 50\r\n", VERSION),
    "HTTP/1.1 400 Bad Request"
)]
#[case::a_signed_length(post("Content-Length: +4\r\n", VERSION), "HTTP/1.1 400 Bad Request")]
#[case::a_negative_length(post("Content-Length: -1\r\n", VERSION), "HTTP/1.1 400 Bad Request")]
#[case::another_encoding(
    post("Transfer-Encoding: identity\r\n", VERSION),
    "HTTP/1.1 400 Bad Request"
)]
#[case::a_hidden_encoding(
    post("Transfer-Encoding : chunked\r\n", VERSION),
    "HTTP/1.1 400 Bad Request"
)]
#[case::a_folded_header(
    post("X: a\r\n b\r\nContent-Length: 0\r\n", VERSION),
    "HTTP/1.1 400 Bad Request"
)]
#[case::a_lone_nul(post("X: a\0b\r\n", VERSION), "HTTP/1.1 400 Bad Request")]
#[case::a_body_of_a_get(
    format!("GET /api2/json/version HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx=1&y=2&z{VERSION}"),
    "HTTP/1.1 401 No ticket"
)]
fn one_request_is_one_answer(#[case] request: String, #[case] line: &str) {
    let daemon = crate::with_users().start();
    let (first, answers) = ask(&daemon, &request);
    assert_eq!((first.as_str(), answers), (line, 1));
    assert_well(&daemon);
}

#[rstest]
#[case::one_of_64_kilobytes(format!("X: {}\r\n", "a".repeat(64 * 1024)))]
#[case::many_of_them("X: a\r\n".repeat(100))]
#[case::a_long_cookie(format!("Cookie: PVEAuthCookie={}\r\n", "%00".repeat(30_000)))]
fn too_much_of_a_head_is_refused(#[case] headers: String) {
    // PVE hangs up without a word; a status is of more use.
    let daemon = crate::with_users().start();
    let request = format!("GET /api2/json/version HTTP/1.1\r\nHost: x\r\n{headers}\r\n{VERSION}");
    let refused = ("HTTP/1.1 431 Request Header Fields Too Large".to_owned(), 1);
    assert_eq!(ask(&daemon, &request), refused);
    assert_well(&daemon);
}

#[test]
fn an_url_of_64_kilobytes_is_refused() {
    let daemon = crate::with_users().start();
    let path = "a".repeat(64 * 1024);
    let request = format!("GET /api2/json/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let (line, answers) = ask(&daemon, &request);
    assert!(line.starts_with("HTTP/1.1 4"), "{line}");
    assert_eq!(answers, 1);
    assert_well(&daemon);
}

#[test]
fn a_large_body_is_refused_before_it_is_read() {
    let daemon = crate::with_users().start();
    let request = post("Content-Length: 600000\r\n", &"x".repeat(600_000));
    assert_eq!(ask(&daemon, &request), ("HTTP/1.1 501 for data too large".to_owned(), 1));
    // Nor does one have to be there that is announced.
    let huge = post("Content-Length: 99999999999999\r\n", "");
    assert_eq!(ask(&daemon, &huge), ("HTTP/1.1 501 for data too large".to_owned(), 1));
    assert_well(&daemon);
}

#[rstest]
#[case::binary(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")]
#[case::version_two(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]
#[case::no_version(b"GET /api2/json/version\r\n\r\n")]
#[case::half_a_line(b"\r\n\r\n\r\n\r\nGET")]
#[case::bytes_in_the_path(b"GET /api2/json/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n")]
#[case::a_proxys_request(b"CONNECT evil:80 HTTP/1.1\r\nHost: evil\r\n\r\n")]
fn nonsense_is_answered_with_an_error_or_not_at_all(#[case] bytes: &[u8]) {
    let daemon = crate::with_users().start();
    let answer = String::from_utf8_lossy(&send_raw(daemon.address(), bytes)).into_owned();
    let refused = [" 400", " 401", " 501", " 505", " 506"];
    let line = answer.lines().next().unwrap_or_default();
    assert!(line.is_empty() || refused.iter().any(|code| line.contains(code)), "{answer}");
    assert_well(&daemon);
}
