//! Passwords against their hashes, as crypt(3) makes them. Where hashes are kept is `secrets`'.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use secrecy::{ExposeSecret, SecretString};
use sha_crypt::{Sha256Params, Sha512Params, sha256_crypt_b64, sha512_crypt_b64};

/// crypt(3) refuses longer ones (libxcrypt's `CRYPT_MAX_PASSPHRASE_SIZE`); the work grows with the
/// length, and anybody may try to log in.
const MAX_BYTES: usize = 511;

/// No password has this hash; comparing with it takes as long as with PVE's own.
const NOBODY: &str = "$5$nobodynobody$...........................................";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("invalid credentials")]
    Wrong,
    #[error("password hashes of kind '{0}' are not supported; set the password anew")]
    Unsupported(String),
    #[error("the stored password hash is malformed; set the password anew")]
    Malformed,
}

/// Compare with a hash; without one, take the same time and refuse.
pub fn verify(password: &SecretString, hash: Option<&SecretString>) -> Result<(), PasswordError> {
    use PasswordError::{Malformed, Wrong};

    let password = password.expose_secret();
    if password.is_empty() || password.len() > MAX_BYTES || password.contains('\0') {
        return Err(Wrong);
    }
    let stored = hash.map_or(NOBODY, |hash| hash.expose_secret());
    let mut fields = stored.strip_prefix('$').ok_or(Malformed)?.split('$');
    let computed = match fields.next() {
        Some("5") => {
            let (rounds, salt) = sha_settings(&mut fields)?;
            let params = Sha256Params::new(rounds).map_err(|_| Malformed)?;
            sha256_crypt_b64(password.as_bytes(), salt.as_bytes(), &params)
                .map_err(|_| Malformed)?
        }
        Some("6") => {
            let (rounds, salt) = sha_settings(&mut fields)?;
            let params = Sha512Params::new(rounds).map_err(|_| Malformed)?;
            sha512_crypt_b64(password.as_bytes(), salt.as_bytes(), &params)
                .map_err(|_| Malformed)?
        }
        Some("2a" | "2b" | "2y") => {
            return match bcrypt::verify(password, stored) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Wrong),
                Err(_) => Err(Malformed),
            };
        }
        Some(kind) => return Err(PasswordError::Unsupported(format!("${kind}$"))),
        None => return Err(Malformed),
    };
    let expected = stored.rsplit('$').next().unwrap_or_default();
    let equal = verify_slices_are_equal(computed.as_bytes(), expected.as_bytes()).is_ok();
    if equal && hash.is_some() { Ok(()) } else { Err(Wrong) }
}

/// `[rounds=N$]salt$hash`: the rounds and the salt.
fn sha_settings<'a>(
    fields: &mut std::str::Split<'a, char>,
) -> Result<(usize, &'a str), PasswordError> {
    const DEFAULT_ROUNDS: usize = 5000;
    let malformed = PasswordError::Malformed;
    let first = fields.next().ok_or_else(|| malformed.clone())?;
    let settings = match first.strip_prefix("rounds=") {
        // What crypt(3) clamps; beyond a million one login would take a processor for seconds.
        Some(rounds) => {
            let rounds: usize = rounds.parse().map_err(|_| malformed.clone())?;
            (rounds.clamp(1000, 1_000_000), fields.next().ok_or_else(|| malformed.clone())?)
        }
        None => (DEFAULT_ROUNDS, first),
    };
    match (fields.next(), fields.next()) {
        (Some(_), None) => Ok(settings),
        _ => Err(malformed),
    }
}

/// Characters that crypt(3) takes.
fn salt<const N: usize>() -> Result<String, PasswordError> {
    const SALT: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = [0; N];
    rand::fill(&mut random).map_err(|_| PasswordError::Malformed)?;
    Ok(random.iter().map(|byte| char::from(SALT[usize::from(byte % 64)])).collect())
}

/// For `/etc/shadow` of any distribution, as PVE makes it: SHA-512 crypt, which all of them know.
/// What is such a hash already stays as it is.
pub fn hash_for_shadow(password: &SecretString) -> Result<SecretString, PasswordError> {
    if is_hash(password.expose_secret()) {
        return Ok(password.clone());
    }
    let salt = salt::<16>()?;
    let password = password.expose_secret().as_bytes();
    let hash = sha512_crypt_b64(password, salt.as_bytes(), &Sha512Params::default())
        .map_err(|_| PasswordError::Malformed)?;
    Ok(format!("$6${salt}${hash}").into())
}

