#!/usr/bin/env python3
"""Goal: of events with equal ids within the window exactly one is delivered, in every form that rows
have, over restarts and kills; what was removed is counted and accounted for.

Method: known events to types of all forms, again after a restart and after a kill -9 with plans that
wait; then penstock-gen with duplicates under load while the daemon is killed. All objects and rows
are compared by id.
"""
import collections
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Delivered, Gen, LISTED, Place, equal, expect, run_tests, until  # noqa: E402

SEED = int(os.environ.get("PENSTOCK_SEED", "17"))
TYPES = ("plain", "wrapped", "inferred", "inserted", "added", "inserted_rows")
FIELDS = [{"name": "event_type", "type": "STRING"}, {"name": "id", "type": "STRING"},
          {"name": "n", "type": "INTEGER"}]


def listed(place, window="1h", ids_max=100000):
    schema = place.file("dedupe.json")
    with open(schema, "w") as file:
        json.dump(FIELDS, file)
    dedupe = {"field": "id", "window": window, "ids_max": ids_max}
    more = {"plain": {"schema": schema}, "wrapped": {}, "inferred": {"schema": "infer"},
            "inserted": {"schema": schema, "method": "insert_all"},
            "added": {"schema": schema, "unknown_fields": "add_column"},
            "inserted_rows": {"schema": "infer", "method": "insert_all"}}
    return [{"name": t, "dedupe": dedupe, **more[t]} for t in TYPES]


