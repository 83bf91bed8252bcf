//! How much an archive may ask for, and the counters shown while it is unpacked and afterwards.

const GIB: u64 = 1 << 30;

/// Bounds that no archive may pass. The defaults fit every root filesystem we know of; the volume
/// that the container asked for is usually the tighter bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// File contents, all together.
    pub bytes: u64,
    pub entries: u64,
    /// Unpacked bytes per archive byte, looked at once `ratio_from` bytes are unpacked: small
    /// archives of zeros are honest, and xz packs them better than 1000:1.
    pub ratio: u64,
    pub ratio_from: u64,
    /// Bytes in one path, and in the target of one link.
    pub path: usize,
    /// Paths that stay in the archive.
    pub left_out: &'static [&'static str],
    /// Go on behind an entry that cannot be made.
    pub keep_going: bool,
}

impl Limits {
    /// What somebody made here is bounded by the volumes it goes to: a container full of zeros is no
    /// attack, and must come back.
    pub fn of_a_backup() -> Self {
        Self {
            bytes: i64::MAX.unsigned_abs(),
            entries: u64::MAX,
            ratio: u64::MAX,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 * GIB,
            entries: 2_000_000,
            ratio: 200,
            ratio_from: GIB,
            path: 4095,
            left_out: &[],
            keep_going: false,
        }
    }
}

/// Where an unpacking is. Reported every 2000 entries, every 32 MiB and once at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub entries: u64,
    /// File contents written.
    pub bytes: u64,
    /// Bytes taken from the archive; against its size this is the share that is done.
    pub archive_bytes: u64,
}

/// What an unpacking did, and what it left out on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub entries: u64,
    pub bytes: u64,
    pub archive_bytes: u64,
    /// Device nodes under `dev`, which a container gets fresh, or that we had no right to make.
    pub skipped_devices: u64,
    /// Extended attributes that this filesystem or user namespace does not take, and ACLs that name
    /// users instead of numbering them.
    pub skipped_attributes: u64,
    /// What a layer hides, and lies on a volume of its own: it may be there for longer than we are.
    pub skipped_whiteouts: u64,
    /// Entries that could not be made, when told to keep going.
    pub failed: u64,
}
