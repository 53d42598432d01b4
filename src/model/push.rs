//! The commits of a push, which GitHub leaves out of events since October 2025.
//!
//! They are written back to their old place: `payload.commits`, `size` and `distinct_size`, as
//! GitHub sent them, and never over a value that it sent. What cannot be known is null: which
//! commits were pushed before (`distinct`), and the size of a push that was not read whole.

use std::borrow::Cow;

use serde::Serialize;

use super::event::{Event, WRITTEN_BACK_BYTES};
use super::json;

/// The type of events of pushes.
pub const PUSH: &str = "PushEvent";
/// The most commits of a push in an event: as many as GitHub sent.
pub const MOST_COMMITS: usize = 20;
/// The longest message in bytes of JSON; the rest is cut.
const MESSAGE_BYTES: usize = 2_000;
/// The longest name of an author in bytes of JSON; the rest is cut. A longer address is left out.
const NAME_BYTES: usize = 250;
/// The longest URL of a repository in bytes of JSON; a longer one is not used.
const URL_BYTES: usize = 300;
/// Hexadecimal digits of a hash: SHA-1 or SHA-256.
const SHA_DIGITS: [usize; 2] = [40, 64];
/// Marks where a text was cut.
const CUT: &str = "…";
/// A bound of the other text of a commit.
const AROUND_COMMIT: usize = 2 * SHA_DIGITS[1] + 120;
const _: () = assert!(
    MOST_COMMITS * (MESSAGE_BYTES + 2 * NAME_BYTES + URL_BYTES + AROUND_COMMIT)
        <= WRITTEN_BACK_BYTES
);

/// A commit of a push.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushedCommit {
    /// Its hash, hexadecimal.
    pub sha: String,
    /// The author's name.
    pub name: Option<String>,
    /// The author's address.
    pub email: Option<String>,
    /// The whole message.
    pub message: Option<String>,
}

/// The commits of a push as they are written into its event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushedCommits {
    /// Number of commits in the push; `None` when it is not known.
    pub size: Option<u64>,
    /// The commits, oldest first: a JSON list.
    pub commits: String,
}

/// A commit as GitHub sent it.
#[derive(Serialize)]
struct WrittenCommit<'a> {
    sha: &'a str,
    author: WrittenAuthor<'a>,
    message: Option<Cow<'a, str>>,
    /// Null: whether it was pushed before is not known.
    distinct: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Serialize)]
struct WrittenAuthor<'a> {
    email: Option<&'a str>,
    name: Option<Cow<'a, str>>,
}

/// A push event without commits, and what is needed to ask for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingCommits<'a> {
    payload: &'a str,
    /// `size` is missing.
    size: bool,
    /// `distinct_size` is missing.
    distinct_size: bool,
    /// The hash that the branch has now, and the one that it had before; `None` when GitHub did not
    /// send both, or there was none because the branch is new.
    pub range: Option<(String, String)>,
    /// `repo.url`, if GitHub sent it.
    pub repo_url: Option<Cow<'a, str>>,
}

impl<'a> MissingCommits<'a> {
    /// Finds what is missing; `None` for other events, and when GitHub sent the commits.
    #[must_use]
    pub fn of(event: &Event<'a>) -> Option<Self> {
        if event.key.kind != PUSH || event.parts.commits.is_some() {
            return None;
        }
        let payload = event.payload.filter(|payload| json::is_object(payload))?;
        let [size, distinct_size, head, before] =
            json::pick(payload, ["size", "distinct_size", "head", "before"]);
        let sha =
            |value: Option<&str>| Some(json::text(value?)?.into_owned()).filter(|t| is_sha(t));
        let url = event.parts.repo.and_then(|repo| json::pick(repo, ["url"])[0]);
        Some(Self {
            payload,
            size: size.is_none(),
            distinct_size: distinct_size.is_none(),
            range: sha(head).zip(sha(before)),
            repo_url: url.filter(|url| url.len() <= URL_BYTES).and_then(json::text),
        })
    }
}

impl PushedCommits {
    /// The first [`MOST_COMMITS`] of `commits`, which come oldest first. `repo_url` is the API's
    /// URL of the repository.
    #[must_use]
    pub fn new(size: Option<u64>, commits: &[PushedCommit], repo_url: Option<&str>) -> Self {
        let url = repo_url.filter(|url| is_whole(url, URL_BYTES));
        let written = commits.iter().take(MOST_COMMITS).map(|commit| WrittenCommit {
            sha: &commit.sha,
            author: WrittenAuthor {
                email: commit.email.as_deref().filter(|email| is_whole(email, NAME_BYTES)),
                name: commit.name.as_deref().map(|name| cut(name, NAME_BYTES)),
            },
            message: commit.message.as_deref().map(|text| cut(text, MESSAGE_BYTES)),
            distinct: (),
            url: url.map(|url| format!("{url}/commits/{}", commit.sha)),
        });
        Self { size, commits: json::encoded(&written.collect::<Vec<_>>()) }
    }

