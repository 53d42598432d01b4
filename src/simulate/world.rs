//! The seeded world: a generator of events.
//!
//! The same seed gives the same events except for their times, which come from the caller's clock.
//! Types are distributed as in today's feed. Ids are like GitHub's: decimal strings above 2^32
//! from two sequences, Push/Create/Delete and the rest, which overlap, so the same number denotes
//! two events of different types; within a sequence they rise with small inversions. Some events
//! arrive late.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::cast::{Cast, Person, Repository, magnitude};
use super::commits::KnownCommits;
use super::kinds::{EventKind, Ids};
use super::known::QueriedWorld;
use super::options::Shape;
use super::payloads::envelope;
use super::payloads_pulls::pull_request_event;
use super::payloads_rest::Scene;
use super::pulls::{Action, Pulls, SimulatedPull, branch};
use super::totals::RepositoryTotal;
use super::{payloads_old, payloads_today};
use crate::model::window::{Second, Timestamp};

const FIRST_ID: u64 = 13_653_287_000;
const FIRST_PUSH_ID: u64 = 33_810_491_505;
const FIRST_OBJECT_ID: u64 = 4_512_000_000;
/// Maximum number of hidden events in a row; the next one is shown.
const MOST_HIDDEN: u32 = 1_000;

/// People, repositories, pull requests, and the random number generator.
pub struct World {
    rng: Rng,
    shape: Shape,
    cast: Cast,
    pulls: Pulls,
    known: QueriedWorld,
    pushes: Ids,
    rest: Ids,
    push_id: u64,
    object_id: u64,
    /// Number of events so far, hidden ones included.
    happened: u64,
}

/// An event before its envelope.
struct PullDraft {
    kind: EventKind,
    actor: Arc<Person>,
    repository: Arc<Repository>,
    payload: String,
    created: Second,
    /// The total of its repository that it raises, if any.
    raises: Option<RepositoryTotal>,
}

