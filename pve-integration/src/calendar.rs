//! Calendar events, a subset of systemd's (systemd.time(7)): `mon..fri 02:30`, `*/15`, `monthly`.
//! As the library proxmox-time reads them; times are the host's local ones.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Nobody plans further, and an event that never comes must not be looked for in vain.
const DAYS: u32 = 366 * 50;
const DAY_NAMES: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarEvent {
    /// Monday is the first; empty is every day.
    days: Vec<i8>,
    year: Values,
    month: Values,
    day: Values,
    hour: Values,
    minute: Values,
    second: Values,
}

/// Empty is any value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Values(Vec<Item>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    first: i16,
    last: i16,
    step: i16,
}

/// The text is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse calendar event '{0}'")]
pub struct InvalidEvent(String);

impl FromStr for CalendarEvent {
    type Err = InvalidEvent;

    fn from_str(text: &str) -> Result<Self, InvalidEvent> {
        parse(text.trim()).ok_or_else(|| InvalidEvent(text.to_owned()))
    }
}

impl CalendarEvent {
    /// The first time after `last`, both in epoch seconds. `None` if it never comes again.
    pub fn next(&self, last: i64, zone: &TimeZone) -> Option<i64> {
        let from = zone.to_datetime(Timestamp::from_second(last).ok()?);
        let mut date = from.date();
        for _ in 0..DAYS {
            if self.on(date)
                && let Some(found) = self.within(date, last, zone)
            {
                return Some(found);
            }
            date = date.checked_add(Span::new().days(1)).ok()?;
        }
        None
    }

    fn on(&self, date: Date) -> bool {
        (self.days.is_empty() || self.days.contains(&date.weekday().to_monday_zero_offset()))
            && self.year.has(date.year())
            && self.month.has(date.month().into())
            && self.day.has(date.day().into())
    }

    /// Hours that a clock change leaves out come as late as the clock is put forward.
    fn within(&self, date: Date, last: i64, zone: &TimeZone) -> Option<i64> {
        for hour in (0..24_i8).filter(|hour| self.hour.has((*hour).into())) {
            for minute in (0..60_i8).filter(|minute| self.minute.has((*minute).into())) {
                for second in (0..60_i8).filter(|second| self.second.has((*second).into())) {
                    let time =
                        DateTime::from_parts(date, jiff::civil::time(hour, minute, second, 0));
                    let at = zone.to_timestamp(time).ok()?.as_second();
                    if at > last {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

impl Values {
    fn has(&self, value: i16) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|item| {
                (item.first..=item.last).contains(&value) && (value - item.first) % item.step == 0
            })
    }

    /// A comma between items; a star is any value.
    fn parse(text: &str, lowest: i16, highest: i16) -> Option<Self> {
        let mut items = Vec::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(number(step)?)),
                None => (part, None),
            };
            if step == Some(0) {
                return None;
            }
            let (first, last) = match (range, range.split_once("..")) {
                ("*", _) if step.is_none() => return Some(Self::default()),
                ("*", _) => (lowest, highest),
                (_, Some((first, last))) => (number(first)?, number(last)?),
                // With a step it goes on to the end.
                (_, None) if step.is_some() => (number(range)?, highest),
                (_, None) => (number(range)?, number(range)?),
            };
            if first > last || first < lowest || last > highest {
                return None;
            }
            items.push(Item { first, last, step: step.unwrap_or(1) });
        }
        Some(Self(items))
    }

    fn one(value: i16) -> Self {
        Self(vec![Item { first: value, last: value, step: 1 }])
    }
}

fn number(text: &str) -> Option<i16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse(text: &str) -> Option<CalendarEvent> {
    let word = match text.to_ascii_lowercase().as_str() {
        "minutely" => "*:*",
        "hourly" => "*:00",
        "daily" => "00:00",
        "weekly" => "mon 00:00",
        "monthly" => "*-*-01 00:00",
        "yearly" | "annually" => "*-01-01 00:00",
        "quarterly" => "*-01,04,07,10-01 00:00",
        "semiannually" | "semi-annually" => "*-01,07-01 00:00",
        _ => text,
    };
    if word.is_empty() {
        return None;
    }
    let mut event = CalendarEvent {
        days: Vec::new(),
        year: Values::default(),
        month: Values::default(),
        day: Values::default(),
        hour: Values::one(0),
        minute: Values::one(0),
        second: Values::one(0),
    };
    let mut parts = word.split_whitespace().peekable();
    if let Some(days) = parts.next_if(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())) {
        event.days = weekdays(days)?;
    }
    if let Some(date) = parts.next_if(|part| part.contains('-')) {
        let fields: Vec<&str> = date.split('-').collect();
        let (month, day) = match fields[..] {
            [year, month, day] => {
                event.year = Values::parse(year, 0, 9999)?;
                (month, day)
            }
            [month, day] => (month, day),
            _ => return None,
        };
        event.month = Values::parse(month, 1, 12)?;
        event.day = Values::parse(day, 1, 31)?;
    }
    if let Some(time) = parts.next() {
        let fields: Vec<&str> = time.split(':').collect();
        let (hour, minute, second) = match fields[..] {
            [minute] => ("*", minute, "0"),
            [hour, minute] => (hour, minute, "0"),
            [hour, minute, second] => (hour, minute, second),
            _ => return None,
        };
        event.hour = Values::parse(hour, 0, 23)?;
        event.minute = Values::parse(minute, 0, 59)?;
        event.second = Values::parse(second, 0, 59)?;
    }
    parts.next().is_none().then_some(event)
}

