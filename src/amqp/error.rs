//! What goes wrong with a broker, in words that a person can act on.

/// What goes wrong with a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmqpError {
    /// The URL cannot be read.
    #[error(
        "amqp.url is no address of a broker: write amqp://USER:PASSWORD@HOST:5672/, or \
         amqps://USER:PASSWORD@HOST:5671/ with TLS"
    )]
    Url,
    /// No exchange can have this name.
    #[error("exchange `{exchange}`: its name has more than 255 bytes; set amqp.exchange shorter")]
    ExchangeName {
        /// Its beginning.
        exchange: String,
    },
    /// Our own authority's file is of no use.
    #[error("cannot use `amqp.ca` {path}: {cause}")]
    CaFile {
        /// The file.
        path: String,
        /// Why not; never what is in it.
        cause: String,
    },
    /// TLS does not come about.
    #[error("TLS with {at} fails ({cause}): {cure}")]
    Tls {
        /// Host and port.
        at: String,
        /// What TLS says.
        cause: String,
        /// What to do.
        cure: &'static str,
    },
    /// It hangs up on, or answers in another language, what is sent in the clear.
    #[error(
        "{at} does not answer as a broker ({cause}): is it a port of TLS? Then write amqps:// in \
         amqp.url"
    )]
    Foreign {
        /// Host and port.
        at: String,
        /// What was seen.
        cause: String,
    },
    /// User or password are wrong.
    #[error("login refused for user `{user}`: check name and password in amqp.url")]
    Login {
        /// The user's name.
        user: String,
    },
    /// The virtual host is not there, or not for this user.
    #[error("virtual host `{vhost}` is refused: make it, or give the user rights on it ({reason})")]
    VirtualHost {
        /// Its name.
        vhost: String,
        /// The broker's words.
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
    /// The exchange was there and is missing.
    #[error("exchange `{exchange}` was removed: declaring it again")]
    Removed {
        /// Its name.
        exchange: String,
    },
    /// The broker refuses one message, such as one above its `max_message_size`.
    #[error("RabbitMQ refuses a message: {reason}")]
    Refused {
        /// The broker's words.
        reason: String,
    },
    /// The broker is away, or went away.
    #[error("{doing}: {reason}")]
    Away {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        reason: String,
    },
}

impl AmqpError {
    /// Whether it may pass by itself; the others pass when somebody does what they say.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Foreign { .. } | Self::Removed { .. } | Self::Refused { .. }
        )
    }

    /// Whether only another configuration helps, or another file in the place it names.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Url | Self::ExchangeName { .. } | Self::CaFile { .. })
    }
}
