
if (new URLSearchParams(location.search).has("wall")) {
  document.documentElement.classList.add("wall");
}

// Sockets that come back by themselves. What hangs is given up as what is closed.
const links = new Map();
const CONNECTING = 10000;
function follow(name, hooks) {
  const link = { socket: null, at: 0, heard: 0, again: 0, wait: 1000, why: "", lost: null };
  links.set(name, link);
  const lose = (why) => {
    const { socket } = link;
    link.socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const now = performance.now();
    link.why = why ? `: ${why}` : "";
    link.lost ??= now;
    link.again = now + link.wait;
    link.wait = Math.min(2 * link.wait, 30000);
    showPulse();
  };
  link.connect = () => {
    link.at = performance.now();
    const away = link.lost === null ? null : link.at - link.lost;
    const socket = new WebSocket(socketBase + hooks.path(away));
    link.socket = socket;
    socket.onopen = () => {
      link.heard = heard = performance.now();
      if (hooks.ask) socket.send(JSON.stringify(hooks.ask));
      if (link.lost !== null) hooks.back?.(link.heard - link.lost);
      link.lost = null;
      showPulse();
    };
    socket.onmessage = (message) => {
      link.heard = heard = performance.now();
      link.wait = 1000;
      hooks.take(JSON.parse(message.data));
    };
    socket.onclose = (closed) => lose(closed.reason);
  };
  link.check = (now) => {
    if (link.socket === null) {
      if (now >= link.again) link.connect();
    } else if (link.socket.readyState === WebSocket.CONNECTING) {
      if (now - link.at > CONNECTING) lose("no answer");
    } else if (now - link.heard > hooks.silence) {
      lose("silence");
    }
  };
  link.connect();
}

// What is so, in one word or two: nothing is called live that does not come.
function showPulse() {
  const now = performance.now();
  const all = [...links.values()];
  const lost = all.find((link) => link.lost !== null);
  const isLive = () => {
    if (lost) {
      const next = lost.socket ? " now" : ` in ${seconds(lost.again - now)} s`;
      showLink(`Connection lost${lost.why}. Trying again`, "lost", next);
    } else if (all.some((link) => link.socket?.readyState !== WebSocket.OPEN)) {
      showLink("Connecting…", "lost");
    } else if (silentFor() > SILENCE) {
      showLink("No message", "lost", ` for ${Math.floor(silentFor() / 1000)} s`);
    } else if (nothingNew(status)) {
      showLink(nothingNew(status), "lost");
    } else if (now - lastEvent > Math.max(30000, 3000 * pollSeconds()) && !isFiltered) {
      showLink("Connected, no event", "lost", ` for ${Math.floor((now - lastEvent) / 1000)} s`);
    } else {
      showLink("Live", "live");
      return true;
    }
    return false;
  };
  document.body.classList.toggle("stale", !isLive());
}

// Languages. Rows are kept by name, and what has no room is said.
const languages = new Map();
let ranked = [];
function showLanguages(map) {
  if (map) ranked = Object.entries(map).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  if (document.hidden) return;
  const most = ranked.length ? ranked[0][1] : 1;
  const room = byId("languages");
  const letter = parseFloat(getComputedStyle(room).fontSize);
  // Where the height is given, it decides; elsewhere the height follows.
  const given = getComputedStyle(room).flexGrow === "1";
  const rows = given ? Math.max(2, Math.floor(room.clientHeight / (2.12 * letter))) : 12;
  const columns = Math.max(1, Math.min(Math.ceil(ranked.length / rows),
    Math.floor(room.clientWidth / (11 * letter))));
  room.style.columnCount = columns;
  byId("no-languages").hidden = ranked.length > 0;
  const [shown, others] = [ranked.slice(0, rows * columns), ranked.slice(rows * columns)];
  byId("unlisted").textContent = others.length
    ? `+${others.length} more, ${grouped.format(others.reduce((sum, one) => sum + one[1], 0))}`
    : "";
  const kept = new Set(shown.map(([name]) => name));
  for (const name of languages.keys()) if (!kept.has(name)) languages.delete(name);
  const boxes = shown.map(([name, count]) => {
    let box = languages.get(name);
    if (!box) {
      box = element("div", null, "language");
      box.append(element("i"), element("span", name), element("b"));
      languages.set(name, box);
    }
    box.children[0].style.transform = `scaleX(${(count / most).toFixed(4)})`;
    const text = grouped.format(count);
    if (box.children[2].textContent !== text) box.children[2].textContent = text;
    return box;
  });
  const isSame = boxes.length === room.childElementCount &&
    boxes.every((box, place) => room.children[place] === box);
  if (!isSame) room.replaceChildren(...boxes);
}

