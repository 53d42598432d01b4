
const isWall = new URLSearchParams(location.search).has("wall");
document.documentElement.classList.toggle("wall", isWall);

// Sockets that reconnect automatically. A hanging socket is treated like a closed one.
const links = new Map();
const CONNECTING = 10000;
function follow(name, hooks) {
  const link = { socket: null, at: 0, heard: 0, again: 0, wait: 1000, why: "", lost: null,
    refused: null };
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
      if (link.lost !== null && !link.refused) hooks.back?.(link.heard - link.lost);
      link.lost = null;
      showPulse();
    };
    socket.onmessage = (message) => {
      link.heard = heard = performance.now();
      const said = JSON.parse(message.data);
      // `hello` comes before a refusal as well: it does not shorten the wait.
      if (hooks.goesWell?.(said) ?? true) [link.wait, link.refused] = [1000, null];
      hooks.take(said);
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

// After this time without an event the page says so: 30 s, three polls, or ten usual intervals.
const longSilence = () => Math.max(30000, 3000 * pollSeconds(), rate ? 10000 / rate : 0);

// The state in one or two words: without incoming data, nothing is called live.
function showPulse() {
  const now = performance.now();
  const all = [...links.values()];
  const lost = all.find((link) => link.lost !== null && !link.refused);
  const refused = all.find((link) => link.refused);
  const isLive = () => {
    if (lost) {
      const next = lost.socket ? " now" : ` in ${seconds(lost.again - now)} s`;
      showLink(`Connection lost${lost.why}. Trying again`, "lost", next);
    } else if (all.some((link) => !link.refused && link.socket?.readyState !== WebSocket.OPEN)) {
      showLink("Connecting…", "lost");
    } else if (silentFor() > SILENCE) {
      showLink("No message", "lost", ` for ${Math.floor(silentFor() / 1000)} s`);
    } else if (nothingNew(status)) {
      showLink(nothingNew(status), "lost");
    } else if (refused) {
      // All other figures are still live.
      const next = refused.socket ? " now" : ` in ${seconds(refused.again - now)} s`;
      showLink("Filter refused. Trying again", "lost", next);
      return true;
    } else if (now - lastEvent > longSilence()) {
      showLink("Connected, no event", "lost", ` for ${Math.floor((now - lastEvent) / 1000)} s`);
    } else {
      showLink("Live", "live");
      return true;
    }
    return false;
  };
  document.body.classList.toggle("stale", !isLive());
}

// Languages, ranked. Rows are kept by name; the number of languages that do not fit is shown.
const languages = new Map();
let ranked = [];
let hourNow = new Map();
let hourBefore = null;
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

// The change from the previous hour, in words.
function changeOf(name) {
  const [now, before] = [hourNow.get(name), hourBefore?.[name] ?? 0];
  if (hourBefore === null || now === undefined) return ["", ""];
  if (before === 0) return ["new", "up"];
  const percent = Math.round((100 * (now - before)) / before);
  if (percent === 0) return ["±0 %", ""];
  return percent > 0 ? [`▲ ${grouped.format(percent)} %`, "up"]
    : [`▼ ${grouped.format(-percent)} %`, "down"];
}

function showLanguages(map) {
  if (map) ranked = Object.entries(map).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  if (document.hidden) return;
  const most = ranked.length ? ranked[0][1] : 1;
  const room = byId("languages");
  const letter = parseFloat(getComputedStyle(room).fontSize);
  // If the layout sets a height, it limits the rows; otherwise the height follows.
  const given = getComputedStyle(room).flexGrow === "1";
  const rows = given ? Math.max(2, Math.floor(room.clientHeight / (2.12 * letter))) : 12;
  const columns = Math.max(1, Math.min(Math.ceil(ranked.length / rows),
    Math.floor(room.clientWidth / (14 * letter))));
  room.style.columnCount = columns;
  byId("no-languages").hidden = ranked.length > 0;
  byId("no-languages").textContent = status?.source?.mode === "anonymous"
    ? "GitHub says the language only with a token (github.tokens)." : "Nothing counted yet.";
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
      box.append(element("i"), element("span", name), element("em"), element("b"));
      languages.set(name, box);
    }
    box.children[0].style.transform = `scaleX(${(count / most).toFixed(4)})`;
    const [change, way] = changeOf(name);
    if (box.children[2].textContent !== change) {
      box.children[2].textContent = change;
      box.children[2].className = way;
    }
    const text = grouped.format(count);
    if (box.children[3].textContent !== text) box.children[3].textContent = text;
    return box;
  });
  const isSame = boxes.length === room.childElementCount &&
    boxes.every((box, place) => room.children[place] === box);
  if (isSame) return;
  const before = new Map(isStill.matches ? [] : [...room.children].map((box) =>
    [box, box.getBoundingClientRect()]));
  room.replaceChildren(...boxes);
  // Animates rows that change places.
  for (const box of boxes) {
    const [from, to] = [before.get(box), box.getBoundingClientRect()];
    if (!from || (from.x === to.x && from.y === to.y)) continue;
    box.animate([{ transform: `translate(${from.x - to.x}px, ${from.y - to.y}px)` },
      { transform: "none" }], { duration: 500, easing: "ease-out" });
  }
}

