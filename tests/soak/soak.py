#!/usr/bin/env python3
"""`make soak`: half an hour (SOAK_SECONDS) of mixed load, faults of the cloud and restarts, with duplicates
removed; then every acknowledged id must be there exactly once, verify must be clean, and memory and open
descriptors must not have grown since the first quarter.

Events come by HTTP, orders by load jobs with gzip objects, inventory by insertAll, user activity to inferred
columns. Rounds of faults and quiet follow each other; the daemon is killed or stopped now and then. Memory
and descriptors are sampled at the end of quiet rounds; the daemon must have been up for two rounds. Prints
one line a round, and "ok soak" or "FAIL soak" at the end. PENSTOCK_SEED replays the choices.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Delivered, Gen, LISTED, Place, expect, run_tests, until  # noqa: E402

SECONDS = int(os.environ.get("SOAK_SECONDS", "1800"))
SEED = int(os.environ.get("PENSTOCK_SEED", str(random.SystemRandom().randrange(1 << 20))))
RATE = int(os.environ.get("SOAK_RATE", "3000"))
ROUND = max(5.0, min(60.0, SECONDS / 12))
SAMPLES = 3  # of one run, to be compared
RSS_SLACK = 48 << 20  # of the allocator, and of what is under way


def types():
    fields = {"order": "order_id", "inventory": "inventory_id", "user_activity": "metadata.session_id"}
    listed = {t["name"]: {**t, "dedupe": {"field": fields[t["name"]], "window": "1h", "ids_max": 2000000}}
              for t in LISTED}
    listed["inventory"]["method"] = "insert_all"
    listed["user_activity"].update(schema="infer")
    listed["user_activity"].pop("clustering", None)
    return list(listed.values())


def misbehave(cloud, rng):
    """One of the things that clouds do, for a while."""
    rules = [{"status": 503, "probability": 0.3}, {"status": 429, "probability": 0.2, "service": "storage"},
             {"lose_answer": True, "probability": 0.1, "method": "POST", "service": "storage"},
             {"job_reason": "backendError", "probability": 0.5}, {"reset": True, "probability": 0.1},
             {"row_reason": "backendError", "row_every": 5, "probability": 0.3, "path_contains": "/insertAll"},
             {"delay_ms": 300, "probability": 0.2}]
    for rule in rng.sample(rules, 2):
        cloud.fault(seed=rng.randrange(1000), **rule)


class Samples:
    """Memory and descriptors of runs that were up for long enough."""

    def __init__(self):
        self.runs = {}

    def take(self, daemon):
        pid = daemon.process.child.pid
        self.runs.setdefault(pid, []).append((daemon.rss(), len(os.listdir(f"/proc/{pid}/fd"))))
        return self.runs[pid][-1]

    def enough(self):
        """Whether some run can be compared."""
        return any(len(found) >= SAMPLES for found in self.runs.values())

    def check(self):
        compared = 0
        for found in self.runs.values():
            early = found[len(found) // 4]
            if len(found) < SAMPLES:
                continue
            compared += 1
            expect(found[-1][0] <= early[0] * 1.1 + RSS_SLACK, "memory has grown from", early[0], "to", found[-1][0])
            expect(found[-1][1] <= early[1] + 24, "descriptors have grown from", early[1], "to", found[-1][1])
        return compared


def check_ids(gen, cloud):
    found = Delivered(cloud)
    acked = {event for _, event, kind, outcome in gen.acks() if outcome.startswith("2") and ":" not in kind}
    wrong = [f"{e}: {found.objects[e]} objects, {found.rows[e]} rows" for e in acked if found.objects[e] != 1]
    twice = [e for e, n in found.objects.items() if n > 1]
    rows = [e for e in acked if found.rows[e] != 1 and not e.startswith("inv")]
    lost = [e for e in acked if found.rows[e] < 1]  # insertAll is at least once beyond Google's minute
    expect(not (wrong or twice or rows or lost), "wrong:", wrong[:3], "twice:", twice[:3], "rows:", rows[:3], lost[:3])
    return len(acked), sum(found.objects.values())


def one_round(place, number, rng, samples, restarts):
    """Faults or quiet for a round, sometimes with a kill or a restart."""
    cloud, daemon = place
    quiet = number % 2 == 1
    cloud.clear_faults()
    if not quiet:
        misbehave(cloud, rng)
    time.sleep(ROUND * rng.uniform(0.4, 0.6))
    if restarts and number % 6 == 4:
        (daemon.kill if rng.random() < 0.6 else daemon.stop)()
        daemon.start(seconds=300)  # on a machine that others load, too
    time.sleep(ROUND * 0.5)
    rss, files = samples.take(daemon) if quiet else (0, 0)
    status = daemon.status()
    print(f"round {number}: {'quiet' if quiet else 'faults'}, durable {status['durable_ever']}, pending "
          f"{status['sinks']['gcs']['pending']} and {status['sinks']['bigquery']['pending']}, "
          f"{rss >> 20} MiB, {files} descriptors", flush=True)


def test_soak():
    rng = random.Random(SEED)
    print(f"soak: {SECONDS} s, seed {SEED}", flush=True)
    samples = Samples()
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=types(), workers=2, sinks={"threads": 2}, gcs={"gzip": True},
                              group={"age_max": "2s"}, bigquery={"load_cadence": "5s"}, shutdown={"grace": "1s"})
        gen = Gen(place, daemon, seed=SEED, duration=SECONDS + 600, rate=RATE, batch=20, duplicates=5, malformed=1,
                  late=2, reconnect=True)
        end = time.monotonic() + SECONDS
        number = 0
        while time.monotonic() < end or not samples.enough():
            one_round((cloud, daemon), number, rng, samples, time.monotonic() < end)
            number += 1
        gen.interrupt()
        gen.wait(60)
        cloud.clear_faults()
        until(lambda: daemon.status()["state"] == "ready", 60, "the daemon")
        daemon.settle(600)
        acked, there = check_ids(gen, cloud)
        compared = samples.check()
        expect(compared > 0, "no run was up for long enough to compare its memory")
        print(f"soak: {number} rounds, {acked} ids acknowledged, {there} events there, {compared} runs compared")
        daemon.stop()


sys.exit(run_tests([test_soak]))
