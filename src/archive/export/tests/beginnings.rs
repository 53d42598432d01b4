//! Hours of which the journal may not have the beginning, because of a gap.

use super::*;
use crate::model::gap::{Gap, GapReason};
use crate::store::gaps;

impl Site {
    /// Records a gap behind the event with this id.
    async fn gap(&self, after: u64, count: Option<u64>) {
        let (tag, after) = (self.tag, Position::counted(after));
        let (reason, noticed_at) = (GapReason::Upstream, Timestamp::from_seconds(0));
        let gap = Gap { after, until: after, count, reason, noticed_at };
        self.store.commit(move |batch| gaps::record(batch, tag, gap)).await.unwrap();
    }

    /// Exports hours of the day anew, and returns each with whether it is cut.
    fn cut(&self, hours: std::ops::Range<i64>) -> Vec<(i64, bool)> {
        let to = tempfile::tempdir_in(self.dir.path()).unwrap();
        let target = ArchiveTarget { dir: to.path().to_owned(), ..self.target() };
        let day = hour("00:00:00").0;
        let (from, until) = (Hour(day + hours.start), Hour(day + hours.end));
        let exported = export(&self.store, from, until, &target).unwrap();
        let said =
            |written: &WrittenHour| (HourName::of(&written.file).unwrap().0.0 - day, written.cut);
        exported.hours.iter().map(said).collect()
    }
}

#[tokio::test]
async fn hour_that_begins_in_a_gap_is_cut_and_gets_no_file() {
    let site = Site::new();
    site.journal("2026-02-03T08:59:00Z", &[(1, "08:58:00")]).await;
    site.journal("2026-02-03T09:40:00Z", &[(2, "09:39:00")]).await;
    site.gap(2, None).await;
    // The first events behind it are late ones of an hour that is settled.
    site.journal("2026-02-03T11:20:00Z", &[(3, "09:39:30")]).await;
    site.journal("2026-02-03T11:21:00Z", &[(4, "10:59:00"), (5, "11:19:59")]).await;
    pass(&site.store, hour("10:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    pass(&site.store, hour("11:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    site.journal("2026-02-03T12:01:00Z", &[(6, "11:59:00"), (7, "12:00:00")]).await;
    site.journal("2026-02-03T12:20:00Z", &[(8, "10:59:30")]).await;
    assert_eq!(site.cut(9..13), [(9, false), (10, true), (11, true), (12, false)]);
    // The range that is read begins behind the gap.
    assert_eq!(site.cut(11..13), [(11, true), (12, false)]);
    pass(&site.store, hour("12:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    pass(&site.store, hour("13:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    assert_eq!(site.names(), ["2026-02-03-12.json.gz", "2026-02-03-9.json.gz"]);
    assert_eq!(site.ids("2026-02-03-9.json.gz"), [2, 3]);
}

#[tokio::test]
async fn gap_within_an_hour_costs_no_file() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[(1, "09:58:00")]).await;
    site.journal("2026-02-03T10:00:00Z", &[(2, "09:59:59"), (3, "10:00:00")]).await;
    site.gap(3, None).await;
    site.journal("2026-02-03T10:59:59Z", &[(4, "10:59:50")]).await;
    // The journal has nothing behind this one yet.
    site.gap(4, None).await;
    assert_eq!(site.cut(10..11), [(10, false)]);
    site.journal("2026-02-03T11:00:00Z", &[(5, "10:59:59"), (6, "11:00:00")]).await;
    assert_eq!(site.cut(10..12), [(10, false), (11, true)], "the second gap ends in hour 11");
    pass(&site.store, hour("12:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
}

#[tokio::test]
async fn one_missing_event_costs_no_file() {
    let site = Site::new();
    site.journal("2026-02-03T08:59:00Z", &[(1, "08:58:00")]).await;
    site.journal("2026-02-03T09:59:59Z", &[(2, "09:59:00")]).await;
    site.gap(2, Some(1)).await;
    site.journal("2026-02-03T10:00:01Z", &[(3, "09:59:59"), (4, "10:00:00")]).await;
    assert_eq!(site.cut(9..11), [(9, false), (10, false)]);
}

#[tokio::test]
async fn event_that_was_stuck_elsewhere_does_not_hide_a_gap() {
    let site = Site::new();
    site.journal("2026-02-03T07:59:00Z", &[(1, "08:00:00")]).await;
    site.journal("2026-02-03T09:40:00Z", &[(2, "09:39:00")]).await;
    // On each side of the gap is an event that was received long before.
    site.journal("2026-02-03T08:10:00Z", &[(3, "08:09:00")]).await;
    site.gap(3, None).await;
    site.journal("2026-02-03T08:20:00Z", &[(4, "08:19:00")]).await;
    site.journal("2026-02-03T10:20:00Z", &[(5, "10:19:00"), (6, "09:39:30")]).await;
    assert_eq!(site.cut(8..11), [(8, false), (9, false), (10, true)]);
}

#[tokio::test]
async fn receipts_by_a_clock_that_is_behind_cut_only_what_is_near() {
    let site = Site::new();
    site.journal("2026-02-03T07:59:00Z", &[(1, "08:00:00")]).await;
    site.journal("2026-02-03T10:09:50Z", &[(2, "10:09:00")]).await;
    // Another node continues, whose clock is 20 seconds behind.
    site.gap(2, None).await;
    site.journal("2026-02-03T10:09:30Z", &[(3, "10:09:20"), (4, "09:59:59"), (5, "08:59:59")])
        .await;
    assert_eq!(site.cut(8..11), [(8, false), (9, false), (10, false)]);
    site.journal("2026-02-03T11:00:20Z", &[(6, "11:00:00")]).await;
    site.gap(6, None).await;
    site.journal("2026-02-03T11:00:05Z", &[(7, "11:00:01")]).await;
    site.journal("2026-02-03T11:20:00Z", &[(8, "11:19:00")]).await;
    assert_eq!(site.cut(8..12), [(8, false), (9, false), (10, false), (11, true)]);
}

#[tokio::test]
async fn hours_are_cut_when_the_journal_begins_behind_a_gap() {
    let site = Site::new();
    site.journal("2026-02-03T08:30:00Z", &[(1, "08:29:00")]).await;
    site.gap(1, None).await;
    site.journal("2026-02-03T10:10:00Z", &[(2, "10:09:00"), (3, "09:59:00")]).await;
    site.journal("2026-02-03T11:10:00Z", &[(4, "11:09:00")]).await;
    let retention = crate::store::retention::RetentionOptions {
        tag: site.tag,
        seen_for: Duration::from_secs(3_600),
        buckets: Duration::from_secs(3_600),
        journal_for: Duration::from_secs(2 * 3_600),
        journal_bytes: u64::MAX,
        held_by: None,
    };
    let now = Timestamp::parse("2026-02-03T11:15:00Z").unwrap();
    crate::store::retention::drop_due(&site.store, retention, now).await.unwrap();
    assert_eq!(
        site.store.reader().journal(site.tag).unwrap().dropped(),
        Some(Position::counted(1))
    );
    assert_eq!(site.cut(8..12), [(9, true), (10, true), (11, false)]);
}
