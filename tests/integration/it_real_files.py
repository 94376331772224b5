#!/usr/bin/env python3
"""Goal: files that nobody here made arrive whole, with inferred tables: every event in the bucket byte for
byte, and value for value in BigQuery.

Method: the files in the folder that PENSTOCK_DATA names, or the samples in tests/data, through one daemon by
load jobs. What came out is read back by the two APIs and compared with what was sent (tests/lib/rows.py).
"""
import collections
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import ROOT, Place, equal, expect, run_tests  # noqa: E402
from rows import archived, compare_table  # noqa: E402

DATA = os.environ.get("PENSTOCK_DATA")
SAMPLES = {"cloudtrail.ndjson": "cloudtrail_sample.ndjson", "ecommerce_orders.ndjson": "orders_sample.ndjson",
           "github_events.json": "github_sample.json"}


def read(name):
    path = os.path.join(DATA, name) if DATA else os.path.join(ROOT, "tests", "data", SAMPLES[name])
    with open(path, "rb") as file:
        return file.read()


def start(place, **types):
    cloud = place.cloud()
    return cloud, place.daemon(cloud, listed=[], types={"unlisted": "infer", **types},
                               journal={"limit": "256MiB"})


def arrived(cloud, daemon, sent):
    """sent: {type: [parsed event]}. All are in the bucket and in their tables."""
    daemon.settle()
    daemon.clean()
    equal(daemon.status()["dead_lettered"], 0, "dead letters")
    for kind, events in sent.items():
        key = lambda e: json.dumps(e, sort_keys=True)  # noqa: E731
        found = collections.Counter(key(json.loads(raw)) for raw in archived(cloud, kind).values())
        equal(found, collections.Counter(map(key, events)), f"events of {kind} in the bucket")
        in_columns, in_overflow = compare_table(cloud, daemon, kind)
        print(f"{kind}: {len(events)} events, {in_columns} values in columns, {in_overflow} in the overflow")
        expect(in_columns > 10 * in_overflow, "most values have columns")
    equal(cloud.names("staging/"), [], "staging objects")
    daemon.stop()


def test_cloudtrail():
    """All of them, with and without a name: the type comes with the path."""
    with Place() as place:
        cloud, daemon = start(place, time_field="eventTime")
        raw = read("cloudtrail.ndjson")
        answer = daemon.post_ok(raw, "/v1/events/cloudtrail")
        events = [json.loads(line) for line in raw.splitlines() if line]
        equal((answer["accepted"], answer["dead_lettered"]), (len(events), 0), "answer")
        arrived(cloud, daemon, {"cloudtrail": events})


def test_orders():
    """Times with an offset; a field named event; arrays of objects."""
    with Place() as place:
        cloud, daemon = start(place, field="type", time_field="order_date")
        raw = read("ecommerce_orders.ndjson")
        lines = raw.splitlines(keepends=True)
        for at in range(0, len(lines), 100):  # many requests, so that columns may grow between them
            daemon.post_ok(b"".join(lines[at:at + 100]))
        events = [json.loads(line) for line in lines]
        arrived(cloud, daemon, {"order": events})
        for name in cloud.names("output/order/"):
            expect(name.startswith("output/order/20"), name)


def test_github():
    """A pretty-printed array, dated 2013, of several types."""
    with Place() as place:
        cloud, daemon = start(place, field="type", time_field="created_at")
        raw = read("github_events.json")
        events = json.loads(raw)
        equal(daemon.post_ok(raw)["accepted"], len(events), "accepted")
        sent = collections.defaultdict(list)
        for event in events:
            sent[event["type"]].append(event)
        arrived(cloud, daemon, sent)
        for name in cloud.names("output/"):
            expect("/2013/" in name, name)


if __name__ == "__main__":
    sys.exit(run_tests([test_cloudtrail, test_orders, test_github]))
