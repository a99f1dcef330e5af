"""What a Python program does with pika: `publish URL EXCHANGE`, or `read URL QUEUE COUNT` (a JSON line for each)."""

import base64
import datetime
import decimal
import gzip
import json
import sys

import pika

BODY = {"n": 7, "text": "grün ✓", "cents": 1999}


def properties(**given):
    return pika.BasicProperties(content_type="application/json", delivery_mode=2, **given)


def messages():
    body = json.dumps(BODY).encode("utf-8")
    whole = properties(
        message_id="py-1",
        correlation_id="correlation-ß",
        app_id="till",
        type="order.created",
        timestamp=1_700_000_000,
        priority=3,
        headers={
            "tenant": "acme ✓",
            "count": 7,
            "negative": -7,
            "big": 2**40,
            "yes": True,
            "none": None,
            "price": decimal.Decimal("19.99"),
            "at": datetime.datetime(2023, 11, 14, 22, 13, 20),
            "list": [1, "two", [3]],
            "deep": {"a": {"b": "c"}},
            "bytes": b"raw",
        },
    )
    yield body, whole
    # The same again, as after a confirm that was lost.
    yield body, whole
    yield body, properties(message_id="py-2")
    # No id, no property at all.
    yield body, None
    yield gzip.compress(body), properties(message_id="py-3", content_encoding="gzip")


def publish(channel, exchange):
    channel.confirm_delivery()
    for body, sent in messages():
        # Raises when it is returned or nacked.
        channel.basic_publish(exchange, "", body, sent, mandatory=True)


def shown(value):
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def read(channel, queue, count):
    for method, sent, body in channel.consume(queue, inactivity_timeout=20):
        if method is None:
            raise SystemExit("nothing came for 20 s")
        plain = gzip.decompress(body) if sent.content_encoding == "gzip" else body
        names = (
            "content_type content_encoding delivery_mode priority correlation_id message_id timestamp type app_id"
        )
        told = {name: getattr(sent, name) for name in names.split()}
        told["headers"] = {name: shown(value) for name, value in (sent.headers or {}).items()}
        told["bytes"] = base64.b64encode(plain).decode("ascii")
        print(json.dumps(told), flush=True)
        channel.basic_ack(method.delivery_tag)
        count -= 1
        if count == 0:
            break
    channel.cancel()


def main(command, url, *rest):
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    if command == "publish":
        publish(channel, rest[0])
    else:
        read(channel, rest[0], int(rest[1]))
    connection.close()


main(*sys.argv[1:])
