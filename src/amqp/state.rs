//! The state of publishing to RabbitMQ, for the operator.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::window::Timestamp;

/// How long a missed message is reported.
const NOTICE_FOR: Duration = Duration::from_secs(3_600);
/// Lines about messages that readers miss.
static MISSED: LineLimit = LineLimit::per_minute(10);

/// The connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// There is one, and the exchange exists and accepts messages.
    Up,
    /// The last one ended because the broker refused a message. The next one is made at once or,
    /// after many refusals, later.
    Refused,
    /// There is none.
    Down,
}

/// The state of publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// The connection.
    pub link: LinkState,
    /// When the connection last came up, or ended.
    pub since: Timestamp,
    /// What is fed: the exchange and the broker, without secrets.
    pub feeds: String,
    /// The current error.
    pub trouble: Option<String>,
    /// What readers have missed, the latest of each kind, with the time it was found.
    pub notices: Vec<ReaderWarning>,
}

/// A past loss that readers must know of: reported for an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderWarning {
    /// What happened.
    pub kind: ReaderWarningKind,
    /// A description with what to do.
    pub text: String,
    /// When it was found.
    pub at: Timestamp,
}

/// Causes of missed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderWarningKind {
    /// Retention dropped events before they could be published.
    Gap,
    /// The readers' exchange was missing: its bindings are lost.
    Removed,
    /// The broker refused a message.
    Refused,
}

impl SinkState {
    /// The warnings that are still to be reported.
    #[must_use]
    pub fn fresh_notices(&self, now: Timestamp) -> Option<String> {
        let fresh = self.notices.iter().filter(|notice| notice.at.plus(NOTICE_FOR) >= now);
        let texts: Vec<&str> = fresh.map(|notice| notice.text.as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// Updates the state, the log and the metrics together.
pub(super) struct Reporter {
    clock: Clock,
    pub(super) state: watch::Sender<SinkState>,
}

impl Reporter {
    pub(super) fn new(feeds: String, clock: Clock) -> Self {
        let state = SinkState {
            link: LinkState::Down,
            since: clock.now(),
            feeds,
            trouble: Some("not connected yet".to_owned()),
            notices: Vec::new(),
        };
        metrics::AMQP_UP.set(0.0);
        Self { clock, state: watch::Sender::new(state) }
    }

    /// Updates the state. Returns whether it changed.
    pub(super) fn report(&self, link: LinkState, trouble: Option<String>) -> bool {
        let (now, is_up) = (self.clock.now(), link == LinkState::Up);
        self.state.send_if_modified(|state| {
            let was_up = state.link == LinkState::Up;
            let is_other = (was_up, &state.trouble) != (is_up, &trouble);
            if was_up != is_up {
                state.since = now;
                metrics::AMQP_UP.set(f64::from(u8::from(is_up)));
                // A connection that is closed for a refusal is not lost.
                metrics::AMQP_LOST.add(u64::from(link == LinkState::Down));
            }
            state.notices.retain(|notice| notice.at.plus(NOTICE_FOR) >= now);
            (state.link, state.trouble) = (link, trouble);
            is_other
        })
    }

    /// The broker refused a message, and the connection was closed for it.
    pub(super) fn report_refusal(&self, reason: &str) {
        let words = "RabbitMQ refused a message, and the next connection is not made yet";
        self.report(LinkState::Refused, Some(format!("{words}: {reason}")));
    }

    pub(super) fn notice(&self, kind: ReaderWarningKind, text: String) {
        match kind {
            ReaderWarningKind::Gap => metrics::AMQP_GAPS.add(1),
            ReaderWarningKind::Removed => metrics::AMQP_REMOVED.add(1),
            ReaderWarningKind::Refused => metrics::AMQP_REFUSED.add(1),
        }
        MISSED.log(|left_out| tracing::error!(left_out, "RabbitMQ readers miss messages: {text}"));
        let at = self.clock.now();
        self.state.send_modify(|state| {
            state.notices.retain(|notice| notice.kind != kind);
            state.notices.push(ReaderWarning { kind, text, at });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sync::lock;

    /// The gauges are those of the process.
    static GAUGES: Mutex<()> = Mutex::new(());

    #[test]
    fn warning_is_reported_for_an_hour_newest_of_a_kind_wins() {
        let _alone = lock(&GAUGES);
        let start = Timestamp::parse("2026-03-01T00:00:00Z").expect("a time");
        let clock = Clock::starting_at(start);
        let reporter = Reporter::new("exchange `x`".to_owned(), clock);
        let state = reporter.state.subscribe();
        reporter.notice(ReaderWarningKind::Removed, "first".to_owned());
        reporter.notice(ReaderWarningKind::Refused, "message".to_owned());
        reporter.notice(ReaderWarningKind::Removed, "second".to_owned());
        let at = |seconds| state.borrow().fresh_notices(start.plus(seconds));
        assert_eq!(at(NOTICE_FOR / 2).as_deref(), Some("message; second"));
        assert_eq!(at(2 * NOTICE_FOR), None);
    }

    #[test]
    fn lost_connection_is_counted_once_however_often_connecting_fails() {
        let _alone = lock(&GAUGES);
        metrics::install();
        let value = |name: &str| {
            let found = metrics::render();
            let line = found.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect("each series exists").to_owned()
        };
        let reporter = Reporter::new("exchange `x`".to_owned(), Clock::system());
        let failed = |n: u32| reporter.report(LinkState::Down, Some(format!("attempt {n}")));
        for (connections, lost) in ["0", "1", "2"].into_iter().enumerate() {
            if connections > 0 {
                reporter.report(LinkState::Up, None);
                assert_eq!(value(metrics::AMQP_UP.name), "1");
            }
            for n in 0..5 {
                failed(n);
            }
            assert_eq!(value(metrics::AMQP_LOST.name), lost);
            assert_eq!(value(metrics::AMQP_UP.name), "0");
        }
        // After a refusal it is not connected either, but the connection was not lost.
        reporter.report(LinkState::Up, None);
        reporter.report_refusal("too large");
        assert_eq!([metrics::AMQP_LOST.name, metrics::AMQP_UP.name].map(value), ["2", "0"]);
        assert_eq!(reporter.state.borrow().link, LinkState::Refused);
        failed(5);
        assert_eq!(reporter.state.borrow().link, LinkState::Down, "now it cannot be reached");
    }
}
