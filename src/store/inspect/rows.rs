//! How the keys and values of each column family are shown.

mod ledger;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::super::error::hex;
use super::super::families::Family;
use super::super::feeds::{FeedKey, FeedRow, OWN};
use super::super::gaps::{self, GapKey};
use super::super::keys::activity::{ActivityKey, CoverageKey};
use super::super::keys::audit::AuditKey;
use super::super::keys::entity::EntityKey;
use super::super::keys::history::{HistoryFigure, HistoryKey, SinceKey};
use super::super::keys::{
    AppliedKey, BucketKey, CursorKey, FirstKey, HourKey, InboxKey, JournalKey, Key, MetaKey,
    MinuteKey, OutboxKey, RepoKey, Scope, SeenKey, SizeKey, day_bytes,
};
use super::super::repos::RepoRow;
use super::super::rows::{
    MinuteRow, decode_cursor, decode_inbox, decode_journal, decode_outbox, decode_rejected,
};
use crate::model::activity::{Activity, Coverage, Span};
use crate::model::envelope::Facts;
use crate::model::json;
use crate::model::kinds::KINDS;
use crate::model::position::{BusTag, Cursor};
use crate::model::window::{Day, Timestamp};

/// Shows a key; `None` when it does not decode.
type ShowKey = Box<dyn Fn(&[u8]) -> Option<String>>;
/// Shows the value of a key; `None` when one of them does not decode.
type ShowValue = Box<dyn Fn(&[u8], &[u8]) -> Option<Box<RawValue>>>;

/// How the rows of a family are shown.
pub(super) struct FamilyFormat {
    /// The number of characters at the front of a key's text that sort as its bytes do.
    pub(super) sorted: usize,
    /// The least key whose text has a prefix, when that is known.
    pub(super) start: fn(&str) -> Option<Vec<u8>>,
    pub(super) key: ShowKey,
    pub(super) value: ShowValue,
}

/// Characters of a date.
const DATE: usize = 10;

/// `show` returns a text, or `None` for a key that cannot be one of ours.
fn key<K: Key + 'static, T: Into<Option<String>> + 'static>(show: fn(K) -> T) -> ShowKey {
    Box::new(move |key| show(K::decode(key)?).into())
}

fn value<K: Key + 'static, V: Serialize + 'static>(show: fn(K, &[u8]) -> Option<V>) -> ShowValue {
    Box::new(move |key, value| to_raw_value(&show(K::decode(key)?, value)?).ok())
}

/// For values that are shown alike under all keys.
fn plain<V: Serialize + 'static>(show: fn(&[u8]) -> Option<V>) -> ShowValue {
    Box::new(move |_, value| to_raw_value(&show(value)?).ok())
}

/// The format of a family.
pub(super) fn format_of(family: Family) -> FamilyFormat {
    let row = |key, value| FamilyFormat { sorted: 0, start: |_| None, key, value };
    let by_day = |key, value| FamilyFormat { sorted: DATE, start: of_day, ..row(key, value) };
    let by_name = |value| FamilyFormat {
        sorted: usize::MAX,
        start: |prefix| Some(prefix.as_bytes().to_vec()),
        ..row(key(|MetaKey(name)| name), value)
    };
    let numbered = |value| FamilyFormat {
        start: |prefix| prefix.parse::<u64>().ok().map(|number| number.to_be_bytes().to_vec()),
        ..row(key(|InboxKey(number)| number.to_string()), value)
    };
    match family {
        Family::Meta => by_name(plain(|value| Some(meta(value)))),
        Family::Seen => by_day(key(seen), plain(claim)),
        Family::Applied => by_day(key(|AppliedKey(key)| seen(key)), plain(nothing)),
        Family::Entities => row(key(entity), plain(nothing)),
        Family::Feeds => by_name(value(|key: FeedKey, value| FeedRow::decode(&key, value).ok())),
        Family::Bodies => numbered(plain(raw)),
        Family::Inbox => numbered(value(inbox)),
        Family::Outbox => numbered(value(outbox)),
        Family::Repos => numbered(value(repo)),
        Family::Firsts => row(key(first), plain(nothing)),
        Family::Sizes => {
            row(key(|SizeKey { scope, period }| of_scope(scope, period)), plain(count))
        }
        Family::Buckets => FamilyFormat {
            sorted: DATE,
            start: |prefix| day_of(prefix).map(|day| seconds(day.start().second().0)),
            ..row(key(bucket), plain(count))
        },
        Family::Hours => FamilyFormat {
            sorted: DATE,
            start: |prefix| day_of(prefix).map(|day| seconds(day.start().hour().0)),
            ..row(key(hour), plain(count))
        },
        Family::Since => by_day(key(|SinceKey(of)| figure(of)), plain(count)),
        Family::History => by_day(key(|HistoryKey(of)| figure(of)), plain(count)),
        Family::Journal => {
            FamilyFormat { sorted: usize::MAX, start: of_cursor, ..row(key(journal), value(event)) }
        }
        Family::Minutes => row(key(minute), value(minute_row)),
        Family::Activity => row(key(|ActivityKey { span, at }| of_span(span, at)), plain(activity)),
        Family::Coverage => row(key(|CoverageKey { span, at }| of_span(span, at)), plain(coverage)),
        Family::Audit => row(key(audit), value(audit_row)),
        Family::Ledger => row(key(ledger::key), value(|key, value| ledger::value(&key, value))),
        Family::LedgerMonths => row(key(ledger::month_key), plain(ledger::month)),
        Family::RepoNames => {
            row(key(ledger::name_key), value(|key, value| ledger::name(&key, value)))
        }
        Family::Gaps => row(key(gap), value(gap_row)),
        Family::Cursors => by_name(value(|key, value| Some(cursor(key, value)))),
        Family::Rejects | Family::Dead => numbered(plain(refused)),
    }
}

