//! Connects to the service: the checked configuration, and connections made from it.
//!
//! Each session has its own connection, and none is ever repaired: the callers retry, because they
//! know why.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pulsar::error::ConnectionError;
use tokio::net::TcpStream;

use super::diagnosis::too_slow;
use super::error::PulsarError;
use super::oauth::Credentials;
use super::progress::shown;
use super::tls::{self, Duplex};
use super::topic::{tag_of, whole_name};
use crate::bus::TERMINATED;
use crate::clock::Clock;
use crate::config::{Compression, PulsarConfig, endpoint};
use crate::model::position::BusTag;
use crate::reload;

/// Time limit for opening a session: name, connection, TLS, login, look-up, subscription.
pub(super) const OPEN: Duration = Duration::from_secs(30);
/// Time limit for connecting to the address of a host that has one.
const ONLY_ADDRESS: Duration = Duration::from_secs(10);
/// Time limit for connecting to one address of a host that has several.
const ADDRESS: Duration = Duration::from_secs(3);
/// How often in a row a broker has to say that a topic is partitioned, or ends before what was
/// applied, until it is believed: only an operator can mend that.
const FATAL_ANSWERS: u32 = 3;

/// The checked configuration of a connection.
pub(super) struct PulsarLink {
    pub(super) url: String,
    /// The topic's full name.
    pub(super) topic: String,
    /// The tag of the topic, which its cursors have.
    pub(super) tag: BusTag,
    pub(super) clock: Clock,
    pub(super) compression: Compression,
    /// Read again for each connection, so that it can be renewed.
    ca: Option<PathBuf>,
    credentials: Option<Arc<Credentials>>,
    /// The number of answers in a row that only an operator can act on.
    fatal_answers: AtomicU32,
}

impl PulsarLink {
    /// Checks the configuration without connecting, and reads the files that it names.
    pub(super) fn new(
        pulsar: &PulsarConfig,
        topic: &str,
        clock: Clock,
    ) -> Result<Self, PulsarError> {
        check_address(&pulsar.url)?;
        let topic = whole_name(topic)?;
        pulsar.ca.as_deref().map(authority).transpose()?;
        let credentials = pulsar.oauth.as_ref().map(|oauth| Credentials::read(oauth, clock));
        Ok(Self {
            url: pulsar.url.clone(),
            tag: tag_of(&topic)?,
            topic,
            clock,
            compression: pulsar.compression,
            ca: pulsar.ca.clone(),
            credentials: credentials.transpose()?.map(Arc::new),
            fatal_answers: AtomicU32::new(0),
        })
    }

    /// Whether connections use TLS.
    pub(super) fn is_tls(&self) -> bool {
        endpoint(&self.url).is_some_and(|(scheme, _, _)| scheme == "pulsar+ssl")
    }

    /// Connects, with TLS for `pulsar+ssl`.
    pub(super) async fn dial(&self, url: &str) -> Result<Box<dyn Duplex>, ConnectionError> {
        let (_, host, port) = endpoint(url).ok_or(ConnectionError::NotFound)?;
        let stream = connect(&host, port).await?;
        stream.set_nodelay(true)?;
        if !self.is_tls() {
            return Ok(Box::new(stream));
        }
        let authorities = self.ca.as_deref().map(authority).transpose();
        let authorities = authorities.map_err(io::Error::other)?;
        Ok(Box::new(tls::connect(stream, &host, authorities.as_deref()).await?))
    }

    /// The token to log in with; `None` without authentication. Errors are texts for people.
    pub(super) async fn token(&self) -> Result<Option<String>, String> {
        match &self.credentials {
            Some(credentials) => credentials.token().await.map(Some),
            None => Ok(None),
        }
    }

    /// Drops the token to log in with: the broker refused it.
    pub(super) async fn forget_token(&self) {
        if let Some(credentials) = &self.credentials {
            credentials.forget().await;
        }
    }

