//! Formats of time: days of the week and systemd-like calendar events. PVE leaves the latter to a
//! library, `proxmox-time`; the same grammar is taken here, but not its many error texts.

use std::sync::OnceLock;

use regex::Regex;

use super::ensure;

pub(super) fn day_of_week(text: &str) -> Result<(), String> {
    let known = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    ensure(known.contains(&text), || format!("invalid day '{text}'"))
}

/// Days, a date and a time, each of which may be left out, but not all; or one word.
pub(super) fn event(text: &str) -> Result<(), String> {
    static EVENT: OnceLock<Regex> = OnceLock::new();
    let event = text.trim();
    ensure(!event.is_empty(), || {
        format!(
            "invalid calendar event '{text}' - unable to parse calendar event - event is empty\n"
        )
    })?;
    let grammar = EVENT.get_or_init(|| {
        let day = "(?i:(?:mon|tues?|wed|thu|fri|sat|sun)(?:day|nesday|rsday|urday)?)";
        let days = format!("{day}(?:\\.\\.{day})?(?:,{day}(?:\\.\\.{day})?)*,?");
        let item = r"(?:\*|[0-9]+(?:\.\.[0-9]+)?)(?:/[0-9]+)?";
        let items = format!("{item}(?:,{item})*");
        let date = format!("{items}-{items}(?:-{items})?");
        let time = format!("{items}(?::{items}){{0,2}}");
        let word = "(?:minutely|hourly|daily|weekly|monthly|yearly|annually|quarterly|\
                    semiannually|semi-annually)";
        Regex::new(&format!("^(?:{word}|(?:{days})?\\s*(?:{date})?\\s*(?:{time})?)$"))
            .expect("the grammar is a constant")
    });
    ensure(grammar.is_match(event), || {
        format!("invalid calendar event '{text}' - unable to parse calendar event '{event}'\n")
    })
}
