//! Tickets for consoles: short-lived, good for one user, path and port, none of which they say.
//! Upstream: `assemble_vnc_ticket` and `verify_vnc_ticket` in pve-access-control.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openapi::{AuthId, Privilege};

use super::Access;
use super::keys::{self, Keys, LIFETIME};
use super::login::{AuthError, now};
use super::text::normalize_path;
use super::ticket::{age, hex_time};

const PREFIX: &str = "PVEVNC";
/// How old such a ticket may be, in seconds: clocks differ.
const MIN_AGE: i64 = -20;
const MAX_AGE: i64 = 40;

/// What a ticket is good for, beside its time.
fn secret(who: &str, path: &str, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("{who}:{path}:{port}"),
        None => format!("{who}:{path}"),
    }
}

fn make(keys: &Keys, secret: &str, now: u64) -> Result<String, AuthError> {
    let plain = format!("{PREFIX}:{now:08X}");
    let signature = STANDARD.encode(keys.sign(&format!("{plain}:{secret}"))?);
    Ok(format!("{plain}::{signature}"))
}

fn verify(keys: &Keys, ticket: &str, secret: &str, now: u64) -> bool {
    // What `vncproxy` gives websocket clients begins with the eight characters of a password.
    let behind_password = ticket
        .char_indices()
        .nth(8)
        .and_then(|(at, _)| ticket[at..].strip_prefix(':'))
        .filter(|rest| rest.starts_with("PVEVNC:"));
    let ticket = behind_password.unwrap_or(ticket);
    let parts = || {
        let (plain, signature) = ticket.rsplit_once("::")?;
        let time = hex_time(plain.strip_prefix("PVEVNC:")?)?;
        Some((plain, STANDARD.decode(signature).ok()?, age(time, now)))
    };
    let Some((plain, signature, age)) = parts() else { return false };
    // Only the key of today: these do not live long enough to see it change.
    let Some(key) = keys.current.as_ref().filter(|key| now <= key.since + LIFETIME) else {
        return false;
    };
    MIN_AGE < age && age < MAX_AGE && key.verify(&format!("{plain}:{secret}"), &signature)
}

impl Access {
    /// For the console at `path` that listens on `port`. Changes the ticket key first if that is due.
    pub fn issue_console_ticket(
        &self,
        who: &AuthId,
        path: &str,
        port: u16,
    ) -> Result<String, AuthError> {
        let secret = secret(&who.to_string(), path, Some(port));
        if self.renew_keys()? {
            return make(&Keys::read(&self.root)?, &secret, now());
        }
        make(&self.keys, &secret, now())
    }

    /// Whether it is good for this console. Without a port it must be one of the old kind, which was
    /// good for any. Whose rights are asked elsewhere.
    pub fn verify_console_ticket(
        &self,
        ticket: &str,
        who: &AuthId,
        path: &str,
        port: Option<u16>,
    ) -> Result<(), AuthError> {
        let path = normalize_path(path).ok_or(AuthError::ConsoleTicket)?;
        let secret = secret(&who.to_string(), &path, port);
        let valid = verify(&self.keys, ticket, &secret, now());
        if valid { Ok(()) } else { Err(AuthError::ConsoleTicket) }
    }

    /// As `POST access/vncticket` and the console itself ask: the ticket, and all of the privileges.
    pub fn admit_to_console(
        &self,
        ticket: &str,
        who: &AuthId,
        path: &str,
        port: Option<u16>,
        privileges: &[Privilege],
    ) -> Result<(), AuthError> {
        self.verify_console_ticket(ticket, who, path, port)?;
        self.enabled(who.user())?;
        let path = normalize_path(path).unwrap_or_default();
        if privileges.is_empty() || self.check(who, &path, privileges, false).is_err() {
            return Err(AuthError::ConsoleRights(who.clone()));
        }
        Ok(())
    }

    /// True if the key on disk is another one now.
    pub(super) fn renew_keys(&self) -> Result<bool, AuthError> {
        let due = |keys: &Keys| {
            keys.current.as_ref().is_none_or(|key| now() >= key.since + keys::LIFETIME)
        };
        if !due(&self.keys) || super::is_cluster(&self.root) {
            return Ok(false);
        }
        keys::keep(&self.root, now())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::super::keys::tests::{SHARED, keys};
    use super::*;

    const MADE: u64 = 0x6B04_3E48;
    const SECRET: &str = "alice@pve:/vms/100:5900";

    fn ticket() -> String {
        make(&SHARED, SECRET, MADE).unwrap()
    }

    #[test]
    fn has_pves_form() {
        let ticket = ticket();
        let (plain, signature) = ticket.split_once("::").unwrap();

        assert_eq!(plain, "PVEVNC:6B043E48");
        assert_eq!(STANDARD.decode(signature).unwrap().len(), 256);
        assert_eq!(secret("alice@pve", "/vms/100", None), "alice@pve:/vms/100");
    }

    #[rstest]
    #[case::at_once(0, true)]
    #[case::just_before_the_end(39, true)]
    #[case::at_the_end(40, false)]
    #[case::clock_behind(-19, true)]
    #[case::from_the_future(-20, false)]
    fn counts(#[case] later: i64, #[case] valid: bool) {
        let keys = keys(MADE - 100, false);
        let now = MADE.saturating_add_signed(later);

        assert_eq!(verify(&keys, &ticket(), SECRET, now), valid);
    }

    #[rstest]
    #[case::another_user("bob@pve:/vms/100:5900")]
    #[case::another_path("alice@pve:/vms/101:5900")]
    #[case::another_port("alice@pve:/vms/100:5901")]
    #[case::no_port("alice@pve:/vms/100")]
    fn is_good_for_nothing_else(#[case] other: &str) {
        assert!(!verify(&keys(MADE - 100, false), &ticket(), other, MADE));
    }

    #[test]
    fn may_follow_a_password() {
        let keys = keys(MADE - 100, false);
        let verify =
            |password: &str| verify(&keys, &format!("{password}{}", ticket()), SECRET, MADE);

        assert!(verify("!9:;_Az`:"));
        assert!(!verify("!9:;_Az:"));
        assert!(!verify("!9:;_Az``:"));
    }

    #[test]
    fn dies_with_its_key() {
        let day = 24 * 3600;

        assert!(verify(&keys(MADE - day, false), &ticket(), SECRET, MADE));
        assert!(!verify(&keys(MADE - day - 1, false), &ticket(), SECRET, MADE));
    }

    proptest! {
        #[test]
        fn never_panics(garbage in ".{0,40}") {
            let keys = keys(MADE - 100, false);
            prop_assert!(!verify(&keys, &garbage, SECRET, MADE));
            let ticket = format!("{garbage}PVEVNC:6B043E48::");
            prop_assert!(!verify(&keys, &ticket, SECRET, MADE));
        }
    }
}
