//! Which backups are kept: the last so many, and of so many hours, days, weeks, months and years the
//! last one each. As `prune_mark_backup_group` of pve-storage's `PVE/Storage.pm`.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use openapi::property_string;
use openapi::schema::methods;
use serde_json::Value;

/// `prune-backups`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// As they were given, by name.
    keys: Vec<(String, u64)>,
}

/// What becomes of a backup, in PVE's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Keep,
    Remove,
    Protected,
    /// Not named by vzdump, and so nobody's to remove.
    Renamed,
}

impl Mark {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Remove => "remove",
            Self::Protected => "protected",
            Self::Renamed => "renamed",
        }
    }
}

type Period = fn(DateTime) -> (i32, i32, i32);

/// In PVE's order.
const PERIODS: [(&str, Period); 5] = [
    ("keep-hourly", |time| (time.year().into(), time.day_of_year().into(), i32::from(time.hour()))),
    ("keep-daily", |time| (time.year().into(), time.day_of_year().into(), 0)),
    ("keep-weekly", |time| {
        let week = time.date().iso_week_date();
        (week.year().into(), week.week().into(), 0)
    }),
    ("keep-monthly", |time| (time.year().into(), time.month().into(), 0)),
    ("keep-yearly", |time| (time.year().into(), 0, 0)),
];

impl Retention {
    pub fn keep_all() -> Self {
        Self { keys: vec![("keep-all".to_owned(), 1)] }
    }

    /// Without any number above zero, all is kept.
    pub fn parse(text: &str) -> Result<Self, String> {
        let schema = methods().format("prune-backups").expect("the method table has it");
        let values = property_string::parse(schema, text).map_err(|err| err.to_string())?;
        let number = |value: &Value| {
            let text = value.as_str().and_then(|text| text.parse().ok());
            value.as_u64().or(text).unwrap_or_default()
        };
        let mut keys: Vec<_> =
            values.iter().map(|(key, value)| (key.clone(), number(value))).collect();
        let limited = keys.iter().any(|(key, count)| key != "keep-all" && *count > 0);
        let all = keys.iter().any(|(key, count)| key == "keep-all" && *count > 0);
        if limited && all {
            return Err("keep-all cannot be set together with other options.".to_owned());
        }
        if !limited {
            return Ok(Self::keep_all());
        }
        keys.retain(|(key, _)| key != "keep-all");
        keys.sort();
        Ok(Self { keys })
    }

    pub fn keeps_all(&self) -> bool {
        self.count("keep-all") > 0
    }

    /// How many there may be at most; 0 for any number.
    pub fn limit(&self) -> u64 {
        if self.keeps_all() { 0 } else { self.keys.iter().map(|(_, count)| count).sum() }
    }

    fn count(&self, key: &str) -> u64 {
        self.keys.iter().find(|(name, _)| name == key).map_or(0, |(_, count)| *count)
    }

    fn text(&self, separator: &str) -> String {
        let keys = self.keys.iter().map(|(key, count)| format!("{key}={count}"));
        keys.collect::<Vec<_>>().join(separator)
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(if f.alternate() { ", " } else { "," }))
    }
}

/// Decide about the backups of one guest: when each was made, and what is already known of it.
pub fn mark(backups: &mut [(i64, Option<Mark>)], keep: &Retention, zone: &TimeZone) {
    if keep.keeps_all() || keep.limit() == 0 {
        for (_, mark) in backups.iter_mut().filter(|(_, mark)| mark.is_none()) {
            *mark = Some(Mark::Keep);
        }
        return;
    }
    let mut newest_first: Vec<&mut (i64, Option<Mark>)> = backups.iter_mut().collect();
    newest_first.sort_by_key(|(ctime, _)| std::cmp::Reverse(*ctime));
    mark_period(&mut newest_first, keep.count("keep-last"), |ctime| ctime);
    for (key, period) in PERIODS {
        mark_period(&mut newest_first, keep.count(key), |ctime| {
            period(zone.to_datetime(Timestamp::from_second(ctime).unwrap_or_default()))
        });
    }
    for (_, mark) in newest_first {
        mark.get_or_insert(Mark::Remove);
    }
}

