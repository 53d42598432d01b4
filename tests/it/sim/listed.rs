//! Lists that are complete: while the public feed hides most events, the feeds of single
//! repositories, owners and people bring them, each once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;
use ghpulse::simulate::{Fault, FaultKind, Options};
use serde_json::{Value, json};

use crate::common::client::request;
use crate::common::running::{GitHub, Running, steps, until_some};

const DAY: Duration = Duration::from_secs(24 * 3_600);

struct Place {
    github: GitHub,
    dir: tempfile::TempDir,
    lists: tempfile::TempDir,
    running: Option<Running>,
    /// The clock of the appliance.
    clock: Clock,
    next_id: u64,
}

impl Place {
    async fn start(list: &str) -> Self {
        Self::start_at(list, Clock::system()).await
    }

    async fn start_at(list: &str, clock: Clock) -> Self {
        let github = GitHub::start(Options::by_hand(1)).await;
        let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        save(lists.path(), list);
        let mut place = Self { github, dir, lists, running: None, clock, next_id: 20_000_000_000 };
        place.resume().await;
        place
    }

    /// The appliance.
    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    async fn stop(&mut self) {
        self.running.take().expect("it runs").end().await;
    }

    async fn resume(&mut self) {
        let settings = [
            ("GHPULSE_LISTS_DIR", self.lists.path().to_str().unwrap()),
            ("GHPULSE_LISTS_WITHIN", "1s"),
        ];
        let (dir, url) = (self.dir.path(), &self.github.url);
        self.running = Some(Running::start_at(dir, url, &settings, self.clock).await);
    }

    /// Puts in events of a repository by an actor. Returns their ids.
    fn push(&mut self, count: u64, repo: &str, actor: &str) -> BTreeSet<String> {
        self.push_created(Clock::system().now(), count, repo, actor)
    }

    /// Puts in events that were created at this time.
    fn push_created(
        &mut self,
        created: Timestamp,
        count: u64,
        repo: &str,
        actor: &str,
    ) -> BTreeSet<String> {
        let first = self.next_id;
        self.next_id += count;
        for id in first..self.next_id {
            let mut event = json!({
                "id": id.to_string(), "type": "WatchEvent", "actor": {"id": 7, "login": actor},
                "repo": {"id": 8, "name": repo}, "payload": {"action": "started"}, "public": true,
                "created_at": created,
            });
            if repo.starts_with("org/") {
                event["org"] = json!({"id": 9, "login": "org"});
            }
            self.github.control.push_raw(&event.to_string());
        }
        (first..self.next_id).map(|id| id.to_string()).collect()
    }

    /// Waits until exactly these events of the list are in the journal.
    async fn until_has(&self, wanted: &BTreeSet<String>) {
        until_some(&format!("the {} events of the list", wanted.len()), async || {
            let path = "/stream?poll=1&list=mine&fields=event.id";
            let answer = request(self.running().public, "GET", path, &[]).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let lines =
                answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let events = lines.filter(|line| line["type"] == "event");
            let ids: Vec<String> = events
                .map(|line| line["fields"]["event.id"].as_str().unwrap().to_owned())
                .collect();
            let found: BTreeSet<String> = ids.iter().cloned().collect();
            assert_eq!(found.len(), ids.len(), "none twice");
            (found == *wanted).then_some(())
        })
        .await;
    }

    /// The list as `/status` of the ops listener shows it, once it is as wanted.
    async fn until_list(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        until_some(what, async || {
            let status =
                request(self.running().ops, "GET", "/status?format=json", &[]).await.json();
            let list = status["lists"][0].clone();
            is_wanted(&list).then_some(list)
        })
        .await
    }

    fn hide(&self, share: f64) {
        self.github.control.set_fault(Fault::new(FaultKind::Withheld).share(share));
    }
}

