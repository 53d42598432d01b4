// Measures the dashboard's cost in a browser: node tests/it/browser/cost.mjs URL [SECONDS]
//
// Starts a headless Chromium on the page and prints one line of JSON: bytes of the page as sent,
// milliseconds until the first event is shown, the fraction of a core that the browser used, and
// the longest time between two frames. Needs Chromium, and the package `ws` where `.ci/setup test`
// puts it.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";

const [url, seconds = "30"] = process.argv.slice(2);
const cache = process.env.XDG_CACHE_HOME ?? `${os.homedir()}/.cache`;
const WebSocket = createRequire(`${cache}/ghpulse-tests/package.json`)("ws");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const page = await fetch(url, { headers: { accept: "text/html", "accept-encoding": "gzip" } });
const coding = page.headers.get("content-encoding") ?? "none";
const bytes = Number(page.headers.get("content-length"));
await page.body.cancel();

const profile = fs.mkdtempSync(`${os.tmpdir()}/ghpulse-cost-`);
const browser = spawn("chromium", ["--headless=new", "--no-sandbox", "--disable-gpu",
  "--remote-debugging-port=0", `--user-data-dir=${profile}`, "--window-size=1920,1080",
  "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
const at = await new Promise((resolve) => {
  let text = "";
  browser.stderr.on("data", (piece) => {
    text += piece;
    const found = /listening on (ws:\S+)/.exec(text);
    if (found) resolve(found[1]);
  });
});
const socket = new WebSocket(at);
await new Promise((resolve) => socket.on("open", resolve));
const waiting = new Map();
let next = 0;
socket.on("message", (data) => {
  const message = JSON.parse(data);
  waiting.get(message.id)?.(message.result ?? message);
  waiting.delete(message.id);
});
const call = (method, params = {}, sessionId) => new Promise((resolve) => {
  next += 1;
  waiting.set(next, resolve);
  socket.send(JSON.stringify({ id: next, method, params, sessionId }));
});
const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const evaluate = async (expression) => (await call("Runtime.evaluate",
  { expression, returnByValue: true, awaitPromise: true }, sessionId)).result?.value;

// CPU seconds of the browser and all its processes, from /proc.
function used() {
  const ticks = new Map();
  for (const pid of fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const [, after] = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
      const field = after.split(" ");
      ticks.set(Number(pid), [Number(field[1]), Number(field[11]) + Number(field[12])]);
    } catch {
      // The process has just exited.
    }
  }
  const isOurs = (pid) => pid === browser.pid || (ticks.has(pid) && isOurs(ticks.get(pid)[0]));
  return [...ticks].filter(([pid]) => isOurs(pid)).reduce((sum, [, [, own]]) => sum + own, 0) / 100;
}

await call("Page.enable", {}, sessionId);
await call("Page.bringToFront", {}, sessionId);
const began = performance.now();
await call("Page.navigate", { url }, sessionId);
let first = null;
while (first === null && performance.now() - began < 20000) {
  const rows = await evaluate("document.querySelectorAll('#events li').length");
  if (rows > 0) first = Math.round(performance.now() - began);
  else await wait(20);
}
await wait(8000);
await evaluate(`window.longest = 0; window.frames2 = 0; { let last = performance.now();
  const look = (now) => { window.longest = Math.max(window.longest, now - last); last = now;
    window.frames2 += 1; requestAnimationFrame(look); }; requestAnimationFrame(look); } true`);
const [from, start] = [used(), performance.now()];
await wait(1000 * Number(seconds));
const share = (used() - from) / ((performance.now() - start) / 1000);
const [longest, frames, rate] = await evaluate(
  "[window.longest, window.frames2, document.getElementById('rate').textContent]");
console.log(JSON.stringify({ bytes, coding, first_event_ms: first, core: +share.toFixed(3),
  longest_frame_ms: Math.round(longest), frames, rate }));
const ended = new Promise((resolve) => browser.on("exit", resolve));
await call("Browser.close");
browser.kill();
await ended;
fs.rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
process.exit(0);
