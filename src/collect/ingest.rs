//! The first stage: admits the events of each poll once.
//!
//! Each poll is one batch. Each (type, id) is claimed in `seen`; new events get a body and a place
//! in the inbox, oldest first by (`created_at`, id). Entries that are not events are counted and
//! kept in the reject log. The next poll starts only when this one is on disk and the backlog is
//! within its limit: up to `store.outboxBytes` may lie between admission and journal.

use std::collections::BTreeSet;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use super::entries::{BrokenEntry, Entries};
use super::outage::{HeldPolls, PageEvent, PagesAfter};
use super::overlap;
use super::source::{EventSource, Poll};
use crate::clock::Clock;
use crate::lists::{LISTS, Lists, LiveList};
use crate::model::event::{EVENT_BYTES, Event, EventId, EventKey, InvalidEvent};
use crate::model::gap::Outage;
use crate::model::privacy::Privacy;
use crate::model::window::{Day, Timestamp};
use crate::store::feeds::{self, ListCounts, OWN};
use crate::store::keys::{BodyKey, InboxKey, MetaKey, SeenKey};
use crate::store::outages::PendingOutage;
use crate::store::retention::claimed;
use crate::store::rows::encode_inbox;
use crate::store::{ADMISSIONS, BACKLOG, Batch, Store, StoreError, outages, rejects};
use crate::sync::blocking;
use crate::{fault, metrics};

/// Maximum number of entries of one poll kept in the reject log; all of them are counted.
const REJECTS_A_POLL: usize = 50;

/// Configuration of ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Number of bytes between admission and journal at which polling pauses.
    pub backlog_bytes: u64,
    /// Number of pages of GitHub's feed that are followed.
    pub pages: u8,
    /// The lists whose events are counted.
    pub lists: Arc<Lists>,
    /// The clock that limits how long polls after an outage are held.
    pub clock: Clock,
}

/// How a poll is admitted.
#[derive(Debug, Clone, Default)]
pub struct IngestRules {
    /// The lists whose events are counted.
    pub lists: Arc<Lists>,
    /// Which feed showed the events.
    pub shown_by: ShownBy,
    /// Older events are passed over: their claims may have expired (`store.seenFor`), so they could
    /// be counted again.
    pub no_older_than: Option<Duration>,
}

/// A feed that showed an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShownBy {
    /// GitHub's public feed.
    #[default]
    Public,
    /// The feed of its repository, owner or actor. It says nothing about whether the public feed
    /// was read without a gap.
    Own,
}

/// The result of admitting a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Number of new events.
    pub new: u64,
    /// Number of events admitted before.
    pub known: u64,
    /// Number of entries that are not events.
    pub rejected: u64,
    /// New events that are left out.
    pub left_out: u64,
}

/// Admits the events of the source until the source ends or `stop` is cancelled.
pub async fn run(
    mut source: impl EventSource,
    store: Store,
    options: IngestOptions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lists = Arc::clone(&options.lists);
    let rules = IngestRules { lists, shown_by: ShownBy::Public, no_older_than: None };
    let mut polled = store.read(outages::polled).await?;
    let mut held: Option<HeldPolls> = None;
    loop {
        let deadline = held.as_ref().map(|held| held.deadline);
        let poll = tokio::select! {
            () = stop.cancelled() => return admit_held(&store, &rules, held).await,
            () = options.clock.sleep_until(deadline) => {
                admit_held(&store, &rules, held.take()).await?;
                continue;
            }
            poll = next(&mut source, &store, options.backlog_bytes) => poll?,
        };
        let outage_since = source.outage_since();
        polled = match source.polled_before() {
            // The source itself knows only its own polls.
            Some(before) => outage_since.max(Some(before)),
            None => outage_since.or(polled),
        };
        if let Some(held) = &mut held {
            held.push(poll);
        } else {
            let now = options.clock.instant();
            let first = match polled.take() {
                Some(since) => HeldPolls::hold(since, poll, now),
                None => Err(poll),
            };
            match first {
                Ok(first) => held = Some(first),
                Err(poll) => _ = admit_poll(&store, poll, None, &rules).await?,
            }
        }
        if held.as_ref().is_some_and(|held| held.is_complete(options.pages)) {
            admit_held(&store, &rules, held.take()).await?;
        }
    }
}

/// Admits the polls that were held after an outage.
async fn admit_held(
    store: &Store,
    rules: &IngestRules,
    held: Option<HeldPolls>,
) -> anyhow::Result<()> {
    if let Some(HeldPolls { poll, outage, .. }) = held {
        admit_poll(store, poll, Some(outage), rules).await?;
    }
    Ok(())
}