fn day_of(prefix: &str) -> Option<Day> {
    Day::parse(prefix.get(..DATE)?)
}

fn of_day(prefix: &str) -> Option<Vec<u8>> {
    day_of(prefix).map(|day| day_bytes(day.0).to_vec())
}

fn seconds(at: i64) -> Vec<u8> {
    (at.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec()
}

fn of_cursor(prefix: &str) -> Option<Vec<u8>> {
    if let Ok(cursor) = prefix.parse::<Cursor>() {
        return Some(JournalKey { tag: cursor.tag, position: cursor.position }.to_bytes());
    }
    let tag = u32::from_str_radix(prefix.get(..8)?, 16).ok()?;
    Some(tag.to_be_bytes().to_vec())
}

fn seen(SeenKey { day, event }: SeenKey) -> String {
    format!("{day}/{}/{}", event.id, event.kind)
}

fn entity(EntityKey { period, id }: EntityKey) -> Option<String> {
    Some(format!("{}/{id}", Day(period.checked_mul(10)?)))
}

fn first(FirstKey { scope, period, id }: FirstKey) -> String {
    format!("{}/{id}", of_scope(scope, period))
}

fn of_scope(scope: Scope, period: i32) -> String {
    match scope {
        Scope::DeveloperDay => format!("developer_day/{}", Day(period)),
        Scope::DeveloperYear => format!("developer_year/{period}"),
        Scope::RepositoryYear => format!("repository_year/{period}"),
    }
}

fn bucket(BucketKey { second, language }: BucketKey) -> String {
    format!("{}/{language}", second.start())
}

fn journal(JournalKey { tag, position }: JournalKey) -> String {
    Cursor { tag, position }.to_string()
}

fn audit(key: AuditKey) -> Option<String> {
    Some(match key {
        AuditKey::State => "state".to_owned(),
        AuditKey::Hour(hour) => Timestamp::from_seconds(hour.0.checked_mul(3_600)?).to_string(),
    })
}

/// Rows of the audit are JSON; its state is too long to be shown.
fn audit_row(key: AuditKey, value: &[u8]) -> Option<Box<RawValue>> {
    match key {
        AuditKey::State => to_raw_value(&json!({ "bytes": value.len() })).ok(),
        AuditKey::Hour(_) => serde_json::from_slice(value).ok(),
    }
}

fn hour(HourKey { hour, origin, metric }: HourKey) -> Option<String> {
    let at = Timestamp::from_seconds(hour.0.checked_mul(3_600)?).to_string();
    Some(format!("{}/{}/{}", at.get(..13)?, origin.name(), metric.name()))
}

fn figure(HistoryFigure { day, metric }: HistoryFigure) -> String {
    format!("{day}/{}", metric.name())
}

fn minute(MinuteKey { tag: BusTag(tag), minute }: MinuteKey) -> Option<String> {
    let at = Timestamp::from_seconds(minute.0.checked_mul(60)?).to_string();
    Some(format!("{tag:08x}/{}", at.get(..16)?))
}

fn of_span(span: Span, at: i64) -> Option<String> {
    let text = Timestamp::from_seconds(at.checked_mul(span.seconds())?).to_string();
    let (word, digits) = if span == Span::Minute { ("minute", 16) } else { ("hour", 13) };
    Some(format!("{word}/{}", text.get(..digits)?))
}

fn activity(value: &[u8]) -> Option<Map<String, Value>> {
    let totals = Activity::decode(value)?.totals();
    let named = KINDS.iter().zip(totals).filter(|(_, n)| *n > 0);
    Some(named.map(|(kind, n)| ((*kind).to_owned(), json!(n))).collect())
}

fn coverage(value: &[u8]) -> Option<Value> {
    let coverage = Coverage::decode(value)?;
    let missed = coverage.missed().map(|missed| [missed.low, missed.estimate, missed.high]);
    Some(json!({
        "minutes_watched": coverage.watched,
        "minutes_known": coverage.known,
        "missed": missed,
        "lag_milliseconds": coverage.lag,
    }))
}

fn gap(GapKey { tag, after, reason }: GapKey) -> String {
    format!("{}/{}", Cursor { tag, position: after }, reason.name())
}

/// An event of the journal, as it is shown.
#[derive(Serialize)]
struct ShownEvent {
    facts: Value,
    event: Box<RawValue>,
}

fn nothing(value: &[u8]) -> Option<Value> {
    value.is_empty().then_some(Value::Null)
}

/// A claim of an event, and which feed showed it when that was not the public one.
fn claim(value: &[u8]) -> Option<Value> {
    if value == OWN { Some(json!({ "feed": "own" })) } else { nothing(value) }
}

fn count(value: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(value.try_into().ok()?))
}

