//! The dashboard and the rules of `config/` in a real Prometheus (Debian's package `prometheus`)
//! that scrapes an appliance: each series in them exists, each expression evaluates.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use ghpulse::metrics::monitoring;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::site::Site;
use crate::common::client::request;
use crate::common::ports::free_port;
use crate::common::running::{soon, until_some};

struct Prometheus {
    address: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes this address every second; `None` if it is not installed.
    fn start(scraped: SocketAddr) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/config/", "prometheus-rules.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{rules:?}]\n\
             scrape_configs:\n  - job_name: ghpulse\n    static_configs:\n      \
             - targets: [\"{scraped}\"]\n"
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        Some(Self { address, child, _dir: dir })
    }

    /// Waits until it responds to queries.
    async fn is_ready(&self) {
        let listens = async || TcpStream::connect(self.address).await.ok().map(drop);
        until_some("Prometheus listens", listens).await;
        until_some("Prometheus is ready", async || {
            let asked = request(self.address, "GET", "/-/ready", &[]).await;
            (asked.status == 200).then_some(())
        })
        .await;
    }

    /// The response of its API for a path.
    async fn data(&self, path: &str) -> Value {
        let answer = request(self.address, "GET", &format!("/api/v1/{path}"), &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    async fn query(&self, expression: &str) -> Vec<Value> {
        let mut encoded = String::new();
        for byte in expression.bytes() {
            write!(encoded, "%{byte:02x}").unwrap();
        }
        let data = self.data(&format!("query?query={encoded}")).await;
        data["result"].as_array().cloned().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_rule_finds_its_series() {
    const TEST: &str = "every_panel_and_rule_finds_its_series";
    ghpulse::metrics::install();
    let site = Site::start(&[]).await;
    let Some(mut prometheus) = Prometheus::start(site.running.ops) else {
        println!("skipped: {TEST}: no prometheus here; `make test` installs it on Debian");
        return site.end().await;
    };
    prometheus.is_ready().await;
    for expression in monitoring::expressions() {
        for selector in monitoring::selectors_of(&expression) {
            // Some series begin with the first measurement, after the first scrapes.
            until_some(&format!("{expression}: {selector}"), async || {
                (!prometheus.query(&selector).await.is_empty()).then_some(())
            })
            .await;
        }
        prometheus.query(&expression).await;
    }
    let evaluated = async {
        loop {
            let rules = prometheus.data("rules").await;
            let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
            assert!(rules.len() > 20);
            if rules.iter().all(|rule| rule["health"] == "ok") {
                break rules;
            }
            let failed = rules.iter().find(|rule| rule["health"] == "err");
            assert!(failed.is_none(), "{failed:?}");
        }
    };
    let rules = soon("all rules were evaluated", evaluated).await;
    // A healthy appliance fires no rule, at least none that requires immediate action.
    let fires = |rule: &&Value| rule["state"] == "firing";
    let firing: Vec<&Value> = rules.iter().filter(fires).map(|rule| &rule["name"]).collect();
    assert_eq!(firing, Vec::<&Value>::new());
    prometheus.child.kill().await.unwrap();
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_rules() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/config/", "prometheus-rules.yml");
    let checked = Command::new("promtool").args(["check", "rules", rules]).output().await;
    let Ok(checked) = checked else {
        println!("skipped: promtool_accepts_the_rules: no promtool here; `make test` installs it");
        return;
    };
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(0), "{said}");
}
