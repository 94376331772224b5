#!/usr/bin/env python3
"""Goal: types whose way is stopped (objects denied, an insertAll table refused, paused) cost the others nothing while
far more than a journal goes through: their events move to the spool and, when all is well again, arrive once.

Method: a journal of 32 MiB, types of which one may not be written, one's rows are refused and one is paused, several
journals' worth of each; kill -9 in between; then the ways are opened. A spool file that is missing or damaged is named
and nothing else waits for it.
"""
import glob
import json
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, run_tests, until  # noqa: E402

FILL = "f" * 1000
BODY = 400


def events(kind, first, n=BODY):
    return b"".join(json.dumps({"event_type": kind, "n": first + i, "fill": FILL}).encode() + b"\n" for i in range(n))


class Sender:
    """Sends bodies, all of which must be taken."""

    def __init__(self, daemon):
        self.daemon, self.n = daemon, {}

    def send(self, *kinds, bodies=1):
        for _ in range(bodies):
            for kind in kinds:
                first = self.n.get(kind, 0)
                until(lambda kind=kind, first=first: self.taken(kind, first), 30, f"room for {kind}")
                self.n[kind] = first + BODY

    def taken(self, kind, first):
        answer = self.daemon.post(events(kind, first))
        expect(answer.status in (200, 429, 503), answer.status, answer.body)
        if answer.status == 429:  # a moment too fast for the sinks; never because of another type
            equal(answer.json()["error"]["reason"], "journal_full", "reason")
        return answer.status == 200


def stored(cloud, kind, folder="output"):
    found = [int(re.search(rb'"n":\s?(\d+)', line).group(1)) for _, line in cloud.lines(f"{folder}/{kind}/")]
    equal(len(found), len(set(found)), f"{kind} in {folder}: some twice")
    return len(found)


def spool_files(daemon):
    return sorted(glob.glob(os.path.join(daemon.config["data_dir"], "spool", "*.plan")))


def small(place, cloud, **more):
    return place.daemon(cloud, listed=more.pop("listed", ()), shutdown={"grace": "0s"},
                        journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                        group={"memory": "64MiB", "bytes_max": "1MiB", "age_max": "300ms"}, **more)


def test_denied_prefix():
    with Place() as place:
        cloud = place.cloud()
        daemon = small(place, cloud, bigquery={"enabled": False})
        cloud.fault(object_prefix="output/bad/", status=403, reason="forbidden", message="no storage.objects.create")
        sender = Sender(daemon)
        for turn in range(3):
            for _ in range(30):  # 24 MB each time
                sender.send("bad", "good")
            until(lambda: stored(cloud, "good") == sender.n["good"], 60, "the good type, all of it")
            equal(stored(cloud, "bad"), 0, "objects where none may be written")
            if turn == 1:
                daemon.kill()
                daemon.start()
        until(lambda: daemon.status()["journal"]["used_bytes"] < 24 << 20, 30, "the journal to be free for others")
        expect(len(spool_files(daemon)) > 10, spool_files(daemon))
        status = daemon.status()
        why = {p["what"]: p["why"] for p in status["parked"]["problems"]}
        expect(any("no storage.objects.create" in w for w in why.values()), why)
        cloud.clear_faults()
        until(lambda: daemon.pending() == 0, 60, lambda: f"all to be delivered: {daemon.status()['parked']}")
        equal(stored(cloud, "bad"), sender.n["bad"], "the bad type in the end")
        equal(stored(cloud, "good"), sender.n["good"], "the good type in the end")
        until(lambda: not spool_files(daemon), 10, "the spool to be empty")
        daemon.verify()
        daemon.stop()


def main():
    return run_tests([test_denied_prefix])


if __name__ == "__main__":
    sys.exit(main())
