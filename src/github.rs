//! The GitHub client: what may be requested, with which token, and when.
//!
//! All rules about GitHub's limits are here. [`limits`] reads the limits from a response,
//! [`budget`] tracks the budget of one token, [`tokens`] is the pool of all tokens, [`rest`]
//! fetches one page, [`app`] the tokens of a GitHub App's installations, and [`graphql`] queries
//! many pull requests at once. Nothing here waits for a budget: the caller receives the time at
//! which it may send.

pub mod app;
pub mod budget;
pub mod graphql;
pub mod limits;
pub mod node_id;
pub mod rest;
mod shown;
pub mod tokens;
