//! HTTP: listeners, TLS, connection limits, routes, and what applies to every response.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod encoding;
pub(crate) mod etag;
pub(crate) mod front;
pub(crate) mod head;
pub(crate) mod http2;
pub(crate) mod identity;
pub(crate) mod listen;
pub(crate) mod negotiation;
pub(crate) mod peer;
pub(crate) mod problem;
mod progress;
pub(crate) mod proxies;
pub(crate) mod reached;
pub(crate) mod routes;
pub(crate) mod simulated;
pub(crate) mod tls;
pub(crate) mod unsent;
pub(crate) mod url_query;
mod whole;
pub(crate) mod write_timeout;
