"""What durability costs: throughput beside memory and the disk's own limit.

Subjects start as for http (bench_http.py). The local cloud is there, and keeps its objects in memory, so that only the
journal and the delivery log are on the disk.
"""

import os
import re
import statistics
import subprocess
import urllib.request

from bench_http import CASES, CLIENT_CORE, SERVER_CORE, UNITS, Penstock, generate, on_core
from bench_lib import BenchError, log, program, setting, workspace

SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None
DISK_FILE = 1 << 30


class Disk:
    """An O_DIRECT writer of one size, on the worker's core; see bench_disk.c."""

    def __init__(self, size, depth=1):
        self.size, self.depth = size, depth

    def run(self, folder, seconds, rate=None):
        """rate: of writes a second, at most; else as fast as it goes."""
        argv = [program("bench_disk", "perf"), os.path.join(folder, "disk.dat"), str(DISK_FILE), str(self.size),
                str(self.depth), str(seconds), *([str(rate)] if rate else [])]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True,
                              preexec_fn=on_core(SERVER_CORE, measured=True))
        size, nanoseconds, _, p50, p99, p999, worst = map(int, done.stdout.split())
        return {"mb_per_s": size / nanoseconds * 1e3, "write_p50": p50 / 1e6, "write_p99": p99 / 1e6,
                "write_p99.9": p999 / 1e6, "write_max": worst / 1e6}


def counters(server):
    with urllib.request.urlopen(server.metrics, timeout=60) as answer:
        text = answer.read().decode()
    return {name: sum(int(value) for value in re.findall(rf"^penstock_{name}_total\S* (\d+)$", text, re.M))
            for name in ("blocks_written", "journal_bytes")}


def two_cores(bench):
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError(f"{bench}: two cores are needed, one for the worker and one for the client")


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
