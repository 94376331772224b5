#!/usr/bin/env python3
"""Goal: NDJSON over TCP arrives line by line, whatever its pieces; a client of the acked listener hears a
count that is never ahead of what is durable; nothing that was read is lost for want of room.

Method: raw sockets against a running daemon; what was sent is compared, byte for byte, with objects and dead
letters, and with the counters: sent = accepted + dead-lettered + counted drops. Then a full journal, kill -9,
resets, draining.
"""
import collections
import json
import os
import select
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Place, dead_letters, equal, expect, free_port, request, run_tests,  # noqa: E402
                      strip_added, until)

RESET = struct.pack("ii", 1, 0)


def event(name, i=0, **more):
    return json.dumps({"event_type": "t", "name": name, "i": i, **more}, separators=(",", ":")).encode()


def start(place, cloud, name="daemon", **sections):
    """A daemon with both TCP listeners."""
    plain, acked = free_port(), free_port()
    tcp = {"listen": f"127.0.0.1:{plain}", "acked_listen": f"127.0.0.1:{acked}", **sections.pop("tcp", {})}
    daemon = place.daemon(cloud, name=name, tcp=tcp, listed=[], **sections)
    daemon.plain, daemon.acked = plain, acked
    return daemon


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), timeout=60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Acked:
    """A client of the acked listener."""

    def __init__(self, daemon):
        self.socket, self.data, self.count, self.answers = connect(daemon.acked), b"", 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self):
        """One receive. @return False at the end."""
        got = self.socket.recv(65536)
        self.data += got
        while b"\n" in self.data:
            line, self.data = self.data.split(b"\n", 1)
            expect(line.isdigit() and int(line) > self.count, "count", line, "after", self.count)
            self.count = int(line)
            self.answers += 1
        return got != b""

    def wait(self, count):
        while self.count < count:
            expect(self.read(), f"closed at {self.count} of {count}")
        equal(self.count, count, "lines confirmed")

    def finish(self):
        """Our end, then everything up to the other side's."""
        self.socket.shutdown(socket.SHUT_WR)
        while self.read():
            pass
        return self.count


class Suite:
    """The shared daemon and what must have been delivered."""

    def __init__(self, place):
        self.place, self.cloud = place, place.cloud()
        self.daemon = start(place, self.cloud, http={"event_max": "256KiB"},
                            tcp={"connections_max": 400, "line_timeout": "2s"})
        self.delivered, self.dead = collections.Counter(), collections.Counter()

    def refused(self, reason):
        return self.daemon.status()["refused"].get(reason, 0)

    def counted(self, reason, before, by=1):
        until(lambda: self.refused(reason) >= before + by, 20, f"{reason} to be counted")
        equal(self.refused(reason), before + by, f"counter of {reason}")


def send_pieces(s, data, size):
    for at in range(0, len(data), size):
        s.sendall(data[at:at + size])


def test_pieces(s):
    """Lines in pieces of 1, 7, 1000 bytes and at once; CRLF, spaces, empty lines, no newline at the end."""
    for n, size in enumerate((1, 7, 1000, 1 << 20)):
        events = [event(f"pieces{n}", i, fill="x" * (i * 37 % 5000)) for i in range(6 if size == 1 else 300)]
        data = b"\r\n".join(events[:-1]) + b"\n\n  \n\r\n \t" + events[-1]
        with connect(s.daemon.plain) as c:
            send_pieces(c, data, size)
        s.delivered.update(events)


def test_dead(s):
    """What is no event becomes a dead letter in its place: nothing but lines is recognised."""
    good = [event("dead", i) for i in range(3)]
    bad = [b'[{"event_type":"t"}]', b"{", b"}", b"null", b'{"event_type":"t","x":"\xff"}', b'{"a":1}', b"\0"]
    lines = [good[0], *bad[:4], good[1], *bad[4:], good[2]]
    with Acked(s.daemon) as c:
        c.socket.sendall(b"\n".join(lines) + b"\n\n")
        c.wait(len(lines) + 1)
    s.delivered.update(good)
    s.dead.update(bad)


def test_acked(s):
    """Counts rise to the number of lines, empty ones and a last one without newline included."""
    with Acked(s.daemon) as c:
        for i in range(50):
            c.socket.sendall(event("ack single", i) + b"\n")
            c.wait(i + 1)
        many = [event("ack many", i) for i in range(20000)]
        sender = threading.Thread(target=c.socket.sendall, args=(b"\n".join(many) + b"\n\n\n" + many[0],))
        sender.start()
        c.wait(50 + 20000 + 2)
        sender.join()
        equal(c.finish(), 50 + 20000 + 3, "the last line has no newline")
    s.delivered.update(event("ack single", i) for i in range(50))
    s.delivered.update(many)
    s.delivered[many[0]] += 1