/// Of each of the latest `count` periods that none is kept of yet, keep the last.
fn mark_period<P: Ord>(
    newest_first: &mut [&mut (i64, Option<Mark>)],
    count: u64,
    period: impl Fn(i64) -> P,
) {
    if count == 0 {
        return;
    }
    let kept = newest_first.iter().filter(|(_, mark)| *mark == Some(Mark::Keep));
    let covered: BTreeSet<P> = kept.map(|(ctime, _)| period(*ctime)).collect();
    let mut new = BTreeSet::new();
    for (ctime, mark) in newest_first.iter_mut().map(|backup| &mut **backup) {
        let period = period(*ctime);
        if mark.is_some() || covered.contains(&period) {
            continue;
        }
        if new.contains(&period) {
            *mark = Some(Mark::Remove);
            continue;
        }
        if new.len() as u64 >= count {
            break;
        }
        new.insert(period);
        *mark = Some(Mark::Keep);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DAY: i64 = 86_400;
    const HOUR: i64 = 3600;
    /// 2026-06-15, a Monday, at noon.
    const NOON: i64 = 1_781_524_800;

    fn kept(keep: &str, times: &[i64]) -> Vec<i64> {
        let mut backups: Vec<_> = times.iter().map(|time| (NOON + time, None)).collect();
        mark(&mut backups, &Retention::parse(keep).unwrap(), &TimeZone::UTC);
        let kept = backups.iter().filter(|(_, mark)| *mark == Some(Mark::Keep));
        kept.map(|(time, _)| time - NOON).collect()
    }

    #[rstest]
    #[case::all("keep-all=1", &[-DAY, 0], &[-DAY, 0])]
    #[case::nothing_said("keep-last=0", &[-DAY, 0], &[-DAY, 0])]
    #[case::last("keep-last=2", &[-2 * DAY, -DAY, 0], &[-DAY, 0])]
    #[case::hours("keep-hourly=2", &[-2 * HOUR, -HOUR, -60, 60, 120], &[-60, 120])]
    #[case::days("keep-daily=2", &[-2 * DAY, -DAY - HOUR, -DAY, -HOUR, 0], &[-DAY, 0])]
    #[case::week_starts_on_monday("keep-weekly=2", &[-8 * DAY, -2 * DAY, -DAY, 0, HOUR], &[-DAY, HOUR])]
    #[case::the_next_rule_looks_further(
        "keep-last=1,keep-daily=1", &[-2 * DAY, -DAY, -HOUR, 0], &[-DAY, 0]
    )]
    #[case::months_and_years(
        "keep-monthly=2,keep-yearly=1", &[-400 * DAY, -370 * DAY, -40 * DAY, -DAY, 0], &[-370 * DAY, -40 * DAY, 0]
    )]
    fn keeps(#[case] keep: &str, #[case] times: &[i64], #[case] left: &[i64]) {
        assert_eq!(kept(keep, times), left);
    }

    #[test]
    fn what_is_protected_neither_counts_nor_goes() {
        let mut backups = [(NOON, Some(Mark::Protected)), (NOON - 1, None), (NOON - 2, None)];
        mark(&mut backups, &Retention::parse("keep-last=1").unwrap(), &TimeZone::UTC);
        let marks = backups.map(|(_, mark)| mark.unwrap());
        assert_eq!(marks, [Mark::Protected, Mark::Keep, Mark::Remove]);
    }

    #[test]
    fn prints_for_files_and_for_people() {
        let keep = Retention::parse("keep-weekly=4,keep-last=3").unwrap();
        assert_eq!(keep.to_string(), "keep-last=3,keep-weekly=4");
        assert_eq!(format!("{keep:#}"), "keep-last=3, keep-weekly=4");
        assert_eq!((keep.limit(), Retention::keep_all().limit()), (7, 0));
    }

    #[test]
    fn refuses_all_and_some() {
        let err = Retention::parse("keep-all=1,keep-last=2").unwrap_err();
        assert_eq!(err, "keep-all cannot be set together with other options.");
    }
}
