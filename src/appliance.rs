//! The wiring: the one module that depends on all others.
//!
//! [`Appliance::start`] validates, opens the store, checks that the ports are free, loads all else,
//! binds the listeners and starts the stages; an error leaves nothing running. [`Appliance::end`]
//! waits until all stages have stopped and closes the store.

pub mod exchange;
pub mod ops_file;

mod alive;
mod audit;
mod backups;
mod broker;
mod chores;
mod copies;
mod coverage;
mod enrichment;
mod excluded;
mod files;
mod gauges;
mod github_app;
mod kept;
mod ledger;
mod operator;
mod part_dates;
mod ports;
mod rabbit;
mod renewed;
mod status;
mod tokens;
mod tried;
pub(crate) mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use self::broker::{Broker, BrokerState, Granting};
pub use self::broker::{Unusable, check_bus};
use self::chores::{Chore, Chores};
pub use self::copies::requeue;
pub use self::excluded::leave_out;
pub use self::files::open_tables;
use self::github_app::GitHubApp;
use self::ledger::Rankings;
use self::operator::{Operator, Scripts};
pub use self::ports::{DEFAULT_OPS, cannot_listen, reachable};
use self::ports::{bind, bind_ops, serve_options, url_of};
use self::rabbit::Rabbit;
pub use self::rabbit::check_amqp;
use self::renewed::Renewed;
use self::status::{StatusReadings, StatusSources};
pub use self::tried::{check_app, check_certificate, check_tokens};
use crate::aggregates::{Aggregates, Counting};
use crate::alerts::{AlertCondition, Alerts, Posting};
use crate::apply::numbers::{NodeCounters, bucket_span};
pub use crate::apply::requeue::Requeued;
use crate::apply::stage::Apply;
use crate::apply::tick::Ticker;
use crate::archive;
use crate::bus::embedded::EmbeddedBus;
pub use crate::bus::pulsar::check_key as check_key_file;
use crate::bus::{Bus as _, ProducerGrant};
use crate::clock::Clock;
use crate::clock::witness::Witness;
use crate::collect::audit::{Audit, AuditReading};
use crate::collect::enrich::Enrich;
use crate::collect::ingest::{self, IngestOptions, IngestRules, ShownBy};
use crate::collect::listed::ListedSource;
use crate::collect::poller::Poller;
use crate::collect::relay::{Relay, WhenGranted};
use crate::collect::status::SourceStatus;
use crate::config::{Config, Secret};
pub use crate::github::app::{AppError, check_app_key};
pub use crate::github::rest::identity::TokenCheck;
use crate::hub::{Hub, HubOptions, RetentionLimits, StreamJournal, TAIL_BYTES};
use crate::lists::{ListSet, Lists};
use crate::model::position::BusTag;
use crate::script::{self, ScriptHost, ScriptKind, Trials};
pub use crate::serve::Status;
use crate::serve::{self, Audience, Listener, Operate, ServeOptions};
use crate::store::keys::MetaKey;
use crate::store::retention::{self, ExportedUntil, RetentionOptions};
use crate::store::{Reader, Store};
use crate::supervise::{Exit, ProcessFailure, Stages, Stop};
use crate::sync::blocking;
use crate::tidb::{History, HistorySync};

/// The key of the last good merge script in the store.
const LAST_GOOD: &str = "script.merge_latest";

/// How long the start waits for the aggregates; a long journal continues to load while the server
/// runs.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

/// A running appliance.
pub struct Appliance {
    /// The address of the public endpoints.
    pub public: SocketAddr,
    /// The address of the ops endpoints, unless they are off.
    pub ops: Option<SocketAddr>,
    stages: Stages,
    grace: Duration,
    clock: Clock,
    store: Store,
}

/// What the stages are built from.
struct ApplianceParts {
    config: Config,
    /// The last stage, with the store, the hub and the clock.
    apply: Apply,
    /// The text of `privacy.excludeFile` that is in force.
    excluded: Vec<u8>,
    asking: HistorySync,
    alerts: Alerts,
    posting: Option<Posting>,
    script: Arc<ScriptHost>,
    chores: Chores,
    rankings: Rankings,
    stop: Stop,
}

impl Appliance {
    /// Starts everything.
    pub async fn start(config: Config, clock: Clock, stop: Stop) -> Result<Self, ProcessFailure> {
        // Boxed because it holds everything that the stages are built from.
        Box::pin(start(config, clock, stop)).await
    }

