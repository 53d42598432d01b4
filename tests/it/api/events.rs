//! Made-up events, in GitHub's formats before and since October 2025.

use std::sync::LazyLock;

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;

/// A time of this UTC year, such as `at("01-02T00:00:00Z")`: the figures are those of this year.
pub(crate) fn at(rest: &str) -> String {
    format!("{}-{rest}", year())
}

/// The UTC year in which the tests began.
pub(crate) fn year() -> i32 {
    static YEAR: LazyLock<i32> = LazyLock::new(|| Clock::system().now().year().0);
    *YEAR
}

/// A clock in the middle of that year, which does not end during a test.
pub(crate) fn midyear() -> Clock {
    Clock::starting_at(Timestamp::parse(&at("07-01T12:00:00Z")).unwrap())
}

/// A pull-request event with all possible fields.
pub(crate) struct Pull<'a> {
    pub(crate) id: u64,
    pub(crate) at: &'a str,
    pub(crate) actor: u64,
    pub(crate) repo: u64,
    pub(crate) action: &'a str,
    /// The members of `payload.pull_request`.
    pub(crate) members: &'a str,
}

impl Pull<'_> {
    pub(crate) fn text(&self) -> String {
        let Self { id, at, actor, repo, action, members } = self;
        format!(
            concat!(
                r#"{{"id":"{id}","type":"PullRequestEvent","#,
                r#""actor":{{"id":{actor},"login":"dev{actor}"}},"#,
                r#""repo":{{"id":{repo},"name":"org/repo{repo}"}},"#,
                r#""payload":{{"action":"{action}","number":3,"pull_request":{{{members}}}}},"#,
                r#""public":true,"created_at":"{at}"}}"#
            ),
            id = id,
            actor = actor,
            repo = repo,
            action = action,
            members = members,
            at = at
        )
    }
}

/// The members of a pull request in the old format.
pub(crate) fn old(merged: bool, additions: u64, deletions: u64, language: &str) -> String {
    format!(
        concat!(
            r#""id":5,"merged":{},"additions":{},"deletions":{},"#,
            r#""base":{{"ref":"main","repo":{{"id":9,"language":{}}}}}"#
        ),
        merged,
        additions,
        deletions,
        serde_json::Value::from(language)
    )
}

/// The members of a pull request in today's format.
pub(crate) const TODAY: &str =
    r#""url":"u","id":5,"number":3,"head":{"ref":"x"},"base":{"ref":"main"}"#;

/// An opened pull request of a repository in this language.
pub(crate) fn opened(id: u64, language: &str) -> String {
    let at = at("01-01T00:00:00Z");
    let pull = old(false, 1, 1, language);
    Pull { id, at: &at, actor: id, repo: id, action: "opened", members: &pull }.text()
}

/// A push; later pushes have larger numbers.
pub(crate) fn push(id: u64) -> String {
    format!(
        concat!(
            r#"{{"id":"{id}","type":"PushEvent","actor":{{"id":1,"login":"ann"}},"#,
            r#""repo":{{"id":2,"name":"ann/tool"}},"payload":{{"push_id":{id}}},"#,
            r#""public":true,"created_at":"{at}"}}"#
        ),
        id = id,
        at = at(&format!("01-01T00:{:02}:{:02}Z", id / 60, id % 60))
    )
}
