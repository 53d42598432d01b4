//! How the keys and values of each column family are shown.

mod ledger;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::super::families::Family;
use super::super::feeds::{FeedKey, FeedRow, OWN};
use super::super::gaps::GapKey;
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
use crate::model::event::EventId;
use crate::model::json;
use crate::model::kinds::KINDS;
use crate::model::position::{BusTag, Cursor};
use crate::model::window::{Day, Timestamp};

/// How the rows of a family are shown.
pub(super) struct FamilyFormat {
    pub(super) holds: &'static str,
    /// The number of characters at the front of a key's text that sort as its bytes do.
    pub(super) sorted: usize,
    /// The least key whose text has a prefix, when that is known.
    pub(super) start: fn(&str) -> Option<Vec<u8>>,
    pub(super) key: fn(&[u8]) -> Option<String>,
    pub(super) value: fn(&[u8], &[u8]) -> Option<Box<RawValue>>,
}

/// Characters of a date.
const DATE: usize = 10;

/// The format of a family.
pub(super) fn format_of(family: Family) -> FamilyFormat {
    let row = |holds, key, value| FamilyFormat { holds, sorted: 0, start: |_| None, key, value };
    let by_day =
        |holds, key, value| FamilyFormat { sorted: DATE, start: of_day, ..row(holds, key, value) };
    let by_name = |holds, key, value| FamilyFormat {
        sorted: usize::MAX,
        start: |prefix| Some(prefix.as_bytes().to_vec()),
        ..row(holds, key, value)
    };
    let numbered = |holds, value| FamilyFormat { start: of_number, ..row(holds, number, value) };
    match family {
        Family::Meta => by_name("the store's identity, and counters", name, meta),
        Family::Seen => by_day("events admitted, by the day they were received", seen, claim),
        Family::Applied => {
            by_day("events applied, by the day they were received", applied, nothing)
        }
        Family::Entities => {
            row("objects whose documents were seen, by period of ten days", entity, nothing)
        }
        Family::Feeds => by_name("feeds of what is on complete lists", name, feed),
        Family::Bodies => numbered("admitted events, as GitHub sent them", body),
        Family::Inbox => numbered("admitted events that wait for enrichment", inbox),
        Family::Outbox => numbered("enriched events that wait for the bus", outbox),
        Family::Repos => numbered("languages of repositories", repo),
        Family::Firsts => row("developers and repositories seen in a day or year", first, nothing),
        Family::Sizes => row("numbers of developers and repositories by day or year", size, count),
        Family::Buckets => FamilyFormat {
            sorted: DATE,
            start: |prefix| day_of(prefix).map(|day| seconds(day.start().second().0)),
            ..row("pull-request events by second and language", bucket, count)
        },
        Family::Hours => FamilyFormat {
            sorted: DATE,
            start: |prefix| day_of(prefix).map(|day| seconds(day.start().hour().0)),
            ..row("counts by hour", hour, count)
        },
        Family::Since => by_day("counts since the last query to TiDB", since, count),
        Family::History => by_day("figures of TiDB", history, count),
        Family::Journal => FamilyFormat {
            sorted: usize::MAX,
            start: of_cursor,
            ..row("applied events, by their position on the bus", journal, event)
        },
        Family::Minutes => row("the beginning of each minute in the journal", minute, minute_row),
        Family::Activity => {
            row("events by the time they were received, and type", activity, activity_row)
        }
        Family::Coverage => row("estimates of missed events, by time", coverage, coverage_row),
        Family::Audit => row("the audit: its state, and seen shares by hour", audit, audit_row),
        Family::Ledger => row("counts of repositories by day", ledger::key, ledger::value),
        Family::LedgerMonths => {
            row("counts of repositories by month", ledger::month_key, ledger::month_value)
        }
        Family::RepoNames => row("names of repositories", ledger::name_key, ledger::name_value),
        Family::Gaps => row("gaps of the bus", gap, gap_row),
        Family::Cursors => by_name("cursors of the stages and consumers", name, cursor),
        Family::Rejects => numbered("rejected input, with the reason", refused),
        Family::Dead => numbered("unreadable messages, with the reason", refused),
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

fn of_number(prefix: &str) -> Option<Vec<u8>> {
    prefix.parse::<u64>().ok().map(|number| number.to_be_bytes().to_vec())
}

fn of_cursor(prefix: &str) -> Option<Vec<u8>> {
    if let Ok(cursor) = prefix.parse::<Cursor>() {
        return Some(JournalKey { tag: cursor.tag, position: cursor.position }.to_bytes());
    }
    let tag = u32::from_str_radix(prefix.get(..8)?, 16).ok()?;
    Some(tag.to_be_bytes().to_vec())
}

fn name(key: &[u8]) -> Option<String> {
    MetaKey::decode(key).map(|key| key.0)
}

fn number(key: &[u8]) -> Option<String> {
    Some(u64::from_be_bytes(key.try_into().ok()?).to_string())
}

fn seen(key: &[u8]) -> Option<String> {
    let SeenKey { day, event } = SeenKey::decode(key)?;
    let id = match event.id {
        EventId::Number(number) => number.to_string(),
        EventId::Text(text) => text,
    };
    Some(format!("{day}/{id}/{}", event.kind))
}

fn applied(key: &[u8]) -> Option<String> {
    AppliedKey::decode(key).and_then(|key| seen(&key.0.to_bytes()))
}

fn entity(key: &[u8]) -> Option<String> {
    let EntityKey { period, id } = EntityKey::decode(key)?;
    Some(format!("{}/{}", Day(period.checked_mul(10)?), id))
}

fn of_scope(scope: Scope, period: i32) -> String {
    match scope {
        Scope::DeveloperDay => format!("developer_day/{}", Day(period)),
        Scope::DeveloperYear => format!("developer_year/{period}"),
        Scope::RepositoryYear => format!("repository_year/{period}"),
    }
}

fn first(key: &[u8]) -> Option<String> {
    let FirstKey { scope, period, id } = FirstKey::decode(key)?;
    Some(format!("{}/{id}", of_scope(scope, period)))
}

fn size(key: &[u8]) -> Option<String> {
    SizeKey::decode(key).map(|key| of_scope(key.scope, key.period))
}

fn bucket(key: &[u8]) -> Option<String> {
    let BucketKey { second, language } = BucketKey::decode(key)?;
    Some(format!("{}/{language}", second.start()))
}

fn audit(key: &[u8]) -> Option<String> {
    Some(match AuditKey::decode(key)? {
        AuditKey::State => "state".to_owned(),
        AuditKey::Hour(hour) => Timestamp::from_seconds(hour.0.checked_mul(3_600)?).to_string(),
    })
}

/// Rows of the audit are JSON; its state is too long to be shown.
fn audit_row(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    match AuditKey::decode(key)? {
        AuditKey::State => to_raw_value(&json!({ "bytes": value.len() })).ok(),
        AuditKey::Hour(_) => serde_json::from_slice(value).ok(),
    }
}

fn hour(key: &[u8]) -> Option<String> {
    let HourKey { hour, origin, metric } = HourKey::decode(key)?;
    let at = Timestamp::from_seconds(hour.0.checked_mul(3_600)?).to_string();
    Some(format!("{}/{}/{}", at.get(..13)?, origin.name(), metric.name()))
}

fn figure(HistoryFigure { day, metric }: HistoryFigure) -> String {
    format!("{day}/{}", metric.name())
}

fn since(key: &[u8]) -> Option<String> {
    SinceKey::decode(key).map(|key| figure(key.0))
}

fn history(key: &[u8]) -> Option<String> {
    HistoryKey::decode(key).map(|key| figure(key.0))
}

fn journal(key: &[u8]) -> Option<String> {
    let JournalKey { tag, position } = JournalKey::decode(key)?;
    Some(Cursor { tag, position }.to_string())
}

fn minute(key: &[u8]) -> Option<String> {
    let MinuteKey { tag: BusTag(tag), minute } = MinuteKey::decode(key)?;
    let at = Timestamp::from_seconds(minute.0.checked_mul(60)?).to_string();
    Some(format!("{tag:08x}/{}", at.get(..16)?))
}

fn span(span: Span, at: i64) -> Option<String> {
    let text = Timestamp::from_seconds(at.checked_mul(span.seconds())?).to_string();
    let (word, digits) = if span == Span::Minute { ("minute", 16) } else { ("hour", 13) };
    Some(format!("{word}/{}", text.get(..digits)?))
}

fn activity(key: &[u8]) -> Option<String> {
    ActivityKey::decode(key).and_then(|key| span(key.span, key.at))
}

fn coverage(key: &[u8]) -> Option<String> {
    CoverageKey::decode(key).and_then(|key| span(key.span, key.at))
}

fn activity_row(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let totals = Activity::decode(value)?.totals();
    let named = KINDS.iter().zip(totals).filter(|(_, n)| *n > 0);
    shown_as(&named.map(|(kind, n)| ((*kind).to_owned(), json!(n))).collect::<Map<_, _>>())
}

fn coverage_row(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let coverage = Coverage::decode(value)?;
    let missed = coverage.missed().map(|missed| [missed.low, missed.estimate, missed.high]);
    shown_as(&json!({
        "minutes_watched": coverage.watched,
        "minutes_known": coverage.known,
        "missed": missed,
        "lag_milliseconds": coverage.lag,
    }))
}

fn gap(key: &[u8]) -> Option<String> {
    let GapKey { tag, after, reason } = GapKey::decode(key)?;
    Some(format!("{}/{}", Cursor { tag, position: after }, reason.name()))
}

/// An event of the journal, as it is shown.
#[derive(Serialize)]
struct ShownEvent {
    facts: Value,
    event: Box<RawValue>,
}

fn shown_as(value: &impl Serialize) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

fn nothing(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    value.is_empty().then(|| shown_as(&Value::Null))?
}

/// A claim of an event, and which feed showed it when that was not the public one.
fn claim(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    if value == OWN { shown_as(&json!({ "feed": "own" })) } else { nothing(key, value) }
}

fn feed(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let row = FeedRow::decode(&FeedKey::decode(key)?, value).ok()?;
    shown_as(&row)
}

fn count(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    shown_as(&i64::from_be_bytes(value.try_into().ok()?))
}

/// A value is a counter, a text, or a few bytes.
fn meta(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(value).ok();
    let text = text.filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    match text {
        Some(text) => shown_as(&text),
        None => count(key, value).or_else(|| shown_as(&format!("0x{}", hex(value)))),
    }
}

/// JSON without white space; numbers keep all their digits.
fn raw(text: &[u8]) -> Option<Box<RawValue>> {
    let text = json::compact(std::str::from_utf8(text).ok()?);
    RawValue::from_string(text.to_string()).ok()
}

fn body(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    raw(value)
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
    })
}

