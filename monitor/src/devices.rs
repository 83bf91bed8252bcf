//! Nodes of the container's devices, and of the disks with its users' quotas: on a tmpfs of ours, with the
//! owner and mode that its config says, from where they are bound into its `/dev`.

use std::io;
use std::path::PathBuf;

use fs_err as fs;
use pve_integration::bundle::{DeviceError, Node, NodeKind, OwnedNode, device_nodes};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chmod, chown, makedev, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::{During, Result};
use crate::given::Given;
use crate::guest::Guest;
use crate::rootfs::Rootfs;

#[derive(Debug)]
pub(crate) struct Devices {
    /// Nothing is mounted for a container without any.
    folder: Option<PathBuf>,
    nodes: Vec<Node>,
}

impl Devices {
    pub(crate) fn make(guest: &Guest, given: &Given, rootfs: &Rootfs) -> Result<Self> {
        let folder = guest.root.device_dir(guest.vmid);
        let mut nodes = device_nodes(&given.config, &folder, &given.maps)?;
        for (number, disk) in rootfs.quota_disks().iter().enumerate() {
            let disk = disk.node(&folder, number);
            // Or it has it anyway, with more rights.
            if nodes.iter().all(|other| other.node.path != disk.node.path) {
                nodes.push(disk);
            }
        }
        if nodes.is_empty() {
            return Ok(Self { folder: None, nodes: Vec::new() });
        }
        match fs::create_dir(&folder) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err.into()),
            Ok(()) | Err(_) => {}
        }
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("lxcri", &folder, "tmpfs", flags, c"size=64k,mode=755")
            .during("cannot make a place for device nodes")?;
        nodes.into_iter().try_fold(
            Self { folder: Some(folder), nodes: Vec::new() },
            |mut made, owned| {
                make(&owned).map_err(|err| {
                    let key = owned.node.source.file_name().unwrap_or_default();
                    let (key, path) = (key.to_string_lossy().into_owned(), owned.node.path.clone());
                    DeviceError::Device { key, path, source: err.into() }
                })?;
                made.nodes.push(owned.node);
                Ok(made)
            },
        )
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

fn make(owned: &OwnedNode) -> rustix::io::Result<()> {
    let OwnedNode { node, uid, gid, mode } = owned;
    let file_type = match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
    };
    let mode = Mode::from_raw_mode(*mode);
    mknodat(CWD, &node.source, file_type, mode, makedev(node.major, node.minor))?;
    chmod(&node.source, mode)?; // whatever our umask is
    chown(&node.source, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
}
