//! A value of comma-separated `key=value` parts, as the runtime reads it at a start. Checking one
//! against PVE's schema, with PVE's messages, is `openapi::property_string`; this one needs no
//! method table, so a monitor starts without parsing it.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::ValueError;

/// The parts of one value. What was taken out is known; what is left at the end is not.
#[derive(Clone, Debug)]
pub struct PropertyList<'a> {
    key: &'a str,
    parts: BTreeMap<&'a str, &'a str>,
}

impl<'a> PropertyList<'a> {
    /// `default` is the name of the part that may stand without one.
    pub fn parse(
        key: &'a str,
        value: &'a str,
        default: Option<&'static str>,
    ) -> Result<Self, ValueError> {
        let mut parts = BTreeMap::new();
        for part in value.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, value) = match (part.split_once('='), default) {
                (Some(named), _) => named,
                (None, Some(default)) => (default, part),
                (None, None) => {
                    let reason = "missing key in comma-separated list property";
                    return Err(ValueError::new(key, reason));
                }
            };
            if parts.insert(name, value).is_some() {
                let reason = format!("duplicate key in comma-separated list property: {name}");
                return Err(ValueError::new(key, reason));
            }
        }
        Ok(Self { key, parts })
    }

    pub fn text(&mut self, name: &str) -> Option<&'a str> {
        self.parts.remove(name)
    }

    pub fn required(&mut self, name: &str) -> Result<&'a str, ValueError> {
        let missing = || self.error(name, "property is missing and it is not optional");
        self.parts.get(name).copied().ok_or_else(missing)?;
        Ok(self.parts.remove(name).unwrap_or_default())
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, ValueError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || self.error(name, &format!("type check ('boolean') failed - got '{text}'"));
        boolean(text).map(Some).ok_or_else(wrong)
    }

    pub fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ValueError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || self.error(name, &format!("type check ('integer') failed - got '{text}'"));
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// Refuses what nobody took: a misspelt `ro=1` must not give a writable mount.
    pub fn finish(self) -> Result<(), ValueError> {
        match self.parts.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.error(
                name,
                "property is not defined in schema and the schema does not allow additional properties",
            )),
        }
    }

    pub(super) fn error(&self, name: &str, reason: &str) -> ValueError {
        ValueError::new(self.key, format!("format error\n{}.{name}: {reason}", self.key))
    }
}

/// PVE's booleans inside config files.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}
