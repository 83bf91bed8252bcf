//! The rows of the last list, for those who ask while it is made and for the next one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use openapi::answer::{GuestRow, GuestState, ResourceRow};
use pve_integration::ct_config::{Configs, Entry};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::GuestError;

/// One guest's row, encoded once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ListRow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entry: Arc<Entry>,
    row: GuestRow,
    json: Box<RawValue>,
    /// The pool that it was encoded with, too.
    resource: Mutex<Option<(Option<String>, Arc<RawValue>)>>,
}

/// A row of `cluster/resources`, of a guest or of anything else.
#[derive(Clone, Debug)]
pub(crate) enum Resource {
    Encoded(Arc<RawValue>),
    Row(Box<ResourceRow>),
}

impl ListRow {
    pub(super) fn new(entry: Arc<Entry>, row: GuestRow) -> serde_json::Result<Self> {
        let json = to_raw_value(&row)?;
        Ok(Self(Arc::new(Inner { entry, row, json, resource: Mutex::default() })))
    }

    pub(super) fn row(&self) -> &GuestRow {
        &self.0.row
    }

    /// Whether it holds for a container that stands still with this config.
    pub(super) fn still_shows(&self, entry: &Arc<Entry>) -> bool {
        self.0.row.status == GuestState::Stopped && Arc::ptr_eq(&self.0.entry, entry)
    }

    /// Made by `make` unless it was before.
    pub(super) fn resource(
        &self,
        pool: Option<&str>,
        make: impl FnOnce(&GuestRow, Option<&str>) -> ResourceRow,
    ) -> Resource {
        let mut encoded = self.0.resource.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = encoded.as_ref().filter(|(of, _)| of.as_deref() == pool) {
            return Resource::Encoded(Arc::clone(json));
        }
        let row = make(&self.0.row, pool);
        let Ok(json) = to_raw_value(&row) else { return Resource::Row(Box::new(row)) };
        let json = Arc::from(json);
        *encoded = Some((pool.map(str::to_owned), Arc::clone(&json)));
        Resource::Encoded(json)
    }
}

impl Serialize for ListRow {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(to)
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Encoded(json) => json.serialize(to),
            Self::Row(row) => row.serialize(to),
        }
    }
}

/// What a list is made of.
#[derive(Debug)]
pub(super) struct List {
    pub(super) rows: Vec<ListRow>,
    /// The configs it shows, if none of them ran.
    pub(super) still: Option<Arc<Configs>>,
}

#[derive(Clone, Debug)]
pub(super) struct Last {
    begun: Instant,
    still: Option<Arc<Configs>>,
    pub(super) rows: Arc<[ListRow]>,
}

impl Last {
    /// Whether it holds for these configs if none of them runs.
    pub(super) fn shows(&self, configs: &Arc<Configs>) -> bool {
        self.still.as_ref().is_some_and(|still| Arc::ptr_eq(still, configs))
    }
}

/// The last list and when it was begun.
#[derive(Debug, Default)]
pub(super) struct Rows(Mutex<Option<Last>>);

impl Rows {
    /// A list that is begun after this call: made by `make` from the one before, or by another
    /// caller who asked later than we did but came first. However many ask at once, they wait for
    /// two lists at most.
    pub(super) fn after_now(
        &self,
        make: impl FnOnce(&[ListRow]) -> Result<List, GuestError>,
    ) -> Result<Arc<[ListRow]>, GuestError> {
        self.after(Instant::now(), make)
    }

    /// `None` if there is none, or if one is being made.
    pub(super) fn try_last(&self) -> Option<Last> {
        self.0.try_lock().ok()?.clone()
    }

    fn after(
        &self,
        asked: Instant,
        make: impl FnOnce(&[ListRow]) -> Result<List, GuestError>,
    ) -> Result<Arc<[ListRow]>, GuestError> {
        // Whoever panicked left the last whole list.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.begun > asked) {
            return Ok(Arc::clone(&last.rows));
        }
        let begun = Instant::now();
        let before = last.as_ref().map(|last| Arc::clone(&last.rows)).unwrap_or_default();
        let List { rows, still } = make(&before)?;
        let rows: Arc<[ListRow]> = rows.into();
        *last = Some(Last { begun, still, rows: Arc::clone(&rows) });
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
                Ok(List { rows: Vec::new(), still: None })
            };
            rows.after(asked, make).unwrap();
            made
        };
        let early = Instant::now();

        assert_eq!((get(early), get(early)), (1, 1));
        assert_eq!(get(Instant::now()), 2, "it may have missed what changed since");
    }
}
