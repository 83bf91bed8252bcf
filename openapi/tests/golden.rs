//! The parameter check against recorded answers of the real API server: what it refused for its
//! schema must be refused here in the same words, and nothing else may be.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails here fails the test"
)]

use std::collections::BTreeMap;

use openapi::check::{Input, Raw, check, conflicts, parse_form, parse_json};
use openapi::schema::{Method, methods};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Recorded {
    note: String,
    method: String,
    path: String,
    content_type: Option<String>,
    body: Option<Value>,
    status: String,
    json: Option<Value>,
}

/// Errors that PVE's code raises after the check; by note, or by path where notes are all alike.
const RAISED_BY_CODE: &[&str] = &[
    "snapshot+current",
    "delete unknown",
    "delete+set",
    "revert+set",
    "delete+revert",
    "running net fails",
    "migrate local",
    "move none",
    "bad upid status",
    "unknown upid status",
    "unknown upid stop",
    "/api2/json/nodes/pve1/storage/nope/status",
    "/api2/json/cluster/nextid?vmid=100",
];

fn recorded() -> Vec<Recorded> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/requests.jsonl");
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The variables of `template` in `path`; the volume of a storage takes all that is left.
fn variables(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let rest = template.ends_with("/{volume}");
    let wanted: Vec<_> = template.split('/').filter(|part| !part.is_empty()).collect();
    let parts = path.split('/').filter(|part| !part.is_empty());
    let given: Vec<String> = parts.map(str::to_owned).collect();
    let given = match given.get(wanted.len().saturating_sub(1)..) {
        Some(tail) if rest && !tail.is_empty() => {
            let mut all = given[..wanted.len() - 1].to_vec();
            all.push(tail.join("/"));
            all
        }
        _ => given,
    };
    if wanted.len() != given.len() {
        return None;
    }
    let mut found = Vec::new();
    for (wanted, given) in wanted.iter().zip(given) {
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => found.push((name.to_owned(), given)),
            None if *wanted == given => {}
            None => return None,
        }
    }
    Some(found)
}

fn route(http: &str, path: &str) -> Option<(&'static Method, Vec<(String, String)>)> {
    let hits = methods().iter().filter(|method| method.method == http);
    let hits = hits.filter_map(|method| Some((method, variables(method.path, path)?)));
    hits.min_by_key(|(_, variables)| variables.len())
}

/// The fields of the body; `None` if it is broken JSON.
fn fields(request: &Recorded) -> Option<Vec<(String, Raw)>> {
    let json =
        request.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/json"));
    Some(match &request.body {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) if json => parse_json(text.as_bytes()).ok()?,
        Some(Value::String(text)) => parse_form(text),
        Some(body) if json => parse_json(body.to_string().as_bytes()).unwrap(),
        Some(Value::Object(form)) => form
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name.clone(), Raw::Text(text.clone())),
                Value::Array(list) => {
                    let texts = list.iter().map(|text| text.as_str().unwrap().to_owned());
                    (name.clone(), Raw::Many(texts.collect()))
                }
                other => (name.clone(), Raw::Text(other.to_string())),
            })
            .collect(),
        Some(other) => panic!("a body of another kind: {other}"),
    })
}

/// The errors of our check, empty if it passes; `None` where the request never comes to it.
fn errors(request: &Recorded) -> Option<BTreeMap<String, String>> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
    let inner = path.strip_prefix("/api2/json").or_else(|| path.strip_prefix("/api2/extjs"))?;
    let (method, variables) = route(&request.method, inner)?;
    let input = Input { path: &variables, query: parse_form(query), body: fields(request)? };
    let found = conflicts(&input).map_or_else(|| check(method, input), Err);
    Some(found.err().map(|errors| errors.0).unwrap_or_default())
}

#[test]
fn refuses_what_pve_refused_in_its_words_and_nothing_else() {
    let mut wrong = Vec::new();
    let (mut refused, mut passed, mut by_code) = (0, 0, 0);
    for request in recorded() {
        let answer = request.json.as_ref().and_then(|json| json.get("errors"));
        let code = [&*request.note, &*request.path].iter().any(|key| RAISED_BY_CODE.contains(key));
        let wanted: BTreeMap<String, String> = match answer {
            Some(errors) if !code => serde_json::from_value(errors.clone()).unwrap(),
            _ => BTreeMap::new(),
        };
        // Refused before the check, or before anything was parsed.
        let early = ["401", "403", "501", "506", "301"];
        let status = request.status.split(' ').nth(1).unwrap_or_default();
        let said = request.json.as_ref().and_then(|json| json["status"].as_str());
        if early.contains(&status) || said.is_some_and(|status| early.contains(&status)) {
            continue;
        }
        let Some(found) = errors(&request) else { continue };
        if found != wanted {
            wrong.push(format!("{} {}: {found:?} != {wanted:?}", request.method, request.path));
        } else if !wanted.is_empty() {
            refused += 1;
        } else if code {
            by_code += 1;
        } else {
            passed += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((refused, by_code), (48, 13));
    assert!(passed > 100, "only {passed} passed");
}
