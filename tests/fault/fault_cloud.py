#!/usr/bin/env python3
"""Goal: a cloud that misbehaves costs time, never an event, and never doubles one.

Method: localcloud answers 503 to half of all calls, does work and loses the answer, refuses connections, refuses for
good, forgets its bucket, is killed; each for PENSTOCK_FAULT_SECONDS (1 by default). Events flow all the time. In the
end everything that was acknowledged is there exactly once, by id and byte for byte, clients saw only 200, 429 and 503,
and `penstock verify` is clean. What was refused for good shows in `penstock status` while it lasts and is delivered
once it is put right. fault_storm.py kills the daemon in such weather.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import BUCKET, PROJECT, Cloud, Gen, Place, compare, equal, expect, run_tests, until  # noqa: E402

SPAN = int(os.environ.get("PENSTOCK_FAULT_SECONDS", "1"))
SEED = int(os.environ.get("PENSTOCK_SEED", "11"))


def finish(name, gen, cloud, daemon, alarms=False):
    report = gen.wait(120)
    expect(set(report["refused_by_status"]) <= {"429", "503"}, "clients saw", report["refused_by_status"])
    equal(report["unanswered"], 0, "unanswered")
    daemon.settle(180)
    counts = compare(gen, cloud)
    if not alarms:
        daemon.clean()
    daemon.stop()
    print(f"{name}: seed {gen.seed}, {dict(counts)}, calls {cloud.stats()['calls']}")


def load(place, daemon, seconds, **options):
    return Gen(place, daemon, seed=SEED, duration=seconds, rate=6000, malformed=1, late=2, **options)


def test_storm():
    """503 to half of all calls, answers lost, connections refused, then well."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        gen = load(place, daemon, 3 * SPAN + 1)
        for rule in ({"status": 503, "probability": 0.5, "seed": SEED},
                     {"lose_answer": True, "probability": 0.5, "seed": SEED},
                     {"refuse": True}):
            cloud.fault(seconds=SPAN, **rule)
            time.sleep(SPAN)  # the time itself is what is tested
        finish("storm", gen, cloud, daemon)


def test_cloud_killed():
    """localcloud is killed in the middle of its work, twice, and comes back."""
    with Place() as place:
        cloud = place.cloud(arguments=["--job-delay", "300"])
        daemon = place.daemon(cloud)
        gen = load(place, daemon, SPAN + 1)
        for jobs in (1, 3):
            until(lambda: len(cloud.jobs()) >= jobs, 60, "a load job")
            cloud.kill()
            cloud.start()
        finish("cloud_killed", gen, cloud, daemon)


def test_rate_limit():
    """403 rateLimitExceeded and 429 pass: nothing parks."""
    with Place() as place:
        cloud = place.cloud()
        for service in ("storage", "bigquery"):
            cloud.fault(service=service, status=403, reason="rateLimitExceeded", count=3)
            cloud.fault(service=service, status=429, reason="rateLimitExceeded", retry_after=1, count=3)
        daemon = place.daemon(cloud)
        finish("rate_limit", load(place, daemon, 2), cloud, daemon)
        hits = [rule["hits"] for rule in cloud.faults()["faults"]]
        expect(all(hits), "a rule was never met:", hits)


def parks(name, what, rule, objects):
    """A refusal for good parks, shows in status, and resumes when it is put right."""
    def test():
        with Place() as place:
            cloud = place.cloud()
            cloud.fault(**rule)
            daemon = place.daemon(cloud)
            gen = load(place, daemon, 2)

            def parked():
                found = daemon.status()["parked"]
                return found["problems"] and found["objects" if objects else "loads"] > 0 and found

            found = until(parked, 60, lambda: f"something parked: {daemon.status()}")
            expect(any(what in p["why"] for p in found["problems"]), what, "is not in", found)
            expect(found["problems"][0]["what"] in ("Cloud Storage", "orders", "inventory", "user_activity"),
                   "what is parked:", found)
            gen.wait()
            cloud.clear_faults()
            finish(name, gen, cloud, daemon, alarms=True)

    return name, test


def test_bucket_missing():
    """404 for a bucket that is made later."""
    with Place() as place:
        cloud = Cloud(place, bucket=None)
        cloud.bucket = BUCKET
        daemon = place.daemon(cloud)
        gen = load(place, daemon, 2)
        until(lambda: daemon.status()["parked"]["objects"] > 0, 60, "parked objects")
        expect("bucket" in str(daemon.status()["parked"]["problems"]).lower(), daemon.status()["parked"])
        cloud.call("POST", f"/storage/v1/b?project={PROJECT}", {"name": BUCKET})
        finish("bucket_missing", gen, cloud, daemon, alarms=True)


def test_job_lost_and_found():
    """jobs.insert done but unanswered, jobs.get answering 404 or 503: the same job is found again."""
    with Place() as place:
        cloud = place.cloud(arguments=["--job-delay", "100"])
        cloud.fault(service="bigquery", method="POST", path_contains="/jobs", lose_answer=True, count=4)
        cloud.fault(service="bigquery", method="GET", path_contains="/jobs/", status=404, reason="notFound",
                    count=3)
        cloud.fault(service="bigquery", method="GET", path_contains="/jobs/", reset=True, count=3)
        daemon = place.daemon(cloud)
        gen = load(place, daemon, 2)
        gen.wait()
        daemon.settle(180)
        hits = [rule["hits"] for rule in cloud.faults()["faults"]]
        equal(hits, [4, 3, 3], "hits")
        finish("job_lost_and_found", gen, cloud, daemon)


if __name__ == "__main__":
    sys.exit(run_tests([
        test_storm,
        test_cloud_killed,
        test_rate_limit,
        parks("upload_denied", "accessDenied", {"service": "storage", "method": "POST", "status": 403,
                                                "reason": "accessDenied"}, True),
        parks("load_denied", "accessDenied", {"service": "bigquery", "method": "POST",
                                              "path_contains": "/jobs", "status": 403,
                                              "reason": "accessDenied"}, False),
        parks("table_denied", "accessDenied", {"service": "bigquery", "path_contains": "/tables",
                                               "status": 403, "reason": "accessDenied"}, False),
        test_bucket_missing,
        test_job_lost_and_found,
    ]))
