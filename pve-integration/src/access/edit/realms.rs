//! Realms: which there are and how their users are found. As `src/PVE/API2/Domains.pm` and the
//! plug-ins in `src/PVE/Auth/` of pve-access-control. Asking a directory server is not done here.

use std::collections::BTreeMap;

use openapi::property_string;
use openapi::schema::methods;
use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest as _, Sha1};

use super::EditError;
use crate::access::domains::{Realm, Realms};
use crate::access::keys::optional;
use crate::atomic;
use crate::cluster_lock::ClusterLock;
use crate::layout::Root;

/// What every realm can have; `pam` and `pve` have nothing else.
const COMMON: &[&str] = &["comment", "default", "tfa"];
const DIRECTORY: &[&str] = &[
    "base_dn",
    "bind_dn",
    "capath",
    "case-sensitive",
    "cert",
    "certkey",
    "filter",
    "group_classes",
    "group_dn",
    "group_filter",
    "group_name_attr",
    "mode",
    "port",
    "secure",
    "server1",
    "server2",
    "sslversion",
    "sync-defaults-options",
    "sync_attributes",
    "user_attr",
    "user_classes",
    "verify",
];
const OPENID: &[&str] = &[
    "acr-values",
    "audiences",
    "autocreate",
    "client-id",
    "client-key",
    "comment",
    "default",
    "groups-autocreate",
    "groups-claim",
    "groups-overwrite",
    "issuer-url",
    "prompt",
    "query-userinfo",
    "scopes",
    "username-claim",
];

/// What a request says of a realm.
#[derive(Debug, Default)]
pub struct RealmChange {
    /// Checked values as they are written, `comment` decoded.
    pub properties: BTreeMap<String, String>,
    pub delete: Vec<String>,
    /// The directory's, kept in a file of its own.
    pub password: Option<SecretString>,
    /// Whether the directory is to be tried, if that was said at all.
    pub check_connection: Option<bool>,
    pub digest: Option<String>,
}

fn has_option(kind: &str, key: &str) -> bool {
    match kind {
        "ldap" => DIRECTORY.contains(&key) || COMMON.contains(&key),
        "ad" => key == "domain" || DIRECTORY.contains(&key) || COMMON.contains(&key),
        "openid" => OPENID.contains(&key),
        _ => COMMON.contains(&key),
    }
}

fn is_directory(kind: &str) -> bool {
    matches!(kind, "ldap" | "ad")
}

/// Under the lock of `domains.cfg`; written at once, or not at all.
fn edit(
    root: &Root,
    what: &'static str,
    change: impl FnOnce(&mut Realms, &str) -> Result<(), EditError>,
) -> Result<(), EditError> {
    let run = || {
        let _lock = ClusterLock::take(root, "file-domains_cfg")?;
        let text = optional(&root.domains_cfg())?.unwrap_or_default();
        let mut realms = Realms::parse(&text);
        change(&mut realms, &text)?;
        if let Some((name, missing)) = realms.incomplete() {
            return Err(EditError::RealmIncomplete { realm: name.to_owned(), missing });
        }
        Ok(atomic::write(&root.domains_cfg(), 0o640, realms.to_string().as_bytes())?)
    };
    run().map_err(|cause| EditError::during(what, cause))
}

/// Make a realm.
pub fn create_realm(
    root: &Root,
    name: &str,
    kind: &str,
    change: RealmChange,
) -> Result<(), EditError> {
    edit(root, "add auth server failed", |realms, _| {
        if realms.get(name).is_some() {
            return Err(EditError::Exists { kind: "domain", name: name.to_owned() });
        }
        if matches!(kind, "pam" | "pve") {
            return Err(EditError::BuiltinRealm(kind.to_owned()));
        }
        check_connection(kind, &change)?;
        let mut realm = Realm { kind: kind.to_owned(), ..Realm::default() };
        set(&mut realm, change.properties)?;
        if let Some(missing) = realm.missing() {
            return Err(EditError::RealmOption(missing));
        }
        realms.put(name, realm);
        if is_directory(kind) {
            keep_password(root, name, change.password.as_ref())?;
        }
        Ok(())
    })
}

