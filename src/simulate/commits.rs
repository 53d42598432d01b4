//! The commits of the simulated repositories: branches grow by pushes, most of a few commits; some
//! are large, merge an older branch, replace commits, or set the branch back.
//!
//! A history is listed as git does it: by commit date, newest first.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use fastrand::Rng;

use super::cast::{Person, Repository};
use super::pulls::{sha, title};
use crate::model::window::Second;

/// Maximum number of commits of all repositories; the repositories known first are forgotten first,
/// and begin again with other commits.
const MOST: usize = 40_000;
/// Maximum number of commits of a repository, which then begins again.
const MOST_OF_ONE: usize = 1_000;
/// Maximum number of branches of a repository besides its own that are remembered.
const MOST_BRANCHES: usize = 8;
/// Pushes that [`KnownCommits::recent`] remembers.
const RECENT: usize = 5_000;

/// A commit.
#[derive(Debug, Clone)]
pub(super) struct SimulatedCommit {
    parents: Vec<Arc<str>>,
    /// The commit date, not before those of its parents.
    pub(super) committed: i64,
    /// Its place in the order in which commits were made.
    number: u64,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) message: String,
}

/// The commits of a repository.
pub(super) struct CommitGraph {
    pub(super) repository: Arc<Repository>,
    commits: HashMap<Arc<str>, SimulatedCommit>,
    /// The newest commit of each branch.
    tips: BTreeMap<String, Arc<str>>,
}

/// What a push did.
pub(super) struct SimulatedPush {
    pub(super) id: u64,
    pub(super) repository: Arc<Repository>,
    pub(super) branch: String,
    pub(super) before: Arc<str>,
    pub(super) head: Arc<str>,
    /// What the history of `head` has and that of `before` does not, oldest first. None of them was
    /// pushed before.
    pub(super) commits: Vec<(Arc<str>, SimulatedCommit)>,
}

/// The commits of all repositories.
#[derive(Default)]
pub(super) struct KnownCommits {
    by_repository: HashMap<u64, CommitGraph>,
    by_name: HashMap<String, u64>,
    order: VecDeque<u64>,
    count: usize,
    made: u64,
    recent: VecDeque<String>,
}

impl KnownCommits {
    /// Pushes to a branch of a repository. `id` is of the push.
    pub(super) fn push(
        &mut self,
        rng: &mut Rng,
        (id, branch): (u64, &str),
        (repository, by): (&Arc<Repository>, &Person),
        at: Second,
    ) -> SimulatedPush {
        self.open(rng, repository, at);
        let Self { by_repository, made, count, .. } = self;
        let graph = by_repository.get_mut(&repository.id).expect("it was opened");
        let before = graph.tip(branch);
        let mut maker = CommitMaker { graph, rng, by, made, new: Vec::new() };
        let head = maker.next_head(&before);
        // Whatever a push does, its other commits are in the history of `before`.
        let new = maker.new;
        *count += new.len();
        graph.set_tip(branch, &head);
        let found = new.into_iter().filter_map(|oid| Some((graph.commit(&oid)?.clone(), oid)));
        let mut commits: Vec<_> = found.map(|(commit, oid)| (oid, commit)).collect();
        commits.sort_by_key(|(_, commit)| (commit.committed, commit.number));
        let (repository, branch) = (Arc::clone(repository), branch.to_owned());
        SimulatedPush { id, repository, branch, before, head, commits }
    }

    /// Keeps the whole payload of the newest push.
    pub(super) fn remember(&mut self, payload: String) {
        self.recent.push_back(payload);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// The whole payloads of the newest pushes, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &String> {
        self.recent.iter()
    }

    /// The commits of `owner/name`.
    pub(super) fn named(&self, name: &str) -> Option<&CommitGraph> {
        self.by_repository.get(self.by_name.get(&name.to_lowercase())?)
    }

