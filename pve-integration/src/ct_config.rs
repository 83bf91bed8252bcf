//! Container config files, `nodes/NODE/lxc/VMID.conf`: parsed as PVE parses them, written as PVE
//! writes them, and byte for byte as they were where nothing was changed. Says nothing about what
//! a key does to a container; `bundle` and the runtimes do.

mod cache;
mod device;
mod error;
mod fs_type;
mod locked;
mod lxc_keys;
mod mount_point;
mod net;
mod property_list;
mod section;
mod text;
mod views;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::str::FromStr;

use fs_err as fs;
use openapi::{Digest, NodeName, Vmid};
use sha1::{Digest as _, Sha1};

use crate::layout::Root;
use section::Reader;

pub use cache::{ConfigCache, Configs, Entry};
pub use device::Device;
pub use error::{ConfigError, ValueError};
pub use fs_type::FsType;
pub use locked::{LOCK_TIMEOUT, Locked};
#[cfg(test)]
pub(crate) use lxc_keys::ACCEPTED as RAW_KEYS;
pub(crate) use lxc_keys::is_lxc_key;
pub use mount_point::{MountPoint, MountSource};
pub use net::Net;
pub use property_list::PropertyList;
pub use section::Section;
pub use text::{decode_text, encode_text};
pub(crate) use views::TTYS;
pub use views::{Arch, Features, INIT};

const PENDING: &str = "pve:pending";

/// A whole config file. `get`, `set`, `remove` and the typed views speak of the main section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    main: Section,
    /// In the file's order: what is not changed must come back where it was.
    sections: Vec<(String, Section)>,
    warnings: Vec<String>,
}

impl ContainerConfig {
    /// Never fails: PVE warns of what it cannot read and goes on, and so do we.
    pub fn parse(bytes: &[u8]) -> Self {
        let (mut warnings, mut sections) = (Vec::new(), Vec::new());
        let (mut name, mut reader) = (None::<String>, Reader::new(false));
        // Blank lines belong to what follows, so that a section rewritten in front of them does
        // not double the blank line its successor brings along.
        let mut blank = Vec::new();
        for full in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = full.strip_suffix(b"\n").unwrap_or(full);
            if line.trim_ascii().is_empty() {
                blank.extend_from_slice(full);
                continue;
            }
            if let Some(next) = header(line) {
                let next_reader = Reader::new(next == PENDING);
                sections.push((name.replace(next), std::mem::replace(&mut reader, next_reader)));
                reader.skip(&std::mem::take(&mut blank));
                reader.skip(full);
                continue;
            }
            reader.skip(&std::mem::take(&mut blank));
            reader.line(full, line, &mut warnings);
        }
        reader.skip(&blank);
        sections.push((name, reader));

