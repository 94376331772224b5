#!/usr/bin/env python3
"""Goal: events that nobody here made go through unchanged: AWS CloudTrail records.

Method: sends tests/data/cloudtrail_sample.ndjson, or the file that PENSTOCK_CLOUDTRAIL names, with
eventName as
the type and eventTime as the time, and no schema. Every record with an eventName must be in the
bucket byte for
byte in front of the added fields, under its time's path, and in BigQuery value for value; every one
without must
be among the dead letters, byte for byte, at its position.
"""
import collections
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (ROOT, ADDED_PLAIN, Place, dead_letters, equal, expect, run_tests,  # noqa: E402
                      strip_added)

SAMPLE = os.path.join(ROOT, "tests", "data", "cloudtrail_sample.ndjson")


def read(path):
    with open(path, "rb") as file:
        return [line for line in file.read().split(b"\n") if line]


def check(place, path):
    lines = read(path)
    named = [line for line in lines if "eventName" in json.loads(line)]
    nameless = {i: line for i, line in enumerate(lines) if "eventName" not in json.loads(line)}
    cloud = place.cloud()
    daemon = place.daemon(cloud, listed=[], types={"field": "eventName", "time_field": "eventTime"})
    answer = daemon.post_ok(b"\n".join(lines) + b"\n")
    equal((answer["accepted"], answer["dead_lettered"]), (len(named), len(nameless)), "answer")
    equal([(e["index"], e["reason"]) for e in answer["errors"]],
          [(i, "missing_type") for i in nameless][:len(answer["errors"])], "errors of the answer")
    daemon.settle()
    in_bucket = check_bucket(cloud, named)
    check_tables(cloud, named, in_bucket)
    check_dead(cloud, nameless)
    equal(cloud.names("staging/"), [], "staging objects")
    daemon.clean()
    daemon.stop()
    print(f"{len(lines)} records: {len(named)} delivered, {len(nameless)} dead letters, "
          f"{len(cloud.tables())} tables, {len(cloud.names())} objects")


def check_bucket(cloud, named):
    """Returns {penstock_id: producer's bytes}."""
    found, by_id = collections.Counter(), {}
    for name, line in cloud.lines("output/"):
        raw = strip_added(line)
        event = json.loads(raw)
        found[raw] += 1
        by_id[ADDED_PLAIN.search(line).group(1).decode()] = raw
        time = event["eventTime"]
        path = f"output/{event['eventName']}/{time[0:4]}/{time[5:7]}/{time[8:10]}/{time[11:13]}/{time[14:16]}/"
        expect(name.startswith(path), name, "is not under", path)
        equal(json.loads(line)["event_date"], time[:10], "event_date")
    equal(found, collections.Counter(named), "events in the bucket")
    return by_id


def check_tables(cloud, named, in_bucket):
    rows = {}
    for table in cloud.tables():
        for row in cloud.rows(table):
            expect(row["penstock_id"] not in rows, row["penstock_id"], "has two rows")
            rows[row["penstock_id"]] = row["event"]
            event = json.loads(row["event"])
            equal(event["eventName"], table, "table of an event")
            equal(row["event_date"], event["eventTime"][:10], "event_date")
    equal(len(rows), len(named), "rows")
    for penstock_id, raw in in_bucket.items():
        equal(json.loads(rows[penstock_id]), json.loads(raw), f"values of {penstock_id}")


def check_dead(cloud, nameless):
    letters = dead_letters(cloud)
    equal({letter["position"]: letter["bytes"] for _, letter in letters}, nameless, "dead letters")
    equal(len(letters), len(nameless), "number of dead letters")
    for name, letter in letters:
        equal(letter["reason"], "missing_type", "reason")
        expect(name.startswith("dead_letter/_x_unknown/"), name)


def test_cloudtrail():
    with Place() as place:
        check(place, os.environ.get("PENSTOCK_CLOUDTRAIL", SAMPLE))


if __name__ == "__main__":
    sys.exit(run_tests([test_cloudtrail]))
