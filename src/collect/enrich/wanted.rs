//! What GitHub is asked for because events are missing fields: pull requests, and the commits of
//! pushes.

use std::hash::Hash;

use super::read::{AdmittedEvent, CachedLanguage};
use crate::github::graphql::{
    Language, ObjectLookup, PullDetails, PushDetails, Queried, WantedPull, WantedPush,
};
use crate::github::node_id;
use crate::github::tokens::QueryKind;
use crate::model::push::PushedCommits;
use crate::store::keys::RepoKey;

/// The result for one wanted object.
pub(super) type LookupOf<W> = ObjectLookup<<W as Queried>::Details>;

/// An object that events are missing fields of.
pub(super) trait Wanted: Queried + Clone + Send + Sync + 'static {
    /// Identifies the object.
    type Key: Clone + Eq + Hash + std::fmt::Debug + Send;
    /// What such objects are called in the log.
    const NAME: &'static str;
    /// What an event without its object's details is missing.
    const MISSING: &'static str;
    /// What a query for such objects counts as.
    const QUERY: QueryKind;
    /// Maximum number of held events. Beyond it, events are released at once without enrichment,
    /// ahead of those that are held.
    const MOST_EVENTS: usize;
    /// Maximum number of queries in flight.
    const MOST_IN_FLIGHT: usize;

    /// Identifies the object.
    fn key(&self) -> Self::Key;

    /// `owner/name` of its repository.
    fn repo(&self) -> &str;

    /// The owner of its repository: a user or an organisation.
    fn owner(&self) -> &str {
        self.repo().split('/').next().unwrap_or_default()
    }

    /// What makes a query for it heavy, if anything does, by GitHub's id.
    fn source(&self) -> u64;

    /// GitHub's node id of the object and the computed one, where both are known.
    fn node_ids<'d>(&self, details: &'d Self::Details) -> Option<(&'d str, String)>;

    /// Fills the missing fields of an event; never overwrites a field.
    fn complete(&self, event: &mut AdmittedEvent, details: &Self::Details);

    /// The language that the details reveal.
    fn cached(&self, details: &Self::Details) -> Option<CachedLanguage>;
}

impl Wanted for WantedPull {
    /// GitHub's ids of the base repository and the pull request.
    type Key = (u64, u64);
    const NAME: &'static str = "pull requests";
    const MISSING: &'static str = "its pull requests go out without language and size";
    const QUERY: QueryKind = QueryKind::Pulls;
    const MOST_EVENTS: usize = 20_000;
    const MOST_IN_FLIGHT: usize = 16;

    fn key(&self) -> (u64, u64) {
        (self.base_repo_id, self.pull_id)
    }

    fn repo(&self) -> &str {
        &self.repo
    }

    fn source(&self) -> u64 {
        self.pull_id
    }

    fn node_ids<'d>(&self, details: &'d Box<PullDetails>) -> Option<(&'d str, String)> {
        let own = details.node_id.as_deref()?;
        Some((own, node_id::of_pull(self.base_repo_id, self.pull_id)))
    }

    fn complete(&self, event: &mut AdmittedEvent, details: &Box<PullDetails>) {
        let facts = &mut event.facts;
        if event.is_missing_language {
            match &details.language {
                Language::Named(name) => facts.language = Some(name.clone()),
                Language::Absent => facts.language = None,
                Language::Unknown => {}
            }
        }
        facts.enriched = !event.is_missing_language || details.language != Language::Unknown;
        if !facts.flags.pr {
            return;
        }
        facts.additions = facts.additions.or(details.additions);
        facts.deletions = facts.deletions.or(details.deletions);
        facts.changed_files = details.changed_files;
        facts.title.clone_from(&details.title);
        facts.draft = details.draft;
        facts.enriched &= facts.additions.is_some() && facts.deletions.is_some();
    }

    fn cached(&self, details: &Box<PullDetails>) -> Option<CachedLanguage> {
        let key = RepoKey(self.base_repo_id);
        match &details.language {
            Language::Unknown => None,
            Language::Absent => Some((key, None)),
            Language::Named(name) => Some((key, Some(name.clone()))),
        }
    }
}

impl Wanted for WantedPush {
    /// GitHub's id of the repository, the new and the old hash.
    type Key = (u64, String, String);
    const NAME: &'static str = "the commits of pushes";
    const MISSING: &'static str = "pushes to its repositories go out without commits";
    const QUERY: QueryKind = QueryKind::Pushes;
    /// An answered push that waits for older ones may hold 64 KiB.
    const MOST_EVENTS: usize = 2_000;
    const MOST_IN_FLIGHT: usize = 4;

    fn key(&self) -> (u64, String, String) {
        (self.repo_id, self.head.clone(), self.before.clone())
    }

    fn repo(&self) -> &str {
        &self.repo
    }

    /// The repository: what takes time is its history.
    fn source(&self) -> u64 {
        self.repo_id
    }

    fn node_ids<'d>(&self, _: &'d PushDetails) -> Option<(&'d str, String)> {
        None
    }

    fn complete(&self, event: &mut AdmittedEvent, details: &PushDetails) {
        let commits = PushedCommits::new(details.size, &details.commits, self.repo_url.as_deref());
        event.facts.push = Some(Box::new(commits));
        event.facts.enriched = details.is_whole;
    }

    fn cached(&self, _: &PushDetails) -> Option<CachedLanguage> {
        None
    }
}
