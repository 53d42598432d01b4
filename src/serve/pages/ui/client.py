"""ghpulse for Python 3.8 and later: one file, standard library only.

    curl -O https://HOST/client.py

    from client import ghpulse
    for message in ghpulse("https://HOST/", {"types": "PushEvent"}, checkpoint="pushes.cursor"):
        print(message["type"], message.get("cursor"))
"""

import http.client
import json
import os
import random
import ssl
import threading
import typing
import urllib.error
import urllib.parse
import urllib.request
import warnings

SILENCE = 40.0  # longest silence, seconds: the server sends a heartbeat every 15
BACKOFF = 60.0  # longest wait between two attempts, seconds: our own,
HINT = 600.0  # and one that the server asks for
LINE = 64 << 20  # longest line, bytes
NDJSON = "application/x-ndjson"
Json = typing.Dict[str, typing.Any]


class Refused(Exception):
    """The server refuses the query; the text is the server's. `status` is the HTTP status."""

    def __init__(self, text: str, status: typing.Optional[int] = None) -> None:
        super().__init__(text)
        self.status = status


class _Event(typing.TypedDict):
    type: typing.Literal["event"]
    cursor: str
    key: str


class Event(_Event, total=False):
    """An event as GitHub sent it. An id repeats between types: the key is type and id."""

    event: Json
    payload: Json
    fields: Json  # with `fields` in the query, instead of the event
    simulated: bool  # True where it comes from the simulated GitHub; absent otherwise


class _Entity(typing.TypedDict):
    type: typing.Literal["entity"]
    cursor: str
    key: str
    document: Json


class Entity(_Entity, total=False):
    """A document made from an event, where `keys` asks for `ent.…`."""

    simulated: bool  # as of an event


# What lies after `from` and not after `to` is missing. Where they are equal, the missing events have
# no cursor: they belong between this event and the next. With `bus_changed`, `from` may be a cursor
# of another bus or store: then all that this one has follows `to`.
Gap = typing.TypedDict(
    "Gap",
    {
        "type": typing.Literal["gap"],
        "from": str,
        "to": str,
        "count": typing.Optional[int],
        "reason": typing.Literal["retention", "slow", "upstream", "bus_changed"],
    },
)


class CaughtUp(typing.TypedDict):
    """From here on the events are live; with `poll` the end."""

    type: typing.Literal["caught_up"]
    cursor: str


_Counts = typing.TypedDict(
    "_Counts",
    {
        "type": typing.Literal["counts"],
        "cursor": str,
        "name": str,
        "from": str,
        "to": str,
        "counted_from": str,
        "complete": bool,
        "value": typing.Dict[str, int],
    },
)


class Counts(_Counts, total=False):
    """Rolling counts or an aggregate: the whole value."""

    window: str
    left_out: int  # events not counted because there were too many names


Message = typing.Union[Event, Entity, Gap, CaughtUp, Counts]
Functions = typing.Tuple[
    typing.Callable[[], typing.Optional[str]], typing.Callable[[str], object]
]
Checkpoint = typing.Union[str, "os.PathLike[str]", Functions]


