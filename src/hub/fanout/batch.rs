//! What a subscriber takes at once for its connection.

use crate::hub::fanout::memory::MemoryCharge;

/// The messages that a reader takes at once, encoded for sending.
#[derive(Debug)]
pub struct ReaderBatch<M> {
    /// In order, each to be sent as it is; one may hold several events.
    pub messages: Vec<M>,
    /// Number of events, entities or values in the messages.
    pub count: u64,
    /// Whether more can be taken now; the connection is not notified of it again.
    pub more: bool,
    /// Set in the last batch: code and reason of the close frame after it.
    pub ended: Option<(u16, &'static str)>,
    /// The client's memory account; to be kept until the messages have been sent.
    pub charge: Option<MemoryCharge>,
}

/// A batch of one message, or an empty batch.
impl<M> From<Option<M>> for ReaderBatch<M> {
    fn from(message: Option<M>) -> Self {
        let messages = Vec::from_iter(message);
        let count = messages.len() as u64;
        Self { messages, count, more: false, ended: None, charge: None }
    }
}
