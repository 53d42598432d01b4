//! How everything is, put together: `/status` as JSON, and as one screen of text for people.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::chores::Failing;
use super::renewed::RenewalState;
use crate::apply::aggregate::Apply;
use crate::clock::Clock;
use crate::clock::witness::{ClockVerdict, Witness};
use crate::collect::enrich::RecentShare;
use crate::collect::status::SourceStatus;
use crate::serve::{Part, is_ready};
use crate::store::Store;
use crate::terminal;

/// Pages, tokens and troubles that the screen has room for.
const ROWS: usize = 12;

/// What a figure is while GitHub is not read, or does not show what it should.
const UNKNOWN: &str = "unknown";

/// What the status is read from, beside the parts.
pub(super) struct Sight {
    pub(super) store: Store,
    /// What is told when an archive was taken in, and takes dead letters.
    pub(super) apply: Apply,
    pub(super) data_dir: PathBuf,
    pub(super) bus: &'static str,
    pub(super) node: String,
    pub(super) enriched: watch::Receiver<RecentShare>,
    pub(super) witness: Arc<Witness>,
    /// Files that were replaced by ones that cannot be used.
    pub(super) files: RenewalState,
    /// Backups and exports that fail.
    pub(super) failing: watch::Receiver<Failing>,
    pub(super) clock: Clock,
}

impl Sight {
    /// Everything as JSON.
    pub(super) fn json(
        &self,
        parts: &[Part],
        source: Option<&SourceStatus>,
        clients: usize,
    ) -> Value {
        json!({
            "ready": is_ready(parts),
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.node,
            "simulated": source.is_some_and(|source| source.simulated),
            "parts": parts,
            "source": source.map(source_json),
            "enrichment": source.map(|_| self.enriched.borrow().figures(self.clock.now())),
            "completeness": source
                .and_then(|source| source.completeness.as_deref())
                .map(|report| report.shown_at(self.witness.stamp())),
            "bus": {
                "kind": self.bus,
                "backlog_bytes": *self.store.watermarks().backlog.borrow(),
                "admitted": *self.store.watermarks().inbox.borrow(),
            },
            "clients": { "connections": clients },
            "disk": disk(&self.data_dir),
            "journal": journal_json(&self.store, self.clock),
            "clock": clock_json(&self.witness),
        })
    }
}

/// How much of the disk the journal takes, and how far back it reaches; `null` while it is empty.
fn journal_json(store: &Store, clock: Clock) -> Value {
    let reach = *store.watermarks().reach.borrow();
    let seconds = reach.oldest.map(|oldest| clock.now().since(oldest).as_secs());
    json!({ "bytes": reach.bytes, "reach_seconds": seconds })
}

/// Whether the clock is to be believed; `seconds_ahead` is `null` when no witness can say.
fn clock_json(witness: &Witness) -> Value {
    let verdict = witness.judge();
    let who = match verdict {
        ClockVerdict::Disagrees { who, .. } => Some(who.name()),
        ClockVerdict::Agrees | ClockVerdict::Unconfirmed => None,
    };
    json!({
        "state": verdict.name(),
        "seconds_ahead": verdict.seconds_ahead(),
        "witness": who,
        "last_retention_at": witness.last_pass(),
    })
}

fn source_json(source: &SourceStatus) -> Value {
    json!({
        "mode": source.mode.name(),
        "state": source.state.name(),
        "since": source.since,
        "tokens_usable": source.tokens_usable,
        "tokens_benched": source.tokens_quarantined,
        "accounts": source.accounts,
        "poll_interval_seconds": source.poll_interval.as_secs_f64(),
        "last_poll_at": source.last_poll_at,
        "next_poll_at": source.next_poll_at,
        "last_error": source.last_error.as_ref().map(|last| {
            json!({ "at": last.at, "message": last.message })
        }),
    })
}

