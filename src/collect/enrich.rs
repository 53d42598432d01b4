//! The second arrow: facts are added, and the event goes from the inbox to the outbox.
//!
//! What an event counts as is read from itself. Whether it is a developer's or a repository's
//! first of the day or year is claimed here, in the order of admission, in the same batch that
//! moves it. The inbox's row is all that is needed to begin again.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fault;
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::window::Timestamp;
use crate::store::firsts::claim_firsts;
use crate::store::keys::{BodyKey, InboxKey, Key as _, OutboxKey};
use crate::store::rows::{decode_inbox, encode_outbox};
use crate::store::{ENTRIES, Reader, Store, StoreError};

/// Events enriched at once.
const EVENTS: usize = 1_000;
/// Bytes of them at once.
const EVENT_BYTES: usize = 8 << 20;

/// An admitted event with what it says of itself.
struct Waiting {
    admission: u64,
    facts: Facts,
    /// When it happened, or was received when it does not say.
    happened_at: Timestamp,
    actor_id: Option<u64>,
    repo_id: Option<u64>,
}

/// Enriches what is admitted until `stop` is called.
pub async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut inbox = store.heads().inbox.subscribe();
    let mut done = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            grown = grown_beyond(&mut inbox, done) => grown?,
        }
        let head = *inbox.borrow();
        let waiting = store.read(move |reader| read(reader, done + 1)).await?;
        let Some(last) = waiting.last() else {
            done = head;
            continue;
        };
        done = last.admission;
        forward(&store, waiting).await?;
    }
}

async fn grown_beyond(inbox: &mut watch::Receiver<u64>, done: u64) -> anyhow::Result<()> {
    inbox.wait_for(|head| *head > done).await?;
    Ok(())
}

fn read(reader: Reader<'_>, from: u64) -> Result<Vec<Waiting>, StoreError> {
    let mut waiting = Vec::new();
    let mut bytes = 0;
    reader.scan(&InboxKey(from), |key, value| {
        let received_at = decode_inbox(key, value)?;
        let body = BodyKey(key.0);
        let missing = || StoreError::corrupt("bodies", &body.to_bytes());
        let raw = reader.get(&body)?.ok_or_else(missing)?;
        let text = std::str::from_utf8(&raw).map_err(|_| missing())?;
        let event = Event::read(text).map_err(|_| missing())?;
        waiting.push(Waiting {
            admission: key.0,
            facts: Facts::of(&event, received_at),
            happened_at: event.created_at.unwrap_or(received_at),
            actor_id: event.actor_id,
            repo_id: event.repo_id,
        });
        bytes += raw.len();
        Ok(waiting.len() < EVENTS && bytes < EVENT_BYTES)
    })?;
    Ok(waiting)
}

async fn forward(store: &Store, waiting: Vec<Waiting>) -> Result<(), StoreError> {
    let head = store
        .commit(move |batch| {
            let mut head = 0;
            for mut event in waiting {
                let flags = &mut event.facts.flags;
                let (actor, repo) = (event.actor_id, event.repo_id);
                claim_firsts(batch, flags, event.happened_at, actor, repo)?;
                head = batch.next_number(ENTRIES)?;
                batch.put(&OutboxKey(head), &encode_outbox(event.admission, &event.facts));
                batch.delete(&InboxKey(event.admission));
            }
            fault::point("enrich.before_commit");
            Ok(head)
        })
        .await?;
    fault::point("enrich.after_commit");
    store.heads().outbox.send_replace(head);
    Ok(())
}
