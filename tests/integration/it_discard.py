#!/usr/bin/env python3
"""Goal: with sinks.discard, inputs can be measured without a cloud: what was acknowledged is durable, then thrown
away and counted; journals are used again and again; nothing is asked of Google. And no directory of data can be
emptied that way.

Method: a daemon whose bucket and project are not set takes five times its journals' limit, kill -9 and a restart in
between; every counter is compared with what was sent. Directories are started in the other way.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Daemon, Place, equal, expect, run_tests, until  # noqa: E402

NOWHERE = {"gcs": {"endpoint": "http://127.0.0.1:9", "bucket": ""}, "bigquery": {"project": ""}}
SMALL = {"journal": {"limit": "32MiB", "segment": "8MiB", "spares": 1}}
FILLING = "x" * 4000


class NoCloud:
    """Stands for the one that is not there."""

    endpoint, bucket = "http://127.0.0.1:9", ""


def body(first, n, event_type="order"):
    return b"".join(json.dumps({"event_type": event_type, "n": i, "text": FILLING}).encode() + b"\n"
                    for i in range(first, first + n))


def discarded(daemon):
    return daemon.status()["sinks"]["discard"]["discarded"]


def post_all(daemon, first, n):
    """In batches of 100; a 429 is what a full journal says: it is sent again."""
    def taken():
        answer = daemon.post(body(at, 100))
        expect(answer.status in (200, 429), answer.status, answer.body[:200])
        return answer.status == 200
    for at in range(first, first + n, 100):
        until(taken, 60, "room in the journal")


def test_discarded():
    with Place() as place:
        daemon = Daemon(place, NoCloud, listed=(), credentials={"file": "/nonexistent"}, start=False, **SMALL,
                        **NOWHERE)
        daemon.config["sinks"]["discard"] = True
        daemon.start()
        expect(daemon.log_lines("THROWN AWAY"), "the log does not say it")
        daemon.post_ok(b'{"event_type": "order", "n": ')  # a dead letter goes the same way
        post_all(daemon, 0, 20000)
        until(lambda: discarded(daemon) == 20001, 60, lambda: f"all: {discarded(daemon)}")
        daemon.flush()
        equal(daemon.pending(), 0, "pending")
        status = daemon.status()
        equal((status["durable_ever"], status["sinks"]["gcs"]["enabled"], status["sinks"]["bigquery"]["enabled"]),
              (20001, False, False), "status")
        expect(status["journal"]["used_bytes"] <= 32 << 20, "journals grow:", status["journal"])
        expect("penstock_sink_discarded_total" in daemon.admin("/metrics")[1], "no metric")
        daemon.verify()
        equal(daemon.cli("dlq", "list")[0], 1, "dlq list")
        daemon.kill()
        daemon.start()  # from the journal on, but for what it knows to be gone
        equal(daemon.status()["durable_ever"], 20001, "acknowledged, after kill -9")
        post_all(daemon, 20000, 5000)
        until(lambda: daemon.status()["durable_ever"] == 25001, 60, "the rest")
        daemon.flush()
        daemon.stop()
        daemon.clean()


def refused(daemon, word):
    daemon.process = daemon.launch()
    equal(daemon.process.wait(60), 1, "exit status")
    expect(word in daemon.log_lines(" error ")[-1], "the log:", daemon.log_lines(" error "))


def test_no_journals():
    """A directory whose journals are elsewhere, such as on a disk that is not mounted, is not new."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        daemon.post_ok(body(0, 1, "tick"))
        daemon.settle()
        daemon.stop()
        journal = os.path.join(daemon.config["data_dir"], "journal")
        os.rename(journal, place.file("elsewhere"))
        daemon.config["sinks"]["discard"] = True
        refused(daemon, "would throw away")
        os.rmdir(journal)
        os.rename(place.file("elsewhere"), journal)
        daemon.config["sinks"]["discard"] = False
        daemon.start()
        daemon.settle()


def test_directories():
    """One that is of the one kind is refused to the other, and nothing in it changes."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        daemon.post_ok(body(0, 1, "tick"))
        daemon.kill()
        daemon.config["sinks"]["discard"] = True
        refused(daemon, "would throw away")
        daemon.config["sinks"]["discard"] = False
        daemon.start()
        daemon.settle()
        equal(daemon.status()["sinks"]["gcs"]["delivered"], 1, "delivered")
        other = Daemon(place, cloud, "other", start=False)
        other.config["sinks"]["discard"] = True
        other.start()
        other.stop()
        other.config["sinks"]["discard"] = False
        refused(other, "throws events away")


sys.exit(run_tests([test_discarded, test_no_journals, test_directories]))
