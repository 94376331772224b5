"""What TLS costs: HTTPS beside HTTP, from wrk, the same body of 100 events with each request, on kept connections; and
how many connections a second the worker greets, each for one event."""

import contextlib
import re
import resource
import shutil
import statistics
import subprocess

from bench_http import CLIENT_CORE, EVENTS, SERVER_CORE, Penstock, free_port, on_core
from bench_lib import BenchError, log, program, setting, workspace

CONNECTIONS = 64
CASES = {  # events a request, more request headers
    "100/POST": (100, ""),
    "1/connection": (1, 'wrk.headers["Connection"] = "close"'),
}
LUA = """
wrk.method = "POST"
local file = io.open("{folder}/body", "rb")
wrk.body = file:read("*a")
{more}
"""


class Door(Penstock):
    """A daemon with both doors open."""

    def __init__(self, scheme):
        super().__init__("disk", cloud=False)
        self.name, self.scheme = scheme, scheme

    @contextlib.contextmanager
    def start(self, folder, options=()):
        port = free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", f"{folder}/key", "-out",
                        f"{folder}/cert"], check=True, stderr=subprocess.DEVNULL)
        more = [f"https.listen=127.0.0.1:{port}", f"https.certificate={folder}/cert", f"https.key={folder}/key"]
        with super().start(folder, [*options, *(word for text in more for word in ("--set", text))]):
            if self.scheme == "https":
                self.url = f"https://127.0.0.1:{port}/v1/events"
            yield self


def write_script(folder, case):
    events, more = CASES[case]
    with open(f"{folder}/body", "wb") as body:
        subprocess.run([program("penstock-gen"), "--events", EVENTS, "--count", str(events), "--out", "-"], check=True,
                       stdout=body, stderr=subprocess.DEVNULL)
    with open(f"{folder}/post.lua", "w", encoding="ascii") as script:
        script.write(LUA.format(folder=folder, more=more))


def load(server, folder, seconds):
    """Requests that were answered, seconds, and wrk's own CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", f"{folder}/post.lua", server.url],
                          capture_output=True, text=True, check=True, preexec_fn=on_core(CLIENT_CORE, measured=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if found is None or int(found[1]) == 0 or "Non-2xx" in done.stdout:
        raise BenchError(f"wrk: {done.stdout}{done.stderr}")
    return int(found[1]), float(found[2]), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def one_run(subject, case, seconds):
    with workspace() as folder, subject.start(folder) as server:
        write_script(folder, case)
        load(server, folder, 1)
        server.settle()
        worker = server.worker_cpu()
        requests, took, client = load(server, folder, seconds)
        worker = server.worker_cpu() - worker
    return {"requests_per_s": requests / took, "requests_per_cpu_s": requests / worker,
            "requests_per_busy_core_s": requests / max(worker, client), "worker_busy": worker / took}


def bench_tls(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    if not shutil.which("wrk"):
        raise BenchError("tls: wrk is not installed; tools/setup.sh does that")
    subjects = [Door("https"), Door("http")]
    for case, (events, _) in CASES.items():
        values = {}
        for run in range(runs):
            for subject in subjects[run % 2:] + subjects[:run % 2]:
                found = one_run(subject, case, seconds)
                log(f"tls {case} {subject.name} run {run + 1}/{runs}: {found['requests_per_cpu_s']:,.0f} requests a "
                    "CPU second")
                for metric, value in found.items():
                    values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
        medians = {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}
        config = (f"1 worker on core {SERVER_CORE}, wrk on core {CLIENT_CORE}, {events} events a request, one body, "
                  f"{CONNECTIONS} connections, {seconds} s, {EVENTS}, TLS 1.3, P-256")
        for name, metrics in medians.items():
            for metric, value in metrics.items():
                report.line("tls", case, name, metric, value, "cores" if metric == "worker_busy" else "1/s", runs,
                            "http" if name == "https" else None,
                            medians["http"][metric] if name == "https" else None, config)
