"""Packets by DPDK: what one worker takes from memif and pcap, beside dpdk-testpmd, which receives and throws away.

The worker, or testpmd's forwarding thread, is alone on core 0; the generator and everything else on core 1. Both poll
all the time, so what counts is the time that they spend on packets: testpmd's cycles of bursts that brought some, the
worker's of turns that did. Both run on when somebody else has the core: times are multiplied by the share of it that
the thread had. Stages are whole runs of the daemon in which the packets come less far; their differences are what each
costs.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import time

from bench_http import (CLIENT_CORE, CONFIG, SERVER_CORE, TYPES, Penstock, end_with_parent, free_port, on_core,
                        running, wait_for, wait_for_spares)
from bench_lib import TICKS, BenchError, first, log, program, setting, task_cpu, tasks, workspace

EVENT_BYTES, EVENTS = 512, 1024
DEVICES = ("memif", "pcap")
PORT, OTHER_PORT = 8083, 9
WARM_S = 0.5
JOURNAL = "limit: 16GiB, segment: 128MiB, spares: 8"  # in CONFIG
JOURNAL_GIB = 6                                       # at most here: what is there after a run that was killed
MEMORY = "/dev/shm"

# What the daemon does with a packet: (name, UDP port, checksums, listed types, share kept, drained).
STAGES = (
    ("headers", OTHER_PORT, "check", True, 1, False),
    ("trusted", PORT, "trust", True, 1, True),
    ("checksums", PORT, "check", True, 1, True),
    ("parsed", PORT, "check", False, 0, False),
    ("checked", PORT, "check", True, 0, False),
    ("all", PORT, "check", True, 1, False),
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


def device_name(folder, device):
    """What to receive from: a memif that a generator connects to, or a file again and again."""
    return (f"net_pcap0,rx_pcap={folder}/in.pcap,infinite_rx=1" if device == "pcap"
            else f"net_memif0,role=server,socket={folder}/memif,rsize=10")


@contextlib.contextmanager
def fed(folder, device):
    """With a generator at the other end of a memif."""
    if device == "pcap":
        yield
        return
    argv = [program("penstock-packets"), "--device", f"net_memif0,role=client,socket={folder}/memif,rsize=10",
            "--events", f"{folder}/events", "--seconds", "3600"]
    with running(argv, on_core(CLIENT_CORE), f"{folder}/log") as child:
        first(child.pid)
        yield


def share_of_core(before, after):
    """Of (CPU seconds, clock): a thread that polls all the time is kept from its core for the rest."""
    return (after[0] - before[0]) / (after[1] - before[1])


class Testpmd:
    """DPDK's own: receives bursts and frees them, without a look at the packets."""

    name = "testpmd"

    @contextlib.contextmanager
    def start(self, folder, device):
        argv = ["dpdk-testpmd", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry",
                "--file-prefix", f"bench-{os.getpid()}", "--lcores", f"0@{CLIENT_CORE},1@{SERVER_CORE}",
                "--vdev", device, "--", "--forward-mode=rxonly", "--total-num-mbufs=32768", "--nb-cores=1",
                "--rxd=1024", "--auto-start", "--record-core-cycles", "--interactive"]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, bufsize=1, start_new_session=True, preexec_fn=end_with_parent)
        try:
            first(self.child.pid)
            self.find_thread()
            yield self
        finally:
            self.child.kill()
            self.child.communicate()

    def find_thread(self):
        """The one that polls, as soon as it does."""
        end = time.monotonic() + 30
        while time.monotonic() < end and self.child.poll() is None:
            for tid in tasks(self.child.pid):
                if os.sched_getaffinity(tid) == {SERVER_CORE} and task_cpu(self.child.pid, tid) > 0.1:
                    self.tid = tid
                    return
            time.sleep(0.01)
        raise BenchError("dpdk-testpmd does not start")

    def now(self):
        return task_cpu(self.child.pid, self.tid), time.monotonic()

    def measure(self, seconds):
        self.child.stdin.write("clear fwd stats all\n")
        before = self.now()
        time.sleep(seconds)
        self.child.stdin.write("show fwd stats all\n")
        after = self.now()
        text, _ = self.child.communicate("quit\n", timeout=30)
        found = re.search(r"CPU cycles/packet=([\d.]+).*packets=(\d+)\) at (\d+) MHz", text)
        if not found or int(found.group(2)) == 0:
            raise BenchError("dpdk-testpmd received nothing")
        share = share_of_core(before, after)
        return {"seconds": float(found.group(1)) / float(found.group(3)) / 1e6 * share, "share": share, "system": 0,
                "rate": int(found.group(2)) / (after[1] - before[1])}


