//! Messages of the stream as lines for a terminal, or as they were received.
//!
//! The text of events comes from strangers, so nothing that a terminal interprets is printed.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use super::super::output;
use crate::clock::Clock;
use crate::model::json;
use crate::model::window::Day;
use crate::supervise::Exit;
use crate::{logging, terminal};

/// Most characters of an event's title or the like.
const DETAIL_CHARS: usize = 90;
/// Most characters of a name or a value; a longer one is cut.
const NAME_CHARS: usize = 200;
/// Most warnings of an `ack` that are printed.
const MOST_WARNINGS: usize = 100;

/// A message as it was received. Values are picked from its text, because an event may hold what no
/// JSON library represents, such as half a surrogate pair or a number beyond all bounds.
pub(super) struct TailMessage<'a> {
    line: &'a str,
    /// Its `type`.
    pub(super) kind: Cow<'a, str>,
}

impl<'a> TailMessage<'a> {
    /// Reads a line; `None` when it is not a message of a stream.
    pub(super) fn read(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let kind = json::text(json::pick(line, ["type"])[0]?)?;
        Some(Self { line, kind })
    }

    /// The value at a path, as text; `None` where there is none, or null.
    fn at(&self, path: &[&str]) -> Option<&'a str> {
        json::at(self.line, path).filter(|value| *value != "null")
    }

    /// The text at a path.
    pub(super) fn text(&self, path: &[&str]) -> Option<Cow<'a, str>> {
        self.at(path).and_then(json::text)
    }

    /// What is at a path, for people: a text without its quotes, anything else as it is written.
    fn shown(&self, path: &[&str]) -> Cow<'a, str> {
        self.at(path).map(shown).unwrap_or_default()
    }
}

/// Prints messages to stdout.
pub(super) struct Printer {
    json: bool,
    /// Whether lines of JSON are escaped for a terminal.
    escaped: bool,
    colour: bool,
    /// Columns of the terminal; `None` when stdout is not one.
    columns: Option<usize>,
    left: Option<u64>,
    clock: Clock,
}

impl Printer {
    pub(super) fn new(json: bool, limit: Option<u64>, clock: Clock) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let colour = !json && logging::colourful(is_terminal);
        let columns = is_terminal.then(output::columns);
        Self { json, escaped: is_terminal, colour, columns, left: limit, clock }
    }

    /// Shows a message; `line` is it as it came. Returns the exit code when the command ends here.
    pub(super) fn message(&mut self, message: &TailMessage<'_>, line: &[u8]) -> Option<Exit> {
        match &*message.kind {
            "event" | "entity" => return self.event(message, line),
            "gap" => {
                note(&gap(message));
                if self.json {
                    return self.print_json(line);
                }
            }
            "hello" if message.at(&["simulated"]) == Some("true") => {
                note("these events are made up: they come from the simulated GitHub");
            }
            "ack" => {
                let warnings = message.at(&["warnings"]).unwrap_or_default();
                for warning in json::items(warnings, MOST_WARNINGS) {
                    let parts = json::pick(warning, ["field", "value", "message"]);
                    let parts = parts.map(|part| part.and_then(json::shown).unwrap_or_default());
                    let [field, value, said] = parts;
                    note(&output::plain(&format!("{field} {value}: {said}")));
                }
            }
            "error" => {
                let said = message.text(&["message"]).unwrap_or("an error".into());
                note(&output::plain(&said));
            }
            _ => {}
        }
        None
    }

    /// An event or entity, which counts towards the limit.
    fn event(&mut self, message: &TailMessage<'_>, line: &[u8]) -> Option<Exit> {
        let ended = if self.json {
            self.print_json(line)
        } else {
            let line = event(message, self.colour, self.clock.now().day());
            let line = self.columns.map_or(line.clone(), |columns| fitted(&line, columns));
            Self::print(line.as_bytes())
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        ended.or_else(|| (self.left == Some(0)).then_some(Exit::Fine))
    }

    /// A line as it came; on a terminal, escaped.
    fn print_json(&self, line: &[u8]) -> Option<Exit> {
        if !self.escaped {
            return Self::print(line);
        }
        let text = String::from_utf8_lossy(line);
        Self::print(terminal::json(&text).as_bytes())
    }

    fn print(line: &[u8]) -> Option<Exit> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
        // A reader that went away has what it wanted.
        written.and_then(|()| out.flush()).err().map(|error| output::settled(Err(error)))
    }
}

