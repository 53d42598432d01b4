"""What the streaming user may not do: prints the code of each refusal, in order."""
import sys

import pika

parameters = pika.ConnectionParameters(
    "127.0.0.1", int(sys.argv[1]), "/", pika.PlainCredentials("streamer", "streamer")
)
connection = pika.BlockingConnection(parameters)


def tried(work):
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        work(channel)
        print("allowed", flush=True)
    except pika.exceptions.ChannelClosedByBroker as refusal:
        print(refusal.reply_code, flush=True)


tried(lambda channel: channel.basic_publish("ght-streams", "evt.push.insert", b"x"))
tried(lambda channel: channel.basic_publish("", "alice_queue", b"x"))
tried(lambda channel: channel.queue_declare("noprefix", auto_delete=True))
tried(lambda channel: channel.queue_declare("", exclusive=True))
tried(lambda channel: channel.exchange_declare("mine", "topic"))
tried(lambda channel: channel.queue_declare("alice_queue", auto_delete=True))