async fn next(source: &mut impl EventSource, store: &Store, limit: u64) -> anyhow::Result<Poll> {
    let mut backlog = store.watermarks().backlog.subscribe();
    if *backlog.borrow_and_update() > limit {
        let bytes = *backlog.borrow();
        tracing::warn!(bytes, limit, "fetching pauses: store.outboxBytes is reached");
        backlog.wait_for(|bytes| *bytes <= limit).await?;
        tracing::info!("polling resumed");
    }
    store.disk_space().wait().await;
    Ok(source.next_poll().await)
}

/// Admits one poll of the public feed. What the store's rules leave out is not even queued.
pub async fn admit(store: &Store, poll: Poll) -> Result<Admitted, StoreError> {
    admit_poll(store, poll, None, &IngestRules::default()).await
}

/// Admits one poll by these rules; it may be the first after an outage.
pub(super) async fn admit_poll(
    store: &Store,
    poll: Poll,
    outage: Option<Outage>,
    rules: &IngestRules,
) -> Result<Admitted, StoreError> {
    let (received_at, shown_by, pages) = (poll.received_at, rules.shown_by, poll.pages.len());
    let sorted = blocking({
        let (rules, privacy) = (rules.clone(), Arc::clone(store.privacy()));
        move || sort(&poll, &rules, &privacy)
    })
    .await?;
    metrics::EVENTS_FETCHED.add(sorted.candidates.len() as u64);
    if shown_by == ShownBy::Public
        && let Some(newest) = sorted.candidates.iter().map(|c| c.created_at).max()
    {
        metrics::FEED_LAG_SECONDS.set(received_at.since(newest).as_secs_f64());
    }
    let committed = store.commit(move |batch| {
        let result = claim(batch, &sorted, received_at, (shown_by, outage))?;
        if shown_by == ShownBy::Public {
            outages::keep_polled(batch, received_at);
        }
        fault::point("ingest.before_commit");
        Ok(result)
    });
    let Claimed { admitted, head, bytes } = committed.await?;
    fault::point("ingest.after_commit");
    if admitted.new > 0 {
        store.watermarks().grow_backlog(bytes);
        store.watermarks().inbox.send_replace(head);
    }
    metrics::EVENTS_ADMITTED.add(admitted.new);
    metrics::EVENTS_DUPLICATE.add(admitted.known);
    metrics::EVENTS_REJECTED.add(admitted.rejected);
    metrics::EVENTS_LEFT_OUT.add(admitted.left_out);
    let Admitted { new, known, rejected, left_out } = admitted;
    tracing::debug!(pages, ?shown_by, new, known, rejected, left_out, "poll admitted");
    Ok(admitted)
}

/// The result of claiming a batch.
struct Claimed {
    admitted: Admitted,
    /// The last admission.
    head: u64,
    /// Number of bytes admitted.
    bytes: u64,
}

struct Candidate {
    key: EventKey,
    created_at: Timestamp,
    /// The event's text, a part of its page as long as nothing in it is hashed.
    text: Bytes,
    is_left_out: bool,
    is_simulated: bool,
    /// The lists that it is on, by their index in [`Sorted::lists`].
    on: Vec<u8>,
}

#[derive(Default)]
struct Sorted {
    /// The lists whose events are counted.
    lists: Vec<Arc<LiveList>>,
    candidates: Vec<Candidate>,
    rejects: Vec<(String, Vec<u8>)>,
    rejected: u64,
    /// How many pages of the feed were read.
    pages: usize,
}

/// Collects the events on the pages, oldest first.
fn sort(poll: &Poll, rules: &IngestRules, privacy: &Privacy) -> Sorted {
    let pages: BTreeSet<u8> = poll.pages.iter().map(|page| page.number).collect();
    let lists = rules.lists.all();
    let mut sorted = Sorted { lists, pages: pages.len(), ..Sorted::default() };
    for page in &poll.pages {
        let entries = &page.entries;
        for entry in entries.iter() {
            sorted.take(entries, entry, poll.received_at, privacy);
        }
        let (count, broken) = entries.broken();
        for BrokenEntry { reason, text } in broken {
            let is_list = entries.is_list();
            let page = if is_list { String::new() } else { format!("page {} is ", page.number) };
            sorted.reject(format!("{page}{reason}"), text);
        }
        sorted.rejected += (count - broken.len()) as u64;
    }
    if let Some(span) = rules.no_older_than {
        let oldest = poll.received_at.minus(span);
        sorted.candidates.retain(|candidate| candidate.created_at >= oldest);
    }
    sorted
        .candidates
        .sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.key.id.cmp(&b.key.id)));
    sorted
}

impl Candidate {
    fn on_page(&self, is_new: bool) -> PageEvent {
        let sequence = overlap::sequence(&self.key.kind);
        let id = match self.key.id {
            EventId::Number(id) => id,
            EventId::Text(_) => {
                let mut hasher = Xxh3::new();
                self.key.hash(&mut hasher);
                hasher.finish()
            }
        };
        PageEvent { sequence, id, is_new }
    }
}