impl World {
    /// The initial world of a seed, with events of this form.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        let mut rng = Rng::with_seed(seed);
        let cast = Cast::new(&mut rng);
        Self {
            cast,
            rng,
            shape,
            pulls: Pulls::new(),
            known: QueriedWorld::default(),
            // The steps balance the shares, so the sequences stay close together and collide.
            pushes: Ids::new(FIRST_ID, 5),
            rest: Ids::new(FIRST_ID, 7),
            push_id: FIRST_PUSH_ID,
            object_id: FIRST_OBJECT_ID,
            happened: 0,
        }
    }

    /// The next event as GitHub's JSON, seen at `at`. It was created at `at` or before.
    pub fn next_event(&mut self, at: Timestamp) -> Arc<str> {
        self.next_shown(at, |_, _| false)
    }

    /// The next event that GitHub shows. `hides` is called with the type and the number of each
    /// event; hidden ones happen, and no id is drawn for them.
    pub(super) fn next_shown(
        &mut self,
        at: Timestamp,
        hides: impl Fn(&str, u64) -> bool,
    ) -> Arc<str> {
        let mut hidden = 0;
        let draft = loop {
            let created = at.minus(late(&mut self.rng)).second();
            let kind = EventKind::next(&mut self.rng, self.shape);
            let draft = self.draft(kind, created);
            let kind = draft.kind.name();
            let is_hidden = hidden < MOST_HIDDEN && hides(kind, self.happened);
            self.happened += 1;
            self.known.totals.raise(&draft.repository, draft.raises);
            self.known.totals.count(kind, is_hidden);
            if !is_hidden {
                break draft;
            }
            hidden += 1;
        };
        let ids = match draft.kind {
            EventKind::Push | EventKind::Create | EventKind::Delete => &mut self.pushes,
            _ => &mut self.rest,
        };
        let id = ids.next(&mut self.rng);
        let name = draft.kind.name();
        let event =
            envelope(id, name, &draft.actor, &draft.repository, &draft.payload, draft.created);
        event.into()
    }

    /// The pull requests that can be queried.
    pub(super) fn known(&self) -> &QueriedWorld {
        &self.known
    }

    fn draft(&mut self, kind: EventKind, at: Second) -> PullDraft {
        match kind {
            EventKind::PullRequest => {
                let step = self.pulls.step(&mut self.rng, &mut self.cast, at);
                self.known.put(&step.pull);
                PullDraft {
                    kind,
                    payload: pull_request_event(self.shape, &step),
                    repository: step.pull.repository.clone(),
                    created: step.pull.updated,
                    actor: step.actor,
                    raises: (step.action == Action::Opened).then_some(RepositoryTotal::Pulls),
                }
            }
            EventKind::Review | EventKind::ReviewComment => {
                match self.pulls.under_review(&mut self.rng).cloned() {
                    Some(pull) => self.review(kind, &pull, at),
                    None => self.other_event(EventKind::Watch, at),
                }
            }
            _ => self.other_event(kind, at),
        }
    }

    fn review(&mut self, kind: EventKind, pull: &SimulatedPull, at: Second) -> PullDraft {
        self.object_id += self.rng.u64(2..20);
        let actor = self.cast.busy_person(&mut self.rng);
        let created = at.max(pull.created);
        let scene = Scene {
            shape: self.shape,
            actor: &actor,
            repository: &pull.repository,
            id: self.object_id,
            number: pull.number,
            at: created,
        };
        // Texts use a separate random generator, so that the same things happen in both forms.
        let text_rng = &mut self.rng.fork();
        let payload = if kind == EventKind::Review {
            scene.review(text_rng, pull)
        } else {
            scene.review_comment(text_rng, pull)
        };
        let (repository, raises) = (pull.repository.clone(), None);
        PullDraft { kind, actor, repository, payload, created, raises }
    }

    fn other_event(&mut self, kind: EventKind, at: Second) -> PullDraft {
        let rng = &mut self.rng;
        let place = self.cast.next_place(rng);
        let mut actor = self.cast.next_actor(rng);
        let founded = kind == EventKind::Create && rng.u32(0..8) == 0;
        let repository =
            if founded { self.cast.founded(rng, at.start()) } else { self.cast.at(place) };
        if founded {
            actor = repository.owner.clone();
        }
        let number = match kind {
            EventKind::Issues | EventKind::Discussion => 0,
            _ => 1 + magnitude(rng, 9),
        };
        self.object_id += rng.u64(2..20);
        let text_rng = &mut rng.fork();
        let opens =
            kind == EventKind::Issues && Scene::issue_action(&mut text_rng.clone()) == "opened";
        let number = match kind {
            EventKind::Discussion => self.cast.next_number(place),
            EventKind::Issues if opens => self.cast.next_number(place),
            EventKind::Issues => self.cast.last_number(place).max(1),
            _ => number,
        };
        let scene = Scene {
            shape: self.shape,
            actor: &actor,
            repository: &repository,
            id: self.object_id,
            number,
            at,
        };
        let payload = match kind {
            EventKind::Push => {
                self.push_id += rng.u64(1..9);
                let to = (&repository, &*actor);
                push_payload(&mut self.known.commits, text_rng, (self.push_id, self.shape), to, at)
            }
            EventKind::Create => scene.create(text_rng, founded),
            EventKind::Delete => scene.delete(text_rng),
            EventKind::IssueComment => scene.issue_comment(text_rng),
            EventKind::Issues => scene.issues(text_rng),
            EventKind::Fork => {
                let fork = self.cast.new_repository(rng, actor.clone(), at, Some(&repository));
                scene.fork(&fork)
            }
            EventKind::Release => scene.release(text_rng),
            EventKind::CommitComment => scene.commit_comment(text_rng),
            EventKind::Member => Scene::member(&self.cast.busy_person(rng)),
            EventKind::Gollum => scene.gollum(text_rng),
            EventKind::Discussion => scene.discussion(text_rng),
            EventKind::Public => "{}".to_owned(),
            EventKind::Watch
            | EventKind::PullRequest
            | EventKind::Review
            | EventKind::ReviewComment => r#"{"action":"started"}"#.to_owned(),
        };
        let raises = match kind {
            EventKind::Watch => Some(RepositoryTotal::Stars),
            EventKind::Fork => Some(RepositoryTotal::Forks),
            EventKind::Release => Some(RepositoryTotal::Releases),
            EventKind::Issues if opens => Some(RepositoryTotal::Issues),
            _ => None,
        };
        PullDraft { kind, actor, payload, created: at, repository, raises }
    }
}

/// Pushes to a branch of a repository, mostly its own. Returns the payload.
fn push_payload(
    commits: &mut KnownCommits,
    text_rng: &mut Rng,
    (id, shape): (u64, Shape),
    (repository, by): (&Arc<Repository>, &Person),
    at: Second,
) -> String {
    let branch =
        if text_rng.u32(0..3) == 0 { branch(text_rng) } else { repository.branch.to_owned() };
    let push = commits.push(text_rng, (id, &branch), (repository, by), at);
    let whole = payloads_old::push(&push);
    commits.remember(whole.clone());
    match shape {
        Shape::Old => whole,
        Shape::Today => payloads_today::push(&push),
    }
}