    /// The event with these commits, compact; `None` when it has commits or is of another type.
    #[must_use]
    pub fn written_into(&self, event: &Event<'_>) -> Option<String> {
        let missing = MissingCommits::of(event)?;
        // Of no commits none is new; of others that is not known.
        let distinct = self.size.filter(|size| *size == 0);
        let members = [
            ("size", missing.size, Some(json::encoded(&self.size))),
            ("distinct_size", missing.distinct_size, Some(json::encoded(&distinct))),
            ("commits", true, Some(self.commits.clone())),
        ];
        Some(event.with_members(&[(missing.payload, &members[..])]))
    }
}

/// A text whose JSON has up to `most` bytes between its quotes.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    let (mut bytes, mut end) = (0, 0);
    for (at, c) in text.char_indices() {
        if bytes + CUT.len() <= most {
            end = at;
        }
        bytes += match c {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..' ' => 6,
            c => c.len_utf8(),
        };
        if bytes > most {
            return Cow::Owned(format!("{}{CUT}", &text[..end]));
        }
    }
    Cow::Borrowed(text)
}

fn is_whole(text: &str, most: usize) -> bool {
    matches!(cut(text, most), Cow::Borrowed(_))
}

/// Whether a text is the hash of a commit; the hash of nothing, all zeros, is not.
#[must_use]
pub fn is_sha(text: &str) -> bool {
    SHA_DIGITS.contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn sha(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn event(payload: &str) -> String {
        format!(
            r#"{{"id":"1","type":"PushEvent","repo":{{"id":5,"name":"o/n","url":"https://api.github.com/repos/o/n"}},"payload":{payload}}}"#
        )
    }

    fn today() -> String {
        let (head, before) = (sha('a'), sha('b'));
        event(&format!(r#"{{"push_id":3,"head":"{head}","before":"{before}"}}"#))
    }

    #[test]
    fn commits_go_to_their_old_place() {
        let text = today();
        let read = Event::read(&text).unwrap();
        let missing = MissingCommits::of(&read).unwrap();
        assert_eq!(missing.range, Some((sha('a'), sha('b'))));
        let commit = PushedCommit {
            sha: sha('a'),
            name: Some("A \"B\"".to_owned()),
            email: Some("a@b.org".to_owned()),
            message: Some("One\n\ntwo".to_owned()),
        };
        let commits = PushedCommits::new(Some(1), &[commit], missing.repo_url.as_deref());
        let written = commits.written_into(&read).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            written["payload"],
            json!({
                "push_id": 3, "head": sha('a'), "before": sha('b'), "size": 1,
                "distinct_size": null,
                "commits": [{
                    "sha": sha('a'), "author": {"email": "a@b.org", "name": "A \"B\""},
                    "message": "One\n\ntwo", "distinct": null,
                    "url": format!("https://api.github.com/repos/o/n/commits/{}", sha('a')),
                }],
            })
        );
    }

    #[test]
    fn values_that_github_sent_are_kept() {
        let commits = PushedCommits::new(Some(0), &[], None);
        for sent in [r#"{"commits":null}"#, r#"{"commits":[],"size":3}"#] {
            let text = event(sent);
            assert_eq!(commits.written_into(&Event::read(&text).unwrap()), None, "{sent}");
        }
        let written = |payload: &str| {
            let text = event(payload);
            let written = commits.written_into(&Event::read(&text).unwrap()).unwrap();
            serde_json::from_str::<Value>(&written).unwrap()["payload"].clone()
        };
        assert_eq!(written("{ }"), json!({"size": 0, "distinct_size": 0, "commits": []}));
        let sent = written(r#"{"size":7,"distinct_size":null}"#);
        assert_eq!(sent, json!({"size": 7, "distinct_size": null, "commits": []}));
        let other = today().replace("PushEvent", "WatchEvent");
        assert_eq!(MissingCommits::of(&Event::read(&other).unwrap()), None);
    }

    #[test]
    fn push_that_has_no_range_has_none() {
        let (zero, one) = (sha('0'), sha('1'));
        for (head, before) in [(&one, &zero), (&zero, &one), (&one, &one[1..].to_owned())] {
            let text = event(&format!(r#"{{"head":"{head}","before":"{before}"}}"#));
            assert_eq!(MissingCommits::of(&Event::read(&text).unwrap()).unwrap().range, None);
        }
        let text = event(r#"{"head":7,"before":null}"#);
        assert_eq!(MissingCommits::of(&Event::read(&text).unwrap()).unwrap().range, None);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "…");
        assert_eq!(cut("abcdefg", 6), "abc…");
        assert_eq!(cut("\n\n\n\n", 7), "\n\n…");
        assert_eq!(cut("ééé", 5), "é…");
    }

    proptest! {
        #[test]
        fn largest_commits_stay_within_the_limit(
            texts in prop::collection::vec(".{0,40}", 3), times in 1_usize..200
        ) {
            let text = |at: usize| Some(texts[at].repeat(times));
            let (name, email, message) = (text(0), text(1), text(2));
            let sha = "f".repeat(64);
            let commits = vec![PushedCommit { sha, name, email, message }; 30];
            let url = "u".repeat(URL_BYTES);
            let commits = PushedCommits::new(Some(u64::MAX), &commits, Some(&url));
            let text = today();
            let written = commits.written_into(&Event::read(&text).unwrap()).unwrap();
            prop_assert!(written.len() <= text.len() + WRITTEN_BACK_BYTES);
            let written: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(written["payload"]["commits"].as_array().unwrap().len(), 20);
        }
    }
}
