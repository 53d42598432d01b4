//! Payloads in the form before October 2025: the whole pull request, and the commits of a push.
//!
//! A merge is `closed` with `merged` true, and `base.repo.language` names the language.

use super::cast::{Person, Repository};
use super::commits::SimulatedPush;
use super::json::{Object, list};
use super::node::node_id;
use super::payloads::{api, label, person, repository, time, web};
use super::pulls::SimulatedPull;
use crate::model::window::Second;

/// Commits of a push in an event.
const MAX_COMMITS: usize = 20;

/// The pull request with all fields.
pub(super) fn pull_request(pull: &SimulatedPull) -> String {
    let home = &pull.repository;
    let url = format!("{}/pulls/{}", api(home), pull.number);
    let html = format!("{}/pull/{}", web(home), pull.number);
    let merged = matches!(pull.ended, Some((_, true)));
    let ended = pull.ended.map(|(at, _)| time(at));
    let merged_at = if merged { ended.as_deref() } else { None };
    let head = Object::new()
        .text("label", &format!("{}:{}", home.owner.login, pull.head_ref))
        .text("ref", &pull.head_ref)
        .text("sha", &pull.head_sha);
    let base = Object::new()
        .text("label", &format!("{}:{}", home.owner.login, home.branch))
        .text("ref", home.branch)
        .text("sha", &pull.base_sha);
    let whole = Object::new()
        .text("url", &url)
        .bare("id", pull.id)
        .text("node_id", &node_id("PR", &[home.id, pull.id]))
        .text("html_url", &html)
        .text("diff_url", &format!("{html}.diff"))
        .text("patch_url", &format!("{html}.patch"))
        .text("issue_url", &format!("{}/issues/{}", api(home), pull.number))
        .bare("number", pull.number)
        .text("state", if ended.is_some() { "closed" } else { "open" })
        .bare("locked", false)
        .text("title", &pull.title)
        .raw("user", &person(&pull.author))
        .maybe("body", (pull.commits > 1).then_some("See the commits.\r\n\r\n- simulated"))
        .text("created_at", &time(pull.created))
        .text("updated_at", &time(pull.updated))
        .maybe("closed_at", ended.as_deref())
        .maybe("merged_at", merged_at)
        .maybe("merge_commit_sha", merged.then_some(pull.base_sha.as_str()));
    let whole = people_and_labels(whole, pull)
        .bare("draft", pull.draft)
        .links(&url, &[("commits_url", "/commits"), ("review_comments_url", "/comments")])
        .text("review_comment_url", &format!("{}/pulls/comments{{/number}}", api(home)))
        .text("comments_url", &format!("{}/issues/{}/comments", api(home), pull.number))
        .text("statuses_url", &format!("{}/statuses/{}", api(home), pull.head_sha))
        .raw("head", &end(head, home, pull.updated))
        .raw("base", &end(base, home, pull.updated))
        .raw("_links", &links(pull, &url, &html))
        .text("author_association", association(&pull.author, home))
        .null("auto_merge")
        .null("active_lock_reason")
        .bare("merged", merged);
    sizes(whole, pull, merged).end()
}

fn end(start: Object, home: &Repository, now: Second) -> String {
    start.raw("user", &person(&home.owner)).raw("repo", &repository(home, now)).end()
}

fn people_and_labels(whole: Object, pull: &SimulatedPull) -> Object {
    let assignee = pull.assignee.as_deref().map(person);
    let labels = pull.label.map(|tag| label(&pull.repository, tag));
    whole
        .raw("assignee", assignee.as_deref().unwrap_or("null"))
        .raw("assignees", &list(assignee.as_slice()))
        .raw("requested_reviewers", "[]")
        .raw("requested_teams", "[]")
        .raw("labels", &list(labels.as_slice()))
        .null("milestone")
}

fn sizes(whole: Object, pull: &SimulatedPull, merged: bool) -> Object {
    let by = pull.ended_by.as_deref().filter(|_| merged).map(person);
    let whole = if merged { whole.null("mergeable") } else { whole.bare("mergeable", true) };
    whole
        .null("rebaseable")
        .text("mergeable_state", if pull.draft { "draft" } else { "unknown" })
        .raw("merged_by", by.as_deref().unwrap_or("null"))
        .bare("comments", pull.comments)
        .bare("review_comments", pull.comments / 2)
        .bare("maintainer_can_modify", false)
        .bare("commits", pull.commits)
        .bare("additions", pull.additions)
        .bare("deletions", pull.deletions)
        .bare("changed_files", pull.changed_files)
}

fn links(pull: &SimulatedPull, url: &str, html: &str) -> String {
    let link = |href: &str| Object::new().text("href", href).end();
    let issue = format!("{}/issues/{}", api(&pull.repository), pull.number);
    Object::new()
        .raw("self", &link(url))
        .raw("html", &link(html))
        .raw("issue", &link(&issue))
        .raw("comments", &link(&format!("{issue}/comments")))
        .raw("review_comments", &link(&format!("{url}/comments")))
        .raw("commits", &link(&format!("{url}/commits")))
        .end()
}

/// The association of a person with a repository.
pub(super) fn association(who: &Person, home: &Repository) -> &'static str {
    match who.id {
        id if id == home.owner.id => "OWNER",
        id if id % 2 == 0 => "CONTRIBUTOR",
        _ => "NONE",
    }
}

/// The payload of a push, with the oldest of its commits.
pub(super) fn push(push: &SimulatedPush) -> String {
    let commits = push.commits.iter().take(MAX_COMMITS).map(|(sha, commit)| {
        let author = Object::new().text("email", &commit.email).text("name", &commit.name).end();
        Object::new()
            .text("sha", sha)
            .raw("author", &author)
            .text("message", &commit.message)
            .bare("distinct", true)
            .text("url", &format!("{}/commits/{sha}", api(&push.repository)))
            .end()
    });
    Object::new()
        .bare("repository_id", push.repository.id)
        .bare("push_id", push.id)
        .bare("size", push.commits.len())
        .bare("distinct_size", push.commits.len())
        .text("ref", &format!("refs/heads/{}", push.branch))
        .text("head", &push.head)
        .text("before", &push.before)
        .raw("commits", &list(commits.collect::<Vec<_>>()))
        .end()
}
