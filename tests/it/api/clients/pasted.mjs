// Reads with /client.js and prints events (cursor, key, id) or the counts, one per line. Lines with
// `#` report other messages. After COUNT lines it exits without cleanup, with one more message
// received.
//
//   node pasted.mjs CLIENT URL QUERY CHECKPOINT COUNT
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";

const [client, url, query, checkpoint, count] = process.argv.slice(2);
// As in a page.
delete globalThis.process;
globalThis.localStorage = {
  getItem(key) {
    try {
      return readFileSync(key, "utf8");
    } catch {
      return null;
    }
  },
  setItem(key, value) {
    writeFileSync(`${key}.new`, value);
    renameSync(`${key}.new`, key);
  },
};
const { ghpulse } = await import(pathToFileURL(client));
console.warn = (...said) => console.log("# warned", ...said);
const onRetry = (error, wait) => console.log(`# retry ${Math.round(wait)} ${error?.message}`);
let left = Number(count);
try {
  const options = { checkpoint, retry: 10, onRetry };
  for await (const message of ghpulse(url, JSON.parse(query), options)) {
    const { type, key, cursor, event, value } = message;
    if (type !== "event" && type !== "counts") {
      console.log(`# ${JSON.stringify(message)}`);
      continue;
    }
    if (left-- === 0) process.exit();
    console.log(type === "event" ? `${cursor} ${key} ${event.id}` : JSON.stringify(value));
  }
} catch (error) {
  console.log(`# refused ${error.message}`);
}
