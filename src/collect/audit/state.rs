//! The state of the audit, as it is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conflict::{Disagreement, id_share};
use super::interval::{UndoneShare, seen_share};
use super::number_gaps::NumberGaps;
use super::panel::{AuditSample, AuditTimes, hash_of};
use super::sighting::AuditedEvent;
use crate::model::audit::{AuditPanel, AuditReport, AuditShare, AuditedKind, METHOD};
use crate::model::position::{BusTag, Position};
use crate::model::window::Timestamp;
use crate::store::journal::JournalItem;
use crate::store::{Reader, StoreError};

/// The most rows of the journal that are read at once.
const ROWS: usize = 5_000;
/// The form in which the state is kept; another one is not read.
const FORM: u32 = 1;
/// Points of this time are shown.
const HOUR: Duration = Duration::from_secs(3_600);
/// The most queries whose points are remembered.
const MOST_QUERIES: usize = 10_000;

/// What the audit knows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AuditState {
    form: u32,
    /// The bus, and the position on it up to which events are counted.
    tag: u32,
    position: (u64, u64, u32),
    pub(super) panel: AuditSample,
    /// The chosen repositories; missing in the state of an older version.
    #[serde(default = "AuditSample::chosen")]
    pub(super) watched: AuditSample,
    gaps: NumberGaps,
    /// When points were spent, in seconds since 1970, and how many.
    spent: VecDeque<(i64, u64)>,
    conflict: Disagreement,
}

impl AuditState {
    /// The state that was kept, or a new one that begins at the journal's end.
    pub(super) fn load(
        reader: Reader<'_>,
        tag: BusTag,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let kept = reader.audit_state()?;
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        if let Some(mut kept) = kept.filter(|kept| kept.form == FORM && kept.tag == tag.0) {
            kept.panel.forget_future(now);
            kept.watched.forget_future(now);
            return Ok(kept);
        }
        let Position { ledger, entry, index } = reader.journal(tag)?.newest()?.unwrap_or_default();
        Ok(Self {
            form: FORM,
            tag: tag.0,
            position: (ledger, entry, index),
            panel: AuditSample::default(),
            watched: AuditSample::chosen(),
            gaps: NumberGaps::default(),
            spent: VecDeque::new(),
            conflict: Disagreement::default(),
        })
    }

    /// The bytes that are kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Numbers, texts and lists of them: nothing that JSON could not hold.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads events behind those that are counted. Returns whether there may be more of them.
    pub(super) fn catch_up(
        mut self,
        reader: Reader<'_>,
        tag: BusTag,
        times: AuditTimes,
        size: usize,
    ) -> Result<(Self, bool), StoreError> {
        let journal = reader.journal(tag)?;
        let (ledger, entry, index) = self.position;
        let mut position = Position { ledger, entry, index };
        // Events that retention dropped unread were received, and are not counted.
        let mut has_hole = journal.dropped().is_some_and(|dropped| dropped > position);
        let (mut rows, span) = (0, times.number_span());
        journal.walk_behind(position, |item| {
            if rows == ROWS {
                return Ok(false);
            }
            rows += 1;
            match item {
                JournalItem::Damaged(at) => {
                    has_hole = true;
                    position = at;
                }
                JournalItem::LeftOut(at, _) => position = at,
                JournalItem::Event(at, row) => {
                    position = at;
                    if let Some(event) = AuditedEvent::read(row.event) {
                        let hash = hash_of(event.repo_id);
                        self.gaps.observe(hash, &event, span);
                        self.panel.observe(hash, &event, size);
                        self.watched.count(hash, &event);
                    }
                }
            }
            Ok(true)
        })?;
        if has_hole {
            self.panel.restart();
            self.watched.restart();
            self.gaps.clear();
        }
        self.position = (position.ledger, position.entry, position.index);
        Ok((self, rows == ROWS))
    }

    /// The random sample, or the watched repositories.
    pub(super) fn sample(&mut self, is_watched: bool) -> &mut AuditSample {
        if is_watched { &mut self.watched } else { &mut self.panel }
    }

    /// Records what a query has cost.
    pub(super) fn spent(&mut self, now: Timestamp, points: u64) {
        self.spent.push_back((now.second().0, points));
        if self.spent.len() > MOST_QUERIES {
            self.spent.pop_front();
        }
    }

    /// Removes repositories that privacy leaves out, by name.
    pub(super) fn leave_out(&mut self, is_left_out: impl Fn(&str) -> bool) {
        self.panel.leave_out(&is_left_out);
        self.watched.leave_out(is_left_out);
    }

    /// Closes intervals, and says what is known.
    pub(super) fn report(
        &mut self,
        reader: Reader<'_>,
        now: Timestamp,
        times: AuditTimes,
        size: usize,
    ) -> Result<AuditReport, StoreError> {
        self.panel.forget_future(now);
        self.panel.close(now, times, size);
        self.watched.forget_future(now);
        self.watched.close(now, times, 0);
        let settled = now.minus(times.wait);
        self.gaps.close(settled.minus(times.horizon()), settled, now, times.number_span());
        let hour_ago = now.minus(HOUR).second().0;
        self.spent.retain(|(at, _)| (hour_ago..=now.second().0).contains(at));
        let shares = AuditedKind::ALL.map(|kind| (kind.name().into(), self.share(kind)));
        let range = self.panel.range();
        let watched = self.watched.len() as u64;
        let panel = AuditPanel { watched, ..self.panel.census(now, times.every) };
        let mut repos = self.watched.growth();
        repos.extend(self.panel.growth());
        let mut report = AuditReport {
            at: now,
            method: METHOD.into(),
            from: range.map(|(from, _)| from),
            until: range.map(|(_, until)| until),
            panel,
            points: self.spent.iter().map(|(_, points)| points).sum(),
            shares: BTreeMap::from(shares),
            repos: Arc::new(repos),
            conflict: None,
        };
        let ids = range.map(|(from, until)| id_share(reader, from, until)).transpose()?.flatten();
        report.conflict = self.conflict.judge(&report, ids, now, times.every);
        Ok(report)
    }

    fn share(&self, kind: AuditedKind) -> AuditShare {
        if kind != AuditedKind::Numbers {
            return self.panel.share(kind);
        }
        let clusters = self.gaps.clusters();
        let (seen, grown) = clusters.totals();
        AuditShare {
            seen,
            grown,
            repositories: clusters.len(),
            undone: None,
            share: seen_share(clusters.sums(), UndoneShare::default()),
        }
    }
}
