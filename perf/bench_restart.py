"""Restart with a backlog: RESTART_MB of events (10,240) wait in the journals because the cloud was away; the daemon was
killed, and what it wrote is no longer in the page cache. What counts: how long until a first event is acknowledged,
what was read for it, and how much memory the process ever had, beside its computed sum, until all is delivered behind
live events. Every acknowledged event must be there at the end, by count.

One line of "restart" results for each figure; perf/README.md explains them. The folder of the data directories is
BENCH_DIR (the system's temporary one): twice RESTART_MB of disk space are used, and freed.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from bench_lib import BenchError, log, program, setting

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "lib"))
from penstock import Gen, Place, until  # noqa: E402

LIVE_RATE = 2000


def field(path, name):
    with open(path, encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{name}:\s+(\d+)", file.read(), re.M).group(1))


def peak_rss(daemon):
    return field(f"/proc/{daemon.process.child.pid}/status", "VmHWM") << 10


def read_bytes(daemon):
    return field(f"/proc/{daemon.process.child.pid}/io", "rchar")


def memory_sum(daemon):
    found = re.findall(r"memory: sum ([0-9.]+) MiB", daemon.log())
    if not found:
        raise BenchError("the daemon's log has no sum of its memory")
    return float(found[-1]) * (1 << 20)


def forget_cached(folder):
    """Takes the files of a folder out of the page cache."""
    for where, _, names in os.walk(folder):
        for name in names:
            if os.path.isfile(os.path.join(where, name)):
                fd = os.open(os.path.join(where, name), os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


def used(daemon):
    return daemon.status()["journal"]["used_bytes"]


def fill(daemon, wanted):
    """Sends events until so many bytes are in the journals; @return how many were acknowledged."""
    acked, number = 0, 0
    while used(daemon) < wanted:
        number += 1
        count = max(100000, min(2000000, (wanted - used(daemon)) // 450))
        argv = [program("penstock-gen"), "--target", f"http://127.0.0.1:{daemon.port}/v1/events", "--seed",
                str(number), "--count", str(count), "--batch", "2000", "--connections", "4", "--pregenerate", "64",
                "--json"]
        acked += json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)["acked"]
        log(f"restart: {used(daemon) >> 20} MiB in the journals")
    return acked


def first_answer(daemon):
    """Starts it; @return seconds from its start until an event is acknowledged."""
    began = time.monotonic()
    daemon.process = daemon.launch()
    while True:
        try:
            if daemon.post(b'{"event_type":"first","n":1}\n').status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        if not daemon.process.alive() or time.monotonic() - began > 300:
            raise BenchError("the daemon did not start: " + daemon.log()[-500:])
        time.sleep(0.002)


def drain(place, daemon, cloud, acked):
    """Delivers behind live events. @return seconds, the client's report of meanwhile."""
    began = time.monotonic()
    cloud.start()
    gen = Gen(place, daemon, name="live", seed=999, duration=3600, rate=LIVE_RATE, batch=20, connections=8)

    def behind():
        return daemon.status()["sinks"]["gcs"]["pending"] > 3 * 60 * LIVE_RATE

    until(lambda: not behind(), 3000, "the backlog to be delivered")
    seconds = time.monotonic() - began
    gen.interrupt()
    report = gen.wait(60)
    daemon.flush(300)
    status = daemon.status()
    if status["sinks"]["gcs"]["pending"] != 0 or status["durable_ever"] != acked + report["acked"]:
        raise BenchError(f"{acked + report['acked']} acknowledged, but {status}")
    return seconds, report


def bench_restart(report):
    wanted = setting("RESTART_MB", 10240) << 20
    tempfile.tempdir = os.environ.get("BENCH_DIR") or None
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, bigquery={"enabled": False}, workers=1, listed=[], shutdown={"grace": "0s"},
                              journal={"limit": f"{(wanted >> 20) * 5 // 4 + 1024}MiB", "segment": "64MiB"},
                              group={"age_max": "5s", "bytes_max": "64MiB"})
        cloud.kill()
        acked = fill(daemon, wanted)
        backlog = used(daemon)
        daemon.kill()
        forget_cached(daemon.folder)
        ready = first_answer(daemon)
        read = read_bytes(daemon)
        peak_ready, total = peak_rss(daemon), memory_sum(daemon)
        log(f"restart: first answer after {ready:.3f} s, {read >> 20} MiB read, {peak_ready >> 20} MiB of memory")
        seconds, live = drain(place, daemon, cloud, acked + 1)
        for metric, value, unit, other in (
                ("first_answer", ready * 1e3, "ms", 0), ("read_until_then", read / 1e6, "MB", 0),
                ("memory_until_then", peak_ready / 1e6, "MB", total / 1e6),
                ("memory_peak", peak_rss(daemon) / 1e6, "MB", total / 1e6),
                ("drained_after", seconds, "s", 0), ("drain_rate", backlog / 1e6 / seconds, "MB/s", 0),
                ("live_latency_p99", live["latency_ms"]["p99"], "ms", 0)):
            report.line("restart", f"{backlog >> 20} MiB waiting", "penstockd", metric, value, unit, 1,
                        "computed sum" if other else None, other, {"live_events_per_s": LIVE_RATE})
        daemon.stop()
