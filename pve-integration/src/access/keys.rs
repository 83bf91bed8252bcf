//! The keys that tickets and CSRF tokens are made with: reading them, making them, and changing
//! the ticket key once a day as PVE does. What is signed is `ticket`'s.
//!
//! The private key is written first and is the one that counts: whenever the public one does not
//! belong to it, a change was interrupted, and completing it is the same step as making it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, KeyPair, RsaKeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use secrecy::{ExposeSecret, SecretString};

use crate::atomic;
use crate::layout::Root;

/// How long PVE uses one key, in seconds.
pub(super) const LIFETIME: u64 = 24 * 3600;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("'{0}' is no RSA key")]
    Malformed(PathBuf),
    #[error("the cryptography library failed to {0}")]
    Crypto(&'static str),
}

/// How many good signatures a key remembers.
const REMEMBERED: usize = 256;

/// A public key and when it came into use, in seconds since 1970.
pub(super) struct Public {
    pub(super) der: Vec<u8>,
    pub(super) since: u64,
    good: Mutex<VecDeque<Seen>>,
}

/// SHA-256 of a text and its signature.
type Seen = [u8; 32];

fn seen(text: &str, signature: &[u8]) -> Seen {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&(text.len() as u64).to_le_bytes()); // where the one ends and the other begins
    hash.update(text.as_bytes());
    hash.update(signature);
    let mut seen = Seen::default();
    seen.copy_from_slice(hash.finish().as_ref());
    seen
}

impl Public {
    fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(text) = optional(path)? else { return Ok(None) };
        let (_, der) = from_pem(&text).ok_or_else(|| KeyError::Malformed(path.to_owned()))?;
        let since = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH);
        Ok(Some(Self::new(der, since.unwrap_or(Duration::ZERO).as_secs())))
    }

    pub(super) fn new(der: Vec<u8>, since: u64) -> Self {
        Self { der, since, good: Mutex::default() }
    }

    /// Whether this key made the signature. A client shows the same ticket with each request, so what
    /// was found good is remembered by its hash, which nobody can aim at; how old a ticket may be
    /// is asked each time, and by others.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> bool {
        let seen = seen(text, signature);
        let known = |good: &VecDeque<Seen>| good.contains(&seen);
        if known(&self.good.lock().unwrap_or_else(PoisonError::into_inner)) {
            return true;
        }
        let matches = self.matches(text, signature);
        if matches {
            let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            good.truncate(REMEMBERED - 1);
            good.push_front(seen);
        }
        matches
    }

    /// PVE signs with the default of its RSA module, which was SHA-1 for long.
    fn matches(&self, text: &str, signature: &[u8]) -> bool {
        let matches = |algorithm| {
            UnparsedPublicKey::new(algorithm, &self.der).verify(text.as_bytes(), signature).is_ok()
        };
        matches(&signature::RSA_PKCS1_2048_8192_SHA256)
            || matches(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)
    }
}

/// All of them, as they are on disk. On a PVE node some may be unreadable or missing.
pub(super) struct Keys {
    private: Option<RsaKeyPair>,
    pub(super) current: Option<Public>,
    pub(super) old: Option<Public>,
    /// What CSRF tokens are made with.
    pub(super) csrf: Option<SecretString>,
}

fn old_path(root: &Root) -> PathBuf {
    root.etc_pve().join("authkey.pub.old")
}

/// The files whose change makes `Keys` stale.
pub(super) fn files(root: &Root) -> [PathBuf; 4] {
    [root.authkey_key(), root.authkey_pub(), old_path(root), root.www_key()]
}

impl Keys {
    pub(super) fn read(root: &Root) -> Result<Self, KeyError> {
        let www = optional(&root.www_key())?;
        Ok(Self {
            private: read_private(root)?,
            current: Public::read(&root.authkey_pub())?,
            old: Public::read(&old_path(root))?,
            csrf: www.map(|text| super::csrf::secret(text.as_bytes())),
        })
    }

    pub(super) fn sign(&self, text: &str) -> Result<Vec<u8>, KeyError> {
        let private = self.private.as_ref().ok_or(KeyError::Crypto("sign without a key"))?;
        let mut signature = vec![0; private.public_modulus_len()];
        private
            .sign(
                &signature::RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .map_err(|_| KeyError::Crypto("sign"))?;
        Ok(signature)
    }
}

/// Make what is missing, complete what was interrupted, and change a ticket key that is a day old.
/// Not on a PVE node, where the keys are the cluster's.
pub(super) fn keep(root: &Root, now: u64) -> Result<(), KeyError> {
    let lock = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.authkey_key().with_file_name(".authkey.lock"))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;

    if optional(&root.www_key())?.is_none() {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| KeyError::Crypto("make random bytes"))?;
        atomic::write(&root.www_key(), 0o640, to_pem("CSRF SECRET", &random).as_bytes())?;
    }
    // A key from the future is one from before the clock was set right.
    let due = |public: &Public| now >= public.since + LIFETIME || public.since > now + 300;
    let current = Public::read(&root.authkey_pub())?;
    let private = match read_private(root)? {
        Some(private) if !current.as_ref().is_some_and(due) => private,
        // Another process may have been interrupted just after this step: then it is not repeated.
        Some(private) if !belongs(&private, current.as_ref())? => private,
        _ => {
            let made = RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(|_| KeyError::Crypto("generate a key"))?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&made);
            let der = der.map_err(|_| KeyError::Crypto("encode a key"))?;
            let pem = SecretString::from(to_pem("PRIVATE KEY", der.as_ref()));
            atomic::write(&root.authkey_key(), 0o600, pem.expose_secret().as_bytes())?;
            made
        }
    };
    if !belongs(&private, current.as_ref())? {
        if let Some(current) = &current {
            let pem = to_pem("PUBLIC KEY", &current.der);
            atomic::write(&old_path(root), 0o640, pem.as_bytes())?;
        }
        let pem = to_pem("PUBLIC KEY", &public_der(&private)?);
        atomic::write(&root.authkey_pub(), 0o640, pem.as_bytes())?;
    }
    Ok(())
}

fn belongs(private: &RsaKeyPair, public: Option<&Public>) -> Result<bool, KeyError> {
    let der = public_der(private)?;
    Ok(public.is_some_and(|public| public.der == der))
}

fn public_der(private: &RsaKeyPair) -> Result<Vec<u8>, KeyError> {
    let der = AsDer::<PublicKeyX509Der<'_>>::as_der(private.public_key());
    Ok(der.map_err(|_| KeyError::Crypto("encode a key"))?.as_ref().to_vec())
}

fn read_private(root: &Root) -> Result<Option<RsaKeyPair>, KeyError> {
    let path = root.authkey_key();
    let Some(text) = optional(&path)? else { return Ok(None) };
    let text = SecretString::from(text);
    let key = from_pem(text.expose_secret()).and_then(|(label, der)| match label {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok(), // as PVE writes it
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).ok(),
        _ => None,
    });
    key.map(Some).ok_or(KeyError::Malformed(path))
}

/// A file's text, if there is such a file.
pub(super) fn optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// The label and the bytes of the first block.
fn from_pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    Some((label, STANDARD.decode(body).ok()?))
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut lines = String::new();
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[cfg(test)]
pub(super) mod tests;