/// `$kind$salt$hash` of a kind that PVE hands through.
fn is_hash(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
    };
    let fields: Vec<&str> = text.split('$').collect();
    match fields[..] {
        ["", "1" | "2" | "2a" | "2x" | "2y" | "5" | "6", salt, hash] => {
            plain(salt) && salt.len() <= 16 && plain(hash)
        }
        _ => false,
    }
}

/// A password as PVE stores it: SHA-256 crypt with 8 characters of salt.
pub fn hash(password: &SecretString) -> Result<SecretString, PasswordError> {
    let salt = salt::<8>()?;
    let password = password.expose_secret().as_bytes();
    let hash = sha256_crypt_b64(password, salt.as_bytes(), &Sha256Params::default())
        .map_err(|_| PasswordError::Malformed)?;
    Ok(format!("$5${salt}${hash}").into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn check(password: &str, hash: &str) -> Result<(), PasswordError> {
        verify(&password.into(), Some(&hash.into()))
    }

    /// Hashes made by crypt(3) and by openssl.
    #[rstest]
    #[case::recorded("alicepw1", "$5$abcdefgh$vzzG96PS0M/j/bPDbNSLd4FbOFBU3BKZmYZNn/eh4A5")]
    #[case::utf8("pässword", "$5$saltsalt$rQBvFGQx3u6doxkk7cvWbhhnhS2qa1.FI.tt6NGFH66")]
    #[case::rounds(
        "secret1",
        "$5$rounds=1000$abcdefgh$uwjhOVtI3QadZKElkmfrs55ohhdWlvvYKfm.LToqmHB"
    )]
    #[case::sha512(
        "secret1",
        "$6$saltsalt$jCP90RmSIIja2o9FRs25ASQaR1lMN6uKHmNcHaoNCpAXgV3n5NfAlQdZQcvMVQO1BTCOFF0LzoHFZBt9E45NW0"
    )]
    #[case::bcrypt("secret1", "$2y$05$abcdefghijklmnopqrstuu7xBdc3mx5nNlgVHYL28yCH.qGrgk0.q")]
    fn tells_right_from_wrong(#[case] password: &str, #[case] hash: &str) {
        assert_eq!(check(password, hash), Ok(()));
        assert_eq!(check(&format!("{password}x"), hash), Err(PasswordError::Wrong));
        assert_eq!(check("", hash), Err(PasswordError::Wrong));
        assert_eq!(check(&password.repeat(100), hash), Err(PasswordError::Wrong));
    }

    #[rstest]
    #[case::yescrypt("$y$j9T$abcdefgh$s0iOlOrF3vbZAeTFGlMWsHSyKb6UdOK10ouAG9QAZw.", "$y$")]
    #[case::md5("$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", "$1$")]
    fn names_the_kind_it_cannot_check(#[case] hash: &str, #[case] kind: &str) {
        assert_eq!(check("x", hash), Err(PasswordError::Unsupported(kind.into())));
    }

    #[rstest]
    #[case("")]
    #[case("x")]
    #[case("$5$")]
    #[case("$5$salt")]
    #[case("$5$rounds=x$salt$h")]
    #[case("$5$salt$h$more")]
    #[case("$2y$05$short")]
    fn refuses_a_malformed_hash(#[case] hash: &str) {
        assert_eq!(check("x", hash), Err(PasswordError::Malformed));
    }

    #[test]
    fn refuses_without_a_hash_even_what_would_match() {
        assert_eq!(verify(&"x".into(), None), Err(PasswordError::Wrong));
        assert_eq!(check("x", "$5$salt$h"), Err(PasswordError::Wrong));
    }

    #[test]
    fn hashes_for_a_container() {
        let made = hash_for_shadow(&"secret1".into()).unwrap();
        assert!(made.expose_secret().starts_with("$6$"));
        assert_eq!(verify(&"secret1".into(), Some(&made)), Ok(()));
    }

    #[rstest]
    #[case("$5$abcdefgh$vzzG96PS0M/j", true)]
    #[case("$6$rounds=9$abc$x", false)]
    #[case("$6$$x", false)]
    #[case("$7$a$x", false)]
    #[case("pa$$word", false)]
    fn keeps_what_is_a_hash(#[case] text: &str, #[case] kept: bool) {
        let made = hash_for_shadow(&text.into()).unwrap();
        assert_eq!(made.expose_secret() == text, kept);
    }

    #[test]
    fn checks_what_it_made() {
        let made = hash(&"neu".into()).unwrap();
        assert_eq!(verify(&"neu".into(), Some(&made)), Ok(()));
        assert_ne!(made.expose_secret(), hash(&"neu".into()).unwrap().expose_secret());
    }
}
