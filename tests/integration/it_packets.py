#!/usr/bin/env python3
"""Goal: events come in by DPDK's ports of every kind that a machine without cards has, each packet is accounted
for, and what is not for us reaches the kernel and gets its answer.

Method: the test moves into a network namespace of its own, with a veth pair whose other end is in a second one:
traffic there comes from the kernel's own UDP, TCP and ICMP. memif is fed by a second DPDK process that counts what
it sends, pcap by a capture file written here byte by byte. At the end of each: received by the port + missed = sent,
received = taken + forwarded + dropped, and the bucket has what was sent.
"""
import collections
import ctypes
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (LISTED, Place, Process, equal, expect, free_port, program, run_tests,  # noqa: E402
                      strip_added, until)

CLONE_NEWNET = 0x40000000
PORT, OTHER_PORT = 8083, 8084
HERE, THERE = "10.77.0.2", "10.77.0.1"
HERE6, THERE6 = "fd77::2", "fd77::1"

CHECKSUMS_BY_SOFTWARE = """
import ctypes, fcntl, socket, struct
value = ctypes.create_string_buffer(struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM: off
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8946, struct.pack("16sP", b"there", ctypes.addressof(value)))
"""


def event(name, i=0, **more):
    return json.dumps({"event_type": "t", "name": name, "i": i, **more}, separators=(",", ":")).encode()


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)


def enter_namespace():
    """A network of our own; ends with the test, and what is made in it too."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        print(f"network namespaces are not permitted: {os.strerror(ctypes.get_errno())}")
        sys.exit(77)
    ip("link", "set", "lo", "up")


class Wire:
    """A veth pair: "here" in this namespace, "there" in another one, where scripts run."""

    def __init__(self, addressed=True):
        self.child = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self.child.pid}/ns/net") != own, 10, "a namespace")
        ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(self.child.pid))
        self.mac = self.link("here")["address"]
        self.other_mac = json.loads(self.there("ip", "-j", "link", "show", "there"))[0]["address"]
        self.script(CHECKSUMS_BY_SOFTWARE)
        for text in (f"addr add {THERE}/24 dev there", f"-6 addr add {THERE6}/64 dev there nodad", "link set there up"):
            self.there("ip", *text.split())
        if addressed:  # nobody answers for us
            for text in (f"neigh add {HERE}", f"-6 neigh add {HERE6}"):
                self.there("ip", *text.split(), "lladdr", self.mac, "dev", "there")
        ip("link", "set", "here", "addrgenmode", "none")
        ip("link", "set", "here", "up")
        until(lambda: self.link("here")["operstate"] == "UP", 10, "the link")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        until(lambda: "here" not in os.listdir("/proc/sys/net/ipv4/conf"), 10, "the veth pair to go")

    def there(self, *argv):
        return subprocess.run(["nsenter", "-t", str(self.child.pid), "-n", *argv], check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE).stdout

    def script(self, text, *argv):
        return self.there(sys.executable, "-c", text, *map(str, argv))

    @staticmethod
    def link(name):
        return json.loads(subprocess.check_output(["ip", "-j", "-s", "link", "show", name]))[0]

    def kernel_sent(self):
        return json.loads(self.there("ip", "-j", "-s", "link", "show", "there"))[0]["stats64"]["tx"]["packets"]

    def begin(self, daemon):
        """From here on packets are counted; the kernel may have sent some before the port was open."""
        def before():
            sent, port = self.kernel_sent(), daemon.status()["dpdk"]["ports"][0]
            return sent - port["received"] - port["missed"] if sent == self.kernel_sent() else None

        def quiet():
            self.before = before()
            return self.before is not None and self.before == before()

        until(quiet, 20, "a quiet wire")

    def sent(self):
        """Packets that the other end has sent, by the kernel's count."""
        return self.kernel_sent() - self.before


SEND = """
import json, socket, sys, time
for line in open(sys.argv[1], "rb"):
    host, port, hex = line.split()
    with socket.socket(socket.AF_INET6 if b":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(bytes.fromhex(hex.decode()), (host.decode(), int(port)))
"""

