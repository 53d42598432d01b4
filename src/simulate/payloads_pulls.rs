//! Payloads of pull requests in either form.

use super::json::Object;
use super::options::Shape;
use super::payloads::additions;
use super::pulls::{Action, SimulatedPull, Step};
use super::{payloads_old, payloads_today};

/// The payload of a pull-request event. In the old form a merge is `closed`.
pub(super) fn pull_request_event(shape: Shape, step: &Step) -> String {
    let action = match (step.action, shape) {
        (Action::Opened, _) => "opened",
        (Action::Merged, Shape::Today) => "merged",
        (Action::Merged, Shape::Old) | (Action::Closed, _) => "closed",
        (Action::Reopened, _) => "reopened",
        (Action::Labeled, _) => "labeled",
        (Action::Assigned, _) => "assigned",
        (Action::Unassigned, _) => "unassigned",
    };
    let payload = Object::new()
        .text("action", action)
        .bare("number", step.pull.number)
        .raw("pull_request", &pull_request(shape, &step.pull));
    additions(payload, step).end()
}

/// The pull request as contained in events.
pub(super) fn pull_request(shape: Shape, pull: &SimulatedPull) -> String {
    match shape {
        Shape::Old => payloads_old::pull_request(pull),
        Shape::Today => payloads_today::pull_request(pull),
    }
}
