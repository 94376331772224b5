"""What an event costs the worker with 1 to 10,000 event types at once: the same orders, each under one of so many
names, in random order, by HTTP. All types are listed with schemas, or none is: nothing but their number differs."""

import json
import os
import statistics

from bench_http import CLIENT_CORE, SERVER_CORE, Penstock, generate
from bench_lib import log, setting, workspace

NAMES = (1, 10, 100, 1000, 10000)
LOAD = (100, 64, 2000)  # events a request, connections, bodies
SCHEMA = "config/schemas/order.json"


class Types(Penstock):
    """A daemon that knows so many types."""

    def __init__(self, names, kind):
        super().__init__("disk", cloud=False)
        self.names, self.kind = names, kind

    def write_schema(self, folder, name):
        """Of one type: the same columns as all others have; with "own schemas" one besides that only this one has."""
        with open(SCHEMA, encoding="ascii") as file:
            columns = json.load(file)
        if self.kind == "own schemas":
            columns.insert(0, {"name": f"of_{name}", "type": "STRING", "description": f"Only {name} has it"})
        with open(f"{folder}/schemas/{name}.json", "w", encoding="ascii") as file:
            json.dump(columns, file)

    def types(self, folder):
        if self.kind == "not listed":
            return ""
        os.makedirs(f"{folder}/schemas")
        names = ["order"] if self.names == 1 else [f"order_{i:05}" for i in range(self.names)]
        for name in names:
            self.write_schema(folder, name)
        entries = "".join(f"    - {{{{name: {name}, schema: {folder}/schemas/{name}.json}}}}\n" for name in names)
        return f"\ntypes:\n  time_field: order_date\n  list:\n{entries}"


KINDS = {  # subject: what the types are
    "penstock": "each type with a schema, all with the same columns",
    "own schemas": "each type with a schema, each with a column of its own",
    "not listed": "types not listed, without schemas and times",
}


def one_run(names, kind, seconds):
    """Nanoseconds of the worker's CPU time an event."""
    options = ("--events", "shop", "--types", "order", "--type-names", names)
    subject = Types(names, kind)
    with workspace() as folder, subject.start(folder) as server:
        generate(server.url, LOAD, "--duration", 1, *options)
        server.settle()
        worker = server.worker_cpu()
        result = generate(server.url, LOAD, "--duration", seconds, *options)
        return (server.worker_cpu() - worker) / result["acked"] * 1e9


def bench_types(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    costs = {(names, kind): [] for names in NAMES for kind in KINDS}
    for run in range(runs):
        cases = list(costs)
        for names, kind in cases[run % len(cases):] + cases[:run % len(cases)]:
            costs[names, kind].append(one_run(names, kind, seconds))
            log(f"types {names} {kind} run {run + 1}/{runs}: {costs[names, kind][-1]:.0f} ns an event")
    medians = {case: statistics.median(values) for case, values in costs.items()}
    for (names, kind), value in medians.items():
        subject = "penstock" if kind == "penstock" else f"penstock, {kind}"
        report.line("types", f"{names} types", subject, "worker_cpu", value, "ns/event", runs,
                    None if names == 1 else "1 type", None if names == 1 else medians[1, kind],
                    f"1 worker on core {SERVER_CORE}, client on core {CLIENT_CORE}, {LOAD[0]} events a request, "
                    f"{LOAD[1]} connections, {seconds} s, orders of 415 bytes, {KINDS[kind]}")
