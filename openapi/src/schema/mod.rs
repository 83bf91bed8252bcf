//! PVE's method table and ours, in the same form: which methods there are, what they take, who may
//! call them. The tables are data, in `methods/`; checking a value against them is `check`'s.
//!
//! A table is parsed once and then borrows from the program's own text, so it costs little memory.

mod permissions;
mod property;

use std::sync::OnceLock;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use permissions::{Permissions, Rule};
pub use property::{Format, Kind, Pattern, Properties, Property};

/// Made from a live dump of PVE 9.2's classes; one method a line, sorted by path and method.
const PVE: &str = include_str!("../../methods/pve.json");
/// PVE's too: what clients ask for although it is not about containers.
const BESIDE: &str = include_str!("../../methods/beside.json");
/// What PVE lacks.
const OCI: &str = include_str!("../../methods/oci.json");

/// One method of the API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Without `/api2/json`, say `/nodes/{node}/lxc/{vmid}`.
    pub path: &'static str,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// PVE's name for it.
    pub name: &'static str,
    /// Whether PVE runs it in its root daemon.
    #[serde(default)]
    pub protected: bool,
    /// Whether it may be called with an API token.
    #[serde(default = "yes")]
    pub allowtoken: bool,
    /// Whether the code behind it sees the caller's ticket or token.
    #[serde(default)]
    pub expose_credentials: bool,
    /// Whether it may answer with a file.
    #[serde(default)]
    pub download_allowed: bool,
    /// The parameter that names the node to ask.
    #[serde(borrow, default)]
    pub proxyto: Option<&'static str>,
    /// `None`: root@pam only.
    pub permissions: Option<Permissions>,
    pub parameters: Parameters,
    #[serde(borrow)]
    returns: &'static RawValue,
}

fn yes() -> bool {
    true
}

impl Method {
    /// Whether its parameters end up in a container's config.
    pub(crate) fn writes_config(&self) -> bool {
        matches!(
            (self.method, self.path),
            ("POST", "/nodes/{node}/lxc" | "/nodes/{node}/oci/containers")
                | ("PUT", "/nodes/{node}/lxc/{vmid}/config")
        )
    }

    /// The schema of what it answers, as PVE states it. Parsed on each call: only documents ask.
    #[must_use]
    pub fn returns(&self) -> serde_json::Value {
        serde_json::from_str(self.returns.get()).unwrap_or_default()
    }
}

/// What a method takes, the variables of its path among it. Nothing else is allowed.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Parameters {
    #[serde(borrow)]
    properties: IndexMap<&'static str, Property>,
}

impl Parameters {
    /// The property that governs `name`; `net0` to `net31` are all governed by `net[n]`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Property> {
        if let Some(property) = self.properties.get(name) {
            return property.indexed_count.is_none().then_some(property);
        }
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name.strip_prefix(stem).filter(|n| *n == "0" || !n.starts_with('0'))?;
        let index: u16 = number.parse().ok()?;
        let property = self.properties.get(format!("{stem}[n]").as_str())?;
        property.indexed_count.is_some_and(|count| index < count).then_some(property)
    }

    /// As the table has them, sorted by name, numbered ones once as `net[n]`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Property)> {
        self.properties.iter().map(|(name, property)| (*name, property))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(borrow)]
    formats: IndexMap<&'static str, Properties>,
    methods: Vec<Method>,
}

/// All methods, PVE's and ours.
#[derive(Debug)]
pub struct Methods {
    sorted: Vec<Method>,
    formats: IndexMap<&'static str, Properties>,
}

/// The tables, parsed at the first call.
pub fn methods() -> &'static Methods {
    static METHODS: OnceLock<Methods> = OnceLock::new();
    METHODS.get_or_init(|| {
        let table = |text| -> Table {
            serde_json::from_str(text).expect("the embedded tables parse: a test reads them")
        };
        let (mut sorted, mut formats) = (Vec::new(), IndexMap::new());
        for table in [PVE, BESIDE, OCI].map(table) {
            sorted.extend(table.methods);
            formats.extend(table.formats);
        }
        sorted.sort_by_key(|method: &Method| (method.path, method.method));
        sorted.shrink_to_fit();
        Methods { sorted, formats }
    })
}

impl Methods {
    #[must_use]
    pub fn get(&self, http: &str, template: &str) -> Option<&Method> {
        let key = (template, http);
        let place = self.sorted.binary_search_by_key(&key, |method| (method.path, method.method));
        self.sorted.get(place.ok()?)
    }

    /// Sorted by path and method.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.sorted.iter()
    }

    /// The keys of a format that is a property string, say `prune-backups`.
    #[must_use]
    pub fn format(&self, name: &str) -> Option<&Properties> {
        self.formats.get(name)
    }
}

/// The property that governs a key of a container's config, say `net0`.
#[must_use]
pub fn config_key(key: &str) -> Option<&'static Property> {
    methods().get("PUT", "/nodes/{node}/lxc/{vmid}/config")?.parameters.get(key)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn holds_all_of_pve_and_ours() {
        let ours = methods().iter().filter(|method| method.path.contains("{node}/oci"));
        assert_eq!((methods().iter().count(), ours.count()), (226, 10));
    }

    #[test]
    fn no_method_is_there_twice() {
        let keys: Vec<_> = methods().iter().map(|method| (method.path, method.method)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_pattern_compiles() {
        fn compile(property: &Property) {
            if let Some(pattern) = &property.pattern {
                std::hint::black_box(pattern.matches(""));
            }
            property
                .format
                .iter()
                .filter_map(Format::keys)
                .flat_map(|k| k.values())
                .for_each(compile);
            property.items.as_deref().into_iter().for_each(compile);
        }
        methods().iter().flat_map(|method| method.parameters.iter()).for_each(|(_, p)| compile(p));
        methods().formats.values().flat_map(|keys| keys.values()).for_each(compile);
    }

    #[test]
    fn every_answer_has_a_schema() {
        for method in methods().iter() {
            assert!(method.returns().is_object(), "{} {}", method.method, method.path);
        }
    }

    #[rstest]
    #[case("net0", true)]
    #[case("net31", true)]
    #[case("net32", false)]
    #[case("net00", false)]
    #[case("net", false)]
    #[case("net[n]", false)]
    #[case("mp255", true)]
    #[case("mp256", false)]
    #[case("hostname", true)]
    #[case("hostname0", false)]
    fn numbered_keys_end_where_pve_ends_them(#[case] key: &str, #[case] known: bool) {
        assert_eq!(config_key(key).is_some(), known);
    }

    #[test]
    fn numbered_keys_are_optional() {
        for (name, property) in methods().iter().flat_map(|method| method.parameters.iter()) {
            assert_eq!(name.ends_with("[n]"), property.indexed_count.is_some());
            assert!(property.optional || property.indexed_count.is_none(), "{name}");
        }
    }
}
