"""The benchmarks: bench.py [NAME]..., names as in BENCHES; run.sh calls it, README.md says what is measured."""

import os
import statistics
import signal
import subprocess
import sys

from bench_durable import bench_durable
from bench_http import bench_http
from bench_instructions import bench_instructions
from bench_json import bench_json
from bench_latency import bench_latency
from bench_lib import ROOT, BenchError, Report, log, program, setting, workspace
from bench_packets import bench_packets
from bench_restart import bench_restart
from bench_slow import bench_slow
from bench_sockets import bench_sockets
from bench_tls import bench_tls
from bench_types import bench_types


def bench_stream(report, bench, case, ceiling):
    """A C program that goes over a file of events: GB/s of its subjects, the last one as the ceiling."""
    events = setting("BENCH_FILE_EVENTS", 300000)
    passes = setting("BENCH_PASSES", 9)
    with workspace() as folder:
        path = os.path.join(folder, "events.ndjson")
        subprocess.run([program("penstock-gen"), "--count", str(events), "--out", path], check=True,
                       stderr=subprocess.DEVNULL)
        size = os.path.getsize(path)
        if size < 64e6:
            log(f"{bench}: the file is only {size} bytes, the caches help")
        log(f"{bench}: {passes} passes over {size / 1e6:.0f} MB")
        argv = [program(f"bench_{bench}", "perf"), path, str(passes)]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}))
    rates = {}
    for line in done.stdout.splitlines():
        subject, count, nanoseconds = line.split()
        rates.setdefault(subject, []).append(int(count) / int(nanoseconds))
    medians = {subject: statistics.median(values) for subject, values in rates.items()}
    for subject, value in medians.items():
        other = ceiling if subject != ceiling else None
        report.line(bench, case, subject, "throughput", value, "GB/s", passes, other, medians.get(other),
                    f"{size} bytes of penstock-gen events, one core")


def bench_hostile(report):
    """Nanoseconds a byte of hostile JSON at three sizes, each beside the one at the smallest."""
    passes = setting("BENCH_PASSES", 9)
    log(f"hostile: {passes} passes")
    done = subprocess.run([program("bench_json_hostile", "perf"), str(passes)], check=True, text=True,
                          stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}))
    times = {}
    for line in done.stdout.splitlines():
        case, isa, size, nanoseconds = line.split("\t")
        times.setdefault((case, isa), {}).setdefault(int(size), []).append(int(nanoseconds) / int(size))
    for (case, isa), sizes in times.items():
        medians = [statistics.median(sizes[size]) for size in sorted(sizes)]
        for size, value in zip(sorted(sizes), medians):
            report.line("hostile", case, f"{isa}, {round(size / 2**20)} MiB", "time_per_byte", value, "ns",
                        passes, f"{isa}, {round(min(sizes) / 2**20)} MiB", medians[0], "one core, CPU time")


def bench_dedupe(report):
    """What deduplication costs an event, and a restart an id, with ten million ids in the window and with few."""
    passes = setting("BENCH_PASSES", 9)
    with workspace() as folder:
        path = os.path.join(folder, "events.ndjson")
        subprocess.run([program("penstock-gen"), "--count", "150000", "--types", "order", "--out", path], check=True,
                       stderr=subprocess.DEVNULL)
        for ids in (100000, 10000000):
            log(f"dedupe: {passes} passes with {ids} ids")
            argv = [program("bench_dedupe", "perf"), path, str(passes), str(ids)]
            with tempfile.TemporaryDirectory(prefix="penstock-bench-") as logs:
                done = subprocess.run([*argv, logs], check=True, stdout=subprocess.PIPE, text=True)
            costs = {}
            for line in done.stdout.splitlines():
                subject, count, nanoseconds = line.split("\t")
                costs.setdefault(subject, []).append(int(nanoseconds) / int(count))
            for subject, values in costs.items():
                metric, unit = ("time", "ns/id") if "time" in subject else ("cpu", "ns/event")
                report.line("dedupe", f"{ids} ids", subject, metric, statistics.median(values), unit, passes, None,
                            None, "orders of penstock-gen, 415 bytes in the mean, one core")


BENCHES = {
    "http": bench_http,
    "latency": bench_latency,
    "durable": bench_durable,
    "tcp": lambda report: bench_sockets(report, "tcp"),
    "udp": lambda report: bench_sockets(report, "udp"),
    "types": bench_types,
    "tls": bench_tls,
    "packets": bench_packets,
    "json": bench_json,
    "hostile": bench_hostile,
    "dedupe": bench_dedupe,
    "slow": bench_slow,
    "crc": lambda report: bench_stream(report, "crc", "stream", "memcpy"),
}


# Only when asked for: valgrind is slow, and a backlog of 10 GB needs disk space.
OPTIONAL = {"instructions": bench_instructions, "restart": bench_restart}


def main(names):
    benches = {**BENCHES, **OPTIONAL}
    unknown = [name for name in names if name not in benches]
    if unknown:
        print(f"bench: no benchmark {unknown[0]!r}; there are {', '.join(benches)}", file=sys.stderr)
        return 2
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # folders go and children end, as with ^C
    try:
        report = Report()
        for name in names or BENCHES:
            benches[name](report)
    except (BenchError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
