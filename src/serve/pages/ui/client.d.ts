// Types of ghpulse's /client.js. Save both under one name: client.mjs and client.d.mts.

/** A message: an event, a document, a gap, the end of the replay, or counts. */
export type Message = EventMessage | EntityMessage | GapMessage | CaughtUpMessage | CountsMessage;

/** An event. With `fields` in the query, `fields` holds these values instead of the event. */
export interface EventMessage {
  type: "event";
  /** Sorts as the stream does; resumes after this event. */
  cursor: string;
  /** The routing key, such as `evt.push.insert`. */
  key: string;
  /** As GitHub sent it. An id repeats between types: the key is `type` and `id` together. */
  event?: GitHubEvent;
  payload?: Flags;
  fields?: Record<string, any>;
  /** True where it comes from the simulated GitHub; absent otherwise. */
  simulated?: boolean;
}

/** GitHub's event; `payload` depends on the type. */
export interface GitHubEvent {
  id: string;
  type: string;
  actor: { id: number; login: string; [member: string]: any };
  repo: { id: number; name: string; [member: string]: any };
  org?: { id: number; login: string; [member: string]: any };
  payload: any;
  public: boolean;
  /** UTC, such as `2026-01-01T00:00:05Z`. */
  created_at: string;
  [member: string]: any;
}

/** What ghpulse knows of an event; the first seven and `enriched` are 0 or 1. */
export interface Flags {
  pr: number;
  open: number;
  merge: number;
  close: number;
  devDay: number;
  devYear: number;
  repoYear: number;
  /** Of pull requests, where it is known. */
  language: string | null;
  additions: number | null;
  deletions: number | null;
  enriched: number;
  [member: string]: any;
}

/** A document made from an event, where `keys` asks for `ent.…`. */
export interface EntityMessage {
  type: "entity";
  cursor: string;
  key: string;
  document: Record<string, any>;
  /** As of an event. */
  simulated?: boolean;
}

/**
 * What lies after `from` and not after `to` is missing. Where they are equal, the missing events
 * have no cursor: they belong between this event and the next. With `bus_changed`, `from` may be a
 * cursor of another bus or store: then all that this one has follows `to`.
 */
export interface GapMessage {
  type: "gap";
  from: string;
  to: string;
  /** The number of missing events; null where it is not known. */
  count: number | null;
  reason: "retention" | "slow" | "bus_changed" | "upstream";
}

/** From here on the events are live; with `poll` the end. */
export interface CaughtUpMessage {
  type: "caught_up";
  cursor: string;
}

/** Rolling counts or an aggregate: the whole value, a snapshot and its deltas added up. */
export interface CountsMessage {
  type: "counts";
  cursor: string;
  name: string;
  window?: string;
  from: string;
  to: string;
  counted_from: string;
  /** Whether every event of the window was counted. */
  complete: boolean;
  /** Events that were not counted because there were too many names; absent without any. */
  left_out?: number;
  value: Record<string, number>;
}

/** The parameters of the endpoint; a list for several values. */
export type Query = Record<string, QueryValue | readonly QueryValue[]>;
export type QueryValue = string | number | boolean | null | undefined;

/** Keeps the cursor; both functions may be asynchronous. */
export interface Checkpoint {
  load(): string | null | undefined | false | Promise<string | null | undefined | false>;
  save(cursor: string): void | Promise<void>;
}

export interface Options {
  /**
   * Keeps the cursor over restarts: in browsers a key of localStorage, elsewhere the path of a
   * file, or functions. Each reader needs its own. It is not used for counts. A key or file that
   * is empty throws an `Error`; without it, the reader begins with live events.
   */
  checkpoint?: string | Checkpoint;
  /** Ends the loop with the signal's reason. */
  signal?: AbortSignal;
  /** More headers of the requests. */
  headers?: Record<string, string>;
  /** First wait before a reconnection, milliseconds (1000), doubled with each further failure. */
  retry?: number;
  /** Called before each reconnection with the failure, if any, and the wait in milliseconds. */
  onRetry?(error: Error | undefined, wait: number): void;
}

/**
 * Reads a stream, reconnects and resumes by cursor. The cursor is saved when the next message is
 * asked for, so after a crash only the message in hand comes again.
 *
 * `url` is that of `/stream`, `/stream/languages`, `/stream/types`, `/stream/activity` or
 * `/aggregate/NAME`; a URL that ends with `/` means its `stream`. In `query`, `since`, `latest` and
 * `cursor` hold until there is a checkpoint, and `poll: 1` ends the loop when it has caught up.
 * Throws an `Error` with the server's words when the server refuses the query.
 */
export function ghpulse(
  url: string | URL,
  query?: Query,
  options?: Options,
): AsyncGenerator<Message, void, undefined>;
