#![doc = include_str!("README.md")]

pub mod model;

pub mod aggregates;
pub mod alerts;
#[cfg(feature = "amqp")]
pub mod amqp;
pub mod apply;
pub mod archive;
pub mod backoff;
pub mod bus;
pub mod clock;
pub mod collect;
pub mod config;
pub mod fault;
pub mod github;
pub mod gunzip;
pub mod http;
pub mod hub;
pub mod lists;
pub mod logging;
pub mod manual;
pub mod metrics;
pub mod private;
pub mod reload;
pub mod script;
pub mod secrets;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod supervise;
pub mod sync;
pub mod terminal;
pub mod tidb;
pub mod tls;

// libFuzzer has the functions that the counters of edges call, in every program with this library.
#[cfg(feature = "guided")]
extern crate ghpulse_fuzz as _;

pub mod appliance;
pub mod cli;
