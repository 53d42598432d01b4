//! What to feed, and where.

use std::path::PathBuf;

use crate::config::Secret;

/// Options of the exchange to feed.
#[derive(Debug, Clone)]
pub struct AmqpOptions {
    /// Broker with user, password and virtual host.
    pub url: Secret,
    /// The topic exchange that readers bind to.
    pub exchange: String,
    /// The topic exchange to publish to, when it is another one: the readers' exchange is bound to
    /// it, and users who may not configure this one cannot remove it.
    pub source: Option<String>,
    /// Certificate authority of the broker (PEM), beside the public ones.
    pub ca: Option<PathBuf>,
    /// The name of this node, shown by the broker.
    pub node: String,
}
