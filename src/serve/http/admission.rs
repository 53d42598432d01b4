//! Limits the connections in all and per address.
//!
//! An address is an IPv4 address or an IPv6 /64, the network of one customer. An IPv6 /48 may have
//! [`SITE_TIMES`] times as many connections as an address, since such networks are cheap as well.
//! The last slots are reserved for addresses with few connections, so that a few addresses cannot
//! shut out all others. Behind a trusted proxy the client counts, see [`super::proxies`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use http::StatusCode;

use super::problem::Problem;
use crate::metrics;

/// An IPv6 /48 may have this many times the connections of an address.
const SITE_TIMES: usize = 4;
/// One in this many slots is reserved for addresses with few connections.
const KEPT_SHARE: usize = 10;
/// An address with fewer connections than this may use the reserved slots.
const FEW: usize = 10;
/// `Retry-After` of a rejection, seconds.
const AGAIN: std::ops::RangeInclusive<u64> = 20..=60;

/// The connections of one kind of listener.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    per_address: usize,
    /// Slots that only addresses with fewer than `few` connections may use.
    kept: usize,
    few: usize,
    counts: Mutex<AdmissionCounts>,
}

#[derive(Debug, Default)]
struct AdmissionCounts {
    connections: usize,
    by_client: HashMap<ClientKey, usize>,
}

/// The key by which connections are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ClientKey {
    V4(Ipv4Addr),
    /// An IPv6 /64.
    V6([u8; 8]),
    /// An IPv6 /48.
    Site([u8; 6]),
}

/// A counted connection or client; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    admission: Arc<Admission>,
    connection: bool,
    counted: CountedKeys,
}

/// The keys that a slot counts for, each with its multiple of the limit per address.
pub(crate) type CountedKeys = [Option<(ClientKey, usize)>; 2];

/// Why a connection is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// All slots are in use.
    Full,
    /// All slots of this address are in use.
    Address,
}

impl Admission {
    pub(crate) fn new(connections: usize, per_address: usize) -> Self {
        let kept = connections / KEPT_SHARE;
        Self { connections, per_address, kept, few: FEW, counts: Mutex::default() }
    }

    /// For connections that were rejected elsewhere: half of the slots are reserved for addresses
    /// that have none.
    pub(crate) fn waiting(connections: usize, per_address: usize) -> Self {
        let kept = connections / 2;
        Self { connections, per_address, kept, few: 1, counts: Mutex::default() }
    }