// How many came in which second, by the time they came: a slow timer changes nothing in it.
const KINDS = [["push", "pushes"], ["pull", "pull requests"], ["issue", "issues"],
  ["star", "stars, forks, releases"], ["other", "others"]];
const KEPT = 900;
const perSecond = new Map();
const downs = [];
let counting = null;
let lastEvent = performance.now();
const secondNow = () => Math.floor(performance.now() / 1000);
const pollSeconds = () => status?.source?.poll_interval_seconds ?? 1;

function count(family) {
  const second = secondNow();
  let counts = perSecond.get(second);
  if (!counts) {
    counts = [0, 0, 0, 0, 0];
    perSecond.set(second, counts);
    for (const old of perSecond.keys()) if (old < second - KEPT) perSecond.delete(old);
  }
  counts[Math.max(0, KINDS.findIndex(([kind]) => kind === (family || "other")))] += 1;
}

// Counts of the whole seconds from one on, up to another.
function summed(from, to) {
  const sums = [0, 0, 0, 0, 0];
  for (let second = from; second < to; second += 1) {
    perSecond.get(second)?.forEach((value, place) => { sums[place] += value; });
  }
  return sums;
}

const asRate = (value) => (value < 10 ? value.toFixed(1) : grouped.format(Math.round(value)));
function showRate() {
  const now = secondNow();
  const span = Math.max(10, Math.ceil(2 * pollSeconds()));
  const from = Math.max(now - span, counting ?? now);
  const isKnown = now - from >= 2 && silentFor() <= SILENCE;
  const sums = summed(from, now).map((value) => value / (now - from));
  const all = sums.reduce((sum, value) => sum + value, 0);
  byId("rate").textContent = isKnown ? asRate(all) : "–";
  byId("rate-of").textContent = `${isFiltered ? "events that match" : "events"} a second`;
  legend(byId("type-legend"), KINDS.map(([kind, words], place) =>
    [kind, isKnown ? `${words} ${asRate(sums[place])}` : words]));
}

let begun = null;
function showTypes() {
  if (document.hidden || begun === null) return;
  const now = secondNow();
  const span = Math.min(KEPT, Math.max(60, now - begun));
  const bin = Math.max(2, Math.ceil(span / 150), Math.ceil(pollSeconds()));
  const steps = Math.ceil(span / bin);
  const end = Math.floor(now / bin) * bin;
  const start = end - steps * bin;
  const isDown = (second) => second < begun ||
    downs.some(([from, to]) => second >= from && second <= (to ?? now));
  const bins = Array.from({ length: steps }, (_, at) => start + at * bin);
  const values = bins.map((from) => (isDown(from) ? null
    : summed(from, from + bin).map((value) => value / bin)));
  const layers = KINDS.map(([kind], place) =>
    ({ kind, values: values.map((sums) => sums?.[place] ?? 0) }));
  const back = (part) => duration(Math.round(span * part));
  stacked(byId("type-chart"), layers, [[0, `${back(1)} ago`, "start"], [steps / 2, back(0.5)],
    [steps, "now", "end"]], "Events a second by type; the table after it has the same by minute",
    bins.map((from) => from >= begun && isDown(from)));
  const minutes = Array.from({ length: Math.ceil(span / 60) }, (_, at) => at);
  fillTable(byId("type-table"), "Events a second by type",
    ["minutes ago", ...KINDS.map(([, words]) => words)], minutes.map((ago) => {
      const [from, to] = [Math.max(begun, now - 60 * (ago + 1)), now - 60 * ago];
      return [ago, ...summed(from, to).map((value) => asRate(value / Math.max(1, to - from)))];
    }));
}

