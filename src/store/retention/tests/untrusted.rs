//! The journal while the machine's clock is not trusted.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400 * 1_000_000;

/// The numbers of events, and the seconds after now at which they were received: one a minute.
const EVENTS: &[(u64, i64)] =
    &[(1, -300), (2, -240), (3, -180), (4, -120), (5, -60), (6, 0), (7, 60), (8, 120)];

#[tokio::test(start_paused = true)]
async fn limit_of_bytes_holds_while_the_clock_is_not_trusted() {
    for (days, date) in [(10, true), (-10, true), (730, true), (-730, true), (10, false)] {
        let (_dir, store) = new_store();
        let by: &'static AtomicI64 = Box::leak(Box::new(AtomicI64::new(days * DAY)));
        let (tag, now) = (store.bus_tag(), Clock::system().now());
        let truth = Clock::starting_at(now);
        let clock = truth.with_steps(by);
        let witness = Arc::new(Witness::new(clock));
        let passes = RetentionPasses::begin(store.clone(), usual(tag), witness.clone(), clock);
        let mut passes = passes.await.unwrap();
        put_received(&store, tag, now, &EVENTS[..3]).await;
        claim_under(&store, &[0]).await;
        if date {
            witness.record_date(now);
        }
        passes.look().await.unwrap();
        assert_eq!(journal(&store, tag), [1, 2, 3], "{days} d: they are within 350 bytes");
        put_received(&store, tag, now, EVENTS).await;
        passes.look().await.unwrap();
        assert_eq!(journal(&store, tag).len(), 8, "{days} d: a minute is not over");
        clock.sleep(MINUTE).await;
        passes.look().await.unwrap();
        assert_eq!(journal(&store, tag), [6, 7, 8], "{days} d");
        assert_eq!(witness.last_pass(), None, "{days} d: {}", witness.judge());
        assert_eq!(claimed_days(&store), [0], "{days} d: nothing else is dropped");
        // Readers get a gap, and the journal is not complete before what is left.
        let dropped = Some(Position::counted(5));
        assert_eq!(store.watermarks().dropped.borrow().get(&tag).copied(), dropped);
        let read = store.reader().journal(tag).unwrap();
        assert_eq!(read.dropped(), dropped);
        let fifth = now.minus(MINUTE).minute();
        assert_eq!(read.complete_from().unwrap(), Some(Minute(fifth.0 + 1)), "{days} d");
        // The clock is right again.
        by.store(0, Ordering::Relaxed);
        witness.record_date(truth.now());
        passes.look().await.unwrap();
        assert_eq!(witness.last_pass(), Some(clock.now()), "{days} d: {}", witness.judge());
        assert_eq!(journal(&store, tag), [6, 7, 8], "{days} d");
    }
}

#[tokio::test(start_paused = true)]
async fn events_created_after_their_receipt_show_that_the_clock_stood_still() {
    let (_dir, store) = new_store();
    let (tag, now) = (store.bus_tag(), Clock::system().now());
    let clock = Clock::starting_at(now);
    let witness = Arc::new(Witness::new(clock));
    let passes = RetentionPasses::begin(store.clone(), usual(tag), witness.clone(), clock);
    let mut passes = passes.await.unwrap();
    witness.record_date(now);
    passes.look().await.unwrap();
    // The machine was paused for two hours, and polls continue.
    let later = now.plus(hours(2));
    witness.record_date(later);
    put_received(&store, tag, later, &[(1, -7_200), (2, -7_200), (3, -7_200)]).await;
    passes.look().await.unwrap();
    assert_eq!(witness.stamp(), now, "three may have a wrong time");
    put_received(&store, tag, later, &[(4, -7_200), (5, -7_200), (6, -7_200)]).await;
    passes.look().await.unwrap();
    assert_eq!(witness.stamp(), later);
}

#[tokio::test]
async fn limit_of_bytes_holds_while_a_clock_stands_still() {
    let (_dir, store, tag, now) = opened();
    let put = move |batch: &mut Batch<'_>| {
        let mut noise = fastrand::Rng::with_seed(7);
        for n in 1..=100 {
            let bytes: Vec<u8> = (0..10_000).map(|_| noise.u8(..)).collect();
            batch.put(&JournalKey { tag, position: Position::counted(n) }, &bytes);
        }
        let row = MinuteRow { first: Position::counted(1), bytes: 1_000_000 };
        batch.put(&MinuteKey { tag, minute: now.minute() }, &row.encode());
        Ok(())
    };
    store.commit(put).await.unwrap();
    store.shared.database.flush(Family::Journal).unwrap();
    let limit = |journal_bytes| RetentionOptions { journal_bytes, ..usual(tag) };
    drop_oversized(&store, limit(1_100_000)).await.unwrap();
    assert_eq!(journal(&store, tag).len(), 100);
    drop_oversized(&store, limit(400_000)).await.unwrap();
    let kept = journal(&store, tag);
    assert!((30..=45).contains(&kept.len()) && kept.ends_with(&[100]), "{kept:?}");
    let read = store.reader().journal(tag).unwrap();
    let first = Position::counted(kept[0]);
    assert_eq!(read.dropped(), Some(Position::counted(kept[0] - 1)));
    assert_eq!(read.first_since(now.minute()).unwrap(), Some(first));
    assert_eq!(read.complete_from().unwrap(), Some(Minute(now.minute().0 + 1)));
}
