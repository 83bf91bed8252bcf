//! API tokens. A secret is made here, stored, and given to the caller once.

use openapi::TokenId;
use secrecy::SecretString;
use uuid::Uuid;

use super::{EditError, edit, edit_secrets};
use crate::access::Token;
use crate::layout::Root;

#[derive(Clone, Debug)]
pub struct NewToken {
    pub privsep: bool,
    pub expire: u64,
    pub comment: String,
}

/// `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct TokenChange {
    pub privsep: Option<bool>,
    pub expire: Option<u64>,
    pub comment: Option<String>,
    /// Names of settings to remove, of which PVE lets one: `comment`.
    pub delete: Vec<String>,
    /// Make another secret; the old one is void at once.
    pub regenerate: bool,
}

/// The new token's secret.
pub fn create_token(root: &Root, id: &TokenId, new: NewToken) -> Result<SecretString, EditError> {
    edit(root, "generating token failed", |edit| {
        match edit.config.existing_token(id) {
            Ok(_) => return Err(EditError::TokenExists),
            Err(EditError::NoSuchToken(_)) => {}
            Err(err) => return Err(err),
        }
        let NewToken { privsep, expire, comment } = new;
        if let Some(user) = edit.config.users.get_mut(id.user()) {
            user.tokens.insert(id.name().to_owned(), Token { expire, privsep, comment });
        }
        make_secret(root, id)
    })
}

/// The token as it is then, and the secret if it was made anew.
pub fn change_token(
    root: &Root,
    id: &TokenId,
    change: TokenChange,
) -> Result<(Token, Option<SecretString>), EditError> {
    edit(root, "updating token info failed", |edit| {
        let token = edit.config.existing_token_mut(id)?;
        token.privsep = change.privsep.unwrap_or(token.privsep);
        token.expire = change.expire.unwrap_or(token.expire);
        if let Some(comment) = change.comment {
            token.comment = comment;
        }
        for name in change.delete {
            if name != "comment" {
                let text = format!("unknown option '{name}'");
                return Err(EditError::Param { name: "delete", text });
            }
            token.comment.clear();
        }
        let token = token.clone();
        let secret = change.regenerate.then(|| make_secret(root, id)).transpose()?;
        Ok((token, secret))
    })
}

pub fn delete_token(root: &Root, id: &TokenId) -> Result<(), EditError> {
    edit(root, "deleting token failed", |edit| {
        edit.config.existing_token(id)?;
        // First, so that what is left of an interrupted deletion opens nothing.
        edit_secrets(root, |secrets| secrets.remove(id))?;
        if let Some(user) = edit.config.users.get_mut(id.user()) {
            user.tokens.remove(id.name());
        }
        Ok(())
    })
}

fn make_secret(root: &Root, id: &TokenId) -> Result<SecretString, EditError> {
    let secret = SecretString::from(Uuid::new_v4().to_string());
    edit_secrets(root, |secrets| secrets.insert(id.clone(), secret.clone()))?;
    Ok(secret)
}