        let mut config = Self { warnings, ..Self::default() };
        for (name, reader) in sections {
            match name {
                None => config.main = reader.finish(),
                Some(name) => config.sections.push((name, reader.finish())),
            }
        }
        config
    }

    /// What stands in the file as long as nothing is changed; changed sections in PVE's order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.main.print(None, &mut out);
        for (name, section) in &self.sections {
            if name == PENDING && section.is_modified() && section.is_empty() {
                continue; // PVE writes no empty pending section
            }
            if !out.is_empty() && !out.ends_with(b"\n") {
                out.push(b'\n'); // the file did not end in one, and is no longer at its end
            }
            section.print(Some(name), &mut out);
        }
        out
    }

    /// What a backup keeps: the container as it is, without what only this host or this moment has.
    pub fn for_backup(&self) -> Vec<u8> {
        let mut main = self.main.fresh();
        for key in ["lock", "parent", "snaptime", "snapstate"] {
            main.remove(key);
        }
        let mut out = Vec::new();
        main.print(None, &mut out);
        out
    }

    pub fn current(&self) -> &Section {
        &self.main
    }

    pub fn current_mut(&mut self) -> &mut Section {
        &mut self.main
    }

    pub fn pending(&self) -> Option<&Section> {
        self.section(PENDING).filter(|section| !section.is_empty())
    }

    /// Makes the section where there is none; it is not written while it is empty.
    pub fn pending_mut(&mut self) -> &mut Section {
        self.section_mut(PENDING)
    }

    /// By name, as PVE writes them.
    pub fn snapshots(&self) -> impl Iterator<Item = (&str, &Section)> {
        let mut names: Vec<&str> = self.sections.iter().map(|(name, _)| name.as_str()).collect();
        names.retain(|name| *name != PENDING);
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| Some((name, self.section(name)?)))
    }

    pub fn snapshot(&self, name: &str) -> Option<&Section> {
        self.section(name).filter(|_| name != PENDING)
    }

    /// Adds `section` or puts it in the place of the one with this name.
    pub fn set_snapshot(&mut self, name: &str, section: &Section) {
        *self.section_mut(name) = section.fresh();
    }

    pub fn remove_snapshot(&mut self, name: &str) -> bool {
        let before = self.sections.len();
        self.sections.retain(|(other, _)| other != name || other == PENDING);
        self.sections.len() != before
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.main.get(key)
    }

    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.main.set(key, value);
    }

    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.main.remove(key)
    }

    /// What PVE would have warned of when it read this, without its `vm VMID - ` in front.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A name that stands twice means the last, as in PVE.
    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().rev().find(|(other, _)| other == name).map(|(_, section)| section)
    }

    fn section_mut(&mut self, name: &str) -> &mut Section {
        let at = self.sections.iter().rposition(|(other, _)| other == name).unwrap_or_else(|| {
            // Pending first, then the snapshots by name.
            let after = |other: &str| other != PENDING && (name == PENDING || other > name);
            let at = self.sections.iter().position(|(other, _)| after(other));
            let at = at.unwrap_or(self.sections.len());
            self.sections.insert(at, (name.to_owned(), Section::default()));
            at
        });
        &mut self.sections[at].1
    }

    /// What PVE does and refuses when it writes a config.
    fn prepare_for_write(&mut self) -> Result<(), ConfigError> {
        let all = std::iter::once(&self.main).chain(self.sections.iter().map(|(_, s)| s));
        if let Some(key) = all.filter_map(Section::key_with_newline).next() {
            return Err(ConfigError::Newline(key.to_owned()));
        }
        if self.main.is_modified() {
            self.main.remove("snapstate");
            let used = self.main.volumes();
            let stale = |(key, value): &(&str, &str)| {
                key.starts_with("unused") && used.iter().any(|volume| volume == value)
            };
            let stale: Vec<String> =
                self.main.iter().filter(stale).map(|(key, _)| key.to_owned()).collect();
            for key in stale {
                self.main.remove(&key);
            }
        }
        Ok(())
    }
}

/// `[pve:pending]` in any case, or `[a snapshot's name]`.
fn header(line: &[u8]) -> Option<String> {
    let name = line.trim_ascii_end().strip_prefix(b"[")?.strip_suffix(b"]")?;
    if name.eq_ignore_ascii_case(PENDING.as_bytes()) {
        return Some(PENDING.to_owned());
    }
    let (first, rest) = name.split_first()?;
    let valid = first.is_ascii_alphabetic()
        && !rest.is_empty()
        && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    valid.then(|| String::from_utf8_lossy(name).into_owned())
}

impl FromStr for ContainerConfig {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::parse(text.as_bytes()))
    }
}

/// The bytes of `to_bytes`, but for what is no UTF-8.
impl fmt::Display for ContainerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// PVE's digest of a config: SHA-1 of the file as it lies there.
pub fn digest(bytes: &[u8]) -> Digest {
    hex::encode(Sha1::digest(bytes)).parse().expect("SHA-1 in hex is 40 lower-case digits")
}

/// Reads without a lock: what is written is renamed into place, so a reader sees one version.
pub fn read(
    root: &Root,
    node: &NodeName,
    vmid: Vmid,
) -> Result<(ContainerConfig, Digest), ConfigError> {
    let path = root.lxc_config(node, vmid);
    match fs::read(&path) {
        Ok(bytes) => Ok((ContainerConfig::parse(&bytes), digest(&bytes))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            Err(ConfigError::NotFound(node.clone(), vmid))
        }
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}