fn note(text: &str) {
    output::to_stderr(&format!("note: {text}"));
}

fn gap(message: &TailMessage<'_>) -> String {
    let count = message.at(&["count"]).and_then(json::whole);
    let what = count.map_or_else(|| "events".to_owned(), |count| format!("{count} events"));
    let why = match message.text(&["reason"]).as_deref() {
        Some("retention") => "kept no longer, or damaged",
        Some("slow") => "read too slowly",
        Some("upstream") => "not read from GitHub, lost, or too large for the broker",
        Some("bus_changed") => "on another bus",
        _ => "for an unknown reason",
    };
    format!("{what} are missing here: {why}")
}

/// Text without what a terminal obeys, cut after [`NAME_CHARS`].
fn short(text: &str) -> String {
    let plain = output::plain(text);
    match plain.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

/// One line: when, what, where, who, and what about. The day is shown where it is not `today`.
fn event(message: &TailMessage<'_>, colour: bool, today: Day) -> String {
    let paint = |code: &str, text: &str| {
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    if let Some(fields) = message.at(&["fields"]).and_then(|fields| json::members(fields).ok()) {
        let shown = fields.iter().map(|(path, value)| {
            let path = short(&String::from_utf8_lossy(path));
            format!("{}={}", paint("2", &path), short(&shown(value)))
        });
        return shown.collect::<Vec<_>>().join("  ");
    }
    if message.kind == "entity" {
        // What is cut off need not be gone through.
        let document = message.at(&["document"]).unwrap_or_default();
        let document: String = document.chars().take(DETAIL_CHARS * 8).collect();
        let cut: String = output::plain(&document).chars().take(DETAIL_CHARS * 2).collect();
        let key = format!("{:<34}", short(&message.shown(&["key"])));
        return format!("{} {cut}", paint("36", &key));
    }
    let at = message.shown(&["event", "created_at"]);
    let time = at.get(11..19).unwrap_or("--:--:--");
    let day = at.get(..10).and_then(Day::parse).filter(|day| *day != today);
    let at = day.map_or_else(|| time.to_owned(), |day| format!("{day} {time}"));
    let kind = message.text(&["event", "type"]).unwrap_or("?".into());
    let or_null = |path: &[&str]| {
        let text = message.shown(path);
        if text.is_empty() { "null".to_owned() } else { short(&text) }
    };
    let repo = or_null(&["event", "repo", "name"]);
    let actor = or_null(&["event", "actor", "login"]);
    let detail: String = output::plain(&detail(message, &kind));
    let detail: String = detail.chars().take(DETAIL_CHARS).collect();
    let words = format!("{:<19}", short(&words(&kind)));
    let line = format!(
        "{} {} {} {} {detail}",
        paint("2", &output::plain(&at)),
        paint(colour_of(&kind), &words),
        paint("1", &repo),
        paint("2", &format!("by {actor}")),
    );
    line.trim_end().to_owned()
}

/// A line cut to this many columns. Escape sequences take none; characters of East Asian scripts
/// and pictures count as two.
fn fitted(line: &str, columns: usize) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut used, mut in_escape, mut has_escape) = (0, false, false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' || in_escape {
            (in_escape, has_escape) = (c != 'm', true);
            out.push(c);
            continue;
        }
        let width = if c < '\u{1100}' { 1 } else { 2 };
        let is_last = rest.peek().is_none();
        if used + width > columns || (used + width == columns && !is_last) {
            out.push('…');
            out.push_str(if has_escape { "\u{1b}[0m" } else { "" });
            return out;
        }
        used += width;
        out.push(c);
    }
    out
}

