//! The life of pull requests: opened first, then perhaps labeled or assigned, then merged or
//! closed. A closed one may be reopened; a merged one never changes again.

use std::sync::Arc;

use fastrand::Rng;

use super::cast::{Cast, CastAccount, Person, Repository, magnitude, pick};
use super::names;
use crate::model::window::Second;

const MAX_OPEN: usize = 2_000;
const MAX_CLOSED: usize = 200;
/// Ids of pull requests exceeded 2^32 in August 2026.
const FIRST_ID: u64 = 4_333_041_929;

/// An action on a pull request. A merge is written differently in the two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Opened,
    Merged,
    Closed,
    Reopened,
    Labeled,
    Assigned,
    Unassigned,
}

/// A pull request after its last action.
#[derive(Debug, Clone)]
pub(super) struct SimulatedPull {
    pub(super) id: u64,
    pub(super) number: u32,
    pub(super) repository: Arc<Repository>,
    pub(super) author: Arc<Person>,
    pub(super) title: String,
    pub(super) head_ref: String,
    pub(super) head_sha: String,
    pub(super) base_sha: String,
    pub(super) additions: u32,
    pub(super) deletions: u32,
    pub(super) changed_files: u32,
    pub(super) commits: u32,
    pub(super) comments: u32,
    pub(super) draft: bool,
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) assignee: Option<Arc<Person>>,
    pub(super) created: Second,
    pub(super) updated: Second,
    /// When it was merged or closed, and whether it was merged.
    pub(super) ended: Option<(Second, bool)>,
    /// The person who merged or closed it.
    pub(super) ended_by: Option<Arc<Person>>,
}

/// One step in the life of a pull request.
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) pull: SimulatedPull,
    pub(super) actor: Arc<Person>,
}

/// All pull requests that can still change.
pub(super) struct Pulls {
    open: Vec<SimulatedPull>,
    closed: Vec<SimulatedPull>,
    next_id: u64,
}

