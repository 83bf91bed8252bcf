//! HTML's entities as Perl's HTML::Entities writes them: names up to Latin-1, numbers beyond.

use std::fmt::Write as _;

/// From U+00A0 on.
const LATIN_1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf",
    "laquo", "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro",
    "para", "middot", "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest",
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute",
    "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute",
    "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute",
    "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
    "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde",
    "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc",
    "uuml", "yacute", "thorn", "yuml",
];

pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => encoded.push_str("&lt;"),
            '>' => encoded.push_str("&gt;"),
            '&' => encoded.push_str("&amp;"),
            '"' => encoded.push_str("&quot;"),
            '\'' => encoded.push_str("&#39;"),
            '\n' | '\r' | '\t' | ' '..='~' => encoded.push(c),
            _ => {
                let code = u32::from(c);
                let name = code.checked_sub(0xa0).and_then(|at| LATIN_1.get(at as usize));
                let written = match name {
                    Some(name) => write!(encoded, "&{name};"),
                    None => write!(encoded, "&#x{code:X};"),
                };
                written.expect("a String takes everything");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::markup(
        "<a href=\"x\">'&'</a>",
        "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
    )]
    #[case::latin("Grüße\u{a0}ÿ", "Gr&uuml;&szlig;e&nbsp;&yuml;")]
    #[case::beyond("€ 漢", "&#x20AC; &#x6F22;")]
    #[case::control("\n\t\u{0}\u{7f}", "\n\t&#x0;&#x7F;")]
    #[case::plain("{}[];:,!~", "{}[];:,!~")]
    fn encodes(#[case] text: &str, #[case] encoded: &str) {
        assert_eq!(encode(text), encoded);
    }
}
