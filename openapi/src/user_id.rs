//! A user's id, `name@realm`. Whether the user exists, and whether it is enabled, is for
//! `user.cfg` to say.

use std::fmt;
use std::str::FromStr;

use crate::wire_text::wire_text;

/// A user of a realm, 3 to 64 characters in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// Not a user's id. The messages are PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserId {
    #[error("user name '{0}' is too short")]
    Short(String),
    #[error("user name '{text}' is too long ({length} > 64)")]
    Long { text: String, length: usize },
    #[error("value '{0}' does not look like a valid user name")]
    Shape(String),
}

impl UserId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        split(&self.0).0
    }

    #[must_use]
    pub fn realm(&self) -> &str {
        split(&self.0).1
    }
}

/// A realm has no `@`, so the last one divides.
fn split(text: &str) -> (&str, &str) {
    text.rsplit_once('@').unwrap_or((text, ""))
}

/// A realm's name, and with the same rule the name of a token.
pub(crate) fn is_realm(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A colon would break `user.cfg`, a slash a URL.
pub(crate) fn is_user(text: &str) -> bool {
    let (name, realm) = split(text);
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c == ':' || c == '/')
        && is_realm(realm)
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let length = text.chars().count();
        // Perl takes "0" for no name at all, and so prints none.
        match length {
            0..3 => Err(InvalidUserId::Short(if text == "0" { "" } else { text }.to_owned())),
            65.. => Err(InvalidUserId::Long { text: text.to_owned(), length }),
            _ if is_user(text) => Ok(Self(text.to_owned())),
            _ => Err(InvalidUserId::Shape(text.to_owned())),
        }
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

wire_text!(UserId, "A user, name@realm", Some(r"^[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+$"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("", "user name '' is too short")]
    #[case::no_realm("root", "value 'root' does not look like a valid user name")]
    #[case::no_name("@pam", "value '@pam' does not look like a valid user name")]
    #[case::slash("a/b@pam", "value 'a/b@pam' does not look like a valid user name")]
    #[case::colon("a:b@pam", "value 'a:b@pam' does not look like a valid user name")]
    #[case::newline("root@pam\n", "value 'root@pam\n' does not look like a valid user name")]
    #[case::token("root@pam!t", "value 'root@pam!t' does not look like a valid user name")]
    #[case::short_realm("root@p", "value 'root@p' does not look like a valid user name")]
    fn rejects(#[case] text: &str, #[case] message: &str) {
        assert_eq!(text.parse::<UserId>().unwrap_err().to_string(), message);
    }

    #[test]
    fn rejects_more_than_64_characters() {
        let text = format!("{}@pam", "a".repeat(61));
        let message = text.parse::<UserId>().unwrap_err().to_string();
        assert!(message.ends_with("is too long (65 > 64)"), "{message}");
    }

    #[test]
    fn divides_at_the_last_at() {
        let user: UserId = "jo@example.org@ldap".parse().unwrap();
        assert_eq!((user.name(), user.realm()), ("jo@example.org", "ldap"));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[^\\s:/@]{1,20}@[a-z][a-z0-9._-]{1,9}") {
            prop_assert_eq!(text.parse::<UserId>().unwrap().to_string(), text);
        }
    }
}
