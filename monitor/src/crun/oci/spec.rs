//! `spec`: a config.json to begin with, as runc and crun write one.

use std::io::Write as _;

use fs_err as fs;
use oci_verbs::Spec;
use serde_json::{Value, json};

use super::error::{Error, Result};
use crate::namespace::is_cgroup2;

pub(super) fn write(spec: &Spec) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&document(
        spec.rootless,
        is_cgroup2(std::path::Path::new("/sys/fs/cgroup")),
    ))
    .expect("JSON can be written");
    text.push('\n');
    let file = match &spec.file {
        // Relative to the folder, as crun has it.
        Some(file) => fs::File::create(spec.bundle.join(file))?,
        None => {
            let path = spec.bundle.join("config.json");
            let new = fs::OpenOptions::new().write(true).create_new(true).open(&path);
            new.map_err(|err| {
                let exists = err.kind() == std::io::ErrorKind::AlreadyExists;
                if exists { Error::Exists(path) } else { Error::Io(err) }
            })?
        }
    };
    (&file).write_all(text.as_bytes())?;
    Ok(())
}

fn document(rootless: bool, cgroup2: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mut devpts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !rootless {
        devpts.push("gid=5");
    }
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if rootless {
        namespaces.push("user");
    }
    if cgroup2 {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let mut linux = json!({
        "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
        ],
        "readonlyPaths": [
            "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
        ],
    });
    if rootless {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid.as_raw(), "size": 1}]);
        linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid.as_raw(), "size": 1}]);
    }
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
                "ambient": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "proxmox-lxcri",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": devpts},
            {
                "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            },
            {
                "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"],
            },
            {
                "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"],
            },
            {
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
            },
        ],
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::root(false)]
    #[case::rootless(true)]
    fn is_a_config_that_others_read(#[case] rootless: bool) {
        let spec: oci_spec::runtime::Spec =
            serde_json::from_value(document(rootless, true)).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.uid_mappings().is_some(), rootless);
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), if rootless { 7 } else { 6 });
    }

    #[test]
    fn never_overwrites_a_config_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let spec = |file| Spec { bundle: folder.path().to_owned(), file, rootless: false };
        write(&spec(None)).unwrap();
        assert!(matches!(write(&spec(None)), Err(Error::Exists(_))));
        write(&spec(Some("config.json".into()))).unwrap();
    }
}
