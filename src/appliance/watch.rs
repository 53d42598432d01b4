//! Watches the parts and the disk, and raises and clears alerts.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::exchange;
use crate::alerts::{AlertCondition, Alerts};
use crate::clock::Clock;
use crate::collect::audit::AuditReading;
use crate::collect::poller::publish;
use crate::collect::status::SourceStatus;
use crate::metrics;
use crate::model::audit::AuditConflict;
use crate::model::coverage::{Trouble, TroubleKind};
use crate::model::part::{Part, PartState};
use crate::model::window::Timestamp;
use crate::serve::Operate;
use crate::store::Store;
use crate::sync::blocking;

/// Interval between two checks of the parts; a part that is down at consecutive checks fails
/// several times in a row.
const EVERY: Duration = Duration::from_secs(15);
/// Interval between two checks of the disk and of changes of the parts.
const LOOK: Duration = Duration::from_secs(1);
/// Less free space than this counts as almost full: the store needs some for compaction.
const ROOM_BYTES: u64 = 2 << 30;
/// On small disks, one part in this many is enough.
const ROOM_SHARE: u64 = 20;

/// Measures the free space on the store's disk, and checks its paths and the parts, so that the
/// time of a change is known even without requests. Runs until `stop` is cancelled.
///
/// # Errors
/// When the data directory was removed or replaced, so that the events of this run are lost.
pub(super) async fn look(
    operator: Arc<dyn Operate>,
    store: Store,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let measured = store.clone();
        let measure = move || {
            let dir = measured.dir();
            measured.paths().look();
            if let Some((free, all)) = space(dir) {
                measured.disk_space().measured(dir, free, all);
                #[expect(clippy::cast_precision_loss, reason = "a byte of 2^53 more or less")]
                metrics::DISK_FREE_BYTES.set(free as f64);
            }
        };
        // The last look comes after the request to stop.
        let is_last = stop.is_cancelled();
        blocking(measure).await?;
        let is_unusable = unusable_files(&operator.parts()).is_some();
        metrics::FILE_UNUSABLE.set(if is_unusable { 1.0 } else { 0.0 });
        if is_last {
            return store.paths().lost().map_or(Ok(()), |error| Err(error.into()));
        }
        let _ = stop.run_until_cancelled(clock.sleep(LOOK)).await;
    }
}

