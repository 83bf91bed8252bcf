//! The name of a file system's type.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// `nfs`, `fuse.sshfs`: holds nothing that means more than itself in a rule of AppArmor's or a line of LXC's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsType(String);

impl FsType {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FsType {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.is_empty() && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let reason = format!("'{}' is not a file system type", text.escape_default());
        Err(ValueError::new("features", reason))
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_one_word_of_plain_letters(text in "[a-z0-9_. ,;{}()/*?@\"#-]{0,12}") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let parsed = text.parse::<FsType>().map(|kind| kind.to_string()).ok();
            prop_assert_eq!(parsed, (!text.is_empty() && text.chars().all(plain)).then_some(text));
        }
    }
}
