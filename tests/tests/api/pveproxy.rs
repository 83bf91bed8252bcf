//! On a PVE node: what is not served here is asked of pveproxy, played by a server that writes down
//! what it is asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rstest::rstest;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tests::{Builder, Client, Daemon, Reply, form};

use crate::{ROOT, with_users};

#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

struct Pve {
    address: SocketAddr,
    certificate: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Pve {
    fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let made =
            rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap().self_signed(&key);
        let certificate = made.unwrap().pem();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let tls = Arc::new(tls.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pve = Self {
            address: listener.local_addr().unwrap(),
            certificate,
            asked: Arc::default(),
            answers: Arc::default(),
        };
        let (asked, answers) = (Arc::clone(&pve.asked), Arc::clone(&pve.answers));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = ServerConnection::new(Arc::clone(&tls)).unwrap();
                let stream = StreamOwned::new(tls, stream.unwrap());
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                std::thread::spawn(move || serve(BufReader::new(stream), &asked, &answers));
            }
        });
        pve
    }

    fn answer(&self, path: &str, answer: &[u8]) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer.to_vec());
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Known by the certificate that lies where PVE keeps it.
    fn beside(&self, builder: Builder) -> Daemon {
        let settings = format!("[pveproxy]\nurl = \"https://{}\"\n", self.address);
        builder
            .file("etc/pve/nodes/pve1/pveproxy-ssl.pem", &self.certificate)
            .file("etc/proxmox-lxcri/config.toml", &settings)
            .start()
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"data\":\"pve\"}";

fn serve(
    mut stream: BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
    asked: &Mutex<Vec<Asked>>,
    answers: &Mutex<HashMap<String, Vec<u8>>>,
) -> Option<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut asking = Asked { line: line.trim_end().to_owned(), headers, body: Vec::new() };
        let length = asking.header("content-length").map_or(0, |value| value.parse().unwrap());
        asking.body.resize(length, 0);
        stream.read_exact(&mut asking.body).ok()?;
        let path = asking.line.split([' ', '?']).nth(1)?.to_owned();
        asked.lock().unwrap().push(asking);
        let answer = answers.lock().unwrap().get(&path).cloned();
        let answer = answer.unwrap_or_else(|| ANSWER.to_vec());
        stream.get_mut().write_all(&answer).ok()?;
        stream.get_mut().flush().ok()?;
        if answer.starts_with(b"HTTP/1.1 101 ") {
            return echo(&mut stream);
        }
        if !answer.windows(15).any(|part| part.eq_ignore_ascii_case(b"content-length:")) {
            stream.get_mut().conn.send_close_notify();
            return stream.get_mut().flush().ok();
        }
    }
}

/// What a websocket is to whoever does not look at frames.
fn echo(stream: &mut BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>) -> Option<()> {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        stream.get_mut().write_all(&bytes[..count]).ok()?;
        stream.get_mut().flush().ok()?;
    }
    None
}

fn ask(daemon: &Daemon, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    Client::new(daemon.address()).request(head, headers, body)
}

#[test]
fn a_request_goes_through_as_it_came_and_so_does_the_answer() {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let path = "/api2/extjs/nodes/pve1/qemu/100/config";
    pve.answer(
        path,
        b"HTTP/1.1 500 VM 100 is locked (backup)\r\nContent-Length: 3\r\nX-Own: 1\r\n\
          Server: pve-api-daemon/3.0\r\nCache-Control: max-age=7\r\nKeep-Alive: timeout=5\r\n\
          Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nabc",
    );
    let body = b"memory=512&name=a%20b";
    let headers = [
        ("Cookie", "PVEAuthCookie=PVE:root@pam:X::Y"),
        ("CSRFPreventionToken", "Z"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
    ];

    let reply = ask(&daemon, &format!("PUT {path}?digest=a%2Fb"), &headers, body);

    assert_eq!(reply.line(), "500 VM 100 is locked (backup)");
    assert_eq!((reply.header("x-own"), reply.body.as_slice()), (Some("1"), &b"abc"[..]));
    assert_eq!(reply.header("cache-control"), Some("max-age=7"));
    assert_eq!(reply.header("keep-alive"), None);
    let cookies = reply.headers.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2);
    let asked = pve.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, format!("PUT {path}?digest=a%2Fb HTTP/1.1"));
    assert_eq!(asked[0].body, body);
    for (name, value) in &headers[..3] {
        assert_eq!(asked[0].header(&name.to_ascii_lowercase()), Some(*value));
    }
    assert_eq!(asked[0].header("x-hop"), None);
    assert_eq!(asked[0].header("host"), Some(daemon.address().to_string().as_str()));
    assert_eq!(asked[0].header("x-forwarded-for"), Some("127.0.0.1"));
}

