//! Who may come in: how many connections in all, and how many from one address.
//!
//! One address is one IPv4 address or one IPv6 /64, which is what one customer is given. Behind a
//! trusted proxy the client is the right-most address that the proxies did not add themselves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode, header};

use super::problem::Problem;
use crate::config::Network;
use crate::metrics;

/// The counts of one kind of listener.
#[derive(Debug)]
pub(super) struct Admission {
    connections: usize,
    per_address: usize,
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
    V6([u8; 8]),
}

/// A counted place; dropping it is leaving.
#[derive(Debug)]
pub(super) struct Slot {
    admission: Arc<Admission>,
    connection: bool,
    client: Option<Client>,
}

/// Why someone does not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All places are taken.
    Full,
    /// All places of this address are taken.
    Address,
}

impl Admission {
    pub(super) fn new(connections: usize, per_address: usize) -> Self {
        Self { connections, per_address, inside: Mutex::default() }
    }

    /// A connection, from this address unless it is a proxy's.
    pub(super) fn connection(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, Refusal> {
        self.enter(true, address)
    }

    /// A client behind a proxy, whose connection is counted already.
    pub(super) fn client(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Refusal> {
        self.enter(false, Some(address))
    }

    fn enter(self: &Arc<Self>, connection: bool, from: Option<IpAddr>) -> Result<Slot, Refusal> {
        let mut inside = self.lock();
        if connection && inside.connections >= self.connections {
            return Err(Refusal::Full);
        }
        let client = from.map(Client::of);
        if let Some(client) = client {
            let count = inside.by_client.entry(client).or_default();
            if *count >= self.per_address {
                return Err(Refusal::Address);
            }
            *count += 1;
        }
        inside.connections += usize::from(connection);
        Ok(Slot { admission: Arc::clone(self), connection, client })
    }

    /// Connections now.
    pub(super) fn count(&self) -> usize {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let octets = address.octets();
                Self::V6(*octets.first_chunk().expect("16 octets hold 8"))
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inside = self.admission.lock();
        inside.connections -= usize::from(self.connection);
        let Some(client) = self.client else { return };
        if let Some(count) = inside.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                inside.by_client.remove(&client);
            }
        }
    }
}

impl Refusal {
    /// What is answered; counted.
    pub(super) fn problem(self) -> Problem {
        let (status, label, detail) = match self {
            Self::Full => (
                StatusCode::SERVICE_UNAVAILABLE,
                "connections",
                "all connections are taken (server.limits.connections): try again in a while",
            ),
            Self::Address => (
                StatusCode::TOO_MANY_REQUESTS,
                "per_address",
                "too many connections from your address (server.limits.perAddress): close some",
            ),
        };
        metrics::REFUSED.add_for(label, 1);
        Problem::new(status, detail).with(header::RETRY_AFTER, "30")
    }
}

/// The client behind `peer`: `peer` itself, unless it is trusted to tell of another.
#[must_use]
pub(super) fn client_behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut client = peer;
    let told = headers.get_all("x-forwarded-for").into_iter().collect::<Vec<_>>();
    for value in told.into_iter().rev() {
        let Ok(value) = value.to_str() else { return client };
        for text in value.rsplit(',') {
            // What is no address was not written by a proxy of ours: who told it is the client.
            let Some(address) = read_address(text.trim()) else { return client };
            client = address;
            if !is_trusted(address) {
                return client;
            }
        }
    }
    client
}

fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
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
    fn the_client_is_the_right_most_address_that_is_not_trusted() {
        let trusted = [Network::parse("10.0.0.0/8").unwrap()];
        let told = |peer: &str, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", http::HeaderValue::from_static(value));
            }
            client_behind(ip(peer), &headers, &trusted).to_string()
        };
        assert_eq!(told("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1", "198.51.100.1:77"]), "198.51.100.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(told("10.0.0.1", &["[2001:db8::1]:99"]), "2001:db8::1");
    }
}
