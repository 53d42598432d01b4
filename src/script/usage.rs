//! What a rule has matched: how many events it counted, and which of its paths no event had. A
//! misspelt path is a valid path, and is noticed only in this way.

use super::rule::{AggregateRule, Subject};

/// Events after which a path that none of them had is reported as misspelt.
const ENOUGH: u64 = 1_000;

/// What one rule has matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Number of events it was applied to.
    read: u64,
    /// Number of events it counted.
    counted: u64,
    /// Paths of [`AggregateRule::paths`] that no event had yet; no longer updated once an event was
    /// counted.
    missing: Vec<usize>,
}

impl Usage {
    /// Creates it for a new rule.
    #[must_use]
    pub(crate) fn new(rule: &AggregateRule) -> Self {
        Self { read: 0, counted: 0, missing: (0..rule.paths().len()).collect() }
    }

    /// Records an event, counted or not.
    pub(crate) fn meet(&mut self, rule: &AggregateRule, event: &Subject<'_>, is_counted: bool) {
        self.read += 1;
        if is_counted {
            self.counted += 1;
        } else if self.counted == 0 {
            self.missing.retain(|path| !rule.has(*path, event));
        }
    }

    /// Number of events it counted.
    #[must_use]
    pub(crate) fn counted(&self) -> u64 {
        self.counted
    }

    /// A note about a rule that has counted no event; `None` for any other, and before the first
    /// event.
    #[must_use]
    pub(crate) fn words(&self, rule: &AggregateRule) -> Option<String> {
        if self.counted > 0 || self.read == 0 {
            return None;
        }
        let paths = rule.paths();
        let missing: Vec<&str> = self.missing.iter().map(|at| &*paths[*at]).collect();
        let why = match missing[..] {
            [] => "none matches `where`".to_owned(),
            [path] => format!("none of them has `{path}`; check its spelling"),
            _ => format!("none of them has `{}`; check their spelling", missing.join("`, `")),
        };
        let events = if self.read == 1 { "event" } else { "events" };
        Some(format!("it has counted none of {} {events}: {why}", self.read))
    }

    /// The paths that none of the events had.
    #[must_use]
    pub(crate) fn missing(&self, rule: &AggregateRule) -> Vec<String> {
        let paths = rule.paths();
        let missing = self.missing.iter().filter(|_| self.counted == 0);
        missing.map(|at| paths[*at].clone()).collect()
    }

    /// Whether it is surely an error: a path was missing in a thousand events.
    #[must_use]
    pub(crate) fn is_mistaken(&self) -> bool {
        self.counted == 0 && self.read >= ENOUGH && !self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;

    fn met(by: &str, conditions: &[(&str, &str)], times: u64) -> (Option<String>, bool) {
        let read = |(at, value): &(&str, &str)| ((*at).to_owned(), vec![(*value).to_owned()]);
        let conditions: Vec<_> = conditions.iter().map(read).collect();
        let rule = AggregateRule::new(by, &conditions, None, None).unwrap();
        let facts = Facts::default();
        let event = Subject::new(&facts, r#"{"type":"PushEvent","repo":{"name":"a/b"}}"#);
        let mut usage = Usage::new(&rule);
        for _ in 0..times {
            usage.meet(&rule, &event, rule.name(&event).is_some());
        }
        (usage.words(&rule), usage.is_mistaken())
    }

    #[test]
    fn a_rule_that_counts_has_nothing_to_say() {
        assert_eq!(met("event.repo.name", &[], 2_000), (None, false));
        assert_eq!(met("event.repo.nmae", &[], 0), (None, false));
    }

    #[test]
    fn a_path_that_no_event_has_is_named_and_soon_a_mistake() {
        let said = "it has counted none of 10 events: none of them has `event.repo.nmae`; check \
                    its spelling";
        assert_eq!(met("event.repo.nmae", &[], 10), (Some(said.to_owned()), false));
        assert!(met("event.repo.nmae", &[], 1_000).1);
        let (said, mistaken) = met("event.repo.name", &[("event.typ", "PushEvent")], 1_000);
        assert!(said.unwrap().contains("none of them has `event.typ`") && mistaken);
    }

    #[test]
    fn unmet_condition_is_reported_without_an_error() {
        let (said, mistaken) = met("event.repo.name", &[("event.type", "ForkEvent")], 5_000);
        assert_eq!(
            said.as_deref(),
            Some("it has counted none of 5000 events: none matches `where`")
        );
        assert!(!mistaken);
    }
}
