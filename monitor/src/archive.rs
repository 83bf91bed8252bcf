//! The verb `archive`: a container's volumes, its config and its firewall rules into one file, laid
//! out as PVE's vzdump does. Folders are read where they lie; images are mounted, read-only and in a
//! mount namespace of our own. Owners are written as the container sees them.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use images::{Event, Excludes, Owners, Packed, Packer};
use openapi::VolumeId;
use pve_integration::bundle::{IdMap, IdMaps};
use pve_integration::ct_config::{self, ContainerConfig, MountPoint, MountSource};
use pve_integration::storage::{StorageConfig, Version, VolumeFormat};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::{During, Error, Result};
use crate::guest::{Guest, warn};
use crate::namespace;
use crate::packing::{Packing, Sink};
use crate::rootfs::{Mounted, mount_image};

/// Where PVE looks for them when it restores.
const CONFIG: &str = "etc/vzdump/pct.conf";
const FIREWALL: &str = "etc/vzdump/pct.fw";
/// Who watches a long task hears of it this often.
const PROGRESS: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct ArchiveArguments {
    /// The file to write; there must be none of this name
    #[arg(long)]
    output: PathBuf,
    #[arg(long, value_enum, default_value = "none")]
    compress: Packing,
    /// Let a program pack with so many threads
    #[arg(long)]
    threads: Option<u64>,
    /// Not more than this many KiB a second; 0 for no limit
    #[arg(long, default_value_t = 0)]
    bwlimit: u64,
    /// Read the copies of this name instead of the volumes themselves
    #[arg(long)]
    snapshot: Option<String>,
    /// A shell pattern of paths to leave out
    #[arg(long)]
    exclude: Vec<String>,
}

/// A volume and where its content goes; without a slash in front, and empty for the rootfs.
struct Tree {
    folder: OwnedFd,
    prefix: Vec<u8>,
    /// Closed before it is unmounted, so it stands last.
    mounted: Option<Mounted>,
}

pub(crate) fn archive(guest: &Guest, how: &ArchiveArguments) -> Result<()> {
    // A daemon that dies leaves nobody writing into a file that the next one removes.
    set_parent_process_death_signal(Some(Signal::KILL)).during("cannot tie to the parent")?;
    let (config, _digest) = ct_config::read(&guest.root, &guest.node, guest.vmid)?;
    let version = how.snapshot.as_deref().map_or(Version::Current, Version::Snapshot);
    let trees = open_trees(guest, &config, version)?;
    let packed = pack(guest, how, &config, &trees);
    for tree in trees.into_iter().rev() {
        drop(tree.folder);
        if let Some(mounted) = tree.mounted {
            mounted.unmount()?;
        }
    }
    packed
}

fn pack(
    guest: &Guest,
    how: &ArchiveArguments,
    config: &ContainerConfig,
    trees: &[Tree],
) -> Result<()> {
    let begun = Instant::now();
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o644).open(&how.output)?;
    let sink =
        Sink::new(file.into_file(), how.compress, how.threads).map_err(images::PackError::Write)?;
    let out = Throttled { out: sink, limit: how.bwlimit.saturating_mul(1024), begun, sent: 0 };
    let mut said = Instant::now();
    let mut tell = |event: Event<'_>| match event {
        Event::Warning(text) => warn("archive", text),
        Event::Progress(packed) if said.elapsed() >= PROGRESS => {
            said = Instant::now();
            say(&format!("archived {} files, {} MiB", packed.entries, packed.bytes >> 20));
        }
        Event::Progress(_) => {}
    };
    // PVE leaves out what fsck keeps, of any container.
    let excludes = how.exclude.iter().map(String::as_str).chain(["lost+found"]);
    let mut packer = Packer::new(out, owners(config)?, Excludes::new(excludes), &mut tell);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or_default();
    packer.file(CONFIG, &config.for_backup(), now)?;
    packer.file(FIREWALL, &firewall(guest)?, now)?;
    packer.leave_to_others(trees.iter().skip(1).map(|tree| tree.prefix.clone()));
    for tree in trees {
        packer.tree(tree.folder.as_fd(), &tree.prefix)?;
    }
    let (out, packed) = packer.finish()?;
    let file = out.out.finish().map_err(images::PackError::Write)?;
    file.sync_all().map_err(images::PackError::Write)?;
    say(&totals(packed, begun.elapsed()));
    Ok(())
}

