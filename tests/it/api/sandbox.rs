//! Commands run by root next to a service in the sandbox of `config/ghpulse.service`: another user,
//! its own `/tmp`, read-only directories. Simulated with `unshare` and `setpriv`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ghpulse::simulate::Options;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::events::opened;
use crate::common::client::request;
use crate::common::running::{GitHub, soon, until_some};
use crate::common::stored;

const GHPULSE: &str = env!("CARGO_BIN_EXE_ghpulse");
/// The user of the service: `nobody`.
const USER: u32 = 65_534;
/// `$1` is the binary, `$2` the read-only directory; the rest are its arguments.
const SANDBOX: &str = r#"
    set -e
    mount -t tmpfs none /tmp
    mount --bind "$2" "$2" && mount -o remount,ro,bind "$2"
    touch /tmp/ghpulse && mount --bind "$1" /tmp/ghpulse
    shift 2
    cd /tmp
    exec setpriv --reuid=65534 --regid=65534 --clear-groups /tmp/ghpulse "$@"
"#;

/// A file of GH Archive.
const HOUR: &str = concat!(
    r#"{"id":"1","type":"WatchEvent","created_at":"2015-01-01T01:02:03Z","public":true,"#,
    r#""actor":{"id":1,"login":"a"},"repo":{"id":1,"name":"a/b"},"payload":{"action":"started"}}"#
);

/// Why the sandbox cannot be simulated here; `None` if it can.
async fn missing() -> Option<&'static str> {
    let works = async |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stderr(Stdio::null()).stdout(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    };
    if !works("unshare", &["-m", "mount", "-t", "tmpfs", "none", "/tmp"]).await {
        return Some("no mount namespaces (root and CAP_SYS_ADMIN are needed)");
    }
    if !works("setpriv", &["--reuid=65534", "--clear-groups", "true"]).await {
        return Some("no setpriv");
    }
    None
}

/// A directory shared with the sandbox, owned by this user.
fn shared(owner: Option<u32>) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    if let Some(owner) = owner {
        std::os::unix::fs::chown(dir.path(), Some(owner), Some(owner)).unwrap();
    }
    dir
}

/// Starts the service; returns once it serves.
async fn serve(data: &Path, read_only: &Path, github: &str) -> Child {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SANDBOX, "sandbox", GHPULSE]).arg(read_only);
    command.args(["run", "--listen", "127.0.0.1:0", "--github", github, "--data"]).arg(data);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
        .env("GHPULSE_GITHUB_TOKENS", "token-of-a-test");
    command.env("GHPULSE_BACKUP_DIR", read_only.join("backups")).env("GHPULSE_LOG_FORMAT", "json");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    soon("the service serves", async {
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "serving" {
                return;
            }
            said.push_str(&line);
        }
        panic!("the service ended: {said}");
    })
    .await;
    // Drain the pipe, so that the service never blocks on it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}

async fn stop(mut child: Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    soon("the service stops", child.wait()).await.unwrap();
}

/// The output of a command run by root, which must succeed.
async fn command(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(GHPULSE);
    command.args(arguments).arg("--data").arg(data).env_clear().current_dir("/tmp");
    let output = soon("a command ends", command.output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}{stdout}");
    stdout
}

/// All files of a directory with owner, size and modification time.
fn look(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            all.extend(look(&entry.path()));
        }
        all.insert(entry.path(), (about.uid(), about.len(), about.mtime(), about.mtime_nsec()));
    }
    all
}

