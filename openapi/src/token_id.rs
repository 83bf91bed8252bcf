//! An API token's id, `user@realm!name`. Its secret and its rights are kept elsewhere.

use std::fmt;
use std::str::FromStr;

use crate::user_id::{UserId, is_realm, is_user};
use crate::wire_text::wire_text;

/// A user's API token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId {
    user: UserId,
    name: String,
}

/// Not a token's id. The message is PVE's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value '{0}' does not look like a valid token ID")]
pub struct InvalidTokenId(String);

impl TokenId {
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// What follows the `!`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The two parts by shape alone, as PVE's format has it: no limit on the length.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    let (user, name) = text.rsplit_once('!')?;
    (is_user(user) && is_realm(name)).then_some((user, name))
}

impl FromStr for TokenId {
    type Err = InvalidTokenId;

    fn from_str(text: &str) -> Result<Self, InvalidTokenId> {
        let invalid = || InvalidTokenId(text.to_owned());
        let (user, name) = split(text).ok_or_else(invalid)?;
        Ok(Self { user: user.parse().map_err(|_| invalid())?, name: name.to_owned() })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", self.user, self.name)
    }
}

wire_text!(
    TokenId,
    "An API token, name@realm!token",
    Some(r"^[^\s:/]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+$")
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::user_only("root@pam")]
    #[case::no_realm("root!t1")]
    #[case::short_name("root@pam!t")]
    #[case::digit_first("root@pam!1t")]
    #[case::two_marks("root@pam!a1!b2")]
    #[case::newline("root@pam!t1\n")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<TokenId>(), Err(InvalidTokenId(text.to_owned())));
    }

    #[test]
    fn names_its_user() {
        let token: TokenId = "root@pam!t1".parse().unwrap();
        assert_eq!((token.user().as_str(), token.name()), ("root@pam", "t1"));
    }

    proptest! {
        #[test]
        fn prints_what_it_read(text in "[^\\s:/@]{1,20}@[a-z][a-z0-9._-]{1,9}![a-z][a-z0-9._-]{1,9}") {
            prop_assert_eq!(text.parse::<TokenId>().unwrap().to_string(), text);
        }
    }
}
