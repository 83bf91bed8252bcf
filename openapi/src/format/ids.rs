//! Formats of names: users' things, sections of configuration files, tags, mail addresses.

use std::collections::BTreeSet;

use super::{all, ensure, is_true, split_list};
use crate::{token_id, user_id};

/// Letters, digits and the three marks that PVE allows in most of its names.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

pub(super) fn config_id(text: &str) -> Result<(), String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && all(text.get(1..).unwrap_or_default(), |c| {
            c.is_ascii_alphanumeric() || c == '_' || c == '-'
        });
    ensure(good, || format!("invalid configuration ID '{text}'"))
}

pub(super) fn bridge_id(text: &str) -> Result<(), String> {
    let good = all(text, |c| is_word(c) || c == '-' || c == '.');
    ensure(good, || format!("invalid bridge ID '{text}'"))
}

/// Perl's `\w` on text.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

pub(super) fn group_id(text: &str) -> Result<(), String> {
    ensure(all(text, is_plain), || format!("group name '{text}' contains invalid characters"))
}

/// `ct:100`, or the guest's number alone.
pub(super) fn ha_resource(text: &str) -> Result<(), String> {
    let named = text.split_once(':').is_some_and(|(kind, name)| {
        all(kind, |c| c.is_ascii_lowercase()) && all(name, |c| !c.is_whitespace())
    });
    ensure(named || all(text, |c| c.is_ascii_digit()), || {
        "value does not look like a valid ha resource id".to_owned()
    })
}

pub(super) fn role_id(text: &str) -> Result<(), String> {
    ensure(all(text, is_plain), || format!("role name '{text}' contains invalid characters"))
}

pub(super) fn pool_id(text: &str) -> Result<(), String> {
    // Perl's split forgets what is empty at the end.
    let levels = text.trim_end_matches('/').split('/').count();
    ensure(levels <= 3, || format!("pool name '{text}' nested too deeply (max levels = 3)"))?;
    let good = text.split('/').all(|level| all(level, is_plain));
    ensure(good, || format!("pool name '{text}' contains invalid characters"))
}

pub(super) fn realm(text: &str) -> Result<(), String> {
    ensure(user_id::is_realm(text), || "value does not look like a valid realm".to_owned())
}

/// By shape alone: unlike a user's, a token's id has no limit on its length.
pub(super) fn token_id(text: &str) -> Result<(), String> {
    let good = token_id::split(text).is_some();
    ensure(good, || format!("value '{text}' does not look like a valid token ID"))
}

pub(super) fn tag(text: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = text.starts_with(first) && all(text, |c| is_plain(c) || c == '+');
    ensure(good, || "invalid characters in tag".to_owned())
}

pub(super) fn ldap_attribute(text: &str) -> Result<(), String> {
    let good = all(text, |c| c.is_ascii_alphanumeric());
    ensure(good, || format!("value '{text}' does not look like a simple ldap attribute name"))
}

fn is_mail_user(text: &str) -> bool {
    text.split('.').all(|part| all(part, |c| is_word(c) || matches!(c, '+' | '-' | '~')))
}

fn is_mail_address(text: &str) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split_once('@').is_some_and(|(user, domain)| {
        is_mail_user(user) && domain.split('.').all(|part| all(part, host))
    })
}

pub(super) fn email(text: &str) -> Result<(), String> {
    ensure(is_mail_address(text), || "value does not look like a valid email address".to_owned())
}

pub(super) fn email_or_username(text: &str) -> Result<(), String> {
    ensure(is_mail_address(text) || is_mail_user(text), || {
        "value does not look like a valid email address or user name".to_owned()
    })
}

/// Two labels or more.
fn is_acme_name(text: &str, first: impl Fn(char) -> bool) -> bool {
    let label = |label: &str| {
        label.starts_with(&first)
            && all(label, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    text.contains('.') && text.split('.').all(label)
}

pub(super) fn acme_domain(text: &str) -> Result<(), String> {
    let good = is_acme_name(text, |c| c.is_ascii_alphanumeric());
    ensure(good, || format!("value '{text}' does not look like a valid domain name!"))
}

pub(super) fn acme_alias(text: &str) -> Result<(), String> {
    let good = is_acme_name(text, |c| c.is_ascii_alphanumeric() || c == '_');
    ensure(good, || format!("value '{text}' does not look like a valid alias name!"))
}

/// `1`, an id, or `source:target`. The newlines are what Perl's nested `die`s leave.
pub(super) fn pair(text: &str, id: fn(&str) -> Result<(), String>) -> Result<(), String> {
    if !is_true(text) {
        return Ok(());
    }
    let (mut identity, mut default, mut sources) = (false, false, BTreeSet::new());
    for entry in split_list(text) {
        let invalid = |err| format!("entry '{entry}' contains invalid ID - {err}\n\n");
        let parts = entry.split_once(':').filter(|(source, target)| {
            !source.is_empty() && !target.is_empty() && !target.contains(':')
        });
        if entry == "1" {
            identity = true;
        } else if let Some((source, target)) = parts {
            id(source).and_then(|()| id(target)).map_err(invalid)?;
            ensure(sources.insert(source), || {
                format!("duplicate mapping for source '{source}'\n")
            })?;
        } else {
            id(entry).map_err(invalid)?;
            ensure(!default, || "default target ID can only be provided once\n".to_owned())?;
            default = true;
        }
    }
    ensure(!identity || (!default && sources.is_empty()), || {
        "identity mapping cannot be combined with other mappings\n".to_owned()
    })
}
