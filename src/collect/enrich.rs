//! The second stage: enriches events and moves them from the inbox to the outbox.
//!
//! Counts and flags are derived from the event itself. Pull-request events with missing fields are
//! held until GitHub's GraphQL API answers; all others pass straight through. Held events of one
//! poll are released in order, so each also waits for the older ones. No event is held longer than
//! `github.enrich.deadline`; a later response only fills the language cache. Whether an event is
//! the first of the day or year for its developer or repository is decided where it is applied,
//! not here. An inbox row stays until its event has moved and contains everything needed to start
//! again, so a crash while events are held loses nothing.

mod fetcher;
mod forbidden;
mod pending;
mod read;
mod release_order;
mod share;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::fetcher::{Fetcher, InFlightQuery};
pub use self::fetcher::{LookupOptions, PullFetcher};
use self::pending::{PendingQueue, ReleaseReason, ReleasedEvent};
use self::read::{CachedLanguage, InboxBatch, ReadTime, read};
pub use self::share::RecentShare;
use crate::clock::Clock;
use crate::store::keys::{InboxKey, OutboxKey};
use crate::store::repos;
use crate::store::rows::encode_outbox;
use crate::store::{ENTRIES, Store, StoreError};
use crate::{fault, metrics};

/// While nothing is held, how often the stage checks whether tokens have become available.
const IDLE: Duration = Duration::from_secs(30);

/// The warning shown while events are published without enrichment; `None` when there is nothing
/// to warn about.
pub type EnrichWarning = Option<&'static str>;
/// The warning when no token is configured.
const NO_TOKEN: &str = "pull requests go out without language and size: GitHub answers that only \
                        with a token; set github.tokens";

/// The inputs of the enrichment stage.
pub struct Enrich {
    /// The store that holds the inbox and the outbox.
    pub store: Store,
    /// The GraphQL lookup; `None` passes every event through unchanged, except for cached
    /// languages.
    pub lookup: Option<PullFetcher>,
    /// Receives the warning whenever it changes.
    pub warning: watch::Sender<EnrichWarning>,
    /// Counts the events published with and without enrichment.
    pub recent: watch::Sender<RecentShare>,
    /// The source of the current time.
    pub clock: Clock,
}

impl Enrich {
    /// An enrichment stage without GraphQL lookups.
    #[must_use]
    pub fn without_asking(store: Store, clock: Clock) -> Self {
        let (warning, recent) = (watch::Sender::default(), watch::Sender::default());
        Self { store, lookup: None, warning, recent, clock }
    }

    /// Enriches admitted events until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let fetcher = self.lookup.map(|lookup| Fetcher::new(lookup, self.clock));
        let (store, warning, clock) = (self.store, self.warning, self.clock);
        let (pending, recent) = (PendingQueue::default(), self.recent);
        let stage = Stage { store, warning, recent, clock, pending, fetcher };
        stage.enrich(stop).await
    }
}

struct Stage {
    store: Store,
    warning: watch::Sender<EnrichWarning>,
    recent: watch::Sender<RecentShare>,
    clock: Clock,
    pending: PendingQueue,
    fetcher: Option<Fetcher>,
}

/// The reason the stage woke up.
enum Woken {
    Grown,
    Landed(Box<InFlightQuery>),
    InTime,
}

