//! How free text lies in PVE's line-based files (`PVE::Tools::encode_text` and `decode_text`).

use std::fmt::Write as _;

/// Every byte that is not printable ASCII, and `%` and `:`, as upper-case percent escapes.
pub fn encode_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b':' => write!(out, "%{byte:02X}").expect("a String takes everything"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => write!(out, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    out
}

/// Takes what is no escape, or no UTF-8, as it is: people edit these files by hand.
pub fn decode_text(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_what_pve_writes() {
        assert_eq!(encode_text("second : line é"), "second %3A line %C3%A9");
        assert_eq!(decode_text("100% é %3A"), "100% é :");
    }

    proptest! {
        #[test]
        fn comes_back(text: String) {
            prop_assert_eq!(decode_text(&encode_text(&text)), text);
        }
    }
}
