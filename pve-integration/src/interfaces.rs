//! `/etc/network/interfaces` as PVE reads and writes it, and `interfaces.new` beside it, where a
//! change waits for a reload. Upstream: pve-common, `src/PVE/Network/Interfaces.pm` and
//! `src/PVE/INotify.pm`; pve-manager, `PVE/API2/Network.pm`.

mod check;
mod edit;
mod links;
mod ovs;
mod parse;
mod store;
mod write;

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value};

use crate::cluster_lock::LockError;

pub use self::edit::{create, delete, update};
pub use self::links::{Link, links, links_of_json};
pub use self::parse::parse;
pub use self::store::{Pending, edit, ifupdown2, promote, read, revert};

/// An interface's properties, in the types that PVE answers them in.
pub type Interface = Map<String, Value>;

/// The file, and what is known of the machine's links.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interfaces {
    pub ifaces: BTreeMap<String, Interface>,
    /// Lines that PVE keeps and does not read, each with its place among the interfaces.
    pub other: Vec<(u64, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    #[error("{name}: {text}")]
    Param { name: &'static str, text: String },
    /// A setting that cannot be, in PVE's words.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl InterfacesError {
    fn param(name: &'static str, text: impl Into<String>) -> Self {
        Self::Param { name, text: text.into() }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// A value as text; `None` where Perl would say that it is not defined.
fn text(interface: &Interface, key: &str) -> Option<String> {
    match interface.get(key)? {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::Bool(flag) => Some(u8::from(*flag).to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
    }
}

/// A value that Perl takes for true.
fn set(interface: &Interface, key: &str) -> Option<String> {
    text(interface, key).filter(|text| !matches!(text.as_str(), "" | "0"))
}

fn kind(interface: &Interface) -> String {
    text(interface, "type").unwrap_or_default()
}

/// Texts of a list; `None` for an item that is null.
fn list(interface: &Interface, key: &str) -> Vec<Option<String>> {
    let items = interface.get(key).and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().map(str::to_owned)).collect()
}

/// `eth0.5` is `eth0` and `5`; also for the colon of an alias.
fn numbered(name: &str, mark: char) -> Option<(&str, &str)> {
    let (parent, number) = name.rsplit_once(mark)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (digits && !parent.is_empty()).then_some((parent, number))
}

/// `name` is `prefix` and a number.
fn with_number<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let number = name.strip_prefix(prefix)?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

#[cfg(test)]
mod tests;
