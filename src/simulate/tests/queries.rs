//! `/graphql`: the data of the world, its limits, and the effect of faults.

use serde_json::json;

use super::*;

const TOKEN: &[&str] = &["User-Agent: test", "Authorization: Bearer t"];

async fn today(seed: u64, query: QueryOptions) -> Running {
    start(Options { shape: Shape::Today, query, ..Options::by_hand(seed) }).await
}

impl Running {
    async fn query(&self, query: &str, variables: Value) -> Reply {
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.send("POST", "/graphql", TOKEN, &body).await
    }

    async fn nodes(&self, ids: &[String]) -> Reply {
        let query = "query($ids:[ID!]!){rateLimit{cost remaining resetAt} nodes(ids:$ids){\
                     ... on PullRequest{id fullDatabaseId additions title \
                     baseRepository{databaseId primaryLanguage{name}}}}}";
        self.query(query, json!({ "ids": ids })).await
    }

    /// The whole pull requests of the world, and their node ids.
    fn truth(&self) -> (Vec<Value>, Vec<String>) {
        let pulls = self.control.pull_requests();
        let pulls: Vec<Value> = pulls.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
        let ids = pulls.iter().map(|pull| pull["node_id"].as_str().unwrap().to_owned());
        let ids = ids.collect();
        (pulls, ids)
    }
}

#[tokio::test]
async fn nodes_are_returned_in_the_requested_order() {
    let github = today(1, QueryOptions::default()).await;
    github.control.emit(400);
    let (pulls, mut ids) = github.truth();
    assert!(pulls.len() > 30);
    ids.truncate(20);
    ids.reverse();
    ids.push("PR_unknown".to_owned());
    let answer = github.nodes(&ids).await.json();
    for (at, pull) in pulls[..20].iter().rev().enumerate() {
        let node = &answer["data"]["nodes"][at];
        assert_eq!(node["additions"], pull["additions"]);
        assert_eq!(node["title"], pull["title"]);
        assert_eq!(node["fullDatabaseId"], pull["id"].to_string());
        let language = &node["baseRepository"]["primaryLanguage"]["name"];
        assert_eq!(language, &pull["base"]["repo"]["language"]);
    }
    assert_eq!(answer["data"]["nodes"][20], Value::Null);
    assert_eq!(answer["errors"][0]["type"], "NOT_FOUND");
    assert_eq!(answer["errors"][0]["path"], json!(["nodes", 20]));
    assert_eq!(answer["data"]["rateLimit"]["cost"], 1);
}

#[tokio::test]
async fn names_find_the_same_pull_request() {
    let github = today(2, QueryOptions::default()).await;
    github.control.emit(50);
    let (pulls, ids) = github.truth();
    let (owner, name) =
        pulls[0]["base"]["repo"]["full_name"].as_str().unwrap().split_once('/').unwrap();
    let query = format!(
        "{{p0:repository(owner:\"{owner}\",name:\"{name}\"){{primaryLanguage{{name}} \
         pullRequest(number:{}){{id deletions}}}} p1:repository(owner:\"a\",name:\"b\"){{databaseId}}}}",
        pulls[0]["number"]
    );
    let answer = github.query(&query, Value::Null).await.json();
    assert_eq!(answer["data"]["p0"]["pullRequest"]["id"], ids[0]);
    assert_eq!(answer["data"]["p0"]["pullRequest"]["deletions"], pulls[0]["deletions"]);
    assert_eq!(answer["data"]["p1"], Value::Null);
    let wrong = github.query("{nodes(ids:[\"x\"]){sizes}}", Value::Null).await.json();
    assert_eq!(wrong["data"]["nodes"][0], Value::Null, "nothing is looked at of what is not there");
    let query = format!("{{nodes(ids:[\"{}\"]){{... on PullRequest{{sizes}}}}}}", ids[0]);
    let wrong = github.query(&query, Value::Null).await.json();
    assert!(wrong["errors"][0]["message"].as_str().unwrap().contains("'sizes'"), "{wrong}");
}

#[tokio::test]
async fn points_are_spent_and_over_the_limit_is_status_200() {
    let github = today(3, QueryOptions { limit: 2, ..QueryOptions::default() }).await;
    assert_eq!(github.nodes(&[]).await.header("x-ratelimit-remaining"), "1");
    assert_eq!(github.nodes(&[]).await.header("x-ratelimit-resource"), "graphql");
    let over = github.nodes(&[]).await;
    assert_eq!((over.status, over.header("x-ratelimit-remaining")), (200, "0"));
    assert_eq!(over.json()["errors"][0]["type"], "RATE_LIMITED");
    let anonymous = github.send("POST", "/graphql", &["User-Agent: test"], "{}").await;
    assert_eq!(anonymous.status, 401);
}