fn expect_owner(dir: &Path) {
    for (path, (owner, ..)) in look(dir) {
        assert_eq!(owner, USER, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_works_with_a_service_in_its_sandbox() {
    if let Some(why) = missing().await {
        eprintln!("skipped: root_works_with_a_service_in_its_sandbox: {why}");
        return;
    }
    let github = GitHub::start(Options::by_hand(1)).await;
    (1..=20).for_each(|id| github.control.push_raw(&opened(id, "Go")));
    let (data, locked, ours) = (shared(Some(USER)), shared(None), tempfile::tempdir().unwrap());
    let (data, locked, ours) = (data.path(), locked.path(), ours.path());
    let service = serve(data, locked, &github.url).await;
    let ops = ghpulse::appliance::ops_file::read(data).unwrap().url;
    let ops = ops.trim_start_matches("http://").parse().unwrap();

    // Where the service sees another `/tmp`, and where it must not write.
    for to in [ours.join("backup"), locked.join("deep").join("backup")] {
        let said = command(data, &["backup", to.to_str().unwrap()]).await;
        assert!(said.contains(to.to_str().unwrap()) && to.join("BACKUP").is_file(), "{said}");
        assert!(to.join("db").join("CURRENT").is_file());
    }
    // A file that the service must not read.
    let hour = ours.join("2015-01-01-1.json");
    std::fs::write(&hour, HOUR).unwrap();
    let said = command(data, &["import", "--json", hour.to_str().unwrap()]).await;
    assert!(said.contains(hour.to_str().unwrap()), "{said}");
    command(data, &["export", "--since", "24h", "--to", ours.join("hours").to_str().unwrap()])
        .await;
    assert!(command(data, &["inspect"]).await.contains("journal"));
    let left: Vec<_> =
        look(data).into_keys().filter(|path| path.to_string_lossy().contains(".exch")).collect();
    assert!(left.is_empty(), "{left:?}");

    // The backup schedule's directory is read-only there: `/readyz` reports it publicly.
    let degraded = until_some("the failed backup is said", async || {
        let parts = request(ops, "GET", "/readyz", &[]).await.json();
        let is_degraded = parts[0]["state"] == "degraded";
        is_degraded.then(|| parts[0]["error"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(degraded.contains("no backup can be made"), "{degraded}");
    assert!(!degraded.contains(locked.to_str().unwrap()), "no path for strangers: {degraded}");
    stop(service).await;

    // Inspecting writes nothing; files that root's other commands write are owned by the service
    // user.
    let before = look(data);
    command(data, &["inspect"]).await;
    command(data, &["inspect", "journal", "--json"]).await;
    assert_eq!(look(data), before);
    command(data, &["requeue"]).await;
    command(data, &["import", hour.to_str().unwrap()]).await;
    expect_owner(data);
    let restored = shared(Some(USER));
    command(restored.path(), &["restore", ours.join("backup").to_str().unwrap()]).await;
    expect_owner(restored.path());
    assert!(!stored::journal(data).is_empty());
    expect_service_opens(data, locked, &github.url).await;
    expect_service_opens(restored.path(), locked, &github.url).await;
}

async fn expect_service_opens(data: &Path, locked: &Path, github: &str) {
    // Files that this test wrote as root are given back to the service user.
    let owned = Command::new("chown").arg("-R").arg(USER.to_string()).arg(data).status().await;
    assert!(owned.unwrap().success());
    stop(serve(data, locked, github).await).await;
}

/// Directories in the README's examples are writable for the shipped unit.
#[test]
fn documented_directories_are_writable_in_the_unit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = std::fs::read_to_string(root.join("config/ghpulse.service")).unwrap();
    let writable: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ReadWritePaths="))
        .flat_map(str::split_whitespace)
        .map(|path| path.trim_start_matches('-'))
        .collect();
    for document in ["README.md", "config/README.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for (at, _) in text.match_indices("dir: /srv/") {
            let path = &text[at + "dir: ".len()..];
            let end = path.find(|c: char| !c.is_alphanumeric() && !"/-_.".contains(c));
            let path = path[..end.unwrap_or(path.len())].trim_end_matches('.');
            assert!(
                writable.iter().any(|known| Path::new(path).starts_with(known)),
                "{document}: {path} is not in ReadWritePaths of config/ghpulse.service"
            );
        }
    }
}