    /// Advice for when the broker was reached but TLS or the login failed.
    pub(super) fn advice(&self) -> &'static str {
        match (self.is_tls(), self.credentials.is_some()) {
            (true, true) => {
                "it was reached, but TLS or the login failed; for a certificate authority of your \
                 own, name its file in pulsar.ca; check pulsar.audience and the key file"
            }
            (true, false) => {
                "it was reached, but TLS failed, or it needs a login; for a certificate authority \
                 of your own, name its file in pulsar.ca; a login is pulsar.audience and \
                 pulsar.keypath"
            }
            (false, true) => {
                "it was reached, but refused the login, or needs TLS; check pulsar.audience and \
                 the key file, and whether it is a port of pulsar+ssl://"
            }
            (false, false) => {
                "it was reached, but refused the connection; does it need a login \
                 (pulsar.audience and pulsar.keypath), or TLS (pulsar+ssl://)?"
            }
        }
    }

    /// What the outlet does, for errors.
    pub(super) fn producing(&self) -> String {
        format!("producing to {} at {}", self.topic, self.url)
    }

    /// The error of reading the topic.
    pub(super) fn read_error(&self, why: impl Into<String>) -> PulsarError {
        let doing = format!("reading {} at {}", self.topic, self.url);
        PulsarError::Away { doing, why: why.into() }
    }

    /// The error of reading a topic that was terminated.
    pub(super) fn terminated(&self) -> PulsarError {
        let doing = format!("reading {} at {}", self.topic, self.url);
        PulsarError::Terminated { doing, why: TERMINATED.to_owned() }
    }

    /// The error, or a transient one until the broker has said the same several times in a row: one
    /// wrong answer must not end the process.
    pub(super) fn confirmed(&self, error: PulsarError) -> PulsarError {
        let said = match &error {
            PulsarError::Recreated { last, applied, .. } => {
                format!("the topic ends at {last}, before {applied}")
            }
            PulsarError::Partitioned { partitions, .. } => {
                format!("the topic has {partitions} partitions")
            }
            _ => return error,
        };
        if self.fatal_answers.fetch_add(1, Ordering::Relaxed) + 1 >= FATAL_ANSWERS {
            return error;
        }
        let doing = format!("using {} at {}", self.topic, self.url);
        PulsarError::Away { doing, why: format!("the broker says that {said}: asking again") }
    }

    /// Records that the broker has answered as expected.
    pub(super) fn reset_fatal_answers(&self) {
        self.fatal_answers.store(0, Ordering::Relaxed);
    }

    /// Checks that the topic does not end before the position up to which it was applied.
    pub(super) fn check_end(
        &self,
        end: Option<(u64, u64)>,
        applied: Option<(u64, u64)>,
    ) -> Result<(), PulsarError> {
        match (end, applied) {
            (Some(end), Some(applied)) if end < applied => Err(PulsarError::Recreated {
                topic: self.topic.clone(),
                last: shown(end),
                applied: shown(applied),
            }),
            _ => Ok(()),
        }
    }
}

/// Connects to one of the addresses of a host. When all of them fail, the error is the first error
/// other than `NetworkUnreachable`, which every IPv6 address gives on a machine without IPv6.
async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectionError> {
    let addresses = tokio::net::lookup_host((host, port)).await;
    let mut addresses: Vec<_> = addresses.map_err(|_| ConnectionError::NotFound)?.collect();
    // In the same order each time, some that do not answer would use up the time limit.
    fastrand::shuffle(&mut addresses);
    let limit = if addresses.len() == 1 { ONLY_ADDRESS } else { ADDRESS };
    let mut failed: Option<io::Error> = None;
    for address in addresses {
        let error = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        let is_unreachable = |first: &io::Error| first.kind() == io::ErrorKind::NetworkUnreachable;
        if failed.as_ref().is_none_or(is_unreachable) {
            failed = Some(error);
        }
    }
    Err(failed.map_or(ConnectionError::NotFound, ConnectionError::Io))
}

