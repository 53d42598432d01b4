//! Payloads in the form before October 2025: the whole pull request, and the commits of a push.
//!
//! A merge is `closed` with `merged` true, and `base.repo.language` names the language.

use fastrand::Rng;

use super::cast::{Person, Repository};
use super::json::{Object, list};
use super::node::node_id;
use super::payloads::{api, label, person, repository, time, web};
use super::pulls::{SimulatedPull, sha, title};
use crate::model::window::Second;

const MAX_COMMITS: u32 = 4;

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

/// The payload of a push.
pub(super) fn push(
    rng: &mut Rng,
    repository: &Repository,
    push_id: u64,
    branch: &str,
    by: &Person,
) -> String {
    let head = sha(rng);
    let size = 1 + rng.u32(0..MAX_COMMITS);
    let commits: Vec<String> = (1..=size)
        .map(|n| {
            let sha = if n == size { head.clone() } else { sha(rng) };
            let author = Object::new()
                .text("email", &format!("{}+{}@users.noreply.github.com", by.id, by.login))
                .text("name", &by.login)
                .end();
            Object::new()
                .text("sha", &sha)
                .raw("author", &author)
                .text("message", &title(rng))
                .bare("distinct", true)
                .text("url", &format!("{}/commits/{sha}", api(repository)))
                .end()
        })
        .collect();
    Object::new()
        .bare("repository_id", repository.id)
        .bare("push_id", push_id)
        .bare("size", size)
        .bare("distinct_size", size)
        .text("ref", &format!("refs/heads/{branch}"))
        .text("head", &head)
        .text("before", &sha(rng))
        .raw("commits", &list(commits))
        .end()
}
