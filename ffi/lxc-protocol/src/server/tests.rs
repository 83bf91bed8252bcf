//! Our client against our server, over a real abstract socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::client::{self, Client};
use crate::wire::{self, Command, MAX_STATE, Message, State};

/// Abstract names are shared by the whole machine, so each test makes its own.
fn unique() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    PathBuf::from(format!(
        "/lxcri-test/{}/{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ))
}

/// A supervisor that answers `count` requests by `answer`, then goes.
fn serve(
    lxcpath: &Path,
    count: usize,
    answer: impl Fn(&Peer, &Request) -> Result<(), Error> + Send + 'static,
) -> JoinHandle<()> {
    let listener = Listener::bind(lxcpath, "100").unwrap();
    std::thread::spawn(move || {
        for _ in 0..count {
            let mut peer = loop {
                wait(&listener);
                if let Some(peer) = listener.accept().unwrap() {
                    break peer;
                }
            };
            let request = loop {
                wait(&peer);
                if let Some(request) = peer.read_request().unwrap() {
                    break request;
                }
            };
            assert_eq!(request.pid, i32::try_from(std::process::id()).unwrap());
            assert!(request.is_permitted());
            answer(&peer, &request).unwrap();
        }
    })
}

fn wait(fd: &impl AsFd) {
    let mut fds = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

#[test]
fn answers_numbers_strings_and_errors() {
    let lxcpath = unique();
    let server =
        serve(&lxcpath, 5, |peer, request| match Command::from_number(request.frame.command) {
            Some(Command::GetState) => peer.reply(0, State::Frozen.number().into(), &[], &[]),
            Some(Command::GetLimitCgroup) => {
                assert_eq!(request.frame.payload, b"memory\0");
                peer.reply(0, 0, b"lxc/100\0", &[])
            }
            Some(Command::GetConfigItem) => peer.reply(-1, 0, &[], &[]),
            Some(Command::Freeze) => {
                assert_eq!(request.frame.argument, 3);
                peer.reply(0, 0, &[], &[])
            }
            _ => peer.reply(-38, 0, &[], &[]),
        });
    let client = Client::new(&lxcpath, "100");
    assert_eq!(client.state().unwrap(), State::Frozen);
    assert_eq!(client.limit_cgroup("memory").unwrap(), PathBuf::from("lxc/100"));
    assert_eq!(client.config_item("lxc.arch").unwrap(), None);
    client.freeze(Duration::from_secs(3)).unwrap();
    assert!(matches!(client.clone_flags(), Err(client::Error::Refused { errno: 38, .. })));
    server.join().unwrap();
    assert!(matches!(client.state(), Err(client::Error::NotRunning)));
}

#[test]
fn passes_a_descriptor_with_the_header() {
    let lxcpath = unique();
    let server = serve(&lxcpath, 1, |peer, _| {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        peer.reply(0, 0, &[], &[reader.as_fd()])
    });
    let fd = Client::new(&lxcpath, "100").init_pidfd().unwrap();
    let mut byte = [0];
    assert_eq!(rustix::io::read(&fd, &mut byte).unwrap(), 1);
    server.join().unwrap();
}

#[test]
fn tells_a_waiter_once_and_reads_the_end_as_stopped() {
    let lxcpath = unique();
    let server = serve(&lxcpath, 3, |peer, request| {
        let wanted = wire::decode_wanted(&request.frame.payload).unwrap();
        if wanted == [State::Running] {
            return peer.reply(2, 2, &[], &[]);
        }
        let later = i32::try_from(MAX_STATE).unwrap();
        peer.reply(later, later, &[], &[])?;
        if wanted.contains(&State::Frozen) {
            peer.send(&Message::State(State::Frozen).encode("100"))?;
        }
        Ok(())
    });
    let client = Client::new(&lxcpath, "100");
    let long = Duration::from_secs(5);
    assert_eq!(client.wait_for(&[State::Running], long).unwrap(), State::Running);
    assert_eq!(client.wait_for(&[State::Frozen], long).unwrap(), State::Frozen);
    assert_eq!(client.wait_for(&[State::Stopped], long).unwrap(), State::Stopped);
    server.join().unwrap();
    assert_eq!(client.wait_for(&[State::Stopped], long).unwrap(), State::Stopped);
}

#[test]
fn stop_ends_with_the_connection_and_times_out_without() {
    let lxcpath = unique();
    let server = serve(&lxcpath, 1, |_, request| {
        assert_eq!(request.frame.command, 2);
        Ok(())
    });
    let client = Client::new(&lxcpath, "100");
    client.stop(Duration::from_secs(5)).unwrap();
    server.join().unwrap();

    let silent = Listener::bind(&lxcpath, "100").unwrap();
    assert!(matches!(client.stop(Duration::from_millis(20)), Err(client::Error::TimedOut)));
    drop(silent);
}

#[test]
fn one_supervisor_per_container() {
    let lxcpath = unique();
    let first = Listener::bind(&lxcpath, "100").unwrap();
    assert!(matches!(Listener::bind(&lxcpath, "100"), Err(Error::AlreadyRunning)));
    drop(first);
    Listener::bind(&lxcpath, "100").unwrap();
}

#[test]
fn a_request_may_come_in_pieces_and_a_broken_one_ends_it() {
    let lxcpath = unique();
    let listener = Listener::bind(&lxcpath, "100").unwrap();
    let connect = || {
        use std::os::linux::net::SocketAddrExt;
        let name = crate::socket_name(&lxcpath, "100");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        std::os::unix::net::UnixStream::connect_addr(&address).unwrap()
    };
    let frame = Frame { command: 6, argument: 0, payload: b"cpu\0".to_vec() }.encode();

    let mut client = connect();
    let mut peer = listener.accept().unwrap().unwrap();
    for piece in frame.chunks(7) {
        assert!(peer.read_request().unwrap().is_none());
        io::Write::write_all(&mut client, piece).unwrap();
    }
    assert_eq!(peer.read_request().unwrap().unwrap().frame.payload, b"cpu\0");
    drop(client);
    assert!(matches!(peer.read_request(), Err(Error::Closed)));

    let mut client = connect();
    let mut peer = listener.accept().unwrap().unwrap();
    io::Write::write_all(&mut client, &[255; HEADER]).unwrap();
    assert!(matches!(peer.read_request(), Err(Error::Malformed(_))));
}

#[test]
fn descriptors_from_a_peer_are_refused() {
    let lxcpath = unique();
    let listener = Listener::bind(&lxcpath, "100").unwrap();
    let flags = SocketFlags::CLOEXEC;
    let client =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let name = crate::socket_name(&lxcpath, "100");
    rustix::net::connect(&client, &SocketAddrUnix::new_abstract_name(&name).unwrap()).unwrap();
    let mut peer = listener.accept().unwrap().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [client.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let frame = Frame { command: 3, argument: 0, payload: Vec::new() }.encode();
    rustix::net::sendmsg(&client, &[io::IoSlice::new(&frame)], &mut control, SendFlags::empty())
        .unwrap();
    assert!(matches!(peer.read_request(), Err(Error::Malformed(_))));
}

#[test]
fn lists_plain_and_hashed_names() {
    let lxcpath = unique();
    let plain = Listener::bind(&lxcpath, "100").unwrap();
    assert!(crate::running(&lxcpath).unwrap().contains("100"));
    drop(plain);
    assert!(crate::running(&lxcpath).unwrap().is_empty());

    let long = lxcpath.join("x".repeat(100));
    let answer = long.clone();
    let server = serve(&long, 2, move |peer, request| {
        let mut text = match Command::from_number(request.frame.command) {
            Some(Command::GetName) => b"100".to_vec(),
            _ => std::os::unix::ffi::OsStrExt::as_bytes(answer.as_os_str()).to_vec(),
        };
        text.push(0);
        peer.reply(0, 0, &text, &[])
    });
    assert_eq!(crate::running(&long).unwrap().into_iter().collect::<Vec<_>>(), ["100"]);
    server.join().unwrap();
}
