//! Tickets: a user's name and a time, signed. Upstream: `src/PVE/Ticket.pm` in pve-common, and
//! `verify_ticket` in pve-access-control. The keys are `keys`'.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openapi::UserId;
use percent_encoding::percent_decode_str;

use super::keys::{KeyError, Keys, LIFETIME, Public};

/// How long a ticket and a CSRF token are good for, in seconds.
const VALID: i64 = 7200;
/// How far clocks may be apart, in seconds.
const GRACE: i64 = 300;

/// What a ticket that was signed by us and is not too old says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    User(UserId),
    /// The password was right, but the second factor is still asked for.
    SecondFactor,
}

/// Eight upper-case hex digits.
pub(super) fn hex_time(text: &str) -> Option<u64> {
    let digit = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    let plain = text.len() == 8 && text.bytes().all(digit);
    if plain { u64::from_str_radix(text, 16).ok() } else { None }
}

pub(super) fn age(made: u64, now: u64) -> i64 {
    let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    seconds(now).saturating_sub(seconds(made))
}

pub(super) fn is_fresh(made: u64, now: u64) -> bool {
    let age = age(made, now);
    -GRACE < age && age < VALID
}

pub(super) fn make(keys: &Keys, user: &UserId, now: u64) -> Result<String, KeyError> {
    let plain = format!("PVE:{}:{now:08X}", user.as_str()); // a user's id has no colon
    let signature = STANDARD.encode(keys.sign(&plain)?);
    Ok(format!("{plain}::{signature}"))
}

/// With the current key or, for tickets from before it came, the previous one.
pub(super) fn verify(keys: &Keys, ticket: &str, now: u64) -> Option<Content> {
    let current = keys.current.as_ref().and_then(|key| verify_with(key, false, ticket, now));
    current.or_else(|| keys.old.as_ref().and_then(|key| verify_with(key, true, ticket, now)))
}

fn verify_with(key: &Public, replaced: bool, ticket: &str, now: u64) -> Option<Content> {
    let (plain, signature) = ticket.rsplit_once("::")?;
    let (data, time) = plain.strip_prefix("PVE:")?.rsplit_once(':')?;
    let age = age(hex_time(time)?, now);
    let (min, max) = age_range(key.since, replaced, now);
    if age <= min || age >= max || plain.contains(char::is_whitespace) {
        return None;
    }
    if !key.verify(plain, &STANDARD.decode(signature).ok()?) {
        return None;
    }
    let data = percent_decode_str(data).decode_utf8().ok()?;
    if ["!tfa!", "tfa!", "u2f!"].iter().any(|mark| data.starts_with(mark)) {
        return Some(Content::SecondFactor);
    }
    data.parse().ok().map(Content::User)
}

/// The ages a ticket of this key can have: none is older than its key, and none was made after the
/// key was, or should have been, replaced.
fn age_range(since: u64, replaced: bool, now: u64) -> (i64, i64) {
    let key_age = age(since, now).max(0);
    if replaced {
        return (key_age - GRACE, VALID);
    }
    let lifetime = i64::try_from(LIFETIME).unwrap_or(i64::MAX);
    let min = if key_age > lifetime { key_age - lifetime } else { -GRACE };
    let max = if key_age < VALID { key_age + GRACE } else { VALID };
    (min, max)
}

#[cfg(test)]
mod tests;