// The server's counts, polled regularly.
const KINDS = [["push", "pushes"], ["pull", "pull requests"], ["issue", "issues"],
  ["star", "stars, forks, releases"], ["other", "others"]];
const kindOf = (type) => Math.max(0, KINDS.findIndex(([kind]) =>
  kind === (wordsOf(type)[1] || "other")));
const NOW_EVERY = 2000;
const RECENT_EVERY = 5000;
const DAY_EVERY = 60000;
let lastEvent = performance.now();
const pollSeconds = () => status?.source?.poll_interval_seconds ?? 1;
const asked = new Map();
const REFUSED_EVERY = 5000;
async function ask(path, every, take) {
  const now = performance.now();
  if (document.hidden || now < (asked.get(path) ?? -Infinity)) return;
  asked.set(path, now + every);
  try {
    const answer = await fetch(base + path, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) {
      asked.set(path, now + Math.min(every, REFUSED_EVERY));
      return;
    }
    take(await answer.json());
    heard = performance.now();
  } catch {
    // The time since the last response shows the failure.
  }
}

const asRate = (value) => (value < 10 ? value.toFixed(1) : grouped.format(Math.round(value)));
let rate = null;
let figures = null;
function takeNow(said) {
  const minute = said.last_minute;
  rate = minute && minute.seconds > 2 ? minute.events / minute.seconds : null;
  const isUnknown = rate === null || (rate === 0 && nothingNew(status) !== "");
  byId("rate").textContent = isUnknown ? "–" : asRate(rate);
  const sums = [0, 0, 0, 0, 0];
  for (const [type, count] of Object.entries(minute?.types ?? {})) sums[kindOf(type)] += count;
  legend(byId("type-legend"), KINDS.map(([kind, words], place) => [kind, isUnknown ? words
    : `${words} ${asRate(sums[place] / minute.seconds)}`]));
  figures = said.pull_requests;
  showFigures();
  hourNow = new Map(said.languages?.now ?? []);
  hourBefore = said.languages?.before ?? null;
  const window = said.languages?.window_seconds ?? 3600;
  byId("languages-of").textContent = `of pull requests, ${duration(window)}` +
    (hourBefore === null ? "" : ", against those before");
  showLanguages();
  if (byId("ranked-window").value === "1h") {
    for (const [name, rows] of Object.entries(said.busiest ?? {})) showTop(name, rows);
  }
  showPanels(said.aggregates ?? []);
}

// The busiest repositories: as many rows as fit.
const RANKED = { stars: "stars", pull_requests: "pull requests", pushes: "pushes" };
function showTop(name, rows) {
  const list = byId(`top-${name}`);
  if (!list) return;
  const letter = parseFloat(getComputedStyle(list).fontSize);
  const given = getComputedStyle(byId("busiest")).flexGrow === "1";
  const part = list.parentElement.clientHeight;
  // On a wall the heading stands beside its rows, else above them.
  const above = list.offsetTop > list.previousElementSibling.offsetTop + letter ? 1.9 * letter : 0;
  const most = given ? Math.max(1, Math.floor((part - above) / (1.62 * letter))) : 5;
  const whole = JSON.stringify([rows, most]);
  if (list.dataset.said === whole) return;
  list.dataset.said = whole;
  if (!rows?.length) {
    list.replaceChildren(element("li", rows ? "none" : "not counted yet", "soft"));
    return;
  }
  list.replaceChildren(...rows.slice(0, most).map(([repo, count, stated = ""]) => {
    const row = element("li");
    const chart = element("button");
    chart.append(element("b", grouped.format(count)));
    chart.type = "button";
    chart.title = "Chart";
    chart.setAttribute("aria-label", plain(`Chart of ${repo}: ${grouped.format(count)} ` +
      RANKED[name]));
    chart.addEventListener("click", () => showChart(repo, name === "pull_requests" ? "prs" : name));
    row.append(linked(repo, repoAddress(repo), "repo"), chart);
    row.title = plain(`${repo}: ${count}${stated}`);
    return row;
  }));
}