    /// Waits until the appliance has stopped, for whatever reason, and closes the store.
    pub async fn end(self) -> Result<(), ProcessFailure> {
        let ended = self.stages.end(self.grace, self.clock).await;
        ops_file::remove(self.store.dir());
        let closed = self.store.close().await;
        ended.and(closed.map_err(|error| anyhow::Error::from(error).into()))
    }
}

async fn start(config: Config, clock: Clock, stop: Stop) -> Result<Appliance, ProcessFailure> {
    let certificate = serve::certificate(&config.server)
        .map_err(|error| ProcessFailure { exit: Exit::Config, error })?;
    let tokens = tokens::all(&config.github)?;
    let parts = open(config, clock, stop.clone()).await?;
    let (config, apply) = (&parts.config, parts.apply.clone());
    let (store, lists) = (&apply.store, &apply.hub.lists);
    let broker = broker::marked(async { Broker::new(config, store, clock) }).await?;
    let troubles = Sender::new(Vec::new());
    let tag = broker.as_ref().map_or(store.bus_tag(), |broker| broker.bus.tag());
    keep_journal(&parts, tag).await?;
    let rabbit = Rabbit::new(config, store, tag, clock)?;
    let (grant, waiting) = (Sender::new(ProducerGrant::Unasked), Sender::new(0));
    let granting = Granting { grant, waiting, unsent: Sender::new(None) };
    let (poller, app) = poller_of(config, broker.is_some(), tokens, clock)?;
    // The witness observes GitHub's clock where GitHub is polled.
    let witness = poller.as_ref().map_or_else(|| Arc::new(Witness::new(clock)), Poller::witness);
    let enrich = enrichment::enrich_of(config, (store, lists), poller.as_ref(), clock)?;
    let grant = broker.as_ref().map(|_| granting.grant.subscribe());
    let listed = listed_of(&parts, poller.as_ref(), grant)?;
    let people = (parts.rankings.clone(), Arc::clone(lists));
    let audit = audit::of(config, poller.as_ref(), (store.clone(), tag), people, clock)?;
    let audited = audit.as_ref().map(Audit::report);
    let source = poller.as_ref().map(Poller::status);
    let bus = broker.as_ref().map(|broker| BrokerState::new(broker, &granting));
    let complaint = enrich.warning.subscribe();
    let mut renewed = Renewed::new(config, certificate.clone(), clock);
    renewed.follow_exclusions(&config.privacy, &parts.excluded, store, &apply.hub)?;
    let readings = StatusReadings {
        enriched: enrich.recent.subscribe(),
        files: renewed.state(),
        witness: Arc::clone(&witness),
        audit: audited.clone(),
        app: app.as_ref().map(GitHubApp::standing),
        listed: listed.as_ref().map(ListedSource::figures),
    };
    let sight = sight_of(&parts, broker.is_some(), readings);
    let watched = source.clone();
    let fed = rabbit.as_ref().map(|rabbit| rabbit.state(clock));
    let merge = Arc::clone(&parts.script);
    let scripts = Scripts { merge, troubles: troubles.subscribe() };
    let ticker = Ticker { apply: apply.clone(), script: Arc::clone(&parts.script) };
    // The latest values exist before any client can connect: a first message is never corrected.
    ticker.tick().await?;
    let counting = aggregates_of(&parts, tag, troubles).begin(COUNTED_WITHIN).await?;
    let operator: Arc<dyn Operate> =
        Arc::new(Operator::new(source, complaint, (bus, fed), scripts, sight));
    let (grace, store) = (config.server.grace, store.clone());
    let (listeners, public, ops, options) = listen(config, &store).await?;
    let mut stages = Stages::new(stop);
    let serve = serve::run(
        listeners,
        ServeOptions { certificate, ..options },
        Arc::clone(&apply.hub),
        Arc::clone(&operator),
        parts.stop.soft.clone(),
        parts.stop.hard.clone(),
    );
    stages.start("serve", serve);
    let url = url_of(&config.server, public);
    start_watching(&mut stages, &parts, operator, (watched, audited), (ops, public));
    start_github(&mut stages, audit, app, &parts.stop.soft);
    if let Some(rabbit) = rabbit {
        rabbit.start(&mut stages, parts.stop.soft.clone());
    }
    let sources = (poller, listed, enrich, witness);
    let soft = parts.stop.soft.clone();
    start_stages(&mut stages, parts, ticker, sources, (broker, granting, counting));
    // After `tokens`, which is made with the content of its file that the start read: `renewed` may
    // find newer content.
    stages.start("renewed", renewed.run(soft));
    tracing::info!(url, "serving");
    Ok(Appliance { public, ops, stages, grace, clock, store })
}

