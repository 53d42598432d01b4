//! What the public may read of the status: fixed texts instead of messages of servers, libraries or
//! the system, which may name hosts, ports, users and files, or repeat a stranger's text.
//!
//! The ops listener, requests with `server.adminToken`, and the log have the details. An unknown
//! part gets a general text, so a new one discloses nothing.

use axum::body::Body;
use http::Request;

use super::operate::ScriptState;
use super::report::Status;
use crate::model::part::{ListReport, Part, PartState};
use crate::serve::http::identity;
use crate::serve::http::peer::Audience;
use crate::serve::server::ServerState;

/// Start of a text that contains only fixed words and figures.
const HARMLESS: &str = "catching up: ";

/// The public text for a part with an error.
const WORDS: &[(&str, PartState, &str)] = &[
    ("source", PartState::Down, "GitHub cannot be reached"),
    (
        "source",
        PartState::Degraded,
        "GitHub limits or refuses requests, or events are missing details",
    ),
    ("bus", PartState::Down, "Pulsar cannot be reached"),
    ("bus", PartState::Degraded, "Pulsar answers with errors"),
    ("tidb", PartState::Down, "TiDB cannot be reached"),
    ("tidb", PartState::Degraded, "TiDB answers with errors"),
    ("amqp", PartState::Down, "RabbitMQ cannot be reached"),
    ("amqp", PartState::Degraded, "events are missing on RabbitMQ, or it answers with errors"),
    (
        "store",
        PartState::Degraded,
        "the store is short of something, such as room on its disk, or cannot be copied",
    ),
    ("store", PartState::Down, "the data directory was removed or replaced"),
    ("files", PartState::Degraded, "a renewed file cannot be used; the old one stays in use"),
    ("lists", PartState::Degraded, "the file of a list cannot be used; its last names stay in use"),
];
/// Reports of the store, by a substring, and their public texts: the cause without a path.
const CAUSES: &[(&str, &str)] = &[
    ("the clock of this machine is", "the clock of this machine is wrong; nothing expires by age"),
    ("writes wait", "the disk is full; writing waits"),
    ("polling paused", "the disk is nearly full; fetching is paused"),
    (
        "a part of the journal is damaged",
        "a part of the journal is damaged; readers get a gap there",
    ),
    (
        "the end of the write-ahead log",
        "the end of the log was lost at the last stop; readers get a gap there",
    ),
    ("the last interval may be lost", "the end of the log may be lost; readers get a gap there"),
    ("no backup can be made", "no backup can be made"),
    ("hours cannot be exported", "hours cannot be exported"),
];
/// The public text for anything else.
const OTHERWISE: &str = "something is wrong; the operator sees details";

/// Whether a request may read details: it came to the ops listener, or it has the token.
pub(crate) fn sees_details(server: &ServerState, request: &Request<Body>) -> bool {
    let token = server.options.config.admin_token.as_ref();
    Audience::of(request) == Audience::Ops
        || token.is_some_and(|token| identity::has_token(request.headers(), token))
}

/// The parts as the public reads them.
pub(crate) fn parts(mut parts: Vec<Part>) -> Vec<Part> {
    for part in &mut parts {
        part.error = part.error.take().and_then(|error| words(part, &error));
    }
    parts
}

fn words(part: &Part, error: &str) -> Option<String> {
    if error.starts_with(HARMLESS) {
        return Some(error.to_owned());
    }
    // Scripts are the operator's own: their errors are shown with file, line and reason.
    if part.name == "scripts" {
        return Some(without_directories(error));
    }
    // A part that works has no error to show.
    if matches!(part.state, PartState::Ok | PartState::Off) {
        return None;
    }
    if part.name == "store" && part.state == PartState::Degraded {
        let causes = CAUSES.iter().filter(|(ours, _)| error.contains(ours));
        let causes: Vec<&str> = causes.map(|(_, words)| *words).collect();
        if !causes.is_empty() {
            return Some(causes.join("; "));
        }
    }
    let known = WORDS.iter().find(|(name, state, _)| (*name, *state) == (&part.name, part.state));
    Some(known.map_or(OTHERWISE, |(_, _, words)| words).to_owned())
}

/// The merge script as the public reads it.
pub(crate) fn script(script: &ScriptState) -> ScriptState {
    ScriptState {
        name: without_directories(&script.name),
        error: script.error.as_deref().map(without_directories),
        current: script.current,
    }
}

