//! Answers to queries that wait for the start of a query.

use bytes::Bytes;

use super::control::StreamMessage;
use super::encoding::StreamEncoding;
use super::filter::QueryWarning;
use crate::model::offset::Offset;

/// The answers to queries, in the order of the queries, until the start of the last one is found.
#[derive(Debug, Default)]
pub(super) struct WaitingAnswers(Vec<QueryAnswer>);

#[derive(Debug)]
enum QueryAnswer {
    /// An `ack` with these warnings.
    Ack(Vec<QueryWarning>),
    /// An encoded `error`.
    Error(Bytes),
}

impl WaitingAnswers {
    /// Adds the `ack` of a query, with these warnings.
    pub(super) fn accept(&mut self, warnings: Vec<QueryWarning>) {
        self.0.push(QueryAnswer::Ack(warnings));
    }

    /// Adds an encoded `error`.
    pub(super) fn refuse(&mut self, error: Bytes) {
        self.0.push(QueryAnswer::Error(error));
    }

    /// Appends all answers to `out`: the last accepted query begins after this offset, and those
    /// that it has replaced end there. `warning` comes from the search for its start.
    pub(super) fn push(
        &mut self,
        out: &mut Vec<u8>,
        encoding: StreamEncoding,
        cursor: Offset,
        warning: Option<QueryWarning>,
    ) {
        let warnings = self.0.iter_mut().rev().find_map(|answer| match answer {
            QueryAnswer::Ack(warnings) => Some(warnings),
            QueryAnswer::Error(_) => None,
        });
        if let Some(warnings) = warnings {
            warnings.extend(warning);
        }
        for answer in self.0.drain(..) {
            match answer {
                QueryAnswer::Ack(warnings) => {
                    StreamMessage::Ack { cursor, warnings: &warnings }.push(out, encoding);
                }
                QueryAnswer::Error(error) => out.extend_from_slice(&error),
            }
        }
    }
}
