//! Subscribers of `/sampling`, in groups with equal queries.
//!
//! A group numbers its matching events without holes. A subscriber takes one number in `rate`,
//! counted from the end of the log at the time when it subscribed.

use std::sync::{Arc, OnceLock};

use crate::hub::fanout::batch::ReaderBatch;
use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::group_log::Taken;
use crate::hub::fanout::memory;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::subscriber_query::{LagPolicy, SubscriberQuery};
use crate::hub::fanout::subscribers::{Group, Subscriber, Subscribers};
use crate::hub::log::projection::Projection;
use crate::hub::log::query::{SamplingEncoding, SamplingQuery};
use crate::hub::log::streamed_event::StreamedEvent as _;
use crate::hub::log::tail::TailEvent;

/// A query of `/sampling` and how its events are written; `None` writes the whole event.
#[derive(Debug)]
pub(in crate::hub) struct CompiledSampling {
    query: Arc<SamplingQuery>,
    projection: Option<Projection>,
}

pub(in crate::hub) type SamplingGroup = Group<CompiledSampling>;

/// All subscribers of `/sampling`.
#[derive(Debug)]
pub(in crate::hub) struct SamplingSubscribers {
    pub(in crate::hub) groups: Arc<Subscribers<CompiledSampling>>,
    /// The most events that a subscriber may be behind.
    lag: usize,
}

/// One subscriber of `/sampling`. Dropping it unsubscribes.
#[derive(Debug)]
pub struct SamplingSubscriber(Subscriber<CompiledSampling>);

impl CompiledSampling {
    fn new(query: Arc<SamplingQuery>) -> Self {
        let projection = match &query.encoding {
            SamplingEncoding::Whole => None,
            SamplingEncoding::Map(paths) => Some(Projection::map(paths)),
            SamplingEncoding::List(paths) => Some(Projection::list(paths)),
        };
        Self { query, projection }
    }
}

impl SubscriberQuery for CompiledSampling {
    type Key = Arc<SamplingQuery>;
    type Encoded = Frame;

    const LAG: LagPolicy = LagPolicy::Skip;
    const GROUP_BYTES: usize = 16 << 20;
    const TAKE_BYTES: usize = 256 << 10;

    fn bytes_of(&self, event: &TailEvent) -> usize {
        let weight = event.weight();
        self.projection.as_ref().map_or(weight, |form| form.bytes_of(weight).max(weight))
    }

    /// The frame of a whole event is kept with the event, for all groups.
    fn encode(&self, event: &TailEvent, cache: &OnceLock<Frame>) -> Frame {
        match &self.projection {
            None => event.whole().clone(),
            Some(projection) => {
                let encode = || projection.encode(self.query.encoding.paths(), event);
                cache.get_or_init(encode).clone()
            }
        }
    }

    fn is_encoded(&self, event: &TailEvent, cache: &OnceLock<Frame>, deflates: bool) -> bool {
        let encoded = match &self.projection {
            None => event.encoded_whole(),
            Some(_) => cache.get(),
        };
        encoded.is_some_and(|frame| !deflates || frame.is_deflated())
    }

    fn prepare(&self, event: &TailEvent, cache: &OnceLock<Frame>, deflates: bool) {
        let frame = self.encode(event, cache);
        if deflates {
            frame.deflate();
        }
    }
}

impl SamplingSubscribers {
    /// A subscriber may be up to `lag` events behind, at least one.
    pub(in crate::hub) fn new(lag: usize) -> Self {
        Self { groups: Arc::default(), lag: lag.max(1) }
    }

    /// Joins the group with an equal query. The first event taken is the `rate`th from now.
    pub(in crate::hub) fn subscribe(
        &self,
        query: SamplingQuery,
        rate: u64,
        notifier: &Arc<Notifier>,
    ) -> SamplingSubscriber {
        let rate = rate.max(1);
        let begin = |query: &Arc<SamplingQuery>| (CompiledSampling::new(Arc::clone(query)), 1);
        let next = |end: u64| end.saturating_add(rate - 1);
        SamplingSubscriber(self.groups.subscribe(Arc::new(query), begin, next, rate, notifier))
    }

    /// Gives a group the events that match its query. Returns the number of deliveries to come.
    pub(in crate::hub) fn dispatch(&self, group: &SamplingGroup, events: &[Arc<TailEvent>]) -> u64 {
        let conditions = &group.query.query.conditions;
        let mut matching = events.iter().filter(|event| conditions.hold(event.index())).peekable();
        if matching.peek().is_none() {
            return 0;
        }
        let bytes = self.groups.group_bytes();
        group.change(|log, query| {
            let begin = log.end();
            let (mut end, mut newest) = (begin, None);
            for event in matching {
                log.push(query, end, event);
                (end, newest) = (end + 1, Some(event.cursor));
            }
            log.finish(end - begin, (end, newest), (self.lag, bytes))
        })
    }
}

impl SamplingSubscriber {
    /// The next events, up to a limit. Never waits; empty while there is no memory for this client.
    #[must_use]
    pub fn take(&mut self) -> ReaderBatch<Frame> {
        if !memory::has_room_for(&self.0.notifier) {
            return None.into();
        }
        let Some(taken) = self.0.take() else { return None.into() };
        let (messages, count) = match &taken.joined {
            Some(joined) => (vec![joined.encoded.clone()], joined.events),
            None => self.encode(&taken),
        };
        let bytes = messages.iter().map(Frame::len).sum();
        let charge = memory::charge(self.0.notifier.client, bytes);
        ReaderBatch { messages, count, more: taken.more, ended: None, charge }
    }

    /// The frames of taken entries, and the number of events in them.
    fn encode(&self, taken: &Taken<CompiledSampling>) -> (Vec<Frame>, u64) {
        let entries = taken.entries.iter().filter(|entry| !entry.event.is_left_out());
        let mut frames: Vec<_> = entries.map(|entry| self.0.group.encode(entry)).collect();
        let events = frames.len() as u64;
        if taken.is_shared {
            let joined = Frame::joined(&frames);
            // What was left out meanwhile is in it: then each subscriber encodes the batch again.
            self.0.share(taken, joined.clone(), |event| !event.is_left_out());
            frames = vec![joined];
        }
        (frames, events)
    }
}

#[cfg(test)]
mod tests;
