//! `domains.cfg`: the realms users belong to, in PVE's section format. Logging in is `login`'s.
//! Upstream: pve-access-control, `src/PVE/Auth/Plugin.pm`; pve-common, `src/PVE/SectionConfig.pm`.

use std::collections::BTreeMap;
use std::fmt;

use super::text::{decode, encode, is_true};

/// The realms by name. `pam` and `pve` are there whatever the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realms(BTreeMap<String, Realm>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realm {
    /// `pam`, `pve`, `ldap`, `ad` or `openid`.
    pub kind: String,
    pub comment: String,
    /// Every other property as it is written.
    pub properties: BTreeMap<String, String>,
}

/// What a realm of this kind cannot be without, sorted.
fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "ldap" => &["base_dn", "server1", "user_attr"],
        "ad" => &["domain", "server1"],
        "openid" => &["client-id", "issuer-url"],
        _ => &[],
    }
}

impl Realm {
    /// The first option it cannot be without and has not.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let required = required(&self.kind).iter();
        required.copied().find(|option| !self.properties.contains_key(*option))
    }

    pub(super) fn remove(&mut self, option: &str) {
        match option {
            "comment" => self.comment.clear(),
            _ => {
                self.properties.remove(option);
            }
        }
    }

    /// Whether the UI offers this one first.
    pub fn is_default(&self) -> bool {
        self.properties.get("default").is_some_and(|value| is_true(value))
    }

    /// The second factor everyone of this realm must have.
    pub fn tfa(&self) -> Option<&str> {
        self.properties.get("tfa").map(String::as_str)
    }
}

impl Realms {
    pub fn parse(text: &str) -> Self {
        let mut realms = BTreeMap::<String, Realm>::new();
        let mut current: Option<(String, Realm)> = None;
        for line in text.lines().chain([""]) {
            if line.trim().is_empty() {
                realms.extend(current.take());
            } else if line.starts_with(char::is_whitespace) {
                let Some((_, realm)) = &mut current else { continue };
                let line = line.trim();
                let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                match key {
                    "comment" => realm.comment = decode(value.trim()),
                    _ => {
                        realm.properties.insert(key.to_owned(), value.trim().to_owned());
                    }
                }
            } else if !line.starts_with('#') {
                realms.extend(current.take());
                current = header(line);
            }
        }
        let mut seen = false;
        for realm in realms.values_mut().filter(|realm| realm.is_default()) {
            if std::mem::replace(&mut seen, true) {
                realm.properties.remove("default"); // there is one at most
            }
        }
        for (name, comment) in [
            ("pam", "Linux PAM standard authentication"),
            ("pve", "Proxmox VE authentication server"),
        ] {
            let realm = realms.entry(name.to_owned()).or_default();
            name.clone_into(&mut realm.kind);
            if realm.comment.is_empty() {
                comment.clone_into(&mut realm.comment);
            }
        }
        Self(realms)
    }

    pub fn get(&self, name: &str) -> Option<&Realm> {
        self.0.get(name)
    }

    /// Anew or again. The last one that is to be the default is it.
    pub(super) fn put(&mut self, name: &str, realm: Realm) {
        if realm.is_default() {
            for other in self.0.values_mut() {
                other.properties.remove("default");
            }
        }
        self.0.insert(name.to_owned(), realm);
    }

    /// `pam` and `pve` come back as they were at first when the file is read again.
    pub(super) fn remove(&mut self, name: &str) -> Option<Realm> {
        self.0.remove(name)
    }

    /// A realm that cannot be written, and the option it lacks.
    pub(super) fn incomplete(&self) -> Option<(&str, &'static str)> {
        self.iter().find_map(|(name, realm)| Some((name, realm.missing()?)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Realm)> {
        self.0.iter().map(|(name, realm)| (name.as_str(), realm))
    }
}

/// `type: name`; a name no realm can have skips its section.
fn header(line: &str) -> Option<(String, Realm)> {
    let (kind, name) = line.split_once(':')?;
    let name = name.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let valid = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(plain)
        && !kind.is_empty()
        && !kind.contains(char::is_whitespace);
    let realm = Realm { kind: kind.to_ascii_lowercase(), ..Realm::default() };
    valid.then(|| (name.to_owned(), realm))
}

impl fmt::Display for Realms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, Realm { kind, comment, properties })) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            writeln!(f, "{gap}{kind}: {name}")?;
            if !comment.is_empty() {
                writeln!(f, "\tcomment {}", encode(comment))?;
            }
            let required = required(kind);
            let is_first = |key: &str| required.contains(&key);
            let (first, then): (Vec<_>, Vec<_>) =
                properties.iter().partition(|(key, _)| is_first(key));
            for (key, value) in first.into_iter().chain(then) {
                writeln!(f, "\t{key} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORLD: &str = include_str!("../../../tests/golden/world/domains.cfg");

    #[test]
    fn writes_what_it_read() {
        assert_eq!(Realms::parse(WORLD).to_string(), WORLD);
    }

    #[test]
    fn has_pves_own_realms_in_an_empty_file() {
        assert_eq!(Realms::parse(""), Realms::parse(WORLD));
    }

    #[test]
    fn reads_properties_and_keeps_one_default() {
        let realms = Realms::parse(
            "LDAP: corp\n\tcomment a%3Ab\n\tserver1 10.0.0.1\n\tdefault 1\n\
             # note\npve: pve\n\tdefault 1\n\ttfa type=oath\n\nbad line\n\tx y\nad: 1x\n\tz 1\n",
        );

        let corp = realms.get("corp").unwrap();
        assert_eq!((corp.kind.as_str(), corp.comment.as_str()), ("ldap", "a:b"));
        assert_eq!(corp.properties["server1"], "10.0.0.1");
        assert!(corp.is_default() && !realms.get("pve").unwrap().is_default());
        assert_eq!(realms.get("pve").unwrap().tfa(), Some("type=oath"));
        assert_eq!(realms.iter().count(), 3);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(text in "(pve: [a-c]{1,3}\n(\t(comment|x|default) [ -~]{0,4}\n){0,3}\n?){0,4}|.*") {
            let realms = Realms::parse(&text);
            prop_assert_eq!(Realms::parse(&realms.to_string()), realms);
        }
    }
}
