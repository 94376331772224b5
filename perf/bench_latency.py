"""Latency of a durable answer, open loop, beside what else takes time on the same machine in the same minutes.

Subjects start as for http (bench_http.py). It is the latency of the way in: sinks are null; they and a local cloud
would take the client's core. Beside it are measured, in turns: nginx, which throws the same requests of the same client
away, writes of the disk as large and as many as the journal's were, and how long the machine stopped its cores.
"""

import os
import statistics
import subprocess

from bench_durable import Disk, counters, two_cores
from bench_http import CASES, CLIENT_CORE, SERVER_CORE, WARM_UP, Nginx, Penstock, generate, nginx_path
from bench_lib import log, program, setting, workspace

PERCENTILES = ("p50", "p90", "p99", "p99.9", "max")
LONE = ("lone event", (1, 4, 2000), 50)  # events a request, connections and bodies; events a second
EXCLUDED = f"{WARM_UP} s at full load and {WARM_UP} s at the same rate before are not counted; null sinks"
NGINX, DISK, CORES = "nginx", "disk, the same writes", "stalls of the cores"


def stalls(seconds):
    argv = [program("bench_stall", "perf"), str(SERVER_CORE), str(CLIENT_CORE), str(seconds)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    longest, total, p99, p999 = map(int, done.stdout.split())
    return {"p99": p99 / 1e6, "p99.9": p999 / 1e6, "max": longest / 1e6, "stopped_ms_per_s": total / 1e6 / seconds}


def saturated(case, runs, seconds):
    """Events a second at full load, the median of some runs."""
    rates = []
    for _ in range(runs):
        with workspace() as folder, Penstock("disk", cloud=False).start(folder) as server:
            generate(server.url, case, "--duration", WARM_UP)
            server.settle()
            rates.append(generate(server.url, case, "--duration", seconds)["events_per_s"])
    return statistics.median(rates)


def open_loop(subject, case, rate, seconds):
    """The client's report of one run of a new subject, and the journal's writes a second and bytes a write."""
    with workspace() as folder, subject.start(folder) as server:
        generate(server.url, case, "--duration", WARM_UP)
        server.settle()
        before = counters(server) if subject.name != NGINX else {}
        result = generate(server.url, case, "--rate", int(rate), "--warm-up", WARM_UP, "--duration", WARM_UP + seconds,
                          patient=True)
        after = counters(server) if before else {}
    if before:
        blocks, size = (after[name] - before[name] for name in ("blocks_written", "journal_bytes"))
        result["writes_per_s"], result["write_bytes"] = blocks / result["seconds"], size / max(blocks, 1)
    return result


def same_writes(result, seconds):
    """The disk by itself with writes like those of a run."""
    size = max(4096, round(result["write_bytes"] / 4096) * 4096)
    with workspace() as folder:
        found = Disk(size).run(folder, seconds, max(1, round(result["writes_per_s"])))
    return {p: found[f"write_{p}"] for p in ("p50", "p99", "p99.9", "max")}


def measure(name, case, rate, runs, seconds):
    """Runs of everything in turns, by subject: reports of the client, or what the others found."""
    found = {}
    for run in range(runs):
        result = open_loop(Penstock("disk", cloud=False), case, rate, seconds)
        found.setdefault("penstock", []).append(result)
        if nginx_path():
            found.setdefault(NGINX, []).append(open_loop(Nginx(), case, rate, seconds))
        found.setdefault(DISK, []).append(same_writes(result, seconds))
        found.setdefault(CORES, []).append(stalls(1))
        shown = ", ".join(f"{p} {result['latency_ms'][p]:.3f}" for p in PERCENTILES)
        log(f"latency {name} at {rate:,.0f} events/s, run {run + 1}/{runs}: {shown} ms; p99 of the client's own part "
            f"{result['lateness_ms']['p99']:.3f}, of the disk {found[DISK][-1]['p99']:.3f}, p99.9 by stalls of the "
            f"cores {found[CORES][-1]['p99.9']:.3f}")
    return found


def merged(results):
    """One histogram of several: [up to ms, requests]."""
    steps = {}
    for result in results:
        for top, count in result["latency_histogram_ms"]:
            steps[top] = steps.get(top, 0) + count
    return [[top, steps[top]] for top in sorted(steps)]


def report_client(report, name, subject, results, beside, config):
    """A subject that the client measured. beside: medians of another one."""
    runs = len(results)
    for p in PERCENTILES:
        values = [result["latency_ms"][p] for result in results]
        report.line("latency", name, subject, p, statistics.median(values), "ms", runs, NGINX, beside.get(p), config)
        report.line("latency", name, subject, f"{p}_best", min(values), "ms", runs, None, None, config)
    for p in ("p50", "p99", "p99.9"):
        report.line("latency", name, subject, f"client_late_{p}",
                    statistics.median(result["lateness_ms"][p] for result in results), "ms", runs, None, None, config)
    report.line("latency", name, subject, "client_busy",
                statistics.median(result["cpu_seconds"] / result["seconds"] for result in results), "cores", runs, None,
                None, config)
    steps = merged(results)
    report.line("latency", name, subject, "histogram", sum(count for _, count in steps), "requests", runs, None, None,
                config, up_to_ms_and_requests=steps)


def report_others(report, name, found, config):
    writes = [result["writes_per_s"] for result in found["penstock"]]
    sizes = [result["write_bytes"] / 1024 for result in found["penstock"]]
    of_disk = (f"{statistics.median(writes):.0f} writes/s of {statistics.median(sizes):.0f} KiB, evenly spaced, "
               "nothing else")
    for subject, text in ((DISK, of_disk), (CORES, f"two idle cores; {config}")):
        for metric in found[subject][0]:
            report.line("latency", name, subject, metric, statistics.median(f[metric] for f in found[subject]), "ms",
                        len(found[subject]), None, None, text)


def report_case(report, name, found, config):
    beside = {p: statistics.median(result["latency_ms"][p] for result in found.get(NGINX, []))
              for p in PERCENTILES if NGINX in found}
    report_client(report, name, "penstock", found["penstock"], beside, config)
    if NGINX in found:
        report_client(report, name, NGINX, found[NGINX], {}, config)
    report_others(report, name, found, config)


def bench_latency(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    two_cores("latency")
    wanted = os.environ.get("BENCH_LATENCY")
    name, lone, rate = LONE
    if wanted in (None, "", name):
        report_case(report, name, measure(name, lone, rate, runs, seconds),
                    f"{lone[1]} connections, {rate} events/s: the worker idles in between; {EXCLUDED}")
    for case in ("100/POST", "1/POST"):
        batch, connections, _ = CASES[case]
        if wanted not in (None, "", case):
            continue
        half = saturated(case, runs, seconds) / 2
        report_case(report, case, measure(case, case, half, runs, seconds),
                    f"1 worker on core {SERVER_CORE}, client on core {CLIENT_CORE}, {batch} events a request, "
                    f"{connections} connections, {seconds} s, open loop at half of the saturated rate: "
                    f"{half:.0f} events/s; {EXCLUDED}")