// A panel for each aggregate of the scripts.
const CONDITIONS = 3;
function describe(counts) {
  if (!counts) return "";
  const where = Object.entries(counts.where ?? {}).slice(0, CONDITIONS).map(([, value]) =>
    [value].flat().join(" or "));
  return [where.join(", "), `by ${counts.by}`, counts.window].filter(Boolean).join(" · ");
}
// Why a script shows nothing: a script that compares windows needs the window before.
const UNITS = { s: 1, m: 60, h: 3600 };
function whyNothing({ counted, counts, since }) {
  if (!counted) return "Nothing counted yet.";
  const [, number, unit] = /^(\d+)([smh])$/.exec(counts?.window ?? "") ?? [];
  const from = Date.parse(since) + 1000 * number * UNITS[unit];
  const all = `Nothing to show of ${grouped.format(counted)} events`;
  return from > Date.now() ? `${all} yet. A comparison with the ${counts.window} before begins ` +
    `at ${clockOf(from)} UTC.` : `${all}.`;
}
function showPanels(aggregates) {
  const box = byId("panels");
  box.hidden = aggregates.length === 0;
  const whole = JSON.stringify(aggregates.map(({ about, value }) => [about, value]));
  if (box.dataset.said === whole) return;
  box.dataset.said = whole;
  box.replaceChildren(...aggregates.map(({ about, value }) => {
    const panel = element("section", null, "card");
    const head = element("h2", String(about.name ?? "").replaceAll("_", " "));
    head.append(" ", element("span", describe(about.counts), "soft"));
    panel.append(head);
    if (about.error) panel.append(element("p", about.error, "bad"));
    if (about.reading) panel.append(element("p", "Counting what the journal has…", "soft"));
    const rows = value ?? [];
    if (rows.length === 0 && !about.error && !about.reading) {
      panel.classList.add("empty");
      panel.append(element("p", about.note ?? whyNothing(about), "soft"));
    }
    const most = Math.max(1, ...rows.map(([, count]) => count));
    const list = element("ol");
    list.append(...rows.slice(0, 6).map(([name, count]) => {
      const row = element("li", null, "language");
      row.append(element("i"), linked(name, name.includes("/") ? repoAddress(name) : null, ""),
        element("b", grouped.format(count)));
      row.children[0].style.transform = `scaleX(${(Math.max(0, count) / most).toFixed(4)})`;
      return row;
    }));
    panel.append(list);
    return panel;
  }));
}

// Events by type over time, as kept by the server.
function layersOf(said) {
  const layers = KINDS.map(([kind]) => ({ kind, values: said.counted_seconds.map(() => 0) }));
  for (const [type, counts] of Object.entries(said.types)) {
    const { values } = layers[kindOf(type)];
    counts.forEach((count, step) => {
      if (count !== null) values[step] += count / said.counted_seconds[step];
    });
  }
  return layers;
}
const clockOf = (time) => new Date(time).toISOString().slice(11, 16);
// A filtered list does not show whether other events come: the server's counts do.
function noteCounted({ step_seconds: step, counted_seconds: { length }, types }) {
  const counts = Object.values(types);
  let quiet = 0;
  while (quiet < length && counts.every((count) => !count[length - 1 - quiet])) quiet += 1;
  if (quiet < length) lastEvent = Math.max(lastEvent, performance.now() - 1000 * step * quiet);
}
let recent = null;
let wholeDay = null;
function showTypes() {
  if (document.hidden) return;
  if (recent) {
    const layers = layersOf(recent);
    const unknown = recent.counted_seconds.map((seconds) => seconds === null);
    stacked(byId("type-chart"), layers, [[0, "15 min ago", "start"], [45, "7 min", "middle"],
      [90, "now", "end"]], "Events a second by type, last 15 minutes; a table follows", unknown);
    const minutes = Array.from({ length: 15 }, (_, at) => 84 - 6 * at);
    fillTable(byId("type-table"), "Events a second by type, last 15 minutes",
      ["minutes ago", ...KINDS.map(([, words]) => words)], minutes.map((from, ago) => [ago,
        ...layers.map(({ values }) => (unknown.slice(from, from + 6).every(Boolean) ? "unknown"
          : asRate(values.slice(from, from + 6).reduce((a, b) => a + b, 0) / 6)))]));
  }
  if (!wholeDay) return;
  const layers = layersOf(wholeDay);
  const start = Date.parse(wholeDay.from);
  const unknown = wholeDay.counted_seconds.map((seconds) => seconds === null);
  const marked = wholeDay.imported.map((hour) => {
    const from = (Date.parse(hour) - start) / (1000 * wholeDay.step_seconds);
    return [Math.max(0, from), Math.min(144, from + 6)];
  });
  stacked(byId("type-day-chart"), layers, [0, 36, 72, 108, 144].map((step, place) =>
    [step, clockOf(start + 600000 * step), ["start", "middle", "middle", "middle", "end"][place]]),
  "Events a second by type, last 24 hours, UTC; a table follows", unknown, marked);
  const hours = Array.from({ length: 24 }, (_, at) => 6 * at);
  fillTable(byId("type-day-table"), "Events a second by type, last 24 hours, UTC",
    ["hour from", ...KINDS.map(([, words]) => words)], hours.map((from) => {
      const known = unknown.slice(from, from + 6).filter((is) => !is).length;
      return [clockOf(start + 600000 * from), ...layers.map(({ values }) => (known === 0 ? "unknown"
        : asRate(values.slice(from, from + 6).reduce((a, b) => a + b, 0) / known)))];
    }));
  showHeat();
}