RAW = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("there", 0))
for line in open(sys.argv[1]):
    s.send(bytes.fromhex(line))
"""


def start(place, cloud, device, exception="off", http=None, workers=1, dpdk=None, listed=(), **sections):
    daemon = place.daemon(cloud, listed=list(listed), start=False, workers=workers, http=http or {}, dpdk={
        "ports": [device], "udp_ports": [PORT, OTHER_PORT], "exception": exception, **(dpdk or {})}, **sections)
    daemon.start()
    return daemon


def accounted(daemon, sent, port_counts=True):
    """Waits until each of sent packets has its place; returns the counters."""
    def settled():
        dpdk = daemon.status()["dpdk"]
        return dpdk if dpdk["waiting"] == 0 and dpdk["received"] + dpdk["missed"] >= sent() else None

    dpdk = until(settled, 20, lambda: f"packets to be seen: {sent()} sent, {daemon.status()['dpdk']}")
    port = dpdk["ports"][0]
    if port_counts:  # memif's counters begin anew when the other side leaves
        equal(dpdk["received"], port["received"], "received by workers")
    equal(dpdk["received"] + port["missed"] + port["no_buffer"], sent(), "received + missed = sent")
    equal(dpdk["taken"] + dpdk["forwarded"] + sum(dpdk["dropped"].values()), dpdk["received"], "the sum")
    return dpdk


def settle(daemon):
    """Nobody acknowledges packets: what is flushed is what was durable before."""
    def durable():
        status = daemon.status()
        return status["durable"] >= status["received"]

    until(durable, 20, "events to be durable")
    daemon.settle()


def delivered(cloud):
    return collections.Counter(strip_added(line) for _, line in cloud.lines("output/"))


# ---- frames, byte by byte ----

def total(data):
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f">{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xffff) + (value >> 16)
    return value


def udp(payload, pseudo, port=PORT, checksum=None, length=None):
    length = len(payload) + 8 if length is None else length
    bare = struct.pack(">HHHH", 1024, port, length, 0) + payload
    value = (0xffff ^ total(pseudo + struct.pack(">HH", 17, len(bare)) + bare)) or 0xffff
    return bare[:6] + struct.pack(">H", value if checksum is None else checksum) + payload


def ipv4(payload, options=b"", fragment=0, protocol=17, good=True, **more):
    addresses = socket.inet_aton(THERE) + socket.inet_aton(HERE)
    body = udp(payload, addresses, **more)
    size = 20 + len(options) + len(body)
    head = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, size, 1, fragment, 64, protocol, 0)
    head += addresses + options
    value = 0xffff ^ total(head) if good else 0x1234
    return head[:10] + struct.pack(">H", value) + head[12:] + body


def ipv6(payload, extensions=b"", first=17, **more):
    addresses = socket.inet_pton(socket.AF_INET6, THERE6) + socket.inet_pton(socket.AF_INET6, HERE6)
    body = extensions + udp(payload, addresses, **more)
    return struct.pack(">IHBB", 6 << 28, len(body), first, 64) + addresses + body


def frame(packet, tags=(), kind=None, macs=b"\2\0\0\0\0\2\2\0\0\0\0\1"):
    kind = kind or (0x86dd if packet[0] >> 4 == 6 else 0x0800)
    return macs + b"".join(struct.pack(">HH", *tag) for tag in tags) + struct.pack(">H", kind) + packet


def all_frames(n):
    """(frame, events, what drops it): n of each kind, every event its own."""
    for i in range(n):
        a, b = event("frame", 2 * i, fill="x" * (i * 37 % 900)), event("frame", 2 * i + 1)
        yield frame(ipv4(a)), [a], None
        yield frame(ipv4(b + b"\n", options=b"\1" * 8)), [b], None
        a, b = event("tagged", 2 * i), event("tagged", 2 * i + 1)
        yield frame(ipv4(a + b"\n" + b), [(0x8100, 7)]), [a, b], None
        a, b = event("double", 2 * i), event("double", 2 * i + 1)
        yield frame(ipv6(a + b"\n" + b + b"\n"), [(0x88a8, 7), (0x8100, 8)]), [a, b], None
        a = event("extended", i)
        yield frame(ipv6(a, b"\x11\0\0\0\0\0\0\0", 60)) + b"\0" * 9, [a], None
        a = event("no checksum", i)
        yield frame(ipv4(a, checksum=0, port=OTHER_PORT)), [a], None
        a = event("pieces", i, fill="y" * 4000)  # more than a packet buffer
        yield frame(ipv4(a)), [a], None
        a = event("lost", i)
        yield frame(ipv4(a, checksum=0x1111)), [], "bad_checksum"
        yield frame(ipv4(a, good=False)), [], "bad_checksum"
        yield frame(ipv6(a, checksum=0)), [], "bad_checksum"
        yield frame(ipv4(a))[:-1 - i % 60], [], "packet_truncated"
        yield frame(ipv6(a))[:20 + i % 30], [], "packet_truncated"
        yield frame(ipv4(a, length=7)), [], "bad_header"
        yield frame(b"\x65" + ipv4(a)[1:], kind=0x0800), [], "bad_header"
        yield frame(ipv4(a, fragment=0x2000)), [], "fragment"
        yield frame(ipv6(a, b"\x11\0\0\1\0\0\0\7", 44)), [], "fragment"
        yield frame(ipv4(a, port=9)), [], "not_ours"
        yield frame(ipv4(a, protocol=6)), [], "not_ours"
        yield frame(b"\0\1\x08\0\6\4\0\1" + b"\0" * 20, kind=0x0806), [], "not_ours"
        yield frame(ipv4(b" \n ")), [], "empty_body"


def write_pcap(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for data in frames:
            file.write(struct.pack("<IIII", 1, 0, len(data), len(data)) + data)


# ---- tests ----

def test_pcap():
    """A capture file with packets of every kind: each is taken, or dropped for what is wrong with it."""
    with Place() as place:
        cloud = place.cloud()
        made = list(all_frames(40))
        random.Random(1).shuffle(made)
        write_pcap(place.file("in.pcap"), [data for data, _, _ in made])
        daemon = start(place, cloud, f"net_pcap0,rx_pcap={place.file('in.pcap')}")
        daemon.steady = lambda: None  # libpcap makes its file buffer when the worker first reads
        dpdk = accounted(daemon, lambda: len(made))
        equal(dpdk["dropped"], dict(collections.Counter(why for _, _, why in made if why)), "drops")
        equal((dpdk["copied"], dpdk["fragments"], dpdk["dropped_lines"]), (40, 80, 0), "copied, fragments, lines")
        settle(daemon)
        expect(delivered(cloud) == collections.Counter(e for _, events, _ in made for e in events), "delivered")
        metrics = daemon.admin("/metrics")[1]
        for line in ('penstock_packets_dropped_total{worker="0",reason="bad_checksum"} 120',
                     f'penstock_nic_received_packets_total{{port="net_pcap0",driver="net_pcap"}} {len(made)}'):
            expect(line in metrics, "metrics lack", line)
        expect(any("NIC net_pcap0" in line and "checksums checked by software" in line
                   for line in daemon.log_lines("packets:")), "the log does not say which port it uses")
        daemon.clean()


def from_kernel(device, workers=1, fragments=("fragment", 15)):
    """Datagrams of the kernel's own UDP, over IPv4 and IPv6; fragments; frames with mistakes."""
    with Place() as place, Wire() as wire:
        cloud = place.cloud()
        daemon = start(place, cloud, device, workers=workers)
        wire.begin(daemon)
        wanted, sends = collections.Counter(), []
        for i in range(600):
            events = [event("kernel", 10 * i + k, fill="k" * (i * 7 % 400)) for k in range(1 + i % 3)]
            wanted.update(events)
            sends.append((HERE6 if i % 2 else HERE, OTHER_PORT if i % 5 == 0 else PORT, b"\n".join(events)))
        sends += [(HERE, PORT, event("fragment", i, fill="f" * 3000)) for i in range(5)]
        sends += [(HERE6, 9, b"not ours")] * 7
        with open(place.file("send"), "w") as file:
            file.writelines(f"{host} {port} {data.hex()}\n" for host, port, data in sends)
        macs = bytes.fromhex((wire.mac + wire.other_mac).replace(":", ""))
        with open(place.file("raw"), "w") as file:
            file.writelines(frame(p, macs=macs).hex() + "\n" for p in (
                [ipv4(event("bad"), checksum=0x1111)] * 11 + [ipv4(event("bad"), length=7)] * 13))
        wire.script(SEND, place.file("send"))
        wire.script(RAW, place.file("raw"))
        dpdk = accounted(daemon, lambda: wire.sent() - (15 - fragments[1]))
        equal(dpdk["taken"], 600, "taken")
        equal({k: v for k, v in dpdk["dropped"].items() if k != "not_ours"},
              {fragments[0]: fragments[1], "bad_checksum": 11, "bad_header": 13}, "drops")
        expect(dpdk["dropped"]["not_ours"] >= 7, "not ours:", dpdk["dropped"])
        settle(daemon)
        expect(delivered(cloud) == wanted, "delivered", sum(delivered(cloud).values()), "of", sum(wanted.values()))
        daemon.clean()


