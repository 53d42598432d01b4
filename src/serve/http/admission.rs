//! Which connections are admitted: how many in all, and how many from one address.
//!
//! One address is one IPv4 address or one IPv6 /64, which is what one customer is given. Since
//! whole /48 networks are cheap too, one of those has at most [`SITE_TIMES`] as many connections as
//! an address. The last places are kept for addresses that have few connections, so that a handful
//! of addresses cannot shut out all others. Behind a trusted proxy the client counts, see
//! [`Proxies`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{HeaderMap, StatusCode};

use super::problem::Problem;
use super::proxies::Proxies;
use crate::metrics;

/// How many times the connections of one address a whole IPv6 /48 may have.
const SITE_TIMES: usize = 4;
/// The part of all places that is kept for addresses with few connections: one in this many.
const KEPT_SHARE: usize = 10;
/// An address with fewer connections than this may take the places that are kept.
const FEW: usize = 10;
/// Seconds after which a client that was refused may come back.
const AGAIN: std::ops::RangeInclusive<u64> = 20..=60;

/// The counts of one kind of listener.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    per_address: usize,
    /// Places that only addresses with fewer than `few` connections may take.
    kept: usize,
    few: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    connections: usize,
    by_client: HashMap<Client, usize>,
}

/// What counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4(Ipv4Addr),
    /// An IPv6 /64.
    V6([u8; 8]),
    /// An IPv6 /48.
    Site([u8; 6]),
}

/// A counted place; dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    connection: bool,
    counted: Counted,
}

/// What a place is counted for, and how many times the connections of an address that may have.
type Counted = [Option<(Client, usize)>; 2];

/// Why someone does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All places are taken.
    Full,
    /// All places of this address are taken.
    Address,
}

impl Admission {
    pub(crate) fn new(connections: usize, per_address: usize) -> Self {
        let kept = connections / KEPT_SHARE;
        Self { connections, per_address, kept, few: FEW, inside: Mutex::default() }
    }

    /// For connections that were refused elsewhere: half of the places are kept for addresses that
    /// have none.
    pub(crate) fn waiting(connections: usize, per_address: usize) -> Self {
        let kept = connections / 2;
        Self { connections, per_address, kept, few: 1, inside: Mutex::default() }
    }

