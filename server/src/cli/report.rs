//! An error on standard error.

use std::error::Error;

/// One line with the causes in it; or, if more is wanted, a line for each of them.
pub fn report(err: &(dyn Error + 'static), verbose: bool) -> String {
    let separator = if verbose { "\n  because: " } else { ": " };
    let mut text = flat(&err.to_string());
    let mut last = text.clone();
    let mut next = err.source();
    while let Some(source) = next {
        next = source.source();
        let cause = flat(&source.to_string());
        // Some messages tell their cause themselves.
        if verbose || !last.ends_with(&cause) {
            text = text + separator + &cause;
        }
        last = cause;
    }
    text
}

fn flat(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot open it: {0}")]
        Tells(#[source] io::Error),
        #[error("cannot open it")]
        Keeps(#[source] io::Error),
    }

    #[rstest::rstest]
    #[case(Failure::Tells(io::Error::other("no\nluck")), false, "cannot open it: no; luck")]
    #[case(Failure::Keeps(io::Error::other("no\nluck")), false, "cannot open it: no; luck")]
    #[case(Failure::Keeps(io::Error::other("no luck")), true, "cannot open it\n  because: no luck")]
    fn an_error_is_one_line(#[case] err: Failure, #[case] verbose: bool, #[case] text: &str) {
        assert_eq!(report(&err, verbose), text);
    }
}
