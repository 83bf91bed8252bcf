//! A volume's id, `storage:name`. The name's meaning, and so what a path traversal would be, is
//! the storage's; only what no storage takes is refused here.

use std::fmt;
use std::str::FromStr;

use crate::storage_id::{StorageId, is_section_id};
use crate::wire_text::wire_text;

/// A volume on a storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId {
    storage: StorageId,
    name: String,
}

/// Not a volume's id. The message is PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse volume ID '{0}'")]
pub struct InvalidVolumeId(String);

impl VolumeId {
    #[must_use]
    pub fn storage(&self) -> &StorageId {
        &self.storage
    }

    /// What follows the first colon, as the storage's plug-in names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for VolumeId {
    type Err = InvalidVolumeId;

    fn from_str(text: &str) -> Result<Self, InvalidVolumeId> {
        let invalid = || InvalidVolumeId(text.to_owned());
        let (storage, name) = text.split_once(':').ok_or_else(invalid)?;
        if !is_section_id(storage) || name.is_empty() || name.contains(['\n', '\0']) {
            return Err(invalid());
        }
        let storage = storage.parse().map_err(|_| invalid())?;
        Ok(Self { storage, name: name.to_owned() })
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.name)
    }
}

wire_text!(VolumeId, "A volume on a storage", Some("^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]:.+$"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::no_storage(":x")]
    #[case::no_name("local:")]
    #[case::no_colon("local")]
    #[case::short_storage("l:x")]
    #[case::path("/dev/sda:x")]
    #[case::newline("local:x\n")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<VolumeId>(), Err(InvalidVolumeId(text.to_owned())));
    }

    #[test]
    fn keeps_later_colons_in_the_name() {
        let volume: VolumeId = "local:vztmpl/a:b.tar".parse().unwrap();
        assert_eq!((volume.storage().as_str(), volume.name()), ("local", "vztmpl/a:b.tar"));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[a-z][a-z0-9._-]{0,9}[a-z0-9]:[^\n\0]{1,30}") {
            prop_assert_eq!(text.parse::<VolumeId>().unwrap().to_string(), text);
        }

        #[test]
        fn takes_nothing_that_prints_otherwise(text in any::<String>()) {
            prop_assert!(text.parse::<VolumeId>().map_or(true, |id| id.to_string() == text));
        }
    }
}
