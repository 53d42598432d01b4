//! The second arrow: facts are added, and the event goes from the inbox to the outbox.
//!
//! What an event counts as is read from itself. What GitHub left out of a pull request is asked
//! for; an event that lacks something waits for it, the others pass it by. Those of one poll that
//! wait leave in their order, so each waits for the older ones too. It never waits longer than
//! `github.enrich.deadline`, and what comes later only fills the cache of languages. Whether
//! an event is a developer's or a repository's first of the day or year is not claimed here but
//! where it is applied. The inbox's row stays until the event moves and is all that is needed to
//! begin again: a crash while events wait loses nothing.

mod asker;
mod desk;
mod forbidden;
mod line;
mod read;
mod share;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::asker::{Asker, Flight};
pub use self::asker::{Lookup, LookupOptions};
use self::desk::{Desk, Leaving, Ready};
use self::read::{Reading, Taught, read};
pub use self::share::Recent;
use crate::clock::Clock;
use crate::store::keys::{InboxKey, OutboxKey};
use crate::store::repos;
use crate::store::rows::encode_outbox;
use crate::store::{ENTRIES, Store, StoreError};
use crate::{fault, metrics};

/// Without anything to wait for, it is looked so often whether tokens have come back.
const IDLE: Duration = Duration::from_secs(30);

/// What is said while events go on without what they lack; `None` when they need not.
pub type Complaint = Option<&'static str>;
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
    pub complaint: watch::Sender<Complaint>,
    /// Counts what went on with what it lacked, and what without.
    pub recent: watch::Sender<Recent>,
    /// What time it is.
    pub clock: Clock,
}

impl Enrich {
    /// Enriches with nobody to ask.
    #[must_use]
    pub fn without_asking(store: Store, clock: Clock) -> Self {
        let (complaint, recent) = (watch::Sender::default(), watch::Sender::default());
        Self { store, lookup: None, complaint, recent, clock }
    }

    /// Enriches what is admitted until `stop` is called.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let asker = self.lookup.map(|lookup| Asker::new(lookup, self.clock));
        let (store, complaint, clock) = (self.store, self.complaint, self.clock);
        let (desk, recent) = (Desk::default(), self.recent);
        let stage = Stage { store, complaint, recent, clock, desk, asker };
        stage.enrich(stop).await
    }
}

struct Stage {
    store: Store,
    complaint: watch::Sender<Complaint>,
    recent: watch::Sender<Recent>,
    clock: Clock,
    desk: Desk,
    asker: Option<Asker>,
}

/// Why the stage woke.
enum Woken {
    Grown,
    Landed(Box<Flight>),
    InTime,
}

