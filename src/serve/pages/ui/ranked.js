// Rankings of the day, the week and the month, and the chart of a repository.
const RANKED_EVERY = 60000;
// A ranking without repositories is that of a ledger which has just begun.
const EMPTY_EVERY = 5000;
const rankedWindow = byId("ranked-window");
// What GitHub states of a repository that the audit asks for.
function asStated({ stated, seen }) {
  if (!stated) return "";
  const share = seen === null ? "" : `, ${Math.round(seen * 100)} % of their growth seen`;
  return `; GitHub states ${grouped.format(stated.stars)} stars${share}`;
}
function askRanked() {
  const window = rankedWindow.value;
  if (window === "1h") return;
  for (const [name, by] of [["stars", "stars"], ["pull_requests", "prs"], ["pushes", "pushes"]]) {
    const path = `/top?by=${by}&window=${window}&limit=12`;
    ask(path, RANKED_EVERY, (said) => {
      if (rankedWindow.value !== window) return;
      if (said.repos.length === 0) asked.set(path, performance.now() + EMPTY_EVERY);
      const rows = said.repos.filter((repo) => repo.name);
      showTop(name, rows.map((repo) => [repo.name, repo.count, asStated(repo)]));
    });
  }
}
rankedWindow.addEventListener("change", () => {
  for (const path of [...asked.keys()]) if (path.startsWith("/top?")) asked.delete(path);
  if (rankedWindow.value === "1h") asked.delete("/now");
  tick();
});

const chartDialog = byId("repo-chart");
function showChart(repo, by) {
  const [owner, name] = repo.split("/").map(encodeURIComponent);
  const picture = element("img");
  picture.src = `${base}/repo/${owner}/${name}.svg?by=${by}`;
  picture.alt = plain(`${repo}: the last 90 days, as counted here`);
  const close = element("button", "Close");
  close.type = "button";
  close.addEventListener("click", () => chartDialog.close());
  chartDialog.replaceChildren(picture, close);
  chartDialog.showModal();
}
