//! Lists in force, one or several in a query.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::names::NameList;

/// A list in force. Two are equal when they have the same name.
pub struct LiveList {
    name: Box<str>,
    names: ArcSwap<NameList>,
}

impl LiveList {
    pub(super) fn new(name: &str, names: NameList) -> Self {
        Self { name: name.into(), names: ArcSwap::from_pointee(names) }
    }

    /// Puts other names into force.
    pub(super) fn replace(&self, names: NameList) {
        self.names.store(Arc::new(names));
    }

    /// The name of the list.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that are in force now.
    #[must_use]
    pub fn names(&self) -> Arc<NameList> {
        self.names.load_full()
    }

    /// This list with the names that are in force now; later changes of the file leave it as it is.
    fn fixed(&self) -> Self {
        Self { name: self.name.clone(), names: ArcSwap::new(self.names()) }
    }

    /// Whether an event of this repository by this actor is on the list; both in lower case.
    #[must_use]
    pub fn holds(&self, repo: Option<&str>, actor: Option<&str>) -> bool {
        self.names.load().holds(repo, actor)
    }
}

impl PartialEq for LiveList {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LiveList {}

impl Hash for LiveList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl std::fmt::Debug for LiveList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LiveList({})", self.name)
    }
}

/// A list that a query names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListTerm {
    /// The list.
    pub list: Arc<LiveList>,
    /// Whether events on it are excluded (`!NAME`).
    pub is_excluded: bool,
}

/// Lists: an event has to be on one of those that are included, unless there are none, and on none
/// of the excluded ones. Their names may change while the set is in use. Sets of the same lists are
/// equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListSet {
    any: Vec<Arc<LiveList>>,
    none: Vec<Arc<LiveList>>,
}

impl ListSet {
    /// The set of these terms, in any order.
    #[must_use]
    pub fn new(terms: &[ListTerm]) -> Self {
        let of = |excluded: bool| {
            let terms = terms.iter().filter(|term| term.is_excluded == excluded);
            let mut lists: Vec<_> = terms.map(|term| Arc::clone(&term.list)).collect();
            lists.sort_by(|one, other| one.name.cmp(&other.name));
            lists.dedup();
            lists
        };
        Self { any: of(false), none: of(true) }
    }

    /// Whether it restricts nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether it selects an event of this repository by this actor; both in lower case.
    #[must_use]
    pub fn takes(&self, repo: Option<&str>, actor: Option<&str>) -> bool {
        let holds = |list: &Arc<LiveList>| list.holds(repo, actor);
        (self.any.is_empty() || self.any.iter().any(holds)) && !self.none.iter().any(holds)
    }

    /// The lists as a query names them: `NAME`, and `!NAME` of an excluded one.
    #[must_use]
    pub fn terms(&self) -> Vec<String> {
        let any = self.any.iter().map(|list| list.name().to_owned());
        any.chain(self.none.iter().map(|list| format!("!{}", list.name()))).collect()
    }

    /// The same lists with the names that are in force now; later changes of the files leave them
    /// as they are.
    #[must_use]
    pub fn fixed(&self) -> Self {
        let fixed =
            |lists: &[Arc<LiveList>]| lists.iter().map(|list| Arc::new(list.fixed())).collect();
        Self { any: fixed(&self.any), none: fixed(&self.none) }
    }

    /// Whether both are sets of the same lists, with the same names on them now.
    #[must_use]
    pub fn has_names_of(&self, other: &Self) -> bool {
        let names = |set: &Self| -> Vec<_> {
            set.any.iter().chain(&set.none).map(|list| list.names()).collect()
        };
        self == other && names(self) == names(other)
    }
}
