//! A bundle with BusyBox, and a runtime's program that works on it.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fs_err as fs;
use serde_json::{Value, json};
use tests::{APPLETS, binary, eventually};

/// A bundle, a state folder, and the program that works on them.
pub(super) struct Bundle {
    pub(super) folder: tempfile::TempDir,
    pub(super) program: PathBuf,
    runtime: Runtime,
}

/// Who runs the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Crun,
    /// LXC of this release of Debian.
    Lxc(&'static str),
}

impl Bundle {
    pub(super) fn new() -> Self {
        Self::under(Runtime::Crun)
    }

    pub(super) fn under(runtime: Runtime) -> Self {
        Self::with(binary("proxmox-lxcri"), runtime)
    }

    pub(super) fn of(program: PathBuf) -> Self {
        Self::with(program, Runtime::Crun)
    }

    fn with(program: PathBuf, runtime: Runtime) -> Self {
        tests::require_machine();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rootfs");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in APPLETS.iter().chain(&["tty"]) {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/plain"), "no program").unwrap();
        let bundle = Self { folder, program, runtime };
        bundle.config(|_| {});
        bundle
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn cgroup(&self) -> String {
        self.folder.path().file_name().unwrap().to_str().unwrap().replace('.', "oci-test-")
    }

    /// config.json, changed.
    pub(super) fn config(&self, change: impl FnOnce(&mut Value)) {
        let mut config = json!({
            "ociVersion": "1.0.0",
            "process": process(&["sleep", "1000"]),
            "root": {"path": "rootfs"},
            "hostname": "inside",
            "annotations": {"org.example": "yes"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.cgroup()),
                "namespaces": [
                    {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                ],
            },
        });
        change(&mut config);
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    pub(super) fn arguments(&self, words: &[&str]) {
        self.config(|config| config["process"] = process(words));
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.path("state"));
        if !words.contains(&"--runtime") {
            command.args(self.options());
        }
        command.args(words).current_dir(self.folder.path()).env("PATH", self.search_path());
        command
    }

    /// Those that choose the runtime.
    pub(super) fn options(&self) -> &'static [&'static str] {
        match self.runtime {
            Runtime::Crun => &[],
            Runtime::Lxc(_) => &["--runtime", "lxc"],
        }
    }

    /// Where LXC is found.
    pub(super) fn search_path(&self) -> OsString {
        let mut path = OsString::new();
        if let Runtime::Lxc(release) = self.runtime {
            path.push(tests::lxc(release, "lxc-start").parent().unwrap());
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap());
        path
    }

    /// Where the runtimes say it in words of their own.
    pub(super) fn words<'w>(&self, crun: &'w str, lxc: &'w str) -> &'w str {
        match self.runtime {
            Runtime::Crun => crun,
            Runtime::Lxc(_) => lxc,
        }
    }

    /// Containers, whoever runs them.
    fn left(&self) -> Vec<OsString> {
        let folders = [self.path("state"), self.path("state/.lxc")];
        let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter());
        let names = entries.flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| !name.to_str().unwrap().starts_with('.')).collect()
    }

    pub(super) fn call(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Its standard output; it must succeed.
    #[track_caller]
    pub(super) fn done(&self, words: &[&str]) -> String {
        // A container keeps what it inherited open, so no pipe is waited for: its end may never come.
        let (out, err) = (self.path("out"), self.path("err"));
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap().into_parts().0);
        command.stderr(fs::File::create(&err).unwrap().into_parts().0);
        let status = command.status().unwrap();
        assert!(status.success(), "{words:?}: {status}: {}", fs::read_to_string(err).unwrap());
        fs::read_to_string(out).unwrap()
    }

    #[track_caller]
    pub(super) fn fails(&self, words: &[&str], reason: &str) {
        let output = self.call(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
        assert!(text.contains(reason), "{words:?}: {reason:?} is not in {text:?}");
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }

    pub(super) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.done(&["state", id])).unwrap()
    }

    /// A container that stays until it is killed.
    pub(super) fn sleeper(&self, id: &str) {
        self.done(&["create", id]);
        self.done(&["start", id]);
    }

    pub(super) fn kill(&self, id: &str) {
        self.done(&["kill", id, "KILL"]);
        self.await_state(id, "stopped");
    }

    pub(super) fn await_state(&self, id: &str, state: &str) {
        eventually(10, state, || (self.state(id)["status"] == state).then_some(()));
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for id in self.left() {
            self.call(&["delete", "--force", id.to_str().unwrap()]);
        }
        if !std::thread::panicking() {
            for name in [self.cgroup(), format!("{}.monitor", self.cgroup())] {
                let cgroup = Path::new("/sys/fs/cgroup").join(name);
                assert!(!cgroup.exists(), "{} was left behind", cgroup.display());
            }
            let left = self.left();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

pub(super) fn process(words: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": words, "env": ["PATH=/bin", "A=1"], "cwd": "/"})
}
