#!/usr/bin/env python3
"""Goal: 200,000 mixed events, 1 % of them malformed and 2 % late, are all where they belong, by id.

Method: penstock-gen sends them and logs what the server answered, event by event. Then every object
and every
row is read back by Google's APIs: each good or late event must be in the bucket and in its table
exactly once,
byte for byte what the generator makes again from the seed; each malformed one exactly once among
the dead
letters, byte for byte. Replay: PENSTOCK_SEED.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, compare, equal, expect, run_tests  # noqa: E402

EVENTS = 200_000
SEED = int(os.environ.get("PENSTOCK_SEED", "7"))


def mixed(name, **options):
    def test():
        with Place() as place:
            cloud = place.cloud()
            daemon = place.daemon(cloud, **options)
            print(f"seed {SEED}")
            gen = Gen(place, daemon, seed=SEED, count=EVENTS, malformed=1, late=2)
            report = gen.wait()
            equal(report["acked"], EVENTS, "acknowledged")
            equal(report["dead_lettered"], report["malformed"], "dead-lettered")
            daemon.settle()
            counts = compare(gen, cloud)
            status = daemon.status()
            equal(counts["objects"], EVENTS - report["malformed"], "events in the bucket")
            equal(counts["rows"], EVENTS - report["malformed"], "rows")
            equal(counts["dead"], report["malformed"], "dead letters")
            equal(status["received"], EVENTS, "status: received")
            equal(status["durable"], EVENTS, "status: durable")
            equal(status["dead_lettered"], report["malformed"], "status: dead-lettered")
            expect(status["late"] >= report["late"], "status: late", status["late"])
            daemon.clean()
            daemon.stop()
            print(f"{name}: {dict(counts)}, {len(cloud.names())} objects, {len(cloud.jobs())} load jobs")

    return name, test


if __name__ == "__main__":
    sys.exit(run_tests([
        mixed("one_worker_one_sink_thread"),
        mixed("two_workers_two_sink_threads", workers=2, sinks={"threads": 2}),
    ]))
