# Reads with /client.py and prints events (cursor, key, id) or the counts, one per line. Lines with
# `#` report other messages. After COUNT lines it exits without cleanup, with one more message
# received.
#
#   python3 pasted.py CLIENT URL QUERY CHECKPOINT COUNT
import importlib.util
import json
import os
import sys
import warnings

sys.dont_write_bytecode = True
path, url, query, checkpoint, count = sys.argv[1:]
spec = importlib.util.spec_from_file_location("client", path)
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)


def on_retry(error, wait):
    print(f"# retry {round(wait * 1000)} {error}", flush=True)


warnings.showwarning = lambda said, *_: print("# warned", said, flush=True)
left = int(count)
options = dict(checkpoint=checkpoint, retry=0.01, on_retry=on_retry)
try:
    for message in client.ghpulse(url, json.loads(query), **options):
        kind = message["type"]
        if kind not in ("event", "counts"):
            print("#", json.dumps(message, separators=(",", ":")), flush=True)
            continue
        if left == 0:
            os._exit(0)
        left -= 1
        if kind == "event":
            print(message["cursor"], message["key"], message["event"]["id"], flush=True)
        else:
            print(json.dumps(message["value"]), flush=True)
except (client.Refused, ValueError) as refused:
    print("# refused", refused, flush=True)