def test_slow_reader(s):
    """A client that reads no counts until the end is not held up, and neither is anybody else."""
    events = [event("slow reader", i) for i in range(30000)]
    with Acked(s.daemon) as c:
        for at in range(0, len(events), 100):
            c.socket.sendall(b"\n".join(events[at:at + 100]) + b"\n")
        equal(c.finish(), len(events), "lines confirmed")
    s.delivered.update(events)


def test_long_lines(s):
    """Lines of up to the largest event pass; of a longer one the head is kept, and the stream goes on."""
    size = 256 << 10
    exact = event("exact", fill="x" * (size - len(event("exact", fill=""))))
    over = event("over", fill="y" * size)
    huge = event("huge", fill="z" * (40 << 20))
    last = event("after huge")
    before = s.daemon.status()["dead_letters"].get("oversize", 0)
    with Acked(s.daemon) as c:
        c.socket.sendall(exact + b"\r\n" + over + b"\n" + exact + b"\n")
        c.wait(3)
        sender = threading.Thread(target=c.socket.sendall, args=(huge + b"\n" + last + b"\n" + huge,))
        sender.start()
        c.wait(5)
        sender.join()
        equal(c.finish(), 6, "lines")
    equal(s.daemon.status()["dead_letters"]["oversize"] - before, 3, "oversize")
    s.delivered.update([exact, exact, last])
    kept = size + 64
    s.dead.update([over[:kept], huge[:kept], huge[:kept]])


def test_many(s):
    """300 connections at once, each with long lines in pieces between the others': more than there are leases."""
    clients = [Acked(s.daemon) for _ in range(300)]
    lines = [event("many", i, fill="m" * (i * 211 % 30000)) + b"\n" for i in range(300)]
    for part in range(5):
        for i, c in enumerate(clients):
            size = len(lines[i]) // 5 + 1
            c.socket.sendall(lines[i][part * size:(part + 1) * size])
    for c in clients:
        c.wait(1)
        c.socket.close()
    s.delivered.update(line[:-1] for line in lines)


def test_reset(s):
    """A reset drops the unfinished line only, counted; it was never confirmed."""
    before = s.refused("truncated")
    whole, part = event("reset whole"), event("reset part", fill="p" * 20000)
    for cut in (10, 15000):
        with Acked(s.daemon) as c:
            c.socket.sendall(whole + b"\n" + part[:cut])
            c.wait(1)
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        s.delivered[whole] += 1
    s.counted("truncated", before, 2)


def test_line_timeout(s):
    """An unfinished line ends its connection in time, counted; what was whole is confirmed before."""
    before = s.refused("timeout")
    whole = event("timeout whole")
    with Acked(s.daemon) as c:
        c.socket.sendall(whole + b"\n{")
        while c.read():
            pass
        equal(c.count, 1, "confirmed")
        for piece in (b" ", b" ", b" }\n", b"{"):  # the rest of that line, and another one
            c.socket.sendall(piece)
    s.delivered[whole] += 1
    s.counted("timeout", before, 2)


def test_idle_timeout(s):
    """Set live: a connection on which nothing comes is closed, and nothing is counted as lost."""
    before = s.refused("timeout")
    with connect(s.daemon.plain) as c:
        equal(s.daemon.cli("set", "tcp.idle_timeout", "1s")[0], 0, "exit status of set")
        equal(c.recv(1), b"", "the end")
    equal(s.daemon.cli("set", "tcp.idle_timeout", "0")[0], 0, "exit status of set")
    equal(s.refused("timeout"), before, "counted")


def test_connections(s):
    """One connection too many is closed at once and counted."""
    before = s.refused("connections")
    until(lambda: s.daemon.status()["tcp"]["connections"] == 0, 20, "earlier connections to be gone")
    held = [connect(s.daemon.plain) for _ in range(400)]
    with connect(s.daemon.acked) as c:
        equal(c.recv(1), b"", "the connection too many")
    s.counted("connections", before)
    for c in held:
        c.close()
    until(lambda: s.daemon.status()["tcp"]["connections"] == 0, 20, "connections to be gone")


def test_all(s):
    """Everything is delivered as sent, once; sent = accepted + dead letters."""
    s.daemon.settle()
    status = s.daemon.status()
    equal(status["received"], sum(s.delivered.values()) + sum(s.dead.values()), "received")
    found = collections.Counter(strip_added(line) for _, line in s.cloud.lines("output/"))
    expect(found == s.delivered, "delivered:", list((found - s.delivered).items())[:3],
           "missing:", list((s.delivered - found).items())[:3])
    letters = [letter for _, letter in dead_letters(s.cloud)]
    got = collections.Counter(letter["bytes"] for letter in letters)
    expect(got == s.dead, "dead letters:", [x[:80] for x in got - s.dead], [x[:80] for x in s.dead - got])
    expect(all(letter["source"].startswith("tcp 127.0.0.1:") for letter in letters), "sources")
    s.daemon.clean()