/// Change a realm. What is not named stays.
pub fn update_realm(root: &Root, name: &str, change: RealmChange) -> Result<(), EditError> {
    edit(root, "update auth server failed", |realms, text| {
        if change.digest.as_deref().is_some_and(|digest| digest != self::digest(text)) {
            return Err(EditError::Modified);
        }
        let found = realms.get(name).cloned();
        check_connection(found.as_ref().map_or("", |realm| &realm.kind), &change)?;
        if change.delete.is_empty() && change.properties.is_empty() && change.password.is_none() {
            return Err(EditError::NoOptions);
        }
        // Upstream looks for the realm's kind before it looks for the realm.
        let mut realm = found.ok_or(EditError::NoRealmKind)?;
        for key in &change.delete {
            realm.remove(key);
        }
        set(&mut realm, change.properties)?;
        let forget = change.delete.iter().any(|key| key == "password");
        if is_directory(&realm.kind) && (forget || change.password.is_some()) {
            keep_password(root, name, change.password.as_ref())?;
        }
        realms.put(name, realm);
        Ok(())
    })
}

/// Delete a realm with its password. Its users stay, and cannot log in.
pub fn delete_realm(root: &Root, name: &str) -> Result<(), EditError> {
    edit(root, "delete auth server failed", |realms, _| {
        let realm = realms.remove(name);
        let realm = realm.ok_or_else(|| EditError::missing("authentication domain", name))?;
        if is_directory(&realm.kind) {
            keep_password(root, name, None)?;
        }
        Ok(())
    })
}

fn digest(text: &str) -> String {
    hex::encode(Sha1::digest(text.as_bytes()))
}

fn check_connection(kind: &str, change: &RealmChange) -> Result<(), EditError> {
    match change.check_connection {
        Some(_) if !is_directory(kind) => Err(EditError::ConnectionOfRealmKind),
        Some(true) => Err(EditError::NoDirectoryClient),
        Some(false) | None => Ok(()),
    }
}

fn set(realm: &mut Realm, properties: BTreeMap<String, String>) -> Result<(), EditError> {
    for (key, value) in properties {
        if !has_option(&realm.kind, &key) {
            return Err(EditError::RealmProperty(key));
        }
        match key.as_str() {
            "comment" => realm.comment = value,
            "sync-defaults-options" => {
                realm.properties.insert(key, sync_options(&value));
            }
            _ => {
                realm.properties.insert(key, value);
            }
        }
    }
    Ok(())
}

/// Printed anew, with `full` and `purge` said in today's words. The text was checked as it came.
fn sync_options(text: &str) -> String {
    let Some(format) = methods().format("realm-sync-options") else { return text.to_owned() };
    let Ok(mut options) = property_string::parse(format, text) else { return text.to_owned() };
    let mut is_set = |name: &str| options.shift_remove(name).is_some_and(|value| value == 1);
    let (full, purge) = (is_set("full"), is_set("purge"));
    if full || purge {
        let full = if full { &["entry", "properties"][..] } else { &[] };
        let purge = if purge { &["acl"][..] } else { &[] };
        let vanished = [full, purge].concat().join(";");
        options.entry("remove-vanished".to_owned()).or_insert_with(|| vanished.into());
    }
    property_string::print(format, &options).unwrap_or_else(|_| text.to_owned())
}

