//! Both ways to a console that waits: its own port, and a websocket through the API.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::http::form;

const PATIENCE: Duration = Duration::from_secs(30);

/// A console's bytes, however they come.
pub struct Terminal {
    stream: TcpStream,
    websocket: bool,
    seen: String,
}

impl Terminal {
    /// To the port itself, as a proxy in between does.
    pub fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Ok(Self { stream, websocket: false, seen: String::new() })
    }

    /// `path` is that of a `vncwebsocket`; what `opened` answered has the port and the ticket.
    #[track_caller]
    pub fn websocket(address: SocketAddr, token: &str, path: &str, opened: &Value) -> Self {
        let port = opened["port"].as_str().unwrap();
        let ticket = opened["ticket"].as_str().unwrap();
        let query = form(&[("port", port), ("vncticket", ticket)]);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /api2/json{path}?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: PVEAPIToken={token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        // Browsers insist on both.
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("sec-websocket-protocol: binary"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self { stream, websocket: true, seen: String::new() }
    }

    /// The line that opens a console.
    pub fn log_in(&mut self, opened: &Value) {
        let (user, ticket) = (&opened["user"], &opened["ticket"]);
        self.send(&format!("{}:{}\n", user.as_str().unwrap(), ticket.as_str().unwrap()));
    }

    pub fn send(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if !self.websocket {
            return self.stream.write_all(bytes).unwrap();
        }
        // Masked with zeroes, which a client may do.
        let length = u16::try_from(bytes.len()).unwrap();
        let mut frame = vec![0x82];
        if length < 126 {
            frame.push(0x80 | u8::try_from(length).unwrap());
        } else {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        frame.extend([0; 4]);
        frame.extend(bytes);
        self.stream.write_all(&frame).unwrap();
    }

    pub fn type_in(&mut self, text: &str) {
        self.send(&format!("0:{}:{text}", text.len()));
    }

    /// Read until `text` was shown; all that was shown so far.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> &str {
        while !self.seen.contains(text) {
            assert!(self.read(), "the console ended; it showed {:?}", self.seen);
        }
        &self.seen
    }

    /// All that is shown until it ends.
    pub fn rest(mut self) -> String {
        while self.read() {}
        self.seen
    }

    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        if !self.websocket {
            let count = self.stream.read(&mut bytes).unwrap_or(0);
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
            return count > 0;
        }
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).is_err() || head[0] != 0x82 {
            return false;
        }
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        self.seen += &String::from_utf8_lossy(&payload);
        true
    }
}
