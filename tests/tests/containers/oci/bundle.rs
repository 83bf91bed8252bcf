//! A bundle with BusyBox, and a runtime's program that works on it.

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
}

impl Bundle {
    pub(super) fn new() -> Self {
        Self::of(binary("proxmox-lxcri"))
    }

    pub(super) fn of(program: PathBuf) -> Self {
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
        let bundle = Self { folder, program };
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
        command.arg("--root").arg(self.path("state")).args(words).current_dir(self.folder.path());
        command
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
        for id in fs::read_dir(self.path("state")).into_iter().flatten().flatten() {
            self.call(&["delete", "--force", id.file_name().to_str().unwrap()]);
        }
        if !std::thread::panicking() {
            let cgroup = Path::new("/sys/fs/cgroup").join(self.cgroup());
            assert!(!cgroup.exists(), "{} was left behind", cgroup.display());
            let left: Vec<_> = fs::read_dir(self.path("state"))
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .filter(|name| !name.to_str().unwrap().starts_with('.'))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

pub(super) fn process(words: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": words, "env": ["PATH=/bin", "A=1"], "cwd": "/"})
}
