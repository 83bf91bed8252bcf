//! Why an archive was not unpacked. Entry names come from the archive, so they are escaped and cut
//! before they reach a log. As everywhere here a message does not repeat its source: print the
//! chain (`{:#}` of an `anyhow::Error`) to see the errno's text.

use std::io;

/// The first thing that went wrong. What was unpacked before it is still there.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("not an archive: neither a tar file nor a gzip, xz or zstd stream of one")]
    NotAnArchive,
    #[error("the archive is compressed with {0}, which is not supported; gzip, xz and zstd are")]
    Compression(&'static str),
    #[error("the archive holds no entries")]
    Empty,
    #[error("the archive is an image in layers (OCI), which is read from a plain tar file only")]
    Layers,
    #[error("the archive ends too early, {0}")]
    Truncated(Place),
    #[error("the archive is damaged, {place}: {reason}")]
    Damaged { place: Place, reason: String },
    #[error("cannot read the archive, {place}")]
    Read { place: Place, source: io::Error },
    #[error("refused entry '{entry}': {reason}")]
    Refused { entry: String, reason: Refusal },
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    #[error("the archive unpacks to more than {limit} bytes, {place}")]
    TooLarge { limit: u64, place: Place },
    #[error("the archive unpacks to more than {ratio} times its size, {place}")]
    Bomb { ratio: u64, place: Place },
    #[error("cannot {action} '{entry}'")]
    Io { action: &'static str, entry: String, source: io::Error },
}

/// Why one entry is not acceptable in any root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its path contains '..'")]
    ParentComponent,
    #[error("its path is empty or contains a NUL byte")]
    BadPath,
    #[error("its path is longer than {0} bytes")]
    LongPath(usize),
    #[error("its link target contains '..' or is not a path")]
    BadLinkTarget,
    #[error("a folder on its path is a link that leads nowhere")]
    DanglingParent,
    #[error("it would replace the root folder")]
    ReplacesRoot,
    #[error("it would replace a folder that is not empty")]
    ReplacesFolder,
    #[error("owner {uid}:{gid} is not mapped in the container's user namespace")]
    UnmappedOwner { uid: u32, gid: u32 },
    #[error("its extended header is larger than {0} bytes")]
    LongHeader(u64),
    #[error("its map of holes is not valid")]
    SparseMap,
    #[error("it is to hide something, and is no file")]
    Whiteout,
    #[error("entries of type {0} are not supported")]
    Kind(char),
}

/// How far the archive could be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Start,
    After(String),
    In(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start => f.write_str("before its first entry"),
            Self::After(entry) => write!(f, "after entry '{entry}'"),
            Self::In(entry) => write!(f, "in entry '{entry}'"),
        }
    }
}

/// An entry's name as one line of text that cannot flood or forge a log.
pub(crate) fn printable(name: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let control = c.is_control();
    let plain = (!control).then_some(c);
    plain.into_iter().chain(c.escape_default().take(if control { usize::MAX } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(printable(b"a\nTASK OK"), "a\\nTASK OK");
        assert_eq!(printable("ü\u{1b}[2J".as_bytes()), "ü\\u{1b}[2J");
        assert_eq!(printable(&[b'x'; 500]).chars().count(), 121);
    }
}