def body(event_type, ids, first=0):
    """Events, numbered; an id of None is left out."""
    lines = [{"event_type": event_type, "n": first + i, **({} if x is None else {"id": x})}
             for i, x in enumerate(ids)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def bucket(cloud, event_type):
    found = [json.loads(line) for _, line in cloud.lines(f"output/{event_type}/")]
    return sorted((str(e.get("id")), e["n"]) for e in found)


def rows(cloud, event_type):
    where = "JSON_VALUE(event, '$.{0}')" if event_type == "wrapped" else "{0}"
    sql = f"SELECT {where.format('id')}, {where.format('n')} FROM `test-project.test_events.{event_type}`"
    return sorted((str(i), int(n)) for i, n in cloud.query(sql))


def check(cloud, wanted):
    for t in TYPES:
        equal(bucket(cloud, t), sorted(wanted), f"objects of {t}")
        equal(rows(cloud, t), sorted(wanted), f"rows of {t}")


def removed(daemon):
    return {t["type"]: t["duplicates_removed"] for t in daemon.cli_json("types")["types"] if t["dedupe"]}


def post_all(daemon, ids, first):
    for t in TYPES:
        daemon.post_ok(body(t, ids, first))


def test_forms():
    """Within a request, over requests, a restart, and a kill with plans that wait; all forms."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), workers=2, sinks={"threads": 2, "park_retry": "1s"})
        ids = ["a", "b", "a", None, "b", "c", None, "a"]
        post_all(daemon, ids, 0)
        wanted = [("a", 0), ("b", 1), ("None", 3), ("c", 5), ("None", 6)]
        daemon.settle()
        check(cloud, wanted)
        equal(removed(daemon), {t: 3 for t in TYPES}, "removed")
        post_all(daemon, ["c", "d", "\u00e4\n\"", "c"], 10)  # removed first, last, and an escaped id
        wanted += [("d", 11), ("\u00e4\n\"", 12)]
        daemon.settle()
        check(cloud, wanted)
        daemon.restart()
        post_all(daemon, ["d", "\u00e4\n\"", "b"], 20)  # nothing but duplicates
        daemon.settle()
        check(cloud, wanted)
        equal(removed(daemon), {t: 8 for t in TYPES}, "removed after a restart")
        cloud.fault(status=503)
        post_all(daemon, ["e", "b", "e", "f"], 30)
        until(lambda: daemon.status()["sinks"]["gcs"]["planned"] >= 6 * 9, 30, "plans")
        daemon.kill()
        daemon.start()
        post_all(daemon, ["e", "f", "g", None], 40)
        cloud.clear_faults()
        wanted += [("e", 30), ("f", 33), ("g", 42), ("None", 43)]
        daemon.settle()
        check(cloud, wanted)
        equal(daemon.cli_json("verify")["duplicates_removed"], 6 * 12, "removed, by verify")
        status = daemon.status()
        equal(status["sinks"]["gcs"]["duplicates_removed"], 72, "removed, by status")
        equal(status["durable_ever"], status["sinks"]["gcs"]["delivered"] + 72, "the balance")
        expect("penstock_type_duplicates_removed_total{type=\"plain\"} 12" in daemon.admin("/metrics")[1])
        daemon.clean()
        daemon.stop()


def test_window():
    """Numbers and strings of the same text are one id; past the window, and past ids_max, an id is new."""
    with Place() as place:
        cloud = place.cloud()
        types = listed(place, "2s", 1000)[1:2]
        daemon = place.daemon(cloud, listed=types)
        lines = [b'{"event_type":"wrapped","n":%d,"id":%s}\n' % (i, x)
                 for i, x in enumerate((b"12", b'"12"', b"12.0", b"null", b"null", b'""', b'""', b"[1]", b"[1]"))]
        daemon.post_ok(b"".join(lines))
        daemon.settle()
        equal(len(bucket(cloud, "wrapped")), 8, "events")
        equal(removed(daemon), {"wrapped": 1}, "removed")
        time.sleep(2.1)  # the window itself is what is tested
        daemon.post_ok(body("wrapped", ["12"], 20))
        daemon.settle()
        equal(len(bucket(cloud, "wrapped")), 9, "events behind the window")
        daemon.stop()
        types[0]["dedupe"]["window"] = "1h"
        daemon.start()
        daemon.post_ok(body("wrapped", ["old"] + [str(i) for i in range(100, 1200)] + ["old", "1100"], 100))
        until(lambda: daemon.cli_json("types")["types"][0]["dedupe"]["evicted"] > 0, 10, "evicted ids")
        daemon.settle()
        known = daemon.cli_json("types")["types"][0]["dedupe"]
        equal(known["ids"], 1000, "ids")
        expect(known["window_now_s"] < 60 and known["window_s"] == 3600, "the window did not shrink", known)
        equal(removed(daemon), {"wrapped": 2}, "removed: not what was pushed out")
        daemon.stop()


def test_replay():
    """A row that BigQuery refused is taken in again by a replay, although its id is known."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place)[3:4])
        daemon.post_ok(body("inserted", ["a", "b"]))
        daemon.settle()
        cloud.fault(service="bigquery", row_reason="invalid", row_contains='"n":11', path_contains="/insertAll")
        daemon.post_ok(body("inserted", ["c", "d", "d"], 10))
        daemon.settle()
        equal(rows(cloud, "inserted"), [("a", 0), ("b", 1), ("c", 10)], "rows without the refused one")
        cloud.clear_faults()
        code, text = daemon.cli("dlq", "replay", "--all", "--yes")
        equal(code, 0, text)
        daemon.settle()
        equal(rows(cloud, "inserted"), [("a", 0), ("b", 1), ("c", 10), ("d", 11)], "rows after the replay")
        daemon.post_ok(body("inserted", ["d"], 20))
        daemon.settle()
        equal(len(rows(cloud, "inserted")), 4, "rows: its id is still known")
        daemon.stop()


def check_once(gens, cloud):
    """Every id of which an event was acknowledged is there exactly once, every other one at most once."""
    found = Delivered(cloud)
    acked, sent = set(), set()
    for gen in gens:
        for _, event, _, outcome in gen.acks():
            (acked if outcome.startswith("2") else sent).add(event)
    wrong = [f"{e}: {found.objects[e]} objects, {found.rows[e]} rows" for e in acked | sent
             if found.objects[e] != found.rows[e] or found.objects[e] > 1 or (e in acked and not found.objects[e])]
    expect(not wrong, len(wrong), "ids are wrong, such as", wrong[:5])
    equal(found.ids, found.row_ids, "penstock_ids")
    return collections.Counter(objects=sum(found.objects.values()), acked=len(acked))


def test_kills():
    """kill -9 at random moments, with a cloud in trouble, two workers and changing sink threads."""
    rng = random.Random(SEED)
    fields = {"order": "order_id", "inventory": "inventory_id", "user_activity": "metadata.session_id"}
    types = [{**t, "dedupe": {"field": fields[t["name"]], "ids_max": 200000}} for t in LISTED]
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=types, workers=2, journal={"limit": "1GiB", "segment": "8MiB"})
        gen = Gen(place, daemon, seed=SEED, duration=100, rate=8000, duplicates=20, late=2, reconnect=True)
        cloud.fault(status=503, probability=0.2, seed=SEED)
        cloud.fault(lose_answer=True, probability=0.1, seed=SEED, method="POST")
        for _ in range(4):
            moment = gen.fates() + rng.randrange(500, 12000)
            until(lambda: gen.fates() >= moment, 60, f"event {moment}")
            daemon.kill()
            daemon.config["sinks"]["threads"] = rng.randrange(1, 4)
            daemon.start()
        gen.interrupt()
        gen.wait(60)
        cloud.clear_faults()
        daemon.settle()
        counts = check_once([gen], cloud)
        expect(counts["objects"] < daemon.status()["durable_ever"], "no duplicate was removed", counts)
        print(f"kills: seed {SEED}, {dict(counts)}, removed {removed(daemon)}")
        daemon.clean()
        daemon.stop()


sys.exit(run_tests([test_forms, test_window, test_replay, test_kills]))
