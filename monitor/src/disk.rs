//! Block devices with an ext4: how PVE's mount options are said to the kernel.

use std::ffi::CString;
use std::path::Path;

use pve_integration::ct_config::MountPoint;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::error::{Error, Result};
use crate::guest::warn;
use crate::quota;
use crate::rootfs::{mount_failed, named};

pub(crate) fn mount(device: &Path, target: &Path, point: &MountPoint) -> Result<()> {
    let (flags, data) = options(point)?;
    let attempt = |data: &[&str]| {
        let data = CString::new(data.join(",")).expect("made of words without NUL");
        rustix::mount::mount(device, target, "ext4", flags, data.as_c_str())
    };
    let mut mounted = attempt(&data);
    // Linux took this option away from ext4; a kernel that has it says nothing of others.
    if mounted == Err(Errno::INVAL) && data.contains(&"noacl") {
        mounted = attempt(&data.into_iter().filter(|word| *word != "noacl").collect::<Vec<_>>());
        if mounted.is_ok() {
            warn(&named(point), "acl=0 is ignored: this kernel mounts no ext4 without them");
        }
    }
    mounted.map_err(|err| mount_failed(err, &named(point)))
}

/// PVE's mount options (`get_mount_options` of PVE::LXC::Config) as flags and filesystem data.
pub(crate) fn options(point: &MountPoint) -> Result<(MountFlags, Vec<&'static str>)> {
    let mut flags = if point.ro { MountFlags::RDONLY } else { MountFlags::empty() };
    let mut data = Vec::new();
    match point.acl {
        Some(true) => data.push("acl"),
        Some(false) => data.push("noacl"),
        None => {}
    }
    if point.quota {
        data.push(quota::OPTIONS);
    }
    for option in &point.mountoptions {
        match option.as_str() {
            "noatime" => flags |= MountFlags::NOATIME,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            "lazytime" => flags |= MountFlags::LAZYTIME,
            "discard" => data.push("discard"),
            _ => return Err(Error::MountOption(option.clone())),
        }
    }
    Ok((flags, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_mount_options_and_names_an_unknown_one() {
        let point = |options| {
            MountPoint::parse("rootfs", &format!("local:1/x,ro=1,mountoptions={options}")).unwrap()
        };
        let flags = MountFlags::RDONLY | MountFlags::NOATIME | MountFlags::NOSUID;
        assert_eq!(options(&point("noatime;nosuid;discard")).unwrap(), (flags, vec!["discard"]));
        let acl = MountPoint::parse("rootfs", "local:1/x,acl=0").unwrap();
        assert_eq!(options(&acl).unwrap(), (MountFlags::empty(), vec!["noacl"]));
        let quota = MountPoint::parse("rootfs", "local:1/x,quota=1").unwrap();
        assert_eq!(options(&quota).unwrap(), (MountFlags::empty(), vec![quota::OPTIONS]));
        assert!(options(&point("sync")).unwrap_err().to_string().contains("'sync'"));
    }
}
