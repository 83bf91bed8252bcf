//! The one parameter check, in PVE's order and words (pve-common, `src/PVE/RESTHandler.pm` and
//! `src/PVE/JSONSchema.pm`). It knows methods only by their table, and nothing of HTTP beyond how
//! query and body are merged. Whether the caller may is not asked here.
//!
//! Values come out as their readers need them: booleans as 0 or 1, integers and numbers as JSON
//! numbers. Only what goes into a container's config stays as the client wrote it if a number would
//! print otherwise (`+512`, `007`, `1.50`), for PVE stores and shows such a value as it was given.
//! Defaults are not filled in.
//!
//! Where Perl's order is that of a hash, names are sorted here.

mod broken_json;
mod input;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::IntErrorKind;

use serde_json::{Map, Number, Value};

pub use broken_json::why_broken;
pub use input::{Given, Input, JsonError, Raw, conflicts, merge, parse_form, parse_json};

use crate::format;
use crate::property_string;
use crate::schema::{Format, Kind, Method, Property, config_key};

/// Errors by parameter: what PVE answers with `400 Parameter verification failed.`
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ParamErrors(pub BTreeMap<String, String>);

impl ParamErrors {
    /// One error of one parameter.
    #[must_use]
    pub fn one(name: &str, message: impl Into<String>) -> Self {
        Self([(name.to_owned(), message.into())].into())
    }
}

/// Merge and check what a client sent. Path variables are in the result.
pub fn check(method: &Method, input: Input<'_>) -> Result<Map<String, Value>, ParamErrors> {
    check_given(method, merge(method, input))
}

/// Check what is already merged; for who needs the unchecked values before, as permissions do.
pub fn check_given(method: &Method, mut given: Given) -> Result<Map<String, Value>, ParamErrors> {
    let parameters = &method.parameters;
    let changes_config = method.writes_config() && method.method == "PUT";
    for (name, value) in &mut given {
        if let Some(property) = parameters.get(name) {
            normalise(property, value);
            if changes_config && property.kind == Kind::Boolean {
                spell_out(value);
            }
        }
    }
    let mut errors = BTreeMap::new();
    check_object("", parameters.iter(), &|name| parameters.get(name), &given, &mut errors);
    if !errors.is_empty() {
        return Err(ParamErrors(errors));
    }
    let checked = given.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let as_written = method.writes_config() && config_key(&name).is_some();
        let value = parameters.get(&name).map_or(Value::Null, |p| stored(p, value, as_written));
        (name, value)
    });
    Ok(checked.collect())
}

/// PVE refuses every spelling but `1` and `0`. Where a config is changed, scripts send what Python
/// prints and what PVE's own files may hold (`tests/clients/proxmoxer_lifecycle.py` does), and mean no
/// harm: those are taken. `true` was recorded to be refused there, too.
fn spell_out(flag: &mut Value) {
    let digit = match flag.as_str() {
        Some("True" | "yes" | "on") => "1",
        Some("False" | "no" | "off") => "0",
        Some(_) | None => return,
    };
    *flag = Value::String(digit.to_owned());
}

/// A form has no arrays, so PVE bridges the gap: a repeated key may be a list, one value an array.
fn normalise(property: &Property, value: &mut Value) {
    let list = matches!(property.format, Some(Format::Named(name)) if name.ends_with("-list"));
    match value {
        Value::Array(items) if property.kind == Kind::String && list => {
            let texts: Vec<_> = items.iter().map(perl_text).collect();
            *value = Value::String(texts.join(","));
        }
        Value::String(_) | Value::Number(_)
            if property.kind == Kind::Array && format::is_true(&perl_text(value)) =>
        {
            *value = Value::Array(vec![value.take()]);
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {}
    }
}

/// Whether a container's config may say `text` for `key`, as a request would be asked; why not, if not.
pub fn config_value(key: &str, text: &str) -> Result<(), String> {
    match crate::schema::config_key(key) {
        Some(property) => {
            check_type(property.kind, &Value::String(text.to_owned()))?;
            check_scalar(key, property, text)
        }
        None => Err("property is not defined in schema".to_owned()),
    }
}

/// How Perl prints a scalar.
pub(crate) fn perl_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("1"),
        Value::Bool(false) => Cow::Borrowed("0"),
        Value::Number(number) => {
            // JSON's 1.0 is Perl's 1, as is Rust's when a double is printed.
            let float = number.as_f64().filter(|_| !number.is_i64() && !number.is_u64());
            Cow::Owned(float.map_or_else(|| number.to_string(), |float| float.to_string()))
        }
        Value::Array(_) => Cow::Borrowed("ARRAY"),
        Value::Object(_) => Cow::Borrowed("HASH"),
    }
}