def test_af_packet():
    """net_af_packet: beside the kernel, which puts fragments together, here to more than a frame of its ring holds."""
    from_kernel("net_af_packet0,iface=here", fragments=("packet_truncated", 5))


def test_af_packet_queues():
    """Two workers with a queue each."""
    from_kernel("net_af_packet0,iface=here,qpairs=2", workers=2, fragments=("packet_truncated", 5))


def test_af_xdp():
    """net_af_xdp: in front of the kernel."""
    from_kernel("net_af_xdp0,iface=here")


def stopped(device, lost):
    """The daemon stands still while more is sent than its queue holds: what was lost is counted as missed."""
    with Place() as place, Wire() as wire:
        cloud = place.cloud()
        daemon = start(place, cloud, device)
        wire.begin(daemon)
        with open(place.file("send"), "w") as file:
            file.writelines(f"{HERE} {PORT} {event('late', i).hex()}\n" for i in range(5000))
        daemon.process.signal(signal.SIGSTOP)
        wire.script(SEND, place.file("send"))
        daemon.process.signal(signal.SIGCONT)
        dpdk = accounted(daemon, wire.sent)
        expect((dpdk["missed"] > 0) == lost and dpdk["taken"] + dpdk["missed"] >= 5000, dpdk)
        settle(daemon)
        equal(sum(delivered(cloud).values()), dpdk["taken"], "delivered")


