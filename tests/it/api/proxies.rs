//! Readers behind nginx, `HAProxy` and Caddy, with the settings of `config/README.md`: WebSockets
//! are passed on, events arrive when they come, and each client counts by its own address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::events::push;
use super::limits::{expect_refused, from};
use super::site::Site;
use crate::common::client::{Client, request};
use crate::common::ports::free_port;
use crate::common::running::{soon, until_some};

/// The settings in a proxy's row of the page, in its order.
fn settings(proxy: &str) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/config/README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = format!("| {proxy} | ");
    let row = page.lines().find_map(|line| line.strip_prefix(&begin)).expect("it has a row");
    row.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Where a program is installed: Debian's proxies are not in everybody's path.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|path| path.exists())
}

/// Starts a proxy with this configuration, and waits until it listens.
async fn start(
    program: &Path,
    (file, arguments): (&Path, &[&str]),
    config: &str,
    listens: SocketAddr,
) -> Child {
    std::fs::write(file, config).unwrap();
    let dir = file.parent().unwrap();
    let child = Command::new(program)
        .args(arguments)
        .arg(file)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = async || TcpStream::connect(listens).await.ok().map(drop);
    until_some("the proxy listens", listens).await;
    child
}

/// A site that trusts a proxy on 127.0.0.1 and permits one connection to each client.
async fn site() -> Site {
    Site::start(&[
        ("GHPULSE_SERVER_LIMITS_PERADDRESS", "1"),
        ("GHPULSE_SERVER_TRUSTEDPROXIES", "127.0.0.1/32"),
    ])
    .await
}

/// Reads through the proxy at this address.
async fn expect_served(site: &Site, proxy: SocketAddr) {
    let mut reader = Client::over(from("127.0.0.2", proxy).await, "/sampling", &[]).await.unwrap();
    assert_eq!(reader.json().await["firstMessageTag"], true);
    reader.subscribe(r#"{"samplingRate":1}"#).await;
    let mut stream = from("127.0.0.3", proxy).await;
    let head =
        format!("GET /stream HTTP/1.1\r\nhost: {proxy}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sent = String::new();
    read_until(&mut stream, &mut sent, "\"hello\"").await;
    assert!(sent.starts_with("HTTP/1.1 200"), "{sent}");
    for number in 1..=3 {
        site.github.control.push_raw(&push(number));
        let id = format!(r#""id":"{number}""#);
        assert!(reader.text().await.contains(&id));
        read_until(&mut stream, &mut sent, &id).await;
    }
    // The proxy names the clients: each has one connection.
    let again = Client::over(from("127.0.0.2", proxy).await, "/sampling", &[]).await;
    expect_refused(again, 429, "server.limits.perAddress");
    Client::over(from("127.0.0.4", proxy).await, "/sampling", &[]).await.unwrap();
}

/// Reads until this text has come.
async fn read_until(stream: &mut TcpStream, sent: &mut String, wanted: &str) {
    let mut bytes = [0; 4096];
    while !sent.contains(wanted) {
        let count = soon("more of the stream comes", stream.read(&mut bytes)).await.unwrap();
        assert!(count > 0, "it ended without {wanted}: {sent}");
        sent.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_served_behind_nginx() {
    let Some(nginx) = installed("nginx") else {
        println!("skipped: readers_are_served_behind_nginx: no nginx here");
        return;
    };
    let (site, dir) = (site().await, tempfile::tempdir().unwrap());
    let proxy = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (settings, to) = (settings("nginx").concat(), site.running.public);
    // Its directories for long bodies are its own; one process, so that none is left.
    let path = |name: &str| dir.path().join(name).display().to_string();
    let kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let kept = kept.map(|name| format!("{name}_temp_path {};", path(name))).concat();
    let config = format!(
        "daemon off; master_process off; pid {}; error_log stderr;\nevents {{}}\nhttp {{\n\
         access_log off; {kept}\nserver {{ listen {proxy};\n\
         location / {{ proxy_pass http://{to}; {settings} }} }} }}\n",
        path("pid")
    );
    let file = dir.path().join("nginx.conf");
    let _proxy = start(&nginx, (&file, &["-c"]), &config, proxy).await;
    expect_served(&site, proxy).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_served_behind_haproxy() {
    let Some(haproxy) = installed("haproxy") else {
        println!("skipped: readers_are_served_behind_haproxy: no haproxy here");
        return;
    };
    let (site, dir) = (site().await, tempfile::tempdir().unwrap());
    let [proxy, state] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let (settings, to) = (settings("HAProxy").join("\n  "), site.running.public);
    assert!(settings.contains("option httpchk"), "{settings}");
    let config = format!(
        "defaults\n  mode http\n  timeout connect 60s\n  timeout client 60s\n  timeout server 60s\n\
         listen readers\n  bind {proxy}\n  {settings}\n  server ghpulse {to} check inter 100ms\n\
         listen state\n  bind {state}\n  stats enable\n  stats uri /\n"
    );
    let file = dir.path().join("haproxy.cfg");
    let _proxy = start(&haproxy, (&file, &["-db", "-f"]), &config, proxy).await;
    until_some("its check finds ghpulse up", async || {
        let page = request(state, "GET", "/;csv", &[]).await.body;
        let row = page.lines().find(|line| line.starts_with("readers,ghpulse,"))?;
        row.contains(",L7OK,").then_some(())
    })
    .await;
    expect_served(&site, proxy).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_served_behind_caddy() {
    let Some(caddy) = installed("caddy") else {
        println!("skipped: readers_are_served_behind_caddy: no caddy here");
        return;
    };
    let (site, dir) = (site().await, tempfile::tempdir().unwrap());
    let proxy = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (settings, to) = (settings("Caddy").concat(), site.running.public);
    let config = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{} {{\n\tbind 127.0.0.1\n\
         \t{settings} {to}\n}}\n",
        proxy.port()
    );
    let file = dir.path().join("Caddyfile");
    let arguments = ["run", "--adapter", "caddyfile", "--config"];
    let _proxy = start(&caddy, (&file, &arguments), &config, proxy).await;
    expect_served(&site, proxy).await;
    site.end().await;
}