/// What of `value`, already checked, is handed on; `as_written`: numbers only if they print as
/// the client wrote them.
pub(crate) fn stored(property: &Property, value: Value, as_written: bool) -> Value {
    match value {
        Value::Array(items) => match &property.items {
            Some(item) => items.into_iter().map(|value| stored(item, value, as_written)).collect(),
            None => Value::Array(items),
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = perl_text(&value);
            let integer = || text.parse::<i64>().ok().map(Number::from);
            let number = match property.kind {
                Kind::Boolean => integer(),
                Kind::Integer if !as_written => capped(&text),
                Kind::Integer => integer(),
                Kind::Number => integer().or_else(|| text.parse().ok().and_then(Number::from_f64)),
                Kind::String | Kind::Array | Kind::Object => None,
            };
            match number.filter(|number| !as_written || number.to_string() == *text) {
                Some(number) => Value::Number(number),
                None => Value::String(text.into_owned()),
            }
        }
        Value::Null | Value::Object(_) => value,
    }
}

/// Perl goes on with a double; to whoever counts with it, one so large is as good as another.
fn capped(text: &str) -> Option<Number> {
    match text.parse::<i64>() {
        Ok(number) => Some(number.into()),
        Err(err) if *err.kind() == IntErrorKind::PosOverflow => Some(i64::MAX.into()),
        Err(err) if *err.kind() == IntErrorKind::NegOverflow => Some(i64::MIN.into()),
        Err(_) => None,
    }
}

type Errors = BTreeMap<String, String>;