def test_missed_af_packet():
    """A full ring of af_packet."""
    stopped("net_af_packet0,iface=here,framecnt=256", True)


def test_missed_af_xdp():
    """A full ring of af_xdp."""
    stopped("net_af_xdp0,iface=here", True)


EXCEPTION = """
import http.client, json, os, socket, struct, sys
here, here6, http_port, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def ping(family, protocol, request, reply, host):  # the kernel answers, after ARP or neighbour discovery
    s = socket.socket(family, socket.SOCK_RAW, protocol)
    s.settimeout(10)
    body = struct.pack(">HH", os.getpid() & 0xffff, 1) + b"ping"
    head = bytes([request, 0, 0, 0]) + body
    words = sum(struct.unpack(">6H", head))
    words = (words & 0xffff) + (words >> 16)
    head = bytes([request, 0]) + struct.pack(">H", 0xffff ^ words) + body
    s.sendto(head, (host, 0))
    while True:
        data = s.recv(2000)
        data = data[20:] if family == socket.AF_INET else data
        if data[0] == reply and data[4:] == body:
            return

ping(socket.AF_INET, 1, 8, 0, here)
ping(socket.AF_INET6, 58, 128, 129, here6)
c = http.client.HTTPConnection(here, http_port, timeout=20)
for i in range(20):
    body = b"\\n".join(json.dumps({"event_type": "t", "name": "http", "i": 100 * i + k, "fill": "h" * 500}).encode()
                      for k in range(100))
    c.request("POST", "/v1/events", body, {"Content-Type": "application/x-ndjson"})
    answer = json.loads(c.getresponse().read())
    assert answer["accepted"] == 100, answer
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for i in range(500):
        s.sendto(json.dumps({"event_type": "t", "name": "udp", "i": i}).encode(), (here, port))
    s.connect((here, 9))
    s.settimeout(10)
    s.send(b"nobody listens")
    try:
        s.recv(10)
        sys.exit("an answer from port 9")
    except ConnectionRefusedError:
        pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(10)
    s.sendto(b"f" * 5000, (here, 7777))  # fragments: the kernel puts them together
    assert s.recv(9000) == b"5000"
"""


