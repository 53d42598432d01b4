
// The page's clock: updates everything shown once a second.
let day = today();
function tick() {
  const now = performance.now();
  for (const link of links.values()) link.check(now);
  showPulse();
  showEmpty();
  if (noteUntil < now) byId("note").textContent = "";
  if (day !== today()) {
    day = today();
    asked.delete("/days");
  }
  ask("/now", NOW_EVERY, takeNow);
  askRanked();
  ask("/history?span=15m", RECENT_EVERY, (said) => {
    recent = said;
    if (isFiltered) noteCounted(said);
    showTypes();
  });
  ask("/days", DAY_EVERY, (said) => {
    year = said;
    showYear();
  });
  ask("/history?span=24h", DAY_EVERY, (said) => {
    wholeDay = said;
    showTypes();
  });
  adjust();
}

// A page that was hidden shows the current state at once.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  asked.clear();
  tick();
  showTypes();
  showYear();
});
const drawAgain = new ResizeObserver(() => requestAnimationFrame(() => {
  showTypes();
  showYear();
  showLanguages();
}));
for (const id of ["type-chart", "type-day-chart", "day-chart"]) drawAgain.observe(byId(id));

byId("version").textContent = `ghpulse ${about.version}`;
byId("script").textContent = `Merge script: ${about.script.name}` +
  (about.script.current ? "" : " (not what the file says)");
byId("example").textContent = `const socket = new WebSocket("${socketBase}/sampling");
socket.onopen = () => socket.send('{"samplingRate":1,"eventType":"PushEvent"}');
socket.onmessage = (message) => console.log(JSON.parse(message.data));`;
byId("example-curl").textContent =
  `curl -N '${webBase}/stream?types=PullRequestEvent&latest=5'`;
byId("example-script").textContent = followExample({ types: "PullRequestEvent" },
  `if (message.type === "event")
      console.log(message.event.repo.name, message.event.payload.action);`);
byId("example-python").textContent = `import http.client, json, time, urllib.parse, urllib.request

url = "${webBase}/stream?"
query, wait = {"types": "PullRequestEvent"}, 1
while True:
    try:
        with urllib.request.urlopen(url + urllib.parse.urlencode(query), timeout=60) as lines:
            for line in lines:
                message = json.loads(line)
                if message["type"] != "hello" and "cursor" in message:
                    query["cursor"] = message["cursor"]
                if message["type"] == "event":
                    print(message["event"]["repo"]["name"], message["event"]["payload"]["action"])
                if message["type"] in ("event", "caught_up", "heartbeat"):
                    wait = 1
    except (OSError, http.client.HTTPException) as error:
        print("again in", wait, "s:", error)
    time.sleep(wait)
    wait = min(2 * wait, 30)`;
fetch(`${base}/hours?since=31d`).then((answer) => answer.json()).then(({ hours }) => {
  const imported = hours.filter(({ stands }) => stands === "import");
  byId("imports").textContent = imported.length === 0 ? "" : `Of the last 31 days ` +
    `${imported.length} hours were imported from archives; these counts stand for them.`;
}).catch(() => {});
showParts(about.parts);
onStatus.push((said) => {
  showParts(said.parts ?? []);
  showPulse();
});
follow("languages", { path: () => "/language/latest", ask: { top: 200 }, silence: 30000,
  take: showLanguages });
follow("stream", { path: streamPath, silence: 40000, take: takeStream, back,
  goesWell: ({ type }) => GOES_WELL.includes(type) });
setInterval(tick, 1000);
setInterval(showEvents, LOOK);
setInterval(showYear, 10000);
tick();
