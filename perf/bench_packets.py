"""Packets by DPDK: what one worker takes from memif and pcap, beside dpdk-testpmd, which receives and throws away.

The worker, or testpmd's forwarding thread, is alone on core 0; the generator and everything else on core 1. Rates are
packets per second of that thread's own CPU time: both poll all the time, so at a queue that is never empty this is
what a core can do, and a crowded machine does not lower it. Stages are whole runs of the daemon in which the packets
come less far; their differences are what each stage costs.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import tempfile
import time

from bench_http import (CLIENT_CORE, CONFIG, SERVER_CORE, Penstock, end_with_parent, free_port, on_core, running,
                        wait_for)
from bench_lib import BenchError, log, program, setting, task_cpu, tasks

EVENT_BYTES, EVENTS = 512, 4096
DEVICES = ("memif", "pcap")
PORT, OTHER_PORT = 8083, 9
WARM_S = 0.5

# What the daemon does with a packet: (name, UDP ports, checksums, listed types, drained).
STAGES = (
    ("headers", OTHER_PORT, "check", True, False),
    ("trusted", PORT, "trust", True, True),
    ("checksums", PORT, "check", True, True),
    ("no schema", PORT, "check", False, False),
    ("all", PORT, "check", True, False),
)

DPDK = """
dpdk: {{ports: ["{device}"], udp_ports: [{port}], checksums: {checksums}, idle_sleep: 0, waiting: 16384}}
block: {{count: 128, lane_max: 16}}
"""


def total(data):
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xffff) + (value >> 16)
    return value


def make_events(path):
    """Orders of penstock-gen, the street so long that each has EVENT_BYTES."""
    found = []
    made = subprocess.run([program("penstock-gen"), "--count", str(4 * EVENTS), "--types", "order=1", "--out", "-"],
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    for line in made.splitlines():
        if len(line) <= EVENT_BYTES and len(found) < EVENTS:
            found.append(line.replace(b'"street":"', b'"street":"' + b"x" * (EVENT_BYTES - len(line)), 1))
    if len(found) < EVENTS or {len(line) for line in found} != {EVENT_BYTES}:
        raise BenchError("packets: penstock-gen's orders are not what they were")
    with open(path, "wb") as file:
        file.writelines(line + b"\n" for line in found)
    return found


def make_pcap(path, events):
    addresses = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for event in events:
            udp = struct.pack(">HHHH", 1024, PORT, len(event) + 8, 0) + event
            value = 0xffff ^ total(addresses + struct.pack(">HH", 17, len(udp)) + udp)
            udp = udp[:6] + struct.pack(">H", value) + udp[8:]
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
            ip = ip[:10] + struct.pack(">H", 0xffff ^ total(ip)) + ip[12:]
            data = b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + ip + udp
            file.write(struct.pack("<IIII", 1, 0, len(data), len(data)) + data)


@contextlib.contextmanager
def source(folder, device):
    """Gives the device to receive from; memif with a generator at its other end."""
    if device == "pcap":
        yield f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1"
        return
    path = f"{folder}/memif"
    argv = [program("penstock-packets"), "--device", f"net_memif0,role=server,socket={path},bsize=2048,rsize=12",
            "--events", f"{folder}/events", "--seconds", "3600"]
    with running(argv, on_core(CLIENT_CORE), f"{folder}/log") as child:
        first(child.pid)
        yield f"net_memif0,role=client,socket={path},bsize=2048,rsize=12"


class Testpmd:
    """DPDK's own: receives bursts and frees them, without a look at the packets."""

    name = "testpmd"

    @contextlib.contextmanager
    def start(self, folder, device):
        argv = ["dpdk-testpmd", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry",
                "--file-prefix", f"bench-{os.getpid()}", "--lcores", f"0@{CLIENT_CORE},1@{SERVER_CORE}",
                "--vdev", device, "--", "--forward-mode=rxonly", "--total-num-mbufs=32768", "--nb-cores=1",
                "--rxd=1024", "--auto-start", "--stats-period=1"]
        self.log = f"{folder}/testpmd.log"
        with open(self.log, "wb") as output:
            child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                     preexec_fn=end_with_parent)
        try:
            self.pid = child.pid
            self.wait(2)
            self.tid = next(t for t in tasks(self.pid) if os.sched_getaffinity(t) == {SERVER_CORE})
            first(self.tid)
            yield self
        finally:
            child.kill()
            child.wait()

    def periods(self):
        """What it has printed: packets received at each period."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return [int(n) for n in re.findall(r"RX-packets:\s+(\d+)", file.read())]

    def wait(self, periods):
        end = time.monotonic() + 30
        while len([n for n in self.periods() if n > 0]) < periods:
            if time.monotonic() > end:
                raise BenchError("dpdk-testpmd receives nothing")
            time.sleep(0.01)

    def measure(self, seconds):
        """Its counters are as old as its last period, so it measures from period to period."""
        at = len(self.periods())
        self.wait(at + 1)
        cpu, first, started = task_cpu(self.pid, self.tid), self.periods()[-1], time.monotonic()
        self.wait(at + 1 + seconds)
        elapsed = time.monotonic() - started
        return self.periods()[-1] - first, task_cpu(self.pid, self.tid) - cpu, elapsed


class Daemon(Penstock):
    """penstockd with one worker, its sinks at work only when the generator lets them."""

    def __init__(self, stage):
        super().__init__("disk")
        self.stage, self.port, self.checksums, self.listed, self.drained = stage
        self.name = f"penstock, {self.stage}"

    @contextlib.contextmanager
    def start(self, folder, device):
        admin, cloud, data = free_port(), free_port(), tempfile.mkdtemp(dir=folder)
        path = os.path.join(data, "bench.yaml")
        text = CONFIG.format(folder=data, core=SERVER_CORE, durability="disk", http=free_port(), admin=admin,
                             cloud=cloud, schemas=os.path.join(os.getcwd(), "config/schemas"))
        if not self.listed:
            text = text[:text.index("types:")]
        with open(path, "w", encoding="ascii") as file:
            file.write(text + DPDK.format(device=device, port=self.port, checksums=self.checksums))
        self.socket = f"{data}/data/penstock.sock"
        self.metrics = f"http://127.0.0.1:{admin}/metrics"
        argv = [program("localcloud"), "--listen", f"127.0.0.1:{cloud}", "--data", f"{data}/cloud",
                "--create-bucket", "penstock-bench"]
        with running(argv, on_core(CLIENT_CORE, idle=True), f"{folder}/log"), \
                running([program("penstockd"), "--config", path], on_core(CLIENT_CORE), f"{folder}/log") as child:
            self.pid = child.pid
            wait_for(f"http://127.0.0.1:{admin}/readyz", child)
            self.find_threads()
            first(self.worker)
            if self.drained:
                subprocess.run([program("penstock"), "--socket", self.socket, "drain"], check=True,
                               stdout=subprocess.DEVNULL)
            time.sleep(WARM_S)
            yield self
        shutil.rmtree(data, ignore_errors=True)

    def counts(self):
        argv = [program("penstock"), "--socket", self.socket, "--json", "status"]
        return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)["dpdk"]

    def measure(self, seconds):
        before, cpu, started = self.counts(), self.worker_cpu(), time.monotonic()
        time.sleep(seconds)
        after, cpu, elapsed = self.counts(), self.worker_cpu() - cpu, time.monotonic() - started
        received = after["received"] - before["received"]
        lost = {why: n - before["dropped"].get(why, 0) for why, n in after["dropped"].items()}
        log(f"packets: {self.name}: received {received}, taken {after['taken'] - before['taken']}, dropped {lost}")
        if self.port == PORT and not self.drained:
            return after["taken"] - before["taken"], cpu, elapsed
        return received, cpu, elapsed


def hertz():
    """Cycles a second, as the time stamp counter has them."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return float(re.search(r"cpu MHz\s*: ([\d.]+)", file.read()).group(1)) * 1e6


