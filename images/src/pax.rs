//! Extended headers in POSIX's form: `LENGTH KEY=VALUE\n`, again and again. Values are bytes and may
//! hold newlines (a file capability does), so records are cut by their length, never at a newline.

/// The records of one extended header, or `None` where its bytes are not such records.
pub(crate) fn records(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|&b| b == b' ')?;
        let length = usize::try_from(decimal(&bytes[..blank])?).ok()?;
        let record = bytes.get(blank + 1..length)?;
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&b| b == b'=')?;
        found.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(found)
}

pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// A time as `SECONDS[.FRACTION]`, seconds possibly negative: whole seconds and nanoseconds.
pub(crate) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match nanoseconds {
        1.. if seconds.starts_with('-') => (whole.checked_sub(1)?, 1_000_000_000 - nanoseconds),
        _ => (whole, nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{records, time};

    #[rstest]
    #[case::two(b"12 path=abc\n5 k=\n".as_slice(), Some(vec![(b"path".as_slice(), b"abc".as_slice()), (b"k", b"")]))]
    #[case::newline_in_a_value(b"8 k=a\nb\n8 l=abc\n".as_slice(), Some(vec![(b"k".as_slice(), b"a\nb".as_slice()), (b"l", b"abc")]))]
    #[case::no_length(b"k=v\n".as_slice(), None)]
    #[case::length_too_short(b"2 k=v\n".as_slice(), None)]
    #[case::length_too_long(b"99 k=v\n".as_slice(), None)]
    #[case::zero_length(b"0 k=v\n".as_slice(), None)]
    #[case::no_value(b"5 kv\n".as_slice(), None)]
    fn cuts_records_by_length(#[case] bytes: &[u8], #[case] want: Option<Vec<(&[u8], &[u8])>>) {
        assert_eq!(records(bytes), want);
    }

    #[rstest]
    #[case("1700000000.25", Some((1_700_000_000, 250_000_000)))]
    #[case("-1.5", Some((-2, 500_000_000)))]
    #[case("7", Some((7, 0)))]
    #[case("7.1234567891", Some((7, 123_456_789)))]
    #[case("x", None)]
    #[case("1.ü", None)]
    fn reads_times(#[case] text: &str, #[case] want: Option<(i64, u32)>) {
        assert_eq!(time(text.as_bytes()), want);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _: Option<_> = records(&bytes);
            let _: Option<_> = time(&bytes);
        }

        #[test]
        fn reads_back_what_was_written(pairs in proptest::collection::vec(("[a-zA-Z.]{1,20}", any::<Vec<u8>>()), 0..5)) {
            let mut bytes = Vec::new();
            for (key, value) in &pairs {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length.to_string().len() + rest != length {
                    length += 1;
                }
                bytes.extend(format!("{length} {key}=").bytes().chain(value.iter().copied()).chain([b'\n']));
            }
            let want: Vec<_> = pairs.iter().map(|(k, v)| (k.as_bytes(), v.as_slice())).collect();
            prop_assert_eq!(records(&bytes), Some(want));
        }
    }
}