fn save(lists: &Path, text: &str) {
    let new = lists.join("mine.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, lists.join("mine.txt")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn list_is_complete_while_the_public_feed_hides_most() {
    let mut names = "complete: true\norg/*\n@ann\n".to_owned();
    names.extend((0..30).map(|n| format!("owner{n}/repo\n")));
    let mut place = Place::start(&names).await;
    place.hide(0.9);
    let mut wanted = BTreeSet::new();
    for round in 1..=3_u64 {
        for n in 0..30 {
            wanted.extend(place.push(round * (n % 7), &format!("Owner{n}/Repo"), "bob"));
        }
        wanted.extend(place.push(20, "org/one", "bob"));
        wanted.extend(place.push(20, "x/y", "Ann"));
        place.push(50, "not/listed", "bob");
        place.until_has(&wanted).await;
    }
    let seen = wanted.len() as u64;
    let list = place.until_list("all are counted", |list| list["seen"] == seen).await;
    let filled = list["filled"].as_u64().unwrap();
    assert!(filled > seen / 2 && filled <= seen, "{list}");
    assert_eq!((&list["certain_holes"], &list["feeds"]["read"]), (&0.into(), &32.into()), "{list}");

    // After downtime: what came meanwhile, up to 300 events of each.
    place.stop().await;
    wanted.extend(place.push(280, "owner3/repo", "bob"));
    wanted.extend(place.push(1, "owner0/repo", "bob"));
    place.resume().await;
    place.until_has(&wanted).await;
    let seen = wanted.len() as u64;
    place.until_list("the counts go on", |list| list["seen"] == seen).await;
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_list_takes_effect_while_running() {
    let mut place = Place::start(
        "complete: true
a/one
",
    )
    .await;
    place.hide(1.0);
    let one = place.push(5, "a/one", "bob");
    let two = place.push(7, "a/two", "bob");
    place.until_has(&one).await;
    // The past of a new name is read too.
    save(
        place.lists.path(),
        "complete: true
a/two
",
    );
    place.until_has(&two).await;
    let before = place.push(3, "a/one", "bob");
    let two = &two | &place.push(3, "a/two", "bob");
    place.until_has(&two).await;
    save(
        place.lists.path(),
        "complete: false
a/one
",
    );
    let is_off = |list: &Value| list["complete"] == false && list["feeds"].is_null();
    place.until_list("no feed is read", is_off).await;
    // What came while the name was not on the list is not known.
    place.until_has(&one).await;
    assert_eq!(before.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn certain_hole_is_counted_and_named_feeds_are_reported() {
    let mut place = Place::start(
        "complete: true
a/busy
a/gone
a/old
",
    )
    .await;
    place.hide(1.0);
    place.github.control.close_feed("a/gone", 451);
    place.github.control.rename("a/old", "a/new");
    let first = place.push(10, "a/busy", "bob");
    place.push(2, "a/new", "bob");
    place.until_has(&first).await;
    let told = |list: &Value| list["incomplete"].as_array().is_some_and(|all| all.len() == 2);
    let list = place.until_list("closed and renamed", told).await;
    let text = list["incomplete"].to_string();
    assert!(text.contains("451: it is blocked for legal reasons"), "{text}");
    assert!(text.contains("now called a/new: put that name on the list"), "{text}");
    assert_eq!((&list["feeds"]["closed"], &list["certain_holes"]), (&1.into(), &0.into()));
    let public = request(place.running().public, "GET", "/status?format=json", &[]).await.json();
    assert_eq!(public["lists"][0]["incomplete"], json!([]), "not for strangers");

    place.stop().await;
    let newest: Vec<String> = place.push(450, "a/busy", "bob").into_iter().skip(150).collect();
    place.resume().await;
    place.until_has(&first.into_iter().chain(newest).collect()).await;
    place.until_list("the hole", |list| list["certain_holes"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clock_skips_no_young_event_and_admits_no_old_one() {
    for (days, is_ahead) in [(10, true), (10, false)] {
        let (off, time) = (i64::try_from((DAY * days).as_micros()).unwrap(), steps());
        time.store(if is_ahead { off } else { -off }, Ordering::Relaxed);
        let mut place = Place::start_at("complete: true\na/b\n", Clock::stepped(time)).await;
        place.hide(1.0);
        // Claims of that age have expired: they may have been counted before.
        let old = Clock::system().now().minus(5 * DAY);
        place.push_created(old, 3, "a/b", "bob");
        let mut young = place.push(5, "a/b", "bob");
        place.until_has(&young).await;
        // The clock is set right.
        time.store(0, Ordering::Relaxed);
        young.extend(place.push(5, "a/b", "bob"));
        place.until_has(&young).await;
        place.stop().await;
    }
}
