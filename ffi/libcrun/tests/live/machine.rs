//! The place where the cases run: a mount namespace of our own, a tiny root filesystem, a cgroup subtree
//! that goes away with the fixture.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fs_err as fs;
use libcrun::{Pid, Process, Runtime, State, Stdio};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::process::{Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// A mount namespace in which libcrun sees one kind of cgroups, and the role of a subreaper.
pub(crate) fn enter() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("they need root".into());
    }
    if !Path::new(BUSYBOX).exists() {
        return Err(format!("{BUSYBOX} is missing (package busybox-static)"));
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|err| format!("no own mount namespace: {err}"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|err| format!("no private mounts: {err}"))?;
    show_one_kind_of_cgroups().map_err(|err| format!("no view of the cgroups: {err}"))?;
    libcrun::become_subreaper().map_err(|err| format!("no subreaper: {err}"))
}

/// On a hybrid host libcrun refuses to work, so show it v1, which has the controllers: a tmpfs of our own
/// with those hierarchies and no `unified`. Unmounting that would not do, for then libcrun takes the bare
/// folder below for one more controller, and leaves folders on a tmpfs that is the host's.
fn show_one_kind_of_cgroups() -> std::io::Result<()> {
    if !Path::new(CGROUPS).join("unified/cgroup.controllers").exists() {
        return Ok(());
    }
    let bind = |from: &Path, to: &Path| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    };
    let stage = tempfile::tempdir()?;
    mount(Some("lxcri-cgroups"), stage.path(), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for entry in fs::read_dir(CGROUPS)? {
        let from = entry?.path();
        let to = stage.path().join(from.file_name().unwrap());
        if from.join("tasks").exists() && !from.is_symlink() {
            fs::create_dir(&to)?;
            bind(&from, &to)?;
        } else if from.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        }
    }
    let (stage_path, all) = (stage.path(), MsFlags::MS_BIND | MsFlags::MS_REC);
    mount(Some(stage_path), CGROUPS, None::<&str>, all, None::<&str>)?;
    Ok(umount2(stage_path, MntFlags::MNT_DETACH)?)
}

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    cgroup: String,
    pub(crate) runtime: Runtime,
}

impl Machine {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("rootfs");
        for dir in ["bin", "dev", "etc", "proc"] {
            fs::create_dir_all(rootfs.join(dir)).unwrap();
        }
        fs::copy(BUSYBOX, rootfs.join("bin/busybox")).unwrap();
        symlink("busybox", rootfs.join("bin/sh")).unwrap();
        fs::write(rootfs.join("etc/plain"), "not a program").unwrap();
        fs::write(rootfs.join("bin/foreign"), "\x7fELF of another world").unwrap();
        fs::set_permissions(rootfs.join("bin/foreign"), PermissionsExt::from_mode(0o755)).unwrap();
        let cgroup =
            format!("lxcri-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let runtime = Runtime::new(folder.path().join("state"));
        Self { folder, cgroup, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// config.json of a container that runs `args`.
    pub(crate) fn config(&self, id: &str, args: &[&str]) -> Value {
        json!({
            "ociVersion": "1.0.0",
            "process": process(args),
            "root": {"path": self.path("rootfs")},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.cgroup),
                "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            },
        })
    }

    /// Writes a bundle and gives its folder.
    pub(crate) fn bundle(&self, name: &str, config: &Value) -> PathBuf {
        let bundle = self.path(name);
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    pub(crate) fn shell(&self, id: &str, script: &str) -> PathBuf {
        self.bundle(id, &self.config(id, &["/bin/sh", "-c", script]))
    }

    /// A started container that stays until it is killed.
    pub(crate) fn sleeper(&self, id: &str) -> Process {
        self.runtime
            .create_and_start(id, &self.shell(id, "exec busybox sleep 1000"), &Stdio::default())
            .unwrap()
    }

    pub(crate) fn process_file(&self, args: &[&str]) -> PathBuf {
        let path = self.path("process.json");
        fs::write(&path, process(args).to_string()).unwrap();
        path
    }

    /// A stdout, and what has been written to it when it is asked.
    pub(crate) fn output(&self) -> (Stdio, impl FnOnce() -> String + use<>) {
        let path = self.path("output");
        let (file, mut reader) = (fs::File::create(&path).unwrap(), fs::File::open(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let read = move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        };
        (Stdio { stdout: Some(file.into_parts().0.into()), ..Stdio::default() }, read)
    }

    pub(crate) fn remove(&self, id: &str, process: &Process) {
        kill_process(process.pid, Signal::KILL).ok();
        wait(process.pid);
        self.runtime.delete(id, false).unwrap();
    }

    /// Files of that name in the container's cgroup, in whatever hierarchy there is.
    pub(crate) fn cgroup_files(&self, id: &str, name: &str) -> Vec<PathBuf> {
        self.cgroup_folders()
            .into_iter()
            .map(|dir| dir.join(id).join(name))
            .filter(|file| file.exists())
            .collect()
    }

    fn cgroup_folders(&self) -> Vec<PathBuf> {
        let controllers = fs::read_dir(CGROUPS).unwrap().map(|entry| entry.unwrap().path());
        let folders = controllers.chain([PathBuf::from(CGROUPS)]).map(|dir| dir.join(&self.cgroup));
        folders.filter(|dir| dir.is_dir()).collect()
    }
}

/// Also after a failed case: nothing of it may be left on the host.
impl Drop for Machine {
    fn drop(&mut self) {
        for container in self.runtime.list().unwrap_or_default() {
            self.runtime.delete(&container.id, true).ok();
        }
        for dir in self.cgroup_folders() {
            for below in fs::read_dir(&dir)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
            {
                fs::remove_dir(below.path()).ok();
            }
            fs::remove_dir(dir).ok();
        }
    }
}

fn process(args: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"})
}

pub(crate) fn wait(pid: Pid) -> WaitStatus {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1
}

pub(crate) fn wait_exit(process: &Process) -> Option<i32> {
    wait(process.pid).exit_status()
}

/// cgroup v1 freezes in the background.
pub(crate) fn await_state(runtime: &Runtime, id: &str, state: State) {
    let start = Instant::now();
    while runtime.state(id).unwrap().state != state {
        assert!(start.elapsed() < Duration::from_secs(5), "{id} never became {state:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