#[tokio::test(start_paused = true)]
async fn work_is_limited_by_the_minute_and_ten_seconds_end_a_query() {
    let second = Duration::from_secs(1);
    let work_a_minute = 30 * second;
    let query = QueryOptions {
        delay: second,
        delay_each: second,
        work_a_minute,
        ..QueryOptions::default()
    };
    let github = today(4, query).await;
    let ids = |n| vec!["PR_x".to_owned(); n];
    assert_eq!(github.nodes(&ids(9)).await.status, 502);
    let mut served = 0;
    let refused = loop {
        let reply = github.nodes(&ids(4)).await;
        if reply.status != 200 {
            break reply;
        }
        served += 1;
    };
    // Ten seconds of work, then five for each of these; the sixth finds 35 s counted.
    assert_eq!(served, 5);
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("secondary"));
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_queries_shows_as_itself() {
    let github = today(5, QueryOptions::default()).await;
    github.control.emit(100);
    let (_, ids) = github.truth();
    let ids = &ids[..10];
    let hit = async |kind| {
        github.control.clear_faults();
        github.control.set_fault(Fault::always(kind));
        github.nodes(ids).await
    };
    assert_eq!(hit(FaultKind::QueryBroken).await.status, 502);
    assert_eq!(hit(FaultKind::QueryTimeout).await.status, 502);
    assert_eq!(hit(FaultKind::QuerySecondary).await.header("retry-after"), "1");
    assert_eq!(hit(FaultKind::Revoked).await.status, 401);
    let limited = hit(FaultKind::QueryLimited).await;
    assert_eq!((limited.status, limited.header("x-ratelimit-remaining")), (200, "0"));
    assert_eq!(hit(FaultKind::QueryError).await.json()["data"], Value::Null);
    let nulls = |answer: &Value| {
        answer["data"]["nodes"].as_array().unwrap().iter().filter(|node| node.is_null()).count()
    };
    let partial = hit(FaultKind::QueryPartial).await.json();
    assert_eq!(nulls(&partial), 5);
    assert_eq!(partial["errors"][0]["type"], "RESOURCE_LIMITS_EXCEEDED");
    let gone = hit(FaultKind::QueryGone).await.json();
    assert_eq!(nulls(&gone), gone["errors"].as_array().unwrap().len());
    assert!((1..10).contains(&nulls(&gone)));
    assert_eq!(nulls(&hit(FaultKind::QueryIds).await.json()), 10);
    assert_eq!(nulls(&hit(FaultKind::QuerySlow).await.json()), 0);
    assert_eq!(github.control.outcomes()["graphql query-slow"], 1);
}

#[test]
fn the_same_happens_in_both_shapes() {
    let lived = |shape| {
        let mut world = World::new(6, shape);
        let at = |n: i64| Timestamp::from_seconds(NOW + n / 50);
        let events = (0..3_000).map(|n| {
            let event: Value = serde_json::from_str(&world.next_event(at(n))).unwrap();
            let of = |path: &str| event.pointer(path).cloned();
            let pull = of("/payload/pull_request/id");
            (of("/id"), of("/actor/id"), of("/repo/id"), pull, of("/created_at"))
        });
        events.collect::<Vec<_>>()
    };
    assert_eq!(lived(Shape::Old), lived(Shape::Today));
}

const TOTALS: &str = "databaseId stargazerCount forkCount forks{totalCount} \
                      releases{totalCount} pullRequests{totalCount} issues{totalCount}";

