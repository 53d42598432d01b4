// Reads WebSockets to their end with a library for Node, and prints for each the number of events
// and how it ended.
//
//   node [--experimental-websocket] read.mjs native|undici|ws MODULES URL TIMES [PARAMS]
import { createRequire } from "node:module";

const [library, modules, url, times, params] = process.argv.slice(2);

function open() {
  if (library === "native") return new WebSocket(url);
  const { WebSocket: Library } = createRequire(`${modules}/`)(library);
  return new Library(url);
}

function read() {
  return new Promise((resolve) => {
    const socket = open();
    let events = 0;
    let last = "";
    socket.onopen = () => params && socket.send(params);
    socket.onmessage = ({ data }) => {
      last = JSON.parse(data);
      if (last.type === "event") events += 1;
    };
    socket.onerror = () => {};
    socket.onclose = ({ code, reason, wasClean }) => {
      resolve({ events, code, reason: String(reason), clean: wasClean, last });
    };
  });
}

const all = await Promise.all(Array.from({ length: Number(times) }, read));
console.log(JSON.stringify(all));
