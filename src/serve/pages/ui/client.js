// ghpulse for browsers, Node 18, Deno, Bun; types: /client.d.ts

const NDJSON = "application/x-ndjson";
// ms: silence (heartbeats: 15 s), backoff, the server's hint.
const SILENCE = 4e4, BACKOFF = 6e4, HINT = 6e5, LINE = 64 << 20;

/**
 * @typedef {{type: "event" | "entity", cursor: string, key: string, [member: string]: any}
 * | {type: "gap", from: string, to: string, count: number?, reason: string}
 * | {type: "caught_up", cursor: string}
 * | {type: "counts", cursor: string, name: string, value: Record<string, number>}} Message
 */

/**
 * Resumes by cursor, which is saved when the next message is asked for. Throws refusals.
 * @param {string | URL} url /stream[/languages|types|activity], /aggregate/NAME; `…/` is `…/stream`
 * @param {Record<string, any>} [query] Lists for several values; `poll: 1` ends when caught up.
 * @param {{checkpoint?: string | {load(): any, save(cursor: string): any}, signal?: AbortSignal,
 *   headers?: object, retry?: number, onRetry?(error: any, wait: number): void
 * }} [options] `checkpoint` keeps the cursor: a file, in browsers a key of localStorage, or
 *   functions; one for each reader, not for counts. `retry`: first backoff, ms.
 * @returns {AsyncGenerator<Message>}
 */
export async function* ghpulse(url, query = {}, options = {}) {
  const { checkpoint: at, signal, retry = 1e3, onRetry } = options;
  const base = new URL(url, globalThis.location?.href), { searchParams } = base;
  if (!/^https?:/.test(base)) throw new Error(`${url}: use http:// or https://`);
  if (/\/$/.test(base.pathname)) base.pathname += "stream";
  for (const [name, values] of Object.entries(query))
    for (const value of [values].flat()) if (value != null) searchParams.append(name, value);
  const once = /^(1|true)$/.test(searchParams.get("poll"));
  const store = /\/stream$/.test(base.pathname) ? await storage(at) : null;
  let cursor = await store?.load(), counts, failures = 0;
  if (cursor === "" && store !== at) throw new Error(`${at} is empty: delete it`);
  const keep = async (next) => {
    if (!next || next === cursor) return;
    cursor = next;
    await store?.save(next);
  };
  for (;;) {
    signal?.throwIfAborted();
    const target = new URL(base), end = {};
    if (cursor) {
      for (const name of ["since", "latest"]) target.searchParams.delete(name);
      target.searchParams.set("cursor", cursor);
    }
    for await (let message of connect(target, options, end)) {
      const { type, warnings = [], value, changes = {}, ...rest } = message;
      if (type === "error") throw new Error(message.message);
      if (type === "ack") {
        // A later cursor may precede a gap.
        if (!cursor) await keep(message.cursor);
        for (const it of warnings) console.warn(`ghpulse: ${it.field} ${it.value}: ${it.message}`);
      } else if (/^(bye|heartbeat)$/.test(type)) {
        end.wait = message.retry_after;
        if (cursor) await keep(message.cursor);
      } else if (/^(snapshot|tick|delta)$/.test(type)) {
        counts = { __proto__: null, ...value ?? counts };
        for (const name in changes)
          if (!(counts[name] = (counts[name] ?? 0) + changes[name])) delete counts[name];
        message = { ...rest, type: "counts", value: counts };
      }
      if (!/^(event|entity|gap|caught_up|counts)$/.test(message.type)) continue;
      failures = 0;
      yield message;
      await keep(message.cursor ?? message.to);
      signal?.throwIfAborted();
      if (once && type === "caught_up") return;
    }
    const backoff = Math.min(retry * 2 ** failures++, BACKOFF) * (1 + Math.random()) / 2;
    const wait = Math.min(end.wait ?? backoff, HINT);
    if (!signal?.aborted) onRetry?.(end.error, wait);
    signal?.throwIfAborted();
    let timer, wake;
    await new Promise((resolve) => {
      timer = setTimeout(wake = resolve, wait);
      signal?.addEventListener("abort", wake);
    });
    clearTimeout(timer);
    signal?.removeEventListener("abort", wake);
  }
}

async function storage(at) {
  if (typeof at !== "string") return at;
  if (!globalThis.process?.versions?.node)
    return { load: () => localStorage.getItem(at), save: (it) => localStorage.setItem(at, it) };
  const fs = await import(/* webpackIgnore: true */ "node:fs");
  return {
    load: () => fs.existsSync(at) && fs.readFileSync(at, "utf8").trim(),
    save(cursor) {
      fs.writeFileSync(`${at}.new`, cursor);
      fs.renameSync(`${at}.new`, at);
    },
  };
}

// One connection. Failures go to `end.error`, the server's delay to `end.wait`, ms.
async function* connect(url, { signal, headers }, end) {
  const control = new AbortController(), stop = () => control.abort();
  const attempt = (promise) => {
    const timer = setTimeout(stop, SILENCE);
    return promise.catch((error) => { end.error = error; }).finally(() => clearTimeout(timer));
  };
  signal?.addEventListener("abort", stop, { signal: control.signal });
  try {
    const response = await attempt(fetch(url, {
      headers: { ...headers, accept: NDJSON }, cache: "no-store", signal: control.signal,
    }));
    if (!response) return;
    const { ok, status, headers: got } = response, kind = got.get("content-type");
    if (!ok || !kind?.startsWith(NDJSON)) {
      const said = await attempt(/json/.test(kind)
        ? response.json().then((it) => it?.detail ?? JSON.stringify(it)) : response.text());
      const error = new Error(ok ? `${url} is ${kind}` : `${status}: ${said}`);
      if (status < 500 && ![408, 425, 429].includes(status)) throw error;
      end.error = error;
      const after = got.get("retry-after") * 1000;
      if (after) end.wait = after * (1 + Math.random() / 4);
      return;
    }
    const reader = response.body.getReader(), decoder = new TextDecoder();
    for (let rest = "", piece; (piece = await attempt(reader.read()))?.value;) {
      const lines = (rest + decoder.decode(piece.value, { stream: true })).split("\n");
      rest = lines.pop();
      if (rest.length > LINE) throw new Error(`a line over ${LINE} characters`);
      for (const line of lines) if (line) yield JSON.parse(line);
    }
  } finally {
    stop();
  }
}
