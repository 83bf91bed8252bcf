//! The part of a file that PVE keeps, between two lines that say so.

const BEGIN: &str = "# --- BEGIN PVE ---";
const END: &str = "# --- END PVE ---";

/// What becomes of the rest of a file that has no such part yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// It stays, the part follows.
    Append,
    /// It stays, behind the part.
    Prepend,
    /// It goes.
    Replace,
}

/// The file with `data` as PVE's part; `None` if nothing is to be written.
pub fn with_section(old: Option<&str>, data: &str, place: Where) -> Option<String> {
    let newline = if data.is_empty() || data.ends_with('\n') { "" } else { "\n" };
    let section = format!("{BEGIN}\n{data}{newline}{END}\n");
    let Some(old) = old else { return (!data.is_empty()).then_some(section) };
    let lines = lines(old);
    match marked(&lines) {
        Some((0, end)) if data.is_empty() && end + 1 == lines.len() => None,
        Some((begin, end)) => Some(text(&lines[..begin]) + &section + &text(&lines[end + 1..])),
        None if data.is_empty() => None,
        None => Some(match place {
            Where::Append => text(&lines) + &section,
            Where::Prepend => section + &text(&lines),
            Where::Replace => section,
        }),
    }
}

/// What is not PVE's.
pub(super) fn without_section(file: &str) -> String {
    let lines = lines(file);
    match marked(&lines) {
        Some((begin, end)) => text(&lines[..begin]) + &text(&lines[end + 1..]),
        None => file.to_owned(),
    }
}

/// As Perl splits: no empty lines at the end.
fn lines(file: &str) -> Vec<&str> {
    file.trim_end_matches('\n').split('\n').collect()
}

fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The first and the last line of PVE's part.
fn marked(lines: &[&str]) -> Option<(usize, usize)> {
    let begin = lines.iter().position(|line| is_mark(line, "BEGIN"))?;
    let end = lines[begin..].iter().position(|line| is_mark(line, "END"))?;
    Some((begin, begin + end))
}

fn is_mark(line: &str, word: &str) -> bool {
    let words: Option<Vec<&str>> =
        line.strip_prefix('#').map(|rest| rest.split_whitespace().collect());
    words.is_some_and(|words| words.starts_with(&["---", word, "PVE"]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::new(None, "a\n", Where::Append, Some("# --- BEGIN PVE ---\na\n# --- END PVE ---\n"))]
    #[case::nothing(None, "", Where::Append, None)]
    #[case::appended(
        Some("x\n"),
        "a",
        Where::Append,
        Some("x\n# --- BEGIN PVE ---\na\n# --- END PVE ---\n")
    )]
    #[case::replaces_all(
        Some("x\n"),
        "a\n",
        Where::Replace,
        Some("# --- BEGIN PVE ---\na\n# --- END PVE ---\n")
    )]
    #[case::replaces_its_part(
        Some("x\n#--- BEGIN PVE\nold\n# --- END PVE ---\ny\n"),
        "a\n",
        Where::Replace,
        Some("x\n# --- BEGIN PVE ---\na\n# --- END PVE ---\ny\n")
    )]
    #[case::emptied(
        Some("x\n# --- BEGIN PVE ---\nold\n# --- END PVE ---\n"),
        "",
        Where::Append,
        Some("x\n# --- BEGIN PVE ---\n# --- END PVE ---\n")
    )]
    #[case::no_end(Some("# --- BEGIN PVE ---\nx\n"), "", Where::Append, None)]
    fn keeps_a_part(
        #[case] old: Option<&str>,
        #[case] data: &str,
        #[case] place: Where,
        #[case] new: Option<&str>,
    ) {
        assert_eq!(with_section(old, data, place).as_deref(), new);
    }

    proptest! {
        #[test]
        fn writing_it_twice_changes_nothing_more(old in "[a-z# \n-]{0,60}", data in "[a-z]{1,9}\n") {
            let once = with_section(Some(&old), &data, Where::Append).unwrap();
            let twice = with_section(Some(&once), &data, Where::Append);
            prop_assert_eq!(twice, Some(once));
        }
    }
}
