//! The real servers around the appliance, where they are installed: RabbitMQ, MariaDB, Pulsar.

use ghpulse::clock::Clock;

use crate::amqp::broker::{self as rabbit, Broker};
use crate::history::database::{self, Database, PASSWORD};
use crate::servers::broker::{self as pulsar, Alone};

/// What the database says about the first day of the year: opened, merged, closed.
pub(super) const FIRST_DAY: [&str; 3] = ["4", "2", "3"];

/// The servers.
pub(super) struct Servers {
    pub(super) rabbit: Option<Broker>,
    pub(super) database: Option<Database>,
    pub(super) pulsar: Option<Alone>,
}

impl Servers {
    /// Starts what this machine has; Pulsar, which takes a minute, only for a long run.
    pub(super) async fn start(is_long: bool) -> Self {
        let none = std::env::var_os("GHPULSE_TEST_WITHOUT_SERVERS").is_some_and(|set| set == "1");
        if none {
            println!("without RabbitMQ, MariaDB and Pulsar (GHPULSE_TEST_WITHOUT_SERVERS=1)");
            return Self { rabbit: None, database: None, pulsar: None };
        }
        let kind = database::kind("soak").expect("a database");
        let database = Database::start(&kind).await;
        database.sql("CREATE TABLE gharchive.figures (n INT)").await;
        database.sql("INSERT INTO gharchive.figures VALUES (2)").await;
        let pulsar = if is_long { pulsar::alone("soak").await } else { None };
        let rabbit = rabbit::broker("soak").await;
        Self { rabbit, database: Some(database), pulsar }
    }

    /// The settings for RabbitMQ.
    pub(super) fn of_rabbit(&self) -> Vec<(&'static str, String)> {
        let Some(rabbit) = &self.rabbit else { return Vec::new() };
        let url = format!("amqp://ghpulse:ghpulse@127.0.0.1:{}/", rabbit.port());
        vec![("GHPULSE_AMQP_URL", url)]
    }

    /// The settings for the database, which is asked all the time.
    pub(super) fn of_database(&self) -> Vec<(&'static str, String)> {
        let Some(database) = &self.database else { return Vec::new() };
        let [opened, _, closed] = FIRST_DAY;
        let year = Clock::system().now().year();
        let daily = format!("SELECT '{year}-01-01', 5, {opened}, {closed}, n FROM figures");
        vec![
            ("GHPULSE_TIDB_HOST", "127.0.0.1".to_owned()),
            ("GHPULSE_TIDB_PORT", database.port.to_string()),
            ("GHPULSE_TIDB_USER", "ghpulse".to_owned()),
            ("GHPULSE_TIDB_PASSWORD", PASSWORD.to_owned()),
            ("GHPULSE_TIDB_DB", "gharchive".to_owned()),
            ("GHPULSE_TIDB_SQL_EVENTSDAILY", daily),
            ("GHPULSE_TIDB_SQL_YEARLY", "SELECT 1, 2, 3, 4".to_owned()),
            ("GHPULSE_INTERVAL_DAILY", "1s".to_owned()),
        ]
    }

    /// The settings for Pulsar as the bus, with this topic.
    pub(super) fn of_pulsar(&self, topic: &str) -> Vec<(&'static str, String)> {
        let Some(pulsar) = &self.pulsar else { return Vec::new() };
        vec![
            ("GHPULSE_PULSAR_ENV", "dev".to_owned()),
            ("GHPULSE_PULSAR_DEVHOST", pulsar.broker.url()),
            ("GHPULSE_PULSAR_PRODUCER_TOPIC", topic.to_owned()),
            ("GHPULSE_PULSAR_CONSUMER_TOPIC", topic.to_owned()),
        ]
    }
}
