//! The audit: measures against GitHub's own totals how much of what happened was seen.

mod interval;
mod number_gaps;
mod panel;
mod sighting;
