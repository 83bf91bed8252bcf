//! Quoting for a shell, as Perl's `String::ShellQuote` does it, through which PVE writes commands.

/// The argument as it is, or in single quotes.
pub fn shell_quote(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_!%+,-./:@^".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    if argument.is_empty() {
        return "''".to_owned();
    }
    let mut quoted = "'".to_owned();
    let mut rest = argument;
    while let Some(at) = rest.find('\'') {
        quoted.push_str(&rest[..at]);
        rest = &rest[at..];
        let count = rest.len() - rest.trim_start_matches('\'').len();
        match count {
            1 => quoted.push_str("'\\''"),
            many => quoted.push_str(&format!("'\"{}\"'", "'".repeat(many))),
        }
        rest = &rest[count..];
    }
    quoted.push_str(rest);
    quoted.push('\'');
    // Empty pairs at its ends.
    let quoted = quoted.strip_prefix("''").unwrap_or(&quoted);
    quoted.strip_suffix("''").unwrap_or(quoted).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::shell_quote;

    // As perl prints them.
    #[rstest]
    #[case("", "''")]
    #[case("/bin/sh", "/bin/sh")]
    #[case("a b", "'a b'")]
    #[case("A=1", "'A=1'")]
    #[case("it's", "'it'\\''s'")]
    #[case("'a", "\\''a'")]
    #[case("a''b", "'a'\"''\"'b'")]
    #[case("$x", "'$x'")]
    fn quotes_as_perl(#[case] argument: &str, #[case] want: &str) {
        assert_eq!(shell_quote(argument), want);
    }

    proptest! {
        #[test]
        fn a_shell_reads_what_was_meant(arguments in prop::collection::vec("[ -~]{0,12}", 1..5)) {
            let line: Vec<_> = arguments.iter().map(|argument| shell_quote(argument)).collect();
            prop_assert_eq!(shell_words::split(&line.join(" ")).unwrap(), arguments);
        }
    }
}
