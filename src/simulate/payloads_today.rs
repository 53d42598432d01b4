//! Payloads in the form since October 2025: a pull request has five keys, a push no commits.

use fastrand::Rng;

use super::cast::Repository;
use super::json::Object;
use super::payloads::api;
use super::pulls::{SimulatedPull, sha};

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
pub(super) fn push(rng: &mut Rng, repository: &Repository, push_id: u64, branch: &str) -> String {
    Object::new()
        .bare("repository_id", repository.id)
        .bare("push_id", push_id)
        .text("ref", &format!("refs/heads/{branch}"))
        .text("head", &sha(rng))
        .text("before", &sha(rng))
        .end()
}
