//! What becomes of each key at a start, under each runtime. The table is the one source: warnings come
//! from it, and so does the list in ARCHITECTURE.md.

mod table;

#[cfg(test)]
mod tests;

use std::fmt;

use super::Warning;
use crate::ct_config::{Features, Section};
use table::TABLE;

/// What one runtime does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Applied,
    /// Written into the rootfs of a distribution that is known; for others it warns.
    Distributions,
    /// The same, and shown to a container with an entrypoint of its own, whatever it is.
    Names,
    /// No matter of a start: the daemon reads it, or people do.
    Known,
    /// The container starts, and its task says that the key does nothing.
    Warned(&'static str),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Distributions => "with `ostype`",
            Self::Names => "with `ostype`, or for applications",
            Self::Known => "-",
            Self::Warned(_) => "warns",
        })
    }
}

/// A line of the table. `net[n]` stands for every number, `lxc.prlimit.*` for every ending, and a name
/// with a blank, `mp[n] quota`, for a part of a value.
pub(super) struct Key {
    name: &'static str,
    crun: Fate,
    lxc: Fate,
    /// For the reader of the list.
    note: &'static str,
}

const fn key(name: &'static str, crun: Fate, lxc: Fate, note: &'static str) -> Key {
    Key { name, crun, lxc, note }
}

impl Key {
    fn matches(&self, key: &str) -> bool {
        if let Some(stem) = self.name.strip_suffix("[n]") {
            return is_indexed(key, stem);
        }
        match self.name.strip_suffix('*') {
            Some(stem) => key.len() > stem.len() && key.starts_with(stem),
            None => key == self.name,
        }
    }
}

/// How far one runtime goes.
pub(crate) struct Reach {
    pub(crate) runtime: &'static str,
    fate: fn(&Key) -> Fate,
    /// It reads raw keys itself.
    pub(crate) raw: bool,
}

pub(crate) const CRUN: Reach = Reach { runtime: "crun", fate: |key| key.crun, raw: false };

pub(crate) const LXC: Reach = Reach { runtime: "lxc", fate: |key| key.lxc, raw: true };

impl Reach {
    /// Why a key does nothing.
    pub(crate) fn not_yet(&self) -> String {
        format!("is not applied by the {} runtime yet", self.runtime)
    }

    fn fate(&self, key: &str) -> Fate {
        let found = line(key);
        // PVE keeps what it does not know out of a config, so this is a key of a later version.
        found.map_or(Fate::Warned(""), self.fate)
    }

    fn warning(&self, key: &str, config: &Section) -> Option<String> {
        match self.fate(key) {
            Fate::Names if config.is_application() => None,
            Fate::Distributions | Fate::Names => (!config.has_distribution()).then(|| {
                "is not applied: the container's distribution is not known (ostype)".to_owned()
            }),
            fate @ (Fate::Applied | Fate::Known | Fate::Warned(_)) => self.reason(fate),
        }
    }

    /// What is said of a key, or of a part of its value, that does nothing whatever the container is.
    fn reason(&self, fate: Fate) -> Option<String> {
        match fate {
            Fate::Warned("") => Some(self.not_yet()),
            Fate::Warned(reason) => Some(reason.to_owned()),
            Fate::Applied | Fate::Distributions | Fate::Names | Fate::Known => None,
        }
    }
}

/// What stands for the host's policy among the keys.
pub(super) const POLICY: &str = "policy.toml";

fn line(key: &str) -> Option<&'static Key> {
    TABLE.iter().find(|line| line.matches(key))
}

/// What the list says of the key; nothing where the key says it all.
pub(super) fn note(key: &str) -> String {
    match (key, key.strip_prefix("oci: ")) {
        (POLICY, _) => "what this host takes away from every container".to_owned(),
        (_, Some("id-range")) => {
            "ids of its own while it runs; on its volumes they stay as they are".to_owned()
        }
        (_, Some(_)) => "a limit that PVE has no key for".to_owned(),
        _ => line(key).map(|line| line.note.to_owned()).unwrap_or_default(),
    }
}

/// Whether a start looks at it at all.
pub(super) fn is_for_starts(key: &str) -> bool {
    line(key).is_none_or(|line| line.crun != Fate::Known)
}

/// Whether `name`, as the list has it, stands for `key`.
pub(super) fn names(name: &str, key: &str) -> bool {
    line(key).is_some_and(|line| line.name == name)
}

/// Raw keys that the bundle holds in its own words, whoever reads it.
pub(crate) const RAW_APPLIED: &[&str] = &[
    "lxc.cap.drop",
    "lxc.cap.keep",
    "lxc.environment",
    "lxc.environment.runtime",
    "lxc.idmap",
    "lxc.init.cmd",
    "lxc.init.cwd",
    "lxc.init.gid",
    "lxc.init.groups",
    "lxc.init.uid",
    "lxc.signal.halt",
];

pub(super) fn warn(
    config: &Section,
    features: &Features,
    reach: &Reach,
    warnings: &mut Vec<Warning>,
) {
    let raw = config.lxc().iter().map(|(key, _)| key.as_str());
    for key in config.iter().map(|(key, _)| key).chain(raw) {
        if let Some(reason) = reach.warning(key, config) {
            warnings.push(Warning::new(key, reason));
        }
    }
    for text in config.unread() {
        let key = text.split([':', '=', ' ']).next().unwrap_or_default();
        let known = line(key).and_then(|line| reach.reason((reach.fate)(line)));
        warnings.push(match known {
            Some(reason) => Warning::new(key, reason),
            None => Warning::new("config", format!("the line '{text}' is none of PVE's")),
        });
    }
    // A part of a value that not every runtime applies.
    let name = "features mknod";
    let fate = TABLE.iter().find(|line| line.name == name && features.mknod).map(reach.fate);
    if let Some(reason) = fate.and_then(|fate| reach.reason(fate)) {
        warnings.push(Warning::new("features", format!("mknod {reason}")));
    }
}

/// The table as Markdown, for ARCHITECTURE.md.
pub fn list() -> String {
    let mut text = "| key | crun | LXC | |\n|---|---|---|---|\n".to_owned();
    for line in TABLE {
        let reason = match line.crun {
            Fate::Warned(reason) => reason,
            Fate::Applied | Fate::Distributions | Fate::Names | Fate::Known => "",
        };
        let note = if line.note.is_empty() { reason } else { line.note };
        text += &format!("| `{}` | {} | {} | {note} |\n", line.name, line.crun, line.lxc);
    }
    text
}

/// `mp` and a number.
fn is_indexed(key: &str, stem: &str) -> bool {
    key.strip_prefix(stem).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
