//! The stage that puts events into the feed over time: at a fixed rate, or at their recorded pace.
//!
//! Once its pages are full, a feed of recorded events waits for the first request, so that a
//! client started after the server receives all of them.

use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::feed::VISIBLE;
use super::recorded::created_at;
use super::state::{RequestKind, SharedWorld};

/// Maximum delay of an event; several may be put in together.
const TICK: Duration = Duration::from_millis(20);
/// Maximum time that is made up for after the process was suspended.
const MAX_OWED: Duration = Duration::from_secs(1);
/// A longer gap between two recorded events is shortened to this.
const MAX_GAP: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled.
pub(super) async fn run(shared: Arc<SharedWorld>) -> anyhow::Result<()> {
    let stop = shared.stop.clone();
    let recorded = shared.is_recorded();
    let work = async {
        match shared.speed {
            Some(speed) => as_recorded(&shared, speed).await,
            None if shared.rate > 0.0 => at_rate(&shared, recorded).await,
            None => {}
        }
        if recorded && shared.state().finished {
            let (count, left_out) = (shared.state().feed.len(), shared.left_out());
            tracing::info!(
                "all {count} recorded events are in the feed; {left_out} lines left out"
            );
        }
    };
    stop.run_until_cancelled(work).await;
    stop.cancelled().await;
    Ok(())
}

async fn at_rate(shared: &Arc<SharedWorld>, recorded: bool) {
    let (clock, rate) = (shared.clock, shared.rate);
    let pause = TICK.max(Duration::from_secs_f64(1.0 / rate).min(MAX_OWED));
    let most = (rate * MAX_OWED.as_secs_f64()).max(1.0);
    let mut owed = 0.0;
    let mut last = clock.instant();
    while !shared.state().finished {
        let now = clock.instant();
        owed += now.duration_since(last).as_secs_f64() * rate;
        last = now;
        owed = f64::min(owed, most);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a rate")]
        let mut due = owed as usize;
        if recorded && shared.state().requests[RequestKind::Page as usize] == 0 {
            due = due.min(room(shared));
            if room(shared) == 0 {
                first_request(shared).await;
                (owed, last) = (0.0, clock.instant());
                continue;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "0 to a rate")]
        let paid = due as f64;
        owed -= paid;
        if due > 0 {
            shared.emit(due);
        }
        clock.sleep(pause).await;
    }
}

async fn as_recorded(shared: &Arc<SharedWorld>, speed: f64) {
    let clock = shared.clock;
    let mut due = clock.instant();
    let mut before = None;
    while let Some(event) = shared.next_event() {
        if shared.state().requests[RequestKind::Page as usize] == 0 && room(shared) == 0 {
            first_request(shared).await;
        }
        let created = created_at(&event);
        if let (Some(before), Some(created)) = (before, created) {
            let gap = created.since(before).as_secs_f64() / speed;
            due += Duration::try_from_secs_f64(gap).unwrap_or(MAX_GAP).min(MAX_GAP);
        }
        before = created.or(before);
        let now = clock.instant();
        if due > now {
            clock.sleep(due - now).await;
        } else if now - due > MAX_OWED {
            due = now;
        }
        shared.put(event);
    }
}

/// How many events can be put in before one leaves the pages.
fn room(shared: &SharedWorld) -> usize {
    let count = usize::try_from(shared.state().feed.len()).unwrap_or(usize::MAX);
    VISIBLE.saturating_sub(count)
}

async fn first_request(shared: &Arc<SharedWorld>) {
    tracing::info!("the pages are full; the feed continues with the first request for one");
    Control::new(shared.clone()).until(|control| control.requests() > 0).await;
}
