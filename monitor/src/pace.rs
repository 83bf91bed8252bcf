//! Reading no faster than somebody asked for.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// The wait for one read stays short enough to be killed in between.
const PARTS: u64 = 10;

pub(crate) struct Paced<R> {
    inner: R,
    /// Bytes a second.
    rate: Option<u64>,
    start: Instant,
    taken: u64,
}

impl<R> Paced<R> {
    /// 0 sets no limit, as everywhere in PVE.
    pub(crate) fn new(inner: R, kib_a_second: Option<u64>) -> Self {
        let rate = kib_a_second.filter(|kib| *kib > 0).map(|kib| kib.saturating_mul(1024));
        Self { inner, rate, start: Instant::now(), taken: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rate) = self.rate else { return self.inner.read(buffer) };
        let most =
            usize::try_from(rate / PARTS).unwrap_or(usize::MAX).clamp(1, buffer.len().max(1));
        let most = most.min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        self.taken += count as u64;
        std::thread::sleep(due(self.taken, rate).saturating_sub(self.start.elapsed()));
        Ok(count)
    }
}

impl<R: Seek> Seek for Paced<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// When so many bytes may have been read.
fn due(taken: u64, rate: u64) -> Duration {
    let millis = u128::from(taken) * 1000 / u128::from(rate);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_of_it_and_not_at_once() {
        let mut paced = Paced::new(&[7_u8; 300][..], Some(1));
        paced.rate = Some(3000);
        let start = Instant::now();
        let mut read = Vec::new();
        paced.read_to_end(&mut read).unwrap();
        assert_eq!(read, [7; 300]);
        assert!(start.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Paced::new(io::empty(), Some(0)).rate, None);
        assert_eq!(due(2048, 1024), Duration::from_secs(2));
    }
}