#[rstest]
#[case::machines("GET /api2/json/nodes/pve1/ceph/status", true)]
#[case::report("GET /api2/json/nodes/pve1/report", true)]
#[case::high_availability("GET /api2/json/cluster/ha/resources", true)]
#[case::other_node("GET /api2/json/nodes/pve2/lxc", true)]
#[case::page("GET /", true)]
#[case::page_s_file("GET /pve2/js/pvemanagerlib.js", true)]
#[case::unknown_format("GET /api2/yaml/version", true)]
#[case::version("GET /api2/json/version", false)]
#[case::own_node("GET /api2/json/nodes/pve1/lxc", false)]
#[case::localhost("GET /api2/json/nodes/localhost/lxc", false)]
#[case::document("GET /api2/openapi.json", false)]
#[case::docs("GET /api-docs/", false)]
fn what_is_not_served_here_is_asked_there(#[case] head: &str, #[case] there: bool) {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let token = format!("PVEAPIToken={}", daemon.token());
    let authorization = [("Authorization", token.as_str())];

    let reply = ask(&daemon, head, &authorization, b"");

    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(pve.asked().len(), usize::from(there));
    assert_eq!(reply.text() == r#"{"data":"pve"}"#, there);
    if let [asked] = &pve.asked()[..] {
        assert_eq!(asked.header("authorization"), Some(token.as_str()), "the caller's own");
    }
}

#[test]
fn bodies_of_any_size_go_through_both_ways() {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let large: Vec<u8> =
        (0..8_u32 << 20).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let path = "/api2/json/nodes/pve2/storage/local/upload";
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
    pve.answer(path, &[head, large.as_slice()].concat());

    let headers = [("Content-Type", "multipart/form-data; boundary=x"), ("Connection", "close")];
    let reply = ask(&daemon, &format!("POST {path}"), &headers, &large);

    let asked = pve.asked();
    assert_eq!(asked[0].header("content-length"), Some(large.len().to_string().as_str()));
    assert!(asked[0].body == large, "what was sent is what arrived");
    let text = reply.header("transfer-encoding");
    assert_eq!(text, Some("chunked"), "its length was not known");
    assert!(reply.body.len() > large.len());
}

#[test]
fn a_pveproxy_that_is_down_is_said_so() {
    let pve = Pve::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!("[pveproxy]\nurl = \"https://{}\"\n", closed.local_addr().unwrap());
    let daemon = Daemon::builder()
        .file("etc/pve/nodes/pve1/pveproxy-ssl.pem", &pve.certificate)
        .file("etc/proxmox-lxcri/config.toml", &settings)
        .start();
    drop(closed);

    let reply = ask(&daemon, "GET /api2/json/nodes/pve1/ceph/status", &[], b"");

    assert_eq!((reply.line().as_str(), reply.text().as_str()), ("595 Connection refused", ""));
    assert_eq!(ask(&daemon, "GET /api2/json/access/ticket", &[], b"").status, 200, "ours goes on");
}

#[test]
fn only_a_known_certificate_is_trusted() {
    let (pve, other) = (Pve::start(), Pve::start());
    let settings = format!("[pveproxy]\nurl = \"https://{}\"\n", pve.address);
    let daemon = Daemon::builder()
        .file("etc/pve/nodes/pve1/pveproxy-ssl.pem", &other.certificate)
        .file("etc/pve/pve-root-ca.pem", &other.certificate)
        .file("etc/proxmox-lxcri/config.toml", &settings)
        .start();

    let reply = ask(&daemon, "GET /api2/json/nodes/pve1/ceph/status", &[("Cookie", "secret")], b"");

    assert!(matches!(reply.status, 595 | 596), "{}", reply.line());
    assert_eq!(pve.asked().len(), 0);
}

#[test]
fn what_came_from_us_does_not_go_back() {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let token = format!("PVEAPIToken={}", daemon.token());

    let headers = [("Via", "1.1 proxmox-lxcri"), ("Authorization", token.as_str())];
    let reply = ask(&daemon, "GET /api2/json/nodes/pve1/ceph/status", &headers, b"");

    assert_eq!(reply.line(), "501 Method 'GET /nodes/pve1/ceph/status' not implemented");
    assert_eq!(pve.asked().len(), 0);
}

#[test]
fn without_pve_it_is_not_implemented() {
    let daemon = Daemon::start();
    let reply = daemon.get("/nodes/pve1/ceph/status");
    assert_eq!(reply.line(), "501 Method 'GET /nodes/pve1/ceph/status' not implemented");
}

const TFA: &str = r#"{"users":{"joe@pve":{"totp":[{"info":{}}]}}}"#;

#[rstest]
#[case::own_realm(&[("username", "joe@pve"), ("password", "secret-word")], false, false)]
#[case::system(&[("username", "root@pam"), ("password", "x y&z")], false, true)]
#[case::realm_beside(&[("username", "root"), ("realm", "pam"), ("password", "x")], false, true)]
#[case::second_factor(&[("username", "joe@pve"), ("password", "secret-word")], true, true)]
#[case::challenge(
    &[("username", "joe@pve"), ("password", "totp:123456"), ("tfa-challenge", "PVE:!tfa!x")],
    true,
    true
)]
fn a_login_that_only_pve_can_check_is_asked_there(
    #[case] fields: &[(&str, &str)],
    #[case] tfa: bool,
    #[case] there: bool,
) {
    let pve = Pve::start();
    let path = "/api2/extjs/access/ticket";
    pve.answer(
        path,
        b"HTTP/1.1 200 OK\r\nContent-Length: 23\r\nX-Own: 1\r\n\r\n{\"data\":\"pve\",\"a\":true}",
    );
    let builder = with_users().token(ROOT);
    let builder = if tfa { builder.file("etc/pve/priv/tfa.cfg", TFA) } else { builder };
    let daemon = pve.beside(builder);

    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let reply = ask(&daemon, &format!("POST {path}"), &kind, form(fields).as_bytes());

    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-own").is_some(), there);
    let asked = pve.asked();
    assert_eq!(asked.len(), usize::from(there));
    for asked in asked {
        assert_eq!(asked.line, format!("POST {path} HTTP/1.1"));
        let body = String::from_utf8(asked.body).unwrap();
        let mut sent: Vec<_> = body.split('&').map(|pair| pair.replace('+', "%20")).collect();
        sent.sort();
        let given = form(fields);
        let mut given: Vec<_> = given.split('&').map(str::to_owned).collect();
        given.sort();
        assert_eq!(sent, given);
    }
}

