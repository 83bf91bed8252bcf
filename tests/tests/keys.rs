//! That each key has a container test which observes it: `tests/keys/observed.toml` against the list in
//! ARCHITECTURE.md, which is made of the code, and against the tests that there are.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Observed {
    /// Key to tests, as `module::name`.
    applied: BTreeMap<String, BTreeSet<String>>,
}

fn read(path: &str) -> String {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn observed() -> Observed {
    toml::from_str(&read("keys/observed.toml")).unwrap()
}

/// Key, and what libcrun makes of it.
fn listed() -> Vec<(String, String)> {
    let text = read("../ARCHITECTURE.md");
    let table = text.split("<!-- the keys, made by `make bless` -->").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| {
        let (key, rest) = row.split_once("` | ").unwrap();
        (key.to_owned(), rest.split(" | ").next().unwrap().to_owned())
    });
    rows.collect()
}

#[test]
fn what_a_start_applies_is_observed() {
    let observed = observed();
    let listed = listed();
    assert!(listed.len() > 130, "{}", listed.len());
    let applied = listed.iter().filter(|(_, fate)| !["-", "warns"].contains(&fate.as_str()));
    let applied: BTreeSet<_> = applied.map(|(key, _)| key.as_str()).collect();
    let seen = observed.applied.iter().filter(|(_, tests)| !tests.is_empty());
    let named: BTreeSet<_> = seen.map(|(key, _)| key.as_str()).collect();
    let missing: Vec<_> = applied.difference(&named).collect();
    assert!(missing.is_empty(), "no test observes {missing:?}");
    let gone: Vec<_> = named.difference(&applied).filter(|key| !key.starts_with("oci: ")).collect();
    assert!(gone.is_empty(), "not applied: {gone:?}");
}

#[test]
fn what_a_start_only_names_is_tried() {
    let tried = read("tests/containers/keys/unheeded.rs");
    let warned = listed().into_iter().filter(|(_, fate)| fate == "warns").map(|(key, _)| key);
    let missing: Vec<_> = warned
        .filter(|key| {
            let word = key.trim_end_matches('*').rsplit(' ').next().unwrap();
            !tried.contains(word)
        })
        .collect();
    assert!(missing.is_empty(), "no test has {missing:?}");
}

#[test]
fn the_tests_are_there() {
    let missing: Vec<_> = observed()
        .applied
        .into_values()
        .flatten()
        .filter(|test| {
            let (module, name) = test.rsplit_once("::").unwrap();
            let file: PathBuf = module.split("::").collect();
            let path = Path::new("tests/containers").join(file).with_extension("rs");
            !read(path.to_str().unwrap()).contains(&format!("\nfn {name}("))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
