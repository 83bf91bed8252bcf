//! What systemd wants to hear of its services, where it is process 1.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Names the socket of whoever waits for us to be ready; set for services of `Type=notify`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Whether systemd is process 1 (sd_booted(3)).
pub fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// We do what we are there for. Without anybody who waits for that it is no news.
pub fn notify_ready() -> io::Result<()> {
    match env::var_os(SOCKET) {
        Some(name) => send(name.as_encoded_bytes(), b"READY=1"),
        None => Ok(()),
    }
}

/// A name with `@` in front is one of the abstract namespace.
fn send(name: &[u8], message: &[u8]) -> io::Result<()> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(&*String::from_utf8_lossy(path)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(receiver: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn tells_a_socket_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();

        send(path.as_os_str().as_encoded_bytes(), b"READY=1").unwrap();

        assert_eq!(heard(&receiver), b"READY=1");
    }

    #[test]
    fn tells_an_abstract_socket() {
        let name = format!("lxcri-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let receiver = UnixDatagram::bind_addr(&address).unwrap();

        send(format!("@{name}").as_bytes(), b"READY=1").unwrap();

        assert_eq!(heard(&receiver), b"READY=1");
    }
}
