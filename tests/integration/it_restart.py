#!/usr/bin/env python3
"""Goal: a restart continues where the last run ended, whatever was changed in between.

Method: SIGTERM in the middle of a load and with debts, other worker and sink thread counts, a
second daemon on
the same folder, `penstock drain`. All events of all runs are compared by id at the end; the
generator's seeds
keep the runs apart.
"""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, compare, equal, expect, run_tests, until  # noqa: E402


def gen_run(place, daemon, seed, count=20000, **options):
    gen = Gen(place, daemon, name=f"gen{seed}", seed=seed, count=count, malformed=1, late=2, **options)
    report = gen.wait()
    equal(report["acked"], count, "acknowledged")
    return gen


def test_term_delivers_all():
    """SIGTERM waits for delivery: nothing is left for the next start."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, bigquery={"load_cadence": "1h"}, group={"age_max": "1h"})
        gen = gen_run(place, daemon, 1)
        daemon.stop()
        expect("stopped" in daemon.log().splitlines()[-1], daemon.log()[-300:])
        compare(gen, cloud)
        daemon.start()
        equal(daemon.pending(), 0, "pending after the restart")
        daemon.verify()
        equal(daemon.status()["durable_ever"], 20000, "durable ever")
        daemon.stop()
        daemon.clean()


def test_term_under_load():
    """SIGTERM in the middle of requests: each is answered, or was never stored."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        gen = Gen(place, daemon, seed=2, duration=120, connections=64, batch=10, malformed=1, late=2,
                  reconnect=True)
        for moment in (5000, 30000, 60000):
            until(lambda: gen.fates() >= moment, 60, f"event {moment}")
            daemon.stop()
            daemon.start()
        gen.interrupt()
        report = gen.wait(60)
        expect(set(report["refused_by_status"]) <= {"503"}, report["refused_by_status"])
        daemon.settle()
        compare(gen, cloud)
        daemon.clean()
        daemon.stop()


def test_term_with_sinks_down():
    """SIGTERM while nothing can be delivered ends after the grace; the next start delivers."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "300ms"})
        cloud.kill()
        gen = gen_run(place, daemon, 3)
        daemon.stop(30)
        cloud.start()
        daemon.start()
        daemon.settle()
        compare(gen, cloud)
        daemon.clean()
        daemon.stop()


def test_second_signal():
    """A second SIGTERM stops at once."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "1d"})
        cloud.kill()
        gen = gen_run(place, daemon, 4, count=2000)
        daemon.process.signal(signal.SIGTERM)
        until(lambda: "waiting for delivery" in daemon.log(), 30, "the first signal to be seen")
        daemon.stop(30)
        cloud.start()
        daemon.start()
        daemon.settle()
        compare(gen, cloud)
        daemon.stop()


def test_other_counts():
    """Workers 2, 1, 2, 3 and sink threads 1, 2, 1, 3: journals left over are drained, tables change hands."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, start=False, shutdown={"grace": "0s"})
        gens = []
        for i, (workers, threads) in enumerate(((2, 1), (1, 2), (2, 1), (3, 3))):
            if i != 3:  # nothing can be delivered before the last change
                cloud.fault(status=503, service="storage")
            daemon.config["workers"] = workers
            daemon.config["sinks"]["threads"] = threads
            daemon.start()
            gens.append(gen_run(place, daemon, 10 + i, count=10000, connections=32))
            if i == 1:
                daemon.kill()
            elif i < 3:
                daemon.stop()
            cloud.clear_faults()
        daemon.settle()
        compare_all(gens, cloud)
        journals = os.listdir(os.path.join(daemon.config["data_dir"], "journal"))
        expect(len(journals) >= 3, "journals", journals)
        equal(daemon.status()["durable_ever"], 40000, "durable ever")
        daemon.stop()
        daemon.config["workers"] = 1
        daemon.start()
        daemon.verify()
        gens.append(gen_run(place, daemon, 20, count=5000))
        daemon.settle()
        compare_all(gens, cloud)
        daemon.clean()
        daemon.stop()


def compare_all(gens, cloud):
    counts = compare(gens, cloud)
    print(dict(counts))


def test_second_daemon():
    """A second daemon on the same folder is refused and harms nothing."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        other = place.daemon(cloud, name="other", start=False)
        other.config["data_dir"] = daemon.config["data_dir"]
        other.process = other.launch()
        status = other.process.wait(30)
        expect(status not in (0, None), "the second daemon ended with", status)
        expect(daemon.config["data_dir"] in other.log() or "lock" in other.log(), other.log()[-500:])
        gen = gen_run(place, daemon, 30, count=2000)
        daemon.settle()
        compare(gen, cloud)
        daemon.stop()


def test_drain():
    """`penstock drain`: 503 from then on, everything delivered; a restart takes events again."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        gen = gen_run(place, daemon, 40)
        status, text = daemon.cli("drain")
        equal(status, 0, text)
        compare(gen, cloud)
        answer = daemon.post(b'{"event_type":"x"}\n')
        equal(answer.status, 503, "answer while drained")
        equal(answer.json()["error"]["reason"], "draining", "reason")
        expect(int(answer.headers["retry-after"]) > 0, answer.headers)
        equal(daemon.admin("/readyz")[0], 503, "readyz while drained")
        equal(daemon.admin("/healthz")[0], 200, "healthz while drained")
        daemon.restart()
        equal(daemon.post(b'{"event_type":"x"}\n').status, 200, "answer after the restart")
        daemon.settle()
        daemon.stop()


def test_other_node():
    """A folder copied under another node name keeps its promises: names that are planned stay."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "0s"})
        cloud.fault(lose_answer=True, service="storage", method="POST")  # done, but nobody knows
        gen = gen_run(place, daemon, 50, count=3000)
        until(lambda: cloud.stats()["objects"] > 0, 30, "an object")
        daemon.stop()
        cloud.clear_faults()
        daemon.config["node"] = "renamed"
        daemon.start()
        daemon.settle()
        compare(gen, cloud)
        daemon.clean()
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([
        test_term_delivers_all,
        test_term_under_load,
        test_term_with_sinks_down,
        test_second_signal,
        test_other_counts,
        test_second_daemon,
        test_drain,
        test_other_node,
    ]))
