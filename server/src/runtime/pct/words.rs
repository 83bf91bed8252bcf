//! What `pct` says on stderr: the error that it failed with, complaints about parameters, and how many
//! warnings there were. Pure.

use std::collections::BTreeMap;

use crate::runtime::RuntimeError;

/// How a validation error begins; the lines after it name one parameter each.
const PARAMETERS: &str = "Parameter verification failed.";
/// `CLIHandler` ends a command that went well but for its warnings with this.
const WARNINGS: (&str, &str) = ("Task finished with ", " warning(s)!");

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) warnings: u32,
    /// By parameter.
    parameters: BTreeMap<String, String>,
    last: Option<String>,
}

impl Words {
    pub(super) fn parse(stderr: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stderr);
        let mut words = Self::default();
        let mut of_parameters = false;
        for line in text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()) {
            if let Some(count) = warnings(line) {
                words.warnings = count;
            } else if is_usage(line) {
                of_parameters = false;
            } else if error(line) == PARAMETERS {
                (of_parameters, words.last) = (true, Some(PARAMETERS.to_owned()));
            } else if let Some((name, complaint)) = parameter(line).filter(|_| of_parameters) {
                words.parameters.insert(name.to_owned(), complaint.to_owned());
            } else {
                words.last = Some(error(line).to_owned());
            }
        }
        words
    }

    /// `otherwise` is for one that said nothing.
    pub(super) fn error(self, otherwise: &str) -> RuntimeError {
        if !self.parameters.is_empty() {
            return RuntimeError::Parameters(self.parameters);
        }
        RuntimeError::Failed(self.last.unwrap_or_else(|| otherwise.to_owned()))
    }
}

fn warnings(line: &str) -> Option<u32> {
    line.strip_prefix(WARNINGS.0)?.strip_suffix(WARNINGS.1)?.parse().ok()
}

/// `pct set <vmid> [OPTIONS]`
fn is_usage(line: &str) -> bool {
    line.starts_with("pct ") && line.contains(['<', '['])
}

/// Without the status that an exception has in front.
fn error(line: &str) -> &str {
    match line.split_once(' ') {
        Some((status, text)) if status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()) => {
            text
        }
        _ => line,
    }
}

/// `memory: value must have a minimum value of 16`
fn parameter(line: &str) -> Option<(&str, &str)> {
    let (name, complaint) = line.split_once(": ")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(plain)).then_some((name, complaint))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("CT 100 already running\n", "CT 100 already running")]
    #[case::last_of_several("no lock\nunable to open file\n\n", "unable to open file")]
    #[case::with_status("500 no such storage 'x'\n", "no such storage 'x'")]
    #[case::usage(
        "Unknown option: foo\n400 unable to parse option\npct start <vmid> [OPTIONS]\n",
        "unable to parse option"
    )]
    #[case::silent("", "pct failed")]
    #[case::only_blanks("\n \n", "pct failed")]
    #[case::a_number_in_front("1000 bytes are too many\n", "1000 bytes are too many")]
    #[case::parameters(
        "400 Parameter verification failed.\nmemory: too small\nmp0: no\npct set <vmid> [OPTIONS]\n",
        "Parameter verification failed. memory: too small mp0: no"
    )]
    #[case::parameters_without_names(
        "400 Parameter verification failed.\npct set <vmid> [OPTIONS]\n",
        "Parameter verification failed."
    )]
    fn tells_the_error(#[case] stderr: &str, #[case] error: &str) {
        assert_eq!(Words::parse(stderr.as_bytes()).error("pct failed").to_string(), error);
    }

    #[rstest]
    #[case("Task finished with 3 warning(s)!\n", 3)]
    #[case("WARN: old\nTask finished with 1 warning(s)!\n", 1)]
    #[case("Task finished with some warning(s)!\n", 0)]
    #[case("", 0)]
    fn counts_warnings(#[case] stderr: &str, #[case] count: u32) {
        assert_eq!(Words::parse(stderr.as_bytes()).warnings, count);
    }

    #[test]
    fn a_colon_makes_no_parameter_of_an_error() {
        let words = Words::parse(b"unable to start: no bridge\n");
        assert_eq!(words.error("").to_string(), "unable to start: no bridge");
    }
}