/// Volumes with `backup`, and the rootfs first.
fn open_trees(guest: &Guest, config: &ContainerConfig, version: Version<'_>) -> Result<Vec<Tree>> {
    let mut points = vec![config.rootfs()?];
    for (_, point) in config.mount_points() {
        let point = point?;
        if point.backup == Some(true) {
            points.push(point);
        }
    }
    let storages = StorageConfig::read(&guest.root)?;
    let (mut trees, mut apart) = (Vec::new(), false);
    for point in points {
        let MountSource::Volume(volume) = &point.source else {
            if trees.is_empty() {
                return Err(Error::NoVolume);
            }
            continue; // PVE as well includes volumes only
        };
        let storage = storages.dir(&guest.root, &guest.node, volume.storage())?;
        let place = storage.version(volume, version)?;
        let mounted = match place.format {
            VolumeFormat::Subvol => None,
            VolumeFormat::Raw => {
                if !apart {
                    namespace::enter()?;
                    apart = true;
                }
                let read_only = point.ro || config.template();
                Some(mount_image(guest, volume, &place.path, read_only)?)
            }
            VolumeFormat::Qcow2 | VolumeFormat::Vmdk => {
                return Err(not_mountable(volume, place.format));
            }
        };
        let path = mounted.as_ref().map_or(place.path.as_path(), Mounted::path);
        trees.push(Tree { folder: open(path)?, prefix: prefix(&point), mounted });
    }
    Ok(trees)
}

fn not_mountable(volume: &VolumeId, format: VolumeFormat) -> Error {
    Error::VolumeFormat { volume: volume.clone(), format: format.as_str() }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(io::Error::from)
        .map_err(|source| Error::Open { path: path.to_owned(), source })
}

fn prefix(point: &MountPoint) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Component;

    let names = point.mp.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes()),
        Component::RootDir | Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
            None
        }
    });
    names.collect::<Vec<_>>().join(&b'/')
}

fn owners(config: &ContainerConfig) -> Result<Owners> {
    let maps = IdMaps::on_disk(config)?;
    let inside = |maps: &[IdMap]| -> Vec<(u32, u32, u32)> {
        maps.iter().map(|map| (map.host_id, map.container_id, map.size)).collect()
    };
    Ok(Owners { uids: inside(&maps.uids), gids: inside(&maps.gids) })
}

/// Empty without rules, as PVE has it.
fn firewall(guest: &Guest) -> Result<Vec<u8>> {
    let path = guest.root.etc_pve().join("firewall").join(format!("{}.fw", guest.vmid));
    match fs::read(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// GNU tar's line, which vzdump passes on.
fn totals(packed: Packed, took: Duration) -> String {
    let bytes = packed.bytes;
    let seconds = took.as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a speed for people to read; floats saturate"
    )]
    let speed = (bytes as f64 / seconds) as u64;
    format!("Total bytes written: {bytes} ({}, {}/s)", rounded(bytes), rounded(speed))
}

/// Upwards, with one decimal below ten.
fn rounded(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    if tenths < 100 {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{}{name}", bytes.div_ceil(unit))
    }
}

fn say(line: &str) {
    // Who does not listen misses nothing but this line.
    writeln!(io::stdout(), "{line}").ok();
}

/// Slows down whoever writes.
struct Throttled<W> {
    out: W,
    /// Bytes a second; 0 for none.
    limit: u64,
    begun: Instant,
    sent: u64,
}

impl<W: Write> Write for Throttled<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.sent += count as u64;
        if let Some(millis) = self.sent.saturating_mul(1000).checked_div(self.limit) {
            let due = Duration::from_millis(millis);
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, "0B")]
    #[case(10_240, "10KiB")]
    #[case(1025, "1.1KiB")]
    #[case(10_247, "11KiB")]
    #[case(440_780_800, "421MiB")]
    #[case(1 << 42, "4.0TiB")]
    fn rounds_as_tar_does(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(rounded(bytes), text);
    }

    #[rstest]
    #[case("/data", "data")]
    #[case("/srv//a/../b/", "srv/a/b")]
    fn a_mount_point_becomes_a_folder(#[case] mp: &str, #[case] expected: &str) {
        let point = MountPoint::parse("mp0", &format!("local:1/x.raw,mp={mp}")).unwrap();
        assert_eq!(prefix(&point), expected.as_bytes());
    }

    #[test]
    fn keeps_to_its_limit() {
        let begun = Instant::now();
        let mut out = Throttled { out: Vec::new(), limit: 1 << 20, begun, sent: 0 };
        out.write_all(&[0; 1 << 18]).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(240));
    }
}