/// The certificate authorities in a file; while it is malformed, its last good content.
fn authority(path: &Path) -> Result<Arc<[u8]>, PulsarError> {
    let read = reload::read_good(path, reload::check_authorities);
    read.map_err(|why| PulsarError::File {
        what: "certificate file",
        path: path.to_owned(),
        why: why.replace("no PEM certificate", "no certificate in PEM form"),
    })
}

/// Runs an operation with a time limit.
pub(super) async fn within<T>(
    limit: Duration,
    doing: impl Fn() -> String,
    work: impl Future<Output = Result<T, PulsarError>>,
) -> Result<T, PulsarError> {
    // Boxed: futures that open a session have tens of kilobytes.
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(too_slow(doing(), limit.as_secs())),
    }
}

fn check_address(url: &str) -> Result<(), PulsarError> {
    let refuse = |why| Err(PulsarError::Address { url: url.to_owned(), why });
    let Some((kind, rest)) = url.split_once("://") else {
        return refuse("it does not begin with pulsar://");
    };
    if !matches!(kind, "pulsar" | "pulsar+ssl") {
        return refuse("it begins with neither pulsar:// nor pulsar+ssl://");
    }
    if rest.contains('@') {
        return refuse("it contains a login; set pulsar.audience and pulsar.keypath instead");
    }
    if rest.trim_end_matches('/').is_empty() || rest.contains(char::is_whitespace) {
        return refuse("it has no host");
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The configuration of a broker without login.
    pub(in crate::bus::pulsar) fn configured(url: &str) -> PulsarConfig {
        PulsarConfig {
            url: url.to_owned(),
            oauth: None,
            ca: None,
            compression: Compression::None,
            producer_topic: "events".to_owned(),
            consumer_topic: "events".to_owned(),
            consumer_name: "ghpulse".to_owned(),
        }
    }

    fn refused(pulsar: &PulsarConfig) -> String {
        match PulsarLink::new(pulsar, "events", Clock::system()) {
            Ok(_) => panic!("{pulsar:?} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn invalid_address_is_refused_before_connecting() {
        for (url, word) in [
            ("127.0.0.1:6650", "not begin with pulsar://"),
            ("http://x", "neither pulsar://"),
            ("pulsar://", "no host"),
            ("pulsar://me:secret@x:6650", "login"),
        ] {
            let error = refused(&configured(url));
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn certificate_file_must_exist_and_contain_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let with = PulsarConfig { ca: Some(path.clone()), ..configured("pulsar://127.0.0.1") };
        assert!(refused(&with).contains("ca.pem"));
        std::fs::write(&path, "hello").unwrap();
        assert!(refused(&with).contains("no certificate"));
    }

    #[test]
    fn wrong_answer_is_believed_when_it_is_repeated() {
        let link = PulsarLink::new(&configured("pulsar://x"), "events", Clock::system()).unwrap();
        let wrong = || link.check_end(Some((2, 3)), Some((2, 4))).unwrap_err();
        let is_transient = || link.confirmed(wrong()).is_transient();
        assert_eq!([is_transient(), is_transient()], [true, true]);
        link.reset_fatal_answers();
        assert_eq!([is_transient(), is_transient(), is_transient()], [true, true, false]);
        assert!(
            !link.confirmed(PulsarError::Topic { topic: String::new(), why: "" }).is_transient()
        );
    }

    #[tokio::test]
    async fn error_names_the_address_of_an_unreachable_broker() {
        // Bound but not listening, so that no other process gets the port.
        let taken = tokio::net::TcpSocket::new_v4().unwrap();
        taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("pulsar://{}", taken.local_addr().unwrap());
        let link = PulsarLink::new(&configured(&url), "events", Clock::system());
        let Err(error) = Box::pin(Arc::new(link.unwrap()).look_up()).await else {
            panic!("something listens there")
        };
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains("refused"), "{text}");
    }
}