/// PVE joins the errors of one path with a backslash and an `n`: its quotes are single ones.
fn add(errors: &mut Errors, path: &str, message: &str) {
    errors
        .entry(path.to_owned())
        .and_modify(|all| *all = format!("{all}\\n{message}"))
        .or_insert_with(|| message.to_owned());
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Check all values against all properties: parameters, or the keys of a property string.
/// `find` resolves numbered names, which `properties` has only once.
pub(crate) fn check_object<'p, 'v, K: AsRef<str> + 'p>(
    path: &str,
    properties: impl IntoIterator<Item = (K, &'p Property)>,
    find: &dyn Fn(&str) -> Option<&'p Property>,
    values: impl IntoIterator<Item = (&'v String, &'v Value)>,
    errors: &mut Errors,
) {
    let values: BTreeMap<&str, &Value> =
        values.into_iter().map(|(name, value)| (name.as_str(), value)).collect();
    let present = |name: &str| values.get(name).is_some_and(|value| !value.is_null());
    for (name, property) in properties {
        let name = name.as_ref();
        if !property.optional && !present(name) {
            let message = "property is missing and it is not optional";
            add(errors, &join(path, name), message);
        }
    }
    for (name, value) in &values {
        let place = join(path, name);
        let Some(property) = find(name) else {
            let message = "property is not defined in schema \
                           and the schema does not allow additional properties";
            add(errors, &place, message);
            continue;
        };
        if !value.is_null() {
            check_value(&place, property, value, errors);
        }
        if let Some(required) = property.requires.filter(|required| !present(required)) {
            let message = format!("missing property required by '{place}'");
            add(errors, &join(path, required), &message);
        }
    }
}

fn check_value(path: &str, property: &Property, value: &Value, errors: &mut Errors) {
    if let Err(message) = check_type(property.kind, value) {
        return add(errors, path, &message);
    }
    match value {
        Value::Array(items) => {
            let Some(item) = &property.items else { return };
            for (index, value) in items.iter().enumerate() {
                let place = format!("{path}[{index}]");
                if value.is_null() {
                    add(errors, &place, "property is missing and it is not optional");
                } else {
                    check_value(&place, item, value, errors);
                }
            }
        }
        // To Perl, JSON's booleans are objects, of which nothing more is asked.
        Value::Bool(_) | Value::Object(_) | Value::Null => {}
        Value::String(_) | Value::Number(_) => {
            if let Err(message) = check_scalar(path, property, &perl_text(value)) {
                add(errors, path, &message);
            }
        }
    }
}

fn check_type(kind: Kind, value: &Value) -> Result<(), String> {
    let name = kind.as_str();
    let failed = |got: &str| Err(format!("type check ('{name}') failed{got}"));
    match (kind, value) {
        (Kind::Array, Value::Array(_)) | (Kind::Object, Value::Object(_)) => Ok(()),
        (Kind::Array | Kind::Object, _) => failed(""),
        (Kind::Boolean, Value::Bool(_)) => Ok(()),
        (_, Value::Bool(_)) => failed(" - got JSON::PP::Boolean"),
        (_, Value::Array(_) | Value::Object(_)) => failed(&format!(" - got {}", perl_text(value))),
        (_, Value::Null | Value::String(_) | Value::Number(_)) => {
            let text = perl_text(value);
            let good = match kind {
                Kind::Boolean => matches!(&*text, "0" | "1"),
                Kind::Integer => is_integer(&text),
                Kind::Number => is_number(&text),
                Kind::String | Kind::Array | Kind::Object => true,
            };
            if good { Ok(()) } else { failed(&format!(" - got '{text}'")) }
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = mantissa.replacen('.', "", 1);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && exponent.is_none_or(is_integer)
}

/// The first failure is the property's error.
fn check_scalar(path: &str, property: &Property, text: &str) -> Result<(), String> {
    if let Some(wanted) = &property.format {
        check_format(wanted, text, path).map_err(|err| format!("invalid format - {err}\n"))?;
    }
    if property.pattern.as_ref().is_some_and(|pattern| !pattern.matches(text)) {
        return Err("value does not match the regex pattern".to_owned());
    }
    // Counting is left out where nobody asks: texts may be long.
    let longer = |limit: u32| text.chars().nth(limit as usize).is_some();
    if let Some(most) = property.max_length.filter(|most| longer(*most)) {
        return Err(format!("value may only be {most} characters long"));
    }
    if let Some(least) = property.min_length.filter(|least| *least > 0 && !longer(*least - 1)) {
        return Err(format!("value must be at least {least} characters long"));
    }
    if is_number(text)
        && let Ok(number) = text.parse::<f64>()
    {
        if let Some(most) = property.maximum.filter(|most| number > *most) {
            return Err(format!("value must have a maximum value of {most}"));
        }
        if let Some(least) = property.minimum.filter(|least| number < *least) {
            return Err(format!("value must have a minimum value of {least}"));
        }
    }
    match &property.choices {
        Some(choices) if !choices.contains(&text) => {
            let all = choices.join(", ");
            Err(format!("value '{text}' does not have a value in the enumeration '{all}'"))
        }
        _ => Ok(()),
    }
}

fn check_format(wanted: &Format, text: &str, path: &str) -> Result<(), String> {
    let Some(keys) = wanted.keys() else {
        let Format::Named(name) = wanted else { return Ok(()) };
        return format::verify(name, text);
    };
    let values = property_string::verify(keys, text, path).map_err(|err| err.to_string())?;
    match wanted {
        Format::Named(name) => format::verify_keys(name, &values),
        Format::Inline(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
