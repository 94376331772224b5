"""HTTP: what one worker takes, and what it costs, with 100 events a request and with 1 (over 256 and 512 connections).

Subjects: penstock-disk (the default: answered after the flush) with types that have schemas and with types that have
none, and nginx, which reads the same requests and throws them away. Each run starts its subject anew, so no run
inherits a journal, and the subjects take turns. The server is on core 0 and everything else on core 1; the sink
thread and the local cloud run there only while nobody else wants to, so the client comes first.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time
import urllib.request

from bench_lib import BenchError, first, log, long_slice, process_cpu, program, setting, task_cpu, tasks, workspace

SERVER_CORE, CLIENT_CORE = 0, 1
WARM_UP = 1    # seconds
START_S = 120  # of a daemon with 10,000 schemas, on a machine with other work
CASES = {  # events a request, connections, bodies made up front
    "100/POST": (100, 64, 2000),
    "1/POST": (1, 256, 50000),
    "1/POST, 512": (1, 512, 50000),
}
LATENCIES = ("p50", "p99", "p99.9")
EVENTS = os.environ.get("BENCH_EVENTS") or "commerce"  # a family of penstock-gen's

CONFIG = """
node: bench
data_dir: {folder}/data
workers: [{core}]
durability: {durability}
http: {{listen: "127.0.0.1:{http}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
journal: {{limit: 16GiB, segment: 128MiB, spares: 8}}
gcs: {{endpoint: "http://127.0.0.1:{cloud}", bucket: penstock-bench}}
bigquery: {{enabled: false}}
log: {{level: warn}}
"""

TYPES = """
types:
  list:
    - {{name: order, table: orders, time_field: order_date, schema: {schemas}/order.json}}
    - {{name: inventory, table: inventory, time_field: timestamp, schema: {schemas}/inventory.json}}
    - name: user_activity
      time_field: timestamp
      schema: {schemas}/user_activity.json
    - {{name: order_created, time_field: order_date, schema: {schemas}/../../perf/schemas/commerce.json}}
    - {{name: order_paid, time_field: order_date, schema: {schemas}/../../perf/schemas/commerce.json}}
    - {{name: order_shipped, time_field: order_date, schema: {schemas}/../../perf/schemas/commerce.json}}
    - {{name: order_returned, time_field: order_date, schema: {schemas}/../../perf/schemas/commerce.json}}
"""

NGINX = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    client_max_body_size 64m;
    keepalive_requests 1000000000;
    server {{ listen 127.0.0.1:{http} reuseport; location / {{ return 204; }} }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent():
    """For a child before its program starts: a benchmark that is killed leaves nobody behind who fills the disk."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def on_core(core, idle=False, measured=False, patient=False):
    """For a child before its program starts: its core, and whether it runs only when nobody else wants to, or is one
    of those that a measurement is about. patient: see long_slice()."""
    def apply():
        if patient:
            long_slice()
        end_with_parent()
        os.sched_setaffinity(0, {core})
        if measured:
            first(0)
        if idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return apply


def wait_for(url, child, good=200):
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                if answer.status == good:
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise BenchError(f"{child.args[0]} does not answer on {url}")


def wait_for_spares(url):
    """Until the journal has written the segments that it lacks, as it has in the middle of a long run."""
    found, end = [], time.monotonic() + 30
    while time.monotonic() < end and (len(found) < 3 or len(set(found[-3:])) > 1):
        time.sleep(0.3)
        with urllib.request.urlopen(url, timeout=60) as answer:
            found += [line for line in answer.read().decode().splitlines()
                      if line.startswith("penstock_journal_file_bytes")]


@contextlib.contextmanager
def running(argv, setup, log_path):
    with open(log_path, "ab") as output:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                 start_new_session=True, preexec_fn=setup)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


class Nginx:
    """The ceiling: reads bodies and discards them, one process on the server's core."""

    name = "nginx"

    @contextlib.contextmanager
    def start(self, folder):
        http = free_port()
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(NGINX.format(folder=folder, http=http))
        argv = [nginx_path(), "-p", folder, "-e", f"{folder}/error.log", "-c", path, "-g",
                "daemon off; master_process off;"]
        with running(argv, on_core(SERVER_CORE, measured=True), f"{folder}/log") as child:
            self.pid, self.url = child.pid, f"http://127.0.0.1:{http}/v1/events"
            wait_for(self.url, child, 204)
            yield self

    def worker_cpu(self):
        return process_cpu(self.pid)

    def settle(self):
        """It keeps nothing."""


class Penstock:
    """A daemon with one worker, its sinks at work against a local cloud; or with null sinks, which throw away what is
    in the journal: what is measured then is the way from the socket to the journal."""

    def __init__(self, durability, cloud_in=None, cloud=True, listed=True):
        """cloud_in: a folder for the cloud's objects other than the daemon's, so that they are on another disk.
        listed: whether types have schemas that events are checked against, or are only validated and routed."""
        self.durability, self.listed = durability, listed
        self.name = f"penstock-{durability}" + ("" if listed else ", no schemas")
        self.cloud_in = cloud_in
        self.cloud = cloud

    def types(self, _folder):
        """What the configuration says of types."""
        return TYPES if self.listed else ""

    @contextlib.contextmanager
    def local_cloud(self, port, folder):
        """Runs it, if it is wanted: while nobody else on its core wants to."""
        if not self.cloud:
            yield
            return
        with workspace(self.cloud_in) as objects:
            argv = [program("localcloud"), "--listen", f"127.0.0.1:{port}", "--data", objects, "--create-bucket",
                    "penstock-bench"]
            with running(argv, on_core(CLIENT_CORE, idle=True), f"{folder}/log"):
                yield

    @contextlib.contextmanager
    def start(self, folder, options=()):
        http, admin, cloud = free_port(), free_port(), free_port()
        schemas = os.path.join(os.getcwd(), "config/schemas")
        path = os.path.join(folder, "bench.yaml")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIG.format(folder=folder, core=SERVER_CORE, durability=self.durability, http=http,
                                     admin=admin, cloud=cloud))
            file.write(self.types(folder).format(schemas=schemas))
        self.socket = f"{folder}/data/penstock.sock"
        self.url = f"http://127.0.0.1:{http}/v1/events"
        argv = [program("penstockd"), "--config", path, *options]
        if not self.cloud:
            argv += ["--set", "sinks.discard=true"]
        self.metrics = f"http://127.0.0.1:{admin}/metrics"
        with self.local_cloud(cloud, folder), running(argv, on_core(CLIENT_CORE), f"{folder}/log") as child:
            self.pid = child.pid
            wait_for(f"http://127.0.0.1:{admin}/readyz", child)
            self.find_threads()
            self.settle()
            yield self

    def settle(self):
        """Waits until the journal has as many files as it needs: from then on it uses these again."""
        wait_for_spares(self.metrics)

    def name_of(self, tid):
        with contextlib.suppress(FileNotFoundError):  # it may have ended
            with open(f"/proc/{self.pid}/task/{tid}/comm", encoding="ascii", errors="replace") as file:
                return file.read().strip()
        return ""

    def find_threads(self):
        """The worker is the one thread on the server's core, beside those of the kernel that serve its io_uring; a
        sink thread that has work steps back for the client."""
        workers, end = [], time.monotonic() + 5
        while len(workers) != 1 and time.monotonic() < end:  # one of the kernel's has our name for a moment
            workers = [t for t in tasks(self.pid) if self.name_of(t).startswith("worker")
                       and os.sched_getaffinity(t) == {SERVER_CORE}]
        if len(workers) != 1:
            raise BenchError(f"{len(workers)} threads on core {SERVER_CORE} where one worker was expected")
        self.worker = workers[0]
        first(self.worker)
        for tid in tasks(self.pid) if self.cloud else ():
            name = self.name_of(tid)
            if tid not in (self.pid, self.worker) and (name == "penstockd" or name.startswith("sink")):
                os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))

    def worker_cpu(self):
        return task_cpu(self.pid, self.worker)

    def process_cpu(self):
        return process_cpu(self.pid)

    def drain(self):
        """Waits until everything is in Cloud Storage."""
        subprocess.run([program("penstock"), "--socket", self.socket, "flush", "--timeout", "300s"],
                       check=True, stdout=subprocess.DEVNULL)


