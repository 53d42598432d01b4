"""Reads a topic exchange with pika and prints a JSON line a message, as long as it is let.

reader.py PORT USER PASSWORD QUEUE DURABLE [--at=EXCHANGE] KEY...
DURABLE is 1 for a queue that outlives a restart.
"""
import json
import sys

import pika

port, user, password, queue, durable = sys.argv[1:6]
keys = sys.argv[6:]
exchange = "ght-streams"
if keys[0].startswith("--at="):
    exchange = keys.pop(0).removeprefix("--at=")
# A freshly started broker listens before it accepts logins.
parameters = pika.ConnectionParameters(
    "127.0.0.1",
    int(port),
    "/",
    pika.PlainCredentials(user, password),
    connection_attempts=60,
    retry_delay=0.5,
)
channel = pika.BlockingConnection(parameters).channel()
channel.exchange_declare(exchange, "topic", durable=True)
channel.queue_declare(queue, durable=durable == "1", auto_delete=durable != "1")
for key in keys:
    channel.queue_bind(queue, exchange, key)
print(json.dumps("bound"), flush=True)


def take(_channel, method, properties, body):
    told = {
        "key": method.routing_key,
        "id": properties.message_id,
        "type": properties.type,
        "timestamp": properties.timestamp,
        "content_type": properties.content_type,
        "delivery_mode": properties.delivery_mode,
        "headers": properties.headers,
        "body": body.decode(),
    }
    print(json.dumps(told), flush=True)


channel.basic_consume(queue, take, auto_ack=True)
try:
    channel.start_consuming()
except pika.exceptions.AMQPError:
    print(json.dumps("gone"), flush=True)