/// Free and total bytes on the disk that holds `dir`.
pub(crate) fn space(dir: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// Watches until `stop` is cancelled.
pub(super) async fn run(
    operator: Arc<dyn Operate>,
    (source, audit): (Option<watch::Receiver<SourceStatus>>, Option<AuditReading>),
    alerts: Alerts,
    store: Store,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut was_full = false;
    loop {
        let parts = operator.parts();
        for part in &parts {
            tell(&alerts, part);
        }
        match unusable_files(&parts) {
            Some((began, text)) => {
                alerts.raise_since(AlertCondition::FileUnusable, &text, Some(began));
            }
            None => alerts.clear(AlertCondition::FileUnusable),
        }
        let report = source.as_ref().and_then(|source| source.borrow().completeness.clone());
        if let Some(report) = report {
            // A collector that no longer polls does not refresh its report.
            if let Cow::Owned(aged) = report.shown_at(clock.now()) {
                publish(&aged);
            }
            tell_troubles(&alerts, &report.troubles);
        }
        if let Some(report) = audit.as_ref().and_then(|audit| audit.borrow().clone()) {
            match &report.conflict {
                Some(AuditConflict { since, text }) => {
                    alerts.raise_since(AlertCondition::AuditConflict, text, Some(*since));
                }
                None => alerts.clear(AlertCondition::AuditConflict),
            }
        }
        let measured = store.clone();
        let look = move || {
            exchange::tidy(measured.dir(), false);
            nearly_full(measured.dir())
        };
        let full = blocking(look).await?;
        match &full {
            Some(text) => {
                if !was_full {
                    tracing::warn!("{text}");
                }
                alerts.raise(AlertCondition::DiskNearlyFull, text);
            }
            None => alerts.clear(AlertCondition::DiskNearlyFull),
        }
        was_full = full.is_some();
        let Some(()) = stop.run_until_cancelled(clock.sleep(EVERY)).await else { return Ok(()) };
    }
}

/// Raises or clears the alert for a part, which says since when it is so. The history raises its
/// own, because it knows each failure.
fn tell(alerts: &Alerts, part: &Part) {
    let (condition, is_wrong) = match &*part.name {
        "source" => (AlertCondition::SourceAway, part.state == PartState::Down),
        "bus" => (AlertCondition::BusAway, part.state == PartState::Down),
        // Off is fine too: another node may do it.
        "amqp" => (
            AlertCondition::RabbitMqAway,
            matches!(part.state, PartState::Down | PartState::Degraded),
        ),
        "scripts" => (AlertCondition::ScriptBroken, part.state != PartState::Ok),
        _ => return,
    };
    if is_wrong {
        let text = part.error.as_deref().unwrap_or("no reason is known");
        alerts.raise_since(condition, text, Some(part.since));
    } else {
        alerts.clear(condition);
    }
}

/// Which files cannot be used, in words, and since when the first of them. Their parts are there
/// only while there are some.
fn unusable_files(parts: &[Part]) -> Option<(Timestamp, String)> {
    let parts = parts.iter().filter(|part| matches!(&*part.name, "files" | "lists"));
    let (dates, words): (Vec<Timestamp>, Vec<&str>) =
        parts.filter_map(|part| Some((part.since, part.error.as_deref()?))).unzip();
    Some((dates.into_iter().min()?, words.join("; ")))
}

/// Raises or clears the alerts for the feed. A problem reported here has already lasted for a
/// minute.
fn tell_troubles(alerts: &Alerts, troubles: &[Trouble]) {
    for kind in TroubleKind::ALL {
        let condition = match kind {
            TroubleKind::FrozenFeed => AlertCondition::FeedFrozen,
            TroubleKind::StaleToken => AlertCondition::TokenStale,
            TroubleKind::PageMissing => AlertCondition::PageMissing,
        };
        let of_kind = || troubles.iter().filter(|trouble| trouble.kind == kind);
        match of_kind().map(|trouble| trouble.since).min() {
            None => alerts.clear(condition),
            began => {
                let texts: Vec<&str> = of_kind().map(|trouble| trouble.text.as_str()).collect();
                alerts.raise_since(condition, &texts.join("; "), began);
            }
        }
    }
}

/// What is wrong with the free space on the disk that holds `dir`, if anything.
fn nearly_full(dir: &Path) -> Option<String> {
    let (free, all) = space(dir)?;
    is_hardly_any(free, all).then(|| {
        let mib = free >> 20;
        let dir = dir.display();
        format!("{mib} MiB are left on the disk of {dir}: make room, or lower store.journal.bytes")
    })
}

fn is_hardly_any(free: u64, all: u64) -> bool {
    free < ROOM_BYTES.min(all / ROOM_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AlertFormat, AlertsConfig, Secret};
    use crate::http::fake::{FakeReply, FakeServer};

    #[tokio::test]
    async fn alert_began_when_its_part_says() {
        let (sender, mut posts) = tokio::sync::mpsc::unbounded_channel();
        let hook = FakeServer::start(move |asked| {
            sender.send(String::from_utf8_lossy(&asked.body).into_owned()).unwrap();
            FakeReply::new(200, "")
        })
        .await;
        let settings = AlertsConfig {
            webhook: Secret::new(format!("{}/hook", hook.url)),
            format: AlertFormat::Json,
            sign_key: None,
            tolerance: 0,
            within: Duration::ZERO,
            pause: Duration::ZERO,
        };
        let (alerts, posting) = Alerts::new(&settings, "box", Clock::system()).unwrap();
        let stop = CancellationToken::new();
        let posting = tokio::spawn(posting.run(stop.clone()));
        let since = Timestamp::from_seconds(1_000_000);
        let error = Some("no answer".to_owned());
        tell(
            &alerts,
            &Part { name: "bus".into(), state: PartState::Down, since, error, note: None },
        );
        let post = posts.recv().await.unwrap();
        assert!(post.contains(&format!("\"since\":\"{since}\"")), "{post}");
        let kind = TroubleKind::StaleToken;
        let trouble = |second| {
            let (since, text) = (Timestamp::from_seconds(second), "old pages".to_owned());
            Trouble { kind, of: 1, since, text }
        };
        tell_troubles(&alerts, &[trouble(3_000), trouble(2_000)]);
        let post = posts.recv().await.unwrap();
        assert!(post.contains(&format!("\"since\":\"{}\"", trouble(2_000).since)), "{post}");
        stop.cancel();
        posting.await.unwrap().unwrap();
    }

    #[test]
    fn files_and_lists_that_cannot_be_used_are_named_together() {
        let at = Timestamp::from_seconds;
        let part = |name: &'static str, since, error: &str| Part {
            name: name.into(),
            state: PartState::Degraded,
            since: at(since),
            error: Some(error.to_owned()),
            note: None,
        };
        assert_eq!(unusable_files(&[part("bus", 1, "away")]), None);
        let parts = [part("files", 3, "a"), part("bus", 1, "away"), part("lists", 2, "b")];
        assert_eq!(unusable_files(&parts), Some((at(2), "a; b".to_owned())));
    }

    #[test]
    fn small_disks_need_less_room_than_large_ones() {
        let gib = |n: u64| n << 30;
        assert!(is_hardly_any(gib(1), gib(1000)) && !is_hardly_any(gib(3), gib(1000)));
        assert!(is_hardly_any(gib(1) / 4, gib(10)) && !is_hardly_any(gib(1), gib(10)));
        assert_eq!(nearly_full(Path::new("/no/such/directory")), None);
    }
}
