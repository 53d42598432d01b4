//! What goes wrong in a round, and how it ends.

use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::simulate::{Control, Fault, FaultKind};

use super::hostile;
use super::site::Site;
use crate::amqp::broker::Broker;
use crate::common::small_disk::SmallDisk;
use crate::sim::FAULTS;

const DAY: i64 = 86_400;
/// Steps of the clock in seconds.
const STEPS: &[i64] = &[-90, 90, -7_200, 7_200, -3 * DAY, 4 * DAY, 30 * DAY, -700 * DAY];
/// MiB that a full disk has left.
const LEFT: u64 = 8;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    GithubFails,
    GithubAway,
    RabbitKilled,
    RabbitPaused,
    DatabaseKilled,
    DatabasePaused,
    PulsarStopped,
    PulsarPaused,
    DiskFull,
    ClockStepped,
    Attacked,
    Killed,
    BackedUp,
}

impl Trouble {
    const ALL: &[Self] = &[
        Self::GithubFails,
        Self::GithubAway,
        Self::RabbitKilled,
        Self::RabbitPaused,
        Self::DatabaseKilled,
        Self::DatabasePaused,
        Self::PulsarStopped,
        Self::PulsarPaused,
        Self::DiskFull,
        Self::ClockStepped,
        Self::Attacked,
        Self::Killed,
        Self::Killed,
        Self::BackedUp,
    ];

    /// One to five troubles of which no two exclude each other.
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Vec<Self> {
        let mut drawn: Vec<Self> = Vec::new();
        for _ in 0..rng.usize(1..6) {
            let trouble = Self::ALL[rng.usize(..Self::ALL.len())];
            let excludes = |other: &Self| trouble.about() == other.about();
            if !drawn.iter().any(excludes) {
                drawn.push(trouble);
            }
        }
        drawn
    }

    /// What it affects. A backup is made only by a process that lives and has room.
    fn about(self) -> u8 {
        match self {
            Self::GithubFails | Self::GithubAway => 0,
            Self::RabbitKilled | Self::RabbitPaused => 1,
            Self::DatabaseKilled | Self::DatabasePaused => 2,
            Self::PulsarStopped | Self::PulsarPaused => 3,
            Self::DiskFull | Self::Killed | Self::BackedUp => 4,
            Self::ClockStepped => 5,
            Self::Attacked => 6,
        }
    }
}

/// Turns on some faults of GitHub; most requests succeed.
fn provoke(control: &Control, rng: &mut fastrand::Rng) {
    for _ in 0..rng.usize(1..4) {
        let kind = FAULTS[rng.usize(..FAULTS.len())];
        let wait = Duration::from_millis(rng.u64(1..1_000));
        control.set_fault(Fault { share: 0.3, wait, ..Fault::new(kind) });
    }
}

impl Site<'_> {
    /// Begins a trouble. Servers are quiet then: nothing is lost that a server had confirmed.
    pub(super) async fn begin(&mut self, trouble: Trouble) {
        let servers = &mut *self.servers;
        let pulsar = servers.pulsar.as_ref().filter(|_| self.on_pulsar);
        match trouble {
            Trouble::GithubFails => provoke(&self.github.control, &mut self.rng),
            Trouble::GithubAway => {
                self.github.control.set_fault(Fault::always(FaultKind::Error503));
            }
            Trouble::RabbitKilled => {
                if let Some(rabbit) = &mut servers.rabbit {
                    rabbit.kill();
                }
            }
            Trouble::RabbitPaused => servers.rabbit.iter().for_each(Broker::pause),
            Trouble::DatabaseKilled => {
                if let Some(database) = &mut servers.database {
                    database.kill();
                }
            }
            Trouble::DatabasePaused => {
                servers.database.iter_mut().for_each(|database| database.freeze(true));
            }
            Trouble::PulsarStopped => {
                if let Some(pulsar) = pulsar {
                    pulsar.broker.stop().await;
                }
            }
            Trouble::PulsarPaused => pulsar.iter().for_each(|pulsar| pulsar.broker.pause()),
            Trouble::DiskFull => self.disk.iter().for_each(|disk| disk.fill(LEFT)),
            Trouble::ClockStepped => {
                self.has_stepped = true;
                self.process.step(STEPS[self.rng.usize(..STEPS.len())]).await;
            }
            Trouble::Attacked => {
                let (address, mut rng) = (self.process.public, self.rng.fork());
                self.attack = Some(tokio::spawn(async move {
                    let mut open = Vec::new();
                    for _ in 0..rng.usize(5..40) {
                        open.extend(hostile::attack(address, &mut rng).await);
                    }
                    open
                }));
            }
            Trouble::Killed | Trouble::BackedUp => {}
        }
    }

    /// Ends a trouble.
    pub(super) async fn heal(&mut self, trouble: Trouble) {
        let servers = &mut *self.servers;
        let pulsar = servers.pulsar.as_ref().filter(|_| self.on_pulsar);
        match trouble {
            Trouble::GithubFails | Trouble::GithubAway => self.github.control.clear_faults(),
            Trouble::RabbitKilled => {
                if let (Some(rabbit), Some(reader)) = (&mut servers.rabbit, &mut self.rabbit) {
                    rabbit.start().await;
                    reader.restart(rabbit, &self.queue).await;
                }
            }
            Trouble::RabbitPaused => servers.rabbit.iter().for_each(Broker::resume),
            Trouble::DatabaseKilled => {
                if let Some(database) = &mut servers.database {
                    tokio::task::block_in_place(|| database.run());
                }
            }
            Trouble::DatabasePaused => {
                servers.database.iter_mut().for_each(|database| database.freeze(false));
            }
            Trouble::PulsarStopped => {
                if let Some(pulsar) = pulsar {
                    tokio::task::block_in_place(|| pulsar.broker.start_after_stop());
                    pulsar.broker.ready().await;
                }
            }
            Trouble::PulsarPaused => pulsar.iter().for_each(|pulsar| pulsar.broker.resume()),
            Trouble::DiskFull => self.disk.iter().for_each(SmallDisk::free),
            Trouble::ClockStepped => self.process.step(0).await,
            Trouble::Attacked => {
                if let Some(attack) = self.attack.take() {
                    drop(attack.await.unwrap());
                }
            }
            Trouble::Killed | Trouble::BackedUp => {}
        }
    }

    /// Kills the process up to three times in a row, also while it starts.
    pub(super) async fn kill(&mut self) {
        for _ in 0..self.rng.u32(1..4) {
            Clock::system().sleep(Duration::from_micros(self.rng.u64(..900_000))).await;
            self.process.kill().await;
            self.kills += 1;
            self.process.start();
        }
    }
}
