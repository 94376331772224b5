"""What durability costs: the latency of a durable answer, and throughput beside memory and the disk's own limit.

Both start their subjects as http does (bench_http.py). Latency is that of the way in: no cloud answers, so that sink
threads soon stand still; they and a local cloud would take the client's core. For durable the local cloud is there, and
keeps its objects in memory, so that only the journal and the delivery log are on the disk.
"""

import contextlib
import os
import re
import statistics
import subprocess
import urllib.request

from bench_http import CASES, CLIENT_CORE, SERVER_CORE, UNITS, Penstock, generate, on_core
from bench_lib import BenchError, log, program, setting, workspace

SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None
PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
LONE = ("lone event", (1, 4, 2000), 50)  # events a request, connections and bodies; events a second
DISK_FILE = 1 << 30
WARM_UP = 1  # seconds at the same rate that are not in any figure
EXCLUDED = f"{WARM_UP} s of warm-up before are not counted; null sinks: no cloud answers"


class Disk:
    """An O_DIRECT writer of one size, on the worker's core; see bench_disk.c."""

    def __init__(self, size, depth=1):
        self.size, self.depth = size, depth

    def run(self, folder, seconds):
        argv = [program("bench_disk", "perf"), os.path.join(folder, "disk.dat"), str(DISK_FILE), str(self.size),
                str(self.depth), str(seconds)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True,
                              preexec_fn=on_core(SERVER_CORE, measured=True))
        size, nanoseconds, _, p50, p99, worst = map(int, done.stdout.split())
        return {"mb_per_s": size / nanoseconds * 1e3, "write_p50": p50 / 1e6, "write_p99": p99 / 1e6,
                "write_max": worst / 1e6}


def counters(server):
    with urllib.request.urlopen(server.metrics, timeout=60) as answer:
        text = answer.read().decode()
    return {name: sum(int(value) for value in re.findall(rf"^penstock_{name}_total\S* (\d+)$", text, re.M))
            for name in ("blocks_written", "journal_bytes")}


def two_cores(bench):
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError(f"{bench}: two cores are needed, one for the worker and one for the client")


# ---- latency ----

@contextlib.contextmanager
def warm(case, *rate):
    """A new daemon that has taken events for WARM_UP seconds: its memory is there, its connections are new ones."""
    with workspace() as folder, Penstock("disk", cloud=False).start(folder) as server:
        generate(server.url, case, "--duration", WARM_UP, *rate)
        yield server


def saturated(case, runs, seconds):
    """Events a second at full load, the median of some runs."""
    rates = []
    for _ in range(runs):
        with warm(case) as server:
            rates.append(generate(server.url, case, "--duration", seconds)["events_per_s"])
    return statistics.median(rates)


def open_loop(case, rate, runs, seconds):
    """Reports of the client of runs at a rate, each of a new daemon."""
    found = []
    for run in range(runs):
        with warm(case, "--rate", int(rate)) as server:
            found.append(generate(server.url, case, "--duration", seconds, "--rate", int(rate)))
        shown = ", ".join(f"{p} {found[-1]['latency_ms'][p]:.3f}" for p in PERCENTILES)
        log(f"latency {case} at {rate:,.0f} events/s, run {run + 1}/{runs}: {shown} ms")
    return found


def merged(results):
    """One histogram of several: [up to ms, requests]."""
    steps = {}
    for result in results:
        for top, count in result["latency_histogram_ms"]:
            steps[top] = steps.get(top, 0) + count
    return [[top, steps[top]] for top in sorted(steps)]


def report_latency(report, case, found, config):
    for p in PERCENTILES:
        values = [result["latency_ms"][p] for result in found]
        report.line("latency", case, "penstock", p, statistics.median(values), "ms", len(found), None, None, config)
        report.line("latency", case, "penstock", f"{p}_best", min(values), "ms", len(found), None, None, config)
    steps = merged(found)
    report.line("latency", case, "penstock", "histogram", sum(count for _, count in steps), "requests", len(found),
                None, None, config, up_to_ms_and_requests=steps)


