//! The files under `priv/` that hold secrets by name: `token.cfg` and `shadow.cfg`. How a password
//! is compared with its hash is `password`'s.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use openapi::TokenId;
use secrecy::{ExposeSecret, SecretString};

/// `token.cfg`: a token's id and its secret per line.
#[derive(Debug, Default)]
pub struct TokenSecrets(BTreeMap<TokenId, SecretString>);

impl TokenSecrets {
    /// A line that is none is skipped, and dropped by the next write, as upstream does.
    pub fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (id, secret) = line.split_once(' ')?;
            let plain = !secret.is_empty() && !secret.contains(char::is_whitespace);
            Some((id.parse().ok()?, plain.then(|| SecretString::from(secret))?))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    pub fn get(&self, token: &TokenId) -> Option<&SecretString> {
        self.0.get(token)
    }

    pub fn insert(&mut self, token: TokenId, secret: SecretString) {
        self.0.insert(token, secret);
    }

    pub fn remove(&mut self, token: &TokenId) {
        self.0.remove(token);
    }

    /// In a time that says nothing of the secret, nor whether there is one.
    pub fn verify(&self, token: &TokenId, secret: &str) -> bool {
        const NONE: &str = "00000000-0000-0000-0000-000000000000";
        let known = self.0.get(token);
        let expected = known.map_or(NONE, |secret| secret.expose_secret());
        let equal = verify_slices_are_equal(expected.as_bytes(), secret.as_bytes()).is_ok();
        equal && known.is_some()
    }

    /// The file. The only way secrets leave this type in number.
    pub fn to_file(&self) -> SecretString {
        let line =
            |(id, secret): (&TokenId, &SecretString)| format!("{id} {}\n", secret.expose_secret());
        self.0.iter().map(line).collect::<String>().into()
    }
}

/// `shadow.cfg`: hashed passwords of the realm `pve`, by the user's name without the realm.
#[derive(Debug, Default)]
pub struct Shadow(BTreeMap<String, SecretString>);

impl Shadow {
    pub fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (name, rest) = line.trim().split_once(':')?;
            let hash = rest.split(':').next()?;
            let plain = rest.ends_with(':') && !line.trim().contains(char::is_whitespace);
            let whole = plain && !name.is_empty() && !hash.is_empty();
            whole.then(|| (name.to_owned(), SecretString::from(hash)))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    pub fn insert(&mut self, name: String, hash: SecretString) {
        self.0.insert(name, hash);
    }

    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub fn to_file(&self) -> SecretString {
        let line =
            |(name, hash): (&String, &SecretString)| format!("{name}:{}:\n", hash.expose_secret());
        self.0.iter().map(line).collect::<String>().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const TOKENS: &str = include_str!("../../../tests/golden/world/priv/token.cfg");
    const SHADOW: &str = include_str!("../../../tests/golden/world/priv/shadow.cfg");

    #[test]
    fn writes_what_it_read() {
        assert_eq!(TokenSecrets::parse(TOKENS).to_file().expose_secret(), TOKENS);
        assert_eq!(Shadow::parse(SHADOW).to_file().expose_secret(), SHADOW);
    }

    #[rstest]
    #[case::right("alice@pve!tok", "11111111-2222-3333-4444-555555555555", true)]
    #[case::of_another("root@pam!t1", "11111111-2222-3333-4444-555555555555", false)]
    #[case::beginning("alice@pve!tok", "11111111-2222-3333-4444-55555555555", false)]
    #[case::empty("alice@pve!tok", "", false)]
    #[case::stand_in("nobody@pve!tok", "00000000-0000-0000-0000-000000000000", false)]
    fn compares_a_token(#[case] id: &str, #[case] secret: &str, #[case] right: bool) {
        assert_eq!(TokenSecrets::parse(TOKENS).verify(&id.parse().unwrap(), secret), right);
    }

    #[test]
    fn skips_lines_that_are_none() {
        assert!(TokenSecrets::parse("\nalice@pve x\na@pve!tok a b\na@pve!tok \n").0.is_empty());
        assert!(Shadow::parse("\na:b\n:b:\na b:c:\na::\n").0.is_empty());
    }

    #[test]
    fn does_not_show_secrets() {
        let shown = format!("{:?}{:?}", TokenSecrets::parse(TOKENS), Shadow::parse(SHADOW));
        assert!(!shown.contains("11111111") && !shown.contains("$5$"), "{shown}");
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            drop((TokenSecrets::parse(&text), Shadow::parse(&text)));
        }
    }
}
