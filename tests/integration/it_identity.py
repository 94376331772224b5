#!/usr/bin/env python3
"""Goal: a data directory that is wiped, copied or put back from an older copy is recognised, and never
makes one event overwrite, replace or double another.

Method: daemons of one node name on one bucket and dataset. What they acknowledged is compared by id;
where Penstock cannot know better it must refuse to start or park, and say why.
"""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

AT = "2026-11-21T10:00:00Z"  # one minute for all: it is part of objects' names
TYPES = [{"name": "note", "time_field": "at"}]


def body(first, n):
    return b"".join(json.dumps({"event_type": "note", "n": first + i, "at": AT}).encode() + b"\n" for i in range(n))


def archived(cloud):
    return sorted(json.loads(line)["n"] for _, line in cloud.lines("output/note/"))


def rows(cloud):
    return sorted(int(v) for v in cloud.column("note", "JSON_VALUE(event, '$.n')"))


def test_wiped():
    """Everything local is gone: the next run begins anew beside what is there, under new names."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES)
        daemon.post_ok(body(0, 100))
        daemon.settle()
        daemon.stop()
        before = {o["name"]: o["generation"] for o in cloud.listing("output/")}
        shutil.rmtree(daemon.config["data_dir"])
        daemon.start()
        daemon.post_ok(body(100, 100))
        daemon.flush()
        until(lambda: daemon.pending() == 0, 60, "nothing pending")
        equal(archived(cloud), list(range(200)), "objects")
        equal(rows(cloud), list(range(200)), "rows")
        now = {o["name"]: o["generation"] for o in cloud.listing("output/")}
        equal({name: now.get(name) for name in before}, before, "what was there before")
        code, text = daemon.cli("verify")  # the table has more than this directory knows of
        expect(code == 1 and "earlier data directory" in text and "missing" not in text, text)
        daemon.clean()
        daemon.stop()


def test_parts_wiped():
    """Without its delivery log a journal with events is refused; without its journals a log is not used."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES, shutdown={"grace": "0s"})
        cloud.fault(status=503)
        daemon.post_ok(body(0, 100))
        daemon.stop()
        data = daemon.config["data_dir"]
        shutil.move(os.path.join(data, "delivery"), place.file("delivery"))
        daemon.process = daemon.launch()
        equal(daemon.process.wait(30), 1, "exit status without the delivery log")
        expect("the delivery log that says which of them are delivered is gone" in daemon.log(), daemon.log()[-600:])
        shutil.rmtree(os.path.join(data, "delivery"))
        shutil.move(place.file("delivery"), os.path.join(data, "delivery"))
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        equal((archived(cloud), rows(cloud)), (list(range(100)),) * 2, "events")
        daemon.stop()


def test_older_copy():
    """A journal or a delivery log that is put back from an older copy does not fit the other."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES)
        daemon.post_ok(body(0, 10))
        daemon.settle()
        daemon.stop()
        data = daemon.config["data_dir"]
        shutil.copytree(os.path.join(data, "journal"), place.file("journal"))
        daemon.start()
        for i in range(1, 6):
            daemon.post_ok(body(10 * i, 10))
            daemon.settle()
        daemon.stop()
        shutil.move(os.path.join(data, "journal"), place.file("newer"))
        shutil.copytree(place.file("journal"), os.path.join(data, "journal"))
        daemon.process = daemon.launch()
        equal(daemon.process.wait(30), 1, "exit status with an older journal")
        expect("do not belong together" in daemon.log(), daemon.log()[-600:])
        shutil.rmtree(os.path.join(data, "journal"))
        shutil.move(place.file("newer"), os.path.join(data, "journal"))
        daemon.start()
        daemon.settle()
        equal((archived(cloud), rows(cloud)), (list(range(60)),) * 2, "events")
        daemon.stop()


def test_copied_and_run_twice():
    """A copy that runs beside the original on the same machine: what is pending in both is stored once.
    What is new in both has the same plan ids; where that gives the same name the copy parks its object, and
    says so, and nothing is ever replaced."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=TYPES, bigquery={"enabled": False}, shutdown={"grace": "0s"})
        cloud.fault(status=503)
        daemon.post_ok(body(0, 100))
        until(lambda: daemon.status()["sinks"]["gcs"]["planned"] == 100, 30, "plans")
        daemon.stop()
        copy = place.daemon(cloud, name="copy", start=False, listed=TYPES, bigquery={"enabled": False},
                            shutdown={"grace": "0s"})
        shutil.copytree(daemon.config["data_dir"], copy.config["data_dir"])
        cloud.clear_faults()
        for each in (daemon, copy):  # without a flush, which takes a plan id
            each.start()
            until(lambda one=each: one.pending() == 0, 60, "the work is done, or found to be done")
        equal(archived(cloud), list(range(100)), "what both had")
        for i in range(2):  # the same plan ids in both
            daemon.post_ok(body(100 + 50 * i, 50))
            until(lambda: daemon.pending() == 0, 60, "nothing pending")
            copy.post_ok(body(1000 + 70 * i, 70))
            until(lambda: copy.status()["parked"]["objects"] > i, 60, "the copy's object is parked")
        expect("an object of this name is there" in str(copy.status()["parked"]["problems"]), copy.status()["parked"])
        equal(archived(cloud), list(range(200)), "nothing was replaced")
        equal(copy.status()["sinks"]["gcs"]["pending"], 140, "the copy keeps what it acknowledged")
        daemon.verify()
        daemon.stop()
        copy.kill()


sys.exit(run_tests([test_wiped, test_parts_wiped, test_older_copy, test_copied_and_run_twice]))
