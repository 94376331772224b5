#!/usr/bin/env python3
"""Goal: large objects, gzip objects and a cloud that interrupts them: every event once, byte for byte.

Method: chunks of 256 KiB against localcloud that keeps less than was sent, forgets sessions, loses
answers and is busy; gzip switched on and off between runs that end with kill -9 while plans are
pending; other compressed bytes of the same lines after a restart. All events are compared by id, load
jobs are checked for mixtures, `penstock verify` is clean, and sees a gzip object that somebody
replaced.
"""
import gzip
import json
import os
import random
import re
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import BUCKET, Gen, Place, compare, equal, expect, run_tests, strip_added, until  # noqa: E402

SMALL_CHUNKS = {"resumable_bytes": "256KiB", "chunk_bytes": "256KiB"}


def metric(daemon, name):
    """The sum of a counter over all threads."""
    text = daemon.admin("/metrics")[1]
    found = re.findall(rf"^penstock_{name}(?:_total)?(?:\{{[^}}]*\}})? (\d+)", text, re.M)
    expect(found, name, "is not among the metrics")
    return sum(map(int, found))


def gen_run(place, daemon, seed, count=8000):
    gen = Gen(place, daemon, name=f"gen{seed}", seed=seed, count=count, malformed=1, late=2)
    equal(gen.wait()["acked"], count, "acknowledged")
    return gen


def big_events(daemon, count=2400, batch=200, incompressible=False):
    """Posts events of 3 KB of one type, received now: objects of many chunks. Returns the lines."""
    lines, source = [], random.Random(7)
    for first in range(0, count, batch):
        part = [json.dumps({"event_type": "big", "number": n, "text": source.randbytes(1500).hex()
                            if incompressible else f"{n:07} " * 375}).encode()
                for n in range(first, first + batch)]
        equal(daemon.post_ok(b"\n".join(part))["accepted"], batch, "accepted")
        lines += part
    return lines


def compare_big(cloud, lines):
    """Each in one object and one row, byte for byte."""
    found = sorted(strip_added(line) for _, line in cloud.lines("output/big/"))
    expect(found == sorted(lines), "the bucket has", len(found), "lines of", len(lines))
    rows = sorted(json.loads(row["event"])["number"] for row in cloud.rows("big"))
    expect(rows == list(range(len(lines))), "the table has", len(rows), "rows of", len(lines))


def jobs_are_pure(cloud):
    """No load job mixes gzip and plain objects; how many of each."""
    counts = {True: 0, False: 0}
    for job in cloud.jobs():
        forms = {uri.endswith(".gz") for uri in job["configuration"]["load"]["sourceUris"]}
        equal(len(forms), 1, f"forms in {job['jobReference']['jobId']}")
        counts[forms.pop()] += 1
    return counts


def test_interrupted():
    """Sessions of many chunks with every fault that localcloud has; the rest goes as ever."""
    with Place() as place:
        cloud = place.cloud()
        for rule in ({"persist_bytes": 100000, "count": 3}, {"persist_bytes": 0, "count": 2, "skip": 2},
                     {"drop_session": 404, "count": 2, "skip": 4}, {"drop_session": 410, "count": 1, "skip": 4},
                     {"method": "PUT", "lose_answer": True, "probability": 0.1, "seed": 3, "count": 4},
                     {"method": "PUT", "status": 503, "skip": 3, "count": 2},
                     {"method": "PUT", "status": 429, "reason": "rateLimitExceeded", "skip": 3, "count": 2},
                     {"method": "PUT", "reset": True, "skip": 2, "count": 2},
                     {"path_contains": "uploadType=resumable&ifGen", "lose_answer": True, "count": 1}):
            cloud.fault(service="storage", **rule)
        daemon = place.daemon(cloud, gcs=SMALL_CHUNKS, group={"age_max": "1h"})
        lines = big_events(daemon)
        daemon.settle()
        compare_big(cloud, lines)
        daemon.clean()
        expect(metric(daemon, "gcs_sessions") > 3, "sessions:", metric(daemon, "gcs_sessions"))
        expect(metric(daemon, "gcs_sessions_resumed") > 0, "nothing was resumed")
        expect(metric(daemon, "gcs_sessions_lost") >= 3, "sessions lost:", metric(daemon, "gcs_sessions_lost"))
        equal([rule["hits"] > 0 for rule in cloud.faults()["faults"]], [True] * 9, "rules that were met")
        expect("upload_id" not in daemon.log(), "a session's address is in the log")
        daemon.stop()


def test_killed_in_session():
    """kill -9 in the middle of sessions: new ones from the first byte, nothing twice."""
    with Place() as place:
        cloud = place.cloud()
        cloud.fault(service="storage", method="PUT", status=503, skip=12)
        daemon = place.daemon(cloud, gcs=SMALL_CHUNKS, group={"age_max": "300ms"})
        lines = big_events(daemon)
        until(lambda: cloud.faults()["faults"][0]["hits"] > 2, 60, "sessions that are interrupted")
        daemon.kill()
        equal(cloud.names("output/"), [], "objects before the restart")
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        compare_big(cloud, lines)
        daemon.clean()
        daemon.stop()