fn inbox(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let received_at = decode_inbox(InboxKey::decode(key)?, value).ok()?;
    shown_as(&json!({ "received_at": received_at }))
}

fn outbox(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let row = decode_outbox(OutboxKey::decode(key)?, value).ok()?;
    shown_as(&json!({ "body": row.admission, "facts": facts(&row.facts) }))
}

fn repo(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let row = RepoRow::decode(RepoKey::decode(key)?, value).ok()?;
    shown_as(&json!({ "language": row.language, "as_of": row.as_of }))
}

fn event(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let row = decode_journal(&JournalKey::decode(key)?, value).ok()?;
    shown_as(&ShownEvent { facts: facts(&row.facts), event: raw(row.event.as_bytes())? })
}

fn minute_row(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let key = MinuteKey::decode(key)?;
    let row = MinuteRow::decode(&key, value).ok()?;
    let first = Cursor { tag: key.tag, position: row.first };
    shown_as(&json!({ "first": first.to_string(), "bytes": row.bytes }))
}

fn gap_row(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let key = GapKey::decode(key)?;
    let gap = super::super::gaps::decode(&key, value).ok()?;
    let until = Cursor { tag: key.tag, position: gap.until };
    let until = until.to_string();
    shown_as(&json!({ "until": until, "count": gap.count, "noticed_at": gap.noticed_at }))
}

fn cursor(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let CursorKey(name) = CursorKey::decode(key)?;
    let place = decode_cursor(&name, value).map(|cursor| cursor.to_string());
    shown_as(&place.unwrap_or_else(|_| format!("0x{}", hex(value))))
}

fn refused(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let refused = decode_rejected(value)?;
    shown_as(&json!({
        "at": refused.at,
        "reason": refused.reason,
        "cursor": refused.origin.map(|origin| origin.cursor),
        "whole": refused.whole,
        "text": String::from_utf8_lossy(&refused.text),
    }))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}
