//! A guest's number. Which numbers are taken is the cluster's business, not this file's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use crate::lenient;

/// A guest's number. Parsing is the only way to get one, so holding one proves it is in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[schema(value_type = u32, minimum = 100, maximum = 999_999_999)]
pub struct Vmid(u32);

/// Not a guest's number. The message is PVE's; clients show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value does not look like a valid VM ID")]
pub struct InvalidVmid;

impl Vmid {
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Vmid {
    type Err = InvalidVmid;

    fn from_str(text: &str) -> Result<Self, InvalidVmid> {
        let plain = text.starts_with(|c: char| ('1'..='9').contains(&c)); // u32 would take "+100"
        match text.parse::<u32>() {
            Ok(number) if plain => Self::try_from(number),
            _ => Err(InvalidVmid),
        }
    }
}

impl TryFrom<u32> for Vmid {
    type Error = InvalidVmid;

    fn try_from(number: u32) -> Result<Self, InvalidVmid> {
        if (100..=999_999_999).contains(&number) { Ok(Self(number)) } else { Err(InvalidVmid) }
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Vmid {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Perl clients send 100 or "100", as the scalar was last used.
        lenient::str_or_int(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty("")]
    #[case::too_small("99")]
    #[case::too_big("1000000000")]
    #[case::signed("+100")]
    #[case::octal_looking("0100")]
    #[case::trailing_newline("100\n")]
    #[case::words("abc")]
    fn rejects(#[case] text: &str) {
        assert_eq!(text.parse::<Vmid>(), Err(InvalidVmid));
    }

    #[rstest]
    #[case("100")]
    #[case("\"100\"")]
    fn reads_a_number_or_its_text(#[case] json: &str) {
        assert_eq!(serde_json::from_str::<Vmid>(json).unwrap().get(), 100);
    }

    #[test]
    fn is_written_as_a_number() {
        assert_eq!(serde_json::to_string(&Vmid(999)).unwrap(), "999");
    }

    proptest! {
        #[test]
        fn prints_what_it_read(number in 100_u32..=999_999_999) {
            let vmid: Vmid = number.to_string().parse().unwrap();
            prop_assert_eq!(vmid.to_string().parse(), Ok(vmid));
        }

        #[test]
        fn agrees_with_the_pattern(text in "\\PC{0,12}|[0-9]{1,11}") {
            let pattern = regex::Regex::new(r"^[1-9][0-9]{2,8}$").unwrap();
            prop_assert_eq!(text.parse::<Vmid>().is_ok(), pattern.is_match(&text));
        }
    }
}
