//! Figures over time: one file for each guest, node and storage, as PVE's `rrddata` wants them. The
//! file is ours; columns, steps and time frames are PVE's (pve-cluster, `src/pmxcfs/status.c` and
//! `src/PVE/RRD.pm`).
//!
//! A file is a header and four rings of rows: minutes, half hours, quarters of days, weeks. A row
//! says which time it is of and carries a checksum, and it lies where its time belongs. So a file
//! never grows beyond its rings, a row that was half written when the power failed is a missing one,
//! and nothing needs to be synced. A coarse row is made from the finer ring when its time is over.

mod columns;

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use fs_err as fs;

pub use self::columns::{Column, GUEST, Kind, NODE, STORAGE};

/// Seconds that a row of the finest ring is of.
pub const MINUTE: u64 = 60;

const MAGIC: [u8; 8] = *b"lxcrrd1\n";
/// Magic, number of columns, time of the last minute.
const HEADER: u64 = 24;
const LAST: u64 = 16;
/// Time and checksum of a row.
const ROW_HEAD: usize = 16;

struct Level {
    step: u64,
    rows: u64,
}

const LEVELS: [Level; 4] = [
    Level { step: MINUTE, rows: 1440 },
    Level { step: 30 * MINUTE, rows: 1440 },
    Level { step: 360 * MINUTE, rows: 1440 },
    Level { step: 10_080 * MINUTE, rows: 570 },
];

/// How far back to look; each has its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeframe {
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
}

impl Timeframe {
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            "decade" => Self::Decade,
            _ => return None,
        })
    }

    /// The ring and how many of its rows.
    fn extent(self) -> (usize, u64) {
        match self {
            Self::Hour => (0, 60),
            Self::Day => (0, 1440),
            Self::Week => (1, 336),
            Self::Month => (1, 1440),
            Self::Year => (2, 1440),
            Self::Decade => (3, 570),
        }
    }
}

/// Which of the finer rows a coarse one tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consolidation {
    #[default]
    Average,
    Max,
}

/// A time and its figures, in the order of the columns; NaN is one that nobody knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it begins, in seconds since 1970.
    pub time: u64,
    pub values: Vec<f64>,
}

/// Minutes with the same figures, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Of the first one.
    pub start: u64,
    pub minutes: u64,
    pub values: Vec<f64>,
}

/// An open file.
#[derive(Debug)]
pub struct Archive {
    file: fs::File,
    columns: usize,
}

impl Archive {
    /// To be read; `None` if there is none.
    pub fn open(path: &Path, kind: Kind) -> io::Result<Option<Self>> {
        match fs::File::open(path) {
            Ok(file) => Ok(Some(Self { file, columns: kind.len() })),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// To be written; made if there is none. One that is not of this kind begins anew.
    pub fn create(path: &Path, kind: Kind) -> io::Result<Self> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = match options.open(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                options.open(path)?
            }
            opened => opened?,
        };
        let archive = Self { file, columns: kind.len() };
        let mut head = [0; 16];
        let known = archive.read_at(&mut head, 0)? == head.len() && head == archive.head();
        if !known {
            archive.file.set_len(0)?;
            archive.file.file().write_all_at(&archive.head(), 0)?;
        }
        Ok(archive)
    }

