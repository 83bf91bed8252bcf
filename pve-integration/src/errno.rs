//! What the kernel's errors are called. Perl says `No such file or directory` of one; Rust adds its
//! number, which nobody who reads PVE's messages expects.

use std::borrow::Cow;

const NUMBER: &str = " (os error ";

/// `text` without each ` (os error 2)`.
#[must_use]
pub fn without_numbers(text: &str) -> Cow<'_, str> {
    let mut rest = text;
    let mut without = String::new();
    while let Some((before, behind)) = rest.split_once(NUMBER) {
        let digits = behind.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(after) = digits.strip_prefix(')').filter(|_| digits.len() < behind.len()) else {
            without.push_str(before);
            without.push_str(NUMBER);
            rest = behind;
            continue;
        };
        without.push_str(before);
        rest = after;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    without.push_str(rest);
    Cow::Owned(without)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none("no luck", "no luck")]
    #[case::one("open 'x': No such file (os error 2)", "open 'x': No such file")]
    #[case::two("a (os error 2); b (os error 13).", "a; b.")]
    #[case::no_number("what (os error x) is (os error ) it", "what (os error x) is (os error ) it")]
    fn leaves_the_words(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(without_numbers(text), expected);
    }

    #[test]
    fn knows_how_rust_writes_one() {
        let text = io::Error::from_raw_os_error(2).to_string();
        assert_eq!(without_numbers(&text), "No such file or directory");
    }
}