def test_gzip_switched():
    """Plans keep the form that they were planned in, through kill -9 and a changed knob."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, gcs={"gzip": False, **SMALL_CHUNKS})
        gens = []
        for seed, on in ((2, False), (3, True), (4, False)):
            cloud.fault(service="storage", method="POST", status=503, count=-1)
            daemon.config["gcs"]["gzip"] = on
            if seed > 2:
                daemon.start()
            gens.append(gen_run(place, daemon, seed))
            until(lambda: metric(daemon, "sink_planned_events") > 5000, 60, "plans")
            daemon.kill()
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        compare(gens, cloud)
        forms_check(cloud)
        counts = jobs_are_pure(cloud)
        expect(counts[True] > 0 and counts[False] > 0, "load jobs", counts)
        daemon.clean()
        daemon.stop()


def forms_check(cloud):
    """Names, types and metadata of both forms agree with the bytes."""
    counts = {True: 0, False: 0}
    with cloud.client() as client:
        for item in cloud.listing("output/") + cloud.listing("dead_letter/"):
            quoted = urllib.parse.quote(item["name"], safe="")
            status, data = client.call("GET", f"/storage/v1/b/{BUCKET}/o/{quoted}?alt=media")
            equal(status, 200, item["name"])
            packed = item["name"].endswith(".json.gz")
            counts[packed] += 1
            equal(data[:2] == b"\x1f\x8b", packed, f"gzip bytes in {item['name']}")
            equal(item["contentType"], "application/gzip" if packed else "application/x-ndjson", item["name"])
            equal(item.get("contentEncoding"), None, "contentEncoding")
            equal(int(item["size"]), len(data), "size: nobody unpacks on the way")
            if packed:
                equal(int(item["metadata"]["penstock-bytes"]), len(gzip.decompress(data)), item["name"])
                expect("penstock-crc32c" in item["metadata"], item["metadata"])
    expect(counts[True] > 3 and counts[False] > 3, "objects by form", counts)


def test_gzip_recognised():
    """Stored, answer lost, kill -9, another level: other bytes of the same lines are ours."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, gcs={"gzip": True, "gzip_level": 9})
        daemon.until_owner()
        cloud.fault(service="storage", method="POST", lose_answer=True)
        cloud.fault(service="storage", method="GET", status=503)
        gen = gen_run(place, daemon, 5)
        until(lambda: metric(daemon, "sink_gzip_bytes") > 1000 and metric(daemon, "gcs_retries") > 5, 60,
              "uploads")
        daemon.kill()
        cloud.clear_faults()
        stored = cloud.listing("output/") + cloud.listing("dead_letter/")
        expect(len(stored) > 3, "stored without an answer:", len(stored))
        daemon.config["gcs"]["gzip_level"] = 1
        daemon.start()
        daemon.settle()
        compare(gen, cloud)
        expect(metric(daemon, "gcs_recognised") >= len(stored), "recognised", metric(daemon, "gcs_recognised"))
        plain, packed = metric(daemon, "sink_gzip_plain_bytes"), metric(daemon, "sink_gzip_bytes")
        expect(packed * 3 < plain, packed, "bytes of", plain)
        daemon.clean()
        replaced(cloud, daemon)
        daemon.stop()


def replaced(cloud, daemon):
    """verify sees a gzip object with other bytes and the same metadata."""
    item = cloud.listing("output/")[0]
    path = f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(item['name'], safe='')}"
    copy = f"/storage/v1/b/{BUCKET}/o/copy"
    cloud.call("POST", f"{path}/rewriteTo/b/{BUCKET}/o/copy", {})
    cloud.call("DELETE", path)
    cloud.call("POST", f"{copy}/rewriteTo/b/{BUCKET}/o/{urllib.parse.quote(item['name'], safe='')}",
               {"metadata": item["metadata"], "contentType": item["contentType"]})
    cloud.call("DELETE", copy)
    status, text = daemon.cli("verify")
    expect(status != 0 and "somebody replaced the object" in text, "verify said", status, text[:600])


def test_corrupted():
    """Bytes that change on the way are refused by their checksum, parked, and sent again; in both forms."""
    with Place() as place:
        cloud = place.cloud()
        cloud.fault(service="storage", corrupt=True, count=4)
        daemon = place.daemon(cloud, gcs={"gzip": True, "gzip_level": 1, **SMALL_CHUNKS},
                              group={"age_max": "1h", "bytes_max": "6MiB"})
        lines = big_events(daemon, 2400, incompressible=True)
        daemon.cli("flush", "--timeout", "1s")
        until(lambda: daemon.log_lines("Provided CRC32C does not match"), 30, "a refused checksum")
        until(lambda: metric(daemon, "gcs_sessions") > 0, 30, "a session")
        daemon.settle()
        compare_big(cloud, lines)
        expect(daemon.log_lines("the server refuses the bytes of the upload"), "no session was refused")
        expect(not daemon.log_lines("conflict", "ASSERT"), daemon.log()[-500:])
        daemon.stop()


def test_ramp():
    """Two sink threads share the bucket's ramp, and say that they wait for it."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, gcs={"objects_per_second": 25}, sinks={"threads": 2},
                              group={"age_max": "1h"})
        lines = [json.dumps({"event_type": f"t{n}", "number": n}).encode() for n in range(40)]
        equal(daemon.post_ok(b"\n".join(lines))["accepted"], 40, "accepted")
        daemon.cli("flush", "--timeout", "1s")
        until(lambda: "the bucket's ramp lets 25 objects a second through" in daemon.cli("sinks")[1], 20,
              "sinks to say why it waits")
        daemon.settle()
        equal(sorted(strip_added(line) for _, line in cloud.lines("output/")), sorted(lines), "lines")
        expect(metric(daemon, "gcs_ramp_waits") > 20, "waits", metric(daemon, "gcs_ramp_waits"))
        daemon.clean()
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([test_interrupted, test_killed_in_session, test_gzip_switched, test_gzip_recognised,
                        test_corrupted, test_ramp]))
