"""TCP and UDP: what one worker takes over each, beside a bare loop that receives the same bytes into a buffer and
throws them away (perf/bench_sink.c), and beside rsyslog writing a file for each type; on the same core, from the same
client, in turns.

What is received counts, as the receiver itself counts it: TCP loses nothing, and of UDP the kernel drops what the
receiver is too slow for.
"""

import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import time
import urllib.request

from bench_http import (CLIENT_CORE, EVENTS, SERVER_CORE, UNITS, WARM_UP, Penstock, free_port, generate, on_core,
                        rates, running)
from bench_lib import BenchError, log, process_cpu, program, setting, workspace

CASES = {  # bench, case: scheme, events a message, connections
    ("tcp", "lines"): ("tcp", 100, 64),
    ("tcp", "acked lines"): ("tcp+acked", 100, 64),
    ("udp", "3/datagram"): ("udp", 3, 16),
    ("udp", "1/datagram"): ("udp", 1, 16),
}
OFFERED = (0.7, 0.8, 0.9)  # of what the bare loop takes of datagrams
SETTLE_S, STUCK_S = 30, 5

RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imptcp")
module(load="mmjsonparse")
template(name="file" type="string" string="{folder}/out/%$!event_type%.json")
template(name="line" type="string" string="%rawmsg%\\n")
ruleset(name="in") {{
    action(type="mmjsonparse" cookie="" useRawMsg="on")
    action(type="omfile" dynaFile="file" template="line" ioBufferSize="256k" asyncWriting="off")
}}
input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="in")
"""


class Sink:
    """The ceiling."""

    name = "bare loop"

    @contextlib.contextmanager
    def start(self, folder, scheme):
        kind, port = scheme[:3], free_port()
        self.log = f"{folder}/sink"
        argv = [program("bench_sink", "perf"), kind, str(port)]
        with running(argv, on_core(SERVER_CORE, measured=True), self.log) as child:
            self.pid, self.url = child.pid, f"{kind}://127.0.0.1:{port}"
            time.sleep(0.3)
            yield self

    def worker_cpu(self):
        return process_cpu(self.pid)

    def settle(self):
        """It keeps nothing."""

    def received(self):
        """Bytes so far."""
        before = os.path.getsize(self.log)
        os.kill(self.pid, signal.SIGUSR1)
        while os.path.getsize(self.log) == before:
            time.sleep(0.001)
        with open(self.log, encoding="ascii") as file:
            return int(file.read().splitlines()[-1].split()[0])


class Rsyslog:
    """Debian's: parses every line as JSON, and writes it to its type's file. What it received is what it wrote."""

    name = "rsyslog"

    @contextlib.contextmanager
    def start(self, folder, scheme):
        port, path = free_port(), f"{folder}/rsyslog.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(RSYSLOG.format(folder=folder, port=port))
        os.mkdir(f"{folder}/out")
        argv = [rsyslog_path(), "-n", "-f", path, "-i", f"{folder}/rsyslog.pid"]
        with running(argv, on_core(SERVER_CORE, measured=True), f"{folder}/log") as child:
            self.pid, self.folder, self.url = child.pid, f"{folder}/out", f"{scheme}://127.0.0.1:{port}"
            time.sleep(1)
            yield self

    def worker_cpu(self):
        return process_cpu(self.pid)

    def settle(self):
        """It writes nothing ahead."""

    def received(self):
        return sum(entry.stat().st_size for entry in os.scandir(self.folder))


class Inputs(Penstock):
    """A daemon with one worker; what it received is what it counts."""

    def __init__(self, listed=True):
        super().__init__("disk", cloud=False, listed=listed)
        self.name = self.name.replace("-disk", "")

    @contextlib.contextmanager
    def start(self, folder, scheme):
        port = free_port()
        key = {"tcp": "tcp.listen", "tcp+acked": "tcp.acked_listen", "udp": "udp.listen"}[scheme]
        counter = "penstock_udp_bytes_total" if scheme == "udp" else "penstock_tcp_bytes_total"
        with super().start(folder, ["--set", f"{key}=127.0.0.1:{port}"]):
            self.url, self.counter = f"{scheme}://127.0.0.1:{port}", counter
            yield self

    def received(self):
        with urllib.request.urlopen(self.metrics, timeout=60) as answer:
            found = re.findall(rf"^{self.counter}\S* (\d+)$", answer.read().decode(), re.M)
        return sum(int(value) for value in found)


def rsyslog_path():
    return shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")


def settled(server, expected=None):
    """What has been received, once all that is expected is there, or once it does not change any more: for a while, if
    something is missing, because a receiver may have to wait for its disk."""
    last, changed, end = -1, time.monotonic(), time.monotonic() + SETTLE_S
    while (now := server.received()) != expected and time.monotonic() < end:
        if now != last:
            last, changed = now, time.monotonic()
        elif time.monotonic() - changed >= (0.3 if expected is None else STUCK_S):
            break
        time.sleep(0.1)
    return now


class Sender:
    """Of datagrams: bench_sink's, since a system call for each would make the client the slower side. Of streams:
    penstock-gen. Its reports say the same."""

    def __init__(self, folder, case):
        self.scheme, self.batch, self.connections = CASES[case]
        self.path = f"{folder}/events"
        if self.scheme == "udp":
            subprocess.run([program("penstock-gen"), "--events", EVENTS, "--count", "60000", "--out", self.path],
                           check=True, stderr=subprocess.DEVNULL)

    def send(self, url, seconds, rate):
        """rate: events a second; None: as fast as it can."""
        if self.scheme != "udp":
            load = (self.batch, self.connections, max(2000, 100000 // self.batch))
            return generate(url, load, "--duration", seconds, "--timeout", 60)
        argv = [program("bench_sink", "perf"), "send", url.rsplit(":", 1)[1], self.path, str(self.batch), str(seconds),
                str((rate or 0) / self.batch)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True,
                              preexec_fn=on_core(CLIENT_CORE, measured=True))
        datagrams, size, took, cpu = map(int, done.stdout.split())
        return {"events": datagrams * self.batch, "bytes": size, "seconds": took / 1e9, "cpu_seconds": cpu / 1e9}


def one_run(subject, case, seconds, rate=None):
    scheme = CASES[case][0]
    with workspace() as folder, subject.start(folder, scheme) as server:
        sender, streams, first_bytes = Sender(folder, case), case[0] == "tcp", server.received()
        warmed = sender.send(server.url, WARM_UP, rate)
        settled(server, first_bytes + warmed["bytes"] if streams else None)
        server.settle()
        before = server.received()
        worker = server.worker_cpu()
        result = sender.send(server.url, seconds, rate)
        at_end = server.received() - before
        received = settled(server, before + result["bytes"] if streams else None) - before
        worker = server.worker_cpu() - worker
    if result["events"] == 0 or received <= 0:
        raise BenchError(f"{case[0]} {case[1]} {subject.name}: nothing came through in {seconds} s")
    mean = result["bytes"] / result["events"]  # of an event with its line break
    found = rates(at_end / mean, at_end, received / mean, received, worker, result)
    return {**found, "received": received / result["bytes"]}


def measure(subjects, case, seconds, runs, rate=None):
    """Medians by subject and metric."""
    values = {}
    for run in range(runs):
        for subject in subjects[run % len(subjects):] + subjects[:run % len(subjects)]:
            found = one_run(subject, case, seconds, rate)
            log(f"{case[0]} {case[1]} {subject.name} run {run + 1}/{runs}: {found['mb_per_s']:,.0f} MB/s, "
                f"{found['events_per_busy_core_s']:,.0f} events a second of the busier core, "
                f"{found['received']:.4f} received")
            for metric, value in found.items():
                values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
    return {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}


def offered(report, case, rate, seconds, runs):
    """Whether datagrams are lost at parts of the rate that the bare loop takes."""
    for part in OFFERED:
        for name, found in measure([Inputs(), Inputs(listed=False)], case, seconds, runs, part * rate).items():
            report.line("udp", f"{case[1]} at {part} of the bare loop's", name, "received", found["received"],
                        "of sent", runs, None, None, f"{part * rate:.0f} events/s offered, {seconds} s")


def bench_sockets(report, bench):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    if len(os.sched_getaffinity(0)) < 2:
        raise BenchError(f"{bench}: two cores are needed, one for the worker and one for the client")
    for case in [case for case in CASES if case[0] == bench]:
        scheme, batch, connections = CASES[case]
        subjects = [Inputs(), Inputs(listed=False), Sink()]
        if scheme == "tcp" and rsyslog_path():
            subjects.append(Rsyslog())
        elif scheme == "tcp":
            log("tcp: rsyslog skipped, it is not installed; perf/setup.sh does that")
        medians = measure(subjects, case, seconds, runs)
        config = (f"1 worker on core {SERVER_CORE}, client and sinks on core {CLIENT_CORE}, {batch} events a message, "
                  f"{connections} sockets, {seconds} s, {scheme}, {EVENTS}")
        for name, metrics in medians.items():
            other = Sink.name if name != Sink.name else None
            for metric, value in metrics.items():
                report.line(bench, case[1], name, metric, value, UNITS.get(metric, "of sent"), runs, other,
                            medians.get(other, {}).get(metric), config)
        if case == ("udp", "1/datagram"):
            offered(report, case, medians[Sink.name]["events_per_s"], seconds, runs)
