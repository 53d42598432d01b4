//! Explains errors, which have the client library's types: the cause, and what an operator can do.

use pulsar::Error;
use pulsar::error::{AuthenticationError, ConnectionError, ServiceDiscoveryError};
use pulsar::message::proto::ServerError;

use super::error::PulsarError;
use crate::bus::TERMINATED;

/// The longest part of a broker's message that is quoted, in bytes.
const QUOTED_BYTES: usize = 300;

/// A library error with the operation that failed.
pub(super) fn away(doing: impl Into<String>, error: &Error) -> PulsarError {
    let (doing, why) = (doing.into(), explain(error));
    match broker_error(error) {
        Some((Some(ServerError::TopicTerminatedError), _)) => {
            PulsarError::Terminated { doing, why }
        }
        _ => PulsarError::Away { doing, why },
    }
}

/// The error of an operation that took longer than `seconds`.
pub(super) fn too_slow(doing: impl Into<String>, seconds: u64) -> PulsarError {
    let why = format!("no answer within {seconds} s; is the broker overloaded or paused?");
    PulsarError::Away { doing: doing.into(), why }
}

/// Whether the broker reports another producer on the topic.
pub(super) fn is_taken(error: &Error) -> bool {
    use ServerError::{ProducerBusy, ProducerFenced};
    matches!(broker_error(error), Some((Some(ProducerFenced | ProducerBusy), _)))
}

/// The cause when a new connection reached the broker, but TLS or the login failed: brokers close a
/// connection without TLS or a login, or send something else. `None` for other errors.
pub(super) fn rejected_handshake(error: &ConnectionError) -> Option<String> {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let unreached = [ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut];
    Some(match error {
        ConnectionError::PulsarError(Some(ServerError::AuthenticationError), text) => {
            format!("the broker says: {}", first_line(text.as_deref().unwrap_or_default()))
        }
        ConnectionError::Io(error) if !unreached.contains(&error.kind()) => error.to_string(),
        ConnectionError::Disconnected => "the connection was closed".to_owned(),
        ConnectionError::Decoding(words) | ConnectionError::Unexpected(words) => first_line(words),
        _ => return None,
    })
}

/// The cause, and what to do.
pub(super) fn explain(error: &Error) -> String {
    if let Some((kind, text)) = broker_error(error) {
        let text = first_line(text.unwrap_or("no reason given"));
        return match advice(kind) {
            Some(advice) => format!("{advice} (the broker says: {text})"),
            None => format!("the broker says: {text}"),
        };
    }
    let Error::Connection(error) = error else { return first_line(&error.to_string()) };
    match error {
        ConnectionError::Authentication(error) => explain_login(error),
        ConnectionError::Io(error) => explain_io(error),
        ConnectionError::NotFound => "its name does not resolve to an address".to_owned(),
        ConnectionError::Disconnected => "the connection was closed".to_owned(),
        other => first_line(&other.to_string()),
    }
}

fn explain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    if text.contains("certificate") {
        return format!(
            "TLS fails: {text}; for a certificate authority of your own, name its file in \
             pulsar.ca, and check that the host's name is the certificate's"
        );
    }
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "connection refused; is the broker running, and is the port right?".to_owned()
        }
        std::io::ErrorKind::TimedOut => "no answer in time; is the broker reachable?".to_owned(),
        _ => text,
    }
}

fn explain_login(error: &AuthenticationError) -> String {
    match error {
        AuthenticationError::Custom(text) | AuthenticationError::Retriable(text) => text.clone(),
    }
}

fn advice(kind: Option<ServerError>) -> Option<&'static str> {
    Some(match kind? {
        ServerError::AuthenticationError => {
            "the broker refused the login; check pulsar.audience and the key file"
        }
        ServerError::AuthorizationError => {
            "the login has no permission for this topic; grant its role produce and consume"
        }
        ServerError::TopicNotFound => {
            "the topic does not exist; create it, or let the broker create topics"
        }
        ServerError::TopicTerminatedError => TERMINATED,
        ServerError::ConsumerBusy => {
            "another process uses this subscription; is a copy of this data directory in use?"
        }
        ServerError::ProducerBusy | ServerError::ProducerFenced => "another producer has the topic",
        ServerError::ProducerBlockedQuotaExceededError
        | ServerError::ProducerBlockedQuotaExceededException => {
            "the namespace's backlog quota is used up; raise it, or remove unused subscriptions"
        }
        ServerError::ServiceNotReady => "the broker is not ready yet",
        ServerError::MetadataError | ServerError::PersistenceError => "the broker's storage fails",
        ServerError::TooManyRequests => "the broker has too many requests",
        ServerError::InvalidTopicName => "the broker rejects the topic's name",
        ServerError::IncompatibleSchema => {
            "the topic has a schema, but ghpulse sends plain bytes; use a topic without a schema"
        }
        ServerError::NotAllowedError => "the broker's policies forbid it",
        _ => return None,
    })
}

/// The broker's own error, of a look-up or of another request.
fn broker_error(error: &Error) -> Option<(Option<ServerError>, Option<&str>)> {
    match error {
        Error::ServiceDiscovery(ServiceDiscoveryError::Query(kind, text))
        | Error::Connection(ConnectionError::PulsarError(kind, text)) => {
            Some((*kind, text.as_deref()))
        }
        _ => None,
    }
}

/// The text with a mark for the token. Runs before the text is cut: a part of the token would not
/// be found.
pub(super) fn without_token(text: &str, token: &str) -> String {
    if token.is_empty() { text.to_owned() } else { text.replace(token, "‹token›") }
}

/// The first line, of bounded length.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let mut end = line.len().min(QUOTED_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_broker(kind: ServerError) -> ConnectionError {
        ConnectionError::PulsarError(Some(kind), Some("first line\nat java.lang".to_owned()))
    }

    #[test]
    fn error_of_the_broker_is_found_in_both_types() {
        let kind = ServerError::AuthorizationError;
        for error in [
            Error::Connection(from_broker(kind)),
            Error::ServiceDiscovery(ServiceDiscoveryError::Query(
                Some(kind),
                Some("first line\nrest".to_owned()),
            )),
        ] {
            let text = away("subscribing", &error).to_string();
            assert_eq!(
                text,
                "subscribing: the login has no permission for this topic; grant its role produce \
                 and consume (the broker says: first line)"
            );
            assert!(!is_taken(&error));
        }
    }

    #[test]
    fn taken_topic_is_recognized() {
        for kind in [ServerError::ProducerFenced, ServerError::ProducerBusy] {
            assert!(is_taken(&Error::Connection(from_broker(kind))));
        }
    }

    #[test]
    fn refused_connection_asks_whether_the_broker_runs() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let text = explain(&Error::Connection(ConnectionError::Io(refused)));
        assert!(text.contains("is the broker running"), "{text}");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(first_line(&"ä".repeat(400)).len(), QUOTED_BYTES);
        assert_eq!(first_line(""), "");
    }
}