def ghpulse(
    url: str,
    query: typing.Optional[typing.Mapping[str, typing.Any]] = None,
    checkpoint: typing.Optional[Checkpoint] = None,
    *,
    headers: typing.Optional[typing.Mapping[str, str]] = None,
    retry: float = 1.0,
    on_retry: typing.Optional[
        typing.Callable[[typing.Optional[BaseException], float], object]
    ] = None,
    stop: typing.Optional[threading.Event] = None,
) -> typing.Iterator[Message]:
    """Yields messages of /stream, /stream/languages|types|activity or /aggregate/NAME as dicts.

    `url` is that of an endpoint, or of the server (ends in "/"), which means /stream. `query` holds
    the parameters of the endpoint, a list for several values; `since`, `latest` and `cursor` hold
    where no checkpoint exists yet. `checkpoint` keeps the cursor over restarts: a path, or a pair
    of functions (load, save); each reader needs its own. It is not used for counts, which begin
    with a snapshot.

    Types: `event`, `entity`, `gap`, `caught_up`; of the counts `counts`, with all of `value`.
    Reconnects and resumes by cursor, for ever (with `poll: 1` up to now). A message counts as
    handled, and its cursor is saved, when the next one is asked for: after a crash only the one in
    hand comes again. Raises `Refused` with the server's words when it refuses the query.

    `retry`: first wait after a failure, seconds, doubled with each further one. `on_retry(error,
    wait)` is called before each reconnection. `stop`, a threading.Event, ends the generator at the
    next message or heartbeat.
    """
    parts = urllib.parse.urlsplit(url)
    path = parts.path or "/"
    path += "stream" if path.endswith("/") else ""
    pairs = urllib.parse.parse_qsl(parts.query)
    for name, values in (query or {}).items():
        for value in values if isinstance(values, (list, tuple, set)) else [values]:
            if value is not None:
                pairs.append((name, value))
    once = any(name == "poll" and str(value) in ("1", "true") for name, value in pairs)
    load, save = _functions(checkpoint if path.endswith("/stream") else None)
    cursor, counts, failures = load(), None, 0
    stop = stop or threading.Event()

    def keep(new: typing.Optional[str]) -> None:
        nonlocal cursor
        if new and new != cursor:
            cursor = new
            save(new)

    while not stop.is_set():
        asked = list(pairs)
        if cursor:
            starts = ("since", "latest", "cursor")
            asked = [pair for pair in pairs if pair[0] not in starts] + [("cursor", cursor)]
        encoded = urllib.parse.urlencode(asked)
        target = urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, encoded, ""))
        end: Json = {}
        for message in _connect(target, headers or {}, end):
            if stop.is_set():
                return
            kind, shown = message.get("type"), message
            if kind == "ack":
                # A later ack may precede a gap, so it does not move the cursor.
                if not cursor:
                    keep(message.get("cursor"))
                for warning in message.get("warnings", []):
                    text = "ghpulse: {field} {value}: {message}".format(**warning)
                    warnings.warn(text, stacklevel=2)
                continue
            if kind in ("bye", "heartbeat"):
                failures = 0
                if message.get("retry_after") is not None:
                    end["wait"] = message["retry_after"] / 1000
                if cursor:
                    keep(message.get("cursor"))
                continue
            if kind == "error":
                raise Refused(message["message"])
            if kind in ("snapshot", "tick", "delta"):
                shown = dict(message, type="counts")
                counts = dict(shown.get("value", counts or {}))
                for name, change in shown.pop("changes", {}).items():
                    counts[name] = counts.get(name, 0) + change
                    if counts[name] == 0:
                        del counts[name]
                shown["value"] = counts
            elif kind not in ("event", "entity", "gap", "caught_up"):
                continue
            failures = 0
            yield shown
            keep(message.get("cursor") or message.get("to"))
            if once and kind == "caught_up":
                return
        backoff = min(retry * 2 ** min(failures, 20), BACKOFF)
        failures += 1
        wait = min(end.get("wait", backoff * random.uniform(0.5, 1)), HINT)
        if on_retry:
            on_retry(end.get("error"), wait)
        stop.wait(wait)


def _functions(checkpoint: typing.Optional[Checkpoint]) -> Functions:
    """How a checkpoint is read and written."""
    if checkpoint is None:
        return (lambda: None), (lambda cursor: None)
    if isinstance(checkpoint, tuple):
        return checkpoint
    path = os.fspath(checkpoint)

    def load() -> typing.Optional[str]:
        try:
            with open(path, encoding="ascii") as file:
                cursor = file.read().strip()
        except FileNotFoundError:
            return None
        if not cursor:
            raise ValueError(f"{path} is empty: it holds a cursor, or does not exist")
        return cursor

    def save(cursor: str) -> None:
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(cursor + "\n")
        os.replace(path + ".new", path)

    return load, save


def _connect(
    url: str, headers: typing.Mapping[str, str], end: Json
) -> typing.Iterator[typing.Any]:
    """Messages of one connection; its failure goes to end["error"], the server's hint to
    end["wait"], seconds."""
    request = urllib.request.Request(url, headers={**headers, "Accept": NDJSON})
    try:
        response = urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        with error:
            _refuse(error, end)
        return
    except urllib.error.URLError as error:
        # A retry does not help with a wrong certificate or an unknown scheme.
        if isinstance(error.reason, (ssl.SSLCertVerificationError, str)):
            raise
        end["error"] = error
        return
    except (OSError, http.client.HTTPException) as error:
        end["error"] = error
        return
    with response:
        kind = response.headers.get_content_type()
        if kind != NDJSON:
            raise Refused(f"{url} answers {kind}, not {NDJSON}", response.status)
        while True:
            try:
                line = response.readline(LINE + 1)
            except (OSError, http.client.HTTPException) as error:
                end["error"] = error
                return
            if len(line) > LINE:
                raise Refused(f"a line of more than {LINE} bytes")
            # The connection was cut within the line, which is sent again.
            if not line.endswith(b"\n"):
                return
            if line.strip():
                yield json.loads(line)


def _refuse(error: urllib.error.HTTPError, end: Json) -> None:
    """Raises what the server says, or leaves it in `end` where it may be gone soon."""
    try:
        said = error.read(65536).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        said = ""
    try:
        said = json.loads(said)["detail"]
    except (ValueError, KeyError, TypeError):
        said = said[:500]
    refused = Refused(f"{error.code}: {said}", error.code)
    if error.code < 500 and error.code not in (408, 425, 429):
        raise refused
    end["error"] = refused
    after = error.headers.get("Retry-After", "")
    if after.isdigit():
        end["wait"] = int(after) * random.uniform(1, 1.25)
