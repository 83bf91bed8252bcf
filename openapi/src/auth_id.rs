//! Who calls: a user, or an API token of one. That the caller proved it is not said here.

use std::fmt;
use std::str::FromStr;

use crate::token_id::TokenId;
use crate::user_id::UserId;
use crate::wire_text::wire_text;

/// A user or an API token. No text is both: a realm has no `!`, a token's name no `@`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthId {
    User(UserId),
    Token(TokenId),
}

/// Neither a user's id nor a token's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value '{0}' does not look like a valid user name or token ID")]
pub struct InvalidAuthId(String);

impl AuthId {
    /// The user, for a token its owner.
    #[must_use]
    pub fn user(&self) -> &UserId {
        match self {
            Self::User(user) => user,
            Self::Token(token) => token.user(),
        }
    }

    #[must_use]
    pub fn token(&self) -> Option<&TokenId> {
        match self {
            Self::User(_) => None,
            Self::Token(token) => Some(token),
        }
    }

    /// The one user that PVE asks nothing. Its tokens are not it.
    #[must_use]
    pub fn is_root(&self) -> bool {
        match self {
            Self::User(user) => user.as_str() == "root@pam",
            Self::Token(_) => false,
        }
    }
}

impl From<UserId> for AuthId {
    fn from(user: UserId) -> Self {
        Self::User(user)
    }
}

impl From<TokenId> for AuthId {
    fn from(token: TokenId) -> Self {
        Self::Token(token)
    }
}

impl FromStr for AuthId {
    type Err = InvalidAuthId;

    fn from_str(text: &str) -> Result<Self, InvalidAuthId> {
        let token = || text.parse().map(Self::Token);
        text.parse()
            .map(Self::User)
            .or_else(|_| token().map_err(|_| InvalidAuthId(text.to_owned())))
    }
}

impl fmt::Display for AuthId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Token(token) => token.fmt(f),
        }
    }
}

wire_text!(AuthId, "A user, name@realm, or an API token, name@realm!token", None);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::user("alice@pve", false)]
    #[case::mark_in_the_name("a!bc@pve", false)]
    #[case::token("alice@pve!t1", true)]
    fn tells_users_from_tokens(#[case] text: &str, #[case] token: bool) {
        let id: AuthId = text.parse().unwrap();
        assert_eq!((id.token().is_some(), id.to_string()), (token, text.to_owned()));
    }

    #[rstest]
    #[case("root@pam", true)]
    #[case("root@pam!t1", false)]
    #[case("root@pve", false)]
    fn only_root_of_pam_is_root(#[case] text: &str, #[case] root: bool) {
        assert_eq!(text.parse::<AuthId>().unwrap().is_root(), root);
    }

    #[rstest]
    #[case("")]
    #[case("root")]
    #[case("root@pam!")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<AuthId>(), Err(InvalidAuthId(text.to_owned())));
    }
}
