//! Aggregates compared with plain recounts of the same events, over restarts, saves and errors.

mod scripts;
mod stage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::hub::{Hub, HubOptions};
use crate::lists::Lists;
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::position::Position;
use crate::model::window::{Minute, Timestamp};
use crate::store::Durability;
use crate::store::keys::{JournalKey, MinuteKey};
use crate::store::rows::MinuteRow;

const TAG: BusTag = BusTag(7);

/// An event that was received in a second.
#[derive(Debug, Clone)]
struct Received {
    at: i64,
    text: String,
}

/// An event of a type, by an actor, in a repository, in a language.
fn event(id: usize, at: i64, kind: &str, actor: &str, repo: &str, language: &str) -> Received {
    let number = |name: &str| xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 12;
    let text = json!({
        "id": id.to_string(), "type": kind,
        "actor": { "id": number(actor), "login": actor },
        "repo": { "id": number(repo), "name": repo },
        "payload": {
            "action": if kind == "WatchEvent" { "started" } else { "opened" },
            "pull_request": { "base": { "repo": { "language": language } } },
        },
    });
    Received { at, text: text.to_string() }
}

/// Appends events to the journal as the apply stage would, from this position on.
async fn journal(store: &Store, from: u64, events: &[Received]) {
    let events = events.to_vec();
    let put = store.commit(move |batch| {
        let mut minutes: BTreeMap<i64, Position> = BTreeMap::new();
        for (n, event) in (from..).zip(&events) {
            let position = Position::counted(n);
            let received_at = Timestamp::from_seconds(event.at);
            let facts = Facts::of(&Event::read(&event.text).unwrap(), received_at);
            let mut row = Vec::new();
            facts.encode(&mut row);
            row.extend_from_slice(event.text.as_bytes());
            batch.put(&JournalKey { tag: TAG, position }, &row);
            minutes.entry(event.at.div_euclid(60)).or_insert(position);
        }
        for (minute, first) in minutes {
            let key = MinuteKey { tag: TAG, minute: Minute(minute) };
            let stored = batch.get_as(&key, MinuteRow::decode)?;
            let first = stored.map_or(first, |row| row.first.min(first));
            batch.put(&key, &MinuteRow { first, bytes: 1 }.encode());
        }
        Ok(())
    });
    put.await.unwrap();
}

/// The stage without its task: tests call the beat.
struct Bench {
    state: CountingState,
    hub: Arc<Hub>,
    troubles: watch::Receiver<Vec<ScriptDiagnostic>>,
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap()
}

impl Bench {
    /// At a second that does not pass.
    async fn new(store: &Store, scripts: &Path, at: i64) -> Self {
        Self::with_lists(store, scripts, at, Arc::default()).await
    }

    /// The same with lists.
    async fn with_lists(store: &Store, scripts: &Path, at: i64, lists: Arc<Lists>) -> Self {
        let clock = Clock::starting_at(Timestamp::from_seconds(at));
        let hub = Arc::new(Hub::new(&HubOptions { lists, ..HubOptions::default() }, clock));
        let (sender, troubles) = watch::channel(Vec::new());
        let (store, scripts) = (store.clone(), scripts.to_owned());
        let tools =
            Aggregates { store, tag: TAG, hub: Arc::clone(&hub), scripts, clock, troubles: sender };
        let state = beside(move || CountingState::begin(tools).unwrap()).await;
        Self { state, hub, troubles }
    }

    /// Beats until everything is read.
    async fn settle(self) -> Self {
        let Self { mut state, hub, troubles } = self;
        state = beside(move || {
            // As if the last check were long ago.
            state.looked_at = Second(i64::MIN);
            while state.beat().unwrap() {}
            state
        })
        .await;
        Self { state, hub, troubles }
    }

    /// Advances the time by this much.
    fn at(&mut self, second: i64) {
        self.state.tools.clock = Clock::starting_at(Timestamp::from_seconds(second));
    }

    fn value(&self, name: &str) -> Value {
        let sheet = self.hub.aggregates.get(name).or_else(|| self.hub.rolling.get(name));
        let note = sheet.and_then(|sheet| sheet.snapshot());
        note.map_or(Value::Null, |note| serde_json::from_str(note.frame.body()).unwrap())
    }
}

async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