impl Sorted {
    /// Parses an entry of `page` as an event.
    fn take(&mut self, page: &Entries, text: &str, received_at: Timestamp, privacy: &Privacy) {
        if text.len() > EVENT_BYTES {
            let reason = InvalidEvent::TooLarge(text.len()).to_string();
            return self.reject(reason, text.as_bytes());
        }
        match Event::read(text) {
            Ok(event) => self.candidates.push(Candidate {
                on: self.lists_of(&event),
                created_at: event.created_at.unwrap_or(received_at),
                is_left_out: privacy.leaves_out(
                    event.actor_login.as_deref(),
                    event.org_login.as_deref(),
                    event.repo_name.as_deref(),
                ),
                is_simulated: page.is_simulated(),
                key: event.key,
                text: privacy.hashed(text).map_or_else(|| page.share(text), Bytes::from),
            }),
            Err(reason) => self.reject(reason.to_string(), text.as_bytes()),
        }
    }

    /// The lists that an event is on.
    fn lists_of(&self, event: &Event<'_>) -> Vec<u8> {
        if self.lists.is_empty() {
            return Vec::new();
        }
        let lower = |name: Option<&str>| name.map(str::to_ascii_lowercase);
        let repo = lower(event.repo_name.as_deref());
        let actor = lower(event.actor_login.as_deref());
        let holds = |list: &LiveList| list.holds(repo.as_deref(), actor.as_deref());
        const { assert!(LISTS <= 1 << u8::BITS) };
        let on = (0..=u8::MAX).zip(&self.lists).filter(|(_, list)| holds(list));
        on.map(|(at, _)| at).collect()
    }

    fn reject(&mut self, reason: String, text: &[u8]) {
        self.rejected += 1;
        if self.rejects.len() < REJECTS_A_POLL {
            self.rejects.push((reason, text.to_vec()));
        }
    }
}

/// Claims the events and builds the batch.
fn claim(
    batch: &mut Batch<'_>,
    sorted: &Sorted,
    received_at: Timestamp,
    (shown_by, outage): (ShownBy, Option<Outage>),
) -> Result<Claimed, StoreError> {
    let mut events = Vec::new();
    let mut counts = vec![ListCounts::default(); sorted.lists.len()];
    let mut admitted = Admitted { rejected: sorted.rejected, ..Admitted::default() };
    let (mut first, mut head, mut bytes) = (None, 0, 0_u64);
    // Looks at every stored day, whatever the clock says: after a jump of the clock an event must
    // not be admitted twice. A claim is stored under the day of receipt.
    let today = received_at.day().0;
    let days = batch.days_of_seen(today)?;
    for candidate in &sorted.candidates {
        let key_on = |day| SeenKey::new(Day(day), &candidate.key);
        let new = batch.claim_within(days.iter().copied(), today, key_on)?;
        if outage.is_some() {
            // That its own feed showed an event does not prove that the public one was read.
            let is_new = new || feeds::is_own(batch, &days, &candidate.key)?;
            events.push(candidate.on_page(is_new));
        }
        if new && shown_by == ShownBy::Own {
            batch.put(&key_on(today), OWN);
        }
        if !new {
            admitted.known += 1;
            continue;
        }
        if candidate.is_left_out {
            admitted.left_out += 1;
            continue;
        }
        head = batch.next_number(ADMISSIONS)?;
        let _ = first.get_or_insert(head);
        batch.put(&BodyKey(head), &candidate.text);
        batch.put(&InboxKey(head), &encode_inbox(received_at, candidate.is_simulated));
        bytes += candidate.text.len() as u64;
        admitted.new += 1;
        for list in &candidate.on {
            let counts = &mut counts[usize::from(*list)];
            counts.seen += 1;
            counts.filled += u64::from(shown_by == ShownBy::Own);
        }
    }
    if admitted.new + admitted.left_out > 0 {
        claimed::mark(batch, Day(today));
    }
    for (list, counts) in sorted.lists.iter().zip(counts) {
        counts.add(batch, list.name())?;
    }
    if bytes > 0 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        batch.add(&MetaKey(BACKLOG.to_owned()), bytes)?;
    }
    for (reason, text) in &sorted.rejects {
        rejects::keep(batch, received_at, reason, text)?;
    }
    if let Some((outage, before)) = outage.zip(first)
        && has_missed(batch, &events, sorted.pages)?
    {
        outages::keep_pending(batch, PendingOutage { outage, before })?;
    }
    Ok(Claimed { admitted, head, bytes })
}

/// Whether events were missed before those of the first polls after an outage, with this number of
/// pages.
fn has_missed(batch: &Batch<'_>, events: &[PageEvent], pages: usize) -> Result<bool, StoreError> {
    let shown = PagesAfter::of(events, pages);
    // Few stores have so few events, so they are counted only where it matters.
    Ok(shown.has_missed(false) && shown.has_missed(batch.has_seen_at_most(shown.known())?))
}

#[cfg(test)]
mod tests;
