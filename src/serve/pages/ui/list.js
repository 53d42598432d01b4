
// The list of events: shows a uniform sample of those between two updates, and how many more there
// were. When more arrive than a list can show, the page asks the server for every Nth event: the
// same sample for every client, with each type in proportion.
const ROWS = 60;
const WANTED = 20;
const MOST = 60;
// The list starts with every Nth of the latest events: a poll's pull requests arrive together.
const PREFILL = 12;
let sample = 1;
let came = 0;
let cameSince = performance.now();
const AT_ONCE = 4;
const LOOK = 2000;
const POOL = 128;
const ASKED = ["types", "repos", "languages", "orgs", "actors", "actions", "list"];
const filters = new URLSearchParams();
for (const [name, value] of new URLSearchParams(location.search)) {
  if (ASKED.includes(name) && value.trim()) filters.append(name, value);
}
const isFiltered = [...filters].length > 0;
let pool = { rows: [], all: 0 };
let queue = [];
let more = 0;
let isPaused = false;
let isLiveNow = false;
let cursor = null;
let missing = new Map();

// Reservoir sampling: each event has the same chance to be kept.
function keep(row) {
  pool.all += 1;
  if (pool.rows.length < POOL) {
    pool.rows.push([pool.all, row]);
    return;
  }
  const place = Math.floor(Math.random() * pool.all);
  if (place < POOL) pool.rows[place] = [pool.all, row];
}

// The usual action of a type is not shown.
const USUAL = ["created", "submitted", "started", "published", "added", "forked"];
const NAME = /^[\w.-]{1,100}$/;

// URLs on GitHub; null for an invalid name.
function repoAddress(repo) {
  const parts = String(repo ?? "").split("/");
  return parts.length === 2 && parts.every((part) => NAME.test(part) && !/^\.+$/.test(part))
    ? `https://github.com/${parts.join("/")}` : null;
}

function actorAddress(actor) {
  const app = /^([\w.-]{1,100})\[bot\]$/.exec(String(actor ?? ""));
  if (app) return `https://github.com/apps/${app[1]}`;
  return NAME.test(String(actor ?? "")) ? `https://github.com/${actor}` : null;
}

function thingAddress(type, repo, number) {
  const at = repoAddress(repo);
  if (at === null) return null;
  if (Number.isSafeInteger(number) && number > 0) {
    return `${at}/${String(type).startsWith("PullRequest") ? "pull" : "issues"}/${number}`;
  }
  return { PushEvent: `${at}/commits`, ReleaseEvent: `${at}/releases`,
    ForkEvent: `${at}/forks`, WatchEvent: `${at}/stargazers` }[type] ?? at;
}

function linked(text, address, kind) {
  const made = element(address === null ? "span" : "a", text, kind);
  if (address !== null) {
    made.href = address;
    made.target = "_blank";
    made.rel = "noopener noreferrer";
  }
  return made;
}

function eventRow(fields) {
  const [type, actor, repo] = [fields["event.type"], fields["event.actor.login"],
    fields["event.repo.name"]];
  const sent = fields["event.payload.action"];
  const number = fields["event.payload.number"] ?? fields["event.payload.pull_request.number"] ??
    fields["event.payload.issue.number"];
  const action = fields["payload.merge"] ? "merged" : sent;
  const [words, family] = wordsOf(type);
  const all = typeof action === "string" && !USUAL.includes(action) ? `${words} ${action}` : words;
  const row = element("li");
  const thing = thingAddress(type, repo, number);
  row.append(linked(all, thing, `kind ${family || "other"}`),
    linked(repo, repoAddress(repo), "repo"));
  const isNumbered = Number.isSafeInteger(number) && number > 0;
  if (isNumbered) row.append(linked(`#${number}`, thing, "number soft"));
  row.append(linked(actor, actorAddress(actor), "actor soft"));
  row.title = [all, isNumbered ? `${repo}#${number}` : repo, actor].map(plain).join(" · ");
  return row;
}

