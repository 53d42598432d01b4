"use strict";
// What both pages do. Whatever comes from outside is only ever set as text.
const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  if (kind) made.className = kind;
  return made;
}

const FAMILIES = [[/^Push/, "push"], [/^PullRequest/, "pull"], [/^Issue/, "issue"],
  [/^(Watch|Fork|Release|Sponsor)/, "star"]];

// An event's type in words, and the colour that its kind has.
function wordsOf(type) {
  const name = String(type ?? "?").replace(/Event$/, "");
  const family = FAMILIES.find(([pattern]) => pattern.test(name))?.[1] ?? "";
  const words = name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase()
    .replace(/^pull request/, "PR");
  return [words, family];
}
