//! What pveproxy says of a body that is no JSON: the words of `JSON::XS`, which reads it there. The
//! parsing proper is serde's; this is asked only when it failed.

/// How deep `JSON::XS` goes.
const MAX_DEPTH: usize = 512;
/// How many bytes of the rest it shows.
const SHOWN: usize = 20;
const NO_VALUE: &str = "malformed JSON string, neither tag, array, object, number, string or atom";

/// Why `body` is no JSON, and where. `None` if `JSON::XS` has nothing against it.
#[must_use]
pub fn why_broken(body: &[u8]) -> Option<String> {
    let mut reader = Reader { bytes: body, at: 0, depth: 0 };
    let why = reader.document().err()?;
    let rest = match body.get(reader.at..) {
        None | Some([]) => "(end of string)".to_owned(),
        Some(rest) => shown(rest),
    };
    Some(format!("{why}, at character offset {} (before \"{rest}\")", reader.at))
}

/// As Perl's `pv_uni_display` writes it.
fn shown(rest: &[u8]) -> String {
    let mut text = String::new();
    // Four bytes a character are more than are shown.
    for c in String::from_utf8_lossy(&rest[..rest.len().min(4 * SHOWN)]).chars() {
        if text.len() >= SHOWN {
            return text + "...";
        }
        match c {
            '\x07' => text.push_str("\\a"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\x0c' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\x1b' => text.push_str("\\e"),
            '\\' => text.push_str("\\\\"),
            ' '..='~' => text.push(c),
            other => text.push_str(&format!("\\x{{{:x}}}", u32::from(other))),
        }
    }
    text
}

type Read = Result<(), &'static str>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    /// 0 at the end, as in C.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or_default()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == wanted;
        self.at += usize::from(found);
        found
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Read {
        self.value()?;
        self.blanks();
        if self.at < self.bytes.len() { Err("garbage after JSON object") } else { Ok(()) }
    }

    fn value(&mut self) -> Read {
        self.blanks();
        match self.peek() {
            b'"' => {
                self.at += 1;
                self.string()
            }
            b'[' => self.nested(Self::array),
            b'{' => self.nested(Self::object),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true", "'true' expected"),
            b'f' => self.word(b"false", "'false' expected"),
            b'n' => self.word(b"null", "'null' expected"),
            _ => Err(NO_VALUE),
        }
    }

    fn word(&mut self, word: &[u8], missing: &'static str) -> Read {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(missing);
        }
        self.at += word.len();
        Ok(())
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Read) -> Read {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(
                "json text or perl structure exceeds maximum nesting level (max_depth set too low?)",
            );
        }
        self.blanks();
        inside(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Read {
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            self.blanks();
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(", or ] expected while parsing array");
            }
        }
    }

    fn object(&mut self) -> Read {
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.blanks();
            if !self.take(b'"') {
                return Err("'\"' expected");
            }
            self.string()?;
            self.blanks();
            if !self.take(b':') {
                return Err("':' expected");
            }
            self.value()?;
            self.blanks();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(", or } expected while parsing object/hash");
            }
        }
    }

    fn number(&mut self) -> Read {
        self.take(b'-');
        if self.take(b'0') {
            if self.peek().is_ascii_digit() {
                return Err(
                    "malformed number (leading zero must not be followed by another digit)",
                );
            }
        } else {
            self.digits("malformed number (no digits after initial minus)")?;
        }
        if self.take(b'.') {
            self.digits("malformed number (no digits after decimal point)")?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'-') || self.take(b'+');
            self.digits("malformed number (no digits after exp sign)")?;
        }
        Ok(())
    }

    fn digits(&mut self, missing: &'static str) -> Read {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(missing) } else { Ok(()) }
    }

    /// After the quotation mark.
    fn string(&mut self) -> Read {
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                0 => return Err("unexpected end of string while parsing JSON string"),
                1..=0x1f => return Err("invalid character encountered while parsing JSON string"),
                0x80.. => self.wide()?,
                _ => self.at += 1,
            }
        }
    }

    fn wide(&mut self) -> Read {
        let end = (self.at + 4).min(self.bytes.len());
        let valid = match std::str::from_utf8(&self.bytes[self.at..end]) {
            Ok(text) => text,
            Err(err) => std::str::from_utf8(&self.bytes[self.at..self.at + err.valid_up_to()])
                .unwrap_or_default(),
        };
        let Some(c) = valid.chars().next() else {
            return Err("malformed UTF-8 character in JSON string");
        };
        self.at += c.len_utf8();
        Ok(())
    }

    fn escape(&mut self) -> Read {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                self.at += 2;
                self.code_point()
            }
            _ => Err("illegal backslash escape sequence in string"),
        }
    }

    fn code_point(&mut self) -> Read {
        match self.four_digits()? {
            0xd800..0xdc00 => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err("missing low surrogate character in surrogate pair");
                }
                self.at += 2;
                match self.four_digits()? {
                    0xdc00..0xe000 => Ok(()),
                    _ => Err("surrogate pair expected"),
                }
            }
            0xdc00..0xe000 => Err("missing high surrogate character in surrogate pair"),
            _ => Ok(()),
        }
    }

    fn four_digits(&mut self) -> Result<u32, &'static str> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        let mut number = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16);
            number = number * 16 + digit.ok_or("exactly four hexadecimal digits expected")?;
        }
        if digits.is_empty() {
            return Err("exactly four hexadecimal digits expected");
        }
        self.at += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// What `decode_json` of JSON::XS 4.03 said of each.
    #[rstest]
    #[case(
        "",
        "malformed JSON string, neither tag, array, object, number, string or atom, at character offset 0 (before \"(end of string)\")"
    )]
    #[case(
        "[1",
        ", or ] expected while parsing array, at character offset 2 (before \"(end of string)\")"
    )]
    #[case(
        "{\"a\":}",
        "malformed JSON string, neither tag, array, object, number, string or atom, at character offset 5 (before \"}\")"
    )]
    #[case("{a:1}", "'\"' expected, at character offset 1 (before \"a:1}\")")]
    #[case("{", "'\"' expected, at character offset 1 (before \"(end of string)\")")]
    #[case("{\"a\"", "':' expected, at character offset 4 (before \"(end of string)\")")]
    #[case(
        "{\"a\":1",
        ", or } expected while parsing object/hash, at character offset 6 (before \"(end of string)\")"
    )]
    #[case("{\"a\":1}x", "garbage after JSON object, at character offset 7 (before \"x\")")]
    #[case("{\"a\":1,}", "'\"' expected, at character offset 7 (before \"}\")")]
    #[case(
        "\"abc",
        "unexpected end of string while parsing JSON string, at character offset 4 (before \"(end of string)\")"
    )]
    #[case(
        "{\"a\":\"\\u12\"}",
        "exactly four hexadecimal digits expected, at character offset 8 (before \"12\"}\")"
    )]
    #[case("{\"a\":tru}", "'true' expected, at character offset 5 (before \"tru}\")")]
    #[case(
        "{\"a\":01}",
        "malformed number (leading zero must not be followed by another digit), at character offset 6 (before \"1}\")"
    )]
    #[case(
        "{\"a\":1.}",
        "malformed number (no digits after decimal point), at character offset 7 (before \"}\")"
    )]
    #[case(
        "{\"a\":-}",
        "malformed number (no digits after initial minus), at character offset 6 (before \"}\")"
    )]
    #[case(
        "{\"a\":1e}",
        "malformed number (no digits after exp sign), at character offset 7 (before \"}\")"
    )]
    #[case(
        "{\"a\":\"x\ty\"}",
        "invalid character encountered while parsing JSON string, at character offset 7 (before \"\\ty\"}\")"
    )]
    #[case(
        "{\"a\":\"\\q\"}",
        "illegal backslash escape sequence in string, at character offset 6 (before \"\\\\q\"}\")"
    )]
    #[case(
        "{\"a\":\"\\ud800\"}",
        "missing low surrogate character in surrogate pair, at character offset 12 (before \"\"}\")"
    )]
    #[case(
        "{\"aé\":\"x\u{1}\"}",
        "invalid character encountered while parsing JSON string, at character offset 9 (before \"\\x{1}\"}\")"
    )]
    fn says_what_perl_says(#[case] body: &str, #[case] why: &str) {
        assert_eq!(why_broken(body.as_bytes()).as_deref(), Some(why));
    }

    #[test]
    fn shows_the_beginning_of_the_rest() {
        let why = why_broken("[".repeat(600).as_bytes()).unwrap();
        assert!(
            why.ends_with("at character offset 513 (before \"[[[[[[[[[[[[[[[[[[[[...\")"),
            "{why}"
        );
        let why = why_broken(b"{\"a\":\"\xff\"}").unwrap();
        assert!(why.ends_with("at character offset 6 (before \"\\x{fffd}\"}\")"), "{why}");
    }

    proptest! {
        /// Who is asked why must not say that nothing is wrong, but for numbers that only serde
        /// minds.
        #[test]
        fn finds_what_serde_finds(body in r#"[\[\]{},:"\\ 01eu.\-tnx]{0,24}"#) {
            let why = why_broken(body.as_bytes());
            match serde_json::from_str::<serde_json::Value>(&body) {
                Ok(_) => prop_assert_eq!(why, None),
                Err(err) if err.to_string().starts_with("number out of range") => {}
                Err(_) => prop_assert!(why.is_some()),
            }
        }

        #[test]
        fn never_panics(body: Vec<u8>) {
            prop_assert!(why_broken(&body).is_none_or(|why| why.contains("character offset")));
        }
    }
}
