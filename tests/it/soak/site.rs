//! One seed: a directory, an appliance, its readers, and the model that they are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::simulate::{Fault, FaultKind, Options, Shape};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::PATIENCE;
use super::process::Process;
use super::readers::{Encoding, RabbitReader, SamplingReader, StreamReader};
use super::servers::{FIRST_DAY, Servers};
use super::troubles::Trouble;
use crate::archive::live::events_of;
use crate::common::client::{Client, request};
use crate::common::model::{Expected, Key, Truth, as_sent, key_of};
use crate::common::running::{GitHub, soon};
use crate::common::small_disk::SmallDisk;
use crate::common::stored;

/// Size of the file system with the data, in MiB.
const DISK: u64 = 400;
/// Most memory of the process, in MiB.
const RESIDENT: u64 = 1_500;
/// Events before the first round.
const FIRST: usize = 10;
/// Events that GitHub's pages cannot show at once, while it is not read.
const OVERRUN: usize = 450;
/// A time without a response of GitHub is an outage from ten seconds on.
const OUTAGE: Duration = Duration::from_secs(11);
/// Time between two looks at a state.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a seed did.
pub(super) struct Done {
    pub(super) events: usize,
    pub(super) kills: u32,
}

#[expect(clippy::struct_excessive_bools, reason = "three independent facts of a run")]
pub(super) struct Site<'s> {
    pub(super) servers: &'s mut Servers,
    pub(super) github: GitHub,
    pub(super) rng: fastrand::Rng,
    pub(super) process: Process,
    pub(super) disk: Option<SmallDisk>,
    pub(super) rabbit: Option<RabbitReader>,
    pub(super) queue: String,
    pub(super) attack: Option<JoinHandle<Vec<TcpStream>>>,
    pub(super) on_pulsar: bool,
    /// Whether the clock was ever wrong: windows of the last day may then hold other events.
    pub(super) has_stepped: bool,
    pub(super) kills: u32,
    has_database: bool,
    readers: Vec<StreamReader>,
    sampling: SamplingReader,
    /// Events that GitHub never showed, and the gaps that say so.
    missed: usize,
    gaps: usize,
    /// Events whose content was compared.
    compared: BTreeSet<Key>,
    /// Events that were not enriched, which is right only after a start with a clock that is ahead:
    /// what waited seems to have waited for too long.
    unenriched: BTreeMap<Key, String>,
    may_stay_unenriched: bool,
    dir: tempfile::TempDir,
}

impl<'s> Site<'s> {
    pub(super) async fn start(servers: &'s mut Servers, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(seed) }).await;
        let dir = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(DISK);
        let data = disk.as_ref().map_or(dir.path(), |disk| disk.path()).join("data");
        let on_pulsar = servers.pulsar.is_some() && rng.bool();
        let has_database = servers.database.is_some() && rng.u8(..3) > 0;
        let sync = ["batch", "1s"][usize::from(rng.bool())];
        let within = |name: &str| dir.path().join(name).display().to_string();
        let mut settings = vec![
            ("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m".to_owned()),
            ("GHPULSE_INTERVAL_LATEST", "200ms".to_owned()),
            ("GHPULSE_STORE_SYNC", sync.to_owned()),
            ("GHPULSE_ARCHIVE_DIR", within("archive")),
            ("GHPULSE_BACKUP_DIR", within("backups")),
            ("GHPULSE_BACKUP_EVERY", "1m".to_owned()),
            ("GHPULSE_BACKUP_KEEP", "2".to_owned()),
        ];
        settings.extend(servers.of_rabbit());
        if has_database {
            settings.extend(servers.of_database());
        }
        if on_pulsar {
            settings.extend(servers.of_pulsar(&format!("soak-{seed}")));
        }
        let log = dir.path().join("log");
        let mut process = Process::new(&data, &log, &github.url, &settings);
        process.start();
        assert!(process.listens().await, "it does not start:\n{}", process.last_words());
        let queue = format!("soak-{seed}");
        let rabbit = match &servers.rabbit {
            Some(broker) => Some(RabbitReader::start(broker, &queue).await),
            None => None,
        };
        let address = process.public;
        let encodings = [Encoding::Lines, Encoding::ServerSent, Encoding::Socket];
        let readers = encodings.map(|encoding| StreamReader::start(address, encoding)).into();
        println!("  pulsar: {on_pulsar}, database: {has_database}, store.sync: {sync}");
        let mut site = Self {
            sampling: SamplingReader::start(address),
            attack: None,
            has_stepped: false,
            kills: 0,
            missed: 0,
            gaps: 0,
            compared: BTreeSet::new(),
            unenriched: BTreeMap::new(),
            may_stay_unenriched: false,
            servers,
            github,
            rng,
            process,
            disk,
            rabbit,
            queue,
            on_pulsar,
            has_database,
            readers,
            dir,
        };
        site.until("readers are connected", async || {
            site.readers.iter().all(|reader| reader.received().is_connected())
        })
        .await;
        // A node that has never read GitHub cannot know what it missed.
        site.github.control.emit(FIRST);
        site.settle().await;
        site
    }