fn disk(dir: &Path) -> Value {
    let Ok(disk) = rustix::fs::statvfs(dir) else { return Value::Null };
    json!({
        "free_bytes": disk.f_bavail.saturating_mul(disk.f_frsize),
        "all_bytes": disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}

/// One screen of what `/status` said as JSON. What is not there is left out.
#[must_use]
pub fn screen(status: &Value) -> String {
    let mut out = String::new();
    let ready = if status["ready"] == true { "ready" } else { "NOT READY" };
    let simulated = if status["simulated"] == true { ", simulated" } else { "" };
    // The public status leaves the node's name out.
    let on = status["node"].as_str().map(|node| format!(" on {node}")).unwrap_or_default();
    line(&mut out, "ghpulse", &format!("{}{on}: {ready}{simulated}", text(&status["version"])));
    for part in rows(&status["parts"]) {
        let error = part["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default();
        let state = format!("{} since {}{error}", text(&part["state"]), text(&part["since"]));
        line(&mut out, &text(&part["name"]), &state);
    }
    let source = &status["source"];
    if source.is_object() {
        let words = format!(
            "{}, {} usable, {} benched, of {}, a round every {} s, last answer {}",
            text(&source["mode"]),
            counted(&source["tokens_usable"], "token"),
            text(&source["tokens_benched"]),
            counted(&source["accounts"], "account"),
            number(&source["poll_interval_seconds"], 1),
            text(&source["last_poll_at"]),
        );
        line(&mut out, "following", &words);
    }
    enrichment(&mut out, &status["enrichment"]);
    completeness(&mut out, &status["completeness"]);
    let bus = &status["bus"];
    let words = format!(
        "{}, {} admitted, {} on their way",
        text(&bus["kind"]),
        text(&bus["admitted"]),
        bytes(&bus["backlog_bytes"])
    );
    line(&mut out, "way", &words);
    line(&mut out, "clients", &counted(&status["clients"]["connections"], "connection"));
    let journal = &status["journal"];
    if let Some(seconds) = journal["reach_seconds"].as_f64() {
        let hours = seconds / 3_600.0;
        let words = format!("{} on the disk, {hours:.1} hours back", bytes(&journal["bytes"]));
        line(&mut out, "journal", &words);
    }
    let disk = &status["disk"];
    let words = format!("{} free of {}", bytes(&disk["free_bytes"]), bytes(&disk["all_bytes"]));
    line(&mut out, "disk", &words);
    out
}

fn enrichment(out: &mut String, figures: &Value) {
    if !figures.is_object() {
        return;
    }
    let words = match figures["share"].as_f64() {
        None => "nothing lacked anything for ten minutes".to_owned(),
        Some(share) => {
            let reasons = figures["unenriched"].as_object().into_iter().flatten();
            let reasons: Vec<String> =
                reasons.map(|(reason, count)| format!("{} {reason}", text(count))).collect();
            let but = if reasons.is_empty() { String::new() } else { ", without: ".to_owned() };
            let (percent, enriched) = (share * 100.0, text(&figures["enriched"]));
            let reasons = reasons.join(", ");
            format!(
                "{percent:.1} % of what lacked something, {enriched} in ten minutes{but}{reasons}"
            )
        }
    };
    line(out, "enriched", &words);
}

fn completeness(out: &mut String, report: &Value) {
    if !report.is_object() {
        return;
    }
    let all = &report["all"];
    line(out, "events", &a_minute(&all["events_a_minute"]));
    line(out, "missed", &missed(all));
    let lag = &all["lag_seconds"];
    if lag.is_object() {
        let [p50, p90, max] = ["p50", "p90", "max"].map(|name| number(&lag[name], 1));
        line(out, "lag", &format!("p50 {p50} s, p90 {p90} s, longest {max} s"));
    }
    for page in rows(&report["pages"]) {
        let overlap = page["overlap"].as_f64().map_or_else(
            || "not read twice yet".to_owned(),
            |share| format!("{:.0} % in common with the read before", share * 100.0),
        );
        let words = format!(
            "{} events, {overlap}, new: {}, missed {}",
            text(&page["events"]),
            a_minute(&page["events_a_minute"]),
            missed(page),
        );
        line(out, &format!("page {}", text(&page["page"])), &words);
    }
    for token in rows(&report["tokens"]).filter(|token| token["token"] != 0) {
        let stale = if token["stale"] == true { "stale, rests" } else { "fresh" };
        let behind = number(&token["behind_seconds"], 1);
        let words = format!("{stale}, last page {behind} s behind the others'");
        line(out, &format!("token {}", text(&token["token"])), &words);
    }
    for trouble in rows(&report["troubles"]) {
        let words = format!("{} (since {})", text(&trouble["text"]), text(&trouble["since"]));
        line(out, "TROUBLE", &words);
    }
    line(out, "estimated", &text(&report["method"]));
}

fn a_minute(rate: &Value) -> String {
    if rate.is_null() { UNKNOWN.to_owned() } else { format!("{} a minute", number(rate, 0)) }
}

fn missed(figures: &Value) -> String {
    let shares = &figures["missed_share"];
    if !shares.is_array() {
        return UNKNOWN.to_owned();
    }
    let [low, share, high] =
        [0, 1, 2].map(|at| number(&json!(shares[at].as_f64().map(|share| share * 100.0)), 1));
    let count = number(&figures["missed"]["estimate"], 0);
    format!("{share} % ({low} to {high}), {count} events in ten minutes")
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter().take(ROWS)
}

fn line(out: &mut String, name: &str, words: &str) {
    // What others said goes to a terminal.
    let (name, words) = (terminal::plain(name), terminal::plain(words));
    writeln!(out, "{name:<10} {words}").expect("a string takes all");
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn counted(value: &Value, of: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {of}{plural}", text(value))
}

fn number(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn bytes(value: &Value) -> String {
    let Some(mut bytes) = value.as_f64() else { return "-".to_owned() };
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if bytes < 1_024.0 {
            return format!("{bytes:.0} {unit}");
        }
        bytes /= 1_024.0;
    }
    format!("{bytes:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::coverage::Completeness;
    use crate::collect::status::SourceMode;
    use crate::model::window::Timestamp;

    #[test]
    fn the_screen_names_parts_figures_and_troubles() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let mut source = SourceStatus::new(SourceMode::Tokens, now);
        let mut completeness = Completeness::new(3, now);
        let (report, _) = completeness.assess(now, |_| None);
        source.completeness = Some(std::sync::Arc::new(report));
        let status = json!({
            "ready": false,
            "node": "box\u{1b}[31m",
            "parts": [{"name": "bus\u{1b}]0;x\u{7}", "state": "down", "since": "2027", "error": "\u{202e}gone"}],
            "source": source_json(&source),
            "completeness": {
                "all": source.completeness.as_deref().unwrap().all,
                "pages": source.completeness.as_deref().unwrap().pages,
                "troubles": [{"text": "page 2 is empty", "since": "2027"}],
            },
            "enrichment": {"enriched": 97, "unenriched": {"gone": 1, "late": 2}, "share": 0.97},
            "disk": {"free_bytes": 3_221_225_472_u64},
        });
        let screen = screen(&status);
        for part in [
            "NOT READY",
            "bus]0;x    down since 2027: gone",
            "page 3",
            "missed     unknown",
            "events     unknown",
            "TROUBLE    page 2 is empty (since 2027)",
            "3 GiB free",
            "enriched   97.0 % of what lacked something, 97 in ten minutes, without: 1 gone, 2 late",
        ] {
            assert!(screen.contains(part), "{part} is not in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}') && screen.lines().count() <= 24, "{screen}");
        assert!(!super::screen(&Value::Null).is_empty());
    }
}