    /// Admits a connection; `address` is `None` for that of a trusted proxy.
    pub(crate) fn connection(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<ConnectionSlot, Rejection> {
        self.enter(true, address)
    }

    /// Admits a client behind a proxy, whose own connection is counted already.
    pub(crate) fn client(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Rejection> {
        self.enter(false, Some(address))
    }

    fn enter(
        self: &Arc<Self>,
        connection: bool,
        from: Option<IpAddr>,
    ) -> Result<ConnectionSlot, Rejection> {
        let mut counts = self.lock();
        if connection && counts.connections >= self.connections {
            return Err(Rejection::Full);
        }
        let is_scarce = counts.connections >= self.connections - self.kept;
        let counted = from.map(ClientKey::counted).unwrap_or_default();
        for (client, times) in counted.into_iter().flatten() {
            let count = counts.by_client.get(&client).copied().unwrap_or_default();
            if count >= self.per_address.saturating_mul(times) {
                return Err(Rejection::Address);
            }
            if is_scarce && count >= self.few.saturating_mul(times) {
                return Err(Rejection::Full);
            }
        }
        for (client, _) in counted.into_iter().flatten() {
            *counts.by_client.entry(client).or_default() += 1;
        }
        counts.connections += usize::from(connection);
        Ok(ConnectionSlot { admission: Arc::clone(self), connection, counted })
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionCounts> {
        crate::sync::lock(&self.counts)
    }
}

impl ClientKey {
    /// All keys that an address counts for.
    pub(crate) fn counted(address: IpAddr) -> CountedKeys {
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

/// Counts a connection of an endpoint in the metrics while it lives.
#[derive(Debug)]
pub(crate) struct ConnectionGauge(&'static str);

impl ConnectionGauge {
    pub(crate) fn new(endpoint: &'static str) -> Self {
        metrics::CONNECTIONS.shift_for(endpoint, 1.0);
        Self(endpoint)
    }
}

impl Drop for ConnectionGauge {
    fn drop(&mut self) {
        metrics::CONNECTIONS.shift_for(self.0, -1.0);
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.connections -= usize::from(self.connection);
        for (client, _) in self.counted.into_iter().flatten() {
            let Some(count) = counts.by_client.get_mut(&client) else { continue };
            *count -= 1;
            if *count == 0 {
                counts.by_client.remove(&client);
            }
        }
    }
}

impl Rejection {
    /// The response to a rejected connection. Counts the rejection.
    pub(crate) fn problem(self) -> Problem {
        let full = "all connections are taken, or all but those kept for addresses that have few \
                    (server.limits.connections): try again in a while";
        let address = "too many connections from your address (server.limits.perAddress; an IPv6 \
                       /48 has four times as many): close some";
        self.counted([("connections", full), ("per_address", address)]).retry_within(AGAIN)
    }

    /// The response with one of two labels and texts: for all slots, and for those of an address.
    /// Counts the rejection under its label.
    pub(crate) fn counted(self, [full, address]: [(&'static str, &str); 2]) -> Problem {
        let (status, (label, detail)) = match self {
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, full),
            Self::Address => (StatusCode::TOO_MANY_REQUESTS, address),
        };
        metrics::REFUSED.add_for(label, 1);
        Problem::new(status, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn slots_are_counted_and_freed() {
        let door = Arc::new(Admission::new(3, 2));
        let one = door.connection(Some(ip("192.0.2.1"))).unwrap();
        let _two = door.connection(Some(ip("::ffff:192.0.2.1"))).unwrap();
        assert_eq!(door.connection(Some(ip("192.0.2.1"))).unwrap_err(), Rejection::Address);
        let _other = door.connection(Some(ip("192.0.2.2"))).unwrap();
        assert_eq!(door.connection(None).unwrap_err(), Rejection::Full);
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
    fn clients_behind_a_proxy_are_counted_by_own_address() {
        let door = Arc::new(Admission::new(9, 1));
        let _proxy = [(); 3].map(|()| door.connection(None).unwrap());
        let _one = door.client(ip("192.0.2.1")).unwrap();
        assert_eq!(door.client(ip("192.0.2.1")).unwrap_err(), Rejection::Address);
        assert!(door.client(ip("192.0.2.2")).is_ok());
    }

    #[test]
    fn ipv6_48_has_four_times_the_limit_of_an_address() {
        let door = Arc::new(Admission::new(1_000, 2));
        let enter = |at: usize| door.connection(Some(ip(&format!("2001:db8:1:{at:x}::1"))));
        let mut counts: Vec<_> = (0..8).map(|at| enter(at).unwrap()).collect();
        assert_eq!(enter(8).unwrap_err(), Rejection::Address);
        assert!(door.connection(Some(ip("2001:db8:2::1"))).is_ok(), "another /48");
        counts.pop();
        assert!(enter(8).is_ok());
        drop(counts);
        assert!(door.lock().by_client.is_empty());
    }

    #[test]
    fn last_slots_are_reserved_for_addresses_with_few() {
        let door = Arc::new(Admission::new(100, 50));
        let mut counts = Vec::new();
        for host in ["192.0.2.1", "192.0.2.2"] {
            let all = std::iter::from_fn(|| door.connection(Some(ip(host))).ok());
            counts.extend(all);
        }
        assert_eq!(counts.len(), 90);
        assert_eq!(door.connection(Some(ip("192.0.2.2"))).unwrap_err(), Rejection::Full);
        // Not all of them, so that some are left for the client behind the proxy.
        let mut taken = 0;
        while let Ok(slot) = door.connection(Some(ip("198.51.100.7"))) {
            taken += 1;
            if taken == 5 {
                break;
            }
            counts.push(slot);
        }
        assert_eq!(taken, 5, "an address that has few is let in");
        // A client behind a proxy, whose own connection is counted, is judged in the same way.
        let proxied: Vec<_> = (0..FEW).map(|_| door.client(ip("203.0.113.1")).unwrap()).collect();
        assert_eq!(door.client(ip("203.0.113.1")).unwrap_err(), Rejection::Full);
        drop((counts, proxied));
        assert!(door.lock().by_client.is_empty());
    }
}
