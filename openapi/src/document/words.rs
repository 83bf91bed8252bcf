//! What parameters mean, by name: a name means the same wherever it is taken. The text is data, in
//! `methods/words.json`, and in our own words.

use std::collections::BTreeMap;

pub(super) struct Words(BTreeMap<&'static str, &'static str>);

impl Words {
    pub(super) fn read() -> Self {
        let text = include_str!("../../methods/words.json");
        Self(serde_json::from_str(text).expect("the embedded words parse: a test reads them"))
    }

    pub(super) fn of(&self, name: &str) -> Option<&'static str> {
        self.0.get(name).copied()
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}
