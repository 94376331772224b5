#!/usr/bin/env python3
"""Goal: a start costs the same whatever waits, memory stays under its computed sum, and what waits is delivered behind
live events.

Method: 320 MiB of events wait because the cloud is away; kill -9; the next run has acknowledged an event after reading
a bounded part of it (by /proc/PID/io, not by the clock). Then the cloud comes back while events come in:
sinks.backlog_share makes pauses, the peak of resident memory is compared with the sum that the log names, and every
acknowledged event is in the bucket. `perf/run.sh restart` measures the same with 10 GiB.
"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, equal, expect, program, run_tests, until  # noqa: E402

MIB = 1 << 20
BACKLOG = 320 * MIB
GROUPS = 64 * MIB
# Last segment and delivery log, twice; what groups hold and some of what follows; programs and libraries.
READ_MAX = 2 * (16 + 8) * MIB + GROUPS + 48 * MIB


def proc(daemon, name, field):
    with open(f"/proc/{daemon.process.child.pid}/{name}", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.M).group(1))


def metric(daemon, name):
    text = daemon.admin("/metrics")[1]
    return sum(float(v) for v in re.findall(rf"^penstock_{name}(?:\{{.*\}})? (\S+)$", text, re.M))


def fill(daemon, wanted):
    acked = 0
    while daemon.status()["journal"]["used_bytes"] < wanted:
        argv = [program("penstock-gen"), "--target", f"http://127.0.0.1:{daemon.port}/v1/events", "--seed", str(acked),
                "--count", "200000", "--batch", "1000", "--connections", "2", "--pregenerate", "16", "--json"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        acked += json.loads(done.stdout)["acked"]
    return acked


def test_backlog():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, workers=1, listed=[], bigquery={"enabled": False}, shutdown={"grace": "0s"},
                              group={"memory": "64MiB", "age_max": "2s", "bytes_max": "16MiB"},
                              gcs={"owner_renew": "1s"}, delivery_log={"file": "8MiB"}, sinks={"backlog_share": 0.2})
        cloud.kill()
        acked = fill(daemon, BACKLOG)
        daemon.kill()
        daemon.start()
        daemon.post_ok(b'{"event_type":"first"}\n')
        read = proc(daemon, "io", "rchar")
        expect(read < READ_MAX, "bytes read for a start:", read)
        cloud.start()
        gen = Gen(place, daemon, seed=7, duration=600, rate=500, batch=10, reconnect=True)
        until(lambda: daemon.status()["journal"]["used_bytes"] < BACKLOG // 4, 240, "the backlog to be delivered")
        gen.interrupt()
        acked += gen.wait(60)["acked"] + 1
        expect(metric(daemon, "sink_backlog_pauses_total") > 0, "live events had no share")
        daemon.flush()
        total = float(re.findall(r"memory: sum ([0-9.]+) MiB", daemon.log())[-1]) * MIB
        peak = proc(daemon, "status", "VmHWM") << 10
        print(f"{read >> 20} MiB read, {peak >> 20} of {int(total) >> 20} MiB, {acked} events")
        expect(peak < total, "resident", peak, "of", total)
        equal(daemon.status()["durable_ever"], acked, "durable")
        daemon.verify()
        equal(daemon.pending(), 0, "pending")
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([test_backlog]))
