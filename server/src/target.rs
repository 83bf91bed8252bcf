//! What a URL names: which formatter and which path of the API. Pure; who may call it and who
//! answers is for `guard` and `routes`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const BASE: &str = "/api2";

/// What may stay as it is within one part of a path.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A URL's path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Something below `/api2/FORMAT`. `path` is decoded and starts with a slash.
    Api { format: String, path: String },
    /// `/api2` without a format.
    NoFormat,
    /// Not the API at all.
    File(String),
}

impl Target {
    /// Percent-decoded once, before it is taken apart, as AnyEvent.pm does: an encoded slash
    /// separates like any other.
    pub(crate) fn parse(raw_path: &str) -> Self {
        let path = decode(raw_path);
        let Some(rest) = path.strip_prefix(BASE) else {
            return Self::File(path.into_owned());
        };
        let Some(rest) = rest.strip_prefix('/') else {
            return match rest {
                "" => Self::NoFormat,
                _ => Self::File(path.into_owned()),
            };
        };
        let (format, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !is_format(format) {
            return Self::NoFormat;
        }
        let path = if path.is_empty() { "/" } else { path };
        Self::Api { format: format.to_owned(), path: path.to_owned() }
    }
}

/// `[a-z][a-z0-9]+`
fn is_format(word: &str) -> bool {
    let mut bytes = word.bytes();
    word.len() > 1
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The parts of a decoded path; empty ones do not count.
pub(crate) fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// Undoes [`decode`] for one part, so that a router splits the path where we did.
pub(crate) fn encode(part: &str) -> impl std::fmt::Display {
    utf8_percent_encode(part, PART)
}

/// Bytes that are no UTF-8 become replacement characters, which no name contains.
fn decode(raw: &str) -> Cow<'_, str> {
    percent_decode_str(raw).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn api(format: &str, path: &str) -> Target {
        Target::Api { format: format.to_owned(), path: path.to_owned() }
    }

    #[rstest]
    #[case::plain("/api2/json/version", api("json", "/version"))]
    #[case::root("/api2/json", api("json", "/"))]
    #[case::root_slash("/api2/json/", api("json", "/"))]
    #[case::doubled("/api2/json//version/", api("json", "//version/"))]
    #[case::other_format("/api2/foo/version", api("foo", "/version"))]
    #[case::encoded("/api2/json/nodes/a%2Fb%2541", api("json", "/nodes/a/b%41"))]
    #[case::no_format("/api2", Target::NoFormat)]
    #[case::no_format_slash("/api2/", Target::NoFormat)]
    #[case::bad_format("/api2/openapi.json", Target::NoFormat)]
    #[case::one_letter("/api2/x/version", Target::NoFormat)]
    #[case::file("/nonsense", Target::File("/nonsense".to_owned()))]
    #[case::longer("/api22/json", Target::File("/api22/json".to_owned()))]
    fn takes_apart(#[case] url: &str, #[case] target: Target) {
        assert_eq!(Target::parse(url), target);
    }

    #[test]
    fn drops_empty_parts() {
        assert_eq!(parts("//nodes//pve1/").collect::<Vec<_>>(), ["nodes", "pve1"]);
    }

    #[test]
    fn encodes_what_would_split() {
        assert_eq!(encode("vztmpl/a b.tar").to_string(), "vztmpl%2Fa%20b.tar");
    }
}
