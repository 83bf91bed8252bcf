//! `differences.toml`: where our answers are not the recorded ones, each with its reason.

use std::cell::Cell;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::session::Outcome;
use crate::replay::compare::Gap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Differences {
    /// What depends on the machine or the moment: no difference, so the answer counts as a match.
    #[serde(default)]
    may_differ: Vec<Entry>,
    /// What is left: such an answer counts as another.
    #[serde(default)]
    difference: Vec<Entry>,
}

/// What it names must fit; what it leaves out fits everything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    reason: String,
    note: Option<String>,
    method: Option<String>,
    /// Behind the format and without the query; `*` is one part of it.
    path: Option<String>,
    /// Where in the answer, as [`Gap`] says; `*` is one part, `**` all that follow.
    at: Vec<String>,
    /// The recorded text.
    theirs: Option<String>,
    /// We have it and the recording lacks it. Otherwise both must have it, of the same type.
    #[serde(default)]
    more: bool,
    /// Whoever has it, and whatever its type.
    #[serde(default)]
    any: bool,
    /// One that only differs on some machines or in some runs.
    #[serde(default)]
    sometimes: bool,
    #[serde(skip)]
    used: Cell<bool>,
}

/// The list in use.
pub(super) struct Judged<'a> {
    list: &'a Differences,
    pub(super) matched: usize,
}

impl Differences {
    pub(super) fn read(path: &Path) -> Self {
        let list: Self = toml::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
        let all = list.may_differ.iter().chain(&list.difference);
        all.for_each(|entry| {
            assert!(entry.reason.len() > 20, "{}: give a reason", entry.reason);
            assert!(!entry.at.is_empty(), "{}: name places", entry.reason);
        });
        list
    }

    pub(super) fn judge(&self) -> Judged<'_> {
        Judged { list: self, matched: 0 }
    }
}

impl Judged<'_> {
    /// What differs and is in neither list.
    pub(super) fn unexplained(&mut self, outcome: &Outcome) -> Option<String> {
        let fits = |list: &[Entry], gap: &Gap| list.iter().any(|entry| entry.fits(outcome, gap));
        let differs: Vec<_> =
            outcome.gaps.iter().filter(|gap| !fits(&self.list.may_differ, gap)).collect();
        if differs.is_empty() {
            self.matched += 1;
        }
        let left: Vec<_> = differs
            .into_iter()
            .filter(|gap| !fits(&self.list.difference, gap))
            .map(|gap| format!("\n    {gap}"))
            .collect();
        (!left.is_empty()).then(|| format!("{}{}", outcome.name, left.concat()))
    }

    /// The reasons of entries that nothing needed.
    pub(super) fn unused(&self) -> Vec<&str> {
        let all = self.list.may_differ.iter().chain(&self.list.difference);
        all.filter(|entry| !entry.sometimes && !entry.used.get())
            .map(|entry| entry.reason.as_str())
            .collect()
    }
}

impl Entry {
    fn fits(&self, outcome: &Outcome, gap: &Gap) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        let theirs = gap.theirs.as_ref().and_then(Value::as_str).unwrap_or_default();
        let fits = is(&self.note, &outcome.note)
            && is(&self.method, &outcome.method)
            && self.path.as_deref().is_none_or(|path| is_like(path, &outcome.path))
            && self.at.iter().any(|at| is_like(at, &gap.at))
            && is(&self.theirs, theirs)
            && (self.any || self.fits_types(gap));
        self.used.set(self.used.get() || fits);
        fits
    }

    fn fits_types(&self, gap: &Gap) -> bool {
        match (&gap.theirs, &gap.ours) {
            (Some(theirs), Some(ours)) => {
                !self.more && std::mem::discriminant(theirs) == std::mem::discriminant(ours)
            }
            (None, Some(_)) => self.more,
            (_, None) => false,
        }
    }
}

/// `{a,b}` are alternatives within a part.
fn is_like(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), text.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) | (Some("**"), Some(_)) => return true,
            (Some(pattern), Some(part)) if pattern == "*" || pattern == part => {}
            (Some(pattern), Some(part)) => {
                let list = pattern.strip_prefix('{').and_then(|list| list.strip_suffix('}'));
                if !list.is_some_and(|list| list.split(',').any(|each| each == part)) {
                    return false;
                }
            }
            (None, Some(_)) | (Some(_), None) => return false,
        }
    }
}
