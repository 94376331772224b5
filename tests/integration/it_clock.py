#!/usr/bin/env python3
"""Goal: whatever the wall clock does and whatever times events have, every event is delivered under a
path that a person understands, no group stays behind, and memory is bounded.

Method: a daemon whose wall clock the test shifts under it (clock_shift.c, preloaded): forward by a
day, back by a year, to before 1970's second day, while events flow; events dated 1970, 2100, far
outside, and without a time; ten thousand minutes open at once.
"""
import collections
import json
import os
import re
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import ROOT, Daemon, Place, Process, equal, expect, program, run_tests, until  # noqa: E402

PATH = re.compile(r"output/[a-z]+/(\d{4})/(\d\d)/(\d\d)/(\d\d)/(\d\d)/[a-z]+_\1\2\3\4\5(_late)?_test_[0-9a-f]{8}_"
                  r"[0-9a-f]{8,}\.json")
DAY = 86400
TYPES = {"time_field": "at"}


class ShiftedDaemon(Daemon):
    """Its wall clock is the machine's, and so many seconds."""

    def __init__(self, place, cloud, **sections):
        self.library, self.clock = place.file("clock_shift.so"), place.file("clock")
        source = os.path.join(ROOT, "tests", "lib", "clock_shift.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        self.shift(0)
        super().__init__(place, cloud, **sections)

    def shift(self, seconds):
        with open(self.clock, "r+b" if os.path.exists(self.clock) else "wb") as file:
            file.write(struct.pack("=q", seconds))

    def launch(self, *arguments):
        argv = [program("penstockd"), "--config", self.write_config(), *arguments]
        return Process(argv, self.log_path, env={**os.environ, "LD_PRELOAD": self.library,
                                                 "CLOCK_SHIFT_FILE": self.clock})


def events(first, n, event_type="tick", **more):
    return b"".join(json.dumps({"event_type": event_type, "n": i, **more}).encode() + b"\n"
                    for i in range(first, first + n))


def archived(cloud, event_type="tick"):
    """{n: object name}; every one exactly once, under a path as it should be."""
    found = {}
    for name, line in cloud.lines(f"output/{event_type}/"):
        expect(PATH.fullmatch(name), "a bad path:", name)
        n = json.loads(line)["n"]
        expect(n not in found, n, "twice")
        found[n] = name
    return found


def day(seconds):
    return time.strftime("%Y/%m/%d", time.gmtime(seconds))


def test_jumps():
    """The clock jumps while groups are open, plans are made, loads are due and the daemon restarts."""
    with Place() as place:
        cloud = place.cloud()
        daemon = ShiftedDaemon(place, cloud, types=TYPES, listed=[
            {"name": "tick", "dedupe": {"field": "n", "window": "10m", "ids_max": 10000}}])
        jumps = (0, DAY, 0, -365 * DAY, 30 * DAY, 30 * DAY - int(time.time()), 75 * 365 * DAY, 0)
        wanted = {}
        for i, jump in enumerate(jumps):
            daemon.post_ok(events(1000 * i, 50))  # these are open when it jumps
            daemon.shift(jump)
            daemon.post_ok(events(1000 * i + 50, 50))
            for n in range(50):
                wanted[1000 * i + 50 + n] = time.time() + jump
            until(lambda: len(archived(cloud)) >= 100 * (i + 1), 30, f"events of jump {i}")
            if i in (3, 5):
                daemon.restart()
        daemon.settle()
        found = archived(cloud)
        equal(sorted(found), sorted(n for i in range(len(jumps)) for n in range(1000 * i, 1000 * i + 100)), "events")
        for n, at in wanted.items():
            expect(any(f"/{day(at + off)}/" in found[n] for off in (-60, 0)), n, "received", day(at), "is in", found[n])
        equal(sorted(int(v) for v in cloud.column("tick", "JSON_VALUE(event, '$.n')")), sorted(found), "rows")
        daemon.post_ok(events(7050, 10))  # of the last clock: known ids
        daemon.settle()
        equal(len(archived(cloud)), len(found), "events: duplicates are removed again after all jumps")
        daemon.clean()
        daemon.stop()


def test_dates():
    """Events dated 1970, 2100, and where no path could lead."""
    with Place() as place:
        cloud = place.cloud()
        daemon = ShiftedDaemon(place, cloud, types={**TYPES, "lateness": "1h"}, listed=[])
        cases = {"1970-01-01T00:00:00Z": "1970/01/01/00/00", "1969-12-31T23:59:59Z": "1969/12/31/23/59",
                 "2100-12-31T23:59:59Z": "2100/12/31/23/59", "0001-01-01T00:00:00Z": None,
                 "9999-12-31T23:59:59Z": None, "99999-01-01T00:00:00Z": None, "never": None, "": None}
        for i, at in enumerate(cases):
            daemon.post_ok(events(i, 1, at=at))
        daemon.post_ok(events(100, 1))
        daemon.post_ok(events(101, 1, at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())))
        daemon.settle()
        found = archived(cloud)
        equal(len(found), len(cases) + 2, "events")
        for i, (at, path) in enumerate(cases.items()):
            year = found[i].split("/")[2]
            expect(path is None and year in ("0001", "2026", time.strftime("%Y", time.gmtime()))
                   or path is not None and f"/{path}/" in found[i], at, "is in", found[i])
        # A date ahead of the clock makes nothing late.
        expect("_late_" not in found[101] and "_late_" not in found[100], "late:", found[101])
        equal(len(cloud.column("tick", "penstock_id")), len(cases) + 2, "rows")
        expect(daemon.status()["bad_time"] >= 4, "bad_time", daemon.status()["bad_time"])
        daemon.clean()
        daemon.stop()


def test_open_minutes():
    """Ten thousand minutes at once, in more groups than group memory has chunks for."""
    with Place() as place:
        cloud = place.cloud()
        daemon = ShiftedDaemon(place, cloud, types=TYPES, listed=[], bigquery={"enabled": False},
                               group={"age_max": "1h", "memory": "64MiB", "bytes_max": "16MiB"},
                               gcs={"objects_per_second": 100000})
        start = 1700000000
        lines = [json.dumps({"event_type": "tick", "n": n, "at": start + 60 * n}) for n in range(10000)]
        before = daemon.taken_rss()
        for at in range(0, len(lines), 1000):
            daemon.post_ok("\n".join(lines[at:at + 1000]).encode() + b"\n")
        until(lambda: daemon.status()["sinks"]["gcs"]["planned"] > 0, 60, "plans, because memory is short")
        grown = daemon.rss() - before
        expect(grown < 160 << 20, "memory has grown by", grown >> 20, "MiB")
        daemon.settle()
        names = collections.Counter(archived(cloud).values())
        equal(len(names), 10000, "objects")
        daemon.clean()
        daemon.stop()


sys.exit(run_tests([test_jumps, test_dates, test_open_minutes]))
