//! The common parts of both payload forms: envelope, accounts, repositories, labels.

use super::cast::{CastAccount, Person, Repository};
use super::json::{Object, list};
use super::node::node_id;
use super::pulls::Step;
use crate::model::window::Second;

pub(super) const API: &str = "https://api.github.com";
pub(super) const WEB: &str = "https://github.com";
const AVATARS: &str = "https://avatars.githubusercontent.com";

const PERSON_LINKS: &[(&str, &str)] = &[
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

const REPOSITORY_LINKS: &[(&str, &str)] = &[
    ("url", ""),
    ("forks_url", "/forks"),
    ("keys_url", "/keys{/key_id}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("teams_url", "/teams"),
    ("hooks_url", "/hooks"),
    ("issue_events_url", "/issues/events{/number}"),
    ("events_url", "/events"),
    ("assignees_url", "/assignees{/user}"),
    ("branches_url", "/branches{/branch}"),
    ("tags_url", "/tags"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("trees_url", "/git/trees{/sha}"),
    ("statuses_url", "/statuses/{sha}"),
    ("languages_url", "/languages"),
    ("stargazers_url", "/stargazers"),
    ("contributors_url", "/contributors"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("commits_url", "/commits{/sha}"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("comments_url", "/comments{/number}"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("contents_url", "/contents/{+path}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("merges_url", "/merges"),
    ("archive_url", "/{archive_format}{/ref}"),
    ("downloads_url", "/downloads"),
    ("issues_url", "/issues{/number}"),
    ("pulls_url", "/pulls{/number}"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("labels_url", "/labels{/name}"),
    ("releases_url", "/releases{/id}"),
    ("deployments_url", "/deployments"),
];

/// The whole event.
pub(super) fn envelope(
    id: u64,
    kind: &str,
    actor: &Person,
    repository: &Repository,
    payload: &str,
    created: Second,
) -> String {
    let event = Object::new()
        .text("id", &id.to_string())
        .text("type", kind)
        .raw("actor", &actor_of(actor))
        .raw(
            "repo",
            &Object::new()
                .bare("id", repository.id)
                .text("name", &repository.full_name())
                .text("url", &api(repository))
                .end(),
        )
        .raw("payload", payload)
        .bare("public", true)
        .text("created_at", &time(created));
    if repository.owner.account != CastAccount::Organization {
        return event.end();
    }
    let owner = &repository.owner;
    event
        .raw(
            "org",
            &Object::new()
                .bare("id", owner.id)
                .text("login", &owner.login)
                .text("gravatar_id", "")
                .text("url", &format!("{API}/orgs/{}", owner.login))
                .text("avatar_url", &format!("{AVATARS}/u/{}?", owner.id))
                .end(),
        )
        .end()
}

fn actor_of(actor: &Person) -> String {
    Object::new()
        .bare("id", actor.id)
        .text("login", &actor.login)
        .text("display_login", actor.login.trim_end_matches("[bot]"))
        .text("gravatar_id", "")
        .text("url", &format!("{API}/users/{}", actor.login))
        .text("avatar_url", &format!("{AVATARS}/u/{}?", actor.id))
        .end()
}

/// An account with all its links.
pub(super) fn person(person: &Person) -> String {
    let (prefix, account) = match person.account {
        CastAccount::User => ("U", "User"),
        CastAccount::Bot => ("BOT", "Bot"),
        CastAccount::Organization => ("O", "Organization"),
    };
    let url = format!("{API}/users/{}", person.login);
    Object::new()
        .text("login", &person.login)
        .bare("id", person.id)
        .text("node_id", &node_id(prefix, &[person.id]))
        .text("avatar_url", &format!("{AVATARS}/u/{}?v=4", person.id))
        .text("gravatar_id", "")
        .text("url", &url)
        .text("html_url", &format!("{WEB}/{}", person.login))
        .links(&url, PERSON_LINKS)
        .text("type", account)
        .text("user_view_type", "public")
        .bare("site_admin", false)
        .end()
}

/// A repository with all fields that GitHub sends.
pub(super) fn repository(repository: &Repository, now: Second) -> String {
    let full_name = repository.full_name();
    let web = format!("{WEB}/{full_name}");
    Object::new()
        .bare("id", repository.id)
        .text("node_id", &node_id("R", &[repository.id]))
        .text("name", &repository.name)
        .text("full_name", &full_name)
        .bare("private", false)
        .raw("owner", &person(&repository.owner))
        .text("html_url", &web)
        .maybe(
            "description",
            (!repository.size.is_multiple_of(3)).then_some("A simulated repository"),
        )
        .bare("fork", repository.fork)
        .links(&api(repository), REPOSITORY_LINKS)
        .text("created_at", &time(repository.created))
        .text("updated_at", &time(now))
        .text("pushed_at", &time(now))
        .text("git_url", &format!("git://github.com/{full_name}.git"))
        .text("ssh_url", &format!("git@github.com:{full_name}.git"))
        .text("clone_url", &format!("{web}.git"))
        .text("svn_url", &web)
        .null("homepage")
        .bare("size", repository.size)
        .bare("stargazers_count", repository.stars)
        .bare("watchers_count", repository.stars)
        .maybe("language", repository.language)
        .bare("has_issues", true)
        .bare("has_projects", true)
        .bare("has_downloads", true)
        .bare("has_wiki", true)
        .bare("has_pages", false)
        .bare("has_discussions", false)
        .bare("forks_count", repository.stars / 7)
        .null("mirror_url")
        .bare("archived", false)
        .bare("disabled", false)
        .bare("open_issues_count", repository.stars / 11)
        .null("license")
        .bare("allow_forking", true)
        .bare("is_template", false)
        .bare("web_commit_signoff_required", false)
        .raw("topics", "[]")
        .text("visibility", "public")
        .bare("forks", repository.stars / 7)
        .bare("open_issues", repository.stars / 11)
        .bare("watchers", repository.stars)
        .text("default_branch", repository.branch)
        .end()
}

/// A label of a repository.
pub(super) fn label(repository: &Repository, (name, colour): (&str, &str)) -> String {
    let id = repository.id * 8 + name.len() as u64;
    Object::new()
        .bare("id", id)
        .text("node_id", &node_id("LA", &[repository.id, id]))
        .text("url", &format!("{}/labels/{}", api(repository), name.replace(' ', "%20")))
        .text("name", name)
        .text("color", colour)
        .bare("default", true)
        .null("description")
        .end()
}

/// The person or label added to a pull request, next to it in the event; the same in both forms.
pub(super) fn additions(event: Object, step: &Step) -> Object {
    use super::pulls::Action::{Assigned, Labeled, Unassigned};
    let pull = &step.pull;
    match (step.action, pull.label, &pull.assignee) {
        (Labeled, Some(tag), _) => {
            let label = label(&pull.repository, tag);
            event.raw("label", &label).raw("labels", &list([&label]))
        }
        (Assigned | Unassigned, _, Some(who)) => {
            let who = person(who);
            event.raw("assignee", &who).raw("assignees", &list([&who]))
        }
        _ => event,
    }
}

/// `https://api.github.com/repos/owner/name`.
pub(super) fn api(repository: &Repository) -> String {
    format!("{API}/repos/{}", repository.full_name())
}

/// `https://github.com/owner/name`.
pub(super) fn web(repository: &Repository) -> String {
    format!("{WEB}/{}", repository.full_name())
}

/// A whole second in RFC 3339.
pub(super) fn time(second: Second) -> String {
    second.start().to_string()
}

/// No reactions yet.
pub(super) fn reactions(url: &str) -> String {
    let names = ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"];
    let object = Object::new().text("url", &format!("{url}/reactions")).bare("total_count", 0);
    names.iter().fold(object, |object, name| object.bare(name, 0)).end()
}
