//! The people and repositories of the seeded world.
//!
//! As on GitHub, a few are busy, most are rare, and some are new, so first-time flags, caches and
//! language shares behave realistically. Both lists are bounded; when they are full, newcomers
//! replace others.

use std::sync::Arc;

use fastrand::Rng;

use super::names;
use crate::model::window::{Second, Timestamp};

const PEOPLE_AT_FIRST: usize = 2_500;
const MAX_PEOPLE: usize = 50_000;
const REPOSITORIES_AT_FIRST: usize = 1_800;
const MAX_REPOSITORIES: usize = 30_000;
/// One in this many actors has not appeared before.
const NEWCOMER: u32 = 25;
/// New repositories get ids from here on; older ones have lower ids.
const FIRST_NEW_REPOSITORY: u64 = 1_302_000_000;
const FIRST_NEW_PERSON: u64 = 262_000_000;
/// 2015-01-01 to 2026-01-01: older repositories were created in this range.
const CREATED: std::ops::Range<i64> = 1_420_070_400..1_767_225_600;

/// The type of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CastAccount {
    User,
    Bot,
    Organization,
}

/// An account, as an actor or owner.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: u64,
    pub(super) login: String,
    pub(super) account: CastAccount,
}

/// A public repository.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub(super) id: u64,
    pub(super) owner: Arc<Person>,
    pub(super) name: String,
    pub(super) language: Option<&'static str>,
    pub(super) branch: &'static str,
    pub(super) stars: u32,
    pub(super) size: u32,
    pub(super) fork: bool,
    pub(super) created: Second,
}

impl Repository {
    /// `owner/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner.login, self.name)
    }
}

/// All people and repositories.
pub(super) struct Cast {
    people: Vec<Arc<Person>>,
    organizations: Vec<Arc<Person>>,
    bots: Vec<Arc<Person>>,
    repositories: Vec<Arc<Repository>>,
    /// The last number given to an issue or pull request of each repository, in the order of the
    /// repositories.
    numbers: Vec<u32>,
    next_person: u64,
    next_repository: u64,
}

/// The index of a repository in the cast.
#[derive(Debug, Clone, Copy)]
pub(super) struct CastPlace(usize);