def bench_latency(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    two_cores("latency")
    with workspace() as folder:
        flushes = [Disk(4096).run(folder, 1) for _ in range(runs)]
    for metric in ("write_p50", "write_p99", "write_max"):
        report.line("latency", "disk", "writes of 4 KiB", metric, statistics.median(f[metric] for f in flushes), "ms",
                    runs, None, None, "O_DIRECT, RWF_DSYNC, one at a time")
    name, lone, rate = LONE
    report_latency(report, name, open_loop(lone, rate, runs, seconds),
                   f"{lone[1]} connections, {rate} events/s: the worker idles in between; {EXCLUDED}")
    for case in CASES:
        half = saturated(case, runs, seconds) / 2
        batch, connections, _ = CASES[case]
        config = (f"1 worker on core {SERVER_CORE}, client on core {CLIENT_CORE}, {batch} events a request, "
                  f"{connections} connections, {seconds} s, open loop at half of the saturated rate: "
                  f"{half:.0f} events/s; {EXCLUDED}")
        report_latency(report, case, open_loop(case, half, runs, seconds), config)


# ---- durable ----

def full_load(subject, case, seconds):
    with workspace() as folder, subject.start(folder) as server:
        generate(server.url, case, "--duration", 1)
        server.drain()
        before, cpu = counters(server), server.worker_cpu()
        result = generate(server.url, case, "--duration", seconds)
        cpu, after = server.worker_cpu() - cpu, counters(server)
    blocks, size = (after[name] - before[name] for name in ("blocks_written", "journal_bytes"))
    return {"events_per_s": result["events_per_s"], "mb_per_s": result["mb_per_s"],
            "events_per_cpu_s": result["acked"] / cpu, "worker_busy": cpu / result["seconds"],
            "journal_mb_per_s": size / result["seconds"] / 1e6, "journal_write_kib": size / max(blocks, 1) / 1024}


def disk_limit(kib, seconds):
    """The disk with writes of about that size: one at a time, and two, as the journal has them when blocks are full."""
    size = max(4096, round(kib / 4) * 4096)
    with workspace() as folder:
        return {f"disk, {depth} at a time": Disk(size, depth).run(folder, seconds) for depth in (1, 2)}


def bench_durable(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    two_cores("durable")
    units = {**UNITS, "journal_mb_per_s": "MB/s", "journal_write_kib": "KiB"}
    for case in CASES:
        values = {}
        subjects = [Penstock("memory", SHM), Penstock("disk", SHM)]
        for run in range(runs):
            for subject in subjects[run % 2:] + subjects[:run % 2]:
                found = full_load(subject, case, seconds)
                log(f"durable {case} {subject.name} run {run + 1}/{runs}: {found['events_per_s']:,.0f} events/s, "
                    f"{found['journal_mb_per_s']:.0f} MB/s in writes of {found['journal_write_kib']:.0f} KiB")
                for metric, value in found.items():
                    values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
            mean = statistics.mean(values["penstock-disk"]["journal_write_kib"])
            for name, found in disk_limit(mean, 1).items():
                for metric, value in found.items():
                    values.setdefault(name, {}).setdefault(metric, []).append(value)
        batch, connections, _ = CASES[case]
        config = (f"1 worker on core {SERVER_CORE}, client and sinks on core {CLIENT_CORE}, {batch} events a request, "
                  f"{connections} connections, {seconds} s, closed loop; disk: writes of {mean:.0f} KiB")
        medians = {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}
        for name, metrics in medians.items():
            other = "penstock-memory" if name == "penstock-disk" else None
            for metric, value in metrics.items():
                report.line("durable", case, name, metric, value, units.get(metric, "ms"), runs, other,
                            medians.get(other, {}).get(metric), config)
