//! What a client sent, before anyone judged it: forms and JSON bodies taken apart, and path, query
//! and body made one, as pveproxy does it (pve-http-server, `src/PVE/APIServer/AnyEvent.pm`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::{ParamErrors, perl_text};
use crate::schema::Method;

/// A value as it came: from a form once or repeated, or from a JSON body.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    Text(String),
    Many(Vec<String>),
    Json(Value),
}

/// All that a request says: the variables of its path, its query, its body.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    pub path: &'a [(String, String)],
    pub query: Vec<(String, Raw)>,
    pub body: Vec<(String, Raw)>,
}

/// The merged values by name, still unchecked.
pub type Given = BTreeMap<String, Value>;

/// Take a query or a form apart. `&` and `;` divide, `+` is a space, a repeated key becomes `Many`.
/// Of `a=b=c` pveproxy keeps only `b`; so do we.
#[must_use]
pub fn parse_form(text: &str) -> Vec<(String, Raw)> {
    let mut fields: Vec<(String, Raw)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for pair in text.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let mut parts = pair.split('=').map(decode);
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        match places.get(&name).and_then(|place| fields.get_mut(*place)) {
            // Without a value, Perl forgets what was there, and later values what was not.
            Some((_, old)) if value.is_empty() => *old = Raw::Text(value),
            Some((_, Raw::Many(values))) => values.push(value),
            Some((_, old)) => match old {
                Raw::Text(first) if !first.is_empty() => {
                    *old = Raw::Many(vec![std::mem::take(first), value]);
                }
                Raw::Text(_) | Raw::Many(_) | Raw::Json(_) => *old = Raw::Text(value),
            },
            None => {
                places.insert(name.clone(), fields.len());
                fields.push((name, Raw::Text(value)));
            }
        }
    }
    fields
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Why a JSON body has no parameters.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error(transparent)]
    Broken(#[from] serde_json::Error),
    #[error("JSON, but no object")]
    NoObject(Value),
}

/// Take a JSON body apart.
pub fn parse_json(body: &[u8]) -> Result<Vec<(String, Raw)>, JsonError> {
    match serde_json::from_slice(body)? {
        Value::Object(fields) => {
            Ok(fields.into_iter().map(|(name, value)| (name, Raw::Json(value))).collect())
        }
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => Err(JsonError::NoObject(other)),
    }
}

/// Make one of path, query and body: the query wins over the body, the path over both (who sends
/// something else for it is refused before, see [`conflicts`]), and `_dc`, which only defeats
/// caches, is dropped.
#[must_use]
pub fn merge(method: &Method, input: Input<'_>) -> Given {
    let mut given = Given::new();
    for (name, raw) in input.body.into_iter().chain(input.query) {
        if name != "_dc" {
            given.insert(name, value(method, raw));
        }
    }
    for (name, text) in input.path {
        given.insert(name.clone(), Value::String(text.clone()));
    }
    given
}

fn value(method: &Method, raw: Raw) -> Value {
    match raw {
        // An empty field is undefined; on its way to PVE's root daemon it becomes an empty text.
        Raw::Text(text) if text.is_empty() && !method.protected => Value::Null,
        Raw::Text(text) => Value::String(text),
        Raw::Many(texts) => Value::Array(texts.into_iter().map(Value::String).collect()),
        Raw::Json(value) => value,
    }
}

/// The first parameter by name that the path gives too, but otherwise. PVE answers 400 with it
/// before it asks who may.
#[must_use]
pub fn conflicts(input: &Input<'_>) -> Option<ParamErrors> {
    let said = |name: &str| {
        let last = |fields: &[(String, Raw)]| {
            fields.iter().rev().find(|(field, _)| field == name).map(|(_, raw)| raw.clone())
        };
        last(&input.query).or_else(|| last(&input.body))
    };
    let differs = |(name, text): &&(String, String)| match said(name) {
        None => false,
        Some(Raw::Text(other)) => other != *text,
        Some(Raw::Many(_) | Raw::Json(Value::Array(_) | Value::Object(_))) => true,
        Some(Raw::Json(value)) => perl_text(&value) != Cow::Borrowed(text.as_str()),
    };
    let (name, _) = input.path.iter().filter(differs).min()?;
    let message = "duplicate parameter (already defined in URI) with conflicting values!";
    Some(ParamErrors::one(name, message))
}
