//! Payloads in the form since October 2025: a pull request has five keys, a push no commits.

use super::cast::Repository;
use super::commits::SimulatedPush;
use super::json::Object;
use super::payloads::api;
use super::pulls::SimulatedPull;

/// The five remaining keys.
pub(super) fn pull_request(pull: &SimulatedPull) -> String {
    let repository = &pull.repository;
    Object::new()
        .text("url", &format!("{}/pulls/{}", api(repository), pull.number))
        .bare("id", pull.id)
        .bare("number", pull.number)
        .raw("head", &end(repository, &pull.head_ref, &pull.head_sha))
        .raw("base", &end(repository, repository.branch, &pull.base_sha))
        .end()
}

fn end(repository: &Repository, branch: &str, sha: &str) -> String {
    let place = Object::new()
        .bare("id", repository.id)
        .text("url", &api(repository))
        .text("name", &repository.name)
        .end();
    Object::new().text("ref", branch).text("sha", sha).raw("repo", &place).end()
}

/// The payload of a push.
pub(super) fn push(push: &SimulatedPush) -> String {
    Object::new()
        .bare("repository_id", push.repository.id)
        .bare("push_id", push.id)
        .text("ref", &format!("refs/heads/{}", push.branch))
        .text("head", &push.head)
        .text("before", &push.before)
        .end()
}
