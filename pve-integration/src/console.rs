//! What a terminal in a browser sends: the messages of PVE's termproxy, as pve-xtermjs writes them
//! (`xterm.js/src/main.js`). The other direction has no form: it is what the terminal shows.

/// Nobody types as much at once; a paste comes in parts.
const MAX_INPUT: usize = 128 * 1024;
/// `0:131072:` and `1:65535:65535:` are the longest.
const MAX_HEAD: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `0:LENGTH:DATA`, what was typed.
    Input(Vec<u8>),
    /// `1:COLUMNS:ROWS:`
    Resize { columns: u16, rows: u16 },
    /// `2`, so that nobody between takes the connection for dead.
    Ping,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the terminal's client broke the protocol")]
pub struct Malformed;

/// Collects the pieces of messages. Holds no more than one message of the greatest length and what
/// was pushed last.
#[derive(Debug, Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message, to be called until there is none.
    pub fn take(&mut self) -> Result<Option<Message>, Malformed> {
        match self.0.first() {
            None => Ok(None),
            Some(b'2') => {
                self.0.drain(..1);
                Ok(Some(Message::Ping))
            }
            Some(b'0') => self.input(),
            Some(b'1') => self.resize(),
            Some(_) => Err(Malformed),
        }
    }

    fn input(&mut self) -> Result<Option<Message>, Malformed> {
        let Some((length, start)) = self.number(1)? else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_INPUT);
        let end = start + length.ok_or(Malformed)?;
        if self.0.len() < end {
            return Ok(None);
        }
        let data = self.0[start..end].to_vec();
        self.0.drain(..end);
        Ok(Some(Message::Input(data)))
    }

    fn resize(&mut self) -> Result<Option<Message>, Malformed> {
        let Some((columns, at)) = self.number(1)? else { return Ok(None) };
        let Some((rows, end)) = self.number(at - 1)? else { return Ok(None) };
        let size = |number: u32| u16::try_from(number).map_err(|_| Malformed);
        let message = Message::Resize { columns: size(columns)?, rows: size(rows)? };
        self.0.drain(..end);
        Ok(Some(message))
    }

    /// A `:NUMBER:` that begins at `at`, and where it ends.
    fn number(&self, at: usize) -> Result<Option<(u32, usize)>, Malformed> {
        let rest = &self.0[at..];
        let Some((colon, digits)) = rest.split_first() else { return Ok(None) };
        if *colon != b':' {
            return Err(Malformed);
        }
        let Some(count) = digits.iter().position(|byte| *byte == b':') else {
            let so_far = digits.iter().all(u8::is_ascii_digit) && digits.len() < MAX_HEAD;
            return if so_far { Ok(None) } else { Err(Malformed) };
        };
        let number = std::str::from_utf8(&digits[..count]).map_err(|_| Malformed)?;
        let plain = number.starts_with(|first: char| first.is_ascii_digit()); // not "+1"
        let number = number.parse().ok().filter(|_| plain).ok_or(Malformed)?;
        Ok(Some((number, at + count + 2)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Message>, Malformed> {
        let mut inbox = Inbox::default();
        inbox.push(bytes);
        let mut messages = Vec::new();
        while let Some(message) = inbox.take()? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn reads_what_xterm_sends() {
        let size = Message::Resize { columns: 132, rows: 50 };
        let input = |text: &str| Message::Input(text.into());
        assert_eq!(
            all("1:132:50:0:3:ls\n20:2:é0:0:".as_bytes()),
            Ok(vec![size, input("ls\n"), Message::Ping, input("é"), input("")])
        );
    }

    #[rstest]
    #[case::unknown("3")]
    #[case::no_colon("0x")]
    #[case::no_number("0::")]
    #[case::signed("0:+1:x")]
    #[case::negative("0:-1:x")]
    #[case::too_long("0:131073:")]
    #[case::huge("0:99999999999999999:")]
    #[case::never_ends("0:00000000000000001")]
    #[case::too_wide("1:65536:1:")]
    #[case::hex("1:a:1:")]
    fn refuses(#[case] text: &str) {
        assert_eq!(all(text.as_bytes()), Err(Malformed));
    }

    fn encode(message: &Message) -> Vec<u8> {
        match message {
            Message::Input(data) => [format!("0:{}:", data.len()).as_bytes(), data].concat(),
            Message::Resize { columns, rows } => format!("1:{columns}:{rows}:").into_bytes(),
            Message::Ping => b"2".to_vec(),
        }
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..50).prop_map(Message::Input),
            any::<(u16, u16)>().prop_map(|(columns, rows)| Message::Resize { columns, rows }),
            Just(Message::Ping),
        ]
    }

    proptest! {
        #[test]
        fn round_trips_in_any_pieces(messages in prop::collection::vec(message(), 0..8), cut in 1..20_usize) {
            let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
            let mut inbox = Inbox::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(cut) {
                inbox.push(piece);
                while let Some(message) = inbox.take().unwrap() {
                    read.push(message);
                }
            }
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b':'), Just(b'0'), Just(b'1')], 0..60)) {
            let _messages = all(&bytes);
        }
    }
}