function showEvents() {
  if (document.hidden) return;
  if (queue.length === 0 && pool.all > 0 && !isPaused) {
    const room = AT_ONCE * Math.max(1, Math.ceil((1000 * pollSeconds()) / LOOK));
    const rows = pool.rows.sort((a, b) => a[0] - b[0]);
    const taken = Math.min(room, rows.length);
    queue = Array.from({ length: taken }, (_, at) =>
      rows[Math.floor(((at + 0.5) * rows.length) / taken)][1]);
    more = Math.round(pool.all * sample - taken);
    pool = { rows: [], all: 0 };
  }
  if (isPaused) {
    byId("sampled").textContent = `paused, ${grouped.format(pool.all * sample)} came since`;
    return;
  }
  if (queue.length === 0) return;
  const added = queue.splice(0, AT_ONCE).map(eventRow);
  if (queue.length === 0) {
    byId("sampled").textContent = more > 0 ? "an even sample" : "as they come";
    const about = sample > 1 ? "about " : "";
    if (more > 0) added.push(element("li", `+${about}${grouped.format(more)} more`, "more"));
  }
  addRows(added);
}

// Why the list is empty, in words; the first reason that applies.
function whyEmpty() {
  const all = [...links.values()];
  const frozen = status?.completeness?.troubles?.find(({ kind }) => kind === "frozen_feed");
  const source = status?.source;
  if (links.get("stream")?.refused) return "the filter is refused.";
  if (all.some((link) => link.lost !== null)) return "the connection to the server is lost.";
  if (!isLiveNow) return "connecting.";
  if (silentFor() > SILENCE) return "the server does not answer.";
  if (!status) return "the server has said nothing of its state yet.";
  if (partOf("source")?.state === "down") return "GitHub does not answer the server.";
  if (frozen) return `GitHub has shown nothing new since ${clock(frozen.since)} UTC.`;
  if (isFiltered) return "nothing that came matches the filter.";
  if (source?.mode === "anonymous") {
    return "without a token GitHub is read once in " +
      `${duration(source.poll_interval_seconds)}${nextRead(source)}.`;
  }
  if (!source) return "the server waits for the collector's events.";
  return source.last_poll_at ? "none has come through so far."
    : "the server is reading GitHub's first pages.";
}

function showEmpty() {
  const note = byId("no-events");
  note.hidden = byId("events").childElementCount > 0;
  if (note.hidden) return;
  const text = `No event yet: ${whyEmpty()}`;
  if (note.textContent !== text) note.textContent = text;
}

function addRows(rows) {
  const list = byId("events");
  // Keep the scroll position of a user who reads further down.
  const below = list.scrollHeight - list.scrollTop;
  const isTop = list.scrollTop < 4;
  list.prepend(...rows.reverse());
  while (list.childElementCount > ROWS) list.lastElementChild.remove();
  list.scrollTop = isTop ? 0 : list.scrollHeight - below;
  showEmpty();
}

const FIELDS = ["event.type", "event.actor.login", "event.repo.name", "event.payload.action",
  "event.payload.number", "event.payload.pull_request.number", "event.payload.issue.number",
  "payload.merge"];
const REPLAYED = 20000;
// Milliseconds until a refused filter is sent again.
const REFUSED_WAIT = 60000;
let noteUntil = 0;
let before = [];

function say(text) {
  byId("note").textContent = text;
  noteUntil = performance.now() + 30000;
}

function streamPath(away) {
  const query = new URLSearchParams(filters);
  query.set("fields", FIELDS.join(","));
  const prefill = isFiltered ? 1 : Math.max(PREFILL, sample);
  if (prefill > 1) query.set("sample", String(prefill));
  isLiveNow = false;
  before = [];
  if (cursor !== null && away !== null && away < REPLAYED) query.set("cursor", cursor);
  else query.set("latest", String(ROWS));
  return `/stream?${query}`;
}

function back(away) {
  missing = new Map();
  const span = duration(Math.round(away / 1000));
  say(away < REPLAYED ? `Back after ${span}: what came meanwhile is in the list's sample.`
    : `Back after ${span}: events of that time are not in the list; pictures and figures have them.`);
  asked.clear();
}

function takeEvent({ fields }) {
  lastEvent = performance.now();
  if (!isLiveNow) {
    // Events from before the connection are shown at once, and not counted as current.
    before.push(fields);
    if (before.length > 20 * ROWS) before.splice(0, 10 * ROWS);
    return;
  }
  came += 1;
  keep(fields);
}

// Requests a larger or smaller sample, on the same connection.
function adjust() {
  const now = performance.now();
  const { socket } = links.get("stream");
  if (!isLiveNow || now - cameSince < 5000 || socket?.readyState !== WebSocket.OPEN) return;
  const all = (1000 * came * sample) / (now - cameSince);
  [came, cameSince] = [0, now];
  const wanted = Math.max(1, Math.round(all / WANTED));
  if (all / sample <= MOST && wanted > sample / 3) return;
  sample = wanted;
  choose();
}

