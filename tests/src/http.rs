//! HTTP/1.1 over a socket, by hand: PVE's clients read the reason phrase, which client libraries
//! hide, and a bench needs to know what one request costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

/// One kept connection.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// `head` is the request line without the version, `GET /api2/json/version`.
    pub fn request(&mut self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        // A kept connection may have been closed since; that is no failure of the request.
        if self.stream.is_some()
            && let Some(reply) = self.attempt(head, headers, body)
        {
            return reply;
        }
        let stream = TcpStream::connect(self.address).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        self.stream = Some(BufReader::new(stream));
        self.attempt(head, headers, body).expect("the daemon answers")
    }

    fn attempt(&mut self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Reply> {
        let stream = self.stream.as_mut()?;
        let mut request = format!("{head} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        let bytes = [request.as_bytes(), b"\r\n", body].concat();
        let reply = stream.get_mut().write_all(&bytes).ok().and_then(|()| read(stream, head));
        let close = reply.as_ref().is_none_or(|reply| {
            reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
        });
        if close {
            self.stream = None;
        }
        reply
    }
}

pub(crate) fn read(stream: &mut BufReader<impl Read>, head: &str) -> Option<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.trim_end().splitn(3, ' ');
    assert_eq!(words.next(), Some("HTTP/1.1"), "{line:?}");
    let status = words.next().unwrap().parse().unwrap();
    let reason = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, reason, headers, body: Vec::new() };
    let length = reply.header("content-length").map(|value| value.parse().unwrap());
    match length {
        _ if head.starts_with("HEAD") => {}
        Some(length) => {
            reply.body.resize(length, 0);
            stream.read_exact(&mut reply.body).ok()?;
        }
        None => {
            stream.read_to_end(&mut reply.body).ok()?;
        }
    }
    Some(reply)
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The status line as a client sees it, `500 CT 100 already running`.
    pub fn line(&self) -> String {
        format!("{} {}", self.status, self.reason)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|err| panic!("{}: {err} in {:?}", self.line(), self.text()))
    }

    /// What a successful answer carries.
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{}: {}", self.line(), self.text());
        self.json()["data"].clone()
    }

    /// The complaints about parameters.
    pub fn errors(&self) -> Value {
        assert_eq!(self.line(), "400 Parameter verification failed.", "{}", self.text());
        self.json()["errors"].clone()
    }
}

/// Send bytes as they are, and read until the other side closes or says nothing for a while. Who is
/// refused half-way may be unable to send the rest.
pub fn send_raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    const QUIET: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect(address).expect("the daemon listens");
    stream.set_read_timeout(Some(QUIET)).unwrap();
    stream.write_all(bytes).unwrap_or_default();
    let mut answer = Vec::new();
    // A reset after the answer takes nothing from it.
    stream.read_to_end(&mut answer).map(drop).unwrap_or_default();
    answer
}

/// Parameters as a form.
pub fn form(parameters: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}
