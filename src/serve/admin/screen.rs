//! The status as one screen of text, for `ghpulse status` and the page `/status`.

use std::fmt::{Display, Write as _};

use super::report::{SourceReport, Status};
use crate::model::coverage::{Enriched, Figures, Report};
use crate::terminal;

/// Most pages, tokens and troubles to list.
const ROWS: usize = 12;

/// Shown for a figure while GitHub is not polled, or hides the data it is computed from.
const UNKNOWN: &str = "unknown";

impl Status {
    /// Renders the status as text, one fact per line, without terminal control characters.
    #[must_use]
    pub fn screen(&self) -> String {
        let mut out = Screen::default();
        let ready = if self.ready { "ready" } else { "NOT READY" };
        let simulated = if self.simulated { ", simulated" } else { "" };
        let on = self.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        out.line("ghpulse", format_args!("{}{on}: {ready}{simulated}", self.version));
        for part in &self.parts {
            let error = part.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
            let (state, since) = (part.state.name(), part.since);
            out.line(&part.name, format_args!("{state} since {since}{error}"));
        }
        if let Some(source) = &self.source {
            out.polling(source);
        }
        if let Some(enriched) = &self.enrichment {
            out.enrichment(enriched);
        }
        if let Some(report) = &self.completeness {
            out.coverage(report);
        }
        let (bus, backlog) = (&self.bus, bytes(self.bus.backlog_bytes));
        out.line(
            "pipeline",
            format_args!("{}, {} admitted, {backlog} behind", bus.kind, bus.admitted),
        );
        out.line("clients", counted(self.clients.connections, "connection"));
        if let Some(seconds) = self.journal.reach_seconds {
            let (size, hours) = (bytes(self.journal.bytes), seconds / 3_600);
            let tenths = seconds % 3_600 / 360;
            out.line(
                "journal",
                format_args!("{size} on disk, reaches back {hours}.{tenths} hours"),
            );
        }
        if let Some(disk) = &self.disk {
            let (free, all) = (bytes(disk.free_bytes), bytes(disk.all_bytes));
            out.line("disk", format_args!("{free} free of {all}"));
        }
        out.0
    }
}

#[derive(Default)]
struct Screen(String);

impl Screen {
    fn line(&mut self, name: &str, words: impl Display) {
        let (name, words) = (terminal::plain(name), terminal::plain(&words.to_string()));
        writeln!(self.0, "{name:<10} {words}").expect("a string takes all");
    }

    fn polling(&mut self, source: &SourceReport) {
        let last = source.last_poll_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let words = format!(
            "{}, {} usable, {} quarantined, of {}, polls every {:.1} s, last answer {last}",
            source.mode,
            counted(source.tokens_usable, "token"),
            source.tokens_benched,
            counted(source.accounts, "account"),
            source.poll_interval_seconds,
        );
        self.line("polling", words);
    }

    fn enrichment(&mut self, figures: &Enriched) {
        let minutes = figures.window_seconds / 60;
        let Some(share) = figures.share else {
            let words = format!("no event had missing fields in {minutes} min");
            return self.line("enriched", words);
        };
        let reasons = figures.unenriched.iter().map(|(reason, count)| format!("{count} {reason}"));
        let reasons: Vec<String> = reasons.collect();
        let without = if reasons.is_empty() { "" } else { "; not enriched: " };
        let (enriched, percent, reasons) = (figures.enriched, share * 100.0, reasons.join(", "));
        let words = format!("{enriched} in {minutes} min ({percent:.1} %){without}{reasons}");
        self.line("enriched", words);
    }

