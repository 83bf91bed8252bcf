//! A stand-in for the supervisor of a container: it answers LXC's command socket with a state, a pid
//! and a cgroup, so that a daemon sees the container run on a machine that runs none.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Both parts of a request, and of an answer, begin with so many bytes (src/lxc/commands.h).
const HEADER: usize = 16;
const GET_STATE: i32 = 3;
const GET_INIT_PID: i32 = 4;
const GET_CGROUP: i32 = 6;
const GET_LIMIT_CGROUP: i32 = 19;
const RUNNING: i32 = 2;
const EOPNOTSUPP: i32 = 95;

/// Runs until it is dropped.
pub struct StandIn {
    name: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    init: Child,
}

impl StandIn {
    /// For container `vmid` of the daemon on `root`; its first process is one that only waits.
    pub fn start(root: &Path, vmid: u32, cgroup: &str) -> Self {
        let path = root.join(format!("var/lib/lxc/{vmid}/command"));
        let name = SocketAddr::from_abstract_name(path.as_os_str().as_encoded_bytes()).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        let init = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(init.id()).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let (told, cgroup) = (Arc::clone(&ended), cgroup.to_owned());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                // A client that went away again is no failure of the test.
                stream.and_then(|stream| answer(stream, pid, &cgroup)).unwrap_or_default();
            }
        });
        Self { name, ended, thread: Some(thread), init }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = UnixStream::connect_addr(&self.name);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            thread.join().unwrap_or_default();
        }
        self.init.kill().unwrap_or_default();
        self.init.wait().map(drop).unwrap_or_default();
    }
}

/// Native C structs of a 64-bit machine: command, length, argument; result, length, data.
fn answer(mut stream: UnixStream, pid: i32, cgroup: &str) -> std::io::Result<()> {
    let mut head = [0; HEADER];
    loop {
        stream.read_exact(&mut head)?;
        let field = |at: usize| i32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; usize::try_from(field(4)).unwrap_or_default()];
        stream.read_exact(&mut payload)?;
        let path = [cgroup.as_bytes(), &[0]].concat();
        let (result, data, text) = match field(0) {
            GET_STATE => (0, RUNNING, Vec::new()),
            GET_INIT_PID => (0, pid, Vec::new()),
            GET_CGROUP | GET_LIMIT_CGROUP => (0, 0, path),
            _ => (-EOPNOTSUPP, 0, Vec::new()),
        };
        let length = i32::try_from(text.len()).unwrap();
        let head = [result.to_le_bytes(), length.to_le_bytes()].concat();
        stream.write_all(&[head, i64::from(data).to_le_bytes().to_vec(), text].concat())?;
    }
}