impl Cast {
    /// The cast at the start.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let account =
            |id, login: &str, account| Arc::new(Person { id, login: login.to_owned(), account });
        let mut organization_id = 3_100_000;
        let mut bot_id = 41_000_000;
        let mut cast = Self {
            people: Vec::new(),
            organizations: names::ORGS
                .iter()
                .map(|login| {
                    organization_id += rng.u64(1..4_000_000);
                    account(organization_id, login, CastAccount::Organization)
                })
                .collect(),
            bots: names::BOTS
                .iter()
                .map(|name| {
                    bot_id += rng.u64(1..9_000_000);
                    account(bot_id, &format!("{name}[bot]"), CastAccount::Bot)
                })
                .collect(),
            repositories: Vec::new(),
            numbers: Vec::new(),
            next_person: 1_000_000,
            next_repository: 12_000_000,
        };
        for _ in 0..PEOPLE_AT_FIRST {
            cast.next_person += rng.u64(1..100_000);
            cast.new_person(rng);
        }
        cast.next_person = FIRST_NEW_PERSON;
        for _ in 0..REPOSITORIES_AT_FIRST {
            cast.next_repository += rng.u64(1..650_000);
            let owner = cast.owner(rng);
            let created = Second(rng.i64(CREATED));
            cast.new_repository(rng, owner, created, None);
        }
        // The busiest come first in the lists; age must not decide which these are.
        rng.shuffle(&mut cast.people);
        rng.shuffle(&mut cast.repositories);
        cast.next_repository = FIRST_NEW_REPOSITORY;
        let (id, login) = names::EXAMPLE_OWNER;
        let owner = account(id, login, CastAccount::Organization);
        for (place, name, language) in names::EXAMPLES {
            let repository = &mut cast.repositories[*place];
            *repository = Arc::new(Repository {
                owner: owner.clone(),
                name: (*name).to_owned(),
                language: Some(language),
                ..Repository::clone(repository)
            });
        }
        cast
    }

    fn owner(&mut self, rng: &mut Rng) -> Arc<Person> {
        if rng.u32(0..4) == 0 {
            pick(rng, &self.organizations).clone()
        } else {
            pick(rng, &self.people).clone()
        }
    }

    fn new_person(&mut self, rng: &mut Rng) -> Arc<Person> {
        self.next_person += rng.u64(1..40);
        let (first, last) = (pick(rng, names::FIRST), pick(rng, names::LAST));
        // The last digits of the id keep logins distinct.
        let tail = self.next_person % 10_000;
        let login = match rng.u32(0..4) {
            0 => format!("{first}-{last}{tail}"),
            1 => format!("{first}{last}{tail}"),
            2 => format!("{last}{first}{tail}"),
            _ => {
                let mut capital = first.to_string();
                capital[..1].make_ascii_uppercase();
                format!("{capital}{last}{tail}")
            }
        };
        let person = Arc::new(Person { id: self.next_person, login, account: CastAccount::User });
        put(rng, &mut self.people, person.clone(), MAX_PEOPLE);
        person
    }

    /// The next actor: mostly a busy person, sometimes a bot or a newcomer.
    pub(super) fn next_actor(&mut self, rng: &mut Rng) -> Arc<Person> {
        match rng.u32(0..100) {
            0..6 => pick(rng, &self.bots).clone(),
            _ if rng.u32(0..NEWCOMER) == 0 => self.new_person(rng),
            _ => self.people[skewed(rng, self.people.len())].clone(),
        }
    }

    /// The next actor, where it must be a person.
    pub(super) fn busy_person(&mut self, rng: &mut Rng) -> Arc<Person> {
        self.people[skewed(rng, self.people.len())].clone()
    }

    /// The repository of the next event.
    pub(super) fn next_place(&self, rng: &mut Rng) -> CastPlace {
        CastPlace(skewed(rng, self.repositories.len()))
    }

    /// The repository at an index.
    pub(super) fn at(&self, place: CastPlace) -> Arc<Repository> {
        self.repositories[place.0].clone()
    }

    /// The next number for an issue or pull request of a repository.
    pub(super) fn next_number(&mut self, place: CastPlace) -> u32 {
        self.numbers[place.0] += 1;
        self.numbers[place.0]
    }

    /// The last number given to an issue or pull request of a repository; 0 before the first.
    pub(super) fn last_number(&self, place: CastPlace) -> u32 {
        self.numbers[place.0]
    }

    /// Creates a repository; a fork takes over name and language.
    pub(super) fn new_repository(
        &mut self,
        rng: &mut Rng,
        owner: Arc<Person>,
        created: Second,
        parent: Option<&Repository>,
    ) -> Arc<Repository> {
        self.next_repository += rng.u64(1..60);
        let (adjective, noun) = (pick(rng, names::ADJECTIVES), pick(rng, names::NOUNS));
        let name = match (parent, rng.u32(0..3)) {
            (Some(parent), _) => parent.name.clone(),
            (None, 0) => format!("{adjective}_{noun}"),
            (None, 1) => format!("{noun}-{}", pick(rng, names::NOUNS)),
            (None, _) => format!("{adjective}-{noun}"),
        };
        let language = language(rng);
        let repository = Arc::new(Repository {
            id: self.next_repository,
            owner,
            name,
            language: parent.map_or(language, |parent| parent.language),
            branch: if rng.u32(0..5) == 0 { "master" } else { "main" },
            stars: if parent.is_some() { 0 } else { magnitude(rng, 16) },
            size: magnitude(rng, 18),
            fork: parent.is_some(),
            created,
        });
        let place = put(rng, &mut self.repositories, repository.clone(), MAX_REPOSITORIES);
        // A repository that has existed for years already has numbered issues.
        let behind = if parent.is_some() { 0 } else { magnitude(rng, 12) };
        if place == self.numbers.len() {
            self.numbers.push(behind);
        } else {
            self.numbers[place] = behind;
        }
        repository
    }

    /// Creates a repository owned by one of the people, now.
    pub(super) fn founded(&mut self, rng: &mut Rng, at: Timestamp) -> Arc<Repository> {
        let owner = self.busy_person(rng);
        self.new_repository(rng, owner, at.second(), None)
    }
}

