//! Limits of downloads: how many at once, in all and from one address, how many are begun in a
//! minute, and how many bytes are sent in a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{ServerConfig, ServerLimits};
use crate::metrics;
use crate::serve::http::admission::{
    Admission, ClientKey, ConnectionGauge, ConnectionSlot, Rejection,
};
use crate::serve::http::peer::{Audience, Peer};
use crate::serve::http::problem::Problem;
use crate::serve::http::proxies::client_behind;
use crate::sync::lock;

/// The time over which begun downloads are counted.
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are counted in it; more of them share one count.
const ADDRESSES: usize = 16_384;
/// `Retry-After` when all slots are in use, seconds.
const AGAIN: std::ops::RangeInclusive<u64> = 10..=60;

/// The downloads of the public listeners.
#[derive(Debug)]
pub(crate) struct Downloads {
    slots: Arc<Admission>,
    per_minute: u32,
    begun: Mutex<Begun>,
    pace: Arc<DownloadPace>,
}

/// Downloads begun since a moment, by address.
#[derive(Debug, Default)]
struct Begun {
    since: Option<Instant>,
    by_client: HashMap<Option<ClientKey>, u32>,
}

/// When the next byte may be sent.
#[derive(Debug)]
struct DownloadPace {
    clock: Clock,
    /// In a second, over all downloads.
    bytes: u64,
    next: Mutex<Option<Instant>>,
}

/// The slot of a download; dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct DownloadSlot {
    pace: Arc<DownloadPace>,
    _counted: Option<(ConnectionSlot, ConnectionGauge)>,
}

impl Begun {
    /// Counts a download, unless its address or its IPv6 /48 has begun too many.
    fn count(&mut self, client: IpAddr, most: u32) -> bool {
        let keys = ClientKey::counted(client);
        let keys = keys.map(|counted| {
            let (key, times) = counted?;
            let is_full = self.by_client.len() >= ADDRESSES;
            let key = Some(key).filter(|key| !is_full || self.by_client.contains_key(&Some(*key)));
            Some((key, most.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))))
        });
        let is_below = |(key, most): (Option<ClientKey>, u32)| {
            self.by_client.get(&key).is_none_or(|count| *count < most)
        };
        let may = keys.into_iter().flatten().all(is_below);
        if may {
            for (key, _) in keys.into_iter().flatten() {
                *self.by_client.entry(key).or_default() += 1;
            }
        }
        may
    }
}

impl Downloads {
    pub(crate) fn new(limits: &ServerLimits, clock: Clock) -> Self {
        Self {
            slots: Arc::new(Admission::new(limits.downloads, limits.downloads_per_address)),
            per_minute: limits.downloads_per_minute,
            begun: Mutex::default(),
            pace: Arc::new(DownloadPace {
                clock,
                bytes: limits.download_bytes,
                next: Mutex::default(),
            }),
        }
    }

    /// Admits a request for a file or the list. On the ops listener no limit applies but the pace.
    pub(super) fn admit(
        &self,
        config: &ServerConfig,
        asked: &Parts,
    ) -> Result<DownloadSlot, Problem> {
        let pace = Arc::clone(&self.pace);
        let peer = asked.extensions.get::<Peer>();
        let Some(peer) = peer.filter(|peer| peer.audience == Audience::Public) else {
            return Ok(DownloadSlot { pace, _counted: None });
        };
        let client = client_behind(config, peer.address, &asked.headers);
        self.count(client)?;
        let counted = self.slots.connection(Some(client)).map_err(refusal)?;
        Ok(DownloadSlot { pace, _counted: Some((counted, ConnectionGauge::new("/archive"))) })
    }

    /// Counts a download that is begun, unless the address has begun too many in this minute.
    fn count(&self, client: IpAddr) -> Result<(), Problem> {
        let now = self.pace.clock.instant();
        let mut begun = lock(&self.begun);
        let since = begun.since.filter(|since| now.duration_since(*since) < MINUTE);
        let since = since.unwrap_or_else(|| {
            begun.by_client.clear();
            *begun.since.insert(now)
        });
        if begun.count(client, self.per_minute) {
            return Ok(());
        }
        metrics::REFUSED.add_for("downloads_per_minute", 1);
        let detail = "too many downloads from your address in a minute \
                      (server.limits.downloadsPerMinute): try again later";
        let left = MINUTE.saturating_sub(now.duration_since(since)).as_secs() + 1;
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_within(left..=left + 5))
    }
}

fn refusal(rejection: Rejection) -> Problem {
    let full = "all downloads are taken (server.limits.downloads): try again in a while";
    let address = "too many downloads at once from your address \
                   (server.limits.downloadsPerAddress): wait for one to end";
    let texts = [("downloads", full), ("downloads_per_address", address)];
    rejection.counted(texts).retry_within(AGAIN)
}

impl DownloadSlot {
    /// Waits until this many bytes may be sent. Downloads take turns, a chunk each.
    pub(super) async fn pace(&self, bytes: usize) {
        let DownloadPace { clock, bytes: in_a_second, next } = &*self.pace;
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / (*in_a_second).max(1);
        let (now, took) = (clock.instant(), Duration::from_nanos(nanos));
        let turn = {
            let mut next = lock(next);
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + took);
            turn
        };
        if turn > now {
            clock.sleep(turn - now).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_48_begins_four_times_as_many_as_an_address() {
        let mut begun = Begun::default();
        let mut count = |text: &str| begun.count(text.parse().unwrap(), 2);
        assert!(count("192.0.2.1") && count("::ffff:192.0.2.1") && !count("192.0.2.1"));
        assert!(count("2001:db8:1:1::1") && count("2001:db8:1:1::2") && !count("2001:db8:1:1::3"));
        let site: Vec<bool> = (2..20).map(|n| count(&format!("2001:db8:1:{n:x}::1"))).collect();
        assert_eq!(site.iter().filter(|began| **began).count(), 6);
        assert!(count("2001:db8:2::1"), "another /48");
    }

    #[test]
    fn networks_of_one_site_do_not_fill_the_table() {
        let mut begun = Begun::default();
        for network in 0..=u16::MAX {
            let octets = (0x2001_0db8_0001_u128 << 80) | (u128::from(network) << 64);
            begun.count(std::net::Ipv6Addr::from_bits(octets).into(), 100);
        }
        assert!(begun.by_client.len() < 500, "{}", begun.by_client.len());
        assert!(begun.count("192.0.2.1".parse().unwrap(), 100));
    }
}
