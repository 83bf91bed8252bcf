//! What a start finds on its host and makes its bundle of. Read here alone, so that whoever shows a
//! bundle and whoever starts it see the same.

use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use openapi::{NodeName, Vmid};
use rustix::fs::{Mode, OFlags};

use super::seccomp::{self, Profile, ProfileError};
use super::{BundleError, Guest, IdMaps, Node, NodeKind, SubIds};
use crate::ct_config::{ContainerConfig, Device, ValueError};
use crate::host::HostFacts;
use crate::layout::Root;
use crate::oci_config::OciConfig;
use crate::policy::{Policy, PolicyError};

#[derive(Clone, Debug)]
pub struct Surroundings {
    vmid: Vmid,
    cgroup: String,
    profile: String,
    listener: PathBuf,
    pub facts: HostFacts,
    policy: Policy,
    oci: OciConfig,
    seccomp: Option<Profile>,
    sub_ids: Option<SubIds>,
}

#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("{}: cannot read '{}'", seccomp::KEY, path.display())]
    Unread { path: PathBuf, source: io::Error },
    #[error("{}: {}: {reason}", seccomp::KEY, path.display())]
    Profile { path: PathBuf, reason: ProfileError },
    /// The source names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Surroundings {
    pub fn read(root: &Root, node: &NodeName, vmid: Vmid) -> Result<Self, SurroundingsError> {
        Ok(Self {
            vmid,
            cgroup: root.guest_cgroup(vmid),
            profile: root.apparmor_profile(vmid),
            listener: root.mknod_socket(vmid),
            facts: HostFacts::read()?,
            policy: Policy::read(root)?,
            // A container that was never given any has no such file.
            oci: OciConfig::read(&root.oci_config(node, vmid))?.unwrap_or_default(),
            seccomp: None,
            sub_ids: SubIds::read()?,
        })
    }

    /// Which ids of the host are its own while it runs.
    pub fn id_maps(&self, config: &ContainerConfig) -> Result<IdMaps, BundleError> {
        IdMaps::of(config, &self.oci)
    }

    /// With the file of system call rules that a raw line names, for a runtime that does not read it
    /// itself. Of several lines LXC takes the last.
    pub fn with_seccomp(mut self, config: &ContainerConfig) -> Result<Self, SurroundingsError> {
        let Some(path) = config.current().lxc_values(seccomp::KEY).last() else { return Ok(self) };
        let path = PathBuf::from(path);
        let text = match read_profile(&path) {
            Ok(text) => text,
            Err(source) => return Err(SurroundingsError::Unread { path, source }),
        };
        match Profile::parse(&text, self.facts.arch) {
            Ok(profile) => self.seccomp = Some(profile),
            Err(reason) => return Err(SurroundingsError::Profile { path, reason }),
        }
        Ok(self)
    }

    /// What is to be started. `ttys` are the terminals that are there for it.
    pub fn guest<'a>(
        &'a self,
        config: &'a ContainerConfig,
        rootfs: &'a Path,
        nodes: &'a [Node],
        ttys: &'a [String],
    ) -> Guest<'a> {
        Guest {
            vmid: self.vmid,
            config,
            oci: &self.oci,
            rootfs,
            cgroup: self.cgroup.clone(),
            profile: self.profile.clone(),
            terminal: config.has_terminal(),
            policy: &self.policy,
            nodes,
            exists: Path::exists,
            ttys,
            seccomp: self.seccomp.as_ref(),
            sub_ids: self.sub_ids.as_ref(),
            listener: &self.listener,
        }
    }
}

/// What no profile comes near.
const LARGEST_PROFILE: u64 = 1 << 20;

