//! RabbitMQ, when it is configured and this build supports it.

use tokio_util::sync::CancellationToken;

use super::broker::{BrokerLook, Unusable};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::model::position::BusTag;
use crate::store::Store;
use crate::supervise::{Exit, ProcessFailure, Stages};

#[cfg(feature = "amqp")]
use crate::amqp::{self, LinkState, Sink, SinkState};
#[cfg(feature = "amqp")]
use crate::model::part::PartState;
#[cfg(not(feature = "amqp"))]
use std::convert::Infallible;
#[cfg(feature = "amqp")]
use tokio::sync::watch;

/// The message of a build without the feature.
#[cfg(not(feature = "amqp"))]
const WITHOUT: &str =
    "amqp is configured, but this build is without it: build with --features amqp";

/// The RabbitMQ publisher, not yet started. A build without the feature has none.
pub(super) struct Rabbit {
    #[cfg(feature = "amqp")]
    sink: Sink,
    #[cfg(not(feature = "amqp"))]
    never: Infallible,
}

/// Its state, for the operator.
#[derive(Clone)]
pub(super) struct RabbitState {
    #[cfg(feature = "amqp")]
    sink: watch::Receiver<SinkState>,
    #[cfg(feature = "amqp")]
    clock: Clock,
    #[cfg(not(feature = "amqp"))]
    never: Infallible,
}

#[cfg(feature = "amqp")]
impl Rabbit {
    /// The configured publisher; `None` without an `amqp` section.
    pub(super) fn new(
        config: &Config,
        store: &Store,
        tag: BusTag,
        clock: Clock,
    ) -> Result<Option<Self>, ProcessFailure> {
        let Some(amqp) = &config.amqp else { return Ok(None) };
        let sink = Sink::new(store.clone(), tag, amqp.clone(), clock);
        let sink =
            sink.map_err(|error| ProcessFailure { exit: Exit::Config, error: error.into() })?;
        Ok(Some(Self { sink }))
    }

    /// A handle to its state.
    pub(super) fn state(&self, clock: Clock) -> RabbitState {
        RabbitState { sink: self.sink.state(), clock }
    }

    /// Starts it.
    pub(super) fn start(self, stages: &mut Stages, soft: CancellationToken) {
        stages.start("amqp", self.sink.run(soft));
    }
}

#[cfg(feature = "amqp")]
impl RabbitState {
    pub(super) fn look(&self) -> BrokerLook {
        let state = self.sink.borrow().clone();
        let notices = state.fresh_notices(self.clock.now());
        let (part, words) = match (state.link, state.trouble.or(notices)) {
            (LinkState::Down, trouble) => (PartState::Down, trouble.unwrap_or_default()),
            // A broker that refuses messages can be reached.
            (LinkState::Up | LinkState::Refused, Some(trouble)) => (PartState::Degraded, trouble),
            (LinkState::Up | LinkState::Refused, None) => {
                return (PartState::Ok, state.since, None);
            }
        };
        (part, state.since, Some(format!("{words} (feeds {})", state.feeds)))
    }
}

/// Checks the configured broker without changing it. Returns a description of what was found or
/// what is wrong.
#[cfg(feature = "amqp")]
pub async fn check_amqp(amqp: &config::AmqpConfig, clock: Clock) -> Result<String, Unusable> {
    let tried = amqp::probe(amqp, clock).await;
    tried.map_err(|error| Unusable {
        why: error.to_string(),
        is_configuration: error.is_configuration(),
    })
}

/// The name of the cursor that retains the journal.
#[cfg(feature = "amqp")]
pub(super) fn held_by(config: &Config) -> Option<&'static str> {
    config.amqp.as_ref().map(|_| amqp::CURSOR)
}

#[cfg(not(feature = "amqp"))]
impl Rabbit {
    /// Rejects a configuration that this build does not support.
    pub(super) fn new(
        config: &Config,
        _: &Store,
        _: BusTag,
        _: Clock,
    ) -> Result<Option<Self>, ProcessFailure> {
        match &config.amqp {
            None => Ok(None),
            Some(_) => Err(ProcessFailure { exit: Exit::Config, error: anyhow::anyhow!(WITHOUT) }),
        }
    }

    pub(super) fn state(&self, _: Clock) -> RabbitState {
        match self.never {}
    }

    pub(super) fn start(self, _: &mut Stages, _: CancellationToken) {
        match self.never {}
    }
}

#[cfg(not(feature = "amqp"))]
impl RabbitState {
    pub(super) fn look(&self) -> BrokerLook {
        match self.never {}
    }
}

/// Reports that this build does not support it.
#[cfg(not(feature = "amqp"))]
pub async fn check_amqp(_: &config::AmqpConfig, _: Clock) -> Result<String, Unusable> {
    Err(Unusable { why: WITHOUT.to_owned(), is_configuration: true })
}

/// No cursor retains the journal.
#[cfg(not(feature = "amqp"))]
pub(super) fn held_by(_: &Config) -> Option<&'static str> {
    None
}

#[cfg(test)]
#[cfg(feature = "amqp")]
mod tests {
    use super::*;

    #[test]
    fn refusing_broker_is_degraded_and_an_absent_one_down() {
        let clock = Clock::system();
        let state = |link, trouble: Option<&str>| SinkState {
            link,
            since: clock.now(),
            feeds: "exchange `x`".to_owned(),
            trouble: trouble.map(str::to_owned),
            notices: Vec::new(),
        };
        for (state, shown) in [
            (state(LinkState::Up, None), PartState::Ok),
            (state(LinkState::Up, Some("blocked")), PartState::Degraded),
            (state(LinkState::Refused, Some("too large")), PartState::Degraded),
            (state(LinkState::Down, Some("no answer")), PartState::Down),
        ] {
            let trouble = state.trouble.clone();
            let (part, _, words) = RabbitState { sink: watch::channel(state).1, clock }.look();
            assert_eq!(part, shown, "{words:?}");
            assert_eq!(words, trouble.map(|words| format!("{words} (feeds exchange `x`)")));
        }
    }
}
