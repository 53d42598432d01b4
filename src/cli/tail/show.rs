//! Messages of the stream as lines for a terminal, or as they came.
//!
//! What an event says was written by strangers: nothing of it reaches the terminal that a terminal
//! would obey.

use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use super::super::{Exit, output};
use crate::terminal;

/// Characters of what an event says beside its kind, repository and actor.
const DETAIL_CHARS: usize = 90;
/// Characters of a name or a value; a longer one is cut.
const NAME_CHARS: usize = 200;

/// Whether to go on.
pub(super) enum Shown {
    On,
    Enough,
    Stdout(Exit),
}

/// Where messages are shown.
pub(super) struct Show {
    json: bool,
    /// Whether lines of JSON are escaped for a terminal.
    escaped: bool,
    colour: bool,
    left: Option<u64>,
}

impl Show {
    pub(super) fn new(json: bool, limit: Option<u64>) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_terminal = std::io::stdout().is_terminal();
        let colour = !json && wanted && is_terminal;
        Self { json, escaped: is_terminal, colour, left: limit }
    }

    /// Shows a message; `line` is it as it came.
    pub(super) fn message(&mut self, message: &Value, line: &[u8]) -> Shown {
        match message["type"].as_str() {
            Some("event" | "entity") => {}
            Some("gap") => {
                note(&gap(message));
                if self.json {
                    return self.print_json(line);
                }
                return Shown::On;
            }
            Some("hello") if message["simulated"] == true => {
                note("these events are made up: they come from the simulated GitHub");
                return Shown::On;
            }
            Some("ack") => {
                for warning in message["warnings"].as_array().into_iter().flatten() {
                    note(&output::plain(warning["message"].as_str().unwrap_or_default()));
                }
                return Shown::On;
            }
            Some("error") => {
                note(&output::plain(message["message"].as_str().unwrap_or("an error")));
                return Shown::On;
            }
            _ => return Shown::On,
        }
        let shown = if self.json {
            self.print_json(line)
        } else {
            Self::print(event(message, self.colour).as_bytes())
        };
        if let (Shown::On, Some(left)) = (&shown, &mut self.left) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Shown::Enough;
            }
        }
        shown
    }

    /// A line as it came; on a terminal, escaped.
    fn print_json(&self, line: &[u8]) -> Shown {
        if !self.escaped {
            return Self::print(line);
        }
        let text = String::from_utf8_lossy(line);
        Self::print(terminal::json(&text).as_bytes())
    }

    fn print(line: &[u8]) -> Shown {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(line).and_then(|()| out.write_all(b"\n"));
        match written.and_then(|()| out.flush()) {
            Ok(()) => Shown::On,
            // A reader that went away has what it wanted.
            Err(error) => Shown::Stdout(output::settled(Err(error))),
        }
    }
}

fn note(text: &str) {
    output::complain(&format!("note: {text}"));
}