impl Pulls {
    /// No pull requests yet: each merged one has been opened before.
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), closed: Vec::new(), next_id: FIRST_ID }
    }

    /// Performs the next step, at `at` or, where the previous steps require it, a little later.
    pub(super) fn step(&mut self, rng: &mut Rng, cast: &mut Cast, at: Second) -> Step {
        let lot = rng.u32(0..1000);
        let action = match lot {
            _ if self.open.len() >= MAX_OPEN => Action::Merged,
            _ if self.open.is_empty() => Action::Opened,
            0..500 => Action::Opened,
            500..930 => Action::Merged,
            930..965 => Action::Closed,
            965..975 if !self.closed.is_empty() => Action::Reopened,
            965..985 => Action::Labeled,
            985..995 => Action::Assigned,
            _ => match self.open.iter().position(|pull| pull.assignee.is_some()) {
                Some(place) => return self.unassign(rng, cast, place, at),
                None => Action::Assigned,
            },
        };
        match action {
            Action::Opened => {
                let pull = self.opened(rng, cast, at);
                self.open.push(pull.clone());
                Step { action, actor: pull.author.clone(), pull }
            }
            Action::Reopened => {
                let mut pull = self.closed.swap_remove(rng.usize(0..self.closed.len()));
                pull.ended = None;
                pull.ended_by = None;
                pull.updated = pull.updated.max(at);
                self.open.push(pull.clone());
                Step { action, actor: pull.author.clone(), pull }
            }
            Action::Merged | Action::Closed => self.end(rng, cast, action, at),
            Action::Labeled | Action::Assigned | Action::Unassigned => {
                let place = rng.usize(0..self.open.len());
                let actor = cast.busy_person(rng);
                let pull = &mut self.open[place];
                pull.updated = pull.updated.max(at);
                if action == Action::Labeled {
                    pull.label = Some(*pick(rng, names::LABELS));
                } else {
                    pull.assignee = Some(actor.clone());
                }
                Step { action, pull: pull.clone(), actor }
            }
        }
    }

    fn end(&mut self, rng: &mut Rng, cast: &mut Cast, action: Action, at: Second) -> Step {
        let mut pull = self.open.swap_remove(rng.usize(0..self.open.len()));
        pull.updated = pull.updated.max(at);
        pull.ended = Some((pull.updated, action == Action::Merged));
        let actor = if rng.bool() { pull.author.clone() } else { cast.busy_person(rng) };
        pull.ended_by = Some(actor.clone());
        if action == Action::Closed {
            if self.closed.len() >= MAX_CLOSED {
                self.closed.remove(0);
            }
            self.closed.push(pull.clone());
        }
        Step { action, pull, actor }
    }

    fn unassign(&mut self, rng: &mut Rng, cast: &mut Cast, place: usize, at: Second) -> Step {
        let actor = cast.busy_person(rng);
        let pull = &mut self.open[place];
        pull.updated = pull.updated.max(at);
        let mut shown = pull.clone();
        // The event still names the person who was unassigned.
        pull.assignee = None;
        shown.assignee.get_or_insert_with(|| actor.clone());
        Step { action: Action::Unassigned, pull: shown, actor }
    }

    fn opened(&mut self, rng: &mut Rng, cast: &mut Cast, at: Second) -> SimulatedPull {
        self.next_id += rng.u64(1..12);
        let place = cast.next_place(rng);
        let author = cast.next_actor(rng);
        let additions = magnitude(rng, 12);
        SimulatedPull {
            id: self.next_id,
            number: cast.next_number(place),
            repository: cast.at(place),
            title: title(rng),
            head_ref: branch(rng),
            head_sha: sha(rng),
            base_sha: sha(rng),
            additions,
            deletions: magnitude(rng, 10),
            changed_files: 1 + magnitude(rng, 6),
            commits: 1 + magnitude(rng, 4),
            comments: magnitude(rng, 3),
            draft: author.account == CastAccount::User && rng.u32(0..12) == 0,
            author,
            label: None,
            assignee: None,
            created: at,
            updated: at,
            ended: None,
            ended_by: None,
        }
    }

    /// A pull request to comment on: an open one, if there is any.
    pub(super) fn under_review(&self, rng: &mut Rng) -> Option<&SimulatedPull> {
        (!self.open.is_empty()).then(|| pick(rng, &self.open))
    }
}

/// Forty hexadecimal digits.
pub(super) fn sha(rng: &mut Rng) -> String {
    format!("{:016x}{:016x}{:08x}", rng.u64(..), rng.u64(..), rng.u32(..))
}

/// The name of a branch.
pub(super) fn branch(rng: &mut Rng) -> String {
    let (kind, what) = (pick(rng, names::BRANCHES), pick(rng, names::NOUNS));
    format!("{kind}/{what}-{}", rng.u32(1..10_000))
}

/// The title of a pull request, an issue or a commit.
pub(super) fn title(rng: &mut Rng) -> String {
    format!("{} {}", pick(rng, names::VERBS), pick(rng, names::OBJECTS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_life_begins_with_opened_and_a_merge_ends_it() {
        let mut rng = Rng::with_seed(3);
        let mut cast = Cast::new(&mut rng);
        let mut pulls = Pulls::new();
        let mut lives: HashMap<u64, (Action, Second)> = HashMap::new();
        for n in 0..30_000_i64 {
            // Time that jumps back and forth, as with late events.
            let at = Second(1_790_000_000 + n - rng.i64(0..500));
            let step = pulls.step(&mut rng, &mut cast, at);
            let before = lives.insert(step.pull.id, (step.action, step.pull.updated));
            match (before, step.action) {
                (None, Action::Opened) | (Some((Action::Closed, _)), Action::Reopened) => {}
                (Some((Action::Merged | Action::Closed, _)) | None, _)
                | (Some(_), Action::Opened) => {
                    panic!("{:?} after {before:?}", step.action)
                }
                (Some((_, earlier)), _) => assert!(earlier <= step.pull.updated),
            }
        }
        assert!(pulls.open.len() <= MAX_OPEN && pulls.closed.len() <= MAX_CLOSED);
        assert!(lives.values().filter(|(action, _)| *action == Action::Merged).count() > 10_000);
    }
}
