//! How rows of the ledger are shown.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, json};

use super::super::super::keys::Key as _;
use super::super::super::keys::ledger::{LedgerKey, LedgerMonthKey, RepoNameKey};
use super::super::super::ledger::{decode_hours, decode_name, decode_owner};
use crate::model::ledger::{DaySlot, LedgerOrigin, SlotCounts, of_month_slot};

pub(super) fn key(key: &[u8]) -> Option<String> {
    Some(match LedgerKey::decode(key)? {
        LedgerKey::Repo(day, repo) => format!("{day}/{repo}"),
        LedgerKey::Language(day, language) => format!("language/{day}/{language}"),
        LedgerKey::All(day) => format!("all/{day}"),
        LedgerKey::Hours(day) => format!("hours/{day}"),
    })
}

pub(super) fn value(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let key = LedgerKey::decode(key)?;
    if let LedgerKey::Hours(_) = key {
        let hours = decode_hours(&key, Some(value)).ok()?;
        let listed = |bits: u32| (0..24).filter(|hour| bits & 1 << hour != 0).collect::<Vec<_>>();
        return shown(&json!({
            "imported": listed(hours.imported),
            "final": listed(hours.folded),
            "filled": hours.is_filled,
        }));
    }
    let mut counts = Map::new();
    SlotCounts::visit(value, |slot, n| {
        if let Some(DaySlot { origin, hour, metric }) = DaySlot::of_number(slot) {
            let origin = match origin {
                LedgerOrigin::Live => "live",
                LedgerOrigin::Archive => "archive",
                LedgerOrigin::Database => "database",
            };
            counts.insert(format!("{hour:02}/{origin}/{}", metric.name()), json!(n));
        }
    })?;
    shown(&counts)
}

pub(super) fn month_key(key: &[u8]) -> Option<String> {
    LedgerMonthKey::decode(key).map(|key| format!("{}/{}", key.month, key.repo))
}

pub(super) fn month_value(_: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    let mut counts = Map::new();
    SlotCounts::visit(value, |slot, n| {
        if let Some((day, metric)) = of_month_slot(slot) {
            counts.insert(format!("{day:02}/{}", metric.name()), json!(n));
        }
    })?;
    shown(&counts)
}

pub(super) fn name_key(key: &[u8]) -> Option<String> {
    Some(match RepoNameKey::decode(key)? {
        RepoNameKey::Of(repo) => format!("id/{repo}"),
        RepoNameKey::Named(name) => format!("name/{name}"),
    })
}

pub(super) fn name_value(key: &[u8], value: &[u8]) -> Option<Box<RawValue>> {
    match RepoNameKey::decode(key)? {
        RepoNameKey::Of(_) => shown(&decode_name(value)?.1),
        RepoNameKey::Named(_) => shown(&decode_owner(value)?.1),
    }
}

fn shown(value: &impl Serialize) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}