fn keep_password(
    root: &Root,
    realm: &str,
    password: Option<&SecretString>,
) -> Result<(), EditError> {
    let path = root.etc_pve().join("priv/realm").join(format!("{realm}.pw"));
    let Some(password) = password else {
        return match fs_err::remove_file(path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err.into()),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(atomic::write(&path, 0o600, password.expose_secret().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn world() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path()).unwrap();
        fs_err::create_dir_all(root.etc_pve()).unwrap();
        (dir, root)
    }

    fn properties(pairs: &[(&str, &str)]) -> RealmChange {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        RealmChange { properties: pairs.collect(), ..RealmChange::default() }
    }

    const LDAP: &[(&str, &str)] =
        &[("server1", "10.0.0.1"), ("base_dn", "dc=x,dc=y"), ("user_attr", "uid")];

    fn file(root: &Root) -> String {
        fs_err::read_to_string(root.domains_cfg()).unwrap()
    }

    #[test]
    fn writes_what_is_required_first() {
        let (_dir, root) = world();
        let mut change = properties(LDAP);
        change.properties.insert("comment".to_owned(), "a:b".to_owned());
        change.properties.insert("case-sensitive".to_owned(), "0".to_owned());
        change.properties.insert("default".to_owned(), "1".to_owned());
        create_realm(&root, "corp", "ldap", change).unwrap();

        let ldap = "ldap: corp\n\tcomment a%3Ab\n\tbase_dn dc=x,dc=y\n\tserver1 10.0.0.1\n\
            \tuser_attr uid\n\tcase-sensitive 0\n\tdefault 1\n";
        assert!(file(&root).starts_with(ldap), "{}", file(&root));
    }

    #[test]
    fn there_is_one_default_at_most() {
        let (_dir, root) = world();
        create_realm(&root, "corp", "ldap", properties(LDAP)).unwrap();
        update_realm(&root, "corp", properties(&[("default", "1")])).unwrap();
        update_realm(&root, "pve", properties(&[("default", "1")])).unwrap();

        let realms = Realms::parse(&file(&root));
        let defaults: Vec<_> =
            realms.iter().filter(|(_, realm)| realm.is_default()).map(|(name, _)| name).collect();
        assert_eq!(defaults, ["pve"]);
    }

    #[test]
    fn the_password_is_in_a_file_that_goes_with_the_realm() {
        let (_dir, root) = world();
        let path = root.etc_pve().join("priv/realm/corp.pw");
        let password = || Some(SecretString::from("secret".to_owned()));
        let change = RealmChange { password: password(), ..properties(LDAP) };
        create_realm(&root, "corp", "ldap", change).unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "secret");
        assert!(!file(&root).contains("secret"));

        update_realm(&root, "corp", properties(&[("comment", "x")])).unwrap();
        assert!(path.exists());
        delete_realm(&root, "corp").unwrap();
        assert!(!path.exists());
    }

    #[rstest]
    #[case::reserved("pam", "pam", &[], "domain 'pam' already exists")]
    #[case::builtin("p2", "pve", &[], "unable to create builtin type 'pve'")]
    #[case::incomplete("ad1", "ad", &[("server1", "x")], "missing value for required option 'domain'")]
    #[case::foreign("o1", "openid", &[("server1", "x")], "unexpected property 'server1'")]
    fn refuses(
        #[case] name: &str,
        #[case] kind: &str,
        #[case] pairs: &[(&str, &str)],
        #[case] why: &str,
    ) {
        let (_dir, root) = world();
        let err = create_realm(&root, name, kind, properties(pairs)).unwrap_err();
        assert_eq!(err.to_string(), format!("add auth server failed: {why}"));
        assert!(!root.domains_cfg().exists());
    }

    #[test]
    fn a_change_that_leaves_a_realm_incomplete_is_no_change() {
        let (_dir, root) = world();
        create_realm(&root, "corp", "ldap", properties(LDAP)).unwrap();
        let before = file(&root);
        let delete = RealmChange { delete: vec!["server1".to_owned()], ..RealmChange::default() };
        let err = update_realm(&root, "corp", delete).unwrap_err();
        assert_eq!(
            err.to_string(),
            "update auth server failed: section 'corp' - missing value for required option \
             'server1'"
        );
        assert_eq!(file(&root), before);
    }

    #[rstest]
    #[case("scope=users,remove-vanished=acl", "remove-vanished=acl,scope=users")]
    #[case("full=1,purge=1", "remove-vanished=entry;properties;acl")]
    #[case("full=0,scope=both", "scope=both")]
    fn says_sync_options_in_todays_words(#[case] given: &str, #[case] kept: &str) {
        assert_eq!(sync_options(given), kept);
    }
}
