"""TCP and UDP: what one worker takes over each, beside a bare loop that receives the same bytes and throws them
away (perf/bench_sink.c), on the same core, from the same client, in turns.

What is received counts, as the receiver itself counts it: TCP loses nothing, and of UDP the kernel drops what the
receiver is too slow for. CPU time of a worker counts until everything is stored, as for HTTP.
"""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request

from bench_http import CLIENT_CORE, SERVER_CORE, UNITS, Penstock, free_port, on_core, running
from bench_lib import BenchError, log, process_cpu, program, setting

CASES = {  # bench, case: scheme, events a message, connections
    ("tcp", "lines"): ("tcp", 100, 64),
    ("tcp", "acked lines"): ("tcp+acked", 100, 64),
    ("udp", "3/datagram"): ("udp", 3, 16),
    ("udp", "1/datagram"): ("udp", 1, 16),
}
SETTLE_S = 30


class Sink:
    """The ceiling."""

    name = "bare loop"

    @contextlib.contextmanager
    def start(self, folder, scheme):
        kind, port = scheme[:3], free_port()
        self.log = f"{folder}/sink"
        with running([program("bench_sink", "perf"), kind, str(port)], on_core(SERVER_CORE), self.log) as child:
            self.pid, self.url = child.pid, f"{kind}://127.0.0.1:{port}"
            time.sleep(0.3)
            yield self

    def worker_cpu(self):
        return process_cpu(self.pid)

    def received(self):
        """Bytes so far."""
        before = os.path.getsize(self.log)
        os.kill(self.pid, signal.SIGUSR1)
        while os.path.getsize(self.log) == before:
            time.sleep(0.01)
        with open(self.log, encoding="ascii") as file:
            return int(file.read().splitlines()[-1].split()[0])

    def drain(self):
        """Nothing is kept."""


class Inputs(Penstock):
    """A daemon with one worker; what it received is what it counts."""

    def __init__(self):
        super().__init__("disk")
        self.name = "penstock"

    @contextlib.contextmanager
    def start(self, folder, scheme):
        port = free_port()
        key = {"tcp": "tcp.listen", "tcp+acked": "tcp.acked_listen", "udp": "udp.listen"}[scheme]
        counter = "penstock_udp_bytes_total" if scheme == "udp" else "penstock_tcp_bytes_total"
        with super().start(folder, ["--set", f"{key}=127.0.0.1:{port}"]):
            self.url, self.counter = f"{scheme}://127.0.0.1:{port}", counter
            yield self

    def received(self):
        with urllib.request.urlopen(self.metrics, timeout=5) as answer:
            found = re.findall(rf"^{self.counter}\S* (\d+)$", answer.read().decode(), re.M)
        return sum(int(value) for value in found)


def send(url, batch, connections, *options):
    argv = [program("penstock-gen"), "--target", url, "--batch", str(batch), "--connections", str(connections),
            "--pregenerate", str(max(2000, 200000 // batch)), "--timeout", "60", "--json", *map(str, options)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          preexec_fn=on_core(CLIENT_CORE))
    if done.returncode != 0:
        raise BenchError(f"penstock-gen: {done.stderr.strip()}")
    return json.loads(done.stdout)


def settled(server):
    """What has been received, once it does not change any more."""
    last, end = -1, time.monotonic() + SETTLE_S
    while (now := server.received()) != last and time.monotonic() < end:
        last = now
        time.sleep(0.2)
    return now


def one_run(subject, case, seconds):
    scheme, batch, connections = CASES[case]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, subject.start(folder, scheme) as server:
        send(server.url, batch, connections, "--duration", 1)
        before = settled(server)
        server.drain()
        worker = server.worker_cpu()
        started = time.monotonic()
        result = send(server.url, batch, connections, "--duration", seconds)
        busy, at_end, elapsed = server.worker_cpu() - worker, server.received() - before, time.monotonic() - started
        received = settled(server) - before
        server.drain()
        worker = server.worker_cpu() - worker
    mean = result["bytes"] / result["events"]  # of an event with its line break
    return {
        "events_per_s": at_end / mean / elapsed,
        "mb_per_s": at_end / elapsed / 1e6,
        "received": received / result["bytes"],
        "worker_busy": busy / elapsed,
        "events_per_cpu_s": received / mean / worker,
        "mb_per_cpu_s": received / worker / 1e6,
        "worker_cpu_s_per_million": worker / (received / mean) * 1e6,
    }


def bench_sockets(report, bench):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError(f"{bench}: two cores are needed, one for the worker and one for the client")
    for case in [case for case in CASES if case[0] == bench]:
        values = {}
        for run in range(runs):
            subjects = [Inputs(), Sink()] if "acked" not in case[1] else [Inputs()]
            for subject in subjects[run % len(subjects):] + subjects[:run % len(subjects)]:
                found = one_run(subject, case, seconds)
                log(f"{bench} {case[1]} {subject.name} run {run + 1}/{runs}: {found['events_per_cpu_s']:,.0f} "
                    "events a CPU second")
                for metric, value in found.items():
                    values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
        scheme, batch, connections = CASES[case]
        config = (f"1 worker on core {SERVER_CORE}, client and sinks on core {CLIENT_CORE}, {batch} events a message, "
                  f"{connections} sockets, {seconds} s, {scheme}")
        medians = {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}
        for name, metrics in medians.items():
            other = Sink.name if name != Sink.name else None
            for metric, value in metrics.items():
                report.line(bench, case[1], name, metric, value, UNITS.get(metric, "of sent"), runs, other,
                            medians.get(other, {}).get(metric), config)
