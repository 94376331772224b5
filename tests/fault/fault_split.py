#!/usr/bin/env python3
"""Goal: of a load job that BigQuery refuses, all that is not at fault is loaded, exactly once; a row at fault becomes a
dead letter with BigQuery's word, which can be replayed; a table that refuses everything loses no row to dead letters.

Method: localcloud finds chosen rows or files bad, and names them or does not; the daemon is killed again and again
while it looks for them.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

FIELDS = [{"name": "event_type", "type": "STRING"}, {"name": "n", "type": "INTEGER"},
          {"name": "time", "type": "TIMESTAMP"}, {"name": "word", "type": "STRING"}]
FAST = {"load_cadence": "1s", "split_jobs": 1000}
BAD = "poison"


def listed(place):
    schema = place.file("split.json")
    with open(schema, "w") as file:
        json.dump(FIELDS, file)
    return [{"name": t, "schema": schema, "time_field": "time"} for t in ("good", "bad")]


def event(event_type, n, bad=()):
    return {"event_type": event_type, "n": n, "time": f"2026-11-21T10:{n % 8:02}:00Z",
            "word": BAD if n in bad else "fine"}


def post(daemon, event_type, numbers, bad=()):
    daemon.post_ok(b"".join(json.dumps(event(event_type, n, bad)).encode() + b"\n" for n in numbers))


def rows(cloud, table):
    return sorted(int(v) for v in cloud.column(table, "n")) if table in cloud.tables() else []


def letters(daemon):
    return daemon.cli_json("dlq", "list", "--limit", "1000")["letters"]


def check(daemon, cloud, table, numbers, bad):
    """Everything is a row, or, if it is bad, a dead letter."""
    until(lambda: daemon.pending() == 0, 120, lambda: f"all to be settled: {daemon.status()}")
    equal(rows(cloud, table), [n for n in numbers if n not in bad], "rows")
    found = letters(daemon)
    equal(sorted({letter["reason"] for letter in found}), ["refused_by_bigquery"] if bad else [], "reasons")
    equal(len(found), len(bad), "dead letters")
    until(lambda: not cloud.names("staging/"), 30, lambda: f"nothing to be left in staging/: {cloud.names('staging/')}")
    daemon.verify()


def split_ended(place, silent, numbers, bad, jobs_max, **sections):
    cloud = place.cloud()
    daemon = place.daemon(cloud, listed=listed(place), bigquery=FAST, **sections)
    cloud.fault(load_row=BAD, load_silent=silent)
    post(daemon, "bad", numbers, bad)
    check(daemon, cloud, "bad", numbers, bad)
    jobs = len(cloud.jobs())
    expect(jobs <= jobs_max, "jobs", jobs)
    total = daemon.status()
    equal(total["sinks"]["bigquery"]["refused"], len(bad), "refused, as status says")
    equal(total["sinks"]["bigquery"]["pending"], 0, "pending, as status says")
    return cloud, daemon


def test_named_rows():
    """Three bad rows in two of eight objects, named by BigQuery: a few jobs find them; they can be replayed."""
    bad = {8, 12, 200}
    with Place() as place:
        cloud, daemon = split_ended(place, False, range(400), bad, 16)
        why = letters(daemon)[0]["detail"]
        expect("invalid" in why and "this row is bad" in why, why)
        cloud.clear_faults()
        daemon.restart()
        status, text = daemon.cli("dlq", "replay", "--type", "bad", "--yes")
        equal(status, 0, text)
        daemon.settle()
        equal(rows(cloud, "bad"), list(range(400)), "rows after the replay")
        daemon.verify()
        daemon.stop()


def test_unnamed_row():
    """A bad row that BigQuery does not name, in a gzip object among others: halving finds it."""
    with Place() as place:
        _, daemon = split_ended(place, True, range(400), {77}, 30, gcs={"gzip": True})
        daemon.stop()


def test_wrapped_rows():
    """A type without a schema: the object that is cut is a staging object, which goes in the end."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], bigquery=FAST)
        cloud.fault(load_row=BAD)
        post(daemon, "bad", range(50), {5})
        until(lambda: daemon.pending() == 0, 120, lambda: f"all to be settled: {daemon.status()}")
        equal(len(cloud.column("bad", "penstock_id")), 49, "rows")
        found = letters(daemon)
        equal([letter["reason"] for letter in found], ["refused_by_bigquery"], "dead letters")
        status, text = daemon.cli("dlq", "show", found[0]["id"], "--raw")
        equal((status, json.loads(text)), (0, event("bad", 5, {5})), "the event as it came")
        until(lambda: not cloud.names("staging/"), 30, lambda: f"staging/ to be empty: {cloud.names('staging/')}")
        daemon.verify()
        daemon.stop()