    fn head(&self) -> [u8; 16] {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&MAGIC);
        head[8..].copy_from_slice(&(self.columns as u64).to_le_bytes());
        head
    }

    /// Minutes that come after all before, and what is over with them in the coarser rings.
    pub fn append(&self, runs: &[Run]) -> io::Result<()> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        let end = last.start + last.minutes * MINUTE;
        for run in runs {
            for minute in 0..run.minutes {
                self.write_row(0, run.start + minute * MINUTE, &run.values)?;
            }
        }
        let before = self.last()?;
        for (level, Level { step, .. }) in LEVELS.iter().enumerate().skip(1) {
            let now = (first.start / step)..(end / step);
            // The one that the minute before was in has ended if something else begins now.
            let before = before.map(|last| last / step).filter(|bucket| !now.contains(bucket));
            for bucket in before.into_iter().chain(now) {
                if (bucket + 1) * step <= end {
                    self.consolidate(level, bucket * step)?;
                }
            }
        }
        let last = (end - MINUTE).to_le_bytes();
        self.file.file().write_all_at(&last, LAST)
    }

    /// The minute that was written last.
    fn last(&self) -> io::Result<Option<u64>> {
        let mut bytes = [0; 8];
        let count = self.read_at(&mut bytes, LAST)?;
        Ok(Some(u64::from_le_bytes(bytes)).filter(|last| count == bytes.len() && *last > 0))
    }

    /// As rrdtool with PVE's factor of a half: known if half of the finer rows are.
    fn consolidate(&self, level: usize, time: u64) -> io::Result<()> {
        let (coarse, fine) = (&LEVELS[level], &LEVELS[level - 1]);
        let count = coarse.step / fine.step;
        let rows = self.read_rows(level - 1, time, count)?;
        let columns = self.columns;
        let mut values = vec![f64::NAN; 2 * columns];
        for column in 0..columns {
            let of = |at: usize| {
                let rows = rows.iter().flatten();
                rows.map(move |values| values[at]).filter(|value| !value.is_nan())
            };
            let known = of(column).count() as f64;
            if known > 0.0 && known * 2.0 >= count as f64 {
                values[column] = of(column).sum::<f64>() / known;
                // The finest ring has one figure for both.
                let max = if level == 1 { column } else { columns + column };
                values[columns + column] = of(max).fold(f64::NEG_INFINITY, f64::max);
            }
        }
        if values.iter().all(|value| value.is_nan()) {
            return Ok(());
        }
        self.write_row(level, time, &values)
    }

    /// All rows of a time frame that ends with the last whole step before `now`; what is not known
    /// is NaN. As `PVE::RRD`, without the last row if nothing of it is known.
    pub fn fetch(
        archive: Option<&Self>,
        kind: Kind,
        frame: Timeframe,
        cf: Consolidation,
        now: u64,
    ) -> io::Result<Vec<Row>> {
        let (level, count) = frame.extent();
        let step = LEVELS[level].step;
        let start = (now / step).saturating_sub(count) * step;
        let stored = match archive {
            Some(archive) => archive.read_rows(level, start, count)?,
            None => Vec::new(),
        };
        let from = if level > 0 && cf == Consolidation::Max { kind.len() } else { 0 };
        let mut rows: Vec<_> = (0..count)
            .map(|at| {
                let stored = usize::try_from(at).ok().and_then(|at| stored.get(at)?.as_deref());
                let values = stored.map(|values| values[from..from + kind.len()].to_vec());
                let values = values.unwrap_or_else(|| vec![f64::NAN; kind.len()]);
                Row { time: start + at * step, values }
            })
            .collect();
        if rows.last().is_some_and(|row| row.values.iter().all(|value| value.is_nan())) {
            rows.pop();
        }
        Ok(rows)
    }

    fn width(&self, level: usize) -> usize {
        let values = if level == 0 { self.columns } else { 2 * self.columns };
        ROW_HEAD + 8 * values
    }

    fn offset(&self, level: usize, time: u64) -> u64 {
        let size = |level: usize| LEVELS[level].rows * self.width(level) as u64;
        let before: u64 = (0..level).map(size).sum();
        let slot = time / LEVELS[level].step % LEVELS[level].rows;
        HEADER + before + slot * self.width(level) as u64
    }

    fn write_row(&self, level: usize, time: u64, values: &[f64]) -> io::Result<()> {
        let mut bytes = vec![0; ROW_HEAD];
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes[..8].copy_from_slice(&time.to_le_bytes());
        let sum = checksum(time, &bytes[ROW_HEAD..]);
        bytes[8..ROW_HEAD].copy_from_slice(&sum.to_le_bytes());
        self.file.file().write_all_at(&bytes, self.offset(level, time))
    }

    /// `count` rows from `start` on, which is at a step; a row that is of another time is none.
    fn read_rows(&self, level: usize, start: u64, count: u64) -> io::Result<Vec<Option<Vec<f64>>>> {
        let (Level { step, rows: ring }, width) = (&LEVELS[level], self.width(level));
        let mut rows = Vec::new();
        let mut at = 0;
        while at < count {
            let time = start + at * step;
            // As far as the ring's end, where the next row is its first.
            let part = (ring - time / step % ring).min(count - at);
            let mut bytes = vec![0; usize::try_from(part).unwrap_or_default() * width];
            self.read_at(&mut bytes, self.offset(level, time))?;
            let times = (0..).map(|row| time + row * step);
            rows.extend(bytes.chunks_exact(width).zip(times).map(|(row, time)| decode(row, time)));
            at += part;
        }
        Ok(rows)
    }

    /// As much as there is; behind the end of the file are zeroes.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.file().read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(done)
    }
}

fn decode(row: &[u8], expected: u64) -> Option<Vec<f64>> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let (time, sum) = (number(&row[..8])?, number(&row[8..ROW_HEAD])?);
    let values = &row[ROW_HEAD..];
    if time != expected || sum != checksum(time, values) {
        return None;
    }
    values.chunks_exact(8).map(|bytes| bytes.try_into().ok().map(f64::from_le_bytes)).collect()
}

/// FNV-1a: against half a row, not against anybody.
fn checksum(time: u64, values: &[u8]) -> u64 {
    let time = time.to_le_bytes();
    time.iter().chain(values).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