/// Only root names it, so links are followed; a pipe or a device would keep the start waiting.
fn read_profile(path: &Path) -> io::Result<String> {
    if !path.is_absolute() {
        return Err(io::Error::other("the path is not absolute"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    if file.take(LARGEST_PROFILE + 1).read_to_string(&mut text)? as u64 > LARGEST_PROFILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Where libcrun finds the rootfs. It looks it up as the container's root, who is nobody special on
/// the host: a directory of mode 0700 on the way, as `mktemp -d` makes them, stops it.
pub fn rootfs_path(root: &Root, vmid: Vmid, maps: &IdMaps) -> io::Result<PathBuf> {
    let path = root.rootfs_mount(vmid);
    if is_reachable(&path, maps)? { Ok(path) } else { Ok(root.rootfs_view(vmid)) }
}

/// Whether the container's root gets through to `path`. What a start will make is open.
fn is_reachable(path: &Path, maps: &IdMaps) -> io::Result<bool> {
    let Some(root) = maps.root_uid() else { return Ok(true) };
    for folder in path.ancestors().skip(1) {
        let stat = match rustix::fs::stat(folder) {
            Err(rustix::io::Errno::NOENT) => continue,
            stat => stat?,
        };
        let search = if stat.st_uid == root { Mode::XUSR } else { Mode::XOTH };
        if !Mode::from_raw_mode(stat.st_mode).contains(search) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Why a device of the host cannot be a container's.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("{key}: cannot pass on '{}'", path.display())]
    Device { key: String, path: PathBuf, source: io::Error },
    #[error("{key}: the container has no {kind} {id}")]
    Unmapped { key: String, kind: &'static str, id: u32 },
}

/// A node that lies, or is to lie, in `folder`, and whose it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNode {
    pub node: Node,
    /// Ids of the host.
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// Of each `devN` of the config, which must be there.
pub fn device_nodes(
    config: &ContainerConfig,
    folder: &Path,
    maps: &IdMaps,
) -> Result<Vec<OwnedNode>, DeviceError> {
    let devices = config.devices().into_iter();
    devices.map(|(key, device)| device_node(key, &device?, folder, maps)).collect()
}

fn device_node(
    key: &str,
    device: &Device,
    folder: &Path,
    maps: &IdMaps,
) -> Result<OwnedNode, DeviceError> {
    let failed = |source: io::Error| DeviceError::Device {
        key: key.to_owned(),
        path: device.path.clone(),
        source,
    };
    // Links are followed, as for PVE: names by id are links.
    let kind = std::fs::metadata(&device.path).map_err(failed)?.file_type();
    let kind = if kind.is_char_device() {
        NodeKind::Character
    } else if kind.is_block_device() {
        NodeKind::Block
    } else {
        return Err(failed(io::Error::other("it is not a device")));
    };
    let number = rustix::fs::stat(&device.path).map_err(|err| failed(err.into()))?.st_rdev;
    let unmapped = |kind, id| DeviceError::Unmapped { key: key.to_owned(), kind, id };
    let node = Node {
        source: folder.join(key),
        path: device.path.clone(),
        kind,
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
        access: if device.deny_write { "r" } else { "rw" },
    };
    Ok(OwnedNode {
        node,
        uid: maps.host_uid(device.uid).ok_or_else(|| unmapped("user", device.uid))?,
        gid: maps.host_gid(device.gid).ok_or_else(|| unmapped("group", device.gid))?,
        mode: device.mode,
    })
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// Where a start is without anything of its own.
    fn surroundings(root: &Path) -> Surroundings {
        Surroundings {
            vmid: "100".parse().unwrap(),
            cgroup: String::new(),
            profile: String::new(),
            listener: PathBuf::new(),
            facts: HostFacts::for_tests(),
            policy: Policy::read(&Root::new(root).unwrap()).unwrap(),
            oci: OciConfig::default(),
            seccomp: None,
            sub_ids: None,
        }
    }

    #[test]
    fn reads_the_last_profile_and_says_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let read = |names: &[&str]| {
            let lines: String =
                names.iter().map(|path| format!("lxc.seccomp.profile: {path}\n")).collect();
            let found = surroundings(dir.path());
            let config = ContainerConfig::parse(lines.as_bytes());
            found.with_seccomp(&config).map(|found| found.seccomp).map_err(|err| {
                std::iter::successors(Some(&err as &dyn std::error::Error), |err| err.source())
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(": ")
            })
        };
        fs::write(path("good"), "2\nallowlist\nread\n").unwrap();
        fs::write(path("bad"), "2\nallowlist\nread forbid\n").unwrap();
        fs::write(path("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
        fs::write(path("bytes"), [0xff]).unwrap();
        std::os::unix::fs::symlink("good", path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), Mode::RUSR).unwrap();

        assert_eq!(read(&[]).unwrap(), None);
        for good in ["good", "link"] {
            assert!(read(&[&path("bad"), &path(good)]).unwrap().is_some());
        }
        let (bad, key) = (path("bad"), "lxc.seccomp.profile");
        let action = "line 3: 'forbid' is no action: allow, errno, kill, trap";
        assert_eq!(read(&[&path("good"), &bad]).unwrap_err(), format!("{key}: {bad}: {action}"));
        for (path, reason) in [
            ("good".to_owned(), "the path is not absolute"),
            (path("gone"), "No such file or directory (os error 2)"),
            (path("."), "it is not a file"),
            (path("pipe"), "it is not a file"),
            (path("large"), "it is larger than 1 MiB"),
            (path("bytes"), "stream did not contain valid UTF-8"),
        ] {
            let expected = format!("{key}: cannot read '{path}': {reason}");
            assert_eq!(read(&[&path]).unwrap_err(), expected);
        }
    }

    fn maps(text: &str) -> IdMaps {
        IdMaps::on_disk(&ContainerConfig::parse(text.as_bytes())).unwrap()
    }

    #[test]
    fn sees_a_closed_folder_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        let (root, vmid) = (Root::new(dir.path()).unwrap(), "100".parse().unwrap());

        let (view, path) = (root.rootfs_view(vmid), root.rootfs_mount(vmid));
        assert_eq!(rootfs_path(&root, vmid, &maps("unprivileged: 1\n")).unwrap(), view);
        assert_eq!(rootfs_path(&root, vmid, &maps("unprivileged: 0\n")).unwrap(), path);
        assert!(is_reachable(Path::new("/usr/bin"), &maps("unprivileged: 1\n")).unwrap());
    }

    #[test]
    fn finds_what_a_device_is_and_names_one_that_is_none() {
        let node = |text: &str| {
            let config = ContainerConfig::parse(text.as_bytes());
            device_nodes(&config, Path::new("/run/x"), &maps(text))
        };
        let found = node("dev3: /dev/null,deny-write=1,uid=5\nunprivileged: 1\n").unwrap();
        let null = Node {
            source: "/run/x/dev3".into(),
            path: "/dev/null".into(),
            kind: NodeKind::Character,
            major: 1,
            minor: 3,
            access: "r",
        };
        assert_eq!(found, [OwnedNode { node: null, uid: 100_005, gid: 100_000, mode: 0o660 }]);
        let err = node("dev0: /dev/none-such\n").unwrap_err();
        assert_eq!(err.to_string(), "dev0: cannot pass on '/dev/none-such'");
        let err = node("dev0: /dev/null,gid=70000\nunprivileged: 1\n").unwrap_err();
        assert_eq!(err.to_string(), "dev0: the container has no group 70000");
    }
}
