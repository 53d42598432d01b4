//! Errors of a broker, in words that an operator can act on.

/// An error of a broker or of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmqpError {
    /// The URL cannot be parsed.
    #[error(
        "invalid amqp.url: must be amqp://USER:PASSWORD@HOST:5672/, or \
         amqps://USER:PASSWORD@HOST:5671/ with TLS"
    )]
    Url,
    /// No exchange can have this name.
    #[error("exchange name `{exchange}` is longer than 255 bytes: shorten amqp.exchange")]
    ExchangeName {
        /// The first bytes of the name.
        exchange: String,
    },
    /// The file of the certificate authority is unusable.
    #[error("cannot use `amqp.ca` {path}: {cause}")]
    CaFile {
        /// Path of the file.
        path: String,
        /// The cause; never the file's contents.
        cause: String,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake with {at} failed ({cause}): {cure}")]
    Tls {
        /// Host and port.
        at: String,
        /// The TLS library's message.
        cause: String,
        /// What to do.
        cure: &'static str,
    },
    /// The server hangs up on a plain-text handshake, or does not speak AMQP.
    #[error(
        "{at} did not answer as an AMQP broker ({cause}): if it is a TLS port, write amqps:// in \
         amqp.url"
    )]
    Foreign {
        /// Host and port.
        at: String,
        /// What was observed.
        cause: String,
    },
    /// The user name or password is wrong.
    #[error("login refused for user `{user}`: check the user name and password in amqp.url")]
    Login {
        /// The user's name.
        user: String,
    },
    /// The virtual host does not exist, or the user may not use it.
    #[error(
        "virtual host `{vhost}` is refused: create it, or grant the user permissions on it \
             ({reason})"
    )]
    VirtualHost {
        /// Its name.
        vhost: String,
        /// The broker's message.
        reason: String,
    },
    /// The exchange cannot be used.
    #[error("exchange `{exchange}`: {reason}")]
    Exchange {
        /// Its name.
        exchange: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The exchange existed and is now missing.
    #[error("exchange `{exchange}` was removed: declaring it again")]
    Removed {
        /// Its name.
        exchange: String,
    },
    /// The broker refused a message, such as one above its `max_message_size`.
    #[error("RabbitMQ refused a message: {reason}")]
    Refused {
        /// The broker's message.
        reason: String,
    },
    /// The broker is unavailable, or the connection was lost.
    #[error("{doing}: {reason}")]
    Away {
        /// The operation that failed.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl AmqpError {
    /// Whether a retry may succeed without any change; the others need the change that they name.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Foreign { .. } | Self::Removed { .. } | Self::Refused { .. }
        )
    }

    /// Whether it needs another configuration, or another file at the configured path.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Url | Self::ExchangeName { .. } | Self::CaFile { .. })
    }
}
