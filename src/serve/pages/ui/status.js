
// The status as cards, from the same JSON that programs read.
const bytesOf = (value) => {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [left, unit] = [value, 0];
  while (left >= 1024 && unit < units.length - 1) [left, unit] = [left / 1024, unit + 1];
  return `${left < 10 && unit > 0 ? left.toFixed(1) : Math.round(left)} ${units[unit]}`;
};
const timeOf = (time) => (time ? String(time).replace("T", " ").replace(/(\.\d+)?Z$/, " UTC")
  : "never");
const known = (value) => (value === null || value === undefined ? "unknown"
  : typeof value === "number" ? grouped.format(+value.toFixed(1)) : String(value));

function card(title, rows) {
  const made = element("section", null, "card");
  const list = element("dl");
  for (const [name, value, kind] of rows.filter(Boolean)) {
    list.append(element("dt", name), element("dd", value, kind));
  }
  made.append(element("h2", title), list);
  return made;
}

function sourceRows({ source, enrichment, parts }) {
  if (!source) {
    const note = parts.find(({ name }) => name === "source")?.note;
    return [["state", note ?? "this node only follows a bus"]];
  }
  return [["state", source.state, source.state], ["mode", source.mode],
    source.mode === "tokens" && ["tokens", `${source.tokens_usable} usable, ` +
      `${source.tokens_benched} refused or resting, of ${source.accounts} ` +
      (source.accounts === 1 ? "account" : "accounts"),
    source.tokens_benched > 0 ? "degraded" : ""],
    source.app && ["GitHub App", `${source.app.id}: ${source.app.error ?? source.app.installations
      .map(({ account, error }) => `${account}${error ? ` (${error})` : ""}`).join(", ")}`,
    source.app.error ? "degraded" : ""],
    ["read last", timeOf(source.last_poll_at)], ["reads every", `${known(source
      .poll_interval_seconds)} s`], ["enriched", enrichment?.share === undefined ||
      enrichment?.share === null ? "nothing needed it" : `${percent(enrichment.share)} %`],
    source.last_error && ["last error", `${source.last_error.message} (${timeOf(source
      .last_error.at)})`]];
}

function feedRows({ completeness }) {
  const all = completeness?.all;
  if (!all) return [["seen", "unknown: this node does not poll, or has just begun"]];
  const missed = all.missed_share?.map((share) => percent(1 - share));
  const lag = all.lag_seconds;
  return [["seen", missed ? `${missed[1]} % (${missed[2]} to ${missed[0]})` : "unknown"],
    ["events a minute", all.events_a_minute === null ? "unknown"
      : grouped.format(Math.round(all.events_a_minute))],
    ["lag", lag ? `half within ${duration(lag.p50)}, nine of ten within ${duration(lag.p90)}`
      : "unknown"],
    ...completeness.pages.map((page) => [`page ${page.page}`, `${page.events} events, ` +
      (page.overlap === null ? "not read twice yet"
        : `${percent(page.overlap)} % also in the read before`)])];
}

function auditRows({ audit }) {
  if (!audit) return [["seen", "unknown: this needs a token, and a look at GitHub's totals"]];
  const words = ({ seen, grown, share }) => share
    ? `${percent(share[1])} % (${percent(share[0])} to ${percent(share[2])})`
    : grown > 0 ? `not known yet: ${grouped.format(seen)} seen of ${grouped.format(grown)}`
      : "not known yet";
  return [...Object.entries(audit.shares).map(([kind, share]) => [kind.replace("_", " "),
    words(share)]), ["sample", `${grouped.format(audit.panel.repositories)} repositories, ` +
      `${grouped.format(audit.panel.seen_lately)} of them seen lately`],
    audit.conflict && ["conflict", audit.conflict.text, "degraded"]];
}