impl Stage {
    async fn enrich(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut inbox = self.store.watermarks().inbox.subscribe();
        let mut done = 0;
        let mut again = None;
        loop {
            let wake = [self.desk.next_deadline(), again].into_iter().flatten().min();
            let now = self.clock.instant();
            let wait = wake.map_or(IDLE, |wake| wake.saturating_duration_since(now));
            let woken = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                grown = grown_beyond(&mut inbox, done) => {
                    grown?;
                    Woken::Grown
                }
                flight = landed(&mut self.asker) => match flight? {
                    Some(flight) => Woken::Landed(Box::new(flight)),
                    None => Woken::InTime,
                },
                () = self.clock.sleep(wait) => Woken::InTime,
            };
            let mut ready = Vec::new();
            let mut taught = Vec::new();
            let mut holding = false;
            match woken {
                Woken::Grown => {
                    let head = *inbox.borrow();
                    let now = (self.clock.now(), self.clock.instant());
                    let reading =
                        self.store.read(move |reader| read(reader, done + 1, now)).await?;
                    done = reading.events.last().map_or(head, |(event, _)| event.admission);
                    holding = self.admit(reading, &mut ready, &mut taught);
                }
                Woken::Landed(flight) => self.take_in(&flight, &mut ready, &mut taught),
                Woken::InTime => {}
            }
            let now = self.clock.instant();
            ready.extend(self.desk.expire(now));
            if self.desk.next_deadline().is_some() && !self.can_ask() {
                ready.extend(self.desk.release());
            }
            self.tell();
            self.forward(ready, taught).await?;
            if holding {
                fault::point("enrich.waiting");
            }
            again = self.asker.as_mut().and_then(|asker| asker.launch(&mut self.desk));
        }
    }

    fn can_ask(&self) -> bool {
        self.asker.as_ref().is_some_and(Asker::can_ask)
    }

    /// Lets those wait that lack something, the others go on; whether any waits.
    fn admit(
        &mut self,
        reading: Reading,
        ready: &mut Vec<Ready>,
        taught: &mut Vec<Taught>,
    ) -> bool {
        taught.extend(reading.taught);
        let now = self.clock.instant();
        let can_ask = self.can_ask();
        let mut holding = false;
        for (event, wanted) in reading.events {
            let (Some(wanted), Some(asker)) = (wanted, &self.asker) else {
                ready.push(Ready { event, leaving: Leaving::AsItCame });
                continue;
            };
            if !can_ask {
                ready.push(Ready { event, leaving: Leaving::NoToken });
                continue;
            }
            let deadline = event.since + asker.lookup.deadline;
            let leave = self.desk.hold(event, wanted, deadline, now);
            holding |= leave.is_empty();
            ready.extend(leave);
        }
        holding
    }

    fn take_in(&mut self, flight: &Flight, ready: &mut Vec<Ready>, taught: &mut Vec<Taught>) {
        let Some(asker) = &mut self.asker else { return };
        let now = self.clock.instant();
        let Some(found) = asker.conclude(flight) else {
            for wanted in &flight.wanted {
                ready.extend(self.desk.put_back(wanted, false));
            }
            return;
        };
        for (wanted, found) in flight.wanted.iter().zip(&found) {
            let (leaving, learnt) = self.desk.answered(wanted, found, now);
            ready.extend(leaving);
            taught.extend(learnt);
        }
    }

    fn tell(&self) {
        let complaint = (self.asker.is_some() && !self.can_ask()).then_some(NO_TOKEN);
        self.complaint.send_if_modified(|said| {
            let changed = *said != complaint;
            if changed {
                if let Some(words) = complaint {
                    tracing::warn!("{words}");
                } else {
                    tracing::info!("pull requests are asked for");
                }
                *said = complaint;
            }
            changed
        });
    }

    /// Moves events on, in the order of admission, and keeps what was learnt; one batch.
    async fn forward(&self, mut ready: Vec<Ready>, taught: Vec<Taught>) -> Result<(), StoreError> {
        if ready.is_empty() && taught.is_empty() {
            return Ok(());
        }
        ready.sort_unstable_by_key(|ready| ready.event.admission);
        self.count(&ready);
        let now = self.clock.now();
        let committed = self.store.commit(move |batch| {
            let mut head = None;
            for (key, language) in &taught {
                repos::remember(batch, *key, language.as_deref(), now)?;
            }
            for Ready { event, .. } in ready {
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

    fn count(&self, ready: &[Ready]) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        let mut reasons = Vec::new();
        for Ready { event, leaving } in ready {
            let reason = match leaving {
                Leaving::AsItCame => continue,
                Leaving::Enriched => {
                    metrics::EVENTS_ENRICHED.add(1);
                    metrics::ENRICH_SECONDS.record(now.saturating_duration_since(event.since));
                    reasons.push(None);
                    continue;
                }
                Leaving::Late => "late",
                Leaving::Gone => "gone",
                Leaving::Forbidden => "forbidden",
                Leaving::Full => "full",
                Leaving::NoToken => "no_token",
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

async fn landed(asker: &mut Option<Asker>) -> anyhow::Result<Option<Flight>> {
    match asker {
        Some(asker) => asker.landed().await,
        None => std::future::pending().await,
    }
}
