//! The status as one screen of text, for `ghpulse status` and the page `/status`.

use std::fmt::Display;

use super::report::{BackupReport, Status};
use crate::model::audit::{AuditReport, AuditedKind};
use crate::model::coverage::{Enriched, Figures, Report};
use crate::model::part::{AppReport, ListFeedsReport, ListReport, Part, PartState, SourceReport};
use crate::terminal;

/// Most pages, tokens and troubles to list.
const ROWS: usize = 12;

/// Shown for a figure while GitHub is not polled, or hides the data it is computed from.
const UNKNOWN: &str = "unknown";

/// Columns of the names in front of the facts.
const NAME_COLUMNS: usize = 10;
/// Most lines that one fact takes on a terminal; a longer one is cut.
const FACT_LINES: usize = 3;

impl Status {
    /// Renders the status as text, one fact per line and the verdict first, without terminal
    /// control characters.
    #[must_use]
    pub fn screen(&self) -> String {
        let facts = self.facts().0;
        let line = |(name, words): &(String, String)| format!("{name:<NAME_COLUMNS$} {words}");
        facts.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The same for a terminal: long facts continue on a further line. What does not fit into
    /// `rows` lines is left out, the least important facts first, and the last line says so.
    #[must_use]
    pub fn screen_within(&self, columns: usize, rows: usize) -> String {
        let facts = self.facts().0;
        let mut lines: Vec<String> =
            facts.iter().flat_map(|(name, words)| wrapped(name, words, columns)).collect();
        if lines.len() > rows {
            let left_out = lines.len() - (rows - 1);
            lines.truncate(rows - 1);
            lines.push(format!("… {left_out} more lines: ghpulse status | less"));
        }
        lines.join("\n") + "\n"
    }

    /// Name and words of each fact, the most important first.
    fn facts(&self) -> Screen {
        let mut out = Screen::default();
        let report = self.completeness.as_ref();
        let troubles = report.map_or(0, |report| report.troubles.len());
        let ready = match (self.ready, troubles) {
            (false, _) => "NOT READY".to_owned(),
            (true, 0) => "ready".to_owned(),
            (true, count) => format!("ready, with {}", counted(count, "trouble")),
        };
        let simulated = if self.simulated { ", simulated" } else { "" };
        let on = self.node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default();
        out.line("ghpulse", format_args!("{}{on}: {ready}{simulated}", self.version));
        out.parts(&self.parts);
        if let Some(report) = &self.completeness {
            for trouble in report.troubles.iter().take(ROWS) {
                let text = &trouble.text;
                if text.contains(" since ") {
                    out.line("TROUBLE", text);
                } else {
                    out.line("TROUBLE", format_args!("{text} (since {})", trouble.since));
                }
            }
        }
        if let Some(source) = &self.source {
            out.polling(source);
        }
        if let Some(report) = &self.completeness {
            out.coverage(&report.all);
        }
        if let Some(audit) = &self.audit {
            out.audit(audit);
        }
        if let Some(enriched) = &self.enrichment {
            out.enrichment(enriched);
        }
        for list in self.lists.iter().take(ROWS) {
            out.list(list);
        }
        let (bus, backlog) = (&self.bus, bytes(self.bus.backlog_bytes));
        out.line(
            "pipeline",
            format_args!("{}, {} admitted, {backlog} behind", bus.kind, bus.admitted),
        );
        out.line("clients", counted(self.clients.connections, "connection"));
        if let Some(seconds) = self.journal.reach_seconds {
            let size = bytes(self.journal.bytes);
            let reach = match seconds {
                0..7_200 => format!("{} min", seconds / 60),
                _ => format!("{}.{} hours", seconds / 3_600, seconds % 3_600 / 360),
            };
            out.line("journal", format_args!("{size} on disk, reaches back {reach}"));
        }
        if let Some(backups) = &self.backups {
            out.backups(backups);
        }
        if let Some(disk) = &self.disk {
            let (free, all) = (bytes(disk.free_bytes), bytes(disk.all_bytes));
            out.line("disk", format_args!("{free} free of {all}"));
        }
        if let Some(report) = &self.completeness {
            out.pages_and_tokens(report);
        }
        out
    }
}

/// A fact as lines of up to `columns` characters, broken between words.
fn wrapped(name: &str, words: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![format!("{name:<NAME_COLUMNS$}")];
    let mut used = lines[0].chars().count();
    for word in words.split(' ') {
        let length = word.chars().count();
        if used > NAME_COLUMNS + 1 && used + 1 + length > columns {
            if lines.len() == FACT_LINES {
                let last = lines.last_mut().expect("it was just written");
                let kept: String = last.chars().take(columns.saturating_sub(2)).collect();
                *last = format!("{} …", kept.trim_end());
                return lines;
            }
            lines.push(" ".repeat(NAME_COLUMNS));
            used = NAME_COLUMNS;
        }
        let room = columns.saturating_sub(used + 1);
        let line = lines.last_mut().expect("there is always one");
        line.push(' ');
        line.extend(word.chars().take(room));
        used += 1 + length.min(room);
    }
    lines
}

#[derive(Default)]
struct Screen(Vec<(String, String)>);

impl Screen {
    /// How complete a list is.
    fn list(&mut self, list: &ListReport) {
        let mut words = format!("{}: {}", list.name, counted(list.names, "name"));
        let mut add = |text: String| words.extend([", ", &text]);
        if let Some((seen, filled)) = list.seen.zip(list.filled) {
            add(format!("{seen} events, {filled} of them from its own feeds"));
        }
        if let Some(feeds) = &list.feeds {
            let ListFeedsReport { read, waiting, closed } = feeds;
            add(format!("{read} feeds read, {waiting} waiting, {closed} closed"));
        }
        if let Some(holes) = list.certain_holes.filter(|holes| *holes > 0) {
            let holes = usize::try_from(holes).unwrap_or(usize::MAX);
            add(counted(holes, "certain hole"));
        }
        if let Some(error) = &list.error {
            add(format!("the file is not in force: {error}"));
        }
        self.line("list", words);
        for one in list.incomplete.iter().take(ROWS) {
            self.line("", format_args!("{}: {}", one.name, one.reason));
        }
    }