def journal_place(folder):
    """(folder, GiB) for the journal: memory where files there can be written as on disks, for it is not the disk that
    is measured."""
    try:
        probe = os.path.join(MEMORY, f"penstock-bench-{os.getpid()}-probe")
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
        os.unlink(probe)
    except OSError:
        return folder, JOURNAL_GIB
    with open("/proc/meminfo", encoding="ascii") as file:
        free = int(re.search(r"MemAvailable:\s+(\d+)", file.read()).group(1)) >> 20
    return (MEMORY, min(JOURNAL_GIB, free // 2)) if free >= 4 else (folder, JOURNAL_GIB)


class Daemon(Penstock):
    """penstockd with one worker and null sinks."""

    def __init__(self, stage):
        super().__init__("disk", cloud=False)
        self.stage, self.port, self.checksums, self.listed, self.kept, self.drained = stage
        self.name = f"penstock, {self.stage}"

    @contextlib.contextmanager
    def start(self, folder, device):
        place, gib = journal_place(folder)
        with workspace(place) as data:
            admin = free_port()
            path = os.path.join(data, "bench.yaml")
            text = CONFIG.format(folder=data, core=SERVER_CORE, durability="disk", http=free_port(), admin=admin,
                                 cloud=0)
            text = text.replace(JOURNAL, f"limit: {gib}GiB, segment: 256MiB, spares: {2 * gib}")
            types = TYPES.format(schemas=os.path.join(os.getcwd(), "config/schemas")) if self.listed else "types:\n"
            text += types.replace("types:\n", f"types:\n  sampling: {self.kept}\n")
            with open(path, "w", encoding="ascii") as file:
                file.write(text + DPDK.format(device=device, port=self.port, checksums=self.checksums))
            self.socket = f"{data}/data/penstock.sock"
            argv = [program("penstockd"), "--config", path, "--set", "sinks.discard=true"]
            with contextlib.ExitStack() as stack:
                child = stack.enter_context(running(argv, on_core(CLIENT_CORE), f"{folder}/log"))
                self.pid = child.pid
                first(self.pid)
                wait_for(f"http://127.0.0.1:{admin}/readyz", child)
                self.find_threads()
                first(self.worker)
                wait_for_spares(f"http://127.0.0.1:{admin}/metrics")
                if self.drained:
                    stack.enter_context(running([program("penstock"), "--socket", self.socket, "drain"], None,
                                                f"{folder}/log"))
                yield self

    def counts(self):
        argv = [program("penstock"), "--socket", self.socket, "--json", "status"]
        return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)["dpdk"]

    def now(self):
        with open(f"/proc/{self.pid}/task/{self.worker}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return self.worker_cpu(), time.monotonic(), int(fields[12]) / TICKS

    def measure(self, seconds):
        before, start = self.counts(), self.now()
        time.sleep(seconds)
        after, end = self.counts(), self.now()
        received = after["received"] - before["received"]
        lost = {why: n - before["dropped"].get(why, 0) for why, n in after["dropped"].items()}
        if received == 0:
            raise BenchError(f"packets: {self.name}: nothing was received")
        if self.port == PORT and not self.drained and sum(lost.values()) > received / 100:
            log(f"packets: {self.name}: of {received} packets were dropped {lost}: the journal was the limit")
        share = share_of_core(start, end)
        return {"seconds": (after["busy_us"] - before["busy_us"]) / 1e6 / received * share, "share": share,
                "system": (end[2] - start[2]) / (end[0] - start[0]),
                "rate": (received - sum(lost.values())) / (end[1] - start[1])}


def hertz():
    """Cycles a second, as the time stamp counter has them."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return float(re.search(r"cpu MHz\s*: ([\d.]+)", file.read()).group(1)) * 1e6


def one_run(subject, folder, device, seconds):
    with subject.start(folder, device_name(folder, device)), fed(folder, device):
        time.sleep(WARM_S)
        return subject.measure(seconds)


def stages(medians):
    """Cycles an event of each stage: what a run costs more than the one that ends before it."""
    cost = {name: hertz() * m["seconds"] for name, m in medians.items()}
    names = [Testpmd.name, *(f"penstock, {stage[0]}" for stage in STAGES if stage[0] != "trusted")]
    found = dict(zip(("receive", "headers", "checksums", "parse", "check", "batch, journal"),
                     [cost[names[0]], *(cost[b] - cost[a] for a, b in zip(names, names[1:]))]))
    system = {name: cost[name] * medians[name]["system"] for name in names[1:]}
    kernel = max(0, system["penstock, all"] - system["penstock, checked"])
    found["batch, journal"] -= kernel
    return {**found, "journal, in the kernel": kernel}


def bench_packets(report):
    runs, seconds = setting("BENCH_RUNS", 5), setting("BENCH_SECONDS", 1)
    if len(os.sched_getaffinity(0)) < 2 or shutil.which("dpdk-testpmd") is None:
        raise BenchError("packets: two cores and dpdk-testpmd (package dpdk-dev) are needed")
    config = (f"1 worker on core {SERVER_CORE}, everything else on core {CLIENT_CORE}, UDP packets of one "
              f"{EVENT_BYTES} byte order each, no huge pages, {seconds} s")
    first(0)
    with workspace() as folder:
        make_pcap(f"{folder}/in.pcap", make_events(f"{folder}/events"))
        for device in DEVICES:
            values = {}
            for run in range(runs):
                subjects = [Testpmd(), *map(Daemon, STAGES)]
                for subject in subjects[run % len(subjects):] + subjects[:run % len(subjects)]:
                    found = one_run(subject, folder, device, seconds)
                    log(f"packets {device} {subject.name} run {run + 1}/{runs}: {1e9 * found['seconds']:.0f} ns, "
                        f"{found['share']:.2f} of a core, {found['rate'] / 1e6:.2f} million/s by the clock")
                    for metric, value in found.items():
                        values.setdefault(subject.name, {}).setdefault(metric, []).append(value)
            medians = {name: {m: statistics.median(v) for m, v in metrics.items()} for name, metrics in values.items()}
            whole = medians["penstock, all"]
            medians["penstock, batched"] = {**whole, "seconds": whole["seconds"] * (1 - whole["system"])}
            report_device(report, device, medians, runs, config)


def report_device(report, device, medians, runs, config):
    base = 1 / medians[Testpmd.name]["seconds"]
    for name, metrics in medians.items():
        value, other = 1 / metrics["seconds"], None if name == Testpmd.name else base
        report.line("packets", device, name, "packets_per_core_s", value, "1/s", runs, Testpmd.name if other else None,
                    other, config)
        report.line("packets", device, name, "cycles_per_packet", hertz() * metrics["seconds"], "cycles", runs,
                    Testpmd.name if other else None, hertz() / base if other else None, config)
        report.line("packets", device, name, "share_of_core", metrics["share"], "cores", runs, None, None, config)
    for name in (Testpmd.name, "penstock, all"):
        beside = None if name == Testpmd.name else Testpmd.name
        report.line("packets", device, name, "packets_per_s", medians[name]["rate"], "1/s", runs, beside,
                    medians[Testpmd.name]["rate"] if beside else None, config)
    for stage, cycles in stages(medians).items():
        report.line("packets", device, stage, "cycles_per_event", cycles, "cycles", runs, None, None, config)