/// `/status` as the public reads it. Each field is named, so that a new one is decided upon here.
pub(crate) fn status(mut status: Status) -> Status {
    let Status {
        ready: _,
        version: _,
        node,
        simulated: _,
        parts,
        source,
        enrichment: _,
        completeness: _,
        lists,
        audit: _,
        repo_days: _,
        bus: _,
        clients: _,
        disk: _,
        memory: _,
        backups,
        journal: _,
        clock: _,
    } = &mut status;
    *node = None;
    *parts = self::parts(std::mem::take(parts));
    *lists = self::lists(std::mem::take(lists));
    if let Some(source) = source {
        source.app = None;
        if let Some(last) = &mut source.last_error {
            let shown = parts.iter().find(|part| part.name == "source");
            let shown = shown.and_then(|part| part.error.as_deref()).unwrap_or(WORDS[1].2);
            shown.clone_into(&mut last.message);
        }
    }
    if let Some(error) = backups.as_mut().and_then(|backups| backups.error.as_mut()) {
        OTHERWISE.clone_into(error);
    }
    status
}

/// Lists as the public reads them: how complete they are, and not which names are on them.
pub(crate) fn lists(mut lists: Vec<ListReport>) -> Vec<ListReport> {
    for list in &mut lists {
        list.incomplete.clear();
        if let Some(error) = &mut list.error {
            OTHERWISE.clone_into(error);
        }
    }
    lists
}

/// Shortens paths of scripts to file names.
fn without_directories(text: &str) -> String {
    let short = |word: &str| match word.rsplit_once('/') {
        Some((_, name))
            if !name.is_empty() && (word.starts_with(['/', '.']) || word.contains(".rhai")) =>
        {
            name.to_owned()
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::part::{AppReport, ErrorReport, SourceReport};
    use crate::model::window::Timestamp;

    fn part(name: &'static str, state: PartState, error: &str) -> Part {
        Part {
            name: name.into(),
            state,
            since: Timestamp::default(),
            error: Some(error.to_owned()),
            note: None,
        }
    }

    #[test]
    fn public_parts_show_no_host_user_path_or_foreign_text() {
        let inside = "10.0.0.5:4000 refuses user `telltale` (/run/telltale/key.json, telltale)";
        let states = [PartState::Ok, PartState::Degraded, PartState::Down, PartState::Off];
        for name in ["store", "source", "bus", "tidb", "amqp", "files", "lists", "what follows"] {
            for state in states {
                let shown = parts(vec![part(name, state, inside)]);
                let shown = serde_json::to_string(&shown).unwrap();
                assert!(!shown.contains("telltale") && !shown.contains("10.0"), "{shown}");
                let is_wrong = matches!(state, PartState::Degraded | PartState::Down);
                assert_eq!(shown.contains("\"error\":null"), !is_wrong, "{shown}");
            }
        }
        let lost = format!(
            "no backup can be made since 2027 ({inside}); the end of the write-ahead log is lost"
        );
        let shown = parts(vec![part("store", PartState::Degraded, &lost)]);
        let expected = "the end of the log was lost at the last stop; readers get a gap there; no \
                        backup can be made";
        assert_eq!(shown[0].error.as_deref(), Some(expected));
        let shown = parts(vec![part("bus", PartState::Down, inside)]);
        assert_eq!(shown[0].error.as_deref(), Some("Pulsar cannot be reached"));
        let shown = parts(vec![part("bus", PartState::Degraded, "catching up: 30 s behind")]);
        assert_eq!(shown[0].error.as_deref(), Some("catching up: 30 s behind"));
        let note = Some("on standby".into());
        let shown = parts(vec![Part { note: note.clone(), ..part("bus", PartState::Ok, inside) }]);
        assert_eq!((shown[0].error.as_deref(), &shown[0].note), (None, &note));
    }

    #[test]
    fn a_script_is_named_without_its_directory() {
        let error = "/etc/telltale/scripts/merge_latest.rhai:2:3: division by zero: 1 / 0";
        let shown = parts(vec![part("scripts", PartState::Degraded, error)]);
        let expected = "merge_latest.rhai:2:3: division by zero: 1 / 0";
        assert_eq!(shown[0].error.as_deref(), Some(expected));
        let name = "/etc/telltale/merge_latest.rhai (the last good one)".to_owned();
        let shown = script(&ScriptState { name, current: false, error: None });
        assert_eq!(shown.name, "merge_latest.rhai (the last good one)");
    }

    #[test]
    fn public_status_has_no_node_and_no_foreign_words() {
        let at = Timestamp::default();
        let last_error = Some(ErrorReport { at, message: "telltale".to_owned() });
        let app = Some(AppReport { id: "telltale".to_owned(), ..AppReport::default() });
        let whole = Status {
            node: Some("telltale".to_owned()),
            parts: vec![part("source", PartState::Down, "telltale")],
            source: Some(SourceReport { app, last_error, ..SourceReport::default() }),
            ready: true,
            ..Status::default()
        };
        let shown = status(whole);
        let json = serde_json::to_string(&shown).unwrap();
        assert!(!json.contains("telltale") && !json.contains("node"), "{json}");
        let last_error = shown.source.unwrap().last_error.unwrap();
        assert_eq!(last_error.message, "GitHub cannot be reached");
        assert!(shown.ready);
    }
}
