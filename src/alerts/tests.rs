//! Alerts posted to a small real HTTP server.

use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::http::fake::{FakeReply, FakeServer};

/// Longest wait for a post; tests that pass never wait that long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Case {
    alerts: Alerts,
    hook: FakeServer,
    stop: CancellationToken,
    stage: JoinHandle<anyhow::Result<()>>,
}

impl Case {
    async fn start(
        format: AlertFormat,
        tolerance: u32,
        answer: impl Fn(usize) -> FakeReply + Send + Sync + Clone + 'static,
    ) -> (Self, tokio::sync::mpsc::UnboundedReceiver<Value>) {
        let (sender, posts) = tokio::sync::mpsc::unbounded_channel();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let hook = FakeServer::start(move |asked| {
            assert_eq!(asked.method, "POST");
            assert_eq!(asked.target, "/hook/very-secret");
            assert_eq!(asked.header("content-type"), Some("application/json"));
            sender.send(serde_json::from_slice(&asked.body).unwrap()).unwrap();
            answer(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        })
        .await;
        let settings = config::AlertsConfig {
            webhook: Secret::new(format!("{}/hook/very-secret", hook.url)),
            format,
            sign_key: Some(Secret::new("key")),
            tolerance,
            within: Duration::from_secs(3600),
            pause: Duration::ZERO,
        };
        let (alerts, posting) = Alerts::new(&settings, "box", Clock::system()).unwrap();
        let stop = CancellationToken::new();
        let stage = tokio::spawn(posting.run(stop.clone()));
        (Self { alerts, hook, stop, stage }, posts)
    }

    async fn end(self) -> usize {
        self.stop.cancel();
        self.stage.await.unwrap().unwrap();
        self.hook.asked().len()
    }
}

async fn next(posts: &mut tokio::sync::mpsc::UnboundedReceiver<Value>) -> Value {
    tokio::time::timeout(PATIENCE, posts.recv()).await.expect("a post within the time").unwrap()
}

#[tokio::test]
async fn one_post_when_it_begins_and_one_when_it_is_over() {
    let (case, mut posts) = Case::start(AlertFormat::Json, 2, |_| FakeReply::new(200, "")).await;
    for failure in 1..=3 {
        case.alerts.raise(AlertCondition::SourceAway, &format!("failure {failure}"));
    }
    let begins = next(&mut posts).await;
    assert_eq!(begins["state"], "begins");
    assert_eq!((&begins["condition"], &begins["node"]), (&"source_away".into(), &"box".into()));
    assert_eq!((&begins["text"], &begins["failures"]), (&"failure 3".into(), &3.into()));
    case.alerts.raise(AlertCondition::SourceAway, "still");
    case.alerts.raise(AlertCondition::BusAway, "once, which is tolerated");
    case.alerts.clear(AlertCondition::BusAway);
    case.alerts.clear(AlertCondition::SourceAway);
    let over = next(&mut posts).await;
    assert_eq!((&over["condition"], &over["state"]), (&"source_away".into(), &"over".into()));
    // Another condition is reported separately, which shows that no message came in between.
    // When it began is what the part says, and what the first report says.
    let began = Timestamp::from_seconds(1_000_000);
    case.alerts.raise_since(AlertCondition::ScriptBroken, "line 3", Some(began));
    let broken = next(&mut posts).await;
    assert_eq!(broken["condition"], "script_broken");
    assert_eq!(broken["since"], began.to_string());
    assert_eq!(case.end().await, 3);
}

#[tokio::test]
async fn refusing_webhook_is_retried() {
    let answer = |asked| match asked {
        0 => FakeReply::new(500, "not now"),
        1 => FakeReply::new(200, "{\"code\":19021,\"msg\":\"sign match fail\"}"),
        _ => FakeReply::new(200, "{\"code\":0}"),
    };
    let (case, mut posts) = Case::start(AlertFormat::Lark, 0, answer).await;
    case.alerts.raise(AlertCondition::DiskNearlyFull, "1 GiB left");
    for _ in 0..3 {
        let post = next(&mut posts).await;
        assert_eq!(post["msg_type"], "text");
        assert!(post["sign"].is_string() && post["timestamp"].is_string(), "{post}");
        let text = post["content"]["text"].as_str().unwrap();
        assert!(text.contains("the disk is nearly full") && text.ends_with("1 GiB left"), "{text}");
    }
    case.alerts.clear(AlertCondition::DiskNearlyFull);
    let text = next(&mut posts).await["content"]["text"].to_string();
    assert!(text.contains("over"), "{text}");
    assert_eq!(case.end().await, 4);
}

/// Alerts that are reported at once.
fn settings(url: &str) -> config::AlertsConfig {
    config::AlertsConfig {
        webhook: Secret::new(url),
        format: AlertFormat::Slack,
        sign_key: Some(Secret::new("very-secret")),
        tolerance: 0,
        within: Duration::ZERO,
        pause: Duration::ZERO,
    }
}

#[tokio::test]
async fn the_address_is_shown_nowhere() {
    let error = Alerts::new(&settings("htp:/very-secret"), "box", Clock::system()).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    // Bound but not listening, so that no other process gets the port.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://user:very-secret@{}/very-secret", taken.local_addr().unwrap());
    let (alerts, posting) = Alerts::new(&settings(&url), "box", Clock::system()).unwrap();
    alerts.raise(AlertCondition::BusAway, "x");
    let message = posting.shared.lock().next(Clock::system().instant()).0.unwrap();
    let error = posting.post(&message).await.unwrap_err();
    assert!(error.contains("cannot connect to 127.0.0.1") && !error.contains("secret"), "{error}");
    for shown in [format!("{posting:?}"), format!("{alerts:?}"), format!("{:?}", settings(&url))] {
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}

#[tokio::test]
async fn only_alerts_with_a_webhook_keep_messages() {
    let pending = |alerts: &Alerts| {
        let shared = alerts.0.as_ref()?;
        shared.lock().next(shared.clock.instant()).0.map(|message| message.text)
    };
    let (posted, _posting) =
        Alerts::new(&settings("http://127.0.0.1:1/hook"), "box", Clock::system()).unwrap();
    for (alerts, kept) in [(posted, Some("x".to_owned())), (Alerts::off(), None)] {
        alerts.raise(AlertCondition::BusAway, "x");
        assert_eq!(pending(&alerts), kept);
        alerts.clear(AlertCondition::BusAway);
        assert_eq!(pending(&alerts), None, "it was over before it was reported");
    }
}