    fn coverage(&mut self, report: &Report) {
        let all = &report.all;
        self.line("events", a_minute(all));
        self.line("missed", missed(all));
        if let Some(lag) = all.lag_seconds {
            let words = format!("p50 {:.1} s, p90 {:.1} s, max {:.1} s", lag.p50, lag.p90, lag.max);
            self.line("lag", words);
        }
        for page in report.pages.iter().take(ROWS) {
            let overlap = page.overlap.map_or_else(
                || "not polled twice yet".to_owned(),
                |share| format!("{:.0} % overlap with the previous poll", share * 100.0),
            );
            let (rate, missed) = (a_minute(&page.figures), missed(&page.figures));
            let words = format!("{} events, {overlap}, new: {rate}, missed {missed}", page.events);
            self.line(&format!("page {}", page.page), words);
        }
        for token in report.tokens.iter().filter(|token| token.token != 0).take(ROWS) {
            let stale = if token.stale { "stale, quarantined" } else { "fresh" };
            let behind = token.behind_seconds;
            let words = format!("{stale}, last page {behind:.1} s behind the others'");
            self.line(&format!("token {}", token.token), words);
        }
        for trouble in report.troubles.iter().take(ROWS) {
            self.line("TROUBLE", format_args!("{} (since {})", trouble.text, trouble.since));
        }
        self.line("estimated", &report.method);
    }
}

fn a_minute(figures: &Figures) -> String {
    figures.events_a_minute.map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{rate:.0} a minute"))
}

fn missed(figures: &Figures) -> String {
    let Some(shares) = figures.missed_share else { return UNKNOWN.to_owned() };
    let [low, share, high] = shares.map(|share| share * 100.0);
    let count = figures.missed.map_or_else(|| "-".to_owned(), |it| format!("{:.0}", it.estimate));
    format!("{share:.1} % ({low:.1} to {high:.1}), {count} events in ten minutes")
}

fn counted(count: usize, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(bytes: u64) -> String {
    let mut bytes = bytes as f64;
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
    use serde_json::json;

    use super::*;

    fn page(number: usize) -> serde_json::Value {
        json!({
            "page": number, "events": 100, "read_at": null, "overlap": null,
            "events_a_minute": null, "missed": null, "missed_share": null, "lag_seconds": null,
            "types": {"PushEvent": {"now": 1.0, "usual": null}},
        })
    }

    #[test]
    fn screen_names_parts_figures_and_troubles() {
        let at = "2027-01-01T00:00:00Z";
        let figures = json!({
            "events_a_minute": 61.2, "missed": {"seen": 1.0, "low": 2.0, "estimate": 3.0, "high": 4.0},
            "missed_share": [0.01, 0.02, 0.03], "lag_seconds": {"p50": 1.0, "p90": 2.0, "max": 3.0},
            "types": {},
        });
        let status = json!({
            "ready": false,
            "node": "box\u{1b}[31m",
            "a field of a later version": 1,
            "parts": [{"name": "bus\u{1b}]0;x\u{7}", "state": "down", "since": at, "error": "\u{202e}gone"}],
            "source": {"mode": "tokens", "since": at, "tokens_usable": 1},
            "completeness": {
                "at": at, "method": "by ids", "all": figures, "pages": [page(1), page(3)],
                "tokens": [{"token": 1, "behind_seconds": 0.5, "stale": true}],
                "troubles": [{"kind": "page_missing", "of": 2, "text": "page 2 is empty", "since": at}],
            },
            "enrichment": {
                "window_seconds": 600, "enriched": 97, "unenriched": {"gone": 1, "late": 2}, "share": 0.97,
            },
            "disk": {"free_bytes": 3_221_225_472_u64},
            "journal": {"reach_seconds": 9_000},
        });
        let status: Status = serde_json::from_value(status).unwrap();
        let screen = status.screen();
        for part in [
            "NOT READY",
            "bus]0;x    down since 2027-01-01T00:00:00Z: gone",
            "page 3     100 events, not polled twice yet, new: unknown, missed unknown",
            "missed     2.0 % (1.0 to 3.0), 3 events in ten minutes",
            "events     61 a minute",
            "token 1    stale",
            "1 token usable",
            "TROUBLE    page 2 is empty (since 2027-01-01T00:00:00Z)",
            "3 GiB free",
            "reaches back 2.5 hours",
            "enriched   97 in 10 min (97.0 %); not enriched: 1 gone, 2 late",
        ] {
            assert!(screen.contains(part), "{part} is not in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}') && screen.lines().count() <= 24, "{screen}");
        let written = serde_json::to_value(&status).unwrap();
        assert_eq!(serde_json::from_value::<Status>(written).unwrap(), status);
        assert!(!Status::default().screen().is_empty());
    }
}
