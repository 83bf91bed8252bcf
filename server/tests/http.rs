//! The daemon on a socket, byte by byte: status lines, reason phrases and what PVE answers before
//! there is an envelope. What handlers answer is tested where they are.

#![expect(clippy::unwrap_used, reason = "what the harness cannot do fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rstest::{fixture, rstest};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxmox-lxcri");

struct Daemon {
    child: Process,
    address: SocketAddr,
    root: TempDir,
    log: BufReader<ChildStderr>,
}

/// Ends with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Daemon {
    fn token(&self) -> String {
        let text = fs_err::read_to_string(self.root.path().join("root-token")).unwrap();
        format!("Authorization: PVEAPIToken={}\r\n", text.trim())
    }

    /// Sends `head` (request line, then header lines) and returns all that comes until the end.
    fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        exchange(&mut stream, head, body)
    }
}

/// Port 0 is a free one.
fn command(root: &Path, listen: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--plain-http", "--node", "pve1", "--listen", listen, "--root"]);
    command.arg(root).env("RUST_LOG", "info").stderr(Stdio::piped());
    command
}

#[fixture]
fn daemon() -> Daemon {
    let root = tempfile::tempdir().unwrap();
    let mut child = Process(command(root.path(), "127.0.0.1:0").spawn().unwrap());
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the daemon ended");
        if let Some((_, address)) = line.split_once("listening on http://") {
            break address.split_whitespace().next().unwrap().parse().unwrap();
        }
    };
    Daemon { child, address, root, log }
}

#[derive(Debug)]
struct Answer {
    status: String,
    headers: Vec<String>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

fn exchange(stream: &mut (impl std::io::Read + std::io::Write), head: &str, body: &[u8]) -> Answer {
    let head = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).ok(); // a refusal may come first
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines().map(str::to_owned);
    let status = lines.next().unwrap_or_default();
    Answer { status, headers: lines.collect(), body: body.to_owned() }
}

#[rstest]
fn refuses_in_pves_words(daemon: Daemon) {
    let cases = [
        ("HEAD /api2/json/version", "501 method 'HEAD' not available", ""),
        ("PATCH /api2/json/version", "501 method 'PATCH' not available", ""),
        ("OPTIONS /api2/json/version", "501 method 'OPTIONS' not available", ""),
        ("GET /api2", "501 no such uri", "no such uri"),
        ("GET /api2/", "501 no such uri", "no such uri"),
        (
            "GET /api2/foo/version",
            "501 no formatter for uri /version, foo",
            "no formatter for uri /version, foo",
        ),
        ("GET /nonsense", "500 no such file '/nonsense'", "no such file '/nonsense'\n"),
        (
            "GET /api2/json/doesnotexist",
            "501 Method 'GET /doesnotexist' not implemented",
            r#"{"data":null,"message":"Method 'GET /doesnotexist' not implemented"}"#,
        ),
        (
            "POST /api2/json/version",
            "501 Method 'POST /version' not implemented",
            r#"{"data":null,"message":"Method 'POST /version' not implemented"}"#,
        ),
    ];
    for (request, status, body) in cases {
        let answer = daemon.send(&format!("{request} HTTP/1.1\r\n{}", daemon.token().trim()), b"");

        assert_eq!(answer.status, format!("HTTP/1.1 {status}"), "{request}");
        assert_eq!(answer.body, body, "{request}");
    }
}