/// Binds the public address, and the operators' where there is one.
async fn listen(
    config: &Config,
    store: &Store,
) -> Result<(Vec<Listener>, SocketAddr, Option<SocketAddr>, ServeOptions), ProcessFailure> {
    let (public, listener) = bind(config.server.listen(), Audience::Public).await?;
    let (mut listeners, mut options) = (vec![listener], serve_options(config)?);
    // After `kill -9` that of the process before is still there.
    ops_file::remove(store.dir());
    let Some(address) = config.ops_listen else { return Ok((listeners, public, None, options)) };
    let (ops, listener) = bind_ops(address).await?;
    listeners.push(listener);
    options.ops_secret = Some(ops_file::write(store.dir(), ops)?);
    Ok((listeners, public, Some(ops), options))
}

/// Starts what asks GitHub, besides the stages.
fn start_github(
    stages: &mut Stages,
    audit: Option<Audit>,
    app: Option<GitHubApp>,
    soft: &CancellationToken,
) {
    if let Some(audit) = audit {
        stages.start("audit", audit.run(soft.clone()));
    }
    if let Some(app) = app {
        stages.start("github_app", app.run(soft.clone()));
    }
}

fn aggregates_of(
    parts: &ApplianceParts,
    tag: BusTag,
    troubles: Sender<Vec<script::ScriptDiagnostic>>,
) -> Aggregates {
    Aggregates {
        store: parts.apply.store.clone(),
        tag,
        hub: Arc::clone(&parts.apply.hub),
        scripts: parts.config.scripts_dir.clone(),
        clock: parts.apply.clock,
        troubles,
    }
}

/// What the operator's status is read from.
fn sight_of(parts: &ApplianceParts, has_broker: bool, readings: StatusReadings) -> StatusSources {
    StatusSources {
        readings,
        apply: parts.apply.clone(),
        rankings: parts.rankings.clone(),
        hashes_emails: parts.config.privacy.hash_emails.in_exports(),
        bus: if has_broker { "pulsar" } else { "embedded" },
        node: parts.config.node_name.clone(),
        failing: parts.chores.watch(),
        backups: parts.chores.watch_backups(),
    }
}

/// Starts the tasks that watch the disk, the parts and the process itself, and raise alerts.
fn start_watching(
    stages: &mut Stages,
    parts: &ApplianceParts,
    operator: Arc<dyn Operate>,
    (source, audit): (Option<Receiver<SourceStatus>>, Option<AuditReading>),
    (ops, public): (Option<SocketAddr>, SocketAddr),
) {
    let Apply { store, clock, .. } = parts.apply.clone();
    let server = &parts.config.server;
    let address = ops.or_else(|| server.tls.is_none().then_some(public));
    let proof = alive::LivenessCheck { store: store.clone(), address, path: server.health.clone() };
    stages.start("alive", alive::run(proof, clock, parts.stop.soft.clone()));
    let (alerts, soft) = (parts.alerts.clone(), parts.stop.soft.clone());
    let kept = coverage::run(store.clone(), source.clone(), clock, soft.clone());
    stages.start("coverage", kept);
    stages.start("look", watch::look(Arc::clone(&operator), store.clone(), clock, soft.clone()));
    stages.start("watch", watch::run(operator, (source, audit), alerts, store, clock, soft));
}

/// The poller, and the app that brings it tokens; `None` on a node that only follows a bus.
fn poller_of(
    config: &Config,
    has_broker: bool,
    tokens: Vec<Secret>,
    clock: Clock,
) -> anyhow::Result<(Option<Poller>, Option<GitHubApp>)> {
    if !config.disable.producer {
        let poller = Poller::new(&config.github, tokens, clock)?;
        let app = GitHubApp::new(&config.github, poller.pool(), clock)?;
        return Ok((Some(poller), app));
    }
    if !has_broker {
        tracing::warn!("disable.producer without pulsar: nothing is fetched or brought here");
    }
    Ok((None, None))
}