function showHeat() {
  const { seen } = wholeDay;
  const start = Date.parse(wholeDay.seen_from);
  const known = seen.filter((part) => part !== null);
  const words = known.length === 0 ? "how much was seen is not known"
    : `${percent(known.reduce((sum, part) => sum + part, 0) / known.length)} % seen in ` +
      `${grouped.format(known.length)} known minute${known.length === 1 ? "" : "s"}`;
  heat(byId("heat"), seen, [[0, "24 h ago", "start"], [1, "now", "end"]],
    "Part of all events that was seen, by minute; a table follows");
  byId("heat-of").textContent = `Seen by minute, 24 h: ${words}. Green 98 % and more, amber 90 %, ` +
    "red less, grey unknown" + (wholeDay.imported.length
    ? `; ${wholeDay.imported.length} imported hours underlined` : "");
  fillTable(byId("heat-table"), "Part of all events that was seen, by hour",
    ["hour from", "seen"], Array.from({ length: 24 }, (_, hour) => {
      const part = seen.slice(60 * hour, 60 * hour + 60).filter((one) => one !== null);
      return [clockOf(start + 3600000 * hour), part.length === 0 ? "unknown"
        : `${percent(part.reduce((sum, one) => sum + one, 0) / part.length)} %`];
    }));
}

// The year by day, as last received from the server; today's figures are updated more often.
const DAY = ["opened", "merged", "closed"];
let year = null;
const today = () => new Date().toISOString().slice(0, 10);
// Nothing was counted where neither a figure nor a day has a count: that is unknown, not zero.
const isCounted = () => (figures?.year_developers ?? 0) > 0 || (year?.days.length ?? 0) > 0;
function showFigures() {
  if (!figures) return;
  for (const [id, name] of [["open", "opened"], ["merge", "merged"], ["close", "closed"],
    ["dev", "developers"], ["year", "year_developers"]]) {
    byId(id).textContent = isCounted() ? grouped.format(figures[name]) : "–";
  }
}

function showYear() {
  if (!year || document.hidden) return;
  const first = Date.UTC(Number(today().slice(0, 4)), 0, 1);
  const days = [];
  for (let day = first; day <= Date.now(); day += 86400000) {
    days.push(new Date(day).toISOString().slice(0, 10));
  }
  const known = new Map(year.days.map((one) => [one.day, one]));
  const value = (name, day) => known.get(day)?.[name] ?? null;
  const isToday = isCounted() && figures?.day === today();
  const layers = DAY.map((name) => ({ kind: name,
    values: days.map((day, place) => (place === days.length - 1 ? null : value(name, day))),
    last: isToday ? figures[name] : value(name, today()) }));
  const since = year.days[0]?.day;
  const imported = year.days.filter((one) => one.imported_hours > 0);
  byId("by-day-of").textContent = "by day of this year, UTC" +
    (since === undefined || since === days[0] ? "" : `, counted since ${since}`) +
    (imported.length ? `; days with imported hours underlined` : "");
  const months = [];
  days.forEach((day, place) => {
    if (!day.endsWith("-01")) return;
    const month = new Date(day).toLocaleString("en", { month: "short", timeZone: "UTC" });
    months.push([place, month, place === 0 ? "start" : "middle"]);
  });
  const marked = imported.map(({ day }) => days.indexOf(day)).filter((place) => place >= 0);
  lines(byId("day-chart"), layers, months,
    "Pull requests opened, merged, closed by day; the table after it has them by month", marked);
  legend(byId("day-legend"), [...DAY.map((words) =>
    [words, words === "closed" ? "closed unmerged" : words])]);
  const sum = (name, month) => year.days.filter(({ day }) => day.startsWith(month))
    .reduce((all, one) => all + one[name], 0);
  fillTable(byId("day-table"), "Pull requests of this year by month, UTC",
    ["month", "opened", "merged", "closed unmerged", "hours imported"],
    [...new Set(days.map((day) => day.slice(0, 7)))].map((month) =>
      [month, ...[...DAY, "imported_hours"].map((name) => grouped.format(sum(name, month)))]));
}
