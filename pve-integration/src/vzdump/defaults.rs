//! What a run does when it is not told: PVE's own defaults, and over them `/etc/vzdump.conf`.

use fs_err as fs;
use openapi::check::{Given, check_given};
use openapi::schema::{Method, methods};
use serde_json::{Map, Value};

use super::Retention;
use crate::layout::Root;

/// Of the request only, never of the file.
const NOT_DEFAULTS: &[&str] = &["job-id", "stdout", "node"];

/// By name, with PVE's JSON types; `exclude-path` an array, `performance` and `fleecing` objects.
pub fn defaults(root: &Root) -> Map<String, Value> {
    let text = fs::read_to_string(root.below("/etc/vzdump.conf")).unwrap_or_default();
    merged(&text)
}

fn method() -> &'static Method {
    let method = methods().get("POST", "/nodes/{node}/vzdump");
    method.expect("the method table has vzdump")
}

fn merged(text: &str) -> Map<String, Value> {
    let mut merged = Map::new();
    for (name, property) in method().parameters.iter() {
        if let Some(default) = property.default.as_ref().filter(|_| !NOT_DEFAULTS.contains(&name)) {
            merged.insert(name.to_owned(), default.clone());
        }
    }
    for (name, format) in [("performance", "backup-performance"), ("fleecing", "backup-fleecing")] {
        let keys = methods().format(format).into_iter().flatten();
        let keys =
            keys.filter_map(|(key, property)| Some(((*key).to_owned(), property.default.clone()?)));
        merged.insert(name.to_owned(), Value::Object(keys.collect()));
    }
    let mut of_file = file(text);
    if of_file.contains_key("storage") {
        of_file.remove("dumpdir");
    }
    for (name, value) in of_file {
        let format = match name.as_str() {
            "performance" => "backup-performance",
            "fleecing" => "backup-fleecing",
            _ => {
                merged.insert(name, value);
                continue;
            }
        };
        let parsed = methods().format(format).zip(value.as_str());
        let parsed =
            parsed.and_then(|(keys, text)| openapi::property_string::parse(keys, text).ok());
        if let (Some(Value::Object(into)), Some(parsed)) = (merged.get_mut(&name), parsed) {
            into.extend(parsed);
        }
    }
    merged
}

/// What of the file is right. PVE warns of the rest and goes on.
fn file(text: &str) -> Map<String, Value> {
    let mut given = Given::new();
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim_end(), value.trim());
        if key == "exclude-path" {
            // Old files have several on a line, as a shell would read them.
            let words = shell_words::split(value).unwrap_or_else(|_| vec![value.to_owned()]);
            paths.extend(words.into_iter().map(Value::String));
        } else if method().parameters.get(key).is_some() && !NOT_DEFAULTS.contains(&key) {
            given.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }
    let mut checked = Map::new();
    for (key, value) in given {
        let alone = Given::from([("node".to_owned(), "x".into()), (key.clone(), value)]);
        // What one key needs of another is not asked of the file.
        let alone = match key.as_str() {
            "notes-template" | "protected" => {
                alone.into_iter().chain([("storage".to_owned(), "local".into())]).collect()
            }
            _ => alone,
        };
        if let Ok(mut values) = check_given(method(), alone)
            && let Some(value) = values.remove(&key)
        {
            checked.insert(key, value);
        }
    }
    let wrong = checked
        .get("prune-backups")
        .and_then(Value::as_str)
        .is_some_and(|text| Retention::parse(text).is_err());
    if wrong {
        checked.remove("prune-backups");
    }
    if !paths.is_empty() {
        checked.insert("exclude-path".to_owned(), Value::Array(paths));
    }
    checked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_file_they_are_pves() {
        let all = merged("");
        let of = |key: &str| all[key].clone();
        assert_eq!(
            (of("mode"), of("compress"), of("remove")),
            (json!("snapshot"), json!("0"), json!(1))
        );
        assert_eq!((of("lockwait"), of("prune-backups")), (json!(180), json!("keep-all=1")));
        assert_eq!(of("performance"), json!({"max-workers": 16, "pbs-entries-max": 1_048_576}));
        assert!(all.get("storage").is_none() && all.get("node").is_none());
    }

    #[test]
    fn a_file_overrules_where_it_is_right() {
        let all = merged(
            "# mine\nbwlimit: 100\nmode: never\ncompress: zstd\nstorage: big\ndumpdir: /x\n\
             exclude-path: /tmp/?* \"/a b\"\nprotected: 1\nperformance: max-workers=2\nnonsense\n",
        );
        let of = |key: &str| all[key].clone();
        assert_eq!(
            (of("bwlimit"), of("mode"), of("compress")),
            (json!(100), json!("snapshot"), json!("zstd"))
        );
        assert_eq!((of("exclude-path"), of("protected")), (json!(["/tmp/?*", "/a b"]), json!(1)));
        assert_eq!(of("performance")["max-workers"], 2);
        assert!(all.get("dumpdir").is_none());
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            merged(&text);
        }
    }
}
