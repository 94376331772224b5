"""What one of a hundred tables costs the others when it is in trouble: its load jobs are all refused for their rows, or
its folder in the bucket may not be written. Latency of the answers, and how long it takes until all rows of the other
tables are in BigQuery, beside the same run in which all is well. All types share one worker and one sink thread."""

import contextlib
import json
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

from bench_http import SERVER_CORE, end_with_parent, free_port, running, wait_for
from bench_lib import ROOT, BenchError, log, process_cpu, program, setting

NAMES = 100
BAD = "order_00017"
RATE = 10000
CASES = {
    "all well": None,
    "loads refused": {"load_row": f'"event_type":"{BAD}"'},
    "folder denied": {"object_prefix": f"output/{BAD}/", "status": 403, "reason": "forbidden"},
}
UNITS = {"latency_p50": "ms", "latency_p99": "ms", "others_delivered": "s", "others_rate": "1/s", "cpu_per_event": "us"}

CONFIG = """
node: bench
data_dir: {folder}/data
workers: [{core}]
sinks: {{threads: 1}}
http: {{listen: "127.0.0.1:{http}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
group: {{age_max: 1s}}
gcs: {{endpoint: "http://127.0.0.1:{cloud}", bucket: penstock-bench}}
bigquery: {{endpoint: "http://127.0.0.1:{cloud}", project: bench-project, dataset: bench, load_cadence: 2s}}
log: {{level: error}}
types:
  list:
"""
TYPE = "    - {{name: order_{n:05}, time_field: order_date, schema: {root}/config/schemas/order.json}}\n"


def fetch(url, body=None):
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def penstock(folder, rule):
    """A daemon and its cloud, in which something is wrong or not."""
    http, admin, cloud = free_port(), free_port(), free_port()
    path = f"{folder}/slow.yaml"
    with open(path, "w", encoding="ascii") as file:
        file.write(CONFIG.format(folder=folder, core=SERVER_CORE, http=http, admin=admin, cloud=cloud))
        file.write("".join(TYPE.format(n=n, root=ROOT) for n in range(NAMES)))
    cloud_argv = [program("localcloud"), "--listen", f"127.0.0.1:{cloud}", "--data", f"{folder}/cloud",
                  "--create-bucket", "penstock-bench"]
    with running(cloud_argv, end_with_parent, f"{folder}/log"), \
            running([program("penstockd"), "--config", path], end_with_parent, f"{folder}/log") as child:
        wait_for(f"http://127.0.0.1:{admin}/readyz", child)
        if rule is not None:
            fetch(f"http://127.0.0.1:{cloud}/localcloud/faults", json.dumps(rule).encode())
        yield child.pid, f"http://127.0.0.1:{http}/v1/events", f"http://127.0.0.1:{admin}/metrics"


def by_type(metrics, name):
    found = re.findall(rf'^penstock_type_{name}_total\{{([^}}]*)\}} (\S+)$', metrics, re.M)
    return {re.search('type="([^"]*)"', labels)[1]: float(value) for labels, value in found
            if "sink=" not in labels or 'sink="bigquery"' in labels}


def others_left(url):
    """Events of the other types that are not rows yet."""
    metrics = fetch(url)
    taken, there = by_type(metrics, "events"), by_type(metrics, "delivered_events")
    return sum(n - there.get(name, 0) for name, n in taken.items() if name != BAD)


def one_run(rule, seconds):
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, penstock(folder, rule) as (pid, url, metrics):
        argv = [program("penstock-gen"), "--target", url, "--types", "order", "--type-names", str(NAMES), "--rate",
                str(RATE), "--duration", str(seconds), "--ordered", "--json"]
        cpu, start = process_cpu(pid), time.monotonic()
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        result = json.loads(done.stdout)
        while others_left(metrics) > 0:
            if time.monotonic() - start > 120 + seconds:
                raise BenchError("slow: the other tables are not complete after two minutes")
            time.sleep(0.05)
        took, cpu = time.monotonic() - start, process_cpu(pid) - cpu
        events = result["acked"]
        return {"latency_p50": result["latency_ms"]["p50"], "latency_p99": result["latency_ms"]["p99"],
                "others_delivered": took - seconds, "others_rate": events / took, "cpu_per_event": cpu / events * 1e6}


def bench_slow(report):
    runs, seconds = setting("BENCH_RUNS", 5), 3 * setting("BENCH_SECONDS", 3)
    values = {case: {} for case in CASES}
    for run in range(runs):
        order = list(CASES)[run % len(CASES):] + list(CASES)[:run % len(CASES)]
        for case in order:
            found = one_run(CASES[case], seconds)
            log(f"slow, {case}, run {run + 1}/{runs}: p99 {found['latency_p99']:.2f} ms, the others complete "
                f"{found['others_delivered']:.2f} s after the last event")
            for metric, value in found.items():
                values[case].setdefault(metric, []).append(value)
    well = {metric: statistics.median(v) for metric, v in values["all well"].items()}
    config = (f"1 worker (core {SERVER_CORE}), 1 sink thread, {NAMES} types, {RATE} events/s for {seconds} s, load "
              "cadence 2 s, cloud on the same cores")
    for case, metrics in values.items():
        other = None if case == "all well" else "all well"
        for metric, found in metrics.items():
            report.line("slow", case, f"{NAMES - 1} other tables", metric, statistics.median(found), UNITS[metric],
                        runs, other, well[metric] if other else None, config)