#[rstest]
#[case::none("", "401 No ticket")]
#[case::bad_token(
    "\r\nAuthorization: PVEAPIToken=root@pam!lxcri=bad",
    "401 Authentication failed!"
)]
#[case::garbage("\r\nAuthorization: PVEAPIToken=garbage", "401 Authentication failed!")]
#[case::bad_ticket("\r\nCookie: PVEAuthCookie=PVE:root@pam:0::x", "401 Authentication failed!")]
fn lets_strangers_wait(daemon: Daemon, #[case] header: &str, #[case] status: &str) {
    let start = Instant::now();

    let answer = daemon.send(&format!("GET /api2/extjs/version HTTP/1.1{header}"), b"");

    assert_eq!(answer.status, format!("HTTP/1.1 {status}"));
    assert_eq!(answer.body, "");
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[rstest]
fn sends_a_browser_to_the_login_page(daemon: Daemon) {
    let answer = daemon.send("GET /api2/html/version HTTP/1.1", b"");

    assert_eq!(answer.status, "HTTP/1.1 301 Moved");
    assert_eq!(answer.header("location"), Some("/api2/html/access/ticket"));
}

#[rstest]
fn answers_with_pves_headers(daemon: Daemon) {
    let head = format!("GET /api2/json//version/?_dc=1 HTTP/1.1\r\n{}", daemon.token().trim());

    let answer = daemon.send(&head, b"");

    assert_eq!(answer.status, "HTTP/1.1 200 OK");
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
    assert_eq!(answer.header("server"), Some("pve-api-daemon/3.0"));
    assert_eq!(answer.header("cache-control"), Some("max-age=0"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert!(answer.header("date").is_some() && answer.header("expires").is_some());
}

#[rstest]
#[case::form_on_get(
    "GET /api2/json/version HTTP/1.1\r\nContent-Length: 3\r\n\
     Content-Type: application/x-www-form-urlencoded",
    "501 Unexpected content for method 'GET'"
)]
#[case::chunks(
    "POST /api2/json/access/ticket HTTP/1.1\r\nTransfer-Encoding: chunked",
    "501 chunked transfer encoding not supported"
)]
#[case::large(
    "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 600000",
    "501 for data too large"
)]
#[case::text(
    "POST /api2/json/access/ticket HTTP/1.1\r\nContent-Length: 3\r\nContent-Type: text/plain",
    "506 upload 'Content-Type 'text/plain' not implemented"
)]
fn refuses_a_body(daemon: Daemon, #[case] head: &str, #[case] status: &str) {
    let answer = daemon.send(&format!("{head}\r\n{}", daemon.token().trim()), b"");

    assert_eq!(answer.status, format!("HTTP/1.1 {status}"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[rstest]
fn takes_no_login_with_a_token(daemon: Daemon) {
    let head = format!("POST /api2/json/access/ticket HTTP/1.1\r\n{}", daemon.token().trim());

    let answer = daemon.send(&head, b"");

    assert_eq!(
        answer.status,
        "HTTP/1.1 403 Permission check failed (URI '/access/ticket' not available with API token, \
         need proper ticket."
    );
}

#[rstest]
fn says_what_a_login_lacks(daemon: Daemon) {
    let answer = daemon.send("POST /api2/json/access/ticket HTTP/1.1", b"");

    assert_eq!(answer.status, "HTTP/1.1 400 Parameter verification failed.");
    assert!(answer.body.contains("property is missing and it is not optional"), "{answer:?}");
}

#[rstest]
#[case::bytes(1, 64 * 1024)]
#[case::lines(100, 10)]
fn refuses_large_heads(daemon: Daemon, #[case] lines: usize, #[case] length: usize) {
    let header: String = (0..lines).map(|i| format!("\r\nX-{i}: {}", "x".repeat(length))).collect();

    let answer = daemon.send(&format!("GET /api2/json/version HTTP/1.1{header}"), b"");

    assert!(answer.status.starts_with("HTTP/1.1 431 ") || answer.status.is_empty(), "{answer:?}");
}

#[rstest]
fn keeps_a_connection_for_the_next_request(daemon: Daemon) {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET /api2/json/version HTTP/1.1\r\nHost: x\r\n{}\r\n", daemon.token());

    for _ in 0..2 {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.ends_with("}}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(char::from(byte[0]));
        }
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[rstest]
fn compresses_long_answers(daemon: Daemon) {
    let plain = daemon.send("GET /api2/openapi.json HTTP/1.1", b"");
    let packed = daemon.send("GET /api2/openapi.json HTTP/1.1\r\nAccept-Encoding: gzip", b"");
    let short = daemon.send("GET /api2/json/access/ticket HTTP/1.1\r\nAccept-Encoding: gzip", b"");

    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(short.header("content-encoding"), None);
}

#[rstest]
fn takes_root_at_its_word_on_the_unix_socket(daemon: Daemon) {
    let path = daemon.root.path().join("run/proxmox-lxcri/api.sock");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    if !rustix::process::getuid().is_root() {
        return; // only root is taken at its word
    }
    let mut stream = UnixStream::connect(&path).unwrap();

    let answer = exchange(&mut stream, "GET /api2/json/nodes HTTP/1.1", b"");

    assert_eq!(answer.status, "HTTP/1.1 200 OK");
}

#[rstest]
fn does_not_share_a_root(daemon: Daemon) {
    let output = command(daemon.root.path(), "127.0.0.1:0").output().unwrap();

    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("daemon.lock"), "{message}");
}

#[rstest]
fn names_the_port_that_is_taken(daemon: Daemon) {
    let root = tempfile::tempdir().unwrap();
    let address = daemon.address.to_string();

    let output = command(root.path(), &address).output().unwrap();

    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains(&format!("cannot listen on {address}")), "{message}");
}

#[rstest]
fn names_a_root_it_cannot_write() {
    let output = command(Path::new("/proc/lxcri"), "127.0.0.1:0").output().unwrap();

    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.lines().last().unwrap().contains("/proc/lxcri"), "{message}");
}

#[rstest]
fn ends_when_it_is_told_to(daemon: Daemon) {
    let Daemon { mut child, root, log, .. } = daemon;
    let child = &mut child.0;
    let pid = rustix::process::Pid::from_child(child);
    drop(log); // nobody reads the log any more, which must not keep it from ending

    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();

    let ended = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < ended, "still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    assert!(!root.path().join("run/proxmox-lxcri/api.sock").exists());
}
