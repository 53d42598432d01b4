//! Expired events that the archive does not have yet.

use tokio::sync::watch;

use super::*;

#[tokio::test(start_paused = true)]
async fn expired_events_stay_ten_minutes_for_the_archive() {
    let (dir, store, tag, now) = opened();
    // One event an hour, the newest at `now`.
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 60, |n| Minute(now.minute().0 - 60 * (60 - n)));
        Ok(())
    };
    store.commit(put).await.unwrap();
    let (clock, (exported, first)) = (Clock::system(), watch::channel(None));
    let options = RetentionOptions { journal_bytes: 100_000, ..usual(tag) };
    let witness = Arc::new(Witness::new(clock));
    let begun = RetentionPasses::begin(store.clone(), options, witness, clock).await.unwrap();
    let mut passes = RetentionPasses { exported_until: Some(first), ..begun };
    let expired = |now: Timestamp| now.minus(hours(48)).hour();
    let kept = || journal(&store, tag).len();
    passes.pass(now).await.unwrap();
    assert_eq!(kept(), 60, "the archive has not begun");
    passes.options.journal_bytes = 5_050;
    passes.pass(now).await.unwrap();
    assert_eq!(kept(), 50, "the limit of bytes holds");
    exported.send_replace(Some(expired(now)));
    passes.pass(now).await.unwrap();
    assert_eq!(kept(), 50, "the archive does not have this hour");
    exported.send_replace(Some(Hour(expired(now).0 + 1)));
    passes.pass(now).await.unwrap();
    assert_eq!(kept(), 49);

    // The machine was asleep, and then the archive fails.
    let later = now.plus(hours(10));
    passes.pass(later).await.unwrap();
    tokio::time::advance(Duration::from_secs(599)).await;
    passes.pass(later).await.unwrap();
    assert_eq!(kept(), 49);
    tokio::time::advance(Duration::from_secs(1)).await;
    passes.pass(later).await.unwrap();
    assert_eq!(kept(), 39);
    let later = now.plus(hours(20));
    passes.pass(later).await.unwrap();
    assert_eq!(kept(), 29, "it still fails");

    // It works again.
    exported.send_replace(Some(Hour(expired(later).0 + 1)));
    passes.pass(later).await.unwrap();
    let later = now.plus(hours(30));
    passes.pass(later).await.unwrap();
    assert_eq!(kept(), 29);
    store.disk_space().measured(dir.path(), 0, 1 << 40);
    passes.pass(later).await.unwrap();
    assert_eq!(kept(), 19, "the disk needs space");
}
