//! The second stage: enriches events and moves them from the inbox to the outbox.
//!
//! Counts and flags are derived from the event itself. Pull-request events with missing fields, and
//! pushes to repositories on lists, are held until GitHub's GraphQL API answers; all others pass
//! straight through. Held events of one kind and poll are released in order, so each also waits for
//! the older ones. No event is held longer than `github.enrich.deadline`; a later response only
//! fills the language cache. Whether an event is the first of the day or year for its developer or
//! repository is decided where it is applied, not here. An inbox row stays until its event has
//! moved and contains everything needed to start again, so a crash while events are held loses
//! nothing.

mod fetcher;
mod forbidden;
mod heavy;
mod lookup_order;
mod lookup_queue;
mod pending;
mod read;
mod release_order;
mod share;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::fetcher::EnrichLookup;
use self::lookup_queue::{LookupQueue, Released};
use self::pending::{ReleaseReason, ReleasedEvent};
use self::read::{InboxBatch, ReadTime, WantedFields, read};
pub use self::share::RecentShare;
use crate::clock::Clock;
use crate::github::graphql::{WantedPull, WantedPush};
use crate::lists::{Lists, LiveList};
use crate::store::keys::{InboxKey, MetaKey, OutboxKey};
use crate::store::repos;
use crate::store::rows::{commit_bytes, encode_outbox};
use crate::store::{BACKLOG, ENTRIES, Store, StoreError};
use crate::sync::blocking;
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
    pub lookup: Option<EnrichLookup>,
    /// The lists whose repositories' pushes get their commits; `None` for no push.
    pub lists: Option<Arc<Lists>>,
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
        Self { store, lookup: None, lists: None, warning, recent, clock }
    }

    /// Enriches admitted events until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (clock, lookup) = (self.clock, self.lookup.as_ref());
        let (pulls, pushes) = (LookupQueue::new(lookup, clock), LookupQueue::new(lookup, clock));
        let stage = Stage {
            given: self,
            pulls,
            pushes,
            read_to: 0,
            admitted_after: None,
            had_lists: false,
        };
        stage.enrich(stop).await
    }
}

struct Stage {
    given: Enrich,
    pulls: LookupQueue<WantedPull>,
    pushes: LookupQueue<WantedPush>,
    /// The last admission that was read from the inbox.
    read_to: u64,
    /// When the inbox was last read to its end; `None` after a start.
    admitted_after: Option<Instant>,
    /// Whether a list named repositories or owners when the inbox was last read.
    had_lists: bool,
}

