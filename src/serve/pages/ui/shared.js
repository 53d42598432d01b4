"use strict";
// Shared by all pages. Outside data are only ever set as text.
const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);
const base = location.pathname.replace(/\/(play|status|topics|scripts|docs)?\/*$/, "");
const webBase = location.origin + base;
const socketBase = webBase.replace(/^http/, "ws");
const grouped = new Intl.NumberFormat("en");

// Control characters and marks of writing direction are shown by their number, so that a name with
// them does not look like another one.
const UNSEEN = new RegExp("[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e" +
  "\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]", "g");
function plain(text) {
  return String(text).replace(UNSEEN, (found) =>
    `[U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = plain(text);
  if (kind) made.className = kind;
  return made;
}

const FAMILIES = [[/^Push/, "push"], [/^PullRequest/, "pull"], [/^Issue/, "issue"],
  [/^(Watch|Fork|Release|Sponsor)/, "star"]];

// Types whose name says something else on GitHub's own pages, or is long.
const SHORT = { Watch: "star", Issues: "issue", IssueComment: "comment",
  PullRequestReviewComment: "PR comment" };

// An event's type in words, and the colour of its kind.
function wordsOf(type) {
  const name = String(type ?? "?").replace(/Event$/, "");
  const family = FAMILIES.find(([pattern]) => pattern.test(name))?.[1] ?? "";
  if (Object.hasOwn(SHORT, name)) return [SHORT[name], family];
  const words = name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase()
    .replace(/^pull request/, "PR");
  return [words, family];
}

for (const link of document.querySelectorAll("nav a")) {
  link.href = `${base}/${link.dataset.to}`;
  const here = location.pathname.slice(base.length).replace(/\//g, "");
  if (link.dataset.to === here) link.setAttribute("aria-current", "page");
  // The wall has the filter of the page that leads to it.
  if (link.dataset.to === "?wall" && here === "" && location.search) {
    const { searchParams } = new URL(location);
    searchParams.delete("wall");
    link.search = `?wall${String(searchParams) && `&${searchParams}`}`;
  }
}

// When the server last sent anything, in milliseconds of `performance.now()`.
const SILENCE = 5000;
let heard = performance.now();
const silentFor = () => performance.now() - heard;
const seconds = (milliseconds) => Math.max(0, Math.ceil(milliseconds / 1000));

// Counting seconds are for the eye only: a screen reader reads the words once.
function showLink(text, kind, counted) {
  const link = byId("link");
  const whole = text + (counted ?? "");
  if (link.textContent === whole && link.className === kind) return;
  link.className = kind;
  if (link.firstChild?.nodeValue !== text) link.replaceChildren(text);
  while (link.childNodes.length > 1) link.lastChild.remove();
  if (counted === undefined) return;
  const shown = element("span", counted);
  shown.setAttribute("aria-hidden", "true");
  link.append(shown);
}

// Shows whether the server answers, and for how long it has not.
function showSilence() {
  const isSilent = silentFor() > SILENCE;
  document.body.classList.toggle("stale", isSilent);
  if (isSilent) showLink("No answer", "lost", ` for ${Math.floor(silentFor() / 1000)} s`);
  else showLink("Live", "live");
}

function showVerdict(words, kind) {
  byId("verdict").className = `verdict ${kind}`;
  if (byId("verdict").textContent !== words) byId("verdict").textContent = words;
}

// The title of the tab: what is filtered, the page, the node where there may be several, and whether
// the events are simulated.
const pageTitle = document.title;
let titled = "";
function showTitle({ node, simulated }) {
  const where = node ?? (about.live ? location.host : "");
  document.title = [titled, pageTitle, where].filter(Boolean).map(plain).join(" · ") +
    (simulated ? " (simulated)" : "");
}

// The last response of `/status`, and its time.
const STATUS_EVERY = 3000;
let status = null;
let statusAt = -Infinity;
let asking = false;

function percent(share) {
  const value = 100 * share;
  // Nearly all and nearly nothing are not rounded to all or nothing.
  if ((value > 99 && value < 100) || (value > 0 && value < 1)) {
    return String(Math.min(99.9, Math.max(0.1, Math.round(10 * value) / 10)));
  }
  return String(Math.round(value));
}

function duration(value) {
  if (value < 120) return `${value < 9.5 ? Math.round(10 * value) / 10 : Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

const level = (value, warn, bad) => (value > bad ? "bad" : value > warn ? "warn" : "");

// The figures of the strip: text, level, and a longer explanation.
function measures(said) {
  const all = said.completeness?.all;
  const missed = all?.missed_share;
  const shown = [];
  if (missed) {
    const [low, middle, high] = missed.map((share) => percent(1 - share));
    shown.push([`seen ${middle} % (${high} to ${low})`, level(missed[1], 0.02, 0.1),
      `An estimate of the last ten minutes. ${said.completeness.method ?? ""}`]);
  } else {
    shown.push(["seen unknown", "warn", "How much is missed cannot be said now."]);
  }
  const stars = said.audit?.shares?.stars?.share;
  if (stars) {
    const [low, middle, high] = stars.map(percent);
    shown.push([`stars ${middle} % (${low} to ${high})`, level(1 - stars[2], 0.05, 0.2),
      `By GitHub's totals of ${said.audit.panel.repositories} repositories. ${said.audit.method}`]);
  }
  const lag = all?.lag_seconds?.p50;
  shown.push(lag === undefined || lag === null ? ["lag unknown", "warn", ""]
    : [`lag ${duration(lag)}`, level(lag, 60, 900), "Half of the events came sooner after " +
      "GitHub's own time of them."]);
  const share = said.enrichment?.share;
  if (share !== undefined && share !== null) {
    shown.push([`enriched ${percent(share)} %`, level(1 - share, 0.05, 0.5),
      "Of the events that came without details, in ten minutes."]);
  } else {
    shown.push(["enriched unknown", "", "No event needed details in the last ten minutes."]);
  }
  const isStandby = said.parts?.some(({ name, note }) => name === "source" && note);
  return [...shown, isStandby ? ["on standby", "", "Another collector polls GitHub."]
    : tokens(said.source)];
}

// When an anonymous source is read again; empty while it is.
function nextRead(source) {
  const next = seconds(Date.parse(source?.next_poll_at) - Date.now());
  return next > 0 ? `, next read in ${next} s` : "";
}

// The tokens of an anonymous source, of which GitHub accepts none; empty when there are none.
function refusedTokens(source) {
  const count = source?.mode === "anonymous" ? source.tokens_benched ?? 0 : 0;
  return count > 0 ? `${count} token${count === 1 ? "" : "s"}` : "";
}

function tokens(source) {
  if (!source) return ["source unknown", "warn", ""];
  const refused = refusedTokens(source);
  if (refused) {
    return [`${refused} refused${nextRead(source)}`, "bad", "Put a good token into github.tokens."];
  }
  if (source.mode === "anonymous") return [`no token${nextRead(source)}`, "warn", ""];
  if (source.mode !== "tokens") return [source.mode, "", ""];
  const [usable, benched] = [source.tokens_usable, source.tokens_benched];
  const plural = usable + benched === 1 ? "" : "s";
  if (benched > 0) {
    return [`${usable} of ${usable + benched} token${plural}`, usable > 0 ? "warn" : "bad",
      "The others rest or are refused."];
  }
  return [`${usable} token${plural}`, usable > 0 ? "" : "bad", ""];
}

// Messages that show that the query was accepted: the next reconnection is not delayed.
const GOES_WELL = ["event", "entity", "caught_up", "heartbeat"];

// A program that reads `/stream` with this query and resumes after a lost connection; `show` is what
// it does with each message.
function followExample(asked, show) {
  const begun = ["since", "latest"].filter((name) => name in asked);
  const again = [...begun.map((name) => `query.delete("${name}");`), 'query.set("cursor", cursor);'];
  return `let cursor, timer, wait = 500;
function follow() {
  const query = new URLSearchParams(${JSON.stringify(asked)});
  if (cursor) { ${again.join(" ")} }
  const socket = new WebSocket("${socketBase}/stream?" + query);
  const alive = () => { clearTimeout(timer); timer = setTimeout(() => socket.close(), 40000); };
  alive();
  socket.onmessage = ({ data }) => {
    alive();
    const message = JSON.parse(data);
    if (message.type !== "hello") cursor = message.cursor ?? cursor;
    if (message.type === "gap") console.warn("missing", message);
    ${show}
    if (${JSON.stringify(GOES_WELL)}.includes(message.type)) wait = 500;
  };
  socket.onclose = () => { setTimeout(follow, wait); wait = Math.min(2 * wait, 30000); };
}
follow();`;
}

// Why events are missing from a stream.
const WHY = { retention: "kept no longer, or damaged", slow: "read too slowly",
  upstream: "not read from GitHub, lost, or too large for the broker", bus_changed: "on another bus" };

const partOf = (name) => (status?.parts ?? []).find((part) => part.name === name);
const clock = (time) => String(time ?? "").replace(/^.*T(\d\d:\d\d).*$/, "$1");

// The current problems in words, each with its name.
function troubles(said) {
  // Without a token the source is always degraded, which its own line explains.
  const isExpected = ({ name, state }) => name === "source" && state === "degraded" &&
    said.source?.mode === "anonymous" && !refusedTokens(said.source);
  const parts = (said.parts ?? []).filter((part) =>
    ["degraded", "down"].includes(part.state) && !isExpected(part));
  const feed = said.completeness?.troubles ?? [];
  return [
    ...feed.map((trouble) => `${String(trouble.kind ?? "feed").replaceAll("_", " ")}: ` +
      `${String(trouble.text).replace(/T(\d\d:\d\d):[\d:.]+Z/g, " $1 UTC")} ` +
      (/ since /.test(trouble.text) ? "" : `(since ${clock(trouble.since)} UTC)`)),
    ...parts.map((part) => `${part.name} ${part.state}${part.error ? `: ${part.error}` : ""}`),
  ];
}

// Why no events can arrive although the server responds; empty without such a reason.
function nothingNew(said) {
  const feed = said?.completeness?.troubles ?? [];
  if (feed.some((trouble) => trouble.kind === "frozen_feed")) return "GitHub shows nothing new";
  const source = (said?.parts ?? []).find((part) => part.name === "source");
  return source?.state === "down" ? "GitHub is not read" : "";
}

function verdict(said) {
  const wrong = troubles(said).length;
  if (said.ready !== true) return ["Not ready", "bad"];
  if (wrong > 0) return [`Ready, with ${wrong === 1 ? "a trouble" : `${wrong} troubles`}`, "warn"];
  const few = measures(said).filter(([, kind]) => kind !== "").map(([text]) => text);
  return few.length ? [`Ready, but ${few.join(", ")}`, "warn"] : ["Ready, all is well", "ok"];
}

function showTruth() {
  const strip = byId("strip");
  const age = performance.now() - statusAt;
  const shown = status ? measures(status) : [["seen unknown", "warn", "Nothing was said yet."]];
  if (status && age > 3 * STATUS_EVERY) {
    shown.push([`as of ${duration(Math.round(age / 1000))} ago`, "warn", ""]);
  }
  strip.classList.toggle("old", age > 3 * STATUS_EVERY);
  const whole = JSON.stringify(shown);
  if (strip.dataset.said !== whole) {
    strip.dataset.said = whole;
    strip.replaceChildren(...shown.map(([text, kind, title]) => {
      const item = element("li", text, kind);
      if (title) item.title = title;
      return item;
    }));
  }
  if (!status) return;
  const wrong = troubles(status).map(plain).join(" · ");
  byId("trouble").hidden = wrong === "";
  if (byId("trouble").textContent !== wrong) byId("trouble").textContent = wrong;
  byId("simulated").hidden = !status.simulated;
  const isAnonymous = status.source?.mode === "anonymous";
  byId("anonymous").hidden = !isAnonymous;
  if (isAnonymous) {
    const refused = refusedTokens(status.source);
    byId("pace").textContent = (refused ? `GitHub accepts none of the tokens (${refused}), and ` +
      "is read" : "GitHub is read") + ` once in ${duration(status.source.poll_interval_seconds)}`;
  }
}

// The text of a response that passes the check, or null: the time since the last response shows the
// failure.
async function fetched(path, check = JSON.parse) {
  try {
    const answer = await fetch(base + path,
      { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) return null;
    const text = await answer.text();
    check(text);
    return text;
  } catch {
    return null;
  }
}

// Refreshes at once when the page becomes visible: timers of hidden pages are slow.
const onStatus = [];
async function look() {
  if (asking || document.hidden) return;
  asking = true;
  const said = await fetched("/status?format=json");
  asking = false;
  try {
    if (said === null) return;
    status = JSON.parse(said);
    heard = statusAt = performance.now();
    showTitle(status);
    for (const hook of onStatus) hook(status);
  } finally {
    showTruth();
  }
}
if (about.live !== false) {
  byId("simulated").hidden = !about.simulated;
  // The scripts that follow may add words to the title.
  queueMicrotask(() => showTitle({ simulated: about.simulated }));
  showTruth();
  look();
  setInterval(look, STATUS_EVERY);
  setInterval(showTruth, 1000);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}
