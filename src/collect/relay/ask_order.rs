//! Which collector asks for the topic first after the connection to the broker was lost: the one
//! that had it. It kept polling, so the events of the time without the broker are in its outbox.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::bus::BusState;
use crate::clock::Clock;
use crate::model::window::Timestamp;

/// How long a collector on standby does not ask after the connection to the broker is back.
const HOLDER_FIRST: Duration = Duration::from_secs(15);
/// Maximum time without an answer because of the connection: the topic's producer may be gone, and
/// only the consumer of this node fail. A broker restarts in less.
const LONGEST_UNASKED: Duration = Duration::from_secs(180);
/// Time limit, once the connection is back, for the answer to a request from before. A broker that
/// is starting accepts connections and may never answer what it received then.
const ANSWERED_SOON: Duration = Duration::from_secs(3);

/// What a collector on standby knows of its connection.
#[derive(Default)]
pub(super) struct AskOrder {
    /// Whether the consumer was connected at the last look, and since when.
    seen: Option<(bool, Timestamp)>,
    /// When the connection was last found lost, or another one than before.
    lost_at: Option<Instant>,
    /// When the broker last answered, or the first look.
    answered_at: Option<Instant>,
}

impl AskOrder {
    /// Whether this collector leaves the topic to the collector that had it, and does not ask now.
    pub(super) fn defers(&mut self, bus: &BusState, now: Instant) -> bool {
        let found = (bus.connected, bus.since);
        let known = self.seen.replace(found);
        if !bus.connected || known.is_some_and(|known| known != found) {
            self.lost_at = Some(now);
        }
        let answered_at = *self.answered_at.get_or_insert(now);
        let is_recent = self.lost_at.is_some_and(|at| now.duration_since(at) < HOLDER_FIRST);
        is_recent && now.duration_since(answered_at) < LONGEST_UNASKED
    }

    /// Records that the broker has answered that another node has the topic.
    pub(super) fn record_answer(&mut self, now: Instant) {
        self.answered_at = Some(now);
    }
}

/// Waits until the lost connection of the consumer is back and a request from before should have
/// been answered.
pub(super) async fn reconnected(mut bus: watch::Receiver<BusState>, clock: Clock) {
    let lost = bus.wait_for(|bus| !bus.connected).await.is_ok();
    if !lost || bus.wait_for(|bus| bus.connected).await.is_err() {
        // The consumer has ended, and the appliance is stopping with it.
        std::future::pending::<()>().await;
    }
    clock.sleep(ANSWERED_SOON).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(connected: bool, since: i64) -> BusState {
        let since = Timestamp::from_seconds(since);
        let (stuck, terminated) = (false, false);
        BusState { connected, since, trouble: None, stuck, terminated, behind: None }
    }

    #[test]
    fn standby_asks_a_while_after_the_connection_is_back() {
        let start = Clock::system().instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut order = AskOrder::default();
        assert!(!order.defers(&state(true, 0), at(0)));
        assert!(!order.defers(&state(true, 0), at(3)));
        order.record_answer(at(3));
        assert!(order.defers(&state(false, 4), at(6)));
        assert!(order.defers(&state(false, 4), at(60)));
        assert!(order.defers(&state(true, 61), at(63)));
        assert!(order.defers(&state(true, 61), at(77)));
        assert!(!order.defers(&state(true, 61), at(78)));
        // Lost and back between two looks.
        assert!(order.defers(&state(true, 80), at(81)));
        assert!(!order.defers(&state(true, 80), at(96)));
    }

    #[test]
    fn standby_whose_consumer_fails_for_long_asks_anyway() {
        let start = Clock::system().instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut order = AskOrder::default();
        assert!(!order.defers(&state(true, 0), at(0)));
        for seconds in 1..180 {
            assert!(order.defers(&state(false, 1), at(seconds)), "{seconds}");
        }
        // Also when a request fails: it asks until the broker answers.
        assert!(!order.defers(&state(false, 1), at(180)));
        assert!(!order.defers(&state(false, 1), at(181)));
        order.record_answer(at(182));
        assert!(order.defers(&state(false, 1), at(183)));
    }

    #[tokio::test(start_paused = true)]
    async fn request_from_before_the_reconnection_is_given_up() {
        let (sender, bus) = watch::channel(state(true, 0));
        let back = reconnected(bus, Clock::system());
        tokio::pin!(back);
        assert!(futures_util::poll!(&mut back).is_pending());
        sender.send_replace(state(false, 1));
        assert!(futures_util::poll!(&mut back).is_pending());
        sender.send_replace(state(true, 2));
        let began = Clock::system().instant();
        back.await;
        assert_eq!(Clock::system().instant() - began, ANSWERED_SOON);
    }
}
