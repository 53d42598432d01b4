//! A source that is polled only while this collector may produce.

use tokio::sync::watch;

use crate::bus::ProducerGrant;
use crate::collect::source::{EventSource, Poll};
use crate::metrics;
use crate::model::window::Timestamp;
use crate::store::{Store, outages};

/// A source bound to the grant of the topic. A collector on standby sends no requests to GitHub
/// and admits nothing; a round in progress when the topic is refused is suspended.
pub struct WhenGranted<S> {
    source: S,
    grant: watch::Receiver<ProducerGrant>,
    store: Store,
    /// Whether the source waits for the grant.
    waits: bool,
    /// When GitHub was last polled by any node, as known when the wait ended.
    polled_before: Option<Timestamp>,
}

impl<S: EventSource> WhenGranted<S> {
    /// Binds the source to the state of [`super::Relay::grant`]. The source is not polled before
    /// the broker has answered. If the broker does not answer, or the topic was terminated, the
    /// source is polled and its events wait in the outbox.
    #[must_use]
    pub fn new(source: S, grant: watch::Receiver<ProducerGrant>, store: Store) -> Self {
        Self { source, grant, store, waits: false, polled_before: None }
    }

    async fn wait(&mut self) {
        if !self.grant.borrow_and_update().may_admit() {
            self.waits = true;
            metrics::FEED_OVERLAP.set(f64::NAN);
            metrics::FEED_LAG_SECONDS.set(f64::NAN);
        }
        granted(&mut self.grant).await;
        if std::mem::take(&mut self.waits) {
            // Read before this node admits anything: events that the feeds of lists show say
            // nothing of the public feed. An error of the store ends the stage when it admits.
            self.polled_before = outages::polled(self.store.reader()).ok().flatten();
        }
    }
}

/// Waits until events may be admitted.
pub(in crate::collect) async fn granted(grant: &mut watch::Receiver<ProducerGrant>) {
    if grant.wait_for(|grant| grant.may_admit()).await.is_err() {
        // The relay has ended, and the appliance is stopping with it.
        std::future::pending::<()>().await;
    }
}

impl<S: EventSource> EventSource for WhenGranted<S> {
    async fn next_poll(&mut self) -> Poll {
        loop {
            self.wait().await;
            let Self { source, grant, .. } = self;
            let refused = async { grant.wait_for(|grant| !grant.may_admit()).await.is_ok() };
            let is_refused = tokio::select! {
                biased;
                is_refused = refused => is_refused,
                // Dropping the future loses nothing: requests in flight are received by the next
                // one.
                poll = source.next_poll() => return poll,
            };
            if !is_refused {
                std::future::pending::<()>().await;
            }
        }
    }

    fn outage_since(&mut self) -> Option<Timestamp> {
        self.source.outage_since()
    }

    fn polled_before(&mut self) -> Option<Timestamp> {
        self.polled_before.take()
    }
}
