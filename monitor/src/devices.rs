//! Nodes of the container's devices: on a tmpfs of ours, with the owner and mode that its config says,
//! from where they are bound into its `/dev`.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use pve_integration::bundle::{IdMaps, Node, NodeKind};
use pve_integration::ct_config::{ContainerConfig, Device};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chmod, chown, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{During, Error, Result};
use crate::guest::Guest;

#[derive(Debug)]
pub(crate) struct Devices {
    /// Nothing is mounted for a container without any.
    folder: Option<PathBuf>,
    nodes: Vec<Node>,
}

impl Devices {
    pub(crate) fn make(guest: &Guest, config: &ContainerConfig) -> Result<Self> {
        let devices = config.devices();
        if devices.is_empty() {
            return Ok(Self { folder: None, nodes: Vec::new() });
        }
        let maps = IdMaps::of(config)?;
        let folder = guest.device_dir();
        match fs::create_dir(&folder) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("lxcri", &folder, "tmpfs", flags, c"size=64k,mode=755")
            .during("cannot make a place for device nodes")?;
        let made = Self { folder: Some(folder.clone()), nodes: Vec::new() };
        devices.into_iter().try_fold(made, |mut made, (key, device)| {
            made.nodes.push(node(key, &device?, &folder, &maps)?);
            Ok(made)
        })
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

/// What was bound elsewhere stays there.
impl Drop for Devices {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // If this fails, whoever cleans up after the container fails at it again, and says so.
            unmount(folder, UnmountFlags::DETACH).ok();
            fs::remove_dir(folder).ok();
        }
    }
}

fn node(key: &str, device: &Device, folder: &Path, maps: &IdMaps) -> Result<Node> {
    let failed = |source: io::Error| Error::Device {
        key: key.to_owned(),
        path: device.path.clone(),
        source,
    };
    // Links are followed, as for PVE: names by id are links.
    let kind = std::fs::metadata(&device.path).map_err(failed)?.file_type();
    let (kind, file_type) = if kind.is_char_device() {
        (NodeKind::Character, FileType::CharacterDevice)
    } else if kind.is_block_device() {
        (NodeKind::Block, FileType::BlockDevice)
    } else {
        return Err(failed(io::Error::other("it is not a device")));
    };
    let number = rustix::fs::stat(&device.path).map_err(|err| failed(err.into()))?.st_rdev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let unmapped = |kind, id| Error::Unmapped { key: key.to_owned(), kind, id };
    let uid = maps.host_uid(device.uid).ok_or_else(|| unmapped("user", device.uid))?;
    let gid = maps.host_gid(device.gid).ok_or_else(|| unmapped("group", device.gid))?;
    let source = folder.join(key);
    let mode = Mode::from_raw_mode(device.mode);
    mknodat(CWD, &source, file_type, mode, makedev(major, minor))
        .and_then(|()| chmod(&source, mode)) // whatever our umask is
        .and_then(|()| chown(&source, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
        .map_err(|err| failed(err.into()))?;
    let access = if device.deny_write { "r" } else { "rw" };
    Ok(Node { source, path: device.path.clone(), kind, major, minor, access })
}
