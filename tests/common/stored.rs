//! Reads the content of a store that has no writer, and compares it with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ghpulse::clock::Clock;
use ghpulse::model::activity::Span;
use ghpulse::model::envelope::Facts;
use ghpulse::model::event::Event;
use ghpulse::model::event_index::EventIndex;
use ghpulse::model::kinds::column;
use ghpulse::model::ledger::{LedgerCounts, LedgerMetric};
use ghpulse::model::position::{BusTag, Position};
use ghpulse::model::window::{Day, Hour, Month, Second};
use ghpulse::store::keys::ledger::{LedgerKey, LedgerMonthKey};
use ghpulse::store::keys::{
    BodyKey, BucketKey, HourKey, HourMetric, HourSource, InboxKey, JournalKey, Key, MetaKey,
    OutboxKey, Scope, SizeKey,
};
use ghpulse::store::rows::decode_journal;
use ghpulse::store::{Durability, Store, read_count};
use serde_json::Value;
use tokio::process::Command;

use super::model::{Expected, as_sent, key_of};
use super::running::until_some;

/// Opens the store of an appliance that has ended in this process: a read that a client began may
/// hold it a moment longer.
pub async fn released(dir: &Path) -> Store {
    let open = async || Store::open(dir, Durability::EveryBatch, Clock::system()).ok();
    until_some("the store is released", open).await
}

/// Events in the journal, of any bus.
pub fn journal(dir: &Path) -> Vec<(Position, Facts, Value)> {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let start = JournalKey { tag: BusTag(0), position: Position::default() };
    let mut found = Vec::new();
    let read = |key: JournalKey, value: &[u8]| {
        let row = decode_journal(&key, value)?;
        // The stored selection fields equal those computed from the event.
        let head = EventIndex::of(&Event::read(row.event).unwrap(), &row.facts);
        assert_eq!(row.index(), Some(head), "{}", row.event);
        found.push((key.position, row.facts, serde_json::from_str(row.event).unwrap()));
        Ok(true)
    };
    store.reader().scan(&start, read).unwrap();
    found
}

/// Whether the store of a running process has nothing between admission and the topic. The topic
/// may bring an event back to readers before its row is deleted.
pub async fn is_relayed(dir: &Path) -> bool {
    for family in ["inbox", "outbox"] {
        let mut inspect = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
        inspect.args(["inspect", family, "--json", "--data"]).arg(dir);
        let rows = inspect.output().await.unwrap();
        if !rows.status.success() || !rows.stdout.is_empty() {
            return false;
        }
    }
    true
}

/// Panics with the differences unless the store holds exactly what the model expects.
pub fn assert_holds(dir: &Path, expected: &Expected) {
    let journal = journal(dir);
    let mut seen = BTreeMap::new();
    let mut activity: BTreeMap<(i64, usize), u64> = BTreeMap::new();
    for (position, facts, event) in journal {
        let column = column(event["type"].as_str().unwrap_or_default());
        *activity.entry((facts.received_at.minute().0, column)).or_default() += 1;
        let key = key_of(&event);
        let sent = expected.events.get(&key);
        let sent = sent.unwrap_or_else(|| panic!("{key:?} was never in the feed"));
        let event = as_sent(event, sent);
        assert!(&event == sent, "{key:?} was changed from {sent} to {event}");
        let doubled = seen.insert(key.clone(), facts);
        assert!(doubled.is_none(), "{key:?} was applied twice, again at {position:?}");
    }
    let missing: Vec<_> = expected.events.keys().filter(|key| !seen.contains_key(*key)).collect();
    assert!(missing.is_empty(), "{} events were lost: {missing:?}", missing.len());

    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let reader = store.reader();
    assert_eq!(rows::<InboxKey>(&store, &InboxKey(0)), 0, "the inbox is not empty");
    assert_eq!(rows::<OutboxKey>(&store, &OutboxKey(0)), 0, "the outbox is not empty");
    assert_eq!(rows::<BodyKey>(&store, &BodyKey(0)), 0, "bodies are left behind");
    let backlog = MetaKey(ghpulse::store::BACKLOG.to_owned());
    assert_eq!(reader.count(&backlog).unwrap(), 0, "the backlog is not counted down");
    assert_counts(&store, expected, &seen.into_values().collect::<Vec<_>>());
    assert_eq!(received(&store, Span::Minute), activity, "counts by minute and type");
    let mut hours = BTreeMap::new();
    for ((minute, column), count) in activity {
        *hours.entry((minute.div_euclid(60), column)).or_default() += count;
    }
    assert_eq!(received(&store, Span::Hour), hours, "counts by hour and type");
}