    /// Polls a state; fails with what is known when it does not come.
    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let clock = Clock::system();
        let waiting = async {
            while !holds().await {
                clock.sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            self.fail(&format!("{what}: not within {PATIENCE:?}")).await;
        }
    }

    async fn fail(&self, what: &str) -> ! {
        let kept = PathBuf::from(format!("{}-failed", self.dir.path().display()));
        let copied = Command::new("cp").arg("-a").arg(self.dir.path()).arg(&kept).status().await;
        let kept = copied.map_or_else(|error| error.to_string(), |_| kept.display().to_string());
        let log = self.process.last_words();
        let status = tokio::time::timeout(OUTAGE, self.process.status()).await;
        let status = status.map_or_else(|_| "no answer".to_owned(), |status| status.to_string());
        panic!("{what}\nlog, in {kept}:\n{log}\nstatus: {status}");
    }

    /// A round: troubles begin, events come, the troubles end, and everything must have arrived.
    pub(super) async fn round(&mut self, number: u32) {
        self.may_stay_unenriched = false;
        if self.rng.u8(..8) == 0 {
            println!("  round {number}: more events than GitHub shows, while it is away");
            self.overrun().await;
        } else {
            let troubles = Trouble::draw(&mut self.rng);
            println!("  round {number}: {troubles:?}");
            self.suffer(&troubles).await;
        }
        self.settle().await;
        if self.rng.u8(..3) == 0 {
            self.look_into_the_store().await;
        }
    }

    async fn suffer(&mut self, troubles: &[Trouble]) {
        self.may_stay_unenriched =
            [Trouble::ClockStepped, Trouble::Killed].iter().all(|one| troubles.contains(one));
        for trouble in troubles {
            self.begin(*trouble).await;
        }
        for _ in 0..self.rng.u32(2..5) {
            self.github.control.emit(self.rng.usize(1..15));
            if troubles.contains(&Trouble::Killed) && self.rng.bool() {
                self.kill().await;
            } else {
                let moment = Duration::from_micros(self.rng.u64(..1_500_000));
                Clock::system().sleep(moment).await;
            }
        }
        if troubles.contains(&Trouble::BackedUp) {
            self.back_up().await;
        }
        for trouble in troubles {
            self.heal(*trouble).await;
        }
        if !self.process.listens().await {
            // On a full disk it may end, and is started again.
            if !troubles.contains(&Trouble::DiskFull) {
                self.fail("the process ended").await;
            }
            self.process.kill().await;
            self.process.start();
            if !self.process.listens().await {
                self.fail("it does not start again").await;
            }
        }
    }

    /// GitHub is away for a while, and then shows only the newest of the events since.
    async fn overrun(&mut self) {
        let control = &self.github.control;
        control.set_fault(Fault::always(FaultKind::Error503));
        let requests = control.requests();
        soon("GitHub is asked", control.until(|c| c.requests() > requests + 3)).await;
        control.emit(OVERRUN);
        Clock::system().sleep(OUTAGE).await;
        control.clear_faults();
        let requests = control.requests();
        soon("GitHub is asked", control.until(|c| c.requests() > requests + 30)).await;
        self.missed = control.unserved();
        assert!(self.missed > 0, "GitHub showed everything");
        self.gaps += 1;
    }

