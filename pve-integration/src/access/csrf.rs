//! Tokens that show a browser's request came from our own page. Upstream: `src/PVE/Ticket.pm` in
//! pve-common; its older SHA-1 form is not accepted.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::ticket::{hex_time, is_fresh};

/// What tokens are keyed with: the digest's text, not its bytes, as upstream has it.
pub(super) fn secret(www_key: &[u8]) -> SecretString {
    mac(www_key, b"").into()
}

fn mac(key: &[u8], message: &[u8]) -> String {
    STANDARD_NO_PAD.encode(hmac::sign(&hmac::Key::new(HMAC_SHA256, key), message))
}

pub(super) fn make(secret: &SecretString, user: &str, now: u64) -> String {
    let time = format!("{now:08X}");
    let digest = mac(secret.expose_secret().as_bytes(), format!("{time}:{user}").as_bytes());
    format!("{time}:{digest}")
}

pub(super) fn verify(secret: &SecretString, user: &str, token: &str, now: u64) -> bool {
    let Some((time, digest)) = token.split_once(':') else { return false };
    let Some(made) = hex_time(time) else { return false };
    let expected = mac(secret.expose_secret().as_bytes(), format!("{time}:{user}").as_bytes());
    verify_slices_are_equal(expected.as_bytes(), digest.as_bytes()).is_ok() && is_fresh(made, now)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MADE: u64 = 0x6B04_3E48;
    /// Computed with Python's hmac from the key in `key`.
    const TOKEN: &str = "6B043E48:UKzQMGVhTZmfJE036c/3CDGyQfpcr8x7vEkIjdllTG0";

    fn key() -> SecretString {
        secret(b"-----BEGIN KEY-----\nAbC+/=\n")
    }

    #[test]
    fn is_pves() {
        assert_eq!(key().expose_secret(), "dbibBV3bAuZKpRB6m1f+Xj/Q4EujkXyWVB01z/+sMMM");
        assert_eq!(make(&key(), "alice@pve", MADE), TOKEN);
    }

    #[rstest]
    #[case::at_once("alice@pve", TOKEN, MADE, true)]
    #[case::late("alice@pve", TOKEN, MADE + 7199, true)]
    #[case::too_late("alice@pve", TOKEN, MADE + 7200, false)]
    #[case::clock_behind("alice@pve", TOKEN, MADE - 299, true)]
    #[case::from_the_future("alice@pve", TOKEN, MADE - 300, false)]
    #[case::of_another("bob@pve", TOKEN, MADE, false)]
    #[case::other_time(
        "alice@pve",
        "6B043E49:UKzQMGVhTZmfJE036c/3CDGyQfpcr8x7vEkIjdllTG0",
        MADE,
        false
    )]
    #[case::cut("alice@pve", "6B043E48:UKzQMGVhTZmfJE036c/3CDGyQfpcr8x7vEkIjdllTG", MADE, false)]
    #[case::empty("alice@pve", "", MADE, false)]
    fn holds(#[case] user: &str, #[case] token: &str, #[case] now: u64, #[case] valid: bool) {
        assert_eq!(verify(&key(), user, token, now), valid);
    }
}
