//! The figures of one subject that are not written yet.

use std::io;
use std::path::Path;

use pve_integration::rrd::{Archive, Kind, MINUTE, Run};

/// A counter that was not read for longer says nothing of a rate. PVE's heartbeat.
const HEARTBEAT_S: u64 = 120;
/// What is kept while the disk is full.
const MOST_RUNS: usize = 60;

pub(super) struct Series {
    kind: Kind,
    /// When the counters were read last, and what they said.
    read: Option<(u64, Vec<f64>)>,
    /// In order; as many minutes as have the same figures are one.
    pending: Vec<Run>,
}

impl Series {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, read: None, pending: Vec::new() }
    }

    /// What was read at `now`, as the minute that ends at `minute`.
    pub(super) fn record(&mut self, now: u64, minute: Option<u64>, figures: &[f64]) {
        let values = self.rates(now, figures);
        self.read = Some((now, figures.to_vec()));
        let Some(start) = minute.and_then(|minute| minute.checked_sub(MINUTE)) else { return };
        if let Some(last) = self.pending.last_mut() {
            let end = last.start + last.minutes * MINUTE;
            if start < end {
                return; // the clock was set back
            }
            if start == end && same(&last.values, &values) {
                last.minutes += 1;
                return;
            }
        }
        self.pending.push(Run { start, minutes: 1, values });
        if self.pending.len() > MOST_RUNS {
            self.pending.remove(0);
        }
    }

    /// Counters become rates per second; one that went back began anew.
    fn rates(&self, now: u64, figures: &[f64]) -> Vec<f64> {
        let columns = self.kind.iter().zip(figures).enumerate();
        columns
            .map(|(at, (column, figure))| {
                if !column.derive {
                    return *figure;
                }
                match &self.read {
                    Some((then, before))
                        if now > *then && now - then <= HEARTBEAT_S && *figure >= before[at] =>
                    {
                        (figure - before[at]) / (now - then) as f64
                    }
                    Some(_) | None => f64::NAN,
                }
            })
            .collect()
    }

    pub(super) fn write(&mut self, path: &Path) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        Archive::create(path, self.kind)?.append(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// NaN is the same as NaN here.
fn same(one: &[f64], other: &[f64]) -> bool {
    one.iter().map(|value| value.to_bits()).eq(other.iter().map(|value| value.to_bits()))
}

#[cfg(test)]
mod tests {
    use pve_integration::rrd::GUEST;

    use super::*;

    const NETIN: usize = 6;

    fn figures(netin: f64) -> Vec<f64> {
        let mut figures = vec![f64::NAN; GUEST.len()];
        (figures[0], figures[NETIN]) = (1.0, netin);
        figures
    }

    #[test]
    fn makes_rates_of_counters() {
        let mut series = Series::new(GUEST);
        series.record(30, None, &figures(1000.0));
        series.record(60, Some(60), &figures(4000.0));
        series.record(120, Some(120), &figures(4000.0));
        series.record(180, Some(180), &figures(7.0));
        series.record(600, Some(600), &figures(9000.0));

        let rates: Vec<_> = series.pending.iter().map(|run| run.values[NETIN]).collect();
        assert!((rates[0] - 100.0).abs() < 1e-9 && rates[1].abs() < 1e-9, "{rates:?}");
        assert!(rates[2].is_nan(), "it was reset");
        assert!(rates[3].is_nan(), "nobody looked for too long");
    }

    #[test]
    fn counts_minutes_that_are_the_same() {
        let mut series = Series::new(GUEST);
        for minute in 1..=20 {
            series.record(minute * 60, Some(minute * 60), &figures(f64::NAN));
        }
        series.record(1500, Some(1500), &figures(f64::NAN));

        let runs: Vec<_> = series.pending.iter().map(|run| (run.start, run.minutes)).collect();
        assert_eq!(runs, [(0, 20), (1440, 1)]);
    }

    #[test]
    fn keeps_what_could_not_be_written_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("taken");
        fs_err::write(&file, "").unwrap();
        let mut series = Series::new(GUEST);
        for minute in 1..=200 {
            series.record(minute * 60, Some(minute * 60), &figures(minute as f64 * minute as f64));
        }
        series.write(&file.join("below a file")).unwrap_err();
        assert_eq!(series.pending.len(), MOST_RUNS);
        series.write(&dir.path().join("100")).unwrap();
        assert!(series.pending.is_empty());
    }
}
