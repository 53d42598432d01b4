//! A client of Chromium's debugging protocol, limited to what the tests need.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::common::running::{soon, until_some};

/// Possible names of the browser.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A headless browser with its own process and profile.
pub(crate) struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
    /// `HOST:PORT` of the debugging server.
    address: String,
    path: String,
}

/// A tab, with what it has reported so far.
pub(crate) struct Page {
    socket: WebSocketStream<TcpStream>,
    session: String,
    next: u64,
    /// Errors and warnings of the console, exceptions, and policy violations.
    pub(crate) complaints: Vec<String>,
    /// URLs of all requests, whatever their initiator.
    pub(crate) requests: Vec<String>,
}

impl Browser {
    /// `None` if no browser is installed.
    pub(crate) async fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let mut child = NAMES.iter().find_map(|name| spawn(name, profile.path()))?;
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the browser runs");
                if let Some((_, url)) = line.split_once("listening on ws://") {
                    break url.to_owned();
                }
            }
        };
        let url = soon("the browser listens", listening).await;
        // Drain its remaining output, so that it does not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (address, path) = url.split_once('/').unwrap();
        Some(Self {
            child,
            _profile: profile,
            address: address.to_owned(),
            path: format!("/{path}"),
        })
    }

    /// Opens a tab with this size and colour scheme.
    pub(crate) async fn page(&mut self, width: u32, height: u32, scheme: &str) -> Page {
        let mut page = self.connect().await;
        let target = page.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = page.call("Target.attachToTarget", attach).await;
        attached["sessionId"].as_str().unwrap().clone_into(&mut page.session);
        for domain in ["Runtime", "Log", "Network", "Page"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.resize(width, height).await;
        page.emulate("screen", scheme).await;
        page
    }

    /// Connects to the browser rather than to one page.
    async fn connect(&self) -> Page {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let url = format!("ws://{}{}", self.address, self.path);
        let (socket, _) = client_async(url, stream).await.unwrap();
        let (complaints, requests) = (Vec::new(), Vec::new());
        Page { socket, session: String::new(), next: 0, complaints, requests }
    }

    /// Closes the browser. If it were killed, its helpers would continue to write to the removed
    /// profile.
    pub(crate) async fn end(mut self) {
        self.connect().await.call("Browser.close", json!({})).await;
        soon("the browser ends", self.child.wait()).await.unwrap();
    }
}

fn spawn(name: &str, profile: &Path) -> Option<Child> {
    let mut command = Command::new(name);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--no-first-run", "--hide-scrollbars", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{name} cannot be run: {error}"),
    }
}

impl Page {
    /// Opens a page, and waits until its document, styles and scripts are loaded.
    pub(crate) async fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(answer.get("errorText"), None, "{answer}");
        super::shows(self, "document.readyState === 'complete'").await;
    }

    /// Gives the tab another size.
    pub(crate) async fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn emulate(&mut self, media: &str, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let media = json!({"media": media, "features": [feature]});
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Shows the page as it is printed.
    pub(crate) async fn print_media(&mut self, scheme: &str) {
        self.emulate("print", scheme).await;
    }

    /// Shows the tab in front of the others, which are hidden.
    pub(crate) async fn bring_to_front(&mut self) {
        self.call("Page.bringToFront", json!({})).await;
    }

    /// Runs no script of a page from now on.
    pub(crate) async fn disable_scripts(&mut self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    }

    /// Opens a page in a tab without scripts, and waits for it.
    pub(crate) async fn open_without_scripts(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(answer.get("errorText"), None, "{answer}");
        let page = tokio::sync::Mutex::new(self);
        let complete = async || {
            let state = page.lock().await.evaluate("document.readyState").await;
            (state == "complete").then_some(())
        };
        until_some("the page is loaded", complete).await;
    }

    /// Returns the value of an expression.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits, in the page, until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let promise = format!(
            "new Promise((resolve) => {{ const look = () => {{ let is = false; \
             try {{ is = {expression}; }} catch {{}} \
             if (is) resolve(true); else setTimeout(look, 50); }}; look(); }})"
        );
        assert_eq!(self.evaluate(&promise).await, json!(true));
    }

    /// Waits for an element and clicks it, in one evaluation: the page may replace its elements at
    /// any time.
    pub(crate) async fn click(&mut self, selector: &str) {
        let what = format!("(document.querySelector('{selector}').click(), true)");
        super::shows(self, &what).await;
    }

    /// Saves a screenshot as PNG.
    pub(crate) async fn screenshot(&mut self, name: &str) {
        self.capture(name, json!({"format": "png"})).await;
    }

    /// Saves a screenshot as WebP, which is a third as large. Returns its size in bytes.
    pub(crate) async fn picture(&mut self, name: &str) -> usize {
        self.capture(name, json!({"format": "webp", "quality": 85})).await
    }

    /// The same of one element, by a JavaScript expression, at twice the size.
    pub(crate) async fn picture_of(&mut self, element: &str, name: &str) -> usize {
        let clip = format!(
            "(() => {{ const clip = ({element}).getBoundingClientRect(); return {{ \
             x: clip.x + scrollX, y: clip.y + scrollY, width: clip.width, \
             height: clip.height, scale: 2 }}; }})()"
        );
        let clip = self.evaluate(&clip).await;
        let format = json!({
            "format": "webp", "quality": 80, "clip": clip, "captureBeyondViewport": true,
        });
        self.capture(name, format).await
    }

    async fn capture(&mut self, name: &str, format: Value) -> usize {
        let answer = self.call("Page.captureScreenshot", format).await;
        let data = answer["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &bytes).unwrap();
        bytes.len()
    }

    /// Calls a method, and records the events that arrive before its response.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut call = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            call["sessionId"] = Value::from(self.session.as_str());
        }
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let message = soon(method, self.socket.next()).await.expect("the browser answers");
            let Message::Text(text) = message.unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                assert_eq!(message.get("error"), None, "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.request(&parameters["request"]["url"]),
            "Network.webSocketCreated" => self.request(&parameters["url"]),
            "Runtime.exceptionThrown" => self.complaints.push(parameters.to_string()),
            "Runtime.consoleAPICalled"
                if matches!(parameters["type"].as_str(), Some("error" | "warning" | "assert")) =>
            {
                self.complaints.push(parameters["args"].to_string());
            }
            "Log.entryAdded"
                if matches!(parameters["entry"]["level"].as_str(), Some("error" | "warning")) =>
            {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }

    fn request(&mut self, url: &Value) {
        self.requests.push(url.as_str().unwrap_or_default().to_owned());
    }
}