/// Opens the store and reads the initial state of the other parts from it.
async fn open(config: Config, clock: Clock, stop: Stop) -> anyhow::Result<ApplianceParts> {
    let opened = blocking(move || {
        let tables = files::shares(&config)?.and_then(|shares| shares.tables);
        let store = Store::open_within(&config.data_dir, config.store.sync, tables, clock)?;
        // After the lock of the store, whose error a second process on one data directory gets.
        ports::check_free(&config)?;
        exchange::tidy(store.dir(), true);
        let excluded = excluded::leave_out(&store, &config.privacy)?;
        excluded::report(&config.privacy, &excluded);
        let numbers = NodeCounters::load(&store, config.interval.latest_during, clock)?;
        let (alerts, posting) = match &config.alerts {
            Some(settings) => {
                let (alerts, posting) = Alerts::new(settings, &config.node_name, clock)?;
                (alerts, Some(posting))
            }
            None => (Alerts::off(), None),
        };
        let setup = copies::setup_of(&config, config.disable.interval);
        let (history, asking) = History::load(&store, setup, alerts.clone(), clock)?;
        let last_good = store.reader().get(&MetaKey(LAST_GOOD.to_owned()))?;
        let last_good = last_good.and_then(|bytes| String::from_utf8(bytes).ok());
        let file = config.scripts_dir.join(script::MERGE_FILE);
        let trials = Some(Trials::read(&store, "merge_latest")?);
        let file = file.display().to_string();
        let script = ScriptHost::of(ScriptKind::Merge, &file, last_good.as_deref(), trials, clock);
        let lists = Arc::new(Lists::open(&config.lists.dir));
        let hub = HubOptions {
            api_version: config.api_version,
            lag: usize::try_from(config.server.limits.lag).unwrap_or(usize::MAX),
            flush_interval: config.server.flush_interval,
            tail_bytes: TAIL_BYTES,
            lists,
        };
        let (hub, numbers) = (Arc::new(Hub::new(&hub, clock)), Arc::new(numbers));
        let seen_for = config.store.seen_for;
        Ok(ApplianceParts {
            config,
            apply: Apply { store, numbers, history, hub, seen_for, clock },
            excluded,
            asking,
            alerts,
            posting,
            script: Arc::new(script),
            chores: Chores::new(clock),
            rankings: Rankings::default(),
            stop,
        })
    });
    opened.await?
}

/// Attaches the journal to the stream.
async fn keep_journal(parts: &ApplianceParts, tag: BusTag) -> anyhow::Result<()> {
    let known = move |reader: Reader<'_>| {
        // A bus that was in use before has a journal already, or had one.
        let journal = reader.journal(tag)?;
        let applied = reader.applied_on(tag)?.map(|cursor| cursor.position);
        let applied = applied.max(journal.dropped()).max(journal.newest()?);
        Ok((applied, journal.is_simulated()?))
    };
    let store = parts.apply.store.clone();
    let (applied, simulated) = store.read(known).await?;
    let config = &parts.config.store;
    let kept = RetentionLimits { duration: config.journal_for, bytes: config.journal_bytes };
    parts.apply.hub.attach_journal(StreamJournal { store, tag, applied, simulated, kept });
    Ok(())
}

fn start_stages(
    stages: &mut Stages,
    parts: ApplianceParts,
    ticker: Ticker,
    (poller, listed, enrich, witness): (Option<Poller>, Option<ListedSource>, Enrich, Arc<Witness>),
    (broker, granting, counting): (Option<Broker>, Granting, Counting),
) {
    let ApplianceParts { config, apply, asking, alerts, posting, script, chores, .. } = parts;
    let Apply { store, numbers, seen_for, clock, .. } = apply.clone();
    let soft = parts.stop.soft;
    let held_by = rabbit::held_by(&config);
    if let Some(poller) = poller {
        let followed = tokens::follow(config.github.clone(), poller.pool(), clock, soft.clone());
        stages.start("tokens", followed);
        let (backlog_bytes, pages) = (config.store.outbox_bytes, config.github.pages);
        let lists = Arc::clone(&apply.hub.lists);
        let options = IngestOptions { backlog_bytes, pages, lists, clock };
        let (store, stop) = (store.clone(), soft.clone());
        if broker.is_some() {
            let source = WhenGranted::new(poller, granting.grant.subscribe(), store.clone());
            stages.start("ingest", ingest::run(source, store, options, stop));
        } else {
            stages.start("ingest", ingest::run(poller, store, options, stop));
        }
    }
    stages.start("lists", Arc::clone(&apply.hub.lists).follow(clock, soft.clone()));
    if let Some(listed) = listed {
        stages.start("listed", listed.run(soft.clone()));
    }
    stages.start("enrich", enrich.run(soft.clone()));
    stages.start("rankings", ledger::run(store.clone(), parts.rankings, clock, soft.clone()));
    stages.start("gauges", gauges::run(store.clone(), clock, soft.clone()));
    stages.start("tick", ticker.run(config.interval.latest, soft.clone()));
    stages.start("history", asking.witnessed_by(Arc::clone(&witness)).run(soft.clone()));
    if let Some(posting) = posting {
        stages.start("alerts", posting.run(soft.clone()));
    }
    let exported_until = start_archive(
        stages,
        &config,
        store.clone(),
        (alerts.clone(), chores.clone()),
        (Arc::clone(&witness), clock),
        &soft,
    );
    if let Some(settings) = config.backup {
        let (reported, time) = ((alerts, chores), (Arc::clone(&witness), clock));
        let run = backups::run(store.clone(), settings, reported, time, soft.clone());
        stages.start("backup", run);
    }
    let tag = start_bus(stages, apply, broker, granting, &soft);
    stages.start("aggregates", counting.run(soft.clone()));
    let options = RetentionOptions {
        tag,
        seen_for,
        buckets: bucket_span(config.interval.latest_during),
        journal_for: config.store.journal_for,
        journal_bytes: config.store.journal_bytes,
        held_by,
    };
    let run =
        retention::run(store.clone(), (options, exported_until), witness, clock, soft.clone());
    stages.start("retention", run);
    let watch = script::watch(
        script,
        config.scripts_dir.join(script::MERGE_FILE),
        move || Some(numbers.window(clock.now().second())),
        move |text| keep_last_good(&store, text),
        clock,
        soft,
    );
    stages.start("script", watch);
}