// The year's figures: as the server said last, and what came since.
const DAY = [["open", "opened"], ["merge", "merged"], ["close", "closed"]];
let year = null;
let yearAt = -Infinity;
let isDrawn = true;
const today = () => new Date().toISOString().slice(0, 10);
function showFigures() {
  if (!year) return;
  for (const name of ["open", "merge", "close", "dev"]) {
    byId(name).textContent = grouped.format(Number(year[`${name}Map`]?.[today()] ?? 0));
  }
  byId("year").textContent = grouped.format(Number(year.sumMap.dev));
}

function addToYear(day, fields) {
  if (!year || typeof day !== "string" || day.slice(0, 4) !== today().slice(0, 4)) return;
  const add = (map, name, by) => { if (by > 0) map[name] = Number(map[name] ?? 0) + by; };
  add(year.openMap, day, fields["payload.open"]);
  add(year.mergeMap, day, fields["payload.merge"]);
  add(year.closeMap, day, fields["payload.close"]);
  add(year.devMap, day, fields["payload.devDay"]);
  add(year.sumMap, "dev", fields["payload.devYear"]);
  isDrawn = false;
}

function showYear() {
  if (!year || document.hidden) return;
  isDrawn = true;
  const first = Date.UTC(Number(today().slice(0, 4)), 0, 1);
  const days = [];
  for (let day = first; day <= Date.now(); day += 86400000) {
    days.push(new Date(day).toISOString().slice(0, 10));
  }
  const value = (name, day) => (year[`${name}Map`]?.[day] === undefined ? null
    : Number(year[`${name}Map`][day]));
  const layers = DAY.map(([name, kind]) => ({ kind,
    values: days.map((day, place) => (place === days.length - 1 ? null : value(name, day))),
    last: value(name, today()) }));
  const known = days.find((name) => value("open", name) !== null);
  byId("by-day-of").textContent = known === undefined || known === days[0]
    ? "by day of this year, UTC" : `by day of this year, UTC, counted since ${known}`;
  const months = [];
  days.forEach((day, place) => {
    if (!day.endsWith("-01")) return;
    const month = new Date(day).toLocaleString("en", { month: "short", timeZone: "UTC" });
    months.push([place, month, place === 0 ? "start" : "middle"]);
  });
  lines(byId("day-chart"), layers, months,
    "Pull requests opened, merged, closed by day; the table after it has them by month");
  legend(byId("day-legend"), [...DAY.map(([, words]) =>
    [words, words === "closed" ? "closed unmerged" : words])]);
  const sum = (name, month) => days.filter((day) => day.startsWith(month))
    .reduce((all, day) => all + (value(name, day) ?? 0), 0);
  fillTable(byId("day-table"), "Pull requests of this year by month, UTC",
    ["month", "opened", "merged", "closed unmerged"],
    [...new Set(days.map((day) => day.slice(0, 7)))].map((month) =>
      [month, ...DAY.map(([name]) => grouped.format(sum(name, month)))]));
}

// The first message is the state as of now. Between two of them what comes is added.
function refreshYear() {
  yearAt = performance.now();
  const socket = new WebSocket(`${socketBase}/sampling`);
  const giveUp = setTimeout(() => socket.close(), CONNECTING);
  socket.onmessage = (message) => {
    const said = JSON.parse(message.data);
    if (said.firstMessageTag) {
      year = said;
      showFigures();
      showYear();
    }
    clearTimeout(giveUp);
    socket.close();
  };
}
