#!/usr/bin/env python3
"""Goal: kill -9 at any moment loses nothing that was acknowledged and doubles nothing.

Method: penstock-gen sends mixed events (1 % malformed, 2 % late) without retrying; penstockd is
killed at random
moments and started again, sometimes by SIGTERM instead. At the end every acknowledged event is in
the bucket and
in its table exactly once, every unanswered one once or not at all, by id and byte for byte, and
`penstock verify`
is clean. The moments follow from the seed that is printed; PENSTOCK_SEED replays it.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, compare, expect, run_tests, until  # noqa: E402

SEED = int(os.environ.get("PENSTOCK_SEED", random.SystemRandom().randrange(1 << 30)))
EVENTS = int(os.environ.get("PENSTOCK_EVENTS", "200000"))
KILLS = int(os.environ.get("PENSTOCK_KILLS", "20"))


def finish(name, gen, cloud, daemon):
    daemon.settle(180)
    counts = compare(gen, cloud)
    daemon.clean()
    daemon.stop()
    print(f"{name}: {dict(counts)}, {len(cloud.names())} objects, {len(cloud.jobs())} load jobs")
    return counts


def torture(name, terms_too, seed, **options):
    """Kills at random moments of the load; a moment is a number of events whose fate is known."""
    def test():
        rng = random.Random(seed)
        print(f"{name}: seed {seed}")
        with Place() as place:
            cloud = place.cloud()
            daemon = place.daemon(cloud, shutdown={"grace": "100ms"}, **options)
            # Open loop: what falls due while the daemon is down is sent when it is back.
            gen = Gen(place, daemon, seed=seed % 100000, count=EVENTS, rate=EVENTS // 10, batch=50,
                      connections=8, reconnect=True, malformed=1, late=2, timeout=20,
                      retry=1 if terms_too else None)  # 503 of a stop: nothing was stored
            for moment in sorted(rng.randrange(EVENTS) for _ in range(KILLS)):
                until(lambda: gen.fates() >= moment or not gen.running(), 60, f"event {moment}")
                time.sleep(rng.uniform(0.0, 0.05))  # not on an answer only
                if terms_too and rng.random() < 0.4:
                    daemon.stop()
                else:
                    daemon.kill()
                if rng.random() < 0.3:  # also while it starts: it may be gone before it is ready
                    daemon.process = daemon.launch()
                    time.sleep(rng.uniform(0.0, 0.4))
                    daemon.kill()
                daemon.start()
            gen.wait(300)
            counts = finish(name, gen, cloud, daemon)
            expect(counts["unanswered"] > 0, "no kill hit a request: nothing was tested")

    return name, test


def test_backlog():
    """kill -9 while the sinks work off what came in while they could not."""
    seed = SEED + 2
    rng = random.Random(seed)
    print(f"backlog: seed {seed}")
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        cloud.fault(service="storage", status=503)
        gen = Gen(place, daemon, seed=seed % 100000, count=EVENTS, malformed=1, late=2)
        gen.wait()
        cloud.clear_faults()
        kills = 0
        while kills < 10 and daemon.pending() > 0:
            # A moment of the work: after some more calls of the cloud.
            calls = calls_of(cloud) + rng.randrange(1, 400)
            until(lambda: calls_of(cloud) >= calls or daemon.pending() == 0, 60, "more calls")
            daemon.kill()
            daemon.start()
            kills += 1
        expect(kills > 2, "the backlog was gone after", kills, "kills")
        finish("backlog", gen, cloud, daemon)


def calls_of(cloud):
    return cloud.stats()["calls"]


if __name__ == "__main__":
    sys.exit(run_tests([
        torture("kill", False, SEED),
        torture("kill_and_term_two_workers", True, SEED + 1, workers=2, sinks={"threads": 2}),
        ("backlog", test_backlog),
    ]))