    /// The events that GitHub has shown, with its own data about pull requests.
    fn expected(&self) -> Expected {
        let truth = Truth::of(&self.github.control.pull_requests());
        let shown = self.github.control.served();
        let completed = shown.iter().map(|event| {
            let bare = self.unenriched.get(&key_of(&serde_json::from_str(event).unwrap()));
            bare.cloned().unwrap_or_else(|| truth.completed(event))
        });
        let completed: Vec<_> = completed.collect();
        Expected::of(completed.iter().map(AsRef::as_ref))
    }

    /// Notes the events that one reader received as GitHub sent them, without what it left out. A
    /// language may be known from other events.
    fn note_unenriched(&mut self) {
        const REPOSITORY: &str = "/payload/pull_request/base/repo";
        let shown = self.github.control.served();
        let bare = Expected::of(shown.iter().map(AsRef::as_ref));
        let received = self.readers[0].received();
        for (key, event) in received.events.iter().filter(|(key, _)| !self.compared.contains(*key))
        {
            let Some(sent) = bare.events.get(key) else { continue };
            let mut sent = sent.clone();
            let known = event.pointer(REPOSITORY).and_then(|repository| repository.get("language"));
            if let Some(Value::Object(repository)) = sent.pointer_mut(REPOSITORY)
                && let Some(language) = known
            {
                repository.entry("language").or_insert_with(|| language.clone());
            }
            if event["payload"]["pull_request"].is_object() && as_sent(event.clone(), &sent) == sent
            {
                self.unenriched.insert(key.clone(), sent.to_string());
            }
        }
    }

    /// Waits until everything has arrived everywhere, and compares it with the model.
    async fn settle(&mut self) {
        let (control, missed) = (self.github.control.clone(), self.missed);
        self.until("all is served", async || control.unserved() == missed).await;
        let expected = self.expected();
        let wanted = expected.events.len();
        self.until(&format!("{wanted} events at every reader"), async || {
            let is_wrong = |reader: &&StreamReader| !reader.received().wrong.is_empty();
            self.readers.iter().any(|reader| is_wrong(&reader))
                || self.readers.iter().all(|reader| reader.received().events.len() >= wanted)
        })
        .await;
        let expected = if self.may_stay_unenriched {
            self.note_unenriched();
            self.expected()
        } else {
            expected
        };
        if let Some(wrong) = self.compare(&expected) {
            self.fail(&wrong).await;
        }
        self.until_rabbit_has(&expected).await;
        self.until_counts_are_right(&expected).await;
        let resident = self.process.resident();
        if resident > RESIDENT {
            self.fail(&format!("{resident} MiB resident")).await;
        }
    }

    /// What a reader received wrongly.
    fn compare(&mut self, expected: &Expected) -> Option<String> {
        for reader in &self.readers {
            let received = reader.received();
            let name = format!("reader {:?}", reader.encoding);
            if let Some(wrong) = received.wrong.first() {
                return Some(format!("{name}: {wrong}"));
            }
            if received.gaps.len() != self.gaps {
                return Some(format!("{name}: not {} gaps: {:?}", self.gaps, received.gaps));
            }
            if let Some(gap) = received.gaps.iter().find(|gap| gap["reason"] != "upstream") {
                return Some(format!("{name}: {gap}"));
            }
            for (key, event) in &received.events {
                let Some(sent) = expected.events.get(key) else {
                    return Some(format!("{name}: {key:?} was never in the feed"));
                };
                let is_new =
                    reader.encoding != Encoding::Lines || self.compared.insert(key.clone());
                if is_new && &as_sent(event.clone(), sent) != sent {
                    return Some(format!("{name}: {key:?} was changed from {sent} to {event}"));
                }
            }
            if reader.encoding == Encoding::Lines
                && let Some(wrong) = self.sampling.wrong(&received.order)
            {
                return Some(wrong);
            }
        }
        None
    }