/// Starts the archive of hours, where there is one. Returns how far it has come.
fn start_archive(
    stages: &mut Stages,
    config: &Config,
    store: Store,
    (alerts, chores): (Alerts, Chores),
    (witness, clock): (Arc<Witness>, Clock),
    soft: &CancellationToken,
) -> Option<ExportedUntil> {
    let dir = config.archive_dir.clone()?;
    let went = move |failed: Option<&archive::ArchiveError>| {
        chores.went(Chore::Archive, failed.map(|error| error as _));
        match failed {
            Some(error) => alerts.raise(AlertCondition::ArchiveFailing, &error.to_string()),
            None => alerts.clear(AlertCondition::ArchiveFailing),
        }
    };
    let hashes_emails = config.privacy.hash_emails.in_exports();
    let (format, lists) = (config.archive_format, ListSet::default());
    let to = archive::ArchiveTarget { dir, format, hashes_emails, lists };
    let exported = Sender::new(None);
    let exported_until = exported.subscribe();
    let run = archive::run(store, to, witness, (went, exported), clock, soft.clone());
    stages.start("archive", run);
    Some(exported_until)
}

/// Starts the stages that read and feed the bus. Returns which bus it is.
fn start_bus(
    stages: &mut Stages,
    apply: Apply,
    broker: Option<Broker>,
    Granting { grant, waiting, unsent }: Granting,
    soft: &CancellationToken,
) -> BusTag {
    let Some(Broker { bus, outlet, produces }) = broker else {
        let bus = EmbeddedBus::new(apply.store.clone());
        let tag = bus.tag();
        stages.start("apply", apply.run(bus, soft.clone()));
        return tag;
    };
    let tag = bus.tag();
    let Apply { store, clock, .. } = apply.clone();
    let bus_state = bus.state();
    let relay = Relay { store, produces, grant, waiting, unsent, bus: bus_state, clock };
    stages.start("relay", broker::marked(relay.run(outlet, soft.clone())));
    stages.start("apply", broker::marked(apply.run(bus, soft.clone())));
    tag
}

/// Called on a blocking thread, once for each script that was put into use.
fn keep_last_good(store: &Store, text: &str) {
    let kept = store.keep(MetaKey(LAST_GOOD.to_owned()), Some(text.as_bytes().to_vec()));
    if let Err(error) = kept {
        tracing::error!(%error, "the merge script in force cannot be kept for the next start");
    }
}

/// The source of what is on complete lists; `None` on a node that only follows a bus.
fn listed_of(
    parts: &ApplianceParts,
    poller: Option<&Poller>,
    grant: Option<Receiver<ProducerGrant>>,
) -> anyhow::Result<Option<ListedSource>> {
    let Some(poller) = poller else { return Ok(None) };
    let config = &parts.config;
    let Apply { store, hub, seen_for, clock, .. } = parts.apply.clone();
    let (lists, no_older_than) = (Arc::clone(&hub.lists), Some(seen_for));
    let how = IngestRules { lists, shown_by: ShownBy::Own, no_older_than };
    let github = (poller.pool(), poller.witness());
    Ok(Some(ListedSource::new(config, github, store, how, grant, clock)?))
}