fn colour_of(kind: &str) -> &'static str {
    match kind {
        "PushEvent" => "34",
        kind if kind.starts_with("PullRequest") => "35",
        kind if kind.starts_with("Issue") => "32",
        "WatchEvent" | "ForkEvent" | "ReleaseEvent" | "SponsorshipEvent" => "33",
        _ => "36",
    }
}

/// `PullRequestReviewEvent` -> `PR review`.
fn words(kind: &str) -> String {
    let name = kind.strip_suffix("Event").unwrap_or(kind);
    let (head, rest) = match name.strip_prefix("PullRequest") {
        Some(rest) => ("PR", rest),
        None => ("", name),
    };
    let mut words = head.to_owned();
    for c in rest.chars() {
        if c.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    if head.is_empty() { words } else { words.replacen("pr", "PR", 1) }
}

/// A value for people: a text without its quotes, anything else as it is written.
fn shown(value: &str) -> Cow<'_, str> {
    json::shown(value).unwrap_or(Cow::Borrowed(value))
}

/// What there is to say about an event.
fn detail(message: &TailMessage<'_>, kind: &str) -> String {
    let part = |path: &[&str]| {
        let path = [&["event", "payload"], path].concat();
        message.shown(&path)
    };
    let titled = |object: &str| {
        let numbers =
            [&["event", "payload", object, "number"][..], &["event", "payload", "number"]];
        let number = numbers.into_iter().find_map(|path| message.at(path).and_then(json::whole));
        let number = number.map(|number| format!("#{number}")).unwrap_or_default();
        let merged = message.at(&["payload", "merge"]) == Some("1");
        let action = if merged { "merged".into() } else { part(&["action"]) };
        [&*action, &number, &part(&[object, "title"])].join(" ")
    };
    match kind {
        "PushEvent" => part(&["ref"]).trim_start_matches("refs/heads/").to_owned(),
        kind if kind.starts_with("PullRequest") => titled("pull_request"),
        "IssuesEvent" | "IssueCommentEvent" => titled("issue"),
        "CreateEvent" | "DeleteEvent" => format!("{} {}", part(&["ref_type"]), part(&["ref"])),
        "ForkEvent" => format!("to {}", part(&["forkee", "full_name"])),
        "ReleaseEvent" => format!("{} {}", part(&["action"]), part(&["release", "tag_name"])),
        "MemberEvent" => format!("{} {}", part(&["action"]), part(&["member", "login"])),
        "WatchEvent" | "PublicEvent" => String::new(),
        _ => part(&["action"]).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn today() -> Day {
        Day::parse("2026-11-22").unwrap()
    }

    fn line_of(message: &Value, colour: bool) -> String {
        let text = message.to_string();
        event(&TailMessage::read(&text).unwrap(), colour, today())
    }

    #[test]
    fn an_event_is_one_readable_line() {
        let pull = json!({
            "type": "event", "cursor": "x", "key": "evt.pullrequest.insert",
            "event": {
                "type": "PullRequestEvent", "created_at": "2026-11-22T05:00:05Z",
                "actor": { "login": "anna" }, "repo": { "name": "rust-lang/rust" },
                "payload": { "action": "closed", "number": 7, "pull_request": { "title": "Fix it" } },
            },
            "payload": { "merge": 1 },
        });
        let line = line_of(&pull, false);
        assert_eq!(line, "05:00:05 PR                  rust-lang/rust by anna merged #7 Fix it");
        assert!(line_of(&pull, true).contains("\u{1b}[35mPR"));
        let mut late = pull;
        late["event"]["created_at"] = "2026-11-21T21:22:09Z".into();
        let line = line_of(&late, false);
        assert!(line.starts_with("2026-11-21 21:22:09 PR "), "{line}");
        assert_eq!(words("PullRequestReviewCommentEvent"), "PR review comment");
        assert_eq!(words("IssueCommentEvent"), "issue comment");
        assert_eq!(words("WatchEvent"), "watch");
        let star = json!({ "type": "event", "event": { "type": "WatchEvent" } });
        assert_eq!(line_of(&star, false), "--:--:-- watch               null by null");
        let fields = json!({ "type": "event", "fields": { "event.id": "1", "payload.pr": 0 } });
        assert_eq!(line_of(&fields, false), "event.id=1  payload.pr=0");
    }

    #[test]
    fn strangers_do_not_reach_the_terminal() {
        let wild = "\u{1b}[2J\u{7}\u{202e}x\r\n";
        let event_of = |kind: &str| {
            json!({ "type": "event", "event": {
                "type": kind, "created_at": wild, "actor": { "login": wild },
                "repo": { "name": wild }, "payload": { "ref": wild, "action": wild,
                "issue": { "title": wild }, "release": { "tag_name": wild } },
            }})
        };
        let mut lines: Vec<String> =
            ["PushEvent", "IssuesEvent", "ReleaseEvent", "CreateEvent", wild]
                .map(|kind| line_of(&event_of(kind), false))
                .into();
        lines.push(line_of(&json!({ "type": "event", "fields": { wild: wild } }), false));
        lines.push(line_of(&json!({ "type": "entity", "key": wild, "document": wild }), false));
        for line in lines {
            assert!(!line.chars().any(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
        }
        let long = json!({ "type": "event", "event": { "actor": { "login": "x".repeat(9_999) } } });
        assert!(line_of(&long, false).chars().count() < 3 * NAME_CHARS, "long names are cut");
    }

    #[test]
    fn lines_fit_the_terminal() {
        let columns = |text: &str| {
            let plain = fitted(text, 20);
            plain.chars().map(|c| if c < '\u{1100}' || c == '…' { 1 } else { 2 }).sum::<usize>()
        };
        assert_eq!(fitted("short", 20), "short");
        assert_eq!(fitted(&"x".repeat(20), 20), "x".repeat(20));
        assert_eq!(fitted(&"x".repeat(21), 20), format!("{}…", "x".repeat(19)));
        assert!(columns(&"漢".repeat(30)) <= 20);
        let coloured = format!("\u{1b}[1m{}\u{1b}[0m", "x".repeat(30));
        let cut = fitted(&coloured, 20);
        assert_eq!(cut, format!("\u{1b}[1m{}…\u{1b}[0m", "x".repeat(19)));
        assert_eq!(fitted("\u{1b}[1mshort\u{1b}[0m", 20), "\u{1b}[1mshort\u{1b}[0m");
    }

    #[test]
    fn gap_is_shown_in_words() {
        let gap = |message: Value| gap(&TailMessage::read(&message.to_string()).unwrap());
        let said = gap(json!({ "type": "gap", "count": 3, "reason": "retention" }));
        assert_eq!(said, "3 events are missing here: kept no longer, or damaged");
        let said = gap(json!({ "type": "gap", "count": null, "reason": "upstream" }));
        assert!(said.starts_with("events are missing here: not read from GitHub"), "{said}");
    }

    #[test]
    fn values_outside_json_models_are_shown_unchanged() {
        let deep = ["[", "]"].map(|bracket| bracket.repeat(130)).concat();
        for (odd, shown) in [
            (r#""half \ud83d""#, "half \u{fffd}"),
            ("1e999", "1e999"),
            (&*deep, &deep[..DETAIL_CHARS]),
        ] {
            let line = format!(
                r#"{{"type":"event","cursor":"c","event":{{"type":"PushEvent","\ud800":{odd},
                "repo":{{"name":"a/b"}},"payload":{{"ref":{odd}}}}}}}"#
            );
            let message = TailMessage::read(&line).unwrap();
            assert_eq!(message.text(&["cursor"]).as_deref(), Some("c"));
            let expected = format!("--:--:-- push                a/b by null {shown}");
            assert_eq!(event(&message, false, today()), expected);
            let fields = format!(r#"{{"type":"event","fields":{{"event.x":{odd}}}}}"#);
            let fields = TailMessage::read(&fields).unwrap();
            assert!(event(&fields, false, today()).starts_with("event.x="));
        }
        for line in ["", "<html>", "{}", "[]", "{\"type\":7}", "{\"type\":\"event\""] {
            assert!(TailMessage::read(line).is_none(), "{line}");
        }
    }
}
