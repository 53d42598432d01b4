//! A counter: of a script, or built in.

use std::sync::Arc;

use super::active::ActiveCounter;
use super::busiest::{self, Busiest};
use super::rolling::{CountedBy, RollingCounter, snapshot_of};
use crate::hub::{Hub, WINDOWS};
use crate::lists::ListSet;
use crate::model::position::Cursor;
use crate::model::tally::{Buckets, WindowSnapshot};
use crate::model::window::Second;
use crate::script::ScriptHost;
use crate::script::rule::{AggregateRule, Subject};
use crate::script::usage::Usage;

/// The number of windows of up to an hour, counted per second; the day has buckets of 24 seconds.
const BY_SECONDS: usize = 2;

/// A counter, and the second from which on it is complete.
pub(super) struct AggregateCounter {
    counter: MemberKind,
    counted_from: Second,
    ticked_at: Option<Second>,
}

enum MemberKind {
    Script(Box<ScriptCounter>),
    Rolling(Box<RollingCounter>),
    Active(Box<ActiveCounter>),
    Busiest(Box<Busiest>),
}

/// State of a script's aggregate.
pub(super) struct ScriptCounter {
    pub(super) name: String,
    host: Arc<ScriptHost>,
    pub(super) rule: AggregateRule,
    /// The rule's lists, with the names they had when counting began.
    pub(super) lists: ListSet,
    buckets: Buckets,
    left_out: u64,
    /// What the rule has matched.
    pub(super) usage: Usage,
}

impl AggregateCounter {
    /// Creates the counter of a script with this rule, whose lists have these names.
    pub(super) fn script_of(
        name: &str,
        host: Arc<ScriptHost>,
        (rule, lists): (AggregateRule, ListSet),
    ) -> Self {
        let buckets = Buckets::with_layout(rule.shape());
        let name = name.to_owned();
        let usage = Usage::new(&rule);
        let scripted = ScriptCounter { name, host, rule, lists, buckets, left_out: 0, usage };
        Self::of(MemberKind::Script(Box::new(scripted)))
    }

    /// Creates the built-in counters.
    pub(super) fn built_in() -> Vec<Self> {
        const SHORT: &[(&str, u32)] = WINDOWS.split_at(BY_SECONDS).0;
        const LONG: &[(&str, u32)] = WINDOWS.split_at(BY_SECONDS).1;
        let mut members = Vec::new();
        for windows in [SHORT, LONG] {
            for by in [CountedBy::Language, CountedBy::Type] {
                let rolling = RollingCounter::new(by, windows);
                members.push(Self::of(MemberKind::Rolling(Box::new(rolling))));
            }
            members.push(Self::of(MemberKind::Active(Box::new(ActiveCounter::new(windows)))));
        }
        members.push(Self::of(MemberKind::Busiest(Box::default())));
        members
    }

    fn of(counter: MemberKind) -> Self {
        Self { counter, counted_from: Second(i64::MIN), ticked_at: None }
    }

    /// The state of the script that it counts for.
    pub(super) fn script(&self) -> Option<&ScriptCounter> {
        match &self.counter {
            MemberKind::Script(scripted) => Some(scripted),
            _ => None,
        }
    }

    /// Number of seconds before now that it needs.
    pub(super) fn span(&self) -> i64 {
        match &self.counter {
            // The previous window is counted too, and both begin with a whole bucket.
            MemberKind::Script(scripted) => 2 * i64::from(scripted.rule.window()),
            MemberKind::Rolling(rolling) => rolling.span(),
            MemberKind::Active(active) => active.span(),
            MemberKind::Busiest(_) => busiest::WINDOW.into(),
        }
    }

    /// Marks it complete from this second on; the last call wins.
    pub(super) fn begin(&mut self, second: Second) {
        self.counted_from = self.counted_from.max(second);
    }

    /// Moves to this second: events that were received after it are held until then.
    pub(super) fn reach(&mut self, now: Second) {
        if let MemberKind::Active(active) = &mut self.counter {
            active.reach(now);
        }
    }

    pub(super) fn count(&mut self, event: &Subject<'_>) {
        match &mut self.counter {
            MemberKind::Script(scripted) => scripted.count(event),
            MemberKind::Rolling(rolling) => rolling.count(event),
            MemberKind::Active(active) => active.count(event),
            MemberKind::Busiest(busiest) => busiest.count(event),
        }
    }

    /// Publishes the value if it is due.
    pub(super) fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor) {
        self.reach(now);
        let every: i64 = match &self.counter {
            MemberKind::Script(scripted) => scripted.rule.tick().into(),
            MemberKind::Busiest(_) => busiest::EVERY,
            MemberKind::Rolling(_) | MemberKind::Active(_) => 1,
        };
        // A clock that was set back must not delay the values.
        if self.ticked_at.is_some_and(|at| (at.0..at.0.saturating_add(every)).contains(&now.0)) {
            return;
        }
        self.ticked_at = Some(now);
        let since = self.counted_from;
        match &mut self.counter {
            MemberKind::Script(scripted) => scripted.tick(hub, now, cursor, since),
            MemberKind::Rolling(rolling) => rolling.tick(hub, now, cursor, since),
            MemberKind::Active(active) => active.tick(hub, now, cursor, since),
            MemberKind::Busiest(busiest) => busiest.tick(hub, now, cursor, since),
        }
    }
}

impl ScriptCounter {
    fn count(&mut self, event: &Subject<'_>) {
        let name = self.rule.name(event).filter(|_| self.is_listed(event));
        self.usage.meet(&self.rule, event, name.is_some());
        let Some(name) = name else { return };
        let second = event.facts().received_at.second();
        if self.buckets.add(second, &name, 1).is_err() {
            self.left_out += 1;
            if self.left_out == 1 {
                tracing::warn!(
                    aggregate = self.name,
                    "not everything is counted: more names than there is room for, or longer \
                     ones; its messages say how many events are left out"
                );
            }
        }
    }

    fn is_listed(&self, event: &Subject<'_>) -> bool {
        self.lists.is_empty() || {
            let [repo, actor] = event.listed();
            self.lists.takes(repo, actor)
        }
    }

    /// The window that ends with this second.
    pub(super) fn window(&self, now: Second) -> WindowSnapshot {
        self.buckets.snapshot(self.buckets.window(now, self.rule.window()))
    }

    fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor, since: Second) {
        let window = self.buckets.window(now, self.rule.window());
        self.buckets.expire_window(window.previous().from, window.until);
        let taken = self.buckets.snapshot(window);
        // The host reports a failing script; the last value remains.
        if let Some(Ok(value)) = self.host.run(&taken) {
            let since = self.buckets.dropped_before().map_or(since, |second| since.max(second));
            let snapshot = snapshot_of(window, cursor, since, self.left_out, value);
            hub.aggregates.open(&self.name).publish(snapshot);
        }
    }
}
