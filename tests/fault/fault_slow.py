#!/usr/bin/env python3
"""Goal: one table of forty that refuses everything costs the others nothing, shows itself and heals.

Method: forty types, half of them by insertAll; every request for one of these is refused by localcloud. All
others, and the archive of that one, must be complete while that lasts.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

TYPES = [f"t{i:02}" for i in range(40)]
REFUSED = "t31"


def listed(place):
    schema = place.file("slow.json")
    with open(schema, "w") as file:
        json.dump([{"name": "event_type", "type": "STRING"}, {"name": "n", "type": "INTEGER"}], file)
    return [{"name": t, "schema": schema, "method": "insert_all" if i >= 20 else "load"} for i, t in enumerate(TYPES)]


def post(daemon, first, n):
    daemon.post_ok(b"".join(json.dumps({"event_type": t, "n": i}).encode() + b"\n"
                            for i in range(first, first + n) for t in TYPES))


def counts(cloud, types):
    union = " UNION ALL ".join(f"SELECT '{t}', COUNT(*) FROM `test-project.test_events.{t}`" for t in types)
    return {t: int(n) for t, n in cloud.query(union)}


def test_one_refused_table():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), shutdown={"grace": "0s"})
        post(daemon, 0, 5)
        daemon.settle()
        cloud.fault(service="bigquery", path_contains=f"/tables/{REFUSED}/insertAll", status=403, reason="accessDenied")
        others = [t for t in TYPES if t != REFUSED]
        total = 5
        for _ in range(5):
            post(daemon, total, 20)
            total += 20
            until(lambda: counts(cloud, others) == {t: total for t in others}, 30,
                  lambda: f"the others at {total}: {counts(cloud, others)}")
        status = until(lambda: (s := daemon.status())["parked"]["inserts"] and s, 30, "the table to be parked")
        why = {p["what"]: p["why"] for p in status["parked"]["problems"]}
        expect(status["parked"]["inserts"] == 1 and REFUSED in why, "parked", status["parked"])
        expect("accessDenied" in why[REFUSED], why)
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 30, "the archive, of that table too")
        until(lambda: daemon.status()["sinks"]["bigquery"]["pending"] == total - 5, 30, "only its rows to be pending")
        cloud.clear_faults()
        daemon.settle()
        equal(counts(cloud, TYPES), {t: total for t in TYPES}, "rows in the end")
        daemon.stop()


sys.exit(run_tests([test_one_refused_table]))
