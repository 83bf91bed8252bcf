//! Clients that hold what they do not use.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

use super::assert_well;

/// More than one machine may hold.
const MANY: usize = 300;

/// As a client on another machine: loopback has more than one address.
fn connect_from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(address, 0)).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    socket.into()
}

/// How long until the daemon closes, and what it said before; `drip` is sent every second.
fn until_closed(mut stream: TcpStream, drip: &[u8], most: Duration) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    let mut said = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while begun.elapsed() < most {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => return (begun.elapsed(), said),
            Ok(count) => said.extend_from_slice(&bytes[..count]),
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return (begun.elapsed(), said),
        }
        // It may have closed: the next read tells.
        stream.write_all(drip).unwrap_or_default();
    }
    panic!("it is still open after {most:?}");
}

#[test]
fn who_says_nothing_leaves_room_for_others() {
    let daemon = crate::with_users().start();
    let (slow, other) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
    let held: Vec<_> = (0..MANY)
        .map(|_| {
            let mut stream = connect_from(slow, daemon.address());
            stream.write_all(b"GET /api2/json/version HTTP/1.1\r\nX: ").unwrap_or_default();
            stream
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..20 {
        let mut stream = connect_from(other, daemon.address());
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let request = format!(
            "GET /api2/json/version HTTP/1.1\r\nAuthorization: PVEAPIToken={}\r\nConnection: close\r\n\r\n",
            daemon.token()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(held);
    tests::eventually(5, "a place for the first machine", || {
        let mut stream = connect_from(slow, daemon.address());
        stream.write_all(b"HEAD / HTTP/1.1\r\n\r\n").ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut byte = [0];
        (stream.read(&mut byte).ok()? == 1).then_some(())
    });
    assert_well(&daemon);
}

#[test]
fn a_head_that_drips_in_is_not_waited_for() {
    let daemon = crate::with_users().start();
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream.write_all(b"GET /api2/json/version HTTP/1.1\r\n").unwrap();
    let (after, _) = until_closed(stream, b"X: y\r\n", Duration::from_secs(20));
    assert!(after > Duration::from_secs(5), "{after:?}");
    assert_well(&daemon);
}

#[test]
fn who_connects_and_says_nothing_is_not_waited_for() {
    let daemon = crate::with_users().start();
    let stream = TcpStream::connect(daemon.address()).unwrap();
    until_closed(stream, b"", Duration::from_secs(20));
    assert_well(&daemon);
}

#[test]
fn a_body_that_drips_in_is_not_waited_for() {
    let daemon = crate::with_users().start();
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    let head =
        "POST /api2/json/access/ticket HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let (_, said) = until_closed(stream, b"a=1&", Duration::from_secs(45));
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 the request's body did not arrive\r\n"), "{said}");
    assert_well(&daemon);
}

#[test]
fn a_handshake_that_never_comes_is_not_waited_for() {
    let daemon = crate::with_users().tls().start();
    let stream = TcpStream::connect(daemon.address()).unwrap();
    // A byte a second of a ClientHello that never ends.
    let mut hello = stream.try_clone().unwrap();
    hello.write_all(b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc\x03\x03").unwrap();
    let (after, said) = until_closed(stream, b"x", Duration::from_secs(20));
    assert_eq!((said.as_slice(), after > Duration::from_secs(5)), (b"".as_slice(), true));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
