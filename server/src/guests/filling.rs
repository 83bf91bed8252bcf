//! What a new container gets that is in no config: root's password and keys, a place in a pool; and
//! how its archive is read.

use std::path::PathBuf;

use images::oci::Layout;
use openapi::Vmid;
use pve_integration::access::edit;
use pve_integration::access::password::hash_for_shadow;
use pve_integration::setup::{Secrets, validate_ssh_keys};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::change::text;
use super::{GuestError, Guests};
use crate::runtime::Unpacking;

#[derive(Clone, Debug, Default)]
pub(crate) struct Filling {
    password: Option<SecretString>,
    ssh_keys: Option<String>,
    pub(crate) ha_managed: bool,
    ignore_errors: bool,
    /// KiB a second.
    bwlimit: Option<f64>,
}

impl Filling {
    /// Of checked parameters.
    pub(crate) fn from_params(params: &Map<String, Value>) -> Self {
        let given = |name: &str| params.get(name).map(text);
        let flag = |name: &str| given(name).as_deref() == Some("1");
        Self {
            password: given("password").map(SecretString::from),
            ssh_keys: given("ssh-public-keys"),
            ha_managed: flag("ha-managed"),
            ignore_errors: flag("ignore-unpack-errors"),
            bwlimit: given("bwlimit").and_then(|limit| limit.parse().ok()),
        }
    }

    /// What was asked for.
    pub(crate) fn bwlimit(&self) -> Option<f64> {
        self.bwlimit
    }

    pub(crate) fn limited_to(&mut self, kib_a_second: Option<f64>) {
        self.bwlimit = kib_a_second;
    }

    /// What a new system gets: a password, and keys.
    pub(super) fn secrets(&self) -> (Option<SecretString>, Option<String>) {
        let keys = self.ssh_keys.clone().filter(|keys| !matches!(keys.as_str(), "" | "0"));
        (self.password.clone(), keys)
    }

    /// Of what only a new system gets, what was asked for.
    pub(super) fn for_new_systems(&self) -> Vec<&'static str> {
        let given =
            [("password", self.password.is_some()), ("ssh-public-keys", self.ssh_keys.is_some())];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }

    pub(crate) fn check(&self) -> Result<(), GuestError> {
        let keys = self.ssh_keys.as_deref();
        keys.map_or(Ok(()), validate_ssh_keys).map_err(|err| GuestError::die(err.to_string()))
    }

    /// Of a backup, into the volumes of `config`.
    pub(super) fn unpacking_backup(self, archive: PathBuf, config: Vec<u8>) -> Unpacking {
        Unpacking {
            archive,
            setup: None,
            backup: Some(config),
            image: false,
            ignore_errors: self.ignore_errors,
            bwlimit: self.bwlimit.map(whole),
        }
    }

    /// Takes the time of a hash, and of a look into the archive.
    pub(super) fn unpacking(self, archive: PathBuf) -> Result<Unpacking, GuestError> {
        let image = match fs_err::File::open(&archive) {
            Ok(file) => {
                Layout::open(file).map_err(|err| GuestError::die(err.to_string()))?.is_some()
            }
            // Who unpacks it says what is wrong.
            Err(_) => false,
        };
        let hash = self.password.as_ref().map(hash_for_shadow).transpose();
        let hash = hash.map_err(|_| GuestError::die("the password cannot be hashed"))?;
        let secrets = Secrets {
            password_hash: hash.map(|hash| hash.expose_secret().to_owned()),
            // Perl's truth: no keys are none.
            ssh_public_keys: self.ssh_keys.filter(|keys| !matches!(keys.as_str(), "" | "0")),
        };
        Ok(Unpacking {
            archive,
            setup: Some(secrets),
            backup: None,
            image,
            ignore_errors: self.ignore_errors,
            bwlimit: self.bwlimit.map(whole),
        })
    }
}

/// A limit below one would be none.
pub(super) fn whole(limit: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a float saturates at the end of the integer"
    )]
    let whole = limit.max(0.0).ceil() as u64;
    whole
}

impl Guests {
    /// A pool that was deleted meanwhile is not missed.
    pub(super) async fn join_pool(
        &self,
        vmid: Vmid,
        pool: Option<String>,
    ) -> Result<(), GuestError> {
        let Some(pool) = pool else { return Ok(()) };
        self.blocking(move |guests| {
            edit::add_guest_to_pool(&guests.0.root, vmid, &pool)
                .map_err(|err| GuestError::die(err.to_string()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filling(params: &Value) -> Filling {
        Filling::from_params(params.as_object().unwrap())
    }

    #[test]
    fn a_password_is_hashed_and_shown_to_nobody() {
        let filling = filling(&json!({"password": "topsecret", "bwlimit": 0.5}));
        assert!(!format!("{filling:?}").contains("topsecret"));

        let unpacking = filling.unpacking("x.tar".into()).unwrap();

        assert!(!format!("{unpacking:?}").contains("$6$"));
        assert!(unpacking.setup.unwrap().password_hash.unwrap().starts_with("$6$"));
        assert_eq!(unpacking.bwlimit, Some(1));
    }

    #[test]
    fn refuses_what_is_no_key() {
        let err = filling(&json!({"ssh-public-keys": "ssh-rsa x"})).check().unwrap_err();
        assert_eq!(err.to_string(), "SSH public key validation error");
        filling(&json!({})).check().unwrap();
    }
}