def one_run(subject, folder, device, seconds):
    with source(folder, device) as name, subject.start(folder, name):
        packets, cpu, elapsed = subject.measure(seconds)
    if packets == 0 or cpu == 0:
        raise BenchError(f"packets: {subject.name}: {packets} packets in {cpu} s")
    return {"packets_per_cpu_s": packets / cpu, "packets_per_s": packets / elapsed, "busy": cpu / elapsed}


def bench_packets(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 3)
    if len(os.sched_getaffinity(0)) < 2 or shutil.which("dpdk-testpmd") is None:
        raise BenchError("packets: two cores and dpdk-testpmd (package dpdk-dev) are needed")
    config = (f"1 worker on core {SERVER_CORE}, everything else on core {CLIENT_CORE}, UDP packets of one "
              f"{EVENT_BYTES} byte order each, no huge pages, {seconds} s")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        events = make_events(f"{folder}/events")
        make_pcap(f"{folder}/in.pcap", events)
        for device in DEVICES:
            values = {}
            for run in range(runs):
                subjects = [Testpmd(), *map(Daemon, STAGES)]
                for subject in subjects[run % len(subjects):] + subjects[:run % len(subjects)]:
                    found = one_run(subject, folder, device, seconds)
                    log(f"packets {device} {subject.name} run {run + 1}/{runs}: "
                        f"{found['packets_per_cpu_s']:,.0f} a CPU second, busy {found['busy']:.2f}")
                    for metric, value in found.items():
                        values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
            medians = {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}
            base = medians[Testpmd.name]
            for name, metrics in medians.items():
                metrics["cycles_per_packet"] = hertz() / metrics["packets_per_cpu_s"]
                for metric, value in metrics.items():
                    other = None if name == Testpmd.name else base.get(metric)
                    report.line("packets", device, name, metric, value, UNITS[metric], runs,
                                Testpmd.name if other else None, other, config)


UNITS = {"packets_per_cpu_s": "1/s", "packets_per_s": "1/s", "busy": "cores", "cycles_per_packet": "cycles"}
