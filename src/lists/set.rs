//! Several lists in one query.

use std::sync::Arc;

use super::{ListTerm, LiveList, NameList};

/// Lists: an event has to be on one of those that are included, unless there are none, and on none
/// of the excluded ones. Their names may change while the set is in use. Sets of the same lists are
/// equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListSet {
    any: Vec<Arc<LiveList>>,
    none: Vec<Arc<LiveList>>,
}

/// The names on the lists of a [`ListSet`] at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FixedListSet {
    any: Vec<Arc<NameList>>,
    none: Vec<Arc<NameList>>,
}

impl ListSet {
    /// The set of these terms, in any order.
    #[must_use]
    pub fn new(terms: &[ListTerm]) -> Self {
        let of = |excluded: bool| {
            let terms = terms.iter().filter(|term| term.is_excluded == excluded);
            let mut lists: Vec<_> = terms.map(|term| Arc::clone(&term.list)).collect();
            lists.sort();
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

    /// The names that are in force now.
    #[must_use]
    pub fn fixed(&self) -> FixedListSet {
        let names = |lists: &[Arc<LiveList>]| lists.iter().map(|list| list.names()).collect();
        FixedListSet { any: names(&self.any), none: names(&self.none) }
    }
}

impl FixedListSet {
    /// Whether it restricts nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether it selects an event of this repository by this actor; both in lower case.
    #[must_use]
    pub fn takes(&self, repo: Option<&str>, actor: Option<&str>) -> bool {
        let holds = |list: &Arc<NameList>| list.holds(repo, actor);
        (self.any.is_empty() || self.any.iter().any(holds)) && !self.none.iter().any(holds)
    }
}
