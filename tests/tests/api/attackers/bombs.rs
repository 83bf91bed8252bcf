//! Small requests that would cost much.

use std::time::{Duration, Instant};

use rstest::rstest;
use tests::{Client, Daemon, Reply};

use super::assert_well;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
/// The most that a body may have.
const MOST: usize = 512 * 1024;
/// These tests run a build without optimisation, many at a time.
const QUICKLY: Duration = Duration::from_secs(5);
const MORE_MEMORY_KIB: u64 = 128 * 1024;

fn put(daemon: &Daemon, kind: &str, body: &[u8]) -> Reply {
    let token = format!("PVEAPIToken={}", daemon.token());
    let headers = [("Authorization", token.as_str()), ("Content-Type", kind)];
    let head = "PUT /api2/json/nodes/pve1/lxc/100/config";
    Client::new(daemon.address()).request(head, &headers, body)
}

/// The most memory that it ever had.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn filled(start: &str, repeated: &str, end: &str) -> String {
    let times = (MOST - start.len() - end.len()) / repeated.len();
    format!("{start}{}{end}", repeated.repeat(times))
}

fn numbered(one: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        let next = one(number);
        if text.len() + next.len() > MOST - 10 {
            break;
        }
        text.push_str(&next);
    }
    text
}

#[rstest]
#[case::nested_arrays(JSON, filled("{\"memory\":", "[", ""), 500)]
#[case::nested_objects(JSON, filled("", "{\"a\":", ""), 500)]
#[case::closed_arrays(JSON, format!("{{\"memory\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000)), 500)]
#[case::a_long_array(JSON, filled("{\"memory\":[1", ",1", "]}"), 400)]
#[case::a_long_list(JSON, filled("{\"delete\":[\"a\"", ",\"a\"", "]}"), 400)]
#[case::a_long_number(JSON, filled("{\"memory\":", "9", "}"), 500)]
#[case::a_large_exponent(JSON, "{\"memory\":1e999999999}".to_owned(), 500)]
#[case::the_same_key(JSON, filled("{\"memory\":1", ",\"memory\":1", "}"), 400)]
#[case::many_keys(JSON, format!("{{{}\"z\":1}}", numbered(|n| format!("\"k{n}\":1,"))), 400)]
#[case::escapes(JSON, filled("{\"description\":\"", "\\u0000", "\"}"), 400)]
#[case::half_a_surrogate(JSON, "{\"description\":\"\\ud800\"}".to_owned(), 500)]
#[case::commas(FORM, filled("net0=", ",", ""), 400)]
#[case::parts(FORM, filled("net0=", "a,", ""), 400)]
#[case::pairs(FORM, filled("net0=", "a=1,", ""), 400)]
#[case::different_pairs(FORM, format!("net0=name=eth0{}", numbered(|n| format!(",k{n}=1"))), 400)]
#[case::semicolons(FORM, filled("tags=a", "%3b", ""), 200)]
#[case::many_tags(FORM, format!("tags=a{}", numbered(|n| format!("%3bt{n}"))), 200)]
#[case::deletes(FORM, filled("delete=x", ",x", ""), 400)]
#[case::the_same_field(FORM, filled("memory=1", "&memory=1", ""), 400)]
#[case::many_fields(FORM, numbered(|n| format!("k{n}=1&")), 400)]
#[case::ampersands(FORM, filled("", "&", ""), 500)]
#[case::equals(FORM, filled("memory=1", "=", ""), 400)]
#[case::a_long_name(FORM, filled("", "a", "=1"), 400)]
#[case::digits(FORM, filled("cores=", "9", ""), 400)]
#[case::a_long_pattern(FORM, filled("entrypoint=", "a ", "%01"), 400)]
#[case::environment(FORM, filled("env=A=1", "%00A=1", "%00=x"), 400)]
#[case::host_parts(FORM, filled("hostname=a", ".a", ""), 400)]
#[case::addresses(FORM, filled("nameserver=1.1.1.1", ",1.1.1.1", ",x"), 400)]
fn a_bomb_is_cheap(#[case] kind: &str, #[case] body: String, #[case] status: u16) {
    let daemon = crate::with_guest().start();
    daemon.get("/version");
    let before = peak_kib(&daemon);
    let begun = Instant::now();
    let reply = put(&daemon, kind, body.as_bytes());
    let took = begun.elapsed();
    let text = reply.text().chars().take(300).collect::<String>();
    assert_eq!(reply.status, status, "{text}");
    assert!(took < QUICKLY, "{took:?}");
    let more = peak_kib(&daemon) - before;
    assert!(more < MORE_MEMORY_KIB, "{more} KiB more");
    assert_well(&daemon);
}

#[rstest]
#[case::form(FORM, b"hostname=%ff%fe", 400)]
#[case::raw_form(FORM, b"hostname=\xff\xfe", 400)]
#[case::raw_name(FORM, b"\xff=1", 400)]
#[case::json(JSON, b"{\"hostname\":\"\xff\"}", 500)]
#[case::overlong(FORM, b"hostname=%c0%af", 400)]
fn bytes_that_are_no_text_are_refused(
    #[case] kind: &str,
    #[case] body: &[u8],
    #[case] status: u16,
) {
    let daemon = crate::with_guest().start();
    let reply = put(&daemon, kind, body);
    assert_eq!(reply.status, status, "{}", reply.text());
    assert!(fs_err::read_to_string(daemon.config_path(100)).unwrap().contains("hostname: box\n"));
    assert_well(&daemon);
}

/// Bodies are never unpacked, whatever they are said to be.
#[test]
fn a_packed_body_stays_packed() {
    let daemon = crate::with_guest().start();
    let token = format!("PVEAPIToken={}", daemon.token());
    // gzip of nothing but zeros begins so.
    let body = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".as_slice(), &[0xff; 4096]].concat();
    for (kind, status) in [(JSON, 500), (FORM, 400)] {
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", kind),
            ("Content-Encoding", "gzip"),
        ];
        let head = "PUT /api2/json/nodes/pve1/lxc/100/config";
        let reply = Client::new(daemon.address()).request(head, &headers, &body);
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    assert_well(&daemon);
}

#[test]
fn a_field_that_comes_twice_is_none() {
    let daemon = crate::with_guest().start();
    let reply = put(&daemon, FORM, b"memory=64&memory=128");
    assert_eq!(reply.errors()["memory"], "type check ('integer') failed - got ARRAY");
    let head = "/nodes/pve1/lxc/100/config?current=1&current=0";
    assert_eq!(daemon.get(head).errors()["current"], "type check ('boolean') failed - got ARRAY");
    assert_eq!(daemon.get("/nodes/pve1/lxc/100/config").data()["memory"], 256);
}
