//! The columns, and how an event fills them.

use std::borrow::Cow;

use bytes::Bytes;
use parquet::data_type::ByteArray;

use crate::model::event::{Event, PULL_REQUEST, PullRequest};
use crate::model::json;
use crate::model::window::Timestamp;

/// The schema of a file. `payload` and `other` are JSON text.
pub(super) const SCHEMA: &str = "message event {
    required binary id (STRING);
    optional binary type (STRING);
    optional int64 created_at (TIMESTAMP(MICROS,true));
    optional boolean public;
    optional int64 actor_id;
    optional binary actor_login (STRING);
    optional int64 repo_id;
    optional binary repo_name (STRING);
    optional int64 org_id;
    optional binary org_login (STRING);
    optional binary action (STRING);
    optional int64 number;
    optional binary ref (STRING);
    optional binary ref_type (STRING);
    optional boolean merged;
    optional binary language (STRING);
    optional int64 additions;
    optional int64 deletions;
    optional binary payload (JSON);
    optional binary other (JSON);
}";

/// The columns that identify an event.
pub(super) const KEY_SCHEMA: &str = "message event {
    required binary id (STRING);
    optional binary type (STRING);
}";

/// Columns whose texts differ from row to row.
pub(super) const TEXTS_THAT_DIFFER: [&str; 3] = ["id", "payload", "other"];

/// Number of columns.
const COLUMNS: usize = 20;

/// Where the values are that [`Event`] does not have, in the order in which [`EventColumns::add`]
/// uses them.
const PATHS: [&[&str]; 8] = [
    &["public"],
    &["org", "id"],
    &["payload", "action"],
    &["payload", "number"],
    &["payload", "issue", "number"],
    &["payload", "pull_request", "number"],
    &["payload", "ref"],
    &["payload", "ref_type"],
];

/// Values of one column; of the rows that have one.
pub(super) enum ColumnValues {
    Flags(Vec<bool>),
    Numbers(Vec<i64>),
    Texts(Vec<ByteArray>),
}

/// A value of one row.
enum ColumnValue {
    Flag(Option<bool>),
    Number(Option<i64>),
    Text(Option<Bytes>),
}

/// Rows of a row group, by column.
#[derive(Default)]
pub(super) struct EventColumns {
    /// The values, and for each row 1 when it has one and 0 when it is null.
    columns: Vec<(ColumnValues, Vec<i16>)>,
    rows: usize,
    bytes: usize,
}

impl EventColumns {
    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of their texts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns in the order of the schema.
    pub(super) fn into_columns(self) -> Vec<(ColumnValues, Vec<i16>)> {
        self.columns
    }

    /// Adds an event as a row.
    pub(super) fn add(&mut self, event: &Event<'_>) {
        let values = values_of(event);
        if self.columns.is_empty() {
            self.columns = values.iter().map(|value| (value.column(), Vec::new())).collect();
        }
        self.rows += 1;
        self.bytes += event.text.len();
        for ((column, present), value) in self.columns.iter_mut().zip(values) {
            let is_there = match (column, value) {
                (ColumnValues::Flags(all), ColumnValue::Flag(Some(flag))) => {
                    all.push(flag);
                    true
                }
                (ColumnValues::Numbers(all), ColumnValue::Number(Some(number))) => {
                    all.push(number);
                    true
                }
                (ColumnValues::Texts(all), ColumnValue::Text(Some(text))) => {
                    all.push(ByteArray::from(text));
                    true
                }
                _ => false,
            };
            present.push(i16::from(is_there));
        }
    }
}

impl ColumnValue {
    /// An empty column for values like this one.
    fn column(&self) -> ColumnValues {
        match self {
            Self::Flag(_) => ColumnValues::Flags(Vec::new()),
            Self::Number(_) => ColumnValues::Numbers(Vec::new()),
            Self::Text(_) => ColumnValues::Texts(Vec::new()),
        }
    }
}

/// The values of a row, in the order of [`SCHEMA`].
fn values_of(event: &Event<'_>) -> [ColumnValue; COLUMNS] {
    // One copy of the event, which its texts are slices of.
    let whole = Bytes::copy_from_slice(event.text.as_bytes());
    let slice = |text: &str| match json::offset_in(event.text, text) {
        Some(at) => whole.slice(at..at + text.len()),
        None => Bytes::copy_from_slice(text.as_bytes()),
    };
    let text = |text: Option<Cow<'_, str>>| ColumnValue::Text(text.map(|text| slice(&text)));
    let number = |number: Option<u64>| ColumnValue::Number(number.and_then(|n| n.try_into().ok()));
    let found = json::find(event.text, PATHS).values;
    let [public, org_id, action, own, issue, pull, name, ref_type] = found;
    let request = event.pull_request();
    let request = request.as_ref();
    let kind = &event.key.kind;
    [
        ColumnValue::Text(Some(Bytes::from(event.key.id.to_string()))),
        text(Some(Cow::Borrowed(kind.as_str())).filter(|kind| !kind.is_empty())),
        ColumnValue::Number(event.created_at.map(Timestamp::micros)),
        ColumnValue::Flag(public.and_then(|public| public.parse().ok())),
        number(event.actor_id),
        text(event.actor_login.clone()),
        number(event.repo_id),
        text(event.repo_name.clone()),
        number(org_id.and_then(json::whole)),
        text(event.org_login.clone()),
        text(action.and_then(json::text)),
        number([own, pull, issue].into_iter().flatten().find_map(json::whole)),
        text(name.and_then(json::text)),
        text(ref_type.and_then(json::text)),
        ColumnValue::Flag(request.filter(|_| *kind == PULL_REQUEST).map(PullRequest::is_merge)),
        text(request.and_then(|pull| pull.language.clone())),
        number(request.and_then(|pull| pull.additions)),
        number(request.and_then(|pull| pull.deletions)),
        text(event.payload.map(Cow::Borrowed)),
        text(other(event).map(Cow::Owned)),
    ]
}

/// A JSON object of the members that no column has to the letter; `None` when there are none.
fn other(event: &Event<'_>) -> Option<String> {
    let Ok(members) = json::members(event.text) else { return Some(event.text.to_owned()) };
    let repeats =
        |name: &[u8]| members.iter().filter(|(known, _)| **known == *name).nth(1).is_some();
    let mut out = String::new();
    for (name, value) in &members {
        // Few names have a column, so this is linear in the number of members.
        if has_column(event, name, value) && !repeats(name) {
            continue;
        }
        // A name with an unpaired surrogate can only be written as the event has it.
        let Ok(name) = std::str::from_utf8(name) else { return Some(event.text.to_owned()) };
        out.push(if out.is_empty() { '{' } else { ',' });
        json::push_text(&mut out, name);
        out.push(':');
        out.push_str(value);
    }
    if out.is_empty() {
        return None;
    }
    out.push('}');
    Some(out)
}

/// Whether a member of an event can be made again from its column.
fn has_column(event: &Event<'_>, name: &[u8], value: &str) -> bool {
    let is_text = |wanted: &str| json::text(value).is_some_and(|text| text == wanted);
    match name {
        b"id" => is_text(&event.key.id.to_string()),
        b"type" => is_text(&event.key.kind) && !event.key.kind.is_empty(),
        b"created_at" => event.created_at.is_some_and(|at| is_text(&at.to_string())),
        b"public" => matches!(value, "true" | "false"),
        b"payload" => true,
        _ => false,
    }
}
