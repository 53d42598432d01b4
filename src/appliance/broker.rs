//! The bus of this node: the embedded log, or a topic when `pulsar` is configured.

use std::time::Duration;

use tokio::sync::watch;

use crate::bus::pulsar::{Probed, PulsarBus, PulsarOutlet, probe};
use crate::bus::{BusError, BusState, ProducerGrant, TERMINATED};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::model::part::PartState;
use crate::model::window::Timestamp;
use crate::store::Store;
use crate::supervise::Misconfigured;

/// Deliveries older than this are a backlog.
const BEHIND: Duration = Duration::from_secs(10);

/// The topic's producer and consumer.
pub(super) struct Broker {
    pub(super) bus: PulsarBus,
    pub(super) outlet: PulsarOutlet,
    /// Whether this node is a collector; an edge only hands over rows that it still has.
    pub(super) produces: bool,
}

/// The reports of the relay.
pub(super) struct Granting {
    /// Whether this collector produces.
    pub(super) grant: watch::Sender<ProducerGrant>,
    /// Number of waiting rows that may not be sent now.
    pub(super) waiting: watch::Sender<u64>,
    /// Why events could not be sent last.
    pub(super) unsent: watch::Sender<Option<String>>,
}

/// The state of a broker, since when, and its message.
pub(super) type BrokerLook = (PartState, Timestamp, Option<String>);

/// The state of the topic, for the operator.
#[derive(Clone)]
pub(super) struct BrokerState {
    bus: watch::Receiver<BusState>,
    /// `None` on an edge.
    grant: Option<watch::Receiver<ProducerGrant>>,
    waiting: watch::Receiver<u64>,
    unsent: watch::Receiver<Option<String>>,
}

impl Broker {
    /// The configured topic; `None` without a `pulsar` section.
    pub(super) fn new(
        config: &Config,
        store: &Store,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(pulsar) = &config.pulsar else { return Ok(None) };
        let bus = PulsarBus::new(pulsar, store.clone(), clock).map_err(BusError::from)?;
        let outlet = PulsarOutlet::new(pulsar, clock).map_err(BusError::from)?;
        let produces = !config.disable.producer;
        tracing::info!(
            topic = pulsar.consumer_topic,
            subscription = bus.subscription(),
            produces,
            "the bus is Pulsar"
        );
        Ok(Some(Self { bus, outlet, produces }))
    }
}

impl BrokerState {
    pub(super) fn new(broker: &Broker, granting: &Granting) -> Self {
        let grant = broker.produces.then(|| granting.grant.subscribe());
        let (waiting, unsent) = (granting.waiting.subscribe(), granting.unsent.subscribe());
        Self { bus: broker.bus.state(), grant, waiting, unsent }
    }

    pub(super) fn look(&self) -> BrokerLook {
        let mut bus = self.bus.borrow().clone();
        let waiting = *self.waiting.borrow();
        let is_terminated = bus.terminated || self.is(ProducerGrant::Terminated);
        if bus.connected && is_terminated {
            bus.trouble = Some(TERMINATED.to_owned());
        }
        if !bus.connected || is_terminated {
            if waiting > 0 {
                let trouble = bus.trouble.unwrap_or_else(|| "not connected yet".to_owned());
                bus.trouble = Some(format!("{trouble}; {}", rows(waiting)));
            }
            return (PartState::Down, bus.since, bus.trouble);
        }
        if bus.stuck {
            return (PartState::Degraded, bus.since, bus.trouble);
        }
        if let Some(behind) = bus.behind.filter(|behind| *behind > BEHIND) {
            let seconds = behind.as_secs();
            let words = format!("catching up: {seconds} s behind the newest message");
            return (PartState::Degraded, bus.since, Some(words));
        }
        let waits = (waiting > 0).then(|| rows(waiting));
        // Another collector produces, and there is nothing to send.
        let is_idle = waiting == 0 && self.is_standby();
        let unsent = self.unsent.borrow().clone().filter(|_| !is_idle);
        let unsent: Vec<String> = waits.into_iter().chain(unsent).collect();
        if unsent.is_empty() {
            return (PartState::Ok, bus.since, bus.trouble);
        }
        (PartState::Degraded, bus.since, Some(unsent.join("; ")))
    }

    /// Whether another collector produces, and this one would if that ended.
    pub(super) fn is_standby(&self) -> bool {
        self.is(ProducerGrant::Standby)
    }

    fn is(&self, state: ProducerGrant) -> bool {
        self.grant.as_ref().is_some_and(|grant| *grant.borrow() == state)
    }
}

fn rows(waiting: u64) -> String {
    let s = if waiting == 1 { "" } else { "s" };
    format!("{waiting} event{s} admitted here wait to be sent to the topic")
}

/// Runs work, and marks an error of it that only another configuration can fix.
pub(super) async fn marked<T>(doing: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    doing.await.map_err(|error| match error.downcast_ref::<BusError>() {
        Some(found) if found.is_configuration() => error.context(Misconfigured),
        _ => error,
    })
}

/// Why a topic or a broker cannot be used, and whether only another configuration can fix it.
pub struct Unusable {
    /// The reason, for display.
    pub why: String,
    /// Whether only another configuration can fix it.
    pub is_configuration: bool,
}

/// Checks the configured topics without changing their content: connects, authenticates, reads,
/// and, unless this is an edge, asks to produce. Returns a description of what was found or what
/// is wrong.
pub async fn check_bus(
    pulsar: &config::PulsarConfig,
    produces: bool,
    clock: Clock,
) -> Result<String, Unusable> {
    let mut topics = vec![(&pulsar.consumer_topic, false)];
    if produces && pulsar.producer_topic == pulsar.consumer_topic {
        topics[0].1 = true;
    } else if produces {
        topics.push((&pulsar.producer_topic, true));
    }
    let mut found = Vec::new();
    for (topic, produce) in topics {
        let tried = probe(pulsar, topic, produce, clock).await;
        let tried = tried.map_err(|error| Unusable {
            why: error.to_string(),
            is_configuration: error.is_configuration(),
        })?;
        let words = match tried.grant {
            None => "can be read",
            Some(ProducerGrant::Standby) => "can be read; another collector produces to it now",
            Some(_) => "can be read and produced to",
        };
        found.push(format!("{} {words}{}", tried.topic, reach(&tried, clock)));
    }
    Ok(found.join("; "))
}

/// How far back a topic goes, and what to check. How long it keeps messages that all subscribers
/// have read is a policy of its namespace, which this protocol does not report.
fn reach(tried: &Probed, clock: Clock) -> String {
    let Some(oldest) = tried.oldest else { return String::new() };
    let hours = clock.now().since(oldest).as_secs() / 3_600;
    let name = tried.topic.split_once("://").map_or(tried.topic.as_str(), |(_, name)| name);
    let namespace = name.rsplit_once('/').map_or(name, |(namespace, _)| namespace);
    let cure = format!("pulsar-admin namespaces set-retention {namespace} --time 72h --size -1");
    let why = "a node restored from an older backup does not have what is between";
    format!(" (goes back {hours} h; {why}; to keep more: {cure})")
}
