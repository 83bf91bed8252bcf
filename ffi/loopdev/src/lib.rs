//! Loop devices that vanish with their last user: a file becomes a block device for as long as a
//! descriptor or a mount holds it, so nothing is left to release after a crash.
//!
//! Mounting it is the caller's.
#![expect(unsafe_code, reason = "the loop driver is driven by ioctls alone")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

// include/uapi/linux/loop.h
const LOOP_SET_FD: u32 = 0x4C00;
const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// The driver's block major, Documentation/admin-guide/devices.txt.
const LOOP_MAJOR: u32 = 7;

/// How often a device that somebody else took in between is given up for the next free one.
const TRIES: u32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this kernel has no loop devices (/dev/loop-control)")]
    Unavailable(#[source] io::Error),
    #[error("no free loop device after {TRIES} tries")]
    Busy,
    #[error("cannot attach '{}' to a loop device", .file.display())]
    Attach { file: PathBuf, source: io::Error },
}

/// An attached file. Dropping it detaches the file, unless a mount still holds the device.
#[derive(Debug)]
pub struct LoopDevice {
    fd: OwnedFd,
    number: u32,
}

impl LoopDevice {
    /// Its name on a host with a complete /dev.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.number))
    }

    /// A path that names the device whether or not /dev does: what to mount.
    pub fn source(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The device itself, to be held or handed on.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Make `file` a block device.
pub fn attach(file: &Path, read_only: bool) -> Result<LoopDevice, Error> {
    let failed = |source: Errno| Error::Attach { file: file.to_owned(), source: source.into() };
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    let backing =
        rustix::fs::open(file, access | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    let control =
        rustix::fs::open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|err| Error::Unavailable(err.into()))?;
    for _ in 0..TRIES {
        let number = ioctl(control.as_fd(), LOOP_CTL_GET_FREE, &Argument::None).map_err(failed)?;
        let number = u32::try_from(number).map_err(|_| Error::Busy)?;
        let fd = open_node(number, access).map_err(failed)?;
        match configure(fd.as_fd(), backing.as_fd(), file, read_only) {
            Ok(()) => return Ok(LoopDevice { fd, number }),
            Err(Errno::BUSY) => {} // somebody was faster
            Err(err) => return Err(failed(err)),
        }
    }
    Err(Error::Busy)
}

/// The loop device that `file` is attached to at this moment. Two of them over one file would each
/// have its own idea of the filesystem in it and destroy it.
pub fn holder(file: &Path) -> io::Result<Option<PathBuf>> {
    let file = file.as_os_str().as_bytes();
    for device in fs_err::read_dir("/sys/block")? {
        let device = device?;
        if !device.file_name().as_bytes().starts_with(b"loop") {
            continue;
        }
        // Unattached devices have no such file.
        let Ok(backing) = fs_err::read(device.path().join("loop/backing_file")) else { continue };
        if backing.strip_suffix(b"\n").unwrap_or(&backing) == file {
            return Ok(Some(Path::new("/dev").join(device.file_name())));
        }
    }
    Ok(None)
}

/// Open loop device `number`. A /dev that is not devtmpfs does not grow with the driver; there a
/// node is made for the moment of opening.
fn open_node(number: u32, access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::CLOEXEC;
    match rustix::fs::open(format!("/dev/loop{number}"), flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let node = format!("/dev/.lxcri-loop{number}.{}", std::process::id());
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, &*node, FileType::BlockDevice, mode, makedev(LOOP_MAJOR, number))?;
    let opened = rustix::fs::open(&*node, flags, Mode::empty());
    rustix::fs::unlink(&*node)?;
    opened
}

fn configure(
    device: BorrowedFd<'_>,
    backing: BorrowedFd<'_>,
    file: &Path,
    read_only: bool,
) -> Result<(), Errno> {
    let mut info = LoopInfo64 {
        flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
        ..LoopInfo64::default()
    };
    // Only for `losetup --list`; the last byte stays NUL.
    let name = file.as_os_str().as_bytes();
    let len = name.len().min(info.file_name.len() - 1);
    info.file_name[..len].copy_from_slice(&name[..len]);

    let config = LoopConfig { fd: backing.as_raw_fd(), info, ..LoopConfig::default() };
    match ioctl(device, LOOP_CONFIGURE, &Argument::Config(&config)) {
        // Kernels before 5.8 do not know it.
        Err(Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
        other => return other.map(drop),
    }
    ioctl(device, LOOP_SET_FD, &Argument::File(backing))?;
    ioctl(device, LOOP_SET_STATUS64, &Argument::Status(&config.info)).map(drop).inspect_err(|_| {
        // Without the status the device would stay attached for ever; there is nothing to add to
        // the first error if this fails too.
        let _detached = ioctl(device, LOOP_CLR_FD, &Argument::None);
    })
}

/// What the driver's commands take.
enum Argument<'a> {
    None,
    File(BorrowedFd<'a>),
    Config(&'a LoopConfig),
    Status(&'a LoopInfo64),
}

fn ioctl(fd: BorrowedFd<'_>, command: u32, argument: &Argument<'_>) -> Result<i32, Errno> {
    let argument: libc::c_ulong = match *argument {
        Argument::None => 0,
        Argument::File(file) => libc::c_ulong::from(file.as_raw_fd().cast_unsigned()),
        Argument::Config(config) => (&raw const *config).addr() as libc::c_ulong,
        Argument::Status(info) => (&raw const *info).addr() as libc::c_ulong,
    };
    // SAFETY: `fd` is open for the call. The commands used in this file take no argument, a
    // descriptor number, or the address of the struct that the matching variant borrows for longer
    // than the call; the kernel only reads them.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::Ioctl::from(command), argument) };
    if rc < 0 {
        let err = io::Error::last_os_error();
        return Err(err.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error));
    }
    Ok(rc)
}

/// `struct loop_info64`
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Default for LoopInfo64 {
    fn default() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config`
#[repr(C)]
#[derive(Default)]
struct LoopConfig {
    fd: RawFd,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && size_of::<LoopConfig>() == 304);

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_device(number: u32) -> Option<u64> {
        let sectors = fs_err::read_to_string(format!("/sys/block/loop{number}/size")).ok()?;
        sectors.trim().parse::<u64>().ok().map(|sectors| sectors * 512)
    }

    #[test]
    fn names_a_missing_file() {
        let err = attach(Path::new("/nowhere/disk.raw"), false).unwrap_err();
        assert_eq!(err.to_string(), "cannot attach '/nowhere/disk.raw' to a loop device");
    }

    #[test]
    fn attaches_until_dropped() {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            eprintln!("skipped: needs root and /dev/loop-control");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk.raw");
        fs_err::write(&file, vec![7; 64 * 1024]).unwrap();
        let device = attach(&file, true).unwrap();
        let number = device.number;
        assert_eq!(size_of_device(number), Some(64 * 1024));
        let mut byte = [0];
        assert_eq!(rustix::io::pread(&device, &mut byte, 0).unwrap(), 1);
        assert_eq!(byte, [7]);
        assert_eq!(rustix::io::pwrite(&device, &[0], 0), Err(Errno::BADF));
        // Another file gets another device while this one is held.
        assert_ne!(attach(&file, true).unwrap().number, number);
        assert_eq!(holder(&file).unwrap(), Some(device.path()));
        drop(device);
        // Autoclear runs when the last descriptor is gone, a moment later.
        let gone = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            holder(&file).unwrap().is_none()
        });
        assert!(gone, "loop{number} is still attached");
    }
}