// What each list selected, and what its own feeds added.
function listRows(lists) {
  return lists.map(({ name, names, complete, seen, filled, certain_holes: holes, error }) => [name,
    error ?? `${grouped.format(names)} names${complete ? ", complete" : ""}` +
      (seen === null ? "" : `: ${grouped.format(seen)} events`) + (complete && filled !== null
      ? `, ${grouped.format(filled)} only from own feeds, ${grouped.format(holes)} certain holes`
      : ""), error ? "degraded" : ""]);
}

function storeRows({ journal, disk, memory, backups, clock: machine, bus }) {
  const share = disk ? disk.free_bytes / disk.all_bytes : null;
  return [["bus", `${bus.kind}, ${grouped.format(bus.admitted)} admitted, ` +
      `${bytesOf(bus.backlog_bytes)} on their way`],
    ["journal", journal.reach_seconds === null ? "empty"
      : `${bytesOf(journal.bytes)}, ${duration(journal.reach_seconds)} back`],
    ["disk", disk ? `${bytesOf(disk.free_bytes)} free of ${bytesOf(disk.all_bytes)}` : "unknown",
      share !== null && share < 0.1 ? "degraded" : ""],
    ["memory", memory ? bytesOf(memory.resident_bytes) : "unknown"],
    ["backups", backups ? `last ${timeOf(backups.last)}, next ${timeOf(backups.next)}`
      : "not configured (backup.dir)"],
    backups?.failing_since && ["backups fail", `since ${timeOf(backups.failing_since)}: ` +
      `${backups.error}`, "down"],
    ["clock", machine?.state ?? "unknown", machine?.state === "disagrees" ? "down" : ""]];
}

function partRow({ name, state, since, error, note }) {
  const row = element("tr");
  row.append(element("th", name), element("td", state, state), element("td", timeOf(since)),
    element("td", [error, note].filter(Boolean).join("; ")));
  row.firstChild.scope = "row";
  return row;
}

function showStatus(said) {
  if (!said.parts) return;
  byId("parts").replaceChildren(...said.parts.map(partRow));
  byId("cards").replaceChildren(card("Source", sourceRows(said)),
    card("Completeness, last ten minutes", feedRows(said)),
    card("Seen by GitHub's totals, last day", auditRows(said)),
    card("Store and machine", storeRows(said)),
    ...(said.lists?.length ? [card("Lists", listRows(said.lists))] : []),
    card("Clients", [["connections", known(said.clients?.connections)],
      ["version", known(said.version)], said.node && ["node", said.node]]));
}

// Coverage by hour, for the last week.
const HOURS = 168;
let coveredAt = -Infinity;
async function showCoverage() {
  if (document.hidden || performance.now() - coveredAt < 60000) return;
  coveredAt = performance.now();
  const said = await fetched("/completeness?since=7d");
  if (said === null) return;
  const { hours } = JSON.parse(said);
  const shares = new Map(hours.map((hour) => [Date.parse(hour.hour), hour]));
  const newest = Math.floor(Date.now() / 3600000) * 3600000;
  const all = Array.from({ length: HOURS }, (_, at) => newest - 3600000 * (HOURS - 1 - at));
  const seen = all.map((at) => {
    const share = shares.get(at)?.missed_share;
    return share ? 1 - share[1] : null;
  });
  heat(byId("heat"), seen, [[0, "7 days ago", "start"], [1, "now", "end"]],
    "Part of all events that was seen, by hour; a table follows");
  const count = seen.filter((part) => part !== null).length;
  byId("heat-of").textContent = `${count} of ${HOURS} hours known. Green: 98 % and more seen, ` +
    "amber: 90 %, red: less, grey: unknown.";
  fillTable(byId("heat-table"), "Coverage by hour, UTC", ["hour", "received", "seen"],
    all.filter((at) => shares.has(at)).reverse().map((at) => {
      const { received, missed_share: share } = shares.get(at);
      return [new Date(at).toISOString().slice(0, 13).replace("T", " "),
        grouped.format(received), share ? `${percent(1 - share[1])} %` : "unknown"];
    }));
}
