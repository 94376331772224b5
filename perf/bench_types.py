"""What an event costs the worker with 1 to 10,000 event types at once: the same orders, each under one of so many
names, in random order, by HTTP. The types are not listed, so that nothing but their number differs."""

import statistics

from bench_http import CLIENT_CORE, SERVER_CORE, Penstock, generate
from bench_lib import log, setting, workspace

NAMES = (1, 10, 100, 1000, 10000)
LOAD = (100, 64, 2000)  # events a request, connections, bodies


def one_run(names, seconds):
    """Nanoseconds of the worker's CPU time an event."""
    options = ("--events", "shop", "--types", "order", "--type-names", names)
    subject = Penstock("disk", cloud=False)
    with workspace() as folder, subject.start(folder) as server:
        generate(server.url, LOAD, "--duration", 1, *options)
        worker = server.worker_cpu()
        result = generate(server.url, LOAD, "--duration", seconds, *options)
        return (server.worker_cpu() - worker) / result["acked"] * 1e9


def bench_types(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    costs = {names: [] for names in NAMES}
    for run in range(runs):
        for names in NAMES[run % len(NAMES):] + NAMES[:run % len(NAMES)]:
            costs[names].append(one_run(names, seconds))
            log(f"types {names} run {run + 1}/{runs}: {costs[names][-1]:.0f} ns an event")
    medians = {names: statistics.median(values) for names, values in costs.items()}
    for names, value in medians.items():
        report.line("types", f"{names} types", "penstock", "worker_cpu", value, "ns/event", runs,
                    None if names == 1 else "1 type", None if names == 1 else medians[1],
                    f"1 worker on core {SERVER_CORE}, client on core {CLIENT_CORE}, {LOAD[0]} events a request, "
                    f"{LOAD[1]} connections, {seconds} s, orders of 415 bytes, types not listed")