    /// A connection, from this address unless it is a proxy's.
    pub(crate) fn connection(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, Refusal> {
        self.enter(true, address)
    }

    /// A client behind a proxy, whose connection is counted already.
    pub(crate) fn client(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Refusal> {
        self.enter(false, Some(address))
    }

    fn enter(self: &Arc<Self>, connection: bool, from: Option<IpAddr>) -> Result<Slot, Refusal> {
        let mut inside = self.lock();
        if connection && inside.connections >= self.connections {
            return Err(Refusal::Full);
        }
        let is_scarce = inside.connections >= self.connections - self.kept;
        let counted = from.map(Client::counted).unwrap_or_default();
        for (client, times) in counted.into_iter().flatten() {
            let count = inside.by_client.get(&client).copied().unwrap_or_default();
            if count >= self.per_address.saturating_mul(times) {
                return Err(Refusal::Address);
            }
            if is_scarce && count >= self.few.saturating_mul(times) {
                return Err(Refusal::Full);
            }
        }
        for (client, _) in counted.into_iter().flatten() {
            *inside.by_client.entry(client).or_default() += 1;
        }
        inside.connections += usize::from(connection);
        Ok(Slot { admission: Arc::clone(self), connection, counted })
    }

    /// Connections now.
    pub(crate) fn count(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        crate::sync::lock(&self.inside)
    }
}

impl Client {
    fn counted(address: IpAddr) -> Counted {
        match address.to_canonical() {
            IpAddr::V4(address) => [Some((Self::V4(address), 1)), None],
            IpAddr::V6(address) => {
                let octets = address.octets();
                let network = *octets.first_chunk().expect("16 octets hold 8");
                let site = *octets.first_chunk().expect("16 octets hold 6");
                [Some((Self::V6(network), 1)), Some((Self::Site(site), SITE_TIMES))]
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inside = self.admission.lock();
        inside.connections -= usize::from(self.connection);
        for (client, _) in self.counted.into_iter().flatten() {
            let Some(count) = inside.by_client.get_mut(&client) else { continue };
            *count -= 1;
            if *count == 0 {
                inside.by_client.remove(&client);
            }
        }
    }
}

impl Refusal {
    /// What is answered; counted.
    pub(crate) fn problem(self) -> Problem {
        let (status, label, detail) = match self {
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connections",
                "all connections are taken, or all but those kept for addresses that have few \
                 (server.limits.connections): try again in a while",
            ),
            Self::Address => (
                StatusCode::TOO_MANY_REQUESTS,
                "per_address",
                "too many connections from your address (server.limits.perAddress; an IPv6 /48 \
                 has four times as many): close some",
            ),
        };
        metrics::REFUSED.add_for(label, 1);
        Problem::new(status, detail).retry_within(AGAIN)
    }
}

/// The client behind `peer`: `peer` itself, unless it is trusted to tell of another.
#[must_use]
pub(crate) fn client_behind(peer: IpAddr, headers: &HeaderMap, trusted: &Proxies) -> IpAddr {
    trusted.client_behind(peer, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let door = Arc::new(Admission::new(3, 2));
        let one = door.connection(Some(ip("192.0.2.1"))).unwrap();
        let _two = door.connection(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert_eq!(door.connection(Some(ip("192.0.2.1"))).unwrap_err(), Refusal::Address);
        let _other = door.connection(Some(ip("192.0.2.2"))).unwrap();
        assert_eq!(door.connection(None).unwrap_err(), Refusal::Full);
        drop(one);
        let _again = door.connection(Some(ip("192.0.2.1"))).unwrap();
        assert_eq!(door.lock().by_client.len(), 2);
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let door = Arc::new(Admission::new(9, 1));
        let _one = door.connection(Some(ip("2001:db8:1:2::1"))).unwrap();
        assert!(door.connection(Some(ip("2001:db8:1:2:ffff::9"))).is_err());
        assert!(door.connection(Some(ip("2001:db8:1:3::1"))).is_ok());
    }

    #[test]
    fn clients_behind_a_proxy_are_counted_by_their_own_address() {
        let door = Arc::new(Admission::new(9, 1));
        let _proxy = [(); 3].map(|()| door.connection(None).unwrap());
        let _one = door.client(ip("192.0.2.1")).unwrap();
        assert_eq!(door.client(ip("192.0.2.1")).unwrap_err(), Refusal::Address);
        assert!(door.client(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn one_site_of_ipv6_has_four_times_an_address() {
        let door = Arc::new(Admission::new(1_000, 2));
        let enter = |at: usize| door.connection(Some(ip(&format!("2001:db8:1:{at:x}::1"))));
        let mut inside: Vec<_> = (0..8).map(|at| enter(at).unwrap()).collect();
        assert_eq!(enter(8).unwrap_err(), Refusal::Address);
        assert!(door.connection(Some(ip("2001:db8:2::1"))).is_ok(), "another /48");
        inside.pop();
        assert!(enter(8).is_ok());
        drop(inside);
        assert!(door.lock().by_client.is_empty());
    }

    #[test]
    fn the_last_places_are_for_addresses_that_have_few() {
        let door = Arc::new(Admission::new(100, 50));
        let mut inside = Vec::new();
        for host in ["192.0.2.1", "192.0.2.2"] {
            let all = std::iter::from_fn(|| door.connection(Some(ip(host))).ok());
            inside.extend(all);
        }
        assert_eq!(inside.len(), 90);
        assert_eq!(door.connection(Some(ip("192.0.2.2"))).unwrap_err(), Refusal::Full);
        // Not all of them, so that some are left for the client behind the proxy.
        let mut taken = 0;
        while let Ok(slot) = door.connection(Some(ip("198.51.100.7"))) {
            taken += 1;
            if taken == 5 {
                break;
            }
            inside.push(slot);
        }
        assert_eq!(taken, 5, "an address that has few is let in");
        // A client behind a proxy, whose own connection is counted, is judged in the same way.
        let proxied: Vec<_> = (0..FEW).map(|_| door.client(ip("203.0.113.1")).unwrap()).collect();
        assert_eq!(door.client(ip("203.0.113.1")).unwrap_err(), Refusal::Full);
        drop((inside, proxied));
        assert!(door.lock().by_client.is_empty());
    }
}
