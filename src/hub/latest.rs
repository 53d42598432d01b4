//! Gauge topics: values of which a subscriber receives the latest, never each one in turn.

pub(super) mod first_message;
pub(super) mod gauge_message;
pub(super) mod gauges;
pub(super) mod language_message;
pub(super) mod languages;
pub(super) mod latest_values;
