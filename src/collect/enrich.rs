//! The second arrow: facts are added, and the event goes from the inbox to the outbox.
//!
//! What an event counts as is read from itself. What GitHub left out of a pull request is asked
//! for; an event that lacks something waits for it, the others pass it by. Those of one poll that
//! wait leave in their order, so each waits for the older ones too. It never waits longer than
//! `github.enrich.deadline`, and what comes later only fills the cache of languages. Whether
//! an event is a developer's or a repository's first of the day or year is not claimed here but
//! where it is applied. The inbox's row stays until the event moves and is all that is needed to
//! begin again: a crash while events wait loses nothing.

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
pub use self::fetcher::{Lookup, LookupOptions};
use self::pending::{PendingQueue, ReleaseReason, ReleasedEvent};
use self::read::{CachedLanguage, InboxBatch, read};
pub use self::share::RecentShare;
use crate::clock::Clock;
use crate::store::keys::{InboxKey, OutboxKey};
use crate::store::repos;
use crate::store::rows::encode_outbox;
use crate::store::{ENTRIES, Store, StoreError};
use crate::{fault, metrics};

/// Without anything to wait for, it is looked so often whether tokens have come back.
const IDLE: Duration = Duration::from_secs(30);

/// What is said while events go on without what they lack; `None` when they need not.
pub type EnrichWarning = Option<&'static str>;
/// Without a token.
const NO_TOKEN: &str = "pull requests go out without language and size: GitHub answers that only \
                        with a token; set github.tokens";

/// What enriching needs.
pub struct Enrich {
    /// Whose inbox it is.
    pub store: Store,
    /// Who can be asked; `None` lets every event pass as it came, but for languages that are known.
    pub lookup: Option<Lookup>,
    /// Told whether something is in the way of asking.
    pub warning: watch::Sender<EnrichWarning>,
    /// Counts what went on with what it lacked, and what without.
    pub recent: watch::Sender<RecentShare>,
    /// What time it is.
    pub clock: Clock,
}

impl Enrich {
    /// Enriches with nobody to ask.
    #[must_use]
    pub fn without_asking(store: Store, clock: Clock) -> Self {
        let (warning, recent) = (watch::Sender::default(), watch::Sender::default());
        Self { store, lookup: None, warning, recent, clock }
    }

    /// Enriches what is admitted until `stop` is called.
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

/// Why the stage woke.
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
                    let head = *inbox.borrow();
                    let now = (self.clock.now(), self.clock.instant());
                    let reading =
                        self.store.read(move |reader| read(reader, done + 1, now)).await?;
                    done = reading.events.last().map_or(head, |(event, _)| event.admission);
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

    /// Lets those wait that lack something, the others go on; whether any waits.
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

    /// Moves events on, in the order of admission, and keeps what was details; one batch.
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
