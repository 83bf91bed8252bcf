//! Who a request or a login comes from: tickets, API tokens, passwords and CSRF tokens against the
//! files. The reasons are for the log; clients are told nothing but that it failed.
//! Upstream: `verify_ticket`, `verify_token`, `authenticate_user` in pve-access-control.

use std::time::{SystemTime, UNIX_EPOCH};

use openapi::{AuthId, TokenId, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::keys::{self, KeyError, Keys};
use super::password::{self, PasswordError};
use super::secrets::Shadow;
use super::ticket::{self, Content};
use super::{Access, csrf};

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("permission denied - invalid PVE ticket")]
    Ticket,
    /// PVE answers this as if there were no ticket.
    #[error("the ticket still waits for a second factor")]
    TicketHalf,
    #[error("Permission denied - invalid csrf token")]
    Csrf,
    #[error("permission denied - invalid PVEVNC ticket")]
    ConsoleTicket,
    #[error("'{0}' may not use this console")]
    ConsoleRights(AuthId),
    #[error("no tokenid specified")]
    NoToken,
    #[error("no such user ('{0}')")]
    NoSuchUser(UserId),
    #[error("user '{0}' is disabled")]
    Disabled(UserId),
    #[error("user '{0}' access expired")]
    Expired(UserId),
    #[error("no such token '{}' for user '{}'", .0.name(), .0.user())]
    NoSuchToken(TokenId),
    #[error("token '{}' access expired", .0.name())]
    TokenExpired(TokenId),
    #[error("invalid token value!")]
    TokenValue,
    #[error("auth domain '{0}' does not exist")]
    NoSuchRealm(String),
    #[error("passwords of realm '{0}' can only be checked on a PVE node")]
    ForeignRealm(String),
    #[error("user '{0}' has a second factor, which can only be checked on a PVE node")]
    SecondFactor(UserId),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What a successful login is answered with.
#[derive(Debug)]
pub struct Session {
    pub ticket: SecretString,
    /// To be sent with every request that changes something.
    pub csrf: SecretString,
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Access {
    /// The user that a ticket was made for, if that user may still log in.
    pub fn verify_ticket(&self, ticket: &str) -> Result<UserId, AuthError> {
        match ticket::verify(&self.keys, ticket, now()) {
            None => Err(AuthError::Ticket),
            Some(Content::SecondFactor) => Err(AuthError::TicketHalf),
            Some(Content::User(user)) => self.enabled(&user).map(|()| user),
        }
    }

    /// `user@realm!name=secret`, as the header has it.
    pub fn verify_token(&self, sent: &str) -> Result<TokenId, AuthError> {
        let (id, secret) = sent.rsplit_once('=').ok_or(AuthError::NoToken)?;
        let id: TokenId = id.parse().map_err(|_| AuthError::NoToken)?;
        let right = self.tokens.verify(&id, secret);
        self.enabled(id.user())?;
        let Some(token) = self.config.find_token(&id) else {
            return Err(AuthError::NoSuchToken(id));
        };
        if token.expire != 0 && token.expire < now() {
            return Err(AuthError::TokenExpired(id));
        }
        if right { Ok(id) } else { Err(AuthError::TokenValue) }
    }

    pub fn verify_csrf(&self, user: &UserId, token: &str) -> Result<(), AuthError> {
        let secret = self.keys.csrf.as_ref().ok_or(AuthError::Csrf)?;
        let valid = csrf::verify(secret, user.as_str(), token, now());
        if valid { Ok(()) } else { Err(AuthError::Csrf) }
    }

    /// A user's password or, to renew it, a ticket; one of root@pam does for every user.
    /// Takes about as long for a user that does not exist. Slow on purpose: not for an async thread.
    pub fn login(&self, user: &UserId, password: &SecretString) -> Result<(), AuthError> {
        if self.enabled(user).is_ok()
            && let Ok(known) = self.verify_ticket(password.expose_secret())
            && (known == *user || known.as_str() == "root@pam")
        {
            return Ok(());
        }
        let shadow = keys::optional(&self.root.shadow_cfg())?.unwrap_or_default();
        let shadow = Shadow::parse(&shadow);
        let hash = shadow.get(user.name()).filter(|_| user.realm() == "pve");
        let right = password::verify(password, hash);

        self.enabled(user)?;
        let realm = self.realms.get(user.realm());
        let realm = realm.ok_or_else(|| AuthError::NoSuchRealm(user.realm().to_owned()))?;
        if realm.kind != "pve" {
            return Err(AuthError::ForeignRealm(user.realm().to_owned()));
        }
        right?;
        if realm.tfa().is_some() || self.has_second_factor(user)? {
            return Err(AuthError::SecondFactor(user.clone()));
        }
        Ok(())
    }

    /// A ticket and a CSRF token for a user whose login was checked. Changes the ticket key first
    /// if that is due.
    pub fn issue(&self, user: &UserId) -> Result<Session, AuthError> {
        if self.renew_keys()? {
            return session(&Keys::read(&self.root)?, user);
        }
        session(&self.keys, user)
    }

    /// Whether a user exists, is enabled and has not expired.
    pub fn enabled(&self, user: &UserId) -> Result<(), AuthError> {
        let entry = self.config.users.get(user);
        let entry = entry.ok_or_else(|| AuthError::NoSuchUser(user.clone()))?;
        if !entry.enable {
            return Err(AuthError::Disabled(user.clone()));
        }
        if entry.expire != 0 && entry.expire < now() {
            return Err(AuthError::Expired(user.clone()));
        }
        Ok(())
    }

    /// In `user.cfg`'s mark or in the file that holds them. One that cannot be read counts.
    fn has_second_factor(&self, user: &UserId) -> Result<bool, AuthError> {
        if self.config.users.get(user).is_some_and(|user| user.keys.starts_with('x')) {
            return Ok(true);
        }
        let path = self.root.etc_pve().join("priv/tfa.cfg");
        let Some(text) = keys::optional(&path)?.filter(|text| !text.trim().is_empty()) else {
            return Ok(false);
        };
        let Ok(file) = serde_json::from_str::<Value>(&text) else { return Ok(true) };
        let entry = &file["users"][user.as_str()];
        let filled = |value: &Value| match value {
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Null => false,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        };
        Ok(entry.as_object().is_some_and(|kinds| kinds.values().any(filled)))
    }
}

fn session(keys: &Keys, user: &UserId) -> Result<Session, AuthError> {
    let secret = keys.csrf.as_ref().ok_or(AuthError::Csrf)?;
    let ticket = ticket::make(keys, user, now())?.into();
    Ok(Session { ticket, csrf: csrf::make(secret, user.as_str(), now()).into() })
}

#[cfg(test)]
mod tests;
