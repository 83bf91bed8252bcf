//! One property of a method's parameters or of a property string: its type and its limits.

use std::borrow::Cow;
use std::sync::OnceLock;

use indexmap::IndexMap;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

/// The keys of a property string.
pub type Properties = IndexMap<&'static str, Property>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

impl Kind {
    /// PVE's word, as it stands in its messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// What else a text must be.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Format {
    /// One of `format`'s, with `-list` or `-opt` at its end perhaps.
    Named(&'static str),
    /// A property string with these keys.
    Inline(Properties),
}

impl Format {
    /// The keys, if this is a property string, named or not.
    #[must_use]
    pub fn keys(&self) -> Option<&Properties> {
        match self {
            Self::Named(name) => super::methods().format(name),
            Self::Inline(keys) => Some(keys),
        }
    }
}

/// A regular expression, compiled at its first use: most never are.
#[derive(Debug)]
pub struct Pattern {
    text: Cow<'static, str>,
    compiled: OnceLock<Box<Regex>>,
}

impl Pattern {
    /// As the table has it, without anchors.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches between `^` and `$`. Written out as Perl does, so an alternative at the
    /// top is anchored on one side only; unlike Perl's, this `$` takes no newline.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.compiled
            .get_or_init(|| {
                let anchored = format!("^{}$", self.text);
                Box::new(Regex::new(&anchored).expect("a test compiles every pattern"))
            })
            .is_match(text)
    }
}

impl Deserialize<'static> for Pattern {
    fn deserialize<D: serde::Deserializer<'static>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Borrowed(#[serde(borrow)] Cow<'static, str>);

        let Borrowed(text) = Borrowed::deserialize(from)?;
        Ok(Self { text, compiled: OnceLock::new() })
    }
}

/// One property. The limits are checked in the order in which they stand here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    #[serde(rename = "type")]
    pub kind: Kind,
    #[serde(default)]
    pub format: Option<Format>,
    #[serde(default)]
    pub pattern: Option<Box<Pattern>>,
    /// In characters.
    #[serde(rename = "maxLength")]
    pub max_length: Option<u32>,
    #[serde(rename = "minLength")]
    pub min_length: Option<u32>,
    pub maximum: Option<f64>,
    pub minimum: Option<f64>,
    #[serde(rename = "enum", borrow, default)]
    pub choices: Option<Box<[&'static str]>>,

    #[serde(default)]
    pub optional: bool,
    /// What PVE documents; the check fills nothing in.
    pub default: Option<Value>,
    /// The property that must be given with this one.
    #[serde(borrow, default)]
    pub requires: Option<&'static str>,
    /// In a property string: the key of a part without a key.
    #[serde(default)]
    pub default_key: bool,
    /// Of an array.
    #[serde(default)]
    pub items: Option<Box<Property>>,
    /// `name[n]` stands for this many names.
    pub indexed_count: Option<u16>,
}
