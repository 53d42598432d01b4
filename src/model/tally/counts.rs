//! A [`Tally`]: counts by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

/// The longest name that is counted, in bytes; GitHub's longest language has 38.
pub const NAME_BYTES: usize = 64;

/// The most names that are counted at once; GitHub has about 800 languages.
pub const NAMES: usize = 10_000;

/// Counts by name, sorted by name. Serialized as a JSON object of whole numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Tally(BTreeMap<Arc<str>, i64>);

impl Tally {
    /// Adds `n` to a name's count, saturating.
    pub fn add(&mut self, name: impl Into<Arc<str>>, n: i64) {
        let count = self.0.entry(name.into()).or_default();
        *count = count.saturating_add(n);
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (name, &n) in &other.0 {
            self.add(Arc::clone(name), n);
        }
    }

    /// The count of a name; 0 when it is missing.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Names and counts, sorted by name.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, i64)> {
        self.0.iter().map(|(name, &n)| (name, n))
    }

    /// The number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The difference of two tallies as `(deletions, additions)`, both with positive counts only,
    /// so that `from` minus deletions plus additions is `to`. A missing name counts as 0.
    #[must_use]
    pub fn difference(from: &Self, to: &Self) -> (Self, Self) {
        let (mut deletions, mut additions) = (Self::default(), Self::default());
        let gone = from.iter().filter(|(name, _)| !to.0.contains_key(*name));
        for (name, n) in to.iter().chain(gone.map(|(name, _)| (name, 0))) {
            let more = n.saturating_sub(from.get(name));
            if more > 0 {
                additions.add(Arc::clone(name), more);
            } else if more < 0 {
                deletions.add(Arc::clone(name), more.saturating_neg());
            }
        }
        (deletions, additions)
    }

    /// The tally of these names only, without the missing ones.
    #[must_use]
    pub fn restricted<I>(&self, names: I) -> Self
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let found = names.into_iter().filter_map(|name| self.0.get_key_value(name.as_ref()));
        Self(found.map(|(name, &n)| (Arc::clone(name), n)).collect())
    }

    /// The `n` names with the largest counts; of equal counts the name that sorts first.
    #[must_use]
    pub fn top(&self, n: usize) -> Self {
        if n >= self.0.len() {
            return self.clone();
        }
        let mut ranked: Vec<(&Arc<str>, i64)> = self.iter().collect();
        // The sort is stable and the names are sorted, so ties stay in the order of names.
        ranked.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        ranked.truncate(n);
        ranked.into_iter().map(|(name, n)| (Arc::clone(name), n)).collect()
    }
}

/// Adds the counts of repeated names.
impl<N: Into<Arc<str>>> FromIterator<(N, i64)> for Tally {
    fn from_iter<T: IntoIterator<Item = (N, i64)>>(pairs: T) -> Self {
        let mut tally = Self::default();
        for (name, n) in pairs {
            tally.add(name, n);
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(pairs: &[(&str, i64)]) -> Tally {
        pairs.iter().map(|&(name, n)| (name, n)).collect()
    }

    fn any_tally() -> impl Strategy<Value = Tally> {
        prop::collection::vec(("[A-E]{1,2}", -5_i64..50), 0..20)
            .prop_map(|pairs| pairs.into_iter().collect())
    }

    #[test]
    fn tally_is_serialized_sorted_by_name() {
        let written = serde_json::to_string(&tally(&[("Rust", 3), ("C++", 5), ("\"", 1)])).unwrap();
        assert_eq!(written, r#"{"\"":1,"C++":5,"Rust":3}"#);
        assert_eq!(serde_json::to_string(&Tally::default()).unwrap(), "{}");
    }

    #[test]
    fn ties_in_the_top_are_broken_by_name() {
        let all = tally(&[("D", 2), ("B", 2), ("C", 2), ("A", 1), ("Z", 9)]);
        assert_eq!(all.top(3), tally(&[("Z", 9), ("B", 2), ("C", 2)]));
        assert_eq!(all.top(9), all);
        assert!(all.top(0).is_empty());
    }

    #[test]
    fn only_requested_names_remain() {
        let all = tally(&[("Go", 2), ("Rust", 7)]);
        assert_eq!(all.restricted(["Rust", "Rust", "Ada"]), tally(&[("Rust", 7)]));
        assert!(all.restricted([] as [&str; 0]).is_empty());
    }

    #[test]
    fn counts_saturate() {
        let mut full = tally(&[("Go", i64::MAX)]);
        full.add("Go", 1);
        assert_eq!(full.get("Go"), i64::MAX);
    }

    proptest! {
        #[test]
        fn difference_leads_from_one_to_the_other(from in any_tally(), to in any_tally()) {
            let (deletions, additions) = Tally::difference(&from, &to);
            let mut reached = from.clone();
            reached.merge(&additions);
            for (name, n) in deletions.iter() {
                prop_assert!(n > 0);
                reached.add(Arc::clone(name), -n);
            }
            prop_assert!(additions.iter().all(|(_, n)| n > 0));
            for (name, _) in from.iter().chain(to.iter()) {
                prop_assert_eq!(reached.get(name), to.get(name), "{}", name);
            }
        }

        #[test]
        fn merging_is_adding_each_count(a in any_tally(), b in any_tally()) {
            let mut both = a.clone();
            both.merge(&b);
            for (name, n) in both.iter() {
                prop_assert_eq!(n, a.get(name) + b.get(name));
            }
        }
    }
}
