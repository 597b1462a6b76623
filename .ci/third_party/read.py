"""Reads a hooklog topic with librdkafka and compares each record with what is expected.

EXPECTED has one JSON object a line: id, source, topic, partition, offset, and where known type,
content_type, body_sha256. An answer of the relay is such an object. What an object leaves out is
checked for its form only. Exits 1 if anything differs, or if the topic holds anything else.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
from collections import Counter

from confluent_kafka import Consumer, KafkaError, TopicPartition

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

# Headers of the sender that must never be stored: credentials, and what concerns one hop only.
DENIED = {
    "authorization", "cookie", "proxy-authorization", "x-gitlab-token", "connection", "keep-alive",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}
ATTRIBUTES = {
    "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_receivedtime", "ce_scheme", "ce_secretid",
    "content-type", "hooklog_request_method", "hooklog_request_target", "hooklog_request_url",
}
OPTIONAL = {"ce_secretid", "content-type", "hooklog_request_url"}


def read(brokers, topic, timeout):
    """Returns all records of the topic, and its number of partitions."""
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": "third-party",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.metrics.push": False,
    })
    try:
        partitions = consumer.list_topics(topic, timeout=timeout).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        records, ends = [], set()
        while len(ends) < len(partitions):
            message = consumer.poll(timeout)
            if message is None:
                sys.exit(f"{topic}: nothing for {timeout} s; at the end of {len(ends)} of {len(partitions)} partitions")
            if message.error() is None:
                records.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ends.add(message.partition())
            else:
                sys.exit(f"{topic}: {message.error()}")
        return records, len(partitions)
    finally:
        consumer.close()


def murmur2(data):
    """The hash of Kafka's default partitioner."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def signed(headers, body, secret):
    """Reports whether the record alone still verifies, by the Standard Webhooks specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = headers["http_webhook-id"] + b"." + headers["http_webhook-timestamp"] + b"." + body
    mac = b"v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest())
    return any(hmac.compare_digest(mac, s) for s in headers["http_webhook-signature"].split(b" "))


def problems(want, record, partitions, secret):
    """Yields what is wrong with a record."""
    pairs = record.headers() or []
    headers = dict(pairs)
    text = {k: v.decode("utf-8", "replace") for k, v in headers.items()}

    def differs(name, got, expected):
        return [f"{name} is {got!r}, want {expected!r}"] if got != expected else []

    yield from differs("key", record.key(), want["id"].encode())
    if record.value() is None:
        yield "value is null"
        return
    if "body_sha256" in want:
        yield from differs("SHA-256 of the value", hashlib.sha256(record.value()).hexdigest(), want["body_sha256"])
    for name, expected in {
        "ce_specversion": "1.0", "ce_id": want["id"], "ce_source": want["source"], "ce_type": want.get("type"),
        "content-type": want.get("content_type"), "hooklog_request_method": "POST",
    }.items():
        if expected is not None:
            yield from differs(name, text.get(name), expected)
    for name in sorted(ATTRIBUTES - OPTIONAL - headers.keys()):
        yield f"{name} is missing"
    for name, count in Counter(k for k, _ in pairs).items():
        if name.startswith("http_"):
            if name != name.lower() or name[5:] in DENIED:
                yield f"{name} must not be there"
        elif name not in ATTRIBUTES or count > 1:
            yield f"{name} is there {count} times, and is no header of the format or not one that repeats"
    for name in ("ce_time", "ce_receivedtime"):
        if not RFC3339.fullmatch(text.get(name, "")):
            yield f"{name} is {text.get(name)!r}, want RFC 3339"
    if not text.get("hooklog_request_target", "").startswith("/hooks/" + want["source"]):
        yield f"hooklog_request_target is {text.get('hooklog_request_target')!r}"
    if "http_host" not in headers:
        yield "http_host is missing"
    if text.get("ce_scheme") != "none" and not text.get("ce_secretid"):
        yield "ce_secretid is missing"
    yield from differs("partition by Kafka's default", record.partition(), (murmur2(record.key()) & 0x7FFFFFFF) % partitions)
    if secret and not signed(headers, record.value(), secret):
        yield "the record does not verify from what it holds"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--secret", help="of Standard Webhooks: verify each record again")
    parser.add_argument("--timeout", type=float, default=20, help="seconds without a record that are too many")
    parser.add_argument("expected", type=argparse.FileType("r"))
    args = parser.parse_args()

    expected = [json.loads(line) for line in args.expected if line.strip()]
    if not expected:
        sys.exit("no record is expected")
    records, partitions = read(args.brokers, args.topic, args.timeout)
    found = {(r.partition(), r.offset()): r for r in records}
    failed = 0
    for want in expected:
        record = found.pop((want["partition"], want["offset"]), None)
        wrong = ["no record is there"] if record is None else list(problems(want, record, partitions, args.secret))
        if want["topic"] != args.topic:
            wrong.append(f"was answered with topic {want['topic']!r}")
        for problem in wrong:
            print(f"{want['id']} at {want['partition']}@{want['offset']}: {problem}", file=sys.stderr)
        failed += bool(wrong)
    for (partition, offset), record in sorted(found.items()):
        print(f"{record.key()!r} at {partition}@{offset}: is not expected", file=sys.stderr)
    failed += len(found)
    print(f"third-party: {len(expected) + len(found) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
