//! Settings on the command line, as pct takes them. Which there are is for the API to say.

use crate::cli::client::{ClientError, Parameter};

/// `--key value`, `--key=value`, and `--key` alone for yes. One dash does too, as with pct.
pub(super) fn settings(words: &[String]) -> Result<Vec<Parameter>, ClientError> {
    let mut words = words.iter().peekable();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let Some(name) = name(word) else { return Err(ClientError::Setting(word.clone())) };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = words.next_if(|next| self::name(next).is_none());
                (name, value.map_or_else(|| "1".to_owned(), Clone::clone))
            }
        };
        settings.push((name.to_owned(), value));
    }
    Ok(settings)
}

/// What follows the dashes, if it begins as a name does: -1 is a value.
fn name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<Parameter>, ClientError> {
        settings(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_what_pct_reads() {
        let read =
            read("--hostname web -memory 512 --start --net0=name=eth0,ip=dhcp --swap -1 --x")
                .unwrap();
        let pairs: Vec<_> =
            read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("hostname", "web"),
            ("memory", "512"),
            ("start", "1"),
            ("net0", "name=eth0,ip=dhcp"),
            ("swap", "-1"),
            ("x", "1"),
        ];
        assert_eq!(pairs, expected);
    }

    #[rstest::rstest]
    #[case("web")]
    #[case("--memory 512 1024")]
    #[case("--")]
    #[case("--1")]
    fn refuses_what_names_nothing(#[case] line: &str) {
        assert!(matches!(read(line), Err(ClientError::Setting(_))));
    }
}
