"""Does one thing as a user and prints "done", or the code of the refusal.

tried.py PORT USER PASSWORD delete EXCHANGE
"""
import sys

import pika

port, user, password, what, exchange = sys.argv[1:6]
parameters = pika.ConnectionParameters(
    "127.0.0.1", int(port), "/", pika.PlainCredentials(user, password)
)
channel = pika.BlockingConnection(parameters).channel()
try:
    if what == "delete":
        channel.exchange_delete(exchange)
    print("done", flush=True)
except pika.exceptions.ChannelClosedByBroker as refusal:
    print(refusal.reply_code, flush=True)
