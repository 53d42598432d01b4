// The manual says `localhost:8600` where it means this server. Shows the address under which the
// reader reached it instead, so that what is copied works. Without JavaScript the text stays.
"use strict";
const WRITTEN = /\b((?:http|ws)s?:\/\/)?localhost:8600\b/g;
// The folder above that of this file, whatever prefix a proxy adds.
const { origin, pathname } = new URL("..", document.currentScript.src);
const base = origin + pathname.replace(/\/$/, "");

// Nothing that a shell would read as more than a part of a word.
if (/^https?:\/\/[\w.:[\]/~%-]+$/.test(base) && base !== "http://localhost:8600") {
  const here = (text) => text.replace(WRITTEN, (_, scheme) =>
    (scheme?.startsWith("ws") ? base.replace(/^http/, "ws") : base));
  for (const link of document.querySelectorAll("main a[href*='localhost:8600']")) {
    link.setAttribute("href", here(link.getAttribute("href")));
  }
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = here(texts.currentNode.data);
    if (text !== texts.currentNode.data) texts.currentNode.data = text;
  }
}
