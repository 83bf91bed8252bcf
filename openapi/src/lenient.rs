//! Reading a scalar that a Perl client may have sent as a number or as a string. What the text
//! must look like is left to the type that asked.

use std::fmt;

use serde::de::{Deserializer, Visitor};

/// The text of a string or an integer: Perl sends `100` or `"100"`, as the scalar was last used.
pub(crate) fn str_or_int<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    struct Scalar;

    impl Visitor<'_> for Scalar {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an integer")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_string<E>(self, text: String) -> Result<String, E> {
            Ok(text)
        }

        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }

    from.deserialize_any(Scalar)
}
