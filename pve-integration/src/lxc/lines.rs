//! Lines of a config as liblxc's parser reads them (`parse_line` of its confile.c): it cuts blanks at
//! both ends of a value and one pair of quotes around it, and knows no escapes.

use std::path::Path;

use crate::bundle::{BundleError, wrong};

#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Fails for what no line can say.
    pub(super) fn put(&mut self, key: &str, value: &str) -> Result<(), BundleError> {
        if value.contains(['\n', '\r', '\0']) {
            return Err(wrong(key, "holds a line break, which LXC's config cannot say"));
        }
        if value.is_empty() {
            // To LXC that is the wish to forget all that was said so far.
            return Err(wrong(key, "is empty"));
        }
        let cut = value.trim() != value || value.starts_with(['"', '\'']);
        let quote = if cut { "\"" } else { "" };
        self.0.push_str(&format!("{key} = {quote}{value}{quote}\n"));
        Ok(())
    }

    pub(super) fn path(&mut self, key: &str, path: &Path) -> Result<(), BundleError> {
        let text = path.to_str();
        let text = text.ok_or_else(|| wrong(key, format!("'{}' is not UTF-8", path.display())))?;
        self.put(key, text)
    }

    /// As an administrator wrote it into the config, a line of which it is.
    pub(super) fn verbatim(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    /// Forget what an included file said.
    pub(super) fn clear(&mut self, key: &str) {
        self.0.push_str(&format!("{key} =\n"));
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// One of the blank-separated fields of a mount entry (fstab(5)).
pub(super) fn field(text: &str) -> String {
    let escape = |c: char| match c {
        ' ' => "\\040".to_owned(),
        '\t' => "\\011".to_owned(),
        '\\' => "\\134".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("A=b c", "k = A=b c\n")]
    #[case::inner_quotes("A=\"b\"", "k = A=\"b\"\n")]
    #[case::blank_at_the_end("A=b ", "k = \"A=b \"\n")]
    #[case::quoted("'x'", "k = \"'x'\"\n")]
    fn keeps_a_value_from_the_parser(#[case] value: &str, #[case] line: &str) {
        let mut lines = Lines::default();
        lines.put("k", value).unwrap();
        assert_eq!(lines.into_text(), line);
    }

    #[rstest]
    #[case("a\nlxc.hook.start = /x")]
    #[case("")]
    fn refuses_what_a_line_cannot_say(#[case] value: &str) {
        assert!(Lines::default().put("k", value).is_err());
    }

    #[test]
    fn escapes_as_fstab() {
        assert_eq!(field("/a b\\c"), "/a\\040b\\134c");
    }
}
