//! A limit of waiting journal searches per client, so that the queue of one client is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// The most waiting searches of one client address for where `latest` or `since` begins.
pub const SEARCHES: usize = 64;

/// Number of waiting searches by client.
#[derive(Debug, Default)]
pub(super) struct SearchLimit(Mutex<HashMap<u64, usize>>);

/// Permission for one search; it counts until it is dropped.
#[derive(Debug)]
pub(super) struct SearchPermit {
    all: Arc<SearchLimit>,
    client: u64,
}

/// Why a query cannot be accepted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyWaiting {
    /// The client has [`SEARCHES`] waiting searches already.
    #[error(
        "{SEARCHES} searches of the journal for your address are waiting: ask again when one is \
         answered, or resume with `cursor`"
    )]
    Searches,
    /// The answers to earlier queries of the connection wait for the start of one, and are as many
    /// bytes as may wait.
    #[error(
        "too many queries wait for the start of an earlier one: ask again after the `ack` of the \
         last one"
    )]
    Answers,
}

impl SearchLimit {
    pub(super) fn begin(self: &Arc<Self>, client: u64) -> Result<SearchPermit, TooManyWaiting> {
        let mut all = lock(&self.0);
        let waiting = all.entry(client).or_default();
        if *waiting >= SEARCHES {
            return Err(TooManyWaiting::Searches);
        }
        *waiting += 1;
        Ok(SearchPermit { all: Arc::clone(self), client })
    }
}

impl Drop for SearchPermit {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some(waiting) = all.get_mut(&self.client) {
            *waiting -= 1;
            if *waiting == 0 {
                all.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_limit_of_searches() {
        let all = Arc::new(SearchLimit::default());
        let mut held: Vec<SearchPermit> = (0..SEARCHES).map(|_| all.begin(1).unwrap()).collect();
        assert_eq!(all.begin(1).err(), Some(TooManyWaiting::Searches));
        assert!(all.begin(2).is_ok());
        held.pop();
        assert!(all.begin(1).is_ok());
        drop(held);
        assert!(lock(&all.0).is_empty());
    }
}
