//! A node's name: PVE's host label. Whether it is this machine is the daemon's to know.

use std::fmt;
use std::str::FromStr;

use crate::wire_text::wire_text;

/// One label of ASCII letters, digits and inner hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Not a node's name. The message is PVE's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value does not look like a valid node name")]
pub struct InvalidNodeName;

impl NodeName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// PVE's label, also a part of its `dns-name`.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl FromStr for NodeName {
    type Err = InvalidNodeName;

    fn from_str(text: &str) -> Result<Self, InvalidNodeName> {
        if is_label(text) { Ok(Self(text.to_owned())) } else { Err(InvalidNodeName) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

wire_text!(NodeName, "A node's name", Some("^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::parent("..")]
    #[case::separator("pve/1")]
    #[case::leading_hyphen("-pve")]
    #[case::trailing_hyphen("pve-")]
    #[case::dotted("pve.example")]
    #[case::newline("pve\n")]
    #[case::not_ascii("pvé")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<NodeName>(), Err(InvalidNodeName));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,60}[a-zA-Z0-9])?") {
            prop_assert_eq!(text.parse::<NodeName>().unwrap().to_string(), text);
        }
    }
}
