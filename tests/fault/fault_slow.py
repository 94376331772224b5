#!/usr/bin/env python3
"""Goal: one table of forty that refuses everything, or one type whose folder in the bucket may not be written, costs
the others nothing, shows itself and heals.

Method: forty types, half of them by insertAll. Every request for one of these is refused by localcloud; or the load
jobs of another one are refused and the folder of a third one is denied. All others, and what these can still have, must
be complete while that lasts. perf/run.sh slow has the figures.
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
    if not set(types) <= set(cloud.tables()):
        return {}
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


def problems(daemon):
    return {p["what"]: p["why"] for p in daemon.status()["parked"]["problems"]}


def test_denied_folder_and_refused_loads():
    denied, refused = "t05", "t07"
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), shutdown={"grace": "0s"}, sinks={"park_retry": "2s"},
                              bigquery={"load_cadence": "1s", "split_jobs": 1000})
        cloud.fault(object_prefix=f"output/{denied}/", status=403, reason="forbidden",
                    message="no storage.objects.create")
        cloud.fault(load_row=f'"{refused}"')
        others = [t for t in TYPES if t not in (denied, refused)]
        total = 0
        for _ in range(3):
            post(daemon, total, 20)
            total += 20
            until(lambda: counts(cloud, others) == {t: total for t in others}, 60,
                  lambda: f"the others at {total}: {counts(cloud, others)}")
        until(lambda: cloud.names(f"output/{refused}/"), 30, "the archive of the type whose loads are refused")
        equal(cloud.names(f"output/{denied}/"), [], "objects where none may be written")
        why = problems(daemon)
        expect("no storage.objects.create" in why.get("Cloud Storage", ""), why)
        until(lambda: refused in problems(daemon), 60, lambda: f"the other one to be parked: {problems(daemon)}")
        equal(daemon.cli_json("dlq", "list")["letters"], [], "dead letters")
        daemon.restart()
        cloud.clear_faults()
        until(lambda: daemon.pending() == 0, 120, lambda: f"both to heal: {daemon.status()['parked']}")
        equal(counts(cloud, TYPES), {t: total for t in TYPES}, "rows in the end")
        daemon.settle()
        daemon.stop()


sys.exit(run_tests([test_one_refused_table, test_denied_folder_and_refused_loads]))
