//! Figures over time.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::perl_number;

/// When, and the figures that are known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct RrdRow {
    /// Epoch seconds at which the row begins.
    pub time: u64,
    /// By name.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, f64>)]
    pub values: BTreeMap<&'static str, Figure>,
}

/// A number as Perl prints it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Figure(#[serde(serialize_with = "perl_number")] pub f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_numbers_as_perl_does() {
        let values = [("cpu", Figure(0.25)), ("maxmem", Figure(536_870_912.0))].into();
        let row = RrdRow { time: 60, values };
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"time":60,"cpu":0.25,"maxmem":536870912}"#
        );
    }
}
