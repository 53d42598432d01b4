//! What of public events is not passed on: people and repositories that are left out, and the
//! e-mail addresses of commits.

mod names;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use sha1::{Digest as _, Sha1};

use super::event::EVENT_BYTES;
use super::json;

pub use self::names::{EXCLUDED_GLOBS, EXCLUDED_NAMES, ExcludedNames, parse_excluded};

/// Hexadecimal digits of a SHA-1.
const DIGITS: usize = 40;

/// Which events are left out, and whether addresses are hashed before anything else is done. The
/// rules may be replaced while others read them.
#[derive(Debug, Default)]
pub struct Privacy {
    rules: ArcSwap<PrivacyRules>,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct PrivacyRules {
    excluded: Arc<ExcludedNames>,
    hashes_emails: bool,
}

impl Privacy {
    /// Replaces the rules. `exclude` has names and globs in any case: one with a `/` is of
    /// repositories, one without of people and organizations, with all repositories that are
    /// theirs.
    pub fn set(&self, exclude: &[String], hashes_emails: bool) {
        let excluded = Arc::new(ExcludedNames::new(exclude));
        self.rules.store(Arc::new(PrivacyRules { excluded, hashes_emails }));
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the rules were replaced.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// The names that are left out now.
    #[must_use]
    pub fn excluded(&self) -> Arc<ExcludedNames> {
        Arc::clone(&self.rules.load().excluded)
    }

    /// Whether an event is left out because of its actor, its organization, its repository, or the
    /// owner of the repository. People who are only named inside the payload do not count.
    #[must_use]
    pub fn leaves_out(&self, actor: Option<&str>, org: Option<&str>, repo: Option<&str>) -> bool {
        self.rules.load().excluded.hold(actor, org, repo)
    }

    /// The event with hashed addresses, where they are hashed before anything else is done;
    /// `None` when it stays as it is.
    #[must_use]
    pub fn hashed(&self, event: &str) -> Option<String> {
        if self.rules.load().hashes_emails { hash_emails(event) } else { None }
    }

    /// The same for a list of commits that is written into an event later.
    #[must_use]
    pub fn hashed_commits(&self, commits: &str) -> Option<String> {
        const BEFORE: &str = "{\"payload\":{\"commits\":";
        const BEHIND: &str = "}}";
        let hashed = self.hashed(&[BEFORE, commits, BEHIND].concat())?;
        Some(hashed.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?.to_owned())
    }
}

/// An event in which the addresses of its commits' authors are hashed as GH Archive does: a SHA-1
/// in place of what is before the `@`, and the domain as it was. `None` when there is nothing to
/// hash: what is a hash already stays. All other text of the event stays to the letter. An event
/// that would grow above [`EVENT_BYTES`] gets empty addresses.
#[must_use]
pub fn hash_emails(event: &str) -> Option<String> {
    // An `@` may be written as an escape.
    if !event.contains(['@', '\\']) {
        return None;
    }
    let mut changes: Vec<(usize, &str, String)> = addresses(event)
        .into_iter()
        .filter_map(|value| Some((json::offset_in(event, value)?, value, hashed(value)?)))
        .collect();
    if changes.is_empty() {
        return None;
    }
    changes.sort_unstable_by_key(|(at, ..)| *at);
    let grown: usize =
        changes.iter().map(|(_, old, new)| new.len().saturating_sub(old.len())).sum();
    let is_too_large = event.len() + grown > EVENT_BYTES;
    let mut out = String::with_capacity(event.len() + grown);
    let mut copied = 0;
    for (at, old, new) in &changes {
        out.push_str(&event[copied..*at]);
        out.push_str(if is_too_large { "\"\"" } else { new });
        copied = at + old.len();
    }
    out.push_str(&event[copied..]);
    Some(out)
}

/// The values that are addresses of commits, also where a member is repeated: in
/// `payload.commits`, and in `payload.shas` as GitHub wrote it until 2012.
fn addresses(event: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for payload in named(event, "payload") {
        for commit in named(payload, "commits").flat_map(|list| json::items(list, usize::MAX)) {
            for person in named(commit, "author").chain(named(commit, "committer")) {
                found.extend(named(person, "email"));
            }
        }
        for commit in named(payload, "shas").flat_map(|list| json::items(list, usize::MAX)) {
            found.extend(json::items(commit, 2).into_iter().nth(1));
        }
    }
    found
}

/// All values of a member; none when `object` is not an object.
fn named<'a>(object: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let members = json::members(object).unwrap_or_default().into_iter();
    members.filter(move |(key, _)| **key == *name.as_bytes()).map(|(_, value)| value)
}

/// The JSON string to write in place of an address; `None` when the value is not a string, or has
/// nothing to hide.
fn hashed(value: &str) -> Option<String> {
    let address = json::shown(value)?;
    let (local, domain) = address.rsplit_once('@')?;
    if local.is_empty() || is_hash(local) {
        return None;
    }
    let mut new = String::with_capacity(41 + domain.len());
    for byte in Sha1::digest(local.as_bytes()) {
        write!(new, "{byte:02x}").expect("a string takes it");
    }
    new.push('@');
    new.push_str(domain);
    Some(json::encoded(&new))
}

fn is_hash(local: &str) -> bool {
    local.len() == DIGITS && local.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn privacy(exclude: &[&str], hashes_emails: bool) -> Privacy {
        let privacy = Privacy::default();
        let exclude: Vec<String> = exclude.iter().map(|name| (*name).to_owned()).collect();
        privacy.set(&exclude, hashes_emails);
        privacy
    }

    fn of_commit(email: &str) -> String {
        format!(
            concat!(
                r#"{{"id":"1","type":"PushEvent", "payload":{{"n":1.50,"commits":[{{"author":"#,
                r#"{{"email":{email},"name":"a@b"}}}}]}}}}"#
            ),
            email = email
        )
    }

    #[test]
    fn only_the_address_is_changed() {
        let (event, hidden) = (of_commit("\"abc@example.org\""), hash_emails);
        // The SHA-1 of `abc`, from RFC 3174.
        let hash = "\"a9993e364706816aba3e25717850c26c9cd0d89d@example.org\"";
        let changed = hidden(&event).unwrap();
        assert_eq!(changed, of_commit(hash));
        assert_eq!(hidden(&changed), None, "a hash stays");
    }

    #[test]
    fn odd_addresses_are_hidden_too() {
        for (email, tail) in [
            (r#""a\u0040b.org""#, "@b.org\""),
            (r#""a@b@c.org""#, "@c.org\""),
            (r#""\ud800@x.org""#, "@x.org\""),
            (r#""ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD@x""#, "@x\""),
        ] {
            let changed = hash_emails(&of_commit(email)).unwrap();
            assert!(!changed.contains(email), "{changed}");
            assert!(changed.contains(tail), "{changed}");
        }
        for nothing in ["null", "7", "\"\"", "\"nobody\"", "\"@example.org\"", "[\"a@b\"]"] {
            assert_eq!(hash_emails(&of_commit(nothing)), None, "{nothing}");
        }
        let old = r#"{"payload":{"shas":[["e5","a@b.org","text","A"],["e6"],7]}}"#;
        assert!(!hash_emails(old).unwrap().contains("a@b.org"));
        let repeated = r#"{"payload":{"commits":[{"author":{"email":"x@y","email":"z@y"}}]},
            "payload":{"\u0063ommits":[{"committer":{"email":"v@y"}}]}}"#;
        let changed = hash_emails(repeated).unwrap();
        assert!(["x@y", "z@y", "v@y"].iter().all(|one| !changed.contains(&format!("\"{one}\""))));
    }

    #[test]
    fn an_event_stays_within_its_limit() {
        let shas = vec![r#"["","a@b"]"#; EVENT_BYTES / 20].join(",");
        let event = format!(r#"{{"payload":{{"shas":[{shas}]}}}}"#);
        let changed = hash_emails(&event).unwrap();
        assert!(changed.len() < event.len() && !changed.contains("a@b"));
        // One that grows just up to the limit keeps its domain.
        let event = of_commit("\"abc@example.org\"");
        let room = EVENT_BYTES - hash_emails(&event).unwrap().len();
        for (more, keeps) in [(0, true), (1, false)] {
            let event = event.replacen('{', &format!("{{{}", " ".repeat(room + more)), 1);
            assert_eq!(hash_emails(&event).unwrap().contains("@example.org"), keeps, "{more}");
        }
    }

    #[test]
    fn addresses_are_hashed_when_configured() {
        let event = of_commit("\"abc@example.org\"");
        assert_eq!(privacy(&[], true).hashed(&event), hash_emails(&event));
        assert_eq!(privacy(&[], false).hashed(&event), None);
        let commits = r#"[{"author":{"email":"abc@example.org"}}]"#;
        let hashed = privacy(&[], true).hashed_commits(commits).unwrap();
        let hash = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(hashed, commits.replace("abc", hash));
        assert_eq!(privacy(&[], false).hashed_commits(commits), None);
    }

    #[test]
    fn names_are_left_out_in_any_case() {
        let rules = privacy(&["Ann", "evil-*", "bob/secret", "*/private-*"], false);
        for (actor, org, repo, is_left_out) in [
            ("ann", "", "x/y", true),
            ("ANN", "", "", true),
            ("x", "", "Ann/tool", true),
            ("x", "evil-corp", "", true),
            ("x", "", "BOB/Secret", true),
            ("x", "", "q/private-1", true),
            ("annie", "", "bob/secrets", false),
            ("x", "bob", "x/ann", false),
            ("bob", "", "", false),
        ] {
            let given = |name| Some(name).filter(|name: &&str| !name.is_empty());
            let left_out = rules.leaves_out(given(actor), given(org), given(repo));
            assert_eq!(left_out, is_left_out, "{actor} {org} {repo}");
        }
        assert!(!Privacy::default().leaves_out(Some("ann"), None, Some("a/b")));
        for one in ["a/b", "ann"] {
            assert!(privacy(&[one], false).leaves_out(Some("ann"), None, Some("a/b")), "{one}");
        }
        rules.set(&[], false);
        assert!(!rules.leaves_out(Some("ann"), None, None));
        assert_eq!(rules.changes(), 2);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec![
            "payload",
            "commits",
            "author",
            "committer",
            "email",
            "shas",
            "x",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-c@\\\\\"]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(7, 60, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// The definition on a parsed event.
    fn expected(event: &mut Value) {
        let hide = |value: &mut Value| {
            if let Some(new) = hashed(&value.to_string()) {
                *value = serde_json::from_str(&new).unwrap();
            }
        };
        let payload = event.get_mut("payload");
        let Some(payload) = payload else { return };
        for commit in payload.get_mut("commits").and_then(Value::as_array_mut).into_iter().flatten()
        {
            for who in ["author", "committer"] {
                if let Some(email) = commit.get_mut(who).and_then(|who| who.get_mut("email")) {
                    hide(email);
                }
            }
        }
        for commit in payload.get_mut("shas").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(email) = commit.get_mut(1) {
                hide(email);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn everything_else_stays(commits in any_json(), shas in any_json(), rest in any_json()) {
            let people = json!([{"author": {"email": commits}, "x": rest}, {"author": commits}]);
            let mut event = json!({"payload": {"commits": people, "shas": [shas, ["", rest]]}});
            let text = event.to_string();
            let changed = hash_emails(&text).unwrap_or_else(|| text.clone());
            expected(&mut event);
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), event);
            prop_assert_eq!(hash_emails(&changed), None);
        }

        #[test]
        fn any_text_is_taken(text in ".{0,200}") {
            prop_assert_eq!(hash_emails(&text).is_some(), false);
        }
    }
}
