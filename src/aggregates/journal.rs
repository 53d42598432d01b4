//! Reads the journal for all counters.
//!
//! Counters at the same position form a group and share the reading. A new one starts at the
//! beginning of its window, in a group of its own, and joins the others when it has caught up.

use crate::hub::Hub;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::{Minute, Second, Timestamp};
use crate::script::rule::Subject;
use crate::store::journal::{Journal, JournalItem};
use crate::store::{Reader, StoreError};

use super::member::{AggregateCounter, ScriptCounter};

/// The most rows that a group reads per beat.
const ROWS: usize = 10_000;

/// All counters, grouped by position.
pub(super) struct ReadGroups {
    tag: BusTag,
    /// Groups; the one furthest ahead is the first.
    groups: Vec<ReadGroup>,
}

struct ReadGroup {
    /// Everything up to here was read, or is not needed.
    place: Position,
    /// Whether the end of the journal was reached.
    caught_up: bool,
    members: Vec<AggregateCounter>,
}

impl ReadGroups {
    pub(super) fn new(tag: BusTag) -> Self {
        Self { tag, groups: Vec::new() }
    }

    /// Adds a counter.
    pub(super) fn add(
        &mut self,
        reader: Reader<'_>,
        mut member: AggregateCounter,
        now: Second,
    ) -> Result<(), StoreError> {
        let from = Second(now.0.saturating_sub(member.span()));
        let journal = reader.journal(self.tag)?;
        let (place, whole_from) = start_of(&journal, from)?;
        member.begin(whole_from.unwrap_or(now).max(from));
        match self.groups.iter_mut().find(|group| group.place == place) {
            Some(group) => group.members.push(member),
            None => self.groups.push(ReadGroup { place, caught_up: false, members: vec![member] }),
        }
        Ok(())
    }

    /// Removes all counters.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    /// Removes the counter of this script.
    pub(super) fn remove(&mut self, script: &str) {
        for group in &mut self.groups {
            group.members.retain(|member| member.script().is_none_or(|of| of.name != script));
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    /// The counter of this script, and whether it has caught up.
    pub(super) fn of_script(&self, script: &str) -> Option<(&ScriptCounter, bool)> {
        self.groups.iter().find_map(|group| {
            let mut scripts = group.members.iter().filter_map(AggregateCounter::script);
            Some((scripts.find(|counter| counter.name == script)?, group.caught_up))
        })
    }

    /// Reads one batch per group. Returns whether there is more.
    pub(super) fn read(&mut self, reader: Reader<'_>, now: Second) -> Result<bool, StoreError> {
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.place));
        let mut done: Vec<ReadGroup> = Vec::with_capacity(self.groups.len());
        let mut failure = None;
        for mut group in std::mem::take(&mut self.groups) {
            // No group overtakes another: the one behind joins, and they continue together.
            let until = done.first().map(|first| first.place);
            let read =
                reader.journal(self.tag).and_then(|journal| group.read(&journal, until, now));
            if let Err(error) = read {
                // A failing store removes no counter: the read is retried.
                failure.get_or_insert(error);
            }
            match done.first_mut() {
                Some(first) if group.place == first.place => {
                    first.members.append(&mut group.members);
                }
                _ => done.push(group),
            }
        }
        self.groups = done;
        failure.map_or(Ok(()), Err)?;
        Ok(self.groups.iter().any(|group| !group.caught_up))
    }

    /// Publishes due values of counters that have caught up.
    pub(super) fn tick(&mut self, hub: &Hub, now: Second) {
        let tag = self.tag;
        for group in self.groups.iter_mut().filter(|group| group.caught_up) {
            for member in &mut group.members {
                member.tick(hub, now, Cursor { tag, position: group.place });
            }
        }
    }
}

impl ReadGroup {
    /// Reads up to and including `until`, or to the end.
    fn read(
        &mut self,
        journal: &Journal<'_>,
        until: Option<Position>,
        now: Second,
    ) -> Result<(), StoreError> {
        // Retention may have passed this position: nothing before the first remaining row is known
        // to be counted.
        let overtaken = journal.dropped().filter(|dropped| *dropped > self.place);
        let (mut rows, mut ended, mut is_first) = (0, true, overtaken.is_some());
        let complete = journal.complete_from()?.map(first_second);
        let Self { place, members, .. } = self;
        for member in &mut *members {
            member.reach(now);
        }
        journal.walk_behind(*place, |step| {
            let position = step.position();
            if until.is_some_and(|until| position > until) {
                if let JournalItem::Damaged(_) = step {
                    // Counters ahead of it have read it already.
                    for member in &mut *members {
                        member.begin(now);
                    }
                }
                return Ok(false);
            }
            if rows == ROWS {
                ended = false;
                return Ok(false);
            }
            rows += 1;
            *place = position;
            let (received_at, row) = match step {
                JournalItem::Event(_, row) => (row.facts.received_at, Some(row)),
                JournalItem::LeftOut(_, received_at) => (received_at, None),
                JournalItem::Damaged(_) => {
                    // Unreadable rows are not counted.
                    is_first = true;
                    return Ok(true);
                }
            };
            if std::mem::take(&mut is_first) {
                let left = received_at.second();
                let left = complete.map_or(left, |complete| left.max(complete));
                for member in &mut *members {
                    member.begin(left);
                }
            }
            let Some(row) = row else { return Ok(true) };
            let subject = Subject::new(&row.facts, row.event);
            for member in &mut *members {
                member.count(&subject);
            }
            Ok(true)
        })?;
        // Rows in between are gone or never existed: everything up to there is counted.
        if let Some(until) = until.filter(|until| ended && *until > self.place) {
            self.place = until;
        }
        self.caught_up = ended;
        Ok(())
    }
}

fn first_second(minute: Minute) -> Second {
    Second(minute.0.saturating_mul(60))
}

/// The position behind which events of `from` and later are, and the second from which on the
/// journal is complete; `None` when it is empty.
fn start_of(journal: &Journal<'_>, from: Second) -> Result<(Position, Option<Second>), StoreError> {
    let mut whole_from = journal.first_received(Position::default())?.map(Timestamp::second);
    // The first event may have been received long before the journal became complete.
    if let Some(minute) = journal.complete_from()? {
        let minute = first_second(minute);
        whole_from = whole_from.map(|second| second.max(minute));
    }
    let Some(first) = journal.first_since(from.start().minute())? else {
        return Ok((journal.newest()?.unwrap_or_default(), whole_from));
    };
    let mut before = Position::default();
    journal.read_before(first, |position, _| {
        if position < first {
            before = position;
        }
        Ok(position == first)
    })?;
    Ok((before, whole_from))
}
