//! The text forms that `user.cfg` and `domains.cfg` are made of: percent-encoded fields and lists.
//! Upstream: pve-common, `src/PVE/ParseUtils.pm`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Control characters, DEL and what is not ASCII, and the two characters the form itself uses.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%').add(b':');

/// A text as one field of a colon-separated line.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNSAFE).to_string()
}

/// Bytes that are no UTF-8 become replacement characters, as in Perl.
pub(crate) fn decode(field: &str) -> String {
    percent_decode_str(field).decode_utf8_lossy().into_owned()
}

/// PVE's `-list` form: at NUL if there is one, else at commas, semicolons and blanks.
pub fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let nul = list.contains('\0');
    let between = move |c: char| {
        if nul { c == '\0' } else { matches!(c, ',' | ';') || c.is_whitespace() }
    };
    list.split(between).filter(|item| !item.is_empty())
}

/// Perl's truth of a field: neither missing nor empty nor `0`.
pub(super) fn is_true(field: &str) -> bool {
    !matches!(field, "" | "0")
}

/// An ACL path as PVE looks it up: `None` for an empty one or one with characters no path has.
pub fn normalize_path(path: &str) -> Option<Cow<'_, str>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
    if !is_true(path) || !path.bytes().all(plain) {
        return None;
    }
    let normal =
        path == "/" || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
    if normal {
        return Some(Cow::Borrowed(path));
    }
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(Cow::Owned(format!("/{}", parts.join("/"))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("second : line é", "second %3A line %C3%A9")]
    #[case("50%\n", "50%25%0A")]
    #[case("a,b;c", "a,b;c")]
    fn encodes_as_pve(#[case] text: &str, #[case] field: &str) {
        assert_eq!((encode(text).as_str(), decode(field).as_str()), (field, text));
    }

    #[rstest]
    #[case("a, b;c  d", &["a", "b", "c", "d"])]
    #[case("a,b\0c", &["a,b", "c"])]
    #[case("", &[])]
    fn splits_lists(#[case] list: &str, #[case] items: &[&str]) {
        assert_eq!(split_list(list).collect::<Vec<_>>(), items);
    }

    #[rstest]
    #[case("/", Some("/"))]
    #[case("//", Some("/"))]
    #[case("vms/100/", Some("/vms/100"))]
    #[case("/vms//100", Some("/vms/100"))]
    #[case("/vms/100", Some("/vms/100"))]
    #[case("/../x", Some("/../x"))]
    #[case("", None)]
    #[case("0", None)]
    #[case("/a b", None)]
    #[case("/a\n", None)]
    fn normalizes_paths(#[case] path: &str, #[case] normal: Option<&str>) {
        assert_eq!(normalize_path(path).as_deref(), normal);
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            let field = encode(&text);
            prop_assert!(field.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b':'));
            prop_assert_eq!(decode(&field), text);
        }
    }
}