#[test]
fn a_wrong_password_of_our_own_realm_stays_here() {
    let pve = Pve::start();
    let daemon = pve.beside(with_users().token(ROOT));

    let fields = form(&[("username", "joe@pve"), ("password", "wrong")]);
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let reply = ask(&daemon, "POST /api2/json/access/ticket", &kind, fields.as_bytes());

    assert_eq!(reply.line(), "401 authentication failure");
    assert_eq!(pve.asked().len(), 0);
}

const HANDSHAKE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: abc\r\nSec-WebSocket-Protocol: binary\r\n\r\n";

/// Sends a handshake for `protocol` and reads the answer's head.
fn shake_hands(daemon: &Daemon, path: &str, protocol: &str) -> (std::net::TcpStream, String) {
    let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let head = format!(
        "GET {path}?port=5900&vncticket=PVEVNC%3AX HTTP/1.1\r\nHost: pve1\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\
         Sec-WebSocket-Protocol: binary\r\nCookie: PVEAuthCookie=PVE:root@pam:X::Y\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap().to_ascii_lowercase())
}

#[test]
fn a_websocket_goes_through() {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let path = "/api2/json/nodes/pve1/qemu/100/vncwebsocket";
    pve.answer(path, HANDSHAKE);

    let (mut stream, head) = shake_hands(&daemon, path, "websocket");

    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: abc"] {
        assert!(head.lines().any(|one| one == line), "{line}: {head}");
    }
    let asked = pve.asked();
    assert_eq!(asked[0].line, format!("GET {path}?port=5900&vncticket=PVEVNC%3AX HTTP/1.1"));
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-key", "a2V5"),
        ("sec-websocket-protocol", "binary"),
        ("cookie", "PVEAuthCookie=PVE:root@pam:X::Y"),
    ] {
        assert_eq!(asked[0].header(name), Some(value));
    }
    // Neither side's bytes wait for the other's, and any number goes through.
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut half = stream.try_clone().unwrap();
    let (out, mut back) = (sent.clone(), vec![0; sent.len()]);
    let writer = std::thread::spawn(move || half.write_all(&out).unwrap());
    stream.read_exact(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == sent);
    // One side's end is the other's.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[rstest]
#[case::refused("websocket", "HTTP/1.1 401 permission denied - invalid PVEVNC ticket")]
#[case::not_a_websocket("h2c", "HTTP/1.1 200 OK")]
fn what_is_no_websocket_stays_a_request(#[case] protocol: &str, #[case] line: &str) {
    let pve = Pve::start();
    let daemon = pve.beside(Daemon::builder());
    let path = "/api2/json/nodes/pve1/qemu/100/vncwebsocket";
    pve.answer(path, format!("{line}\r\nContent-Length: 0\r\n\r\n").as_bytes());

    let (_, head) = shake_hands(&daemon, path, protocol);

    assert_eq!(head.lines().next().unwrap(), line.to_ascii_lowercase());
    let upgrade = pve.asked()[0].header("upgrade").map(str::to_owned);
    assert_eq!(upgrade.is_some(), protocol == "websocket");
}
