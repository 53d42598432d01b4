//! The contract, line by line: a whole appliance in this process, on free ports, read by clients
//! that know nothing of it. The events are made up here and served by the simulated GitHub; what
//! is expected is written out, byte for byte.
//!
//! `aggregates`: numbers as streams. `clients`: what Node programs read with. `documents`, `http`,
//! `limits`, `program`, `renewed`, `script`, `store`, `tail`: what surrounds the three endpoints.
//! `pasted`: the clients that it serves. `recorded`: hours of real events, where the machine has
//! them. `docs`, `monitoring`, `upgrade`, `watchdog`: what an operator relies on.

mod aggregates;
mod clients;
mod deflate;
mod docs;
mod documents;
mod events;
pub(crate) mod frames;
mod history;
mod http;
mod identity;
mod language;
mod limits;
mod monitoring;
mod odd;
mod params;
mod pasted;
mod program;
mod recorded;
mod renewed;
mod sampling;
mod sandbox;
mod script;
pub(crate) mod site;
mod store;
mod stream;
mod tail;
mod upgrade;
mod watchdog;
