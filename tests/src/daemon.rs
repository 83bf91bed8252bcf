//! The real daemon on a root of its own, killed and looked after when the test ends.

use std::io::{BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{self, Client, Reply, form};
use crate::left_behind::{left_behind, processes_of};

pub const NODE: &str = "pve1";

/// A binary as cargo built it, beside this test's own.
pub fn binary(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("LXCRI_BIN") {
        return PathBuf::from(folder).join(name);
    }
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing; cargo build --workspace", path.display());
    path
}

/// A root that no daemon has seen yet.
pub struct Builder {
    folder: tempfile::TempDir,
    options: Vec<String>,
    tls: bool,
    token: Option<String>,
}

impl Builder {
    /// Root's token, where the files put below the root bring one; no first start makes another.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With the certificate it makes itself; our own client does not speak TLS.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Where the daemon will be.
    pub fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Put a file below the root before the daemon looks.
    pub fn file(self, path: &str, content: &str) -> Self {
        let path = self.folder.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        self
    }

    pub fn start(self) -> Daemon {
        // The kernel's lists show paths without links.
        let root = self.root();
        let mut daemon = Daemon {
            _folder: self.folder,
            root,
            options: self.options,
            tls: self.tls,
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: self.token.unwrap_or_default(),
        };
        daemon.launch();
        daemon
    }
}

pub struct Daemon {
    _folder: tempfile::TempDir,
    root: PathBuf,
    options: Vec<String>,
    tls: bool,
    child: Option<Child>,
    address: SocketAddr,
    token: String,
}

impl Daemon {
    pub fn start() -> Self {
        Self::builder().start()
    }

    pub fn builder() -> Builder {
        let folder = tempfile::Builder::new().prefix("lxcri-test-").tempdir().unwrap();
        Builder { folder, options: Vec::new(), tls: false, token: None }
    }

    /// Start it, on the root as it is, and wait until it answers.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let said_before = self.log().len();
        let log =
            fs_err::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(binary("proxmox-lxcri"))
            .args(["serve", "--node", NODE, "--root"])
            .arg(&self.root)
            // Its own choice, read from its log: a port that we choose may be another test's by then.
            .args(["--listen", "127.0.0.1:0"])
            .args(&self.options)
            .args((!self.tls).then_some("--plain-http"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap().into_parts().0)
            .stderr(log.into_parts().0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        self.address = loop {
            if let Some(address) = listening_on(&self.log()[said_before..]) {
                break address;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended, {}: {}", ended.unwrap(), self.log());
            assert!(Instant::now() < deadline, "the daemon does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        if self.token.is_empty() {
            let token = fs_err::read_to_string(self.root.join("root-token")).unwrap();
            token.trim().clone_into(&mut self.token);
        }
    }

    /// Start it again, with or without TLS. Containers run on.
    pub fn relaunch(&mut self, tls: bool) {
        assert!(self.terminate().success(), "{}", self.log());
        self.tls = tls;
        self.launch();
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and its exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn templates(&self) -> PathBuf {
        self.root.join("var/lib/vz/template/cache")
    }

    pub fn config_path(&self, vmid: u32) -> PathBuf {
        self.root.join(format!("etc/pve/nodes/{NODE}/lxc/{vmid}.conf"))
    }

    fn log_path(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    pub fn log(&self) -> String {
        fs_err::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `path` begins behind `/api2/json`; `parameters` go where PVE wants them.
    pub fn request(&self, method: &str, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let token = format!("PVEAPIToken={}", self.token);
        self.request_as(&[("Authorization", &token)], method, path, parameters)
    }

    pub fn request_as(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Reply {
        let form = form(parameters);
        let in_query = matches!(method, "GET" | "DELETE") && !form.is_empty();
        let query = if in_query { format!("?{form}") } else { String::new() };
        let body = if in_query { "" } else { &form };
        let mut headers = headers.to_vec();
        if !body.is_empty() {
            headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        }
        let head = format!("{method} /api2/json{path}{query}");
        Client::new(self.address).request(&head, &headers, body.as_bytes())
    }

    /// As root@pam itself, over the socket that is root's alone.
    pub fn request_local(&self, method: &str, path: &str, parameters: &[(&str, &str)]) -> Reply {
        let stream = UnixStream::connect(self.root.join("run/proxmox-lxcri/api.sock")).unwrap();
        let (head, body) = (format!("{method} /api2/json{path}"), form(parameters));
        let request = format!(
            "{head} HTTP/1.1\r\nHost: local\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        http::read(&mut stream, &head).expect("the daemon answers")
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, &[])
    }

    pub fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.request("POST", path, parameters)
    }

    pub fn put(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.request("PUT", path, parameters)
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.request("DELETE", path, &[])
    }

    /// Let monitors and containers that a test did not stop end here. Whatever names the root on
    /// its command line is ours; the monitor's own clean-up sees to the rest.
    fn clean_up(&self) {
        for (pid, _) in processes_of(&self.root) {
            if let Some(pid) = Pid::from_raw(pid) {
                // It may be gone by itself; then there is nothing to do.
                kill_process(pid, Signal::KILL).unwrap_or_default();
            }
        }
        let folder = self.config_path(100);
        for entry in fs_err::read_dir(folder.parent().unwrap()).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(vmid) = name.strip_suffix(".conf") else { continue };
            Command::new(binary("lxcri-monitor"))
                .args(["cleanup", "--node", NODE, "--root"])
                .arg(&self.root)
                .arg(vmid)
                .stderr(Stdio::null())
                .status()
                .unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            writeln_to_test_output(&format!("the daemon's log:\n{}", self.log()));
            self.clean_up();
            return;
        }
        // A monitor that was told to end may need a moment for its unmounting.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = left_behind(&self.root);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            left = left_behind(&self.root);
        }
        if !left.is_empty() {
            self.clean_up();
            panic!("the test left behind:\n{}\nthe daemon's log:\n{}", left.join("\n"), self.log());
        }
    }
}

/// Captured by libtest and shown for a test that failed.
#[expect(clippy::print_stderr, reason = "libtest captures it and shows it with the failure")]
fn writeln_to_test_output(text: &str) {
    eprintln!("{text}");
}

/// What the daemon says once its socket takes connections.
fn listening_on(log: &str) -> Option<SocketAddr> {
    let whole_lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let line = whole_lines.into_iter().find(|line| line.contains("listening on http"))?;
    line.rsplit_once("address=")?.1.trim().parse().ok()
}