/// Panics unless the pull requests that were opened are counted as expected, whatever the journal
/// still has.
pub fn assert_opened(dir: &Path, expected: &Expected) {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    let first = HourKey {
        hour: Hour(i64::MIN),
        origin: HourSource::Live,
        metric: HourMetric::PullRequests,
    };
    let read = |key: HourKey, value: &[u8]| {
        if key.metric == HourMetric::Opened {
            *found.entry(key.hour.day().to_string()).or_default() += read_count(&key, value)?;
        }
        Ok(true)
    };
    store.reader().scan(&first, read).unwrap();
    let wanted = expected.days.iter().filter(|(_, day)| day.open > 0);
    let wanted: BTreeMap<_, _> = wanted.map(|(name, day)| (name.clone(), day.open)).collect();
    assert_eq!(found, wanted, "opened pull requests by day");
    assert!(!found.is_empty(), "the feed has pull requests");
}

/// Panics unless the counts of a store match the events in its journal. Returns the positions of
/// the events.
pub fn assert_agrees_with_itself(dir: &Path) -> BTreeSet<Position> {
    let journal = journal(dir);
    let texts: Vec<String> = journal.iter().map(|(_, _, event)| event.to_string()).collect();
    let expected = Expected::of(texts.iter().map(String::as_str));
    assert_eq!(expected.events.len(), journal.len(), "an event was applied twice");
    let facts: Vec<Facts> = journal.iter().map(|(_, facts, _)| facts.clone()).collect();
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    assert_counts(&store, &expected, &facts);
    journal.into_iter().map(|(position, ..)| position).collect()
}

fn assert_counts(store: &Store, expected: &Expected, facts: &[Facts]) {
    let reader = store.reader();
    let flag = |of: fn(&Facts) -> bool| facts.iter().filter(|facts| of(facts)).count();
    for (name, day) in &expected.days {
        let of = Day::parse(name).unwrap();
        let sum = |metric| {
            let first = of.start().hour().0;
            let key = |hour| HourKey { hour: Hour(hour), origin: HourSource::Live, metric };
            (first..first + 24).map(|hour| reader.count(&key(hour)).unwrap()).sum::<i64>()
        };
        let size = SizeKey { scope: Scope::DeveloperDay, period: of.0 };
        let found = (
            (sum(HourMetric::Opened), sum(HourMetric::Merged), sum(HourMetric::Closed)),
            (sum(HourMetric::Additions), sum(HourMetric::Deletions)),
            reader.count(&size).unwrap(),
        );
        let wanted = (
            (day.open, day.merge, day.close),
            (day.additions, day.deletions),
            i64::try_from(day.developers.len()).unwrap(),
        );
        assert_eq!(found, wanted, "counts of {name}");
    }
    for (name, year) in &expected.years {
        let size = |scope| {
            let key = SizeKey { scope, period: name.parse().unwrap() };
            usize::try_from(reader.count(&key).unwrap()).unwrap()
        };
        let found = (size(Scope::DeveloperYear), size(Scope::RepositoryYear));
        let wanted = (year.developers.len(), year.repositories.len());
        assert_eq!(found, wanted, "counts of {name}");
    }
    let firsts =
        |of: fn(&super::model::Year) -> usize| expected.years.values().map(of).sum::<usize>();
    let days: usize = expected.days.values().map(|day| day.developers.len()).sum();
    assert_eq!(flag(|facts| facts.flags.dev_day), days, "flags devDay");
    assert_eq!(flag(|facts| facts.flags.dev_year), firsts(|y| y.developers.len()), "flags devYear");
    assert_eq!(flag(|f| f.flags.repo_year), firsts(|y| y.repositories.len()), "flags repoYear");
    assert_eq!(languages(store), expected.languages, "counts by language");
    assert_ledger(store, expected);
}

