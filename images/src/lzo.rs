//! One block of LZO1X, as the kernel's Documentation/staging/lzo.rst describes it: runs of literals,
//! and matches that repeat what was written before. Which of the two a byte below 16 begins depends
//! on how many literals came before it.

/// A block that no compressor wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("a block ends too early")]
    Truncated,
    #[error("a block repeats what is not there")]
    Distance,
    #[error("a block is not as long as it says")]
    Length,
}

/// After a run of literals that is an instruction of its own.
const LONG_RUN: usize = 4;

/// What `input` stands for, which must be `length` bytes; nothing longer is ever kept.
pub(crate) fn decompress(input: &[u8], length: usize) -> Result<Vec<u8>, Invalid> {
    let mut block = Block { input, output: Vec::new(), length };
    let mut literals = 0;
    if let Some(first) = input.first().filter(|first| **first > 17) {
        let count = usize::from(*first) - 17;
        block.byte()?;
        block.literals(count)?;
        literals = count.min(LONG_RUN);
    }
    loop {
        let code = block.byte()?;
        if code < 16 && literals == 0 {
            let count = block.run(code, 15)?;
            block.literals(count + 3)?;
            literals = LONG_RUN;
            continue;
        }
        let (size, distance, after) = match code {
            ..16 if literals == LONG_RUN => (3, (block.byte()? << 2) + (code >> 2) + 2049, code),
            ..16 => (2, (block.byte()? << 2) + (code >> 2) + 1, code),
            16..32 => {
                let size = block.run(code & 7, 7)? + 2;
                let word = block.word()?;
                let distance = ((code & 8) << 11) + (word >> 2);
                if distance == 0 {
                    return block.end();
                }
                (size, distance + 16384, word)
            }
            32..64 => {
                let size = block.run(code & 31, 31)? + 2;
                let word = block.word()?;
                (size, (word >> 2) + 1, word)
            }
            64..128 => (3 + (code >> 5 & 1), (block.byte()? << 3) + (code >> 2 & 7) + 1, code),
            128.. => (5 + (code >> 5 & 3), (block.byte()? << 3) + (code >> 2 & 7) + 1, code),
        };
        block.repeat(size, distance)?;
        literals = after & 3;
        block.literals(literals)?;
    }
}

struct Block<'a> {
    input: &'a [u8],
    output: Vec<u8>,
    length: usize,
}

impl Block<'_> {
    fn byte(&mut self) -> Result<usize, Invalid> {
        let (byte, rest) = self.input.split_first().ok_or(Invalid::Truncated)?;
        self.input = rest;
        Ok(usize::from(*byte))
    }

    fn word(&mut self) -> Result<usize, Invalid> {
        Ok(self.byte()? | self.byte()? << 8)
    }

    /// A count that does not fit its instruction goes on in bytes behind it.
    fn run(&mut self, count: usize, most: usize) -> Result<usize, Invalid> {
        if count != 0 {
            return Ok(count);
        }
        let mut count = most;
        loop {
            match self.byte()? {
                0 if count > self.length => return Err(Invalid::Length),
                0 => count += 255,
                last => return Ok(count + last),
            }
        }
    }

    fn require_room(&self, count: usize) -> Result<(), Invalid> {
        if count > self.length - self.output.len() { Err(Invalid::Length) } else { Ok(()) }
    }

    fn literals(&mut self, count: usize) -> Result<(), Invalid> {
        self.require_room(count)?;
        let (literals, rest) = self.input.split_at_checked(count).ok_or(Invalid::Truncated)?;
        self.output.extend_from_slice(literals);
        self.input = rest;
        Ok(())
    }

    /// A match may reach into what it writes itself.
    fn repeat(&mut self, mut size: usize, distance: usize) -> Result<(), Invalid> {
        self.require_room(size)?;
        let from = self.output.len().checked_sub(distance).ok_or(Invalid::Distance)?;
        while size > 0 {
            let part = size.min(self.output.len() - from);
            self.output.extend_from_within(from..from + part);
            size -= part;
        }
        Ok(())
    }

    fn end(self) -> Result<Vec<u8>, Invalid> {
        let whole = self.input.is_empty() && self.output.len() == self.length;
        if whole { Ok(self.output) } else { Err(Invalid::Length) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const END: [u8; 3] = [17, 0, 0];

    /// As one run of literals.
    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut packed = match bytes.len() {
            0 => Vec::new(),
            count @ 1..=238 => vec![u8::try_from(count + 17).unwrap()],
            count => {
                let (zeros, last) = ((count - 19) / 255, (count - 19) % 255 + 1);
                let mut run = vec![0; zeros + 1];
                run.push(u8::try_from(last).unwrap());
                run
            }
        };
        packed.extend_from_slice(bytes);
        packed.extend(END);
        packed
    }

    #[rstest]
    // "abcd", then 3 bytes from 4 back, then one literal.
    #[case::short_match(&[21, b'a', b'b', b'c', b'd', 64 | 3 << 2 | 1, 0, b'!'], b"abcdabc!")]
    // One byte, repeated: the match reaches into itself. 2 + 31 + 4 bytes from 1 back.
    #[case::long_match(&[18, b'x', 32, 4, 0, 0], b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")]
    // Two bytes from 2 back after one literal.
    #[case::after_literals(&[19, b'a', b'b', 1 << 2, 0], b"abab")]
    fn repeats(#[case] packed: &[u8], #[case] bytes: &[u8]) {
        let packed = [packed, &END].concat();
        assert_eq!(decompress(&packed, bytes.len()).unwrap(), bytes);
    }

    #[rstest]
    #[case::nothing(&[], 0, Invalid::Truncated)]
    #[case::no_end(&[18, b'x'], 1, Invalid::Truncated)]
    #[case::short_literals(&[40, b'x'], 23, Invalid::Truncated)]
    #[case::before_the_start(&[18, b'x', 64 | 1 << 2, 0, 17, 0, 0], 4, Invalid::Distance)]
    #[case::more_than_said(&[18, b'x', 32, 4, 0, 0, 17, 0, 0], 5, Invalid::Length)]
    #[case::less_than_said(&[18, b'x', 17, 0, 0], 2, Invalid::Length)]
    #[case::something_behind(&[18, b'x', 17, 0, 0, 1], 1, Invalid::Length)]
    #[case::endless_run(&[0; 4096], 100, Invalid::Length)]
    fn refuses(#[case] packed: &[u8], #[case] length: usize, #[case] why: Invalid) {
        assert_eq!(decompress(packed, length), Err(why));
    }

    proptest! {
        #[test]
        fn literals_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(decompress(&plain(&bytes), bytes.len()).unwrap(), bytes);
        }

        #[test]
        fn never_panics_and_never_grows(
            packed in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0_usize..1000,
        ) {
            if let Ok(bytes) = decompress(&packed, length) {
                prop_assert_eq!(bytes.len(), length);
            }
        }
    }
}
