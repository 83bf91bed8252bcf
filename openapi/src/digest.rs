//! The digest of a configuration file, by which a client proves that it saw the newest one. It is
//! computed by whoever reads the file.

use std::fmt;
use std::str::FromStr;

use crate::wire_text::wire_text;

/// 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest(String);

/// Not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value does not look like a digest of 40 or 64 hex digits")]
pub struct InvalidDigest;

impl Digest {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidDigest)
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

wire_text!(
    Digest,
    "SHA-1 or SHA-256 of the configuration file",
    Some("^([0-9a-f]{40}|[0-9a-f]{64})$")
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::short("abc")]
    #[case::upper("ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD")]
    #[case::between("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<Digest>(), Err(InvalidDigest));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[0-9a-f]{40}([0-9a-f]{24})?") {
            prop_assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        }
    }
}
