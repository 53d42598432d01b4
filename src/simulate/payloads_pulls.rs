//! Payloads of pull requests in either form.

use super::options::Shape;
use super::pulls::{SimulatedPull, Step};
use super::{payloads_old, payloads_today};

/// The payload of a pull-request event.
pub(super) fn pull_request_event(shape: Shape, step: &Step) -> String {
    match shape {
        Shape::Old => payloads_old::pull_request_event(step),
        Shape::Today => payloads_today::pull_request_event(step),
    }
}

/// The pull request as contained in events.
pub(super) fn pull_request(shape: Shape, pull: &SimulatedPull) -> String {
    match shape {
        Shape::Old => payloads_old::pull_request(pull),
        Shape::Today => payloads_today::pull_request(pull),
    }
}
