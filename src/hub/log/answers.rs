//! Answers to queries that wait for the start of a query.

use bytes::Bytes;

use super::control::StreamMessage;
use super::encoding::StreamEncoding;
use super::filter::QueryWarning;
use crate::model::offset::Offset;

/// About the most bytes of answers that wait, so that a client that keeps asking takes no more.
const BYTES: usize = 64 << 10;

/// The answers to queries, in the order of the queries, until the start of the last one is found.
#[derive(Debug, Default)]
pub(super) struct WaitingAnswers {
    answers: Vec<QueryAnswer>,
    bytes: usize,
}

#[derive(Debug)]
enum QueryAnswer {
    /// An `ack` with these warnings.
    Ack(Vec<QueryWarning>),
    /// An encoded `error`.
    Error(Bytes),
}

impl WaitingAnswers {
    /// Whether no further answer should be added.
    pub(super) fn are_full(&self) -> bool {
        self.bytes >= BYTES
    }

    /// Adds the `ack` of a query, with these warnings.
    pub(super) fn accept(&mut self, warnings: Vec<QueryWarning>) {
        let bytes = warnings.iter().map(|it| it.value.len() + it.message.len());
        self.add(bytes.sum(), QueryAnswer::Ack(warnings));
    }

    /// Adds an encoded `error`.
    pub(super) fn refuse(&mut self, error: Bytes) {
        self.add(error.len(), QueryAnswer::Error(error));
    }

    fn add(&mut self, bytes: usize, answer: QueryAnswer) {
        self.bytes += bytes + size_of::<QueryAnswer>();
        self.answers.push(answer);
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
        let warnings = self.answers.iter_mut().rev().find_map(|answer| match answer {
            QueryAnswer::Ack(warnings) => Some(warnings),
            QueryAnswer::Error(_) => None,
        });
        if let Some(warnings) = warnings {
            warnings.extend(warning);
        }
        self.bytes = 0;
        for answer in self.answers.drain(..) {
            match answer {
                QueryAnswer::Ack(warnings) => {
                    StreamMessage::Ack { cursor, warnings: &warnings }.push(out, encoding);
                }
                QueryAnswer::Error(error) => out.extend_from_slice(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_answers_are_bounded() {
        let mut waiting = WaitingAnswers::default();
        let warning =
            || QueryWarning { field: "types", value: "x".repeat(100), message: String::new() };
        let mut count = 0;
        while !waiting.are_full() {
            waiting.accept(vec![warning(); 50]);
            waiting.refuse(Bytes::from_static(b"{}\n"));
            count += 2;
        }
        assert_eq!(count, 26);
        let cursor = "51a70c3e-be1f4b".parse().unwrap();
        let mut out = Vec::new();
        waiting.push(&mut out, StreamEncoding::Ndjson, cursor, None);
        assert_eq!(out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), count);
        assert!(!waiting.are_full());
    }
}
