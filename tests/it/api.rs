//! The contract, line by line: a complete appliance in this process, on free ports, with
//! independent clients. The tests make up the events, which the simulated GitHub serves; expected
//! messages are written out byte for byte.
//!
//! `aggregates`: numbers as streams. `clients`: WebSocket libraries of Node. `documents`, `http`,
//! `limits`, `program`, `renewed`, `script`, `store`, `tail`: everything around the three
//! endpoints. `proxies`: readers behind nginx, `HAProxy` and Caddy. `pasted`, `typed`: the clients
//! that the server offers. `recorded`: hours of real events, on machines that have them. `docs`,
//! `monitoring`, `privacy`, `upgrade`, `watchdog`: what an operator relies on.

mod aggregates;
mod asked;
mod clients;
mod deflate;
mod docs;
mod documents;
mod events;
mod examples;
pub(crate) mod frames;
mod history;
mod http;
mod identity;
mod language;
mod ledger;
mod limits;
mod lists;
mod monitoring;
mod odd;
mod params;
mod pasted;
mod privacy;
pub(crate) mod program;
mod proxies;
mod recorded;
mod renewed;
mod sampling;
mod sandbox;
mod script;
pub(crate) mod site;
mod store;
mod stream;
mod tail;
mod typed;
mod upgrade;
mod watchdog;