/// `mon..fri,sun`
fn weekdays(text: &str) -> Option<Vec<i8>> {
    let mut days = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once("..") {
            Some((first, last)) => {
                let (first, last) = (weekday(first)?, weekday(last)?);
                if first > last {
                    return None;
                }
                days.extend(first..=last);
            }
            None => days.push(weekday(part)?),
        }
    }
    (!days.is_empty()).then_some(days)
}

/// The whole name, or its first letters.
fn weekday(text: &str) -> Option<i8> {
    let text = text.to_ascii_lowercase();
    let at = DAY_NAMES.iter().position(|name| text.len() >= 3 && name.starts_with(&text))?;
    i8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// 2026-11-23 22:44:43, a Monday.
    const NOW: &str = "2026-11-23 22:44:43";

    fn seconds(text: &str) -> i64 {
        let time: DateTime = text.replace(' ', "T").parse().unwrap();
        TimeZone::UTC.to_timestamp(time).unwrap().as_second()
    }

    #[rstest]
    #[case::daily("02:30", "2026-11-24 02:30:00")]
    #[case::later_today("23:00", "2026-11-23 23:00:00")]
    #[case::quarter("*/15", "2026-11-23 22:45:00")]
    #[case::minute("5", "2026-11-23 23:05:00")]
    #[case::weekend("sat,sun 01:00", "2026-11-28 01:00:00")]
    #[case::workdays("mon..fri 22:00", "2026-11-24 22:00:00")]
    #[case::whole_name("Tuesday", "2026-11-24 00:00:00")]
    #[case::hours("8..18/2:15", "2026-11-24 08:15:00")]
    #[case::seconds("22:44:50", "2026-11-23 22:44:50")]
    #[case::month("*-1,7-15 12:00", "2027-01-15 12:00:00")]
    #[case::no_year("12-24 18:00", "2026-12-24 18:00:00")]
    #[case::leap_day("*-2-29", "2028-02-29 00:00:00")]
    #[case::hourly("hourly", "2026-11-23 23:00:00")]
    #[case::weekly("weekly", "2026-11-30 00:00:00")]
    #[case::monthly("monthly", "2026-12-01 00:00:00")]
    #[case::quarterly("quarterly", "2027-01-01 00:00:00")]
    #[case::first_friday("fri *-*-1..7 00:00", "2026-12-04 00:00:00")]
    fn comes_next(#[case] event: &str, #[case] next: &str) {
        let event: CalendarEvent = event.parse().unwrap();
        assert_eq!(event.next(seconds(NOW), &TimeZone::UTC), Some(seconds(next)));
    }

    #[rstest]
    #[case("2020-01-01")]
    #[case("*-2-30")]
    fn never_comes(#[case] event: &str) {
        let event: CalendarEvent = event.parse().unwrap();
        assert_eq!(event.next(seconds(NOW), &TimeZone::UTC), None);
    }

    #[rstest]
    #[case("")]
    #[case("24:00")]
    #[case("1:60")]
    #[case("*/0")]
    #[case("5..1")]
    #[case("someday")]
    #[case("fri..mon")]
    #[case("1:2:3:4")]
    #[case("1:00 2:00")]
    #[case("+1:00")]
    fn refuses(#[case] event: &str) {
        assert!(event.parse::<CalendarEvent>().is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text: String, event in "[a-z]{0,3} ?[0-9*,./-]{0,9} ?[0-9*:./]{0,8}") {
            drop(text.parse::<CalendarEvent>());
            if let Ok(event) = event.parse::<CalendarEvent>() {
                let next = event.next(seconds(NOW), &TimeZone::UTC);
                prop_assert!(next.is_none_or(|next| next > seconds(NOW)));
            }
        }
    }
}
