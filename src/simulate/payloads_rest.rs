//! Payloads of all types other than push and pull request; the two forms differ only in single
//! keys.

use fastrand::Rng;

use super::cast::{Person, Repository, magnitude, pick};
use super::json::{Object, list};
use super::names;
use super::node::node_id;
use super::options::Shape;
use super::payloads::{api, label, person, reactions, repository as full, time, web};
use super::payloads_old::association;
use super::payloads_pulls::pull_request;
use super::pulls::{SimulatedPull, branch, sha, title};
use crate::model::window::Second;

const REVIEW_STATES: &[&str] = &["approved", "commented", "changes_requested"];

/// Actor, repository and time of an event.
pub(super) struct Scene<'a> {
    pub(super) shape: Shape,
    pub(super) actor: &'a Person,
    pub(super) repository: &'a Repository,
    /// A unique id for the created object.
    pub(super) id: u64,
    /// A number in the repository, for a created issue or discussion.
    pub(super) number: u32,
    pub(super) at: Second,
}

impl Scene<'_> {
    fn node(&self, prefix: &str) -> String {
        node_id(prefix, &[self.repository.id, self.id])
    }

    /// `author_association` was removed in some places in October 2025.
    fn association_before_2025(&self, object: Object) -> Object {
        let association = association(self.actor, self.repository);
        let is_old = self.shape == Shape::Old;
        object.when(is_old, |object| object.text("author_association", association))
    }

    /// What was added in October 2025.
    fn since_2025(&self, object: Object, add: impl FnOnce(Object) -> Object) -> Object {
        object.when(self.shape == Shape::Today, add)
    }

    fn full_ref(&self, payload: Object, kind: &str, name: &str) -> Object {
        let plural = if kind == "tag" { "tags" } else { "heads" };
        let full = format!("refs/{plural}/{name}");
        self.since_2025(payload, |payload| payload.text("full_ref", &full))
    }

    /// A branch, a tag or the repository itself was created.
    pub(super) fn create(&self, rng: &mut Rng, founded: bool) -> String {
        let name = branch(rng);
        let payload = if founded {
            let payload = Object::new().null("ref").text("ref_type", "repository");
            self.since_2025(payload, |payload| payload.null("full_ref"))
        } else {
            let kind = if rng.u32(0..6) == 0 { "tag" } else { "branch" };
            let payload = Object::new().text("ref", &name).text("ref_type", kind);
            self.full_ref(payload, kind, &name)
        };
        payload
            .text("master_branch", self.repository.branch)
            .null("description")
            .text("pusher_type", "user")
            .end()
    }

    /// A branch or tag was deleted.
    pub(super) fn delete(&self, rng: &mut Rng) -> String {
        let name = branch(rng);
        let payload = Object::new().text("ref", &name).text("ref_type", "branch");
        self.full_ref(payload, "branch", &name).text("pusher_type", "user").end()
    }

    /// The repository was forked.
    pub(super) fn fork(&self, forkee: &Repository) -> String {
        let payload = self.since_2025(Object::new(), |payload| payload.text("action", "forked"));
        payload.raw("forkee", &full(forkee, self.at)).end()
    }

    /// An issue was opened, closed or reopened.
    pub(super) fn issues(&self, rng: &mut Rng) -> String {
        let action = Self::issue_action(rng);
        let issue = self.issue(rng, action == "closed");
        Object::new().text("action", action).raw("issue", &issue).end()
    }

    /// What happens to an issue.
    pub(super) fn issue_action(rng: &mut Rng) -> &'static str {
        const ACTIONS: [&str; 5] = ["opened", "opened", "closed", "closed", "reopened"];
        ACTIONS[rng.usize(0..ACTIONS.len())]
    }

    /// A comment on an issue.
    pub(super) fn issue_comment(&self, rng: &mut Rng) -> String {
        let issue = self.issue(rng, false);
        let html = format!("{}/issues/{}", web(self.repository), self.number);
        let url = format!("{}/issues/comments/{}", api(self.repository), self.id);
        let comment = Object::new()
            .text("url", &url)
            .text("html_url", &format!("{html}#issuecomment-{}", self.id))
            .text("issue_url", &format!("{}/issues/{}", api(self.repository), self.number))
            .bare("id", self.id)
            .text("node_id", &self.node("IC"))
            .raw("user", &person(self.actor))
            .text("created_at", &time(self.at))
            .text("updated_at", &time(self.at))
            .text("author_association", association(self.actor, self.repository))
            .text("body", &title(rng))
            .raw("reactions", &reactions(&url))
            .null("performed_via_github_app")
            .end();
        Object::new().text("action", "created").raw("issue", &issue).raw("comment", &comment).end()
    }

    fn issue(&self, rng: &mut Rng, closed: bool) -> String {
        let url = format!("{}/issues/{}", api(self.repository), self.number);
        let labels = rng.bool().then(|| label(self.repository, *pick(rng, names::LABELS)));
        let links = [
            ("labels_url", "/labels{/name}"),
            ("comments_url", "/comments"),
            ("events_url", "/events"),
            ("timeline_url", "/timeline"),
        ];
        Object::new()
            .text("url", &url)
            .text("repository_url", &api(self.repository))
            .links(&url, &links)
            .text("html_url", &format!("{}/issues/{}", web(self.repository), self.number))
            .bare("id", self.id)
            .text("node_id", &self.node("I"))
            .bare("number", self.number)
            .text("title", &title(rng))
            .raw("user", &person(self.actor))
            .raw("labels", &list(labels.as_slice()))
            .text("state", if closed { "closed" } else { "open" })
            .bare("locked", false)
            .null("assignee")
            .raw("assignees", "[]")
            .null("milestone")
            .bare("comments", magnitude(rng, 4))
            .text("created_at", &time(self.at))
            .text("updated_at", &time(self.at))
            .maybe("closed_at", closed.then(|| time(self.at)).as_deref())
            .text("author_association", association(self.actor, self.repository))
            .null("active_lock_reason")
            .text("body", &title(rng))
            .raw("reactions", &reactions(&url))
            .maybe("state_reason", closed.then_some("completed"))
            .end()
    }

    /// A comment on a commit.
    pub(super) fn commit_comment(&self, rng: &mut Rng) -> String {
        let (sha, repository) = (sha(rng), self.repository);
        let url = format!("{}/comments/{}", api(repository), self.id);
        let comment = Object::new()
            .text("url", &url)
            .text(
                "html_url",
                &format!("{}/commit/{sha}#commitcomment-{}", web(repository), self.id),
            )
            .bare("id", self.id)
            .text("node_id", &self.node("CC"))
            .raw("user", &person(self.actor))
            .null("position")
            .null("line")
            .null("path")
            .text("commit_id", &sha)
            .text("created_at", &time(self.at))
            .text("updated_at", &time(self.at));
        let comment = self
            .association_before_2025(comment)
            .text("body", &title(rng))
            .raw("reactions", &reactions(&url));
        let payload = self.since_2025(Object::new(), |payload| payload.text("action", "created"));
        payload.raw("comment", &comment.end()).end()
    }

    /// A review of a pull request.
    pub(super) fn review(&self, rng: &mut Rng, pull: &SimulatedPull) -> String {
        let url = format!("{}/pulls/{}", api(self.repository), pull.number);
        let html = format!("{}/pull/{}", web(self.repository), pull.number);
        let html = format!("{html}#pullrequestreview-{}", self.id);
        let link = |href: &str| Object::new().text("href", href).end();
        let links = Object::new().raw("html", &link(&html)).raw("pull_request", &link(&url)).end();
        let state = *pick(rng, REVIEW_STATES);
        let review = Object::new()
            .bare("id", self.id)
            .text("node_id", &self.node("PRR"))
            .raw("user", &person(self.actor))
            .null("body")
            .text("commit_id", &pull.head_sha)
            .text("submitted_at", &time(self.at))
            .text("state", state)
            .text("html_url", &html)
            .text("pull_request_url", &url);
        let review = self
            .association_before_2025(review)
            .raw("_links", &links)
            .text("updated_at", &time(self.at));
        Object::new()
            .text("action", "created")
            .raw("review", &review.end())
            .raw("pull_request", &pull_request(self.shape, pull))
            .end()
    }

    /// A comment on a line of a pull request.
    pub(super) fn review_comment(&self, rng: &mut Rng, pull: &SimulatedPull) -> String {
        let url = format!("{}/pulls/comments/{}", api(self.repository), self.id);
        let line = 1 + magnitude(rng, 9);
        let html = format!("{}/pull/{}", web(self.repository), pull.number);
        let comment = Object::new()
            .text("url", &url)
            .bare("pull_request_review_id", self.id - 1)
            .bare("id", self.id)
            .text("node_id", &self.node("PRRC"))
            .text("diff_hunk", &format!("@@ -{line},1 +{line},2 @@\n+// {}", title(rng)))
            .text("path", &format!("src/{}.txt", pick(rng, names::NOUNS)))
            .text("commit_id", &pull.head_sha)
            .text("original_commit_id", &pull.head_sha)
            .raw("user", &person(self.actor))
            .text("body", &title(rng))
            .text("created_at", &time(self.at))
            .text("updated_at", &time(self.at))
            .text("html_url", &format!("{html}#discussion_r{}", self.id))
            .text("pull_request_url", &format!("{}/pulls/{}", api(self.repository), pull.number));
        let comment = self
            .association_before_2025(comment)
            .raw("reactions", &reactions(&url))
            .bare("line", line)
            .text("side", "RIGHT");
        Object::new()
            .text("action", "created")
            .raw("comment", &comment.end())
            .raw("pull_request", &pull_request(self.shape, pull))
            .end()
    }

    /// A release was published.
    pub(super) fn release(&self, rng: &mut Rng) -> String {
        let tag = format!("v{}.{}.{}", rng.u32(0..6), rng.u32(0..30), rng.u32(0..20));
        let (api, web) = (api(self.repository), web(self.repository));
        let url = format!("{api}/releases/{}", self.id);
        let release = Object::new()
            .text("url", &url)
            .text("assets_url", &format!("{url}/assets"))
            .text("html_url", &format!("{web}/releases/tag/{tag}"))
            .bare("id", self.id)
            .raw("author", &person(self.actor))
            .text("node_id", &self.node("RE"))
            .text("tag_name", &tag)
            .text("target_commitish", self.repository.branch)
            .text("name", &tag)
            .bare("draft", false)
            .bare("prerelease", rng.u32(0..5) == 0)
            .text("created_at", &time(self.at))
            .text("published_at", &time(self.at))
            .raw("assets", "[]")
            .text("tarball_url", &format!("{api}/tarball/{tag}"))
            .text("zipball_url", &format!("{api}/zipball/{tag}"))
            .text("body", &title(rng))
            .end();
        Object::new().text("action", "published").raw("release", &release).end()
    }

    /// Another person became a collaborator.
    pub(super) fn member(who: &Person) -> String {
        Object::new().raw("member", &person(who)).text("action", "added").end()
    }

    /// A page of the wiki was edited.
    pub(super) fn gollum(&self, rng: &mut Rng) -> String {
        let name = title(rng);
        let page = Object::new()
            .text("page_name", &name)
            .text("title", &name)
            .null("summary")
            .text("action", "edited")
            .text("sha", &sha(rng))
            .text("html_url", &format!("{}/wiki/Home", web(self.repository)))
            .end();
        Object::new().raw("pages", &list([page])).end()
    }

    /// A discussion was started.
    pub(super) fn discussion(&self, rng: &mut Rng) -> String {
        let html = format!("{}/discussions/{}", web(self.repository), self.number);
        let discussion = Object::new()
            .text("repository_url", &api(self.repository))
            .null("answer_html_url")
            .null("answer_chosen_at")
            .null("answer_chosen_by")
            .text("html_url", &html)
            .bare("id", self.id)
            .text("node_id", &self.node("D"))
            .bare("number", self.number)
            .text("title", &title(rng))
            .raw("user", &person(self.actor))
            .raw("labels", "[]")
            .text("state", "open")
            .bare("locked", false)
            .bare("comments", 0)
            .text("created_at", &time(self.at))
            .text("updated_at", &time(self.at))
            .null("body")
            .end();
        Object::new().text("action", "created").raw("discussion", &discussion).end()
    }
}
