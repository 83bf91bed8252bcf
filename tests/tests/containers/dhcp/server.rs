//! Debian's dnsmasq in the network namespace on the other side of the bridge.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tests::eventually;

use crate::network::lan::NAMESPACE;

pub(super) const RANGE: &str = "--dhcp-range=10.77.0.100,10.77.0.110,120";
pub(super) const OTHER_RANGE: &str = "--dhcp-range=10.77.0.200,10.77.0.209,120";
pub(super) const RANGE6: &str = "--dhcp-range=fd77::100,fd77::110,64,120";

/// Renewed after so many seconds, and by any server after so many more.
pub(super) const HURRY: [&str; 2] = ["--dhcp-option-force=58,2", "--dhcp-option-force=59,5"];

pub(super) struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Server {
    pub(super) fn start(options: &[&str]) -> Self {
        let mut server = Self { folder: tempfile::tempdir().unwrap(), child: None };
        server.run(options);
        server
    }

    /// With what it knew of leases before, if it ran before.
    pub(super) fn run(&mut self, options: &[&str]) {
        let log = fs_err::OpenOptions::new().append(true).create(true).open(self.log_path());
        let log = log.unwrap().into_parts().0;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMESPACE, "dnsmasq", "--keep-in-foreground"]);
        command.args(["--conf-file=/dev/null", "--user=root", "--pid-file=", "--log-facility=-"]);
        command.args(["--no-hosts", "--no-resolv", "--interface=eth0", "--bind-interfaces"]);
        command.args(["--no-ping", "--domain=lan.test"]);
        command.arg(format!("--dhcp-leasefile={}", self.folder.path().join("leases").display()));
        command.args(options).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let before = self.count("cleared cache");
        self.child = Some(command.spawn().unwrap());
        eventually(10, "dnsmasq serves", || (self.count("cleared cache") > before).then_some(()));
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As after the loss of its disk.
    pub(super) fn forget(&self) {
        fs_err::remove_file(self.folder.path().join("leases")).unwrap();
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(super) fn log(&self) -> String {
        fs_err::read_to_string(self.log_path()).unwrap()
    }

    pub(super) fn count(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Until it has said so once more.
    #[track_caller]
    pub(super) fn hears(&self, seconds: u64, words: &str) {
        let before = self.count(words);
        let what = || format!("another {words:?} in:\n{}", self.log());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
        while self.count(words) == before {
            assert!(std::time::Instant::now() < deadline, "{}", what());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