    /// Gives a repository its first commits, unless it has some.
    fn open(&mut self, rng: &mut Rng, repository: &Arc<Repository>, at: Second) {
        let of = |known: &Self| known.by_repository.get(&repository.id).map(|g| g.commits.len());
        if of(self).is_some_and(|count| count > MOST_OF_ONE) {
            self.forget(repository.id);
            self.order.retain(|id| *id != repository.id);
        }
        while self.count > MOST
            && let Some(first) = self.order.pop_front()
        {
            self.forget(first);
        }
        if of(self).is_some() {
            return;
        }
        let mut graph = CommitGraph {
            repository: Arc::clone(repository),
            commits: HashMap::new(),
            tips: BTreeMap::new(),
        };
        let by = Arc::clone(&repository.owner);
        let count = if rng.u32(0..6) == 0 { 60 } else { 1 + rng.usize(0..8) };
        let first = at.0 - 90 * i64::try_from(count).unwrap_or_default();
        let mut maker =
            CommitMaker { graph: &mut graph, rng, by: &by, made: &mut self.made, new: Vec::new() };
        let root = maker.commit(Vec::new(), first);
        let tip = maker.chain(root, count - 1);
        graph.tips.insert(repository.branch.to_owned(), tip);
        self.count += graph.commits.len();
        self.by_name.insert(repository.full_name().to_lowercase(), repository.id);
        self.order.push_back(repository.id);
        self.by_repository.insert(repository.id, graph);
    }

    fn forget(&mut self, id: u64) {
        if let Some(graph) = self.by_repository.remove(&id) {
            self.count -= graph.commits.len();
            self.by_name.remove(&graph.repository.full_name().to_lowercase());
        }
    }
}

impl CommitGraph {
    /// The commit with this hash.
    pub(super) fn commit(&self, oid: &str) -> Option<&SimulatedCommit> {
        self.commits.get(oid)
    }

    /// A commit and all that it descends from, newest first.
    pub(super) fn history(&self, oid: &str) -> Vec<(Arc<str>, &SimulatedCommit)> {
        let Some((oid, commit)) = self.commits.get_key_value(oid) else { return Vec::new() };
        let mut open = BinaryHeap::from([(commit.committed, commit.number, Arc::clone(oid))]);
        let mut seen = HashSet::from([Arc::clone(oid)]);
        let mut all = Vec::new();
        while let Some((_, _, oid)) = open.pop() {
            let Some(commit) = self.commits.get(&oid) else { continue };
            for parent in &commit.parents {
                if let Some(older) = self.commits.get(parent)
                    && seen.insert(Arc::clone(parent))
                {
                    open.push((older.committed, older.number, Arc::clone(parent)));
                }
            }
            all.push((oid, commit));
        }
        all
    }

    fn tip(&self, branch: &str) -> Arc<str> {
        let tip = self.tips.get(branch).or_else(|| self.tips.get(self.repository.branch));
        Arc::clone(tip.expect("its own branch has commits"))
    }

    fn set_tip(&mut self, branch: &str, head: &Arc<str>) {
        self.tips.insert(branch.to_owned(), Arc::clone(head));
        if self.tips.len() > MOST_BRANCHES + 1 {
            let own = self.repository.branch;
            let other = self.tips.keys().find(|name| *name != own && *name != branch).cloned();
            other.and_then(|other| self.tips.remove(&other));
        }
    }

    /// The ancestor of a commit by first parents, this many back or as far as there are some.
    fn back(&self, oid: &Arc<str>, steps: usize) -> Arc<str> {
        let mut at = Arc::clone(oid);
        for _ in 0..steps {
            match self.commits.get(&at).and_then(|commit| commit.parents.first()) {
                Some(parent) => at = Arc::clone(parent),
                None => break,
            }
        }
        at
    }
}

/// Makes the commits of one person.
struct CommitMaker<'a> {
    graph: &'a mut CommitGraph,
    rng: &'a mut Rng,
    by: &'a Person,
    made: &'a mut u64,
    /// The commits that were made.
    new: Vec<Arc<str>>,
}