#[tokio::test]
async fn hidden_events_raise_totals() {
    let github = today(4, QueryOptions::default()).await;
    let hidden = Fault::new(FaultKind::Hidden).share(0.6);
    github.control.set_fault(hidden.clone().only("WatchEvent"));
    github.control.set_fault(hidden.only("PullRequestEvent"));
    github.control.emit(4_000);
    let happened = github.control.happened();
    let (stars, unseen) = happened["WatchEvent"];
    assert!(unseen * 10 > stars * 5 && unseen * 10 < stars * 7, "{unseen} of {stars}");
    assert_eq!(happened["PushEvent"].1, 0);
    let events: Vec<Value> =
        github.control.emitted().iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    let shown = events.iter().filter(|event| event["type"] == "WatchEvent").count() as u64;
    assert_eq!(shown, stars - unseen);
    // Ids go on as if nothing had been hidden.
    let mut ids: Vec<u64> = events
        .iter()
        .filter(|event| {
            !["PushEvent", "CreateEvent", "DeleteEvent"].map(Value::from).contains(&event["type"])
        })
        .map(|event| event["id"].as_str().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[1] - pair[0] <= 14), "no hole is longer than usual");
    // Numbers, which issues and pull requests share, are taken by the hidden ones too.
    let name = events.iter().find(|event| event["type"] == "ForkEvent").unwrap()["repo"]["name"]
        .as_str()
        .unwrap();
    let (owner, repo) = name.split_once('/').unwrap();
    let query = format!(
        "query{{rateLimit{{cost}} r0:repository(owner:\"{owner}\",name:\"{repo}\"){{{TOTALS}}} \
         r1:repository(owner:\"no\",name:\"body\"){{{TOTALS}}}}}"
    );
    let before = github.query(&query, Value::Null).await.json();
    let forks = before["data"]["r0"]["forks"]["totalCount"].as_u64().unwrap();
    assert!(forks > 0 && before["data"]["r0"]["forkCount"] == forks, "{before}");
    assert_eq!(before["data"]["r1"], Value::Null);
    assert_eq!(before["errors"][0]["path"], json!(["r1"]));
    let one = |n: u32| format!("r{n}:repository(owner:\"{owner}\",name:\"{repo}\"){{{TOTALS}}} ");
    let many = (0..100).map(one).collect::<Vec<_>>().concat();
    let answer = github.query(&format!("query{{rateLimit{{cost}} {many}}}"), Value::Null).await;
    assert_eq!(answer.json()["data"]["rateLimit"]["cost"], 4, "four lists of each");
}

#[tokio::test]
async fn histories_of_commits_hold_what_a_push_brought() {
    let github = today(8, QueryOptions::default()).await;
    github.control.emit(300);
    let pushes: Vec<Value> =
        github.control.pushes().iter().map(|push| serde_json::from_str(push).unwrap()).collect();
    let events = github.control.emitted();
    let events: Vec<Value> =
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let ask = async |name: &str, oid: &str, first: &str| {
        let (owner, name) = name.split_once('/').unwrap();
        let query = format!(
            "{{rateLimit{{cost}} p0:repository(owner:\"{owner}\",name:\"{name}\"){{databaseId \
             at:object(oid:\"{oid}\"){{... on Commit{{history{first}{{totalCount nodes{{oid \
             committedDate message author{{name email}}}}}}}}}}}}}}"
        );
        github.query(&query, Value::Null).await.json()
    };
    let mut compared = 0;
    for push in pushes.iter().filter(|push| push["size"] == 3) {
        let event = events.iter().find(|event| event["payload"]["push_id"] == push["push_id"]);
        let name = event.unwrap()["repo"]["name"].as_str().unwrap();
        let answer = ask(name, push["head"].as_str().unwrap(), "(first:3)").await;
        let history = &answer["data"]["p0"]["at"]["history"];
        let newest = &push["commits"][2];
        assert_eq!(history["nodes"][0]["oid"], newest["sha"]);
        assert_eq!(history["nodes"][0]["message"], newest["message"]);
        assert_eq!(history["nodes"][0]["author"]["email"], newest["author"]["email"]);
        assert!(history["totalCount"].as_u64().unwrap() >= 3);
        assert_eq!(answer["data"]["rateLimit"]["cost"], 1);
        compared += 1;
    }
    assert!(compared > 5);
    let none = ask("no/body", "00", "(first:3)").await;
    assert_eq!(
        (&none["data"]["p0"], &none["errors"][0]["type"]),
        (&Value::Null, &"NOT_FOUND".into())
    );
    let event = events.iter().find(|event| event["type"] == "PushEvent").unwrap();
    let name = event["repo"]["name"].as_str().unwrap();
    let none = ask(name, "00", "(first:3)").await;
    assert_eq!((&none["data"]["p0"]["at"], none.get("errors")), (&Value::Null, None));
    let head = event["payload"]["head"].as_str().unwrap();
    for first in ["", "(first:101)"] {
        let refused = ask(name, head, first).await;
        let words = refused["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(words.contains("`first`"), "{words}");
    }
}