/// A value is a counter, a text, or a few bytes.
fn meta(value: &[u8]) -> Value {
    let text = std::str::from_utf8(value).ok();
    let text = text.filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    let counter = || count(value).map(Value::from);
    let shown = text.map(Value::from).or_else(counter);
    shown.unwrap_or_else(|| format!("0x{}", hex(value)).into())
}

/// JSON without white space; numbers keep all their digits.
fn raw(text: &[u8]) -> Option<Box<RawValue>> {
    let text = json::compact(std::str::from_utf8(text).ok()?);
    RawValue::from_string(text.to_string()).ok()
}

fn facts(facts: &Facts) -> Value {
    json!({
        "received_at": facts.received_at,
        "flags": facts.flags.named().into_iter().filter(|(_, set)| *set)
            .map(|(name, _)| name).collect::<Vec<_>>(),
        "enriched": facts.enriched,
        "language": facts.language,
        "additions": facts.additions,
        "deletions": facts.deletions,
        "simulated": facts.simulated,
    })
}

fn inbox(key: InboxKey, value: &[u8]) -> Option<Value> {
    let (received_at, simulated) = decode_inbox(key, value).ok()?;
    Some(json!({ "received_at": received_at, "simulated": simulated }))
}

fn outbox(key: OutboxKey, value: &[u8]) -> Option<Value> {
    let row = decode_outbox(key, value).ok()?;
    Some(json!({ "body": row.admission, "facts": facts(&row.facts) }))
}

fn repo(key: RepoKey, value: &[u8]) -> Option<Value> {
    let row = RepoRow::decode(&key, value).ok()?;
    Some(json!({ "language": row.language, "as_of": row.as_of }))
}

fn event(key: JournalKey, value: &[u8]) -> Option<ShownEvent> {
    let row = decode_journal(&key, value).ok()?;
    Some(ShownEvent { facts: facts(&row.facts), event: raw(row.event.as_bytes())? })
}

fn minute_row(key: MinuteKey, value: &[u8]) -> Option<Value> {
    let row = MinuteRow::decode(&key, value).ok()?;
    let first = Cursor { tag: key.tag, position: row.first };
    Some(json!({ "first": first.to_string(), "bytes": row.bytes }))
}

fn gap_row(key: GapKey, value: &[u8]) -> Option<Value> {
    let gap = gaps::decode(&key, value).ok()?;
    let until = Cursor { tag: key.tag, position: gap.until }.to_string();
    Some(json!({ "until": until, "count": gap.count, "noticed_at": gap.noticed_at }))
}

fn cursor(CursorKey(name): CursorKey, value: &[u8]) -> String {
    let place = decode_cursor(&name, value).map(|cursor| cursor.to_string());
    place.unwrap_or_else(|_| format!("0x{}", hex(value)))
}

fn refused(value: &[u8]) -> Option<Value> {
    let refused = decode_rejected(value)?;
    Some(json!({
        "at": refused.at,
        "reason": refused.reason,
        "cursor": refused.origin.map(|origin| origin.cursor),
        "whole": refused.whole,
        "text": String::from_utf8_lossy(&refused.text),
    }))
}
