//! Applies events to a store through all stages, as if they had come from the feed.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use ghpulse::bus::embedded::EmbeddedBus;
use ghpulse::clock::Clock;
use ghpulse::collect::enrich::Enrich;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::ingest;
use ghpulse::collect::source::{Poll, PolledPage};
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::store::{Durability, Store};
use tokio_util::sync::CancellationToken;

use crate::common::history::apply_stage;

/// Applies events to the store in `data`.
pub(crate) fn apply(data: &Path, events: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Clock::system();
        let store = Store::open(data, Durability::EveryBatch, clock).unwrap();
        let stop = CancellationToken::new();
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let apply = apply_stage(&store, &hub, clock);
        let stages = [
            tokio::spawn(Enrich::without_asking(store.clone(), clock).run(stop.clone())),
            tokio::spawn(apply.run(EmbeddedBus::new(store.clone()), stop.clone())),
        ];
        for page in events.chunks(100) {
            let entries = Entries::of_list(&Bytes::from(format!("[{}]", page.join(","))));
            let poll =
                Poll { pages: vec![PolledPage { number: 1, entries }], received_at: clock.now() };
            ingest::admit(&store, poll).await.unwrap();
        }
        let mut backlog = store.watermarks().backlog.subscribe();
        backlog.wait_for(|bytes| *bytes == 0).await.unwrap();
        stop.cancel();
        for stage in stages {
            stage.await.unwrap().unwrap();
        }
    });
}

/// All events of these files.
pub(crate) fn events_of(files: &[PathBuf]) -> Vec<String> {
    let mut text = String::new();
    for file in files {
        let file = std::fs::File::open(file).unwrap();
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    }
    text.lines().map(str::to_owned).collect()
}