def nginx_path():
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def generate(url, case, *options, patient=False):
    """Runs the client on its core; returns its report. case: one of CASES, or events a message, connections, bodies.
    patient: whoever becomes ready on its core goes first, such as the kernel's threads that flush the disk."""
    batch, connections, bodies = case if isinstance(case, tuple) else CASES[case]
    argv = [program("penstock-gen"), "--target", url, "--events", EVENTS, "--batch", str(batch), "--connections",
            str(connections), "--pregenerate", str(bodies), "--json", *map(str, options)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          preexec_fn=on_core(CLIENT_CORE, measured=True, patient=patient))
    if done.returncode != 0:
        raise BenchError(f"penstock-gen: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if not url.startswith("http"):  # nothing is answered
        return result
    if result["acked"] == 0:
        raise BenchError(f"penstock-gen: nothing was acknowledged: {done.stdout}")
    for what in ("refused", "unanswered", "unsent"):
        if result[what]:
            log(f"{case}: {result[what]} events {what} {result['refused_by_status'] or ''}")
    return result


def rates(events_at_end, bytes_at_end, events, size, worker, client):
    """What a run says of speed. At its end: what was taken when the client ended. worker: its CPU seconds for all of
    it. client: its report. The busier of the two cores is the one that could not do more."""
    busier = max(worker, client["cpu_seconds"])
    return {
        "events_per_s": events_at_end / client["seconds"],
        "mb_per_s": bytes_at_end / client["seconds"] / 1e6,
        "events_per_busy_core_s": events / busier,
        "mb_per_busy_core_s": size / busier / 1e6,
        "worker_busy": worker / client["seconds"],
        "client_busy": client["cpu_seconds"] / client["seconds"],
        "events_per_cpu_s": events / worker,
        "mb_per_cpu_s": size / worker / 1e6,
        "worker_cpu_s_per_million": worker / events * 1e6,
    }


def full_load(server, case, seconds):
    """As fast as answers come."""
    worker = server.worker_cpu()
    result = generate(server.url, case, "--duration", seconds)
    worker = server.worker_cpu() - worker
    events, size = result["acked"], result["acked_bytes"]
    return {
        **rates(events, size, events, size, worker, result),
        **{f"latency_full_{p}": result["latency_ms"][p] for p in LATENCIES},
    }


def one_run(subject, case, seconds):
    """One start of one subject: warm-up, then full load; values by metric."""
    with workspace() as folder, subject.start(folder) as server:
        generate(server.url, case, "--duration", WARM_UP)
        server.settle()
        return full_load(server, case, seconds)


UNITS = {"events_per_s": "1/s", "mb_per_s": "MB/s", "events_per_busy_core_s": "1/s", "mb_per_busy_core_s": "MB/s",
         "worker_busy": "cores", "client_busy": "cores", "events_per_cpu_s": "1/s", "mb_per_cpu_s": "MB/s",
         "worker_cpu_s_per_million": "s"}


def collect(subjects, case, runs, seconds):
    """Medians by subject and metric of runs in which the subjects take turns."""
    values = {}
    for run in range(runs):
        for subject in subjects[run % len(subjects):] + subjects[:run % len(subjects)]:
            found = one_run(subject, case, seconds)
            log(f"{case} {subject.name} run {run + 1}/{runs}: {found['events_per_s']:,.0f} events/s, "
                f"{found['events_per_busy_core_s']:,.0f} a second of the busier core")
            for metric, value in found.items():
                values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
    return {name: {metric: statistics.median(v) for metric, v in metrics.items()}
            for name, metrics in values.items()}


def bench_http(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError("http: two cores are needed, one for the worker and one for the client")
    subjects = [Penstock("disk", cloud=False), Penstock("disk", cloud=False, listed=False)]
    if nginx_path():
        subjects.append(Nginx())
    else:
        log("http: nginx skipped, it is not installed; perf/setup.sh does that")
    for case in CASES:
        medians = collect(subjects, case, runs, seconds)
        batch, connections, _ = CASES[case]
        config = (f"1 worker on core {SERVER_CORE}, client and sinks on core {CLIENT_CORE}, {batch} events a "
                  f"request, {connections} connections, {seconds} s, {EVENTS}")
        for subject in subjects:
            other = None if subject.name == Nginx.name else Nginx.name
            for metric, value in medians[subject.name].items():
                report.line("http", case, subject.name, metric, value, UNITS.get(metric, "ms"), runs, other,
                            medians.get(other, {}).get(metric), config)