def test_exception():
    """ARP, neighbour discovery, ping, HTTP, fragments and ICMP errors by the exception port, datagrams beside them."""
    with Place() as place, Wire(addressed=False) as wire:
        cloud = place.cloud()
        port = free_port()
        daemon = start(place, cloud, "net_af_xdp0,iface=here", exception="tap", http={"listen": f"0.0.0.0:{port}"})
        ip("addr", "add", f"{HERE}/24", "dev", "penstock0")
        ip("-6", "addr", "add", f"{HERE6}/64", "dev", "penstock0", "nodad")
        wire.begin(daemon)
        equal(Wire.link("penstock0")["address"], wire.mac, "address of the exception port")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
            echo.bind((HERE, 7777))
            child = subprocess.Popen(["nsenter", "-t", str(wire.child.pid), "-n", sys.executable, "-c", EXCEPTION, HERE,
                                      HERE6, str(port), str(PORT)], stdin=subprocess.DEVNULL)
            echo.settimeout(30)
            data, address = echo.recvfrom(9000)
            echo.sendto(str(len(data)).encode(), address)
            equal(child.wait(30), 0, "the other side")
        dpdk = accounted(daemon, wire.sent)
        equal(dpdk["taken"], 500, "taken")
        expect(dpdk["forwarded"] > 100 and dpdk["returned"] > 50 and dpdk["fragments"] == 4, "counters", dpdk)
        equal((dpdk["dropped"], dpdk["send_full"]), ({}, 0), "drops")
        settle(daemon)
        names = collections.Counter(json.loads(line)["name"] for line in delivered(cloud).elements())
        equal(names, {"http": 2000, "udp": 500}, "delivered")
        daemon.clean()


