#!/usr/bin/env python3
"""Goal: with the sinks down, full load fills the journal, never the memory; nothing acknowledged is
lost.

Method: the cloud is down while penstock-gen sends faster than the journal lasts. The resident
set is sampled all along: it must stay under the sum that penstockd prints at start and a margin for
the program
itself, and not grow once the sinks' memory is full. Clients must hear 429. Then the cloud comes
back, and all that
was acknowledged must be in the bucket and in the tables exactly once, by id. PENSTOCK_LONG=1: a
minute and a
journal of 4 GiB instead of seconds and 256 MiB.
"""
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (DATASET, EVENT_ID, PROJECT, Delivered, Gen, Place, equal, expect,  # noqa: E402
                      run_tests, until)

LONG = os.environ.get("PENSTOCK_LONG") == "1"
LIMIT = "4GiB" if LONG else "256MiB"
SECONDS, RATE = (60, 200_000) if LONG else (5, 200_000)
SEED = int(os.environ.get("PENSTOCK_SEED", "5"))
MARGIN = 64 << 20  # code, libraries, plans that wait, the ledger


class Sampler(threading.Thread):
    """The resident set, ten times a second."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.target, self.samples, self.ending = daemon, [], threading.Event()

    def run(self):
        while not self.ending.wait(0.1):
            self.samples.append(self.target.rss())

    def end(self):
        self.ending.set()
        self.join()
        return self.samples


def planned_sum(daemon):
    return float(re.findall(r"memory: sum ([0-9.]+) MiB", daemon.log())[-1]) * (1 << 20)


def check_delivered(gen, cloud):
    """By sequence number only: the long run has ten million events."""
    fate = {}
    with open(gen.acks_path, encoding="ascii") as file:
        for line in file:
            seq, _, _, _, outcome = line.split()
            fate[int(seq)] = outcome
    n = max(fate) + 1
    objects = bytearray(n)
    with cloud.client() as client:
        for name in cloud.names("output/"):
            path = f"/storage/v1/b/{cloud.bucket}/o/{name.replace('/', '%2F')}?alt=media"
            for event in EVENT_ID.findall(client.call("GET", path)[1]):
                objects[int(event.rsplit(b"-", 1)[1])] += 1
    rows = bytearray(n)
    for table, column in Delivered.ID_COLUMN.items():
        for (event,) in cloud.query_each(f"SELECT {column} FROM `{PROJECT}.{DATASET}.{table}`"):
            rows[int(event.rsplit("-", 1)[1])] += 1
    wrong = [seq for seq, outcome in fate.items()
             if objects[seq] != rows[seq] or objects[seq] > 1
             or (outcome == "200" and objects[seq] != 1) or (outcome in ("429", "503") and objects[seq] != 0)]
    expect(not wrong, len(wrong), "events are not where they belong, such as",
           [(s, fate[s], objects[s], rows[s]) for s in wrong[:5]])
    return sum(o == "200" for o in fate.values()), sum(objects), sum(rows)


def test_sinks_down():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, journal={"limit": LIMIT},
                              group={"memory": "64MiB", "bytes_max": "16MiB", "age_max": "1s"})
        cloud.kill()
        before = daemon.taken_rss()
        sampler = Sampler(daemon)
        sampler.start()
        gen = Gen(place, daemon, seed=SEED, duration=SECONDS, rate=RATE, connections=64, batch=100)
        report = gen.wait(SECONDS + 120)
        samples = sampler.end()
        status = daemon.status()
        check_memory(daemon, before, samples)
        expect(report["refused_by_status"].get("429"), "no 429: the journal never filled;", report)
        expect(set(report["refused_by_status"]) <= {"429", "503"}, report["refused_by_status"])
        expect(status["journal"]["total_bytes"] <= status["journal"]["limit_bytes"], status["journal"])
        print(f"acked {report['acked']}, refused {report['refused_by_status']}, journal {status['journal']}")
        cloud.start()
        sampler = Sampler(daemon)
        sampler.start()
        until(lambda: daemon.pending() == 0, 1800 if LONG else 240, lambda: f"delivery: {daemon.status()}")
        daemon.settle(300)
        check_memory(daemon, before, sampler.end())
        acked, objects, rows = check_delivered(gen, cloud)
        print(f"acked {acked}, in the bucket {objects}, in the tables {rows}")
        equal((objects, rows), (acked, acked), "delivered")
        until(lambda: daemon.status()["journal"]["full"] == 0, 30, "room in the journal")
        equal(daemon.post(b'{"event_type":"after"}\n').status, 200, "an event afterwards")
        daemon.clean()
        daemon.stop()


def check_memory(daemon, before, samples):
    expect(len(samples) > 4, "too few samples")
    half = len(samples) // 2
    first, second, limit = max(samples[:half]), max(samples[half:]), planned_sum(daemon) + MARGIN
    mib = 1 << 20
    print(f"resident: {before / mib:.1f} MiB before, at most {first / mib:.1f} in the first half, "
          f"{second / mib:.1f} in the second; the sum is {planned_sum(daemon) / mib:.1f}")
    expect(max(first, second) <= limit, f"{max(first, second) / mib:.1f} MiB are more than {limit / mib:.1f}")
    expect(second <= first + 16 * mib, f"grew from {first / mib:.1f} to {second / mib:.1f} MiB")


if __name__ == "__main__":
    sys.exit(run_tests([test_sinks_down]))
