//! How rows of the ledger are shown.

use serde_json::{Map, Value, json};

use super::super::super::keys::ledger::{LedgerKey, LedgerMonthKey, RepoNameKey};
use super::super::super::ledger::{decode_hours, decode_name, decode_owner};
use crate::model::ledger::{DaySlot, LedgerOrigin, SlotCounts, of_month_slot};

pub(super) fn key(key: LedgerKey) -> String {
    match key {
        LedgerKey::Repo(day, repo) => format!("{day}/{repo}"),
        LedgerKey::Language(day, language) => format!("language/{day}/{language}"),
        LedgerKey::All(day) => format!("all/{day}"),
        LedgerKey::Hours(day) => format!("hours/{day}"),
    }
}

pub(super) fn value(key: &LedgerKey, value: &[u8]) -> Option<Value> {
    if let LedgerKey::Hours(_) = key {
        let hours = decode_hours(key, Some(value)).ok()?;
        let listed = |bits: u32| (0..24).filter(|hour| bits & 1 << hour != 0).collect::<Vec<_>>();
        return Some(json!({
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
    Some(counts.into())
}

pub(super) fn month_key(LedgerMonthKey { month, repo }: LedgerMonthKey) -> String {
    format!("{month}/{repo}")
}

pub(super) fn month(value: &[u8]) -> Option<Value> {
    let mut counts = Map::new();
    SlotCounts::visit(value, |slot, n| {
        if let Some((day, metric)) = of_month_slot(slot) {
            counts.insert(format!("{day:02}/{}", metric.name()), json!(n));
        }
    })?;
    Some(counts.into())
}

pub(super) fn name_key(key: RepoNameKey) -> String {
    match key {
        RepoNameKey::Of(repo) => format!("id/{repo}"),
        RepoNameKey::Named(name) => format!("name/{name}"),
    }
}

pub(super) fn name(key: &RepoNameKey, value: &[u8]) -> Option<Value> {
    match key {
        RepoNameKey::Of(_) => decode_name(value).map(|(_, name)| name.into()),
        RepoNameKey::Named(_) => decode_owner(value).map(|(_, repo)| repo.into()),
    }
}
