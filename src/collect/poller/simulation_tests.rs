use std::collections::BTreeSet;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config;
use crate::model::part::PartState;
use crate::simulate::{Control, Options, Simulation};

async fn simulated(options: Options) -> (Simulation, Control) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let simulation = Simulation::start(listener, options, Clock::system(), stop).unwrap();
    let control = simulation.control();
    (simulation, control)
}

fn poller(simulation: &Simulation, tokens: &[&str]) -> Poller {
    let (api_url, pace) = (simulation.url(), Duration::from_millis(20));
    let github = GitHubConfig { api_url, pace, ..config::defaults().github };
    let tokens = tokens.iter().map(|text| Secret::new(*text)).collect();
    Poller::new(&github, tokens, Clock::system()).unwrap()
}

/// The events of a poll as text; none when the body is not a list.
fn events(poll: &Poll) -> Vec<String> {
    let mut all = Vec::new();
    for page in &poll.pages {
        all.extend(page.entries.iter().map(str::to_owned));
    }
    all
}

fn texts(events: Vec<Arc<str>>) -> BTreeSet<String> {
    events.into_iter().map(|event| event.to_string()).collect()
}

#[tokio::test]
async fn every_event_of_a_failing_server_is_returned() {
    let (simulation, control) = simulated(Options::by_hand(7)).await;
    let mut poller = poller(&simulation, &["one", "two"]);
    for fault in ["cut-off:0.1", "error-502:0.1", "slow:30ms:0.2", "reordered:0.3", "stale:0.1"] {
        control.set_fault(fault.parse().unwrap());
    }
    let mut brought = BTreeSet::new();
    for _ in 0..8 {
        control.emit(40);
        // The feed does not advance meanwhile, so all of it arrives in the end, whatever fails.
        while control.unserved() > 0 || !texts(control.served()).is_subset(&brought) {
            let poll = tokio::time::timeout(Duration::from_secs(60), poller.next_poll()).await;
            brought.extend(events(&poll.expect("what is left is asked for")));
        }
    }
    assert!(control.served().len() > 200);
    assert!(poller.status().borrow().simulated);
}

#[tokio::test]
async fn anonymous_rounds_keep_the_servers_interval() {
    let (simulation, control) = simulated(Options::by_hand(3)).await;
    let mut poller = poller(&simulation, &[]);
    control.emit(150);
    let mut brought = BTreeSet::new();
    let mut pages = 0;
    while pages < 3 {
        let poll = poller.next_poll().await;
        brought.extend(events(&poll));
        pages += poll.pages.len();
    }
    assert_eq!((pages, &brought), (3, &texts(control.served())));
    // A second round finds nothing new and continues; new events arrive in the third.
    let mut later = {
        let next = poller.next_poll();
        tokio::pin!(next);
        tokio::select! {
            _ = &mut next => panic!("nothing is new"),
            () = control.until(|control| control.outcomes().get("304") >= Some(&3)) => {}
        }
        control.emit(10);
        events(&next.await)
    };
    // A later page may arrive before the first, with events that were only pushed down.
    while later.iter().all(|event| brought.contains(event)) {
        let poll = tokio::time::timeout(Duration::from_secs(60), poller.next_poll()).await;
        later = events(&poll.expect("what is new comes"));
    }
    let status = poller.status().borrow().clone();
    assert_eq!((status.state, &*status.report.mode), (PartState::Ok, "anonymous"));
    assert_eq!(
        Duration::from_secs_f64(status.report.poll_interval_seconds),
        Duration::from_secs(1)
    );
}

#[tokio::test]
async fn a_small_limit_is_spread_and_never_passed() {
    let (simulation, control) =
        simulated(Options { anonymous_limit: 60, ..Options::by_hand(5) }).await;
    let mut poller = poller(&simulation, &[]);
    control.emit(150);
    let mut pages = 0;
    while pages < 3 {
        pages += poller.next_poll().await.pages.len();
    }
    let mut status = poller.status();
    let ahead = |status: &SourceStatus| {
        let next = status.report.next_poll_at?;
        Some(next.since(Clock::system().now()).as_secs()).filter(|seconds| *seconds > 5)
    };
    tokio::select! {
        poll = poller.next_poll() => panic!("{poll:?} within a minute"),
        found = status.wait_for(|status| ahead(status).is_some()) => {
            let seconds = ahead(&found.unwrap()).unwrap();
            assert!((30..=70).contains(&seconds), "{seconds}");
        }
    }
    assert_eq!(control.requests(), 3);
}