/// How long after an event it appears in the feed: mostly seconds, sometimes minutes, rarely a
/// day.
fn late(rng: &mut Rng) -> Duration {
    Duration::from_secs(match rng.u32(0..200) {
        0 => rng.u64(0..86_400),
        1..6 => rng.u64(0..600),
        _ => rng.u64(0..5),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::super::kinds::SHARES;
    use super::*;

    const AT: i64 = 1_790_000_000;

    fn events(seed: u64, shape: Shape, n: usize) -> Vec<Value> {
        let mut world = World::new(seed, shape);
        let at = Timestamp::from_seconds(AT);
        (0..n).map(|_| serde_json::from_str(&world.next_event(at)).unwrap()).collect()
    }

    #[test]
    fn a_seed_is_a_world() {
        let told = |seed, shape| {
            let mut world = World::new(seed, shape);
            let at = |n: i64| Timestamp::from_seconds(AT + n / 50);
            (0..500).map(|n| world.next_event(at(n))).collect::<Vec<_>>()
        };
        for shape in [Shape::Old, Shape::Today] {
            assert_eq!(told(7, shape), told(7, shape));
            assert_ne!(told(7, shape), told(8, shape));
        }
    }

    #[test]
    fn types_fall_as_in_the_feed() {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for event in events(1, Shape::Today, 10_000) {
            *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert!((2_500..2_900).contains(&counts["PullRequestEvent"]), "{counts:?}");
        assert!((4_200..4_800).contains(&counts["PushEvent"]), "{counts:?}");
        assert_eq!(counts.len(), SHARES.len(), "{counts:?}");
    }

    #[test]
    fn ids_are_two_overlapping_sequences_above_32_bits() {
        let mut seen: HashSet<(bool, u64)> = HashSet::new();
        let mut last = [0, 0];
        let mut inversions = 0;
        for event in events(2, Shape::Today, 20_000) {
            let id: u64 = event["id"].as_str().unwrap().parse().unwrap();
            assert!(id > u64::from(u32::MAX));
            let kind = event["type"].as_str().unwrap();
            let first = matches!(kind, "PushEvent" | "CreateEvent" | "DeleteEvent");
            assert!(seen.insert((first, id)), "{id} twice in one sequence");
            inversions += u32::from(id < last[usize::from(first)]);
            last[usize::from(first)] = id;
        }
        assert!(inversions > 20 && inversions < 400, "{inversions}");
        let both = seen.iter().filter(|(first, id)| *first && seen.contains(&(false, *id)));
        assert!(both.count() > 500);
    }

    #[test]
    fn every_event_has_github_s_envelope() {
        for shape in [Shape::Old, Shape::Today] {
            let mut orgs = 0;
            for event in events(3, shape, 3_000) {
                let actor = &event["actor"];
                assert!(actor["id"].is_u64() && actor["display_login"].is_string(), "{event}");
                assert_eq!(actor["gravatar_id"], "");
                assert!(event["repo"]["name"].as_str().unwrap().contains('/'));
                assert_eq!(event["public"], true);
                let created = event["created_at"].as_str().unwrap();
                assert_eq!(created.len(), "2026-02-24T21:33:46Z".len(), "{created}");
                assert!(Timestamp::parse(created).unwrap() <= Timestamp::from_seconds(AT));
                orgs += usize::from(event.get("org").is_some());
            }
            assert!(orgs > 100);
        }
    }

    #[test]
    fn today_a_pull_request_has_five_keys_and_a_merge_is_an_action() {
        let mut actions: HashMap<String, usize> = HashMap::new();
        for event in events(4, Shape::Today, 8_000) {
            if event["type"] != "PullRequestEvent" {
                continue;
            }
            let pull = event["payload"]["pull_request"].as_object().unwrap();
            let keys: HashSet<&str> = pull.keys().map(String::as_str).collect();
            assert_eq!(keys, HashSet::from(["id", "number", "url", "head", "base"]));
            assert!(pull["id"].as_u64().unwrap() > u64::from(u32::MAX));
            assert_eq!(pull["base"]["repo"].as_object().unwrap().len(), 3);
            let action = event["payload"]["action"].as_str().unwrap();
            *actions.entry(action.to_owned()).or_default() += 1;
        }
        assert!(actions["merged"] > 700 && actions["opened"] > 800, "{actions:?}");
        assert!(actions["closed"] > 30 && actions["labeled"] > 5, "{actions:?}");
    }

    #[test]
    fn the_old_shape_has_sizes_language_and_the_merged_flag() {
        let (mut merged, mut closed, mut languages) = (0, 0, HashSet::new());
        for event in events(5, Shape::Old, 8_000) {
            if event["type"] != "PullRequestEvent" {
                continue;
            }
            let (action, pull) = (&event["payload"]["action"], &event["payload"]["pull_request"]);
            for key in ["additions", "deletions", "changed_files"] {
                assert!(pull[key].is_u64(), "{key}");
            }
            assert!(pull["title"].is_string() && pull["user"]["login"].is_string());
            assert!(action != "merged");
            if action == "closed" {
                merged += u32::from(pull["merged"] == true);
                closed += u32::from(pull["merged"] == false);
                assert_eq!(pull["merged_at"].is_string(), pull["merged"] == true);
                assert_eq!(pull["state"], "closed");
            } else {
                assert_eq!(pull["merged"], false, "{action}");
            }
            if let Some(language) = pull["base"]["repo"]["language"].as_str() {
                languages.insert(language.to_owned());
            }
        }
        assert!(merged > 700 && closed > 30, "{merged} merged, {closed} closed");
        assert!(languages.len() > 25, "{languages:?}");
    }
}
