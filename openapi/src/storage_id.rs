//! A storage's name in `storage.cfg`. Whether such a storage exists is not known here.

use std::fmt;
use std::str::FromStr;

use crate::wire_text::wire_text;

/// At least two characters, a letter first, a letter or digit last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(String);

/// Not a storage's name. The messages are PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStorageId {
    #[error("storage ID '{0}' cannot be shorter than 2 characters")]
    Short(String),
    #[error("storage ID '{0}' contains illegal characters")]
    Characters(String),
}

impl StorageId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// PVE's shape for the ids of storages and other sections.
pub(crate) fn is_section_id(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl FromStr for StorageId {
    type Err = InvalidStorageId;

    fn from_str(text: &str) -> Result<Self, InvalidStorageId> {
        if text.chars().nth(1).is_none() {
            return Err(InvalidStorageId::Short(text.to_owned()));
        }
        if !is_section_id(text) {
            return Err(InvalidStorageId::Characters(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

wire_text!(StorageId, "A storage's name", Some("^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]$"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("", "storage ID '' cannot be shorter than 2 characters")]
    #[case::one("a", "storage ID 'a' cannot be shorter than 2 characters")]
    #[case::parent("..", "storage ID '..' contains illegal characters")]
    #[case::digit_first("1a", "storage ID '1a' contains illegal characters")]
    #[case::volume("local:x", "storage ID 'local:x' contains illegal characters")]
    #[case::newline("local\n", "storage ID 'local\n' contains illegal characters")]
    fn rejects(#[case] text: &str, #[case] message: &str) {
        assert_eq!(text.parse::<StorageId>().unwrap_err().to_string(), message);
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[a-zA-Z][a-zA-Z0-9._-]{0,20}[a-zA-Z0-9]") {
            prop_assert_eq!(text.parse::<StorageId>().unwrap().to_string(), text);
        }
    }
}