function choose() {
  const query = { fields: FIELDS };
  if (sample > 1) query.sample = sample;
  for (const [name, value] of filters) query[name] = [...(query[name] ?? []), ...value.split(",")];
  links.get("stream").socket?.send(JSON.stringify(query));
}

function takeStream(message) {
  if (message.type !== "hello") cursor = message.cursor ?? message.to ?? cursor;
  switch (message.type) {
  case "event":
    takeEvent(message);
    break;
  case "ack":
    // The sample that the server uses from here on.
    if (isLiveNow) byId("events").dataset.sample = sample;
    break;
  case "caught_up":
    if (isLiveNow) break;
    isLiveNow = true;
    showScope();
    sample = rate === null || isFiltered ? sample : Math.max(1, Math.round(rate / WANTED));
    [came, cameSince] = [0, performance.now()];
    if (!isFiltered) choose();
    const step = Math.max(1, before.length / ROWS);
    const rows = [];
    for (let at = before.length - 1; at >= 0; at -= step) rows.unshift(before[Math.round(at)]);
    addRows(rows.map(eventRow));
    before = [];
    break;
  case "gap":
    // Events that GitHub never showed are in the strip's estimate.
    if (message.reason === "upstream") break;
    missing.set(message.reason, (missing.get(message.reason) ?? 0) + (message.count ?? 0));
    say([...missing].map(([reason, lost]) =>
      `${lost || "Some"} events missing: ${WHY[reason] ?? reason}`).join(" · "));
    break;
  case "error":
    if (message.code !== "invalid_query" || isLiveNow) {
      say(`The server refuses: ${plain(message.message)}`);
      break;
    }
    // Refused again as long as the server does not change, for example its lists.
    Object.assign(links.get("stream"), { refused: message.message, wait: REFUSED_WAIT });
    showScope();
    break;
  }
}

for (const [name, title, example] of [["types", "Types", "PullRequest*"],
  ["repos", "Repositories", "rust-lang/*"], ["languages", "Languages", "Rust, Go"],
  ["actors", "People", "!*[bot]"]]) {
  const label = element("label", title);
  const input = element("input");
  Object.assign(input, { name, placeholder: example, autocomplete: "off", spellcheck: false,
    value: filters.getAll(name).join(", ") });
  label.append(input);
  byId("filters").append(label);
}
const go = element("button", "Apply");
go.type = "submit";
byId("filters").append(go);
byId("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const input of byId("filters").querySelectorAll("input")) {
    if (input.value.trim()) query.set(input.name, input.value.replace(/\s*,\s*/g, ",").trim());
  }
  location.search = String(query);
});
byId("filter").addEventListener("click", () => {
  const isOpen = byId("filters").hidden;
  byId("filters").hidden = !isOpen;
  byId("filter").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) byId("filters").querySelector("input").focus();
});
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  byId("pause").textContent = isPaused ? "Resume" : "Pause";
  byId("sampled").textContent = isPaused ? "paused" : "as they come";
});
// Which part of the page is filtered, or why the filter is refused.
const filterWords = plain([...filters].map(([name, value]) => `${name} ${value}`).join(" · "));
function showScope() {
  if (!isFiltered) return;
  const { refused } = links.get("stream") ?? {};
  byId("filtered").textContent = `Only: ${filterWords}`;
  byId("scope").hidden = false;
  byId("scope").classList.toggle("trouble", Boolean(refused));
  const text = refused ? `The filter is refused: ${plain(refused)}`
    : `Filter: ${filterWords}. It selects the events in the list; what is marked “unfiltered” ` +
      "is of all events.";
  if (byId("scope").textContent !== text) byId("scope").textContent = text;
}
document.body.classList.toggle("filtered", isFiltered);
titled = isFiltered ? plain([...filters.values()].join(", ")) : isWall ? "Wall" : "";
showScope();

function showParts(parts) {
  byId("parts").replaceChildren(...parts.map((part) => {
    const row = element("tr");
    row.append(element("td", part.name), element("td", part.state, part.state),
      element("td", part.since.replace("T", " ").replace(/\.\d+/, "")),
      element("td", [part.error, part.note].filter(Boolean).join("; ")));
    return row;
  }));
}
