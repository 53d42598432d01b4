//! WebSockets (RFC 6455): handshake, frames, compression (RFC 7692), and the life of a connection.

pub(crate) mod close;
pub(crate) mod connection;
pub(crate) mod decompressor;
pub(crate) mod deflate;
pub(crate) mod frames;
pub(crate) mod handshake;
