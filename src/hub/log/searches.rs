//! How many searches of the journal each client has waiting: beyond a number of them, the next one
//! is refused, so that the line of one client cannot grow without end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::hub::lock::lock;

/// The most searches for where `latest` or `since` begins that one address has waiting.
pub const SEARCHES: usize = 64;

/// Searches by client.
#[derive(Debug, Default)]
pub(super) struct Searches(Mutex<HashMap<u64, usize>>);

/// One search, until it is dropped.
#[derive(Debug)]
pub(super) struct Search {
    all: Arc<Searches>,
    client: u64,
}

/// A client has [`SEARCHES`] searches waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{SEARCHES} searches of the journal for your address are waiting: ask again when one is \
     answered, or resume with `cursor`"
)]
pub struct TooManySearches;

impl Searches {
    pub(super) fn begin(self: &Arc<Self>, client: u64) -> Result<Search, TooManySearches> {
        let mut all = lock(&self.0);
        let waiting = all.entry(client).or_default();
        if *waiting >= SEARCHES {
            return Err(TooManySearches);
        }
        *waiting += 1;
        Ok(Search { all: Arc::clone(self), client })
    }
}

impl Drop for Search {
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
    fn each_client_has_its_own_number_of_searches() {
        let all = Arc::new(Searches::default());
        let mut held: Vec<Search> = (0..SEARCHES).map(|_| all.begin(1).unwrap()).collect();
        assert_eq!(all.begin(1).err(), Some(TooManySearches));
        assert!(all.begin(2).is_ok());
        held.pop();
        assert!(all.begin(1).is_ok());
        drop(held);
        assert!(lock(&all.0).is_empty());
    }
}
