//! What a node and the data centre are set to, each in a file of its own form: the resolver, the
//! hosts, the time zone, the node's notes and the data centre's options.

mod datacenter;
mod hosts;
mod node_config;
mod resolver;
mod timezone;

use std::io::{self, ErrorKind};

use fs_err as fs;

use crate::access::text::{decode, encode};
use crate::cluster_lock::LockError;
use crate::layout::Root;

pub use self::datacenter::{MAC_PREFIX, change_datacenter, parts};
pub use self::hosts::write_hosts;
pub use self::node_config::change_node_config;
pub use self::resolver::{Resolver, write_resolver};
pub use self::timezone::set_timezone;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{name}: {text}")]
    Param { name: &'static str, text: String },
    #[error("detected modified configuration - file changed by other user? Try again.")]
    Modified,
    /// A setting that cannot be, in PVE's words.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SettingsError {
    fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// The root's own file, or this machine's where the root has none.
pub fn read_or_host(root: &Root, path: &str) -> io::Result<Vec<u8>> {
    match fs::read(root.below(path)) {
        Err(err) if err.kind() == ErrorKind::NotFound => fs::read(path),
        found => found,
    }
}

/// Nothing, if there is no such file.
fn read_or_nothing(path: &std::path::Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn unchanged(bytes: &[u8], seen: Option<&str>) -> Result<(), SettingsError> {
    use sha1::Digest as _;

    let now = hex::encode(sha1::Sha1::digest(bytes));
    match seen.filter(|seen| !seen.is_empty()) {
        Some(seen) if seen != now => Err(SettingsError::Modified),
        Some(_) | None => Ok(()),
    }
}

/// A `key: value` file with a description in comments before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValues {
    /// With its newlines.
    pub description: String,
    pub values: std::collections::BTreeMap<String, String>,
}

impl KeyValues {
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix('#') {
                read.description += &decode(comment);
                read.description.push('\n');
            } else if let Some((key, value)) = line.split_once(':') {
                let key = key.trim();
                if !key.is_empty() && !key.starts_with('#') && !key.contains(char::is_whitespace) {
                    read.values.insert(key.to_owned(), value.trim().to_owned());
                }
            }
        }
        if let Some(description) = read.values.remove("description") {
            read.description += &description;
        }
        read
    }

    fn comments(&self) -> String {
        self.description.lines().map(|line| format!("#{}\n", encode(line))).collect()
    }

    fn lines(&self) -> Result<String, SettingsError> {
        let mut text = String::new();
        for (key, value) in &self.values {
            if value.contains('\n') {
                return Err(SettingsError::refused(format!(
                    "detected invalid newline inside property '{key}'"
                )));
            }
            text += &format!("{key}: {value}\n");
        }
        Ok(text)
    }

    fn set(&mut self, key: &str, value: &serde_json::Value) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if key == "description" {
            self.description = text;
        } else {
            self.values.insert(key.to_owned(), text);
        }
    }

    fn remove(&mut self, key: &str) {
        if key == "description" {
            self.description.clear();
        }
        self.values.remove(key);
    }
}

#[cfg(test)]
mod tests;