def test_ring():
    """net_ring: what the kernel sends by the exception port comes back through a ring."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud, "net_ring0", exception="tap")
        ip("addr", "add", f"{HERE}/24", "dev", "penstock0")
        ip("neigh", "add", "10.77.0.9", "lladdr", "02:00:00:00:00:09", "dev", "penstock0")
        wanted = collections.Counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for i in range(300):
                data = event("ring", i)
                s.sendto(data, ("10.77.0.9", PORT))
                wanted[data] += 1
        until(lambda: daemon.status()["dpdk"]["taken"] == 300, 20, "datagrams to be taken")
        settle(daemon)
        expect(delivered(cloud) == wanted, "delivered")
        daemon.clean()


class Generator:
    """penstock-packets at the other end of a memif. It keeps its end open until everything is counted: what lies in
    the rings when it goes is lost without a trace."""

    def __init__(self, place, *options, device="net_memif0,role=client,socket={},rsize=10", wrap=()):
        self.path, self.log_path = place.file("memif.sock"), place.file(f"packets{len(place.started)}.log")
        self.process = Process([*wrap, program("penstock-packets"), "--device", device.format(self.path), "--linger",
                                "600000", *map(str, options)], self.log_path)
        place.started.append(self)

    @staticmethod
    def device(path):
        return f"net_memif0,role=server,socket={path},rsize=10"

    def sent(self, seconds=60):
        """What it has sent, as soon as it has."""
        def report():
            lines = [line for line in self.process.text().splitlines() if line.startswith("{")]
            expect(lines or self.process.alive(), "penstock-packets ended:", self.process.text()[-300:])
            return lines
        return json.loads(until(report, seconds, "penstock-packets to send")[-1])

    def end(self):
        self.process.signal(signal.SIGTERM)
        equal(self.process.wait(20), 0, "exit status of penstock-packets")

    def kill(self):
        self.process.kill()


def test_memif():
    """A second DPDK process sends numbered events, two a packet: all are there once. It leaves, another comes."""
    with Place() as place:
        cloud = place.cloud()
        first = Generator(place, "--count", 10000, "--batch", 2, "--size", 100)  # it waits for the other side
        daemon = start(place, cloud, Generator.device(first.path))
        for run, generator in enumerate((first, None)):
            generator = generator or Generator(place, "--count", 10000, "--batch", 2, "--size", 100)
            sent = generator.sent()
            equal((sent["sent"], sent["refused"], sent["events"]), (10000, 0, 20000), "sent")
            dpdk = accounted(daemon, lambda: 10000 * (run + 1), port_counts=run == 0)
            equal((dpdk["taken"], dpdk["dropped"]), (10000 * (run + 1), {}), "taken")
            generator.end()
        equal(daemon.status()["dpdk"]["received"], 20000, "received after both have left")
        settle(daemon)
        numbers = sorted(json.loads(line)["seq"] for line in delivered(cloud).elements())
        expect(numbers == sorted(2 * list(range(20000))), "numbers", len(numbers))
        daemon.clean()


def test_memif_leaves():
    """Senders that close their port in the middle, fifty times, while the worker polls without a pause."""
    with Place() as place:
        cloud = place.cloud()
        path = place.file("memif.sock")
        daemon = start(place, cloud, Generator.device(path), dpdk={"idle_sleep": "0us"})
        generator = Generator(place, "--seconds", 0.01, "--lives", 50, "--udp-port", 9)
        sent = generator.sent()
        generator.end()
        dpdk = daemon.status()["dpdk"]
        expect(0 < dpdk["received"] <= sent["sent"], "received", dpdk["received"], "of", sent["sent"])
        equal(dpdk["dropped"], {"not_ours": dpdk["received"]}, "drops")
        daemon.clean()


def test_memif_file():
    """A memif whose socket is a file: it starts again after kill -9, but not where another one listens."""
    with Place() as place:
        cloud = place.cloud()
        path = place.file("memif.sock")
        daemon = start(place, cloud, Generator.device(path) + ",socket-abstract=no")
        equal(os.stat(path).st_mode & 0o077, 0, "what others may do with the socket")
        other = place.daemon(cloud, name="other", start=False, listed=[],
                             dpdk={"ports": daemon.config["dpdk"]["ports"], "udp_ports": [PORT]})
        other.process = other.launch()
        equal(other.process.wait(30), 1, "exit status of a second daemon")
        daemon.process.kill()
        daemon.start()
        generator = Generator(place, "--count", 1000, device="net_memif0,role=client,socket={},rsize=10,"
                                                             "socket-abstract=no")
        equal(generator.sent()["sent"], 1000, "sent")
        accounted(daemon, lambda: 1000)
        generator.end()


def test_memif_full():
    """With a full journal every packet is still accounted for: sent = taken + dropped, each with its reason."""
    with Place() as place:
        cloud = place.cloud()
        cloud.fault(path_prefix="/upload/", status=503)
        generator = Generator(place, "--count", 45000, "--size", 1200, "--v6")
        daemon = start(place, cloud, Generator.device(generator.path),
                       journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                       block={"bytes": "256KiB", "count": 12, "lane_max": 4}, dpdk={"waiting": 64},
                       http={"body_max": "1MiB", "event_max": "256KiB"})
        sent = generator.sent()
        equal(sent["sent"], 45000, "sent")
        dpdk = accounted(daemon, lambda: 45000)
        generator.end()
        expect(dpdk["dropped"] and set(dpdk["dropped"]) <= {"journal_full", "blocks_busy"}, dpdk)
        equal(dpdk["dropped_lines"], sum(dpdk["dropped"].values()), "lines lost, one a packet")
        equal(daemon.status()["received"], dpdk["taken"], "events")
        cloud.clear_faults()
        settle(daemon)
        equal(sum(delivered(cloud).values()), dpdk["taken"], "delivered")


# ---- gaps in the numbers of penstock-gen's events ----

EVENTS = ("--seed", "7", "--now", "1750000000", "--types", "order=5,inventory=3,user_activity=2")


def made_events(place, count):
    """Events of penstock-gen, which carry their numbers in their ids."""
    path = place.file("events.ndjson")
    subprocess.run([program("penstock-gen"), "--count", str(count), "--out", path, *EVENTS], check=True,
                   stderr=subprocess.DEVNULL)
    return path


def gaps(place, cloud, count):
    """What penstock-gen says about what arrived of its events."""
    with open(place.file("arrived"), "wb") as file:
        file.writelines(line + b"\n" for _, line in cloud.lines("output/"))
    done = subprocess.run([program("penstock-gen"), "--check", "--json", "--count", str(count), *EVENTS, "--arrived",
                           place.file("arrived")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    expect(done.returncode in (0, 1), done.stderr[-300:])
    return json.loads(done.stdout)


def test_gaps():
    """Every hundredth packet is spoiled on its way: the checker names exactly the numbers of the events in it."""
    with Place() as place:
        cloud = place.cloud()
        generator = Generator(place, "--events", made_events(place, 5000), "--once", "--batch", 3, "--corrupt", 100)
        daemon = start(place, cloud, Generator.device(generator.path))
        sent = generator.sent()
        equal((sent["sent"], sent["events"], sent["corrupt"], sent["refused"]), (1667, 5000, 16, 0), "sent")
        dpdk = accounted(daemon, lambda: sent["sent"])
        generator.end()
        equal(dpdk["dropped"], {"bad_checksum": 16}, "drops")
        settle(daemon)
        found = gaps(place, cloud, 5000)
        equal(found["gaps"], [[7, 300 * n + 297, 300 * n + 299] for n in range(16)], "gaps")
        equal((found["missing"], found["arrived"], found["surplus"], found["unknown"]), (48, 4952, 0, 0), "checked")


def test_gaps_everywhere():
    """Packets are lost at every place at once: refused at the sender, missed by a full queue, dropped for a checksum
    and for a full journal. sent = received + missed, received = taken + dropped, and as many events are missing."""
    with Place() as place, Wire() as wire:
        cloud = place.cloud()
        cloud.fault(path_prefix="/upload/", status=503)
        daemon = start(place, cloud, "net_af_packet0,iface=here,framecnt=256", listed=LISTED,
                       journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                       block={"bytes": "256KiB", "count": 12, "lane_max": 4}, dpdk={"waiting": 64},
                       http={"body_max": "1MiB", "event_max": "256KiB"})
        wire.begin(daemon)
        with open(made_events(place, 256000), "rb") as file:
            lines = file.readlines()
        os.mkfifo(place.file("fed"))
        generator = Generator(place, "--events", place.file("fed"), "--once", "--corrupt", 50, "--drop",
                              device="net_af_packet1,iface=there,framecnt=64",
                              wrap=("nsenter", "-t", str(wire.child.pid), "-n"))
        daemon.process.signal(signal.SIGSTOP)
        with open(place.file("fed"), "wb") as feed:
            feed.writelines(lines[:8000])
            feed.flush()
            until(lambda: wire.sent() > 5000, 20, "packets that find nobody")
            daemon.process.signal(signal.SIGCONT)
            count = 8000
            while daemon.status()["dpdk"]["dropped"].get("journal_full", 0) == 0 and count < len(lines):
                feed.writelines(lines[count:count + 8000])
                feed.flush()
                count += 8000
        sent = generator.sent()
        equal(sent["events"] + sent["refused_events"], count, "events offered")
        dpdk = accounted(daemon, wire.sent)
        generator.end()
        reasons = set(dpdk["dropped"]) - {"not_ours"}
        expect(dpdk["missed"] > 0 and reasons >= {"bad_checksum", "journal_full"}, dpdk)
        cloud.clear_faults()
        settle(daemon)
        found = gaps(place, cloud, count)
        equal((found["arrived"], found["surplus"], found["unknown"]), (dpdk["taken"], 0, 0), "arrived")
        others = dpdk["missed"] + sum(dpdk["dropped"].values()) + sent["refused_events"] - found["missing"]
        expect(0 <= others < 100, "missing", found["missing"], "of", dpdk, sent)  # the wire's own packets
        expect(found["gaps_count"] > 20 and found["gaps"][0][1] <= found["gaps"][0][2], found["gaps"])


def test_drain():
    """After `penstock drain` datagrams are drops with a reason; SIGTERM ends a daemon whose ports are busy."""
    with Place() as place:
        cloud = place.cloud()
        write_pcap(place.file("in.pcap"), [frame(ipv4(event("again", i))) for i in range(100)])
        daemon = start(place, cloud, f"net_pcap0,rx_pcap={place.file('in.pcap')},infinite_rx=1",
                       block={"bytes": "64KiB"}, http={"event_max": "64KiB", "body_max": "1MiB"},
                       types={"sampling": 0.01})  # as fast as they come, more than a busy machine delivers soon
        until(lambda: daemon.status()["dpdk"]["taken"] > 100, 20, "packets")
        status, text = daemon.cli("drain")
        expect(status == 0, "drain gave", status, text[:600])
        until(lambda: daemon.status()["dpdk"]["dropped"].get("draining", 0) > 1000, 20, "drops")
        daemon.kill()


def test_mistakes():
    """A port that is none, a name that is taken: the start says which key, and what to do."""
    with Place() as place:
        cloud = place.cloud()
        taken = {"exception": "tap", "exception_interface": "taken"}
        cases = (({"ports": ["net_af_packet0,iface=none"]}, "dpdk.ports", "net_af_packet0,iface=none"),
                 ({"ports": ["0000:00:1f.6"]}, "dpdk.ports", "dpdk-devbind.py"),
                 ({"ports": ["net_ring0"], **taken}, "dpdk.exception", "taken0"),
                 ({"ports": [f"net_memif0,role=client,socket={place.file('none')}"]}, "dpdk.ports", "role=server"),
                 ({"ports": ["eth0"]}, "dpdk.ports", "PCI address"),
                 ({"ports": ["net_ring0", "net_ring0"]}, "dpdk.ports", "different names"),
                 ({"ports": ["net_ring0"], "udp_ports": []}, "dpdk.udp_ports", "at least one"),
                 ({"ports": ["net_ring0"], "udp_ports": ["0"]}, "dpdk.udp_ports", "1 to 65535"))
        ip("link", "add", "taken0", "type", "veth", "peer", "name", "taken1")
        for i, (dpdk, *words) in enumerate(cases):
            daemon = place.daemon(cloud, name=f"bad{i}", start=False, listed=[], dpdk={"udp_ports": [PORT], **dpdk})
            daemon.process = daemon.launch()
            expect(daemon.process.wait(30) in (1, 2), "started with", dpdk)
            expect(all(word in daemon.log() for word in words), "log:", daemon.log()[-400:])
        ip("link", "del", "taken0")


if __name__ == "__main__":
    enter_namespace()
    sys.exit(run_tests([test_pcap, test_af_packet, test_af_packet_queues, test_af_xdp, test_missed_af_packet,
                        test_missed_af_xdp, test_exception, test_ring, test_memif, test_memif_leaves, test_memif_file,
                        test_memif_full, test_gaps, test_gaps_everywhere, test_drain, test_mistakes]))