    async fn until_rabbit_has(&mut self, expected: &Expected) {
        let Some(mut reader) = self.rabbit.take() else { return };
        let clock = Clock::system();
        let reading = async {
            while !expected.events.keys().all(|key| reader.seen.contains(key)) {
                clock.sleep(LOOK_EVERY).await;
                reader.take();
            }
        };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            let missing: Vec<_> =
                expected.events.keys().filter(|key| !reader.seen.contains(*key)).collect();
            self.fail(&format!("RabbitMQ's reader lacks {missing:?}")).await;
        }
        self.rabbit = Some(reader);
    }

    /// The first message of `/sampling`, and the counts by type of the last day.
    async fn until_counts_are_right(&self, expected: &Expected) {
        let address = self.process.public;
        let year = Clock::system().now().year().to_string();
        let wanted: BTreeMap<String, [String; 3]> = if self.has_database {
            [(format!("{year}-01-01"), FIRST_DAY.map(str::to_owned))].into()
        } else {
            let days = expected.days.iter().filter(|(day, _)| day.starts_with(&year));
            let counts = |day: &crate::common::model::Day| {
                [day.open, day.merge, day.close].map(|count| count.to_string())
            };
            days.map(|(day, found)| (day.clone(), counts(found))).collect()
        };
        self.until(&format!("the first message has {wanted:?}"), async || {
            let first = Client::connect(address, "/sampling").await.json().await;
            let maps = ["openMap", "mergeMap", "closeMap"].map(|name| first[name].clone());
            wanted.iter().all(|(day, counts)| {
                maps.iter().zip(counts).all(|(map, count)| map[day] == json!(count))
            })
        })
        .await;
        if self.has_stepped {
            return;
        }
        let mut types = BTreeMap::<&str, u64>::new();
        for (kind, _) in expected.events.keys() {
            *types.entry(kind).or_default() += 1;
        }
        let types = json!(types);
        self.until(&format!("the counts by type are {types}"), async || {
            let path = "/stream/types?window=24h";
            let answer = request(address, "GET", path, &[]).await;
            answer.status == 200 && answer.json()["value"] == types
        })
        .await;
    }

    /// Backs up the running appliance; the backup must agree with itself and the feed.
    async fn back_up(&mut self) {
        let around = tempfile::tempdir_in(self.dir.path()).unwrap();
        let (to, restored) = (around.path().join("backup"), around.path().join("restored"));
        if !self.process.listens().await {
            self.fail("the process ended").await;
        }
        for (command, data) in [("backup", &self.process.data), ("restore", &restored)] {
            let mut run = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
            run.arg(command).arg(&to).arg("--data").arg(data).env("GHPULSE_LOG_LEVEL", "error");
            let ran = soon("a copy is made", run.output()).await.unwrap();
            if !ran.status.success() {
                let why = String::from_utf8_lossy(&ran.stderr);
                self.fail(&format!("{command}: {why}")).await;
            }
        }
        stored::assert_agrees_with_itself(&restored);
    }

    /// Stops the appliance when nothing is left to send: a stop may leave a row whose event the
    /// topic has, and which the next start sends again.
    async fn stop(&mut self) {
        self.until("nothing is left to send", async || {
            stored::is_relayed(&self.process.data).await
        })
        .await;
        self.process.stop().await;
    }

    /// Stops the appliance, compares its store with the model, and starts it again.
    async fn look_into_the_store(&mut self) {
        self.stop().await;
        stored::assert_holds(&self.process.data, &self.expected());
        self.process.start();
        if !self.process.listens().await {
            self.fail("it does not start again").await;
        }
    }

    /// Compares the store and what was archived with the model.
    pub(super) async fn end(mut self) -> Done {
        self.stop().await;
        let expected = self.expected();
        stored::assert_holds(&self.process.data, &expected);
        let mut archived = BTreeSet::new();
        for event in events_of(&files_below(&self.dir.path().join("archive"))) {
            let event: Value = serde_json::from_str(&event).unwrap();
            let key = key_of(&event);
            let sent = &expected.events[&key];
            assert_eq!(&as_sent(event, sent), sent, "it was archived as it was sent");
            assert!(archived.insert(key.clone()), "{key:?} was archived twice");
        }
        let events = expected.events.len();
        println!(
            "  {events} events once at every reader, {} by /sampling, {} not enriched, {} archived, \
             {} missed in {} gaps, {} kills",
            self.sampling.count(),
            self.unenriched.len(),
            archived.len(),
            self.missed,
            self.gaps,
            self.kills
        );
        Done { events, kills: self.kills }
    }
}

/// The archived hours below a directory.
fn files_below(dir: &std::path::Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(".json.gz")).collect()
}