/// Panics unless the ledger has each repository's days, and the sums of all.
pub fn assert_ledger(store: &Store, expected: &Expected) {
    let reader = store.reader();
    let mut sums: BTreeMap<Day, LedgerCounts> = BTreeMap::new();
    for ((repo, name), wanted) in &expected.ledger {
        let day = Day::parse(name).unwrap();
        let found = reader.ledger_of(*repo, day.0..day.0 + 1).unwrap();
        let counts = found.get(&day).copied().unwrap_or_default();
        sums.entry(day).or_default().add_all(&counts);
        let counts = LedgerMetric::ALL.map(|metric| (metric.name(), counts.get(metric)));
        let counts: BTreeMap<_, _> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(&counts, wanted, "the ledger of repository {repo} on {name}");
    }
    // Retention folds the days of months that are over at any time.
    let mut days = BTreeSet::new();
    let single = |key: LedgerKey, _: &[u8]| {
        if let LedgerKey::Repo(day, repo) = key {
            days.insert((repo, day));
        }
        Ok(true)
    };
    reader.scan(&LedgerKey::Repo(Day(i32::MIN), 0), single).unwrap();
    let mut months = Vec::new();
    let folded = |key: LedgerMonthKey, _: &[u8]| {
        months.push(key);
        Ok(true)
    };
    reader.scan(&LedgerMonthKey { month: Month(i32::MIN), repo: 0 }, folded).unwrap();
    for LedgerMonthKey { month, repo } in months {
        let first = month.first_day().0;
        let of_month = reader.ledger_of(repo, first..Month(month.0 + 1).first_day().0).unwrap();
        days.extend(of_month.into_keys().map(|day| (repo, day)));
    }
    assert_eq!(days.len(), expected.ledger.len(), "repositories' days in the ledger");
    for (day, wanted) in sums {
        let found = reader.ledger_sum(&LedgerKey::All(day), day).unwrap();
        assert_eq!(found, wanted, "the ledger of all on {day}");
    }
}

fn rows<K: Key>(store: &Store, from: &K) -> usize {
    let mut count = 0;
    let counting = |_: K, _: &[u8]| {
        count += 1;
        Ok(true)
    };
    store.reader().scan(from, counting).unwrap();
    count
}

/// Events by minute or hour of receipt, and by the column of their type.
fn received(store: &Store, span: Span) -> BTreeMap<(i64, usize), u64> {
    let rows = store.reader().activity(span, i64::MIN..i64::MAX).unwrap();
    let all = rows.into_iter().flat_map(|(at, row)| {
        let totals = row.totals().into_iter().enumerate();
        totals.filter(|(_, count)| *count > 0).map(move |(column, count)| ((at, column), count))
    });
    all.collect()
}

/// Panics unless the pull requests in the journal are counted by day, and by language only those
/// whose language is known.
pub fn assert_counted_as_known(dir: &Path) {
    let journal = journal(dir);
    let mut by_language: BTreeMap<String, i64> = BTreeMap::new();
    for (_, facts, _) in journal.iter().filter(|(_, facts, _)| facts.flags.pr) {
        if let Some(language) = &facts.language {
            *by_language.entry(language.clone()).or_default() += 1;
        }
    }
    let texts: Vec<String> = journal.iter().map(|(_, _, event)| event.to_string()).collect();
    assert_opened(dir, &Expected::of(texts.iter().map(String::as_str)));
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    assert_eq!(languages(&store), by_language, "counts by language");
}

fn languages(store: &Store) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    let first = BucketKey { second: Second(i64::MIN), language: String::new() };
    let adding = |key: BucketKey, value: &[u8]| {
        *found.entry(key.language.clone()).or_default() += read_count(&key, value)?;
        Ok(true)
    };
    store.reader().scan(&first, adding).unwrap();
    found
}
