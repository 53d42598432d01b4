#![doc = include_str!("README.md")]

pub mod model;

pub mod clock;
pub mod fault;
pub mod metrics;
pub mod store;
