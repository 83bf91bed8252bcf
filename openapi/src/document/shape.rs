//! A property of the method table as a JSON schema.

use serde_json::{Value, json};
use utoipa::Number;
use utoipa::openapi::RefOr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ArrayItems, ObjectBuilder, Schema, SchemaFormat, Type,
};

use super::words::Words;
use crate::schema::{Format, Kind, Property};

/// The properties of a body. Numbered names are told by a pattern: JSON Schema has
/// `patternProperties`, which utoipa knows only as an extension.
pub(super) fn object<'p>(
    properties: impl Iterator<Item = (&'static str, &'p Property)>,
    words: &Words,
) -> Schema {
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let mut numbered = serde_json::Map::new();
    for (name, property) in properties {
        let schema = of(property, words.of(name));
        match (name.strip_suffix("[n]"), property.indexed_count) {
            (Some(stem), Some(count)) => {
                let pattern = format!("^{stem}(?:{})$", numbers_below(count));
                numbered.insert(pattern, serde_json::to_value(schema).unwrap_or_default());
            }
            _ => {
                object = object.property(name, schema);
                if !property.optional {
                    object = object.required(name);
                }
            }
        }
    }
    if !numbered.is_empty() {
        let extension = [("patternProperties", Value::Object(numbered))];
        object = object.extensions(Some(extension.into_iter().collect::<Extensions>()));
    }
    object.into()
}

/// An expression for 0 to `count - 1` without leading zeros, decade by decade.
fn numbers_below(count: u16) -> String {
    let decade = |tens: u16| {
        let last = (count - 1 - tens * 10).min(9);
        let tens = if tens == 0 { String::new() } else { tens.to_string() };
        format!("{tens}[0-{last}]")
    };
    (0..count.div_ceil(10)).map(decade).collect::<Vec<_>>().join("|")
}

/// One property.
pub(super) fn of(property: &Property, description: Option<&str>) -> Schema {
    if property.kind == Kind::Array {
        let item = property.items.as_deref().map_or_else(Schema::default, |item| of(item, None));
        let item = ArrayItems::RefOrSchema(Box::new(RefOr::T(item)));
        return ArrayBuilder::new().items(item).description(description).into();
    }
    let described = [description.map(str::to_owned), keys(property)];
    let described: Vec<_> = described.into_iter().flatten().collect();
    let mut object = ObjectBuilder::new()
        .schema_type(match property.kind {
            // PVE's booleans are 0 and 1, of JSON's as of a form's.
            Kind::Boolean | Kind::Integer => Type::Integer,
            Kind::Number => Type::Number,
            Kind::String | Kind::Array => Type::String,
            Kind::Object => Type::Object,
        })
        .description(Some(described.join(" ")).filter(|text| !text.is_empty()))
        .default(default(property))
        .minimum(property.minimum.map(exact))
        .maximum(property.maximum.map(exact))
        .min_length(property.min_length.map(|length| length as usize))
        .max_length(property.max_length.map(|length| length as usize))
        .pattern(property.pattern.as_ref().map(|pattern| format!("^{}$", pattern.as_str())));
    if let Some(Format::Named(name)) = property.format {
        object = object.format(Some(SchemaFormat::Custom(name.to_owned())));
    }
    match (&property.choices, property.kind) {
        (_, Kind::Boolean) => object = object.enum_values(Some([0, 1])),
        (Some(choices), kind) => {
            let typed = |choice: &&str| match (kind, choice.parse::<i64>()) {
                (Kind::Integer, Ok(number)) => json!(number),
                _ => json!(choice),
            };
            object = object.enum_values(Some(choices.iter().map(typed).collect::<Vec<_>>()));
        }
        (None, _) => {}
    }
    object.into()
}

/// A limit that is whole is printed so.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers of the table come here")]
fn exact(limit: f64) -> Number {
    if limit.fract() == 0.0 { Number::Int(limit as isize) } else { Number::Float(limit) }
}

/// PVE's defaults are at times words for people ("yes", "unlimited"): those are no default of a
/// number's schema.
fn default(property: &Property) -> Option<Value> {
    let value = property.default.clone()?;
    let text = matches!(property.kind, Kind::String);
    (text == value.is_string()).then_some(value)
}

/// The keys of a property string in one line: `volume` is the key that needs no name.
fn keys(property: &Property) -> Option<String> {
    let keys = property.format.as_ref()?.keys()?;
    let key = |(name, property): (&&str, &Property)| {
        let value = match (&property.choices, property.kind) {
            (Some(choices), _) => choices.join("|"),
            (None, Kind::Boolean) => "0|1".to_owned(),
            (None, kind) => format!("<{}>", kind.as_str()),
        };
        let named = if property.default_key {
            format!("[{name}=]{value}")
        } else {
            format!("{name}={value}")
        };
        if property.optional { format!("[{named}]") } else { named }
    };
    Some(format!("Property string: `{}`.", keys.iter().map(key).collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1)]
    #[case(6)]
    #[case(32)]
    #[case(256)]
    fn counts_without_gaps(#[case] count: u16) {
        let pattern = regex::Regex::new(&format!("^(?:{})$", numbers_below(count))).unwrap();
        let matched = (0..2000_u16).filter(|n| pattern.is_match(&n.to_string()));
        assert!(matched.eq(0..count));
        assert!(!pattern.is_match("00"));
    }
}
