//! Compares the audit with the estimate from ids, which both say how much was seen.
//!
//! Ids tell what passed between two reads; totals also tell what GitHub never showed. When the
//! estimate from ids lies outside of the audit's interval for long, GitHub hides something, or one
//! of the two is wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::activity::Span;
use crate::model::audit::{AuditConflict, AuditReport, AuditedKind};
use crate::model::window::Timestamp;
use crate::store::{Reader, StoreError};

/// How far the estimate from ids may lie outside of the interval: events that arrive later than the
/// audit waits, and those at the edges of intervals, are a part of this size.
const MARGIN: f64 = 0.03;
/// After this many looks, it has been so for long.
const LASTING: u32 = 6;
/// The sequence of ids that the audited types belong to.
const SEQUENCE: usize = 1;

/// Since when the two contradict each other.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Disagreement {
    /// In seconds since 1970.
    since: Option<i64>,
}

/// The share seen in a span of time according to ids; `None` where it is not known.
pub(super) fn id_share(
    reader: Reader<'_>,
    from: Timestamp,
    until: Timestamp,
) -> Result<Option<f64>, StoreError> {
    let hours = reader.coverage(Span::Hour, from.hour().0..until.hour().0 + 1)?;
    let (mut seen, mut missed) = (0.0, 0.0);
    for coverage in hours.values() {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count = coverage.seen[SEQUENCE] as f64;
        seen += count;
        missed += coverage.missed[SEQUENCE].estimate;
    }
    Ok((seen > 0.0).then(|| seen / (seen + missed)))
}

impl Disagreement {
    /// Compares them; the conflict once it has lasted for long.
    pub(super) fn judge(
        &mut self,
        report: &AuditReport,
        ids: Option<f64>,
        now: Timestamp,
        every: Duration,
    ) -> Option<AuditConflict> {
        let ids = ids?;
        let outside: Vec<String> = AuditedKind::ALL
            .into_iter()
            .filter_map(|kind| {
                let [low, estimate, high] = report.share(kind)?;
                let is_outside = !(low - MARGIN..=high + MARGIN).contains(&ids);
                let name = kind.name().replace('_', " ");
                let percent = |share: f64| share * 100.0;
                is_outside.then(|| {
                    format!(
                        "{name} {:.1} % ({:.1} to {:.1})",
                        percent(estimate),
                        percent(low),
                        percent(high)
                    )
                })
            })
            .collect();
        if outside.is_empty() {
            self.since = None;
            return None;
        }
        let since = Timestamp::from_seconds(*self.since.get_or_insert(now.second().0));
        (now.since(since) >= every * LASTING).then(|| AuditConflict {
            since,
            text: format!(
                "by GitHub's totals the seen share is {}, by ids {:.1} %: GitHub may hide events \
                 on purpose or by mistake, or totals and events are counted differently",
                outside.join(", "),
                ids * 100.0
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audit::{AuditPanel, AuditShare};

    fn report(share: Option<[f64; 3]>) -> AuditReport {
        let stars = AuditShare { seen: 1, grown: 2, repositories: 1, undone: None, share };
        AuditReport {
            at: Timestamp::from_seconds(0),
            method: "".into(),
            from: None,
            until: None,
            panel: AuditPanel::default(),
            points: 0,
            repos: std::sync::Arc::default(),
            shares: [("stars".into(), stars)].into(),
            conflict: None,
        }
    }

    #[test]
    fn only_a_lasting_difference_is_a_conflict() {
        let (mut both, hour) = (Disagreement::default(), Duration::from_secs(3_600));
        let at = |hours: i64| Timestamp::from_seconds(hours * 3_600);
        let mut judge = |share, ids, hours| both.judge(&report(share), ids, at(hours), hour);
        let low = Some([0.4, 0.5, 0.6]);
        assert_eq!(judge(None, Some(0.9), 0), None);
        assert_eq!(judge(low, Some(0.62), 0), None, "within the margin");
        assert_eq!(judge(low, Some(0.9), 1), None);
        assert_eq!(judge(low, Some(0.9), 6), None);
        let conflict = judge(low, Some(0.9), 7).unwrap();
        assert_eq!(conflict.since, at(1));
        assert!(conflict.text.contains("stars 50.0 % (40.0 to 60.0)"), "{}", conflict.text);
        assert!(conflict.text.contains("by ids 90.0 %"), "{}", conflict.text);
        assert_eq!(judge(low, None, 8), None, "ids say nothing now");
        assert!(judge(low, Some(0.9), 9).is_some(), "which ends nothing");
        assert_eq!(judge(low, Some(0.5), 10), None);
        assert_eq!(judge(low, Some(0.1), 11), None, "it begins anew");
        assert!(judge(low, Some(0.1), 17).is_some(), "more was seen than ids say");
    }
}