impl CommitMaker<'_> {
    /// Makes the commits of a push. Returns the new tip.
    fn next_head(&mut self, before: &Arc<str>) -> Arc<str> {
        let few = 1 + self.rng.usize(0..4);
        match self.rng.u32(0..40) {
            // Replaces commits.
            0..3 => {
                let steps = self.rng.usize(1..4);
                let base = self.graph.back(before, steps);
                self.chain(base, few)
            }
            // Merges a branch.
            3..8 => {
                let steps = self.rng.usize(1..30);
                let base = self.graph.back(before, steps);
                let side = self.chain(base, few);
                let at = self.date(before).max(self.date(&side));
                self.commit(vec![Arc::clone(before), side], at)
            }
            8 => {
                let many = self.rng.usize(21..70);
                self.chain(Arc::clone(before), many)
            }
            9 => {
                let steps = self.rng.usize(1..3);
                self.graph.back(before, steps)
            }
            _ => self.chain(Arc::clone(before), few),
        }
    }

    /// Makes commits one after the other. Returns the last one.
    fn chain(&mut self, base: Arc<str>, count: usize) -> Arc<str> {
        (0..count).fold(base, |parent, _| {
            let at = self.date(&parent) + self.rng.i64(0..90);
            self.commit(vec![parent], at)
        })
    }

    fn commit(&mut self, parents: Vec<Arc<str>>, committed: i64) -> Arc<str> {
        let message = match self.rng.u32(0..8) {
            0 => format!("{}\n\nMore \"words\" – \u{1f980}\n", title(self.rng)),
            _ => title(self.rng),
        };
        let Person { id, login, .. } = self.by;
        let (name, email) = (login.clone(), format!("{id}+{login}@users.noreply.github.com"));
        let oid: Arc<str> = sha(self.rng).into();
        let number = *self.made;
        *self.made += 1;
        let commit = SimulatedCommit { parents, committed, number, name, email, message };
        self.graph.commits.insert(Arc::clone(&oid), commit);
        self.new.push(Arc::clone(&oid));
        oid
    }

    fn date(&self, oid: &str) -> i64 {
        self.graph.commit(oid).map_or(0, |commit| commit.committed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cast::Cast;
    use super::*;

    #[test]
    fn pushes_continue_their_branch_and_stay_bounded() {
        let mut rng = Rng::with_seed(5);
        let mut cast = Cast::new(&mut rng);
        let mut known = KnownCommits::default();
        let mut tips: HashMap<u64, Arc<str>> = HashMap::new();
        let (mut merges, mut large, mut back, mut replaced, mut begun) = (0, 0, 0, 0, 0);
        for n in 0..6_000 {
            let place = cast.next_place(&mut rng);
            let (repository, by) = (cast.at(place), cast.busy_person(&mut rng));
            let branch = repository.branch;
            let at = Second(1_790_000_000 + n);
            let push = known.push(&mut rng, (7, branch), (&repository, &by), at);
            let last = tips.insert(repository.id, Arc::clone(&push.head));
            begun += u32::from(last.is_some_and(|last| last != push.before));
            let graph = known.named(&repository.full_name()).unwrap();
            let history = graph.history(&push.head);
            let newest = graph.commit(&push.head).unwrap();
            assert!(history.is_sorted_by(|(_, a), (_, b)| a.committed >= b.committed));
            merges += u32::from(newest.parents.len() == 2);
            large += u32::from(push.commits.len() > 20);
            back += u32::from(push.commits.is_empty());
            replaced += u32::from(!history.iter().any(|(oid, _)| *oid == push.before));
            let old: HashSet<_> = graph.history(&push.before).into_iter().map(|(o, _)| o).collect();
            let apart = history.iter().rev().filter(|(oid, _)| !old.contains(oid));
            assert!(apart.map(|(oid, _)| oid).eq(push.commits.iter().map(|(oid, _)| oid)));
            if let Some((last, ..)) = push.commits.last() {
                assert_eq!(*last, push.head, "the newest comes last");
            }
        }
        assert!(merges > 200 && large > 60 && back > 60 && replaced > 200);
        assert!(begun < 1_000, "{begun} began again");
        assert!(
            known.count <= MOST + MOST_OF_ONE && known.order.len() == known.by_repository.len()
        );
        let counted: usize = known.by_repository.values().map(|graph| graph.commits.len()).sum();
        assert_eq!(known.count, counted);
    }
}