def test_bad_file():
    """A file that BigQuery cannot read as a whole is found among eight; nothing of it is a dead letter while the rows
    in it are refused only together with their file's name."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery=FAST, shutdown={"grace": "0s"})
        cloud.fault(load_uri="/output/bad/2026/11/21/10/03/")
        post(daemon, "bad", range(80))
        check(daemon, cloud, "bad", list(range(80)), set())
        daemon.stop()


def test_all_refused():
    """A table that refuses everything: no event becomes a dead letter, jobs are few, and all is loaded when it takes
    rows again; a lone bad row waits until the table has shown that it does."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery={**FAST, "split_jobs": 300},
                              sinks={"park_retry": "1s"}, shutdown={"grace": "0s"})
        cloud.fault(load_row="event_type")
        post(daemon, "bad", range(24))
        until(lambda: daemon.status()["parked"]["loads"] == 1 and len(cloud.jobs()) >= 41, 60,
              lambda: f"the table to be parked: {daemon.status()['parked']} {len(cloud.jobs())}")
        before = len(cloud.jobs())
        time.sleep(3)
        expect(len(cloud.jobs()) - before <= 5, "jobs of a table that refuses all", len(cloud.jobs()) - before)
        equal((rows(cloud, "bad"), letters(daemon)), ([], []), "rows and dead letters meanwhile")
        cloud.clear_faults()
        cloud.fault(load_row=BAD)
        check(daemon, cloud, "bad", list(range(24)), set())
        post(daemon, "good", [1], {1})
        until(lambda: any("once the table has taken another" in p["why"]
                          for p in daemon.status()["parked"]["problems"]),
              60, lambda: f"a suspect: {daemon.status()['parked']}")
        equal(letters(daemon), [], "dead letters")
        daemon.restart()
        post(daemon, "good", [2])
        check(daemon, cloud, "good", [1, 2], {1})
        daemon.stop()


def test_no_splitting():
    """With split_jobs 0 the refused load waits as a whole, and later ones go on."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery={**FAST, "split_jobs": 0},
                              sinks={"park_retry": "2s"}, shutdown={"grace": "0s"})
        cloud.fault(load_row=BAD)
        post(daemon, "bad", range(40), {5})
        until(lambda: daemon.status()["parked"]["loads"] == 1, 60, lambda: f"parked: {daemon.status()['parked']}")
        post(daemon, "bad", range(40, 80))
        until(lambda: rows(cloud, "bad") == list(range(40, 80)), 60, "later events to be loaded")
        cloud.clear_faults()
        check(daemon, cloud, "bad", list(range(80)), set())
        daemon.stop()


def test_budget():
    """When the jobs of the day are used up, parts wait, later loads go on, and more jobs may be given at any time."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery={**FAST, "split_jobs": 3}, shutdown={"grace": "0s"})
        cloud.fault(load_row=BAD)
        post(daemon, "bad", range(80), {3, 20})

        def waits():
            tables = [t for s in daemon.cli_json("sinks")["threads"] for t in s["tables"] if t["table"] == "bad"]
            return [t for t in tables if t["state"] == "splitting" and "are used up" in t["text"]]

        until(waits, 60, lambda: f"parts to wait: {daemon.cli_json('sinks')}")
        before = rows(cloud, "bad")
        equal(len(cloud.jobs()), 4, "jobs: the load and three of its parts")
        post(daemon, "bad", range(80, 90))
        until(lambda: set(range(80, 90)) <= set(rows(cloud, "bad")), 60, "later events to be loaded")
        until(waits, 60, lambda: f"parts to wait again: {daemon.cli_json('sinks')}")
        equal(rows(cloud, "bad"), sorted(before + list(range(80, 90))), "rows meanwhile: those of no part")
        expect(daemon.pending() > 0, "pending", daemon.status()["sinks"])
        status, text = daemon.cli("set", "bigquery.split_jobs", "1000")
        equal(status, 0, text)
        check(daemon, cloud, "bad", list(range(90)), {3, 20})
        daemon.stop()


def test_killed():
    """Killed again and again while the bad rows of many objects are looked for."""
    bad = {3, 4, 199}
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery=FAST, sinks={"park_retry": "2s"})
        cloud.fault(load_row=BAD)
        post(daemon, "bad", range(200), bad)
        for i in range(6):
            time.sleep(0.1 + 0.06 * (i * 7 % 11))
            daemon.kill()
            daemon.start()
        check(daemon, cloud, "bad", list(range(200)), bad)
        ids = [job["jobReference"]["jobId"] for job in cloud.jobs()]
        equal(len(set(ids)), len(ids), "job ids, each once")
        daemon.stop()


sys.exit(run_tests([test_named_rows, test_unnamed_row, test_wrapped_rows, test_bad_file, test_all_refused,
                    test_no_splitting, test_budget, test_killed]))