fn language(rng: &mut Rng) -> Option<&'static str> {
    if rng.u32(0..1000) < names::NO_LANGUAGE_PER_MILLE {
        return None;
    }
    Some(weighted(rng, names::LANGUAGES, |(_, weight)| *weight).0)
}

/// A random element of a list, by weight.
pub(super) fn weighted<'a, T>(rng: &mut Rng, list: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
    let total: u32 = list.iter().map(&weight).sum();
    let mut left = rng.u32(0..total);
    let found = list.iter().find(|element| {
        let is_it = left < weight(element);
        left = left.saturating_sub(weight(element));
        is_it
    });
    found.expect("the number is below the sum")
}

/// A random element of a list, each equally likely.
pub(super) fn pick<'a, T>(rng: &mut Rng, list: &'a [T]) -> &'a T {
    &list[rng.usize(0..list.len())]
}

/// An index below `len`; small ones are far more likely.
fn skewed(rng: &mut Rng, len: usize) -> usize {
    let lot = rng.f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between zero and a list's length"
    )]
    let index = (lot * lot * lot * len as f64) as usize;
    index.min(len - 1)
}

/// A number of up to `bits` bits. Each length is equally likely, so most numbers are small.
pub(super) fn magnitude(rng: &mut Rng, bits: u32) -> u32 {
    let top = rng.u32(0..=bits.min(31));
    rng.u32(0..(1 << top))
}

/// Adds to a list, or replaces one of its elements when it is full. Returns the index.
fn put<T>(rng: &mut Rng, list: &mut Vec<T>, item: T, limit: usize) -> usize {
    if list.len() < limit {
        list.push(item);
        return list.len() - 1;
    }
    let place = rng.usize(0..limit);
    list[place] = item;
    place
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn ids_and_logins_are_unique() {
        let mut rng = Rng::with_seed(1);
        let mut cast = Cast::new(&mut rng);
        for _ in 0..20_000 {
            cast.next_actor(&mut rng);
        }
        let ids: HashSet<u64> = cast.people.iter().map(|person| person.id).collect();
        assert_eq!(ids.len(), cast.people.len());
        let logins: HashSet<&str> = cast.people.iter().map(|p| p.login.as_str()).collect();
        assert!(logins.len() * 1000 > cast.people.len() * 999, "{}", logins.len());
        let ids: HashSet<u64> = cast.repositories.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), cast.repositories.len());
    }

    #[test]
    fn repositories_of_the_documentation_are_busy() {
        for seed in [1, 2, 77] {
            let mut rng = Rng::with_seed(seed);
            let cast = Cast::new(&mut rng);
            let next = |_| cast.at(cast.next_place(&mut rng)).full_name();
            let names: Vec<String> = (0..3_000).map(next).collect();
            // At 50 events a second, 3,000 are one minute.
            let count = |name: &str| names.iter().filter(|other| *other == name).count();
            assert!(count("rust-lang/rust") > 30, "{}", count("rust-lang/rust"));
            assert!(count("rust-lang/cargo") > 10, "{}", count("rust-lang/cargo"));
        }
    }

    #[test]
    fn many_languages_are_in_use_and_the_first_leads() {
        let mut rng = Rng::with_seed(2);
        let cast = Cast::new(&mut rng);
        let mut shares: HashMap<&str, u32> = HashMap::new();
        for repository in cast.repositories.iter().filter_map(|one| one.language) {
            *shares.entry(repository).or_default() += 1;
        }
        assert!(shares.len() > 30, "{shares:?}");
        assert!(shares["TypeScript"] > shares["Go"] && shares["Go"] > shares["Lua"], "{shares:?}");
        assert!(cast.repositories.iter().any(|one| one.language.is_none()));
    }
}