def blocked(c, data):
    """Sends until the kernel takes no more for a second. @return bytes sent."""
    sent = 0
    while sent < len(data) and select.select([], [c], [], 1)[1]:
        sent += c.send(data[sent:sent + 65536])
    return sent


def test_full_journal(s):
    """With a full journal both kinds stand still, however long; then everything arrives, once."""
    with Place() as place:
        cloud = place.cloud()
        cloud.fault(path_prefix="/upload/", status=503)
        daemon = start(place, cloud, journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                       block={"bytes": "256KiB", "count": 12, "lane_max": 4}, http={"body_max": "1MiB",
                       "event_max": "256KiB"}, tcp={"receive_buffers": 8})
        events = [event("full", i, fill="f" * 900) for i in range(100000)]
        half = len(events) // 2
        first, second = (b"".join(e + b"\n" for e in part) for part in (events[:half], events[half:]))
        plain, client = connect(daemon.plain), Acked(daemon)
        sent = blocked(plain, first), blocked(client.socket, second)
        expect(sent[0] < len(first) and sent[1] < len(second), "never blocked:", sent)
        equal(daemon.post(event("refused")).status, 429, "HTTP meanwhile")
        until(lambda: daemon.status()["tcp"]["waiting"] == 2, 20, "both to wait")
        cloud.clear_faults()
        threads = [threading.Thread(target=plain.sendall, args=(first[sent[0]:],)),
                   threading.Thread(target=client.socket.sendall, args=(second[sent[1]:],))]
        for thread in threads:
            thread.start()
        client.wait(len(events) - half)
        for thread in threads:
            thread.join()
        plain.close()
        until(lambda: daemon.status()["received"] == len(events), 60, "all to be taken")
        daemon.settle()
        found = collections.Counter(strip_added(line) for _, line in cloud.lines("output/"))
        expect(found == collections.Counter(events), "delivered", sum(found.values()), "of", len(events))


def test_kill(s):
    """kill -9 while clients send: what was confirmed is delivered, and resuming behind it loses nothing."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        events = [event("kill", i) for i in range(200000)]
        begin = 0
        for round_ in range(3):
            client = Acked(daemon)
            data = b"".join(e + b"\n" for e in events[begin:])

            def send():
                try:
                    client.socket.sendall(data)
                except OSError:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            try:
                while client.count < (len(events) - begin) * (1 if round_ == 2 else 0.2) and client.read():
                    pass
                if round_ < 2:
                    daemon.kill()
                    while client.read():
                        pass
            except ConnectionResetError:
                pass
            sender.join()
            client.socket.close()
            begin += client.count
            if round_ < 2:
                daemon.start()
        equal(begin, len(events), "lines confirmed in all")
        daemon.settle()
        found = collections.Counter(strip_added(line) for _, line in cloud.lines("output/"))
        missing = [e for e in events if found[e] == 0]
        expect(not missing, len(missing), "confirmed lines are missing, such as", missing[:3])
        expect(set(found) == set(events), "something else was delivered")


def test_drain(s):
    """SIGTERM while a client sends: the last count is exactly what is delivered, and the client sees the end."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        client = Acked(daemon)
        stop = threading.Event()

        def send():
            i = 0
            try:
                while not stop.is_set():
                    client.socket.sendall(b"".join(event("drain", i + j) + b"\n" for j in range(100)))
                    i += 100
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        while client.count < 5000:
            client.read()
        daemon.process.signal(15)
        try:
            while client.read():
                pass
        finally:
            stop.set()
        client.socket.close()
        sender.join()
        equal(daemon.process.wait(60), 0, "exit status")
        daemon.start()
        daemon.settle()
        found = {strip_added(line) for _, line in cloud.lines("output/")}
        equal(len(found), client.count, "events delivered, and lines confirmed")
        equal(found, {event("drain", i) for i in range(client.count)}, "which")


def main():
    with Place() as place:
        suite = Suite(place)
        tests = [test_pieces, test_dead, test_acked, test_slow_reader, test_long_lines, test_many, test_reset,
                 test_line_timeout, test_idle_timeout, test_connections, test_all, test_full_journal, test_kill,
                 test_drain]
        return run_tests([(t.__name__.removeprefix("test_"), lambda t=t: t(suite)) for t in tests])


if __name__ == "__main__":
    sys.exit(main())