impl Stage {
    async fn enrich(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut inbox = self.store.watermarks().inbox.subscribe();
        let mut done = 0;
        let mut again = None;
        // A new store has nothing to read first.
        let mut admitted_after = (*inbox.borrow() == done).then(|| self.clock.instant());
        loop {
            let wake = [self.pending.next_deadline(), again].into_iter().flatten().min();
            let now = self.clock.instant();
            let wait = wake.map_or(IDLE, |wake| wake.saturating_duration_since(now));
            let woken = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                grown = grown_beyond(&mut inbox, done) => {
                    grown?;
                    Woken::Grown
                }
                query = received(&mut self.fetcher) => match query? {
                    Some(query) => Woken::Landed(Box::new(query)),
                    None => Woken::InTime,
                },
                () = self.clock.sleep(wait) => Woken::InTime,
            };
            let mut ready = Vec::new();
            let mut cached = Vec::new();
            let mut holding = false;
            match woken {
                Woken::Grown => {
                    let (wall, now) = (self.clock.now(), self.clock.instant());
                    let head = *inbox.borrow();
                    let time = ReadTime { wall, now, admitted_after };
                    let reading =
                        self.store.read(move |reader| read(reader, done + 1, time)).await?;
                    done = reading.events.last().map_or(head, |(event, _)| event.admission);
                    admitted_after = if done >= head { Some(now) } else { admitted_after };
                    holding = self.admit(reading, &mut ready, &mut cached);
                }
                Woken::Landed(query) => self.take_in(&query, &mut ready, &mut cached),
                Woken::InTime => {}
            }
            let now = self.clock.instant();
            ready.extend(self.pending.expire(now));
            if self.pending.next_deadline().is_some() && !self.can_ask() {
                ready.extend(self.pending.release());
            }
            self.tell();
            self.forward(ready, cached).await?;
            if holding {
                fault::point("enrich.waiting");
            }
            again = self.fetcher.as_mut().and_then(|fetcher| fetcher.send_due(&mut self.pending));
        }
    }

    fn can_ask(&self) -> bool {
        self.fetcher.as_ref().is_some_and(Fetcher::can_ask)
    }

    /// Holds events with missing fields and releases the others. Returns whether any is held.
    fn admit(
        &mut self,
        reading: InboxBatch,
        ready: &mut Vec<ReleasedEvent>,
        cached: &mut Vec<CachedLanguage>,
    ) -> bool {
        cached.extend(reading.cached);
        let now = self.clock.instant();
        let can_ask = self.can_ask();
        let mut holding = false;
        for (event, wanted) in reading.events {
            let (Some(wanted), Some(fetcher)) = (wanted, &self.fetcher) else {
                ready.push(ReleasedEvent { event, leaving: ReleaseReason::AsItCame });
                continue;
            };
            if !can_ask {
                ready.push(ReleasedEvent { event, leaving: ReleaseReason::NoToken });
                continue;
            }
            let deadline = event.since + fetcher.lookup.deadline;
            let leave = self.pending.hold(event, wanted, deadline, now);
            holding |= leave.is_empty();
            ready.extend(leave);
        }
        holding
    }

    fn take_in(
        &mut self,
        query: &InFlightQuery,
        ready: &mut Vec<ReleasedEvent>,
        cached: &mut Vec<CachedLanguage>,
    ) {
        let Some(fetcher) = &mut self.fetcher else { return };
        let now = self.clock.instant();
        let Some(found) = fetcher.settle(query) else {
            for wanted in &query.wanted {
                ready.extend(self.pending.put_back(wanted, false));
            }
            return;
        };
        for (wanted, found) in query.wanted.iter().zip(&found) {
            let (leaving, details) = self.pending.answered(wanted, found, now);
            ready.extend(leaving);
            cached.extend(details);
        }
    }

    fn tell(&self) {
        let warning = (self.fetcher.is_some() && !self.can_ask()).then_some(NO_TOKEN);
        self.warning.send_if_modified(|said| {
            let changed = *said != warning;
            if changed {
                if let Some(words) = warning {
                    tracing::warn!("{words}");
                } else {
                    tracing::info!("pull requests are asked for");
                }
                *said = warning;
            }
            changed
        });
    }

    /// Moves one batch of released events to the outbox in admission order and caches the
    /// languages that were fetched.
    async fn forward(
        &self,
        mut ready: Vec<ReleasedEvent>,
        cached: Vec<CachedLanguage>,
    ) -> Result<(), StoreError> {
        if ready.is_empty() && cached.is_empty() {
            return Ok(());
        }
        ready.sort_unstable_by_key(|ready| ready.event.admission);
        self.count(&ready);
        let now = self.clock.now();
        let committed = self.store.commit(move |batch| {
            let mut head = None;
            for (key, language) in &cached {
                repos::remember(batch, *key, language.as_deref(), now)?;
            }
            for ReleasedEvent { event, .. } in ready {
                let entry = batch.next_number(ENTRIES)?;
                batch.put(&OutboxKey(entry), &encode_outbox(event.admission, &event.facts));
                batch.delete(&InboxKey(event.admission));
                head = Some(entry);
            }
            fault::point("enrich.before_commit");
            Ok(head)
        });
        let head = committed.await?;
        fault::point("enrich.after_commit");
        if let Some(head) = head {
            self.store.watermarks().outbox.send_replace(head);
        }
        Ok(())
    }

    fn count(&self, ready: &[ReleasedEvent]) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        let mut reasons = Vec::new();
        for ReleasedEvent { event, leaving } in ready {
            let reason = match leaving {
                ReleaseReason::AsItCame => continue,
                ReleaseReason::Enriched => {
                    metrics::EVENTS_ENRICHED.add(1);
                    metrics::ENRICH_SECONDS.record(now.saturating_duration_since(event.since));
                    reasons.push(None);
                    continue;
                }
                ReleaseReason::Late => "late",
                ReleaseReason::Gone => "gone",
                ReleaseReason::Forbidden => "forbidden",
                ReleaseReason::Full => "full",
                ReleaseReason::NoToken => "no_token",
            };
            metrics::EVENTS_UNENRICHED.add_for(reason, 1);
            reasons.push(Some(reason));
        }
        if !reasons.is_empty() {
            self.recent.send_modify(|recent| {
                for reason in reasons {
                    recent.add(reason, wall);
                }
            });
        }
    }
}

async fn grown_beyond(inbox: &mut watch::Receiver<u64>, done: u64) -> anyhow::Result<()> {
    inbox.wait_for(|head| *head > done).await?;
    Ok(())
}

async fn received(fetcher: &mut Option<Fetcher>) -> anyhow::Result<Option<InFlightQuery>> {
    match fetcher {
        Some(fetcher) => fetcher.received().await,
        None => std::future::pending().await,
    }
}