    fn line(&mut self, name: &str, words: impl Display) {
        self.0.push((terminal::plain(name), terminal::plain(&words.to_string())));
    }

    /// A line for each part that does not work, and one for all others, with their notes.
    fn parts(&mut self, parts: &[Part]) {
        let of = |state: PartState| parts.iter().filter(move |part| part.state == state);
        for part in of(PartState::Down).chain(of(PartState::Degraded)) {
            let reasons = [part.error.as_deref(), part.note.as_deref()];
            let reasons: Vec<&str> = reasons.into_iter().flatten().collect();
            let colon = if reasons.is_empty() { "" } else { ": " };
            let (state, since, reasons) = (part.state.name(), part.since, reasons.join("; "));
            self.line(&part.name, format_args!("{state} since {since}{colon}{reasons}"));
        }
        for state in [PartState::Ok, PartState::Off] {
            let with_note = |part: &Part| match &part.note {
                Some(note) => format!("{} ({note})", part.name),
                None => part.name.to_string(),
            };
            let names: Vec<String> = of(state).map(with_note).collect();
            if !names.is_empty() {
                self.line(state.name(), names.join(", "));
            }
        }
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
        if let Some(app) = &source.app {
            self.app(app);
        }
    }

    fn app(&mut self, app: &AppReport) {
        let usable = app.installations.iter().filter(|one| one.token_expires_at.is_some()).count();
        let all = counted(app.installations.len(), "installation");
        let error = app.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        self.line("GitHub App", format!("{}, {all}, {usable} with a token{error}", app.id));
        let failing = app.installations.iter().filter_map(|one| Some((one, one.error.as_ref()?)));
        for (one, error) in failing.take(ROWS) {
            self.line("", format!("installation {} ({}): {error}", one.id, one.account));
        }
    }

