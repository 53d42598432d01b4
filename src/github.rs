//! The client of GitHub: what may be asked, with whose token, and when.
//!
//! Every rule of GitHub's limits is here and nowhere else. [`limits`] reads what an answer says
//! about them, [`budget`] is the arithmetic of one token, [`tokens`] the pool of all of them,
//! [`rest`] asks for one page and [`graphql`] for many pull requests. Nothing here waits: whoever
//! asks is told when it may.

pub mod budget;
pub mod graphql;
pub mod limits;
pub mod node_id;
pub mod rest;
mod shown;
pub mod tokens;
