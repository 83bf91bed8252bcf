//! The rows of the last list, for those who ask while it is made and for the next one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use openapi::answer::{GuestRow, GuestState};
use pve_integration::ct_config::Entry;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::GuestError;

/// One guest's row, encoded once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ListRow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entry: Arc<Entry>,
    row: GuestRow,
    json: Box<RawValue>,
}

impl ListRow {
    pub(super) fn new(entry: Arc<Entry>, row: GuestRow) -> serde_json::Result<Self> {
        let json = serde_json::value::to_raw_value(&row)?;
        Ok(Self(Arc::new(Inner { entry, row, json })))
    }

    pub(super) fn row(&self) -> &GuestRow {
        &self.0.row
    }

    /// Whether it holds for a container that stands still with this config.
    pub(super) fn still_shows(&self, entry: &Arc<Entry>) -> bool {
        self.0.row.status == GuestState::Stopped && Arc::ptr_eq(&self.0.entry, entry)
    }
}

impl Serialize for ListRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(to)
    }
}

/// The last list and when it was begun.
#[derive(Debug, Default)]
pub(super) struct Rows(Mutex<Option<(Instant, Arc<[ListRow]>)>>);

impl Rows {
    /// A list that is begun after this call: made by `make` from the one before, or by another
    /// caller who asked later than we did but came first. However many ask at once, they wait for
    /// two lists at most.
    pub(super) fn after_now(
        &self,
        make: impl FnOnce(&[ListRow]) -> Result<Vec<ListRow>, GuestError>,
    ) -> Result<Arc<[ListRow]>, GuestError> {
        self.after(Instant::now(), make)
    }

    fn after(
        &self,
        asked: Instant,
        make: impl FnOnce(&[ListRow]) -> Result<Vec<ListRow>, GuestError>,
    ) -> Result<Arc<[ListRow]>, GuestError> {
        // Whoever panicked left the last whole list.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = last.as_ref().filter(|(begun, _)| *begun > asked) {
            return Ok(Arc::clone(rows));
        }
        let begun = Instant::now();
        let before = last.as_ref().map(|(_, rows)| Arc::clone(rows)).unwrap_or_default();
        let rows: Arc<[ListRow]> = make(&before)?.into();
        *last = Some((begun, Arc::clone(&rows)));
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keeps many who poll from costing many scans.
    #[test]
    fn a_list_is_for_all_who_asked_before_it_was_begun() {
        let (rows, mut made) = (Rows::default(), 0);
        let mut get = |asked| {
            let make = |_: &[ListRow]| {
                made += 1;
                Ok(Vec::new())
            };
            rows.after(asked, make).unwrap();
            made
        };
        let early = Instant::now();

        assert_eq!((get(early), get(early)), (1, 1));
        assert_eq!(get(Instant::now()), 2, "it may have missed what changed since");
    }
}