impl Stage {
    async fn enrich(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut inbox = self.given.store.watermarks().inbox.subscribe();
        // A new store has nothing to read first.
        if *inbox.borrow() == self.read_to {
            self.admitted_after = Some(self.given.clock.instant());
        }
        let mut send_again = None;
        loop {
            let deadlines =
                [self.pulls.pending.next_deadline(), self.pushes.pending.next_deadline()];
            let wake = deadlines.into_iter().chain([send_again]).flatten().min();
            let now = self.given.clock.instant();
            let wait = wake.map_or(IDLE, |wake| wake.saturating_duration_since(now));
            let (mut released, mut has_grown) = (Released::default(), false);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                grown = grown_beyond(&mut inbox, self.read_to) => {
                    grown?;
                    has_grown = true;
                }
                settled = self.pulls.settle_next() => released = settled?,
                settled = self.pushes.settle_next() => released = settled?,
                () = self.given.clock.sleep(wait) => {}
            }
            let mut is_holding = false;
            if has_grown {
                let head = *inbox.borrow();
                let batch = self.read_inbox(head).await?;
                is_holding = self.admit(batch, &mut released);
            }
            let now = self.given.clock.instant();
            self.pulls.expire(now, &mut released);
            self.pushes.expire(now, &mut released);
            self.report_warning();
            self.forward(released).await?;
            if is_holding {
                fault::point("enrich.waiting");
            }
            send_again = self.send_due();
        }
    }

    /// Reads the next events of the inbox, whose last admission is `head`.
    async fn read_inbox(&mut self, head: u64) -> Result<InboxBatch, StoreError> {
        let (wall, now) = (self.given.clock.now(), self.given.clock.instant());
        let time = ReadTime { wall, now, admitted_after: self.admitted_after };
        let lists = self.lists_of_pushes();
        let from = self.read_to + 1;
        let batch = self.given.store.read(move |reader| read(reader, from, time, &lists)).await?;
        self.read_to = batch.events.last().map_or(head, |(event, _)| event.admission);
        if self.read_to >= head {
            self.admitted_after = Some(now);
        }
        Ok(batch)
    }

    /// The lists whose repositories' pushes get their commits; none if GitHub is not asked for
    /// them. Gives pushes a part of the budget while a list names repositories or owners.
    fn lists_of_pushes(&mut self) -> Vec<Arc<LiveList>> {
        let lists = self.given.lists.as_ref().filter(|_| self.pushes.asks());
        let lists = lists.map(|lists| lists.all()).unwrap_or_default();
        let has_lists = lists.iter().any(|list| list.names().names_repositories());
        if std::mem::replace(&mut self.had_lists, has_lists) != has_lists
            && let Some(lookup) = &self.given.lookup
        {
            lookup.allow_pushes(has_lists);
        }
        lists
    }

    /// Sends every query that is due. Returns when to check again while anything is queued.
    fn send_due(&mut self) -> Option<Instant> {
        let again = [self.pulls.send_due(), self.pushes.send_due()];
        again.into_iter().flatten().min()
    }

    /// Holds events with missing fields and releases the others. Returns whether any is held.
    fn admit(&mut self, batch: InboxBatch, released: &mut Released) -> bool {
        released.languages.extend(batch.cached);
        let now = self.given.clock.instant();
        let mut is_holding = false;
        for (event, wanted) in batch.events {
            is_holding |= match wanted {
                Some(WantedFields::Pull(wanted)) => self.pulls.hold((event, wanted), now, released),
                Some(WantedFields::Push(wanted)) => {
                    self.pushes.hold((event, wanted), now, released)
                }
                None => {
                    let reason = ReleaseReason::AsItCame;
                    released.events.push(ReleasedEvent { event, reason });
                    false
                }
            };
        }
        is_holding
    }

    fn report_warning(&self) {
        let warning = (self.pulls.asks() && !self.pulls.can_ask()).then_some(NO_TOKEN);
        self.given.warning.send_if_modified(|reported| {
            let changed = std::mem::replace(reported, warning) != warning;
            match warning {
                Some(words) if changed => tracing::warn!("{words}"),
                None if changed => tracing::info!("pull requests are asked for"),
                _ => {}
            }
            changed
        });
    }

    /// Moves one batch of released events to the outbox in admission order and caches the
    /// languages that were fetched.
    async fn forward(&self, released: Released) -> Result<(), StoreError> {
        let Released { mut events, languages } = released;
        if events.is_empty() && languages.is_empty() {
            return Ok(());
        }
        events.sort_unstable_by_key(|released| released.event.admission);
        let events = self.hash_addresses(events).await?;
        self.count(&events);
        let now = self.given.clock.now();
        let commits: usize = events.iter().map(|one| commit_bytes(&one.event.facts)).sum();
        // Before the commit, because the events may be applied right after it.
        self.given.store.watermarks().grow_backlog(commits as u64);
        let committed = self.given.store.commit(move |batch| {
            let mut head = None;
            for (key, language) in &languages {
                repos::remember(batch, *key, language.as_deref(), now)?;
            }
            for ReleasedEvent { event, .. } in events {
                let entry = batch.next_number(ENTRIES)?;
                batch.put(&OutboxKey(entry), &encode_outbox(event.admission, &event.facts));
                batch.delete(&InboxKey(event.admission));
                head = Some(entry);
            }
            if commits > 0 {
                let bytes = i64::try_from(commits).unwrap_or(i64::MAX);
                batch.add(&MetaKey(BACKLOG.to_owned()), bytes)?;
            }
            fault::point("enrich.before_commit");
            Ok(head)
        });
        let head = committed.await?;
        fault::point("enrich.after_commit");
        if let Some(head) = head {
            self.given.store.watermarks().outbox.send_replace(head);
        }
        Ok(())
    }

    /// Hashes the addresses in the commits of pushes where the rules say so, on the blocking pool:
    /// thousands of pushes may leave at once.
    async fn hash_addresses(
        &self,
        mut events: Vec<ReleasedEvent>,
    ) -> Result<Vec<ReleasedEvent>, StoreError> {
        if events.iter().all(|released| released.event.facts.push.is_none()) {
            return Ok(events);
        }
        let privacy = Arc::clone(self.given.store.privacy());
        let hashed = blocking(move || {
            for push in events.iter_mut().filter_map(|one| one.event.facts.push.as_mut()) {
                if let Some(hashed) = privacy.hashed_commits(&push.commits) {
                    push.commits = hashed;
                }
            }
            events
        });
        Ok(hashed.await?)
    }

    fn count(&self, events: &[ReleasedEvent]) {
        let (now, wall) = (self.given.clock.instant(), self.given.clock.now());
        let mut reasons = Vec::new();
        for ReleasedEvent { event, reason } in events {
            let reason = match reason {
                ReleaseReason::AsItCame => continue,
                ReleaseReason::Enriched => None,
                ReleaseReason::Late => Some("late"),
                ReleaseReason::Gone => Some("gone"),
                ReleaseReason::Forbidden => Some("forbidden"),
                ReleaseReason::Full => Some("full"),
                ReleaseReason::NoToken => Some("no_token"),
            };
            if let Some(reason) = reason {
                metrics::EVENTS_UNENRICHED.add_for(reason, 1);
            } else {
                metrics::EVENTS_ENRICHED.add(1);
                metrics::ENRICH_SECONDS.record(now.saturating_duration_since(event.since));
            }
            reasons.push(reason);
        }
        if !reasons.is_empty() {
            self.given.recent.send_modify(|recent| {
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
