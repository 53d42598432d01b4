//! `/sampling`: its first message, its conditions, its message formats.

use ghpulse::simulate::{Fault, FaultKind};

use super::events::{Pull, TODAY, at, midyear, old, push, year};
use super::site::Site;
use crate::common::client::Client;
use crate::common::client::request;
use crate::common::running::Running;

const EMPTY: &str = concat!(
    r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{},"openMap":{},"mergeMap":{},"#,
    r#""closeMap":{},"devMap":{},"sumMap":"#,
    r#"{"additions":"0","deletions":"0","dev":"0","repo":"0"}}"#
);

/// The tail of every event made here.
fn payload(flags: [u8; 7]) -> String {
    let names = ["pr", "open", "merge", "close", "devDay", "devYear", "repoYear"];
    let members: Vec<_> =
        names.iter().zip(flags).map(|(name, flag)| format!("\"{name}\":{flag}")).collect();
    format!("{{{}}}", members.join(","))
}

fn whole(event: &str, flags: [u8; 7]) -> String {
    format!("{{\"event\":{event},\"payload\":{}}}", payload(flags))
}

/// Events of two days of this year and one of the last, in the order of delivery.
fn story() -> Vec<String> {
    let times = [
        format!("{}-12-31T23:59:59Z", year() - 1),
        at("01-01T00:00:00Z"),
        at("01-01T10:00:00Z"),
        at("01-01T11:00:00Z"),
        at("01-01T12:00:00Z"),
        at("01-02T00:00:00Z"),
        at("01-02T00:00:01Z"),
        at("01-02T00:00:02Z"),
    ];
    let pull = |i: usize, actor, repo, action, pull: &str| {
        Pull { id: 100 + i as u64, at: &times[i], actor, repo, action, members: pull }.text()
    };
    vec![
        pull(0, 1, 1, "opened", &old(false, 1, 1, "C")),
        pull(1, 1, 1, "opened", &old(false, 10, 20, "C")),
        pull(2, 1, 2, "closed", &old(true, 3, 4, "C")),
        pull(3, 2, 2, "merged", TODAY),
        pull(4, 2, 2, "closed", &old(false, 5, 6, "C")),
        pull(5, 1, 1, "reopened", TODAY),
        pull(6, 3, 1, "closed", TODAY),
        pull(7, 3, 3, "labeled", &old(true, 7, 7, "C")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_store_sends_the_first_message_at_once() {
    let site = Site::start(&[]).await;
    let mut client = site.connect("/sampling").await;
    assert_eq!(client.text().await, EMPTY);
    let mut other = site.connect("/sampling?samplingRate=7&x").await;
    assert_eq!(other.text().await, EMPTY, "a query string is ignored");
    site.end().await;
    let site = Site::start(&[("GHPULSE_API_VERSION", "7")]).await;
    let first = site.connect("/sampling").await.text().await;
    assert_eq!(first, EMPTY.replace("\"apiVersion\":2", "\"apiVersion\":7"));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_message_has_the_days_and_sums_of_the_year() {
    let clock = midyear();
    let mut site = Site::start_at(&[], clock).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let story = story();
    site.push(&story);
    site.settle(&mut reader, story.len()).await;
    let days = |first: u8, second: u8| {
        format!(r#"{{"{0}-01-01":"{first}","{0}-01-02":"{second}"}}"#, year())
    };
    let wanted = format!(
        concat!(
            r#"{{"firstMessageTag":true,"apiVersion":2,"eventMap":{},"openMap":{},"mergeMap":{},"#,
            r#""closeMap":{},"devMap":{},"#,
            r#""sumMap":{{"additions":"3","deletions":"4","dev":"3","repo":"3"}}}}"#
        ),
        days(4, 1),
        days(1, 0),
        days(2, 0),
        days(1, 1),
        days(2, 2),
    );
    assert_eq!(site.connect("/sampling").await.text().await, wanted);

    // This is stored state: the next process reports the same, even to clients that connect before
    // the first tick.
    let languages = site.connect("/language/watch").await.text().await;
    for _ in 0..3 {
        let Site { github, dir, running } = site;
        running.end().await;
        let running = Running::start_at(dir.path(), &github.url, &[], clock).await;
        site = Site { github, dir, running };
        let get = |path| request(site.running.public, "GET", path, &[]);
        let (all, types, stars) =
            tokio::join!(get("/aggregate"), get("/stream/types"), get("/aggregate/stars"));
        assert!(all.body.contains(r#""name":"stars""#), "{}", all.body);
        assert_eq!((types.status, stars.status), (200, 200), "{} {}", types.body, stars.body);
        assert!(types.body.contains("PullRequestEvent"), "{}", types.body);
        let (mut sampling, mut watch) =
            tokio::join!(site.connect("/sampling"), site.connect("/language/watch"));
        assert_eq!(sampling.text().await, wanted);
        assert_eq!(watch.text().await, languages);
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_form_is_the_event_as_sent_and_seven_numbers() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let story = story();
    site.push(&story);
    let came = site.settle(&mut reader, story.len()).await;
    let written = |event: &str, merged: bool| {
        event.replace(r#""base":{"ref":"main"}}"#, &{
            let merged = format!(r#""merged":{merged}}}"#);
            [r#""base":{"ref":"main"},"#, &merged].concat()
        })
    };
    let wanted = [
        whole(&story[0], [1, 1, 0, 0, 1, 1, 1]),
        whole(&story[1], [1, 1, 0, 0, 1, 1, 1]),
        whole(&story[2], [1, 0, 1, 0, 0, 0, 1]),
        whole(&written(&story[3], true), [1, 0, 1, 0, 1, 1, 0]),
        whole(&story[4], [1, 0, 0, 1, 0, 0, 0]),
        whole(&written(&story[5], false), [1, 0, 0, 0, 1, 0, 0]),
        whole(&written(&story[6], false), [1, 0, 0, 1, 1, 1, 0]),
        whole(&story[7], [1, 0, 0, 0, 0, 0, 1]),
    ];
    for (came, wanted) in came.iter().zip(&wanted) {
        assert_eq!(came, wanted);
    }
    site.end().await;
}

/// Unusual events: values missing, null, of another type, unknown, huge, or with spaces.
fn odd() -> [(String, &'static str); 9] {
    let plain = |text: &str| (text.to_owned(), "");
    [
        plain(r#"{"id":"201"}"#),
        plain(r#"{"type":"NewEvent","x":1}"#),
        plain(r#"{"id":"203","type":"PushEvent","actor":null,"repo":null,"payload":null}"#),
        plain(
            r#"{"id":"204","type":"WatchEvent","actor":[],"repo":"x","payload":7,"created_at":5}"#,
        ),
        plain(r#"{"id":"205","type":"PullRequestEvent"}"#),
        plain(
            r#"{"id":"206","type":"PullRequestEvent","payload":{"action":null,"pull_request":[]}}"#,
        ),
        plain(
            r#"{"id":"207","type":"PushEvent","n":[12345678901234567890123,1.10,-0.0,1e400,1E+2]}"#,
        ),
        plain(r#"{"id":"208","type":"PushEvent","t":"\u00e9\ud83d\ude00\/ é😀 \" \\","":{"":1}}"#),
        (
            "{ \"id\" : \"209\",\n \"type\":\t\"PushEvent\", \"s\" : \"a  b\" }".to_owned(),
            r#"{"id":"209","type":"PushEvent","s":"a  b"}"#,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_events_pass_unchanged() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let odd = odd();
    for none in ["null", "3", "[1]", "\"text\"", "{}", "true"] {
        site.github.control.push_raw(none);
    }
    site.push(&odd.iter().map(|(event, _)| event.clone()).collect::<Vec<_>>());
    let mut came = site.settle(&mut reader, odd.len()).await;
    let flags = |event: &str| {
        if event.contains("PullRequestEvent") { [1, 0, 0, 0, 0, 0, 0] } else { [0; 7] }
    };
    let mut wanted: Vec<_> = odd
        .iter()
        .map(|(event, compact)| if compact.is_empty() { event.as_str() } else { compact })
        .map(|event| whole(event, flags(event)))
        .collect();
    // Events without a time use their time of receipt, so the polls decide their order.
    came.sort();
    wanted.sort();
    assert_eq!(came, wanted);

    // An event without a type, repository or actor matches no condition on it.
    for condition in [r#""eventType":"NewEvent""#, r#""repoName":"x""#, r#""userName":"ann""#] {
        let params = format!(r#"{{"samplingRate":1,{condition},"filter":["event.id"]}}"#);
        let mut chosen = site.sampling(&params).await;
        let id = 300 + condition.len() as u64;
        site.push(&[
            format!(r#"{{"id":"{id}1"}}"#),
            format!(r#"{{"id":"{id}2","type":"PushEvent","actor":{{}},"repo":{{"name":null}}}}"#),
        ]);
        site.settle(&mut reader, 2).await;
        let last = format!(
            r#"{{"id":"{id}3","type":"NewEvent","actor":{{"login":"ann"}},"repo":{{"name":"x"}}}}"#
        );
        site.push(&[last]);
        site.settle(&mut reader, 1).await;
        assert_eq!(chosen.text().await, format!(r#"{{"event.id":"{id}3"}}"#), "{condition}");
    }
    site.end().await;
}

/// All messages until the event with this id, as ids.
async fn ids_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let message = client.json().await;
        let id = message[0].as_str().expect("a list with the id").to_owned();
        let end = id == last;
        ids.push(id);
        if end {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_n_is_counted_by_each_connection_from_its_params_on() {
    let site = Site::start(&[]).await;
    let list = r#""filter":["event.id"],"returnType":"list""#;
    let mut all = site.sampling(&format!(r#"{{"samplingRate":1,{list}}}"#)).await;
    let mut thirds = site.sampling(&format!(r#"{{"samplingRate":3,{list}}}"#)).await;
    let range = |from: u64, to: u64| (from..=to).map(push).collect::<Vec<_>>();
    site.push(&range(1, 4));
    ids_until(&mut all, "4").await;
    let mut late = site.sampling(&format!(r#"{{"samplingRate":3.0,{list}}}"#)).await;
    let condition = r#""eventType":"PushEvent","repoName":"ann/tool","userName":"ann""#;
    let mut pushes =
        site.sampling(&format!(r#"{{"SAMPLINGRATE":2,{condition},{list},"unknown":[1]}}"#)).await;
    let mut none = site.sampling(&format!(r#"{{"samplingRate":1,"userName":"Ann",{list}}}"#)).await;
    let mut events = range(5, 13);
    // Of another type, repository or actor: not counted for a subscriber to ann's pushes.
    events.insert(2, push(6).replace("PushEvent", "ForkEvent").replace("\"6\"", "\"6f\""));
    site.push(&events);
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    ids_until(&mut all, "13").await;
    assert_eq!(ids_until(&mut thirds, "11").await, ids(&["3", "6", "8", "11"]));
    assert_eq!(ids_until(&mut late, "12").await, ids(&["6f", "9", "12"]));
    assert_eq!(ids_until(&mut pushes, "12").await, ids(&["6", "8", "10", "12"]));
    site.push(&[push(99).replace("\"ann\"", "\"Ann\"")]);
    assert_eq!(ids_until(&mut none, "99").await, ids(&["99"]));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_gives_a_sorted_map_or_a_list_in_its_own_order() {
    let site = Site::start(&[]).await;
    let paths = concat!(
        r#""filter":["payload.merge","event.payload.pull_request.additions","event.id","#,
        r#""event.nothing.at.all","event.actor","event.id","payload","event.big","#,
        r#""event.payload.pull_request.deletions","event.payload.pull_request.title"]"#
    );
    let mut map = site.sampling(&format!(r#"{{"samplingRate":1,{paths}}}"#)).await;
    let named = format!(r#"{{"samplingRate":1,"returnType":"map",{paths}}}"#);
    let mut also_map = site.sampling(&named).await;
    let mut list =
        site.sampling(&format!(r#"{{"samplingRate":1,"returnType":"list",{paths}}}"#)).await;
    let at = at("01-01T00:00:00Z");
    let pull = Pull { id: 1, at: &at, actor: 4, repo: 5, action: "merged", members: TODAY }.text();
    let pull = pull.replace("\"public\"", "\"big\":-12345678901234567890.1230e+5,\"public\"");
    site.push(&[pull, push(2)]);
    let numbers = payload([1, 0, 1, 0, 1, 1, 1]);
    let actor = r#"{"id":4,"login":"dev4"}"#;
    let big = "-12345678901234567890.1230e+5";
    let wanted_map = format!(
        concat!(
            r#"{{"event.actor":{},"event.big":{},"event.id":"1","event.nothing.at.all":null,"#,
            r#""event.payload.pull_request.additions":0,"#,
            r#""event.payload.pull_request.deletions":0,"#,
            r#""event.payload.pull_request.title":null,"payload":{},"payload.merge":1}}"#
        ),
        actor, big, numbers
    );
    assert_eq!(map.text().await, wanted_map);
    assert_eq!(also_map.text().await, wanted_map);
    let wanted_list = format!(r#"[1,0,"1",null,{actor},"1",{numbers},{big},0,null]"#);
    assert_eq!(list.text().await, wanted_list);
    // The rule about 0 applies to pull-request events only.
    let zeros = payload([0; 7]);
    let wanted =
        format!(r#"[0,null,"2",null,{{"id":1,"login":"ann"}},"2",{zeros},null,null,null]"#);
    assert_eq!(list.text().await, wanted);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_are_accepted_at_any_time() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let mut client = site.connect("/sampling").await;
    client.send(r#"{"samplingRate":1,"eventType":"PushEvent","filter":["event.id"]}"#).await;
    client
        .subscribe(r#"{"samplingRate":1,"filter":["event.type","event.id"],"returnType":"list"}"#)
        .await;
    assert_eq!(client.text().await, EMPTY);
    site.push(&[push(1)]);
    site.settle(&mut reader, 1).await;
    assert_eq!(client.text().await, r#"["PushEvent","1"]"#);
    // Null, an empty string and an empty list count as unset.
    let unset = r#"{"samplingRate":2,"eventType":null,"repoName":"","filter":[],"returnType":""}"#;
    client.subscribe(unset).await;
    site.push(&[push(2), push(3)]);
    assert_eq!(client.text().await, whole(&push(3), [0; 7]));
    // Invalid parameters get an error; the previous ones stay in force, and the connection stays
    // open.
    client.subscribe(r#"{"samplingRate":0}"#).await;
    assert_eq!(client.json().await["error"]["field"], "samplingRate");
    site.push(&[push(4), push(5)]);
    assert_eq!(client.text().await, whole(&push(5), [0; 7]));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_poll_are_sent_by_time_then_id() {
    let site = Site::start(&[]).await;
    let mut reader =
        site.sampling(r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#).await;
    // GitHub's pages are frozen until all events are there, so that one poll returns all of them.
    site.github.control.set_fault(Fault::new(FaultKind::Frozen));
    let event = |id: &str, kind: &str, second: u64| {
        let at = at(&format!("01-01T00:00:{second:02}Z"));
        format!(r#"{{"id":"{id}","type":"{kind}","created_at":"{at}"}}"#)
    };
    site.push(&[
        event("9", "WatchEvent", 2),
        event("500", "PushEvent", 1),
        event("10", "PushEvent", 2),
        event("8", "ForkEvent", 3),
        event("11", "WatchEvent", 2),
        event("7", "CreateEvent", 59),
        event("400", "IssuesEvent", 0),
    ]);
    // No other work that waits for the next response can come between two of them.
    site.github.control.clear_faults();
    assert_eq!(ids_until(&mut reader, "7").await, ["400", "500", "9", "10", "11", "8", "7"]);
    site.end().await;
}