fn gap(message: &Value) -> String {
    let count = message["count"].as_u64();
    let what = count.map_or_else(|| "events".to_owned(), |count| format!("{count} events"));
    let why = match message["reason"].as_str() {
        Some("retention") => "kept no longer",
        Some("slow") => "read too slowly",
        Some("upstream") => "never shown by GitHub",
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

/// One line: when, what, where, who, and what about.
fn event(message: &Value, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    if let Some(fields) = message["fields"].as_object() {
        let shown = fields
            .iter()
            .map(|(path, value)| format!("{}={}", paint("2", &short(path)), short(&text(value))));
        return shown.collect::<Vec<_>>().join("  ");
    }
    if message["type"] == "entity" {
        let document = output::plain(&message["document"].to_string());
        let cut: String = document.chars().take(DETAIL_CHARS * 2).collect();
        let key = format!("{:<34}", short(&text(&message["key"])));
        return format!("{} {cut}", paint("36", &key));
    }
    let event = &message["event"];
    let at = event["created_at"].as_str().and_then(|at| at.get(11..19)).unwrap_or("--:--:--");
    let kind = words(event["type"].as_str().unwrap_or("?"));
    let repo = short(&text(&event["repo"]["name"]));
    let actor = short(&text(&event["actor"]["login"]));
    let detail: String = output::plain(&detail(event, &message["payload"]));
    let detail: String = detail.chars().take(DETAIL_CHARS).collect();
    let kind = format!("{:<19}", short(&kind));
    let line = format!(
        "{} {} {} {} {detail}",
        paint("2", &output::plain(at)),
        paint(colour_of(event["type"].as_str().unwrap_or_default()), &kind),
        paint("1", &repo),
        paint("2", &format!("by {actor}")),
    );
    line.trim_end().to_owned()
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

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What there is to say about an event.
fn detail(event: &Value, flags: &Value) -> String {
    let payload = &event["payload"];
    let part = |value: &Value| match value {
        Value::Null => String::new(),
        other => text(other),
    };
    let titled = |object: &Value| {
        let number = [&object["number"], &payload["number"]];
        let number = number.into_iter().find_map(Value::as_u64);
        let number = number.map(|number| format!("#{number}")).unwrap_or_default();
        let merged = flags["merge"] == 1;
        let action = if merged { "merged".to_owned() } else { part(&payload["action"]) };
        [action, number, part(&object["title"])].join(" ")
    };
    match event["type"].as_str().unwrap_or_default() {
        "PushEvent" => part(&payload["ref"]).trim_start_matches("refs/heads/").to_owned(),
        kind if kind.starts_with("PullRequest") => titled(&payload["pull_request"]),
        "IssuesEvent" | "IssueCommentEvent" => titled(&payload["issue"]),
        "CreateEvent" | "DeleteEvent" => {
            format!("{} {}", part(&payload["ref_type"]), part(&payload["ref"]))
        }
        "ForkEvent" => format!("to {}", part(&payload["forkee"]["full_name"])),
        "ReleaseEvent" => {
            format!("{} {}", part(&payload["action"]), part(&payload["release"]["tag_name"]))
        }
        "MemberEvent" => {
            format!("{} {}", part(&payload["action"]), part(&payload["member"]["login"]))
        }
        "WatchEvent" | "PublicEvent" => String::new(),
        _ => part(&payload["action"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let line = event(&pull, false);
        assert_eq!(line, "05:00:05 PR                  rust-lang/rust by anna merged #7 Fix it");
        assert!(event(&pull, true).contains("\u{1b}[35mPR"));
        assert_eq!(words("PullRequestReviewCommentEvent"), "PR review comment");
        assert_eq!(words("IssueCommentEvent"), "issue comment");
        assert_eq!(words("WatchEvent"), "watch");
        let star = json!({ "type": "event", "event": { "type": "WatchEvent" } });
        assert_eq!(event(&star, false), "--:--:-- watch               null by null");
        let fields = json!({ "type": "event", "fields": { "event.id": "1", "payload.pr": 0 } });
        assert_eq!(event(&fields, false), "event.id=1  payload.pr=0");
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
                .map(|kind| event(&event_of(kind), false))
                .into();
        lines.push(event(&json!({ "type": "event", "fields": { wild: wild } }), false));
        lines.push(event(&json!({ "type": "entity", "key": wild, "document": wild }), false));
        for line in lines {
            assert!(!line.chars().any(char::is_control) && !line.contains('\u{202e}'), "{line:?}");
        }
        let long = json!({ "type": "event", "event": { "actor": { "login": "x".repeat(9_999) } } });
        assert!(event(&long, false).chars().count() < 3 * NAME_CHARS, "long names are cut");
    }

    #[test]
    fn a_gap_is_said_in_words() {
        let said = gap(&json!({ "type": "gap", "count": 3, "reason": "retention" }));
        assert_eq!(said, "3 events are missing here: kept no longer");
        let said = gap(&json!({ "type": "gap", "count": null, "reason": "upstream" }));
        assert_eq!(said, "events are missing here: never shown by GitHub");
    }
}
