#!/usr/bin/env python3
"""Goal: whatever becomes of a load job, each row is in its table exactly once in the end, or the table is
parked, says why, and heals when it is put right; other tables go on meanwhile.

Method: localcloud fails jobs, counts rows wrongly and refuses jobs for quota; an archived object is
replaced by one with a bad row and put back.
"""
import contextlib
import http.client
import json
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

FIELDS = [{"name": "event_type", "type": "STRING"}, {"name": "n", "type": "INTEGER"}]


def listed(place):
    schema = place.file("jobs.json")
    with open(schema, "w") as file:
        json.dump(FIELDS, file)
    return [{"name": t, "schema": schema} for t in ("good", "bad")]


def post(daemon, event_type, first, n):
    daemon.post_ok(b"".join(json.dumps({"event_type": event_type, "n": first + i}).encode() + b"\n" for i in range(n)))


def rows(cloud, table):
    return sorted(int(v) for v in cloud.column(table, "n")) if table in cloud.tables() else []


def parked(daemon, word):
    """The table's problem, once there is one that says so."""
    def find():
        found = daemon.status()["parked"]
        return found["loads"] > 0 and [p for p in found["problems"] if word in p["why"]]

    return until(find, 60, lambda: f"a parked load that says {word!r}: {daemon.status()['parked']}")


def test_transient():
    """Jobs that fail for a moment are tried again under another id, and nothing comes twice."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place))
        cloud.fault(job_reason="backendError", message="try again", count=3)
        post(daemon, "good", 0, 100)
        daemon.settle()
        equal(rows(cloud, "good"), list(range(100)), "rows")
        ids = [job["jobReference"]["jobId"] for job in cloud.jobs()]
        equal((len(ids), len(set(ids))), (4, 4), "jobs and their ids")
        equal(sorted(i.rsplit("_a", 1)[1] for i in ids), ["1", "2", "3", "4"], "attempts")
        daemon.clean()
        daemon.stop()


def test_bad_file():
    """An object that somebody replaced by one with a bad row: its table is parked, the other one goes on; put
    back, it is loaded, after a restart too."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), bigquery={"load_cadence": "1h"},
                              shutdown={"grace": "0s"})
        for first in (0, 50):
            post(daemon, "bad", first, 50)
            until(lambda: len(cloud.names("output/bad/")) > first // 50, 30, "an object")
        post(daemon, "good", 0, 100)
        until(lambda: cloud.names("output/good/"), 30, "an object")
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 30, "confirmed objects")
        until(lambda: rows(cloud, "bad") == list(range(50)), 30, "the first load, which waits for no cadence")
        name = cloud.names("output/bad/")[-1]
        kept = cloud.objects("output/bad/")[name]

        def replace(data):
            path = f"/upload/storage/v1/b/{cloud.bucket}/o?uploadType=media&name={urllib.parse.quote(name, safe='')}"
            connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=30)
            with contextlib.closing(connection):
                connection.request("POST", path, data, {"Content-Type": "application/x-ndjson"})
                equal(connection.getresponse().status, 200, "answer to replacing the object")

        replace(kept + b'{"event_type":"bad","n":"no number"}\n')
        daemon.cli("flush", "--timeout", "20s")
        problems = parked(daemon, "")
        equal([p["what"] for p in problems], ["bad"], "what is parked")
        until(lambda: rows(cloud, "good") == list(range(100)), 30, "the other table's rows")
        equal(rows(cloud, "bad"), list(range(50)), "a job is all or nothing")
        daemon.restart()
        equal([p["what"] for p in parked(daemon, "")], ["bad"], "what is parked after a restart")
        replace(kept)
        until(lambda: daemon.pending() == 0, 60, "the table heals")
        equal(rows(cloud, "bad"), list(range(100)), "rows")
        daemon.stop()


def test_wrong_count():
    """A job that is done with another number of rows is an alarm: never confirmed, never loaded again."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), shutdown={"grace": "0s"})
        cloud.fault(job_rows=-3, count=1)
        post(daemon, "bad", 0, 100)
        problem = parked(daemon, "97 rows where 100 were expected")[0]
        expect("not confirmed" in problem["why"], problem)
        jobs = len(cloud.jobs())
        post(daemon, "good", 0, 100)
        until(lambda: rows(cloud, "good") == list(range(100)), 30, "the other table's rows")
        daemon.kill()
        daemon.start()
        until(lambda: daemon.status()["parked"]["loads"] > 0 or daemon.pending() == 0, 60, "what becomes of it")
        equal(rows(cloud, "bad"), list(range(100)), "rows: not loaded again")
        equal(len({j["jobReference"]["jobId"] for j in cloud.jobs()}), jobs + 1, "jobs")
        daemon.stop()


def test_quota():
    """Jobs that are refused for quota wait for ten minutes, or a restart; the archive goes on."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), shutdown={"grace": "0s"})
        cloud.fault(service="bigquery", method="POST", path_contains="/jobs", status=403, reason="quotaExceeded")
        post(daemon, "bad", 0, 100)
        until(lambda: any("quotaExceeded" in p["why"] for p in daemon.status()["parked"]["problems"]), 60,
              lambda: f"status tells of the quota: {daemon.status()['parked']}")
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 30, "the archive to be complete")
        hits = cloud.faults()["faults"][0]["hits"]
        post(daemon, "bad", 100, 10)
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 30, "the archive to go on")
        equal(cloud.faults()["faults"][0]["hits"], hits, "requests: the quota is not used up further")
        cloud.clear_faults()
        daemon.restart()
        daemon.settle()
        equal(rows(cloud, "bad"), list(range(110)), "rows")
        daemon.stop()


sys.exit(run_tests([test_transient, test_bad_file, test_wrong_count, test_quota]))
