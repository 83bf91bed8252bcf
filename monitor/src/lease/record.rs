//! What outlives a keeper: which address it had. Opened while this is still the host's root, and
//! written in place, as nobody in an empty root renames anything.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use dhcp::resolver::{Resolver, with_section};
use dhcp::{v4, v6};
use serde::{Deserialize, Serialize};

use crate::run::epoch_seconds;

/// Of the record, and of a resolver file: the container may make that as long as it likes.
const LONGEST: usize = 16 << 10;

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Past {
    v4: Option<v4::Memory>,
    /// Seconds since 1970; nothing for a lease that has no end.
    v4_until: Option<u64>,
    v6: Option<v6::Memory>,
}

impl Past {
    /// What is left of it now.
    pub(super) fn v4(&self, now: u64) -> Option<v4::Memory> {
        let over = self.v4_until.is_some_and(|until| until <= now);
        self.v4.map(|memory| v4::Memory { ours: memory.ours && !over, ..memory })
    }

    pub(super) fn v6(&self) -> Option<v6::Memory> {
        self.v6
    }
}

pub(super) struct Record {
    file: File,
    past: Past,
}

impl Record {
    /// One that makes no sense, say of a machine that went down meanwhile, is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let past = serde_json::from_str(&read(&file)?).unwrap_or_default();
        Ok(Self { file, past })
    }

    pub(super) fn past(&self) -> Past {
        self.past
    }

    pub(super) fn hold_v4(&mut self, lease: &v4::Lease) -> io::Result<()> {
        self.past.v4 = Some(v4::Memory { address: lease.address, ours: true });
        self.past.v4_until = lease.lifetime.map(|lifetime| epoch_seconds() + lifetime.as_secs());
        self.write()
    }

    pub(super) fn lose_v4(&mut self) -> io::Result<()> {
        if let Some(memory) = &mut self.past.v4 {
            memory.ours = false;
        }
        self.write()
    }

    pub(super) fn hold_v6(&mut self, lease: &v6::Lease) -> io::Result<()> {
        self.past.v6 = Some(v6::Memory { address: lease.address });
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_string(&self.past).map_err(io::Error::from)?;
        replace(&self.file, &text)
    }
}

/// The container's resolver file.
pub(super) struct ResolverFile {
    file: File,
    interface: String,
}

impl ResolverFile {
    pub(super) fn open(path: &Path, interface: &str) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, interface: interface.to_owned() })
    }

    /// The file is bound into the container, so it must stay the same file.
    pub(super) fn set(&self, resolver: &Resolver) -> io::Result<()> {
        let old = read(&self.file)?;
        let new = with_section(&old, &self.interface, resolver);
        if new == old { Ok(()) } else { replace(&self.file, &new) }
    }
}

fn read(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; LONGEST];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One write: whoever reads meanwhile sees the one or the other, or both.
fn replace(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_an_address_and_for_how_long_it_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eth0");
        let memory = v4::Memory { address: [10, 0, 0, 5].into(), ours: true };
        let mut record = Record::open(&path).unwrap();
        record.past = Past { v4: Some(memory), v4_until: Some(100), v6: None };
        record.write().unwrap();

        let past = Record::open(&path).unwrap().past();
        assert_eq!(past.v4(99), Some(memory));
        assert_eq!(past.v4(100), Some(v4::Memory { ours: false, ..memory }));
        let mut record = Record::open(&path).unwrap();
        record.lose_v4().unwrap();
        let past = Record::open(&path).unwrap().past();
        assert_eq!(past.v4(1), Some(v4::Memory { ours: false, ..memory }));
    }

    #[test]
    fn a_record_that_makes_no_sense_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eth0");
        fs_err::write(&path, "{\"v4\":{\"addr").unwrap();
        assert_eq!(Record::open(&path).unwrap().past().v4(0), None);
    }

    #[test]
    fn a_resolver_file_stays_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs_err::write(&path, "nameserver 9.9.9.9\n".repeat(20)).unwrap();
        let file = ResolverFile::open(&path, "eth0").unwrap();
        let open = fs_err::File::open(&path).unwrap().into_file();
        file.set(&Resolver::new(["10.0.0.1".parse().unwrap()], [])).unwrap();
        assert_eq!(read(&open).unwrap(), "# lease of eth0\nnameserver 10.0.0.1\n# end of eth0\n");
    }
}