    fn backups(&mut self, backups: &BackupReport) {
        let BackupReport { last, next, failing_since, error } = backups;
        let last = last.map_or_else(|| "none yet".to_owned(), |at| format!("last {at}"));
        let failing = failing_since.map_or_else(String::new, |since| {
            let error = error.as_deref().unwrap_or(UNKNOWN);
            format!("FAILING since {since}: {error}; ")
        });
        self.line("backups", format_args!("{failing}{last}, next {next}"));
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

    /// A line with the seen share of each kind, and one when ids say otherwise.
    fn audit(&mut self, audit: &AuditReport) {
        if let Some(conflict) = &audit.conflict {
            self.line("CONFLICT", format_args!("{} (since {})", conflict.text, conflict.since));
        }
        let of = |kind: AuditedKind| {
            let [low, share, high] = audit.share(kind)?.map(|share| share * 100.0);
            let name = kind.name().replace('_', " ");
            Some(format!("{name} {share:.1} % ({low:.1} to {high:.1})"))
        };
        let known: Vec<String> = AuditedKind::ALL.into_iter().filter_map(of).collect();
        let repositories = audit.panel.repositories;
        let words = if known.is_empty() {
            format!("not known yet, {repositories} repositories in the sample")
        } else {
            format!("{} of {repositories} repositories", known.join(", "))
        };
        self.line("seen", words);
    }

    fn coverage(&mut self, all: &Figures) {
        self.line("events", a_minute(all));
        self.line("missed", missed(all));
        if let Some(lag) = all.lag_seconds {
            let words = format!("p50 {:.1} s, p90 {:.1} s, max {:.1} s", lag.p50, lag.p90, lag.max);
            self.line("lag", words);
        }
    }

    fn pages_and_tokens(&mut self, report: &Report) {
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
            "audit": {
                "at": at, "method": "", "from": at, "until": at, "points": 8,
                "panel": {"repositories": 4_000, "seen_lately": 900, "gone": 3},
                "shares": {"stars": {
                    "seen": 71, "grown": 100, "repositories": 9, "undone": 0.1,
                    "share": [0.65, 0.71, 0.76],
                }},
                "conflict": {"since": at, "text": "ids say 99 %"},
            },
            "backups": {"last": at, "next": at, "failing_since": at, "error": "no room"},
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
            "CONFLICT   ids say 99 % (since 2027-01-01T00:00:00Z)",
            "seen       stars 71.0 % (65.0 to 76.0) of 4000 repositories",
            "token 1    stale",
            "1 token usable",
            "TROUBLE    page 2 is empty (since 2027-01-01T00:00:00Z)",
            "backups    FAILING since 2027-01-01T00:00:00Z: no room; last 2027-01-01T00:00:00Z",
            "3 GiB free",
            "reaches back 2.5 hours",
            "enriched   97 in 10 min (97.0 %); not enriched: 1 gone, 2 late",
        ] {
            assert!(screen.contains(part), "{part} is not in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}') && screen.lines().count() <= 27, "{screen}");
        let written = serde_json::to_value(&status).unwrap();
        assert_eq!(serde_json::from_value::<Status>(written).unwrap(), status);
        assert!(!Status::default().screen().is_empty());
        for (seconds, reach) in [(59, "0 min"), (7_199, "119 min"), (7_200, "2.0 hours")] {
            let journal = json!({ "journal": { "bytes": 0, "reach_seconds": seconds } });
            let screen = serde_json::from_value::<Status>(journal).unwrap().screen();
            assert!(screen.contains(&format!("reaches back {reach}")), "{screen}");
        }
    }

    #[test]
    fn screen_fits_a_terminal_and_begins_with_the_verdict() {
        let at = "2027-01-01T00:00:00Z";
        let part = |name: &str, state: &str| {
            let error = "no answer ".repeat(40);
            json!({ "name": name, "state": state, "since": at, "error": error })
        };
        let parts: Vec<_> = ["store", "source", "bus", "tidb", "amqp", "scripts", "files", "lists"]
            .map(|name| part(name, "degraded"))
            .into();
        let trouble =
            json!({ "kind": "page_missing", "of": 2, "text": "x".repeat(500), "since": at });
        let all = json!({
            "events_a_minute": 61.2, "missed": null, "missed_share": null, "lag_seconds": null,
            "types": {},
        });
        let completeness = json!({
            "at": at, "method": "by ids", "all": all, "pages": [page(1), page(2), page(3)],
            "tokens": [], "troubles": vec![trouble; 3],
        });
        let mut status = json!({ "ready": false, "completeness": completeness, "parts": parts });
        let fitted = |status: &serde_json::Value| {
            let status: Status = serde_json::from_value(status.clone()).unwrap();
            let screen = status.screen_within(80, 23);
            assert!(screen.lines().count() <= 23, "{screen}");
            assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
            screen
        };
        let screen = fitted(&status);
        let mut lines = screen.lines();
        assert!(lines.next().unwrap().contains("NOT READY"), "{screen}");
        assert!(lines.next().unwrap().starts_with("store      degraded since"), "{screen}");
        assert!(screen.lines().last().unwrap().contains("more lines"), "{screen}");
        status["parts"] = json!([part("store", "ok"), part("bus", "ok"), part("tidb", "off")]);
        status["completeness"]["troubles"] = json!([]);
        let screen = fitted(&status);
        assert!(screen.contains("\nok         store, bus\noff        tidb\n"), "{screen}");
        assert!(screen.contains("\nestimated  by ids\n") && !screen.contains('…'), "{screen}");
        status["parts"][1]["note"] = json!("on standby");
        let screen = fitted(&status);
        assert!(screen.contains("\nok         store, bus (on standby)\n"), "{screen}");
        status["parts"][0] =
            json!({"name": "bus", "state": "down", "since": at, "error": "gone", "note": "idle"});
        let screen = fitted(&status);
        assert!(
            screen.contains(&format!("\nbus        down since {at}: gone; idle\n")),
            "{screen}"
        );
    }
}
