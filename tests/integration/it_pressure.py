#!/usr/bin/env python3
"""Goal: back-pressure from end to end. With the cloud away the journal fills: HTTP hears 429 with Retry-After,
TCP stops being read, nothing that was acknowledged is lost, not even by kill -9, and when the cloud is back
the same connections go on at once.

Method: a journal of 32 MiB, a cloud that answers 503, clients over HTTP, HTTPS and acked TCP that all send
more than fits. In the end every acknowledged event is in the bucket once; what heard 429 is nowhere.
"""
import collections
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, Reader, equal, expect, free_port, request, run_tests, strip_added, until  # noqa: E402
from tls import Authority, client, connect  # noqa: E402

FILL = b"f" * 1000
SLICE = 200


def event(name, i):
    return b'{"event_type":"t","id":"%s-%d","fill":"%s"}' % (name.encode(), i, FILL)


class Http:
    """One kept connection that sends bodies of 50 events and notes what became of each."""

    def __init__(self, name, connection):
        self.name, self.connection, self.reader, self.n = name, connection, Reader(connection), 0
        self.taken, self.refused = [], []

    def send(self):
        """One body. @return its status."""
        events = [event(self.name, self.n + i) for i in range(50)]
        self.n += 50
        self.connection.sendall(request(b"\n".join(events)))
        answer = self.reader.answer()
        (self.taken if answer.status == 200 else self.refused).extend(events)
        if answer.status == 429:
            equal(answer.json()["error"]["reason"], "journal_full", "reason")
            expect(int(answer.headers["retry-after"]) >= 1, answer.headers)
            expect("connection" not in answer.headers, "429 ends the connection:", answer.headers)
        return answer.status


class Tcp:
    """An acked connection that sends as long as the daemon reads, and notes the count that it hears."""

    def __init__(self, name, port):
        self.name, self.n, self.sent, self.count, self.heard = name, 0, b"", 0, b""
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        self.connection.setblocking(False)

    def send(self):
        """@return whether the daemon took some bytes."""
        if not self.sent:
            self.sent = b"".join(event(self.name, self.n + i) + b"\n" for i in range(SLICE))
            self.n += SLICE
        try:
            done = self.connection.send(self.sent)
            self.sent = self.sent[done:]
            return True
        except BlockingIOError:
            return False

    def hear(self):
        try:
            self.heard += self.connection.recv(1 << 16)
        except BlockingIOError:
            pass
        lines = self.heard.split(b"\n")
        if len(lines) > 1:
            self.count, self.heard = int(lines[-2]), lines[-1]
        return self.count

    def whole(self):
        """Lines that the daemon has bytes of, to their end."""
        return self.n - (self.sent.count(b"\n") if self.sent else 0)


def fill(daemon, https, tcp):
    """Sends until everybody is stopped."""
    full = dict.fromkeys(https, 0)
    while min(full.values()) < 3:
        for one in https:
            status = one.send()
            expect(status in (200, 429, 503), one.name, "heard", status)
            full[one] = full[one] + 1 if status == 429 else 0
        tcp.hear()
        tcp.send()
    until(lambda: (tcp.send(), daemon.status()["tcp"]["waiting"])[1] == 1, 30, "TCP to wait")
    blocked = 0
    while blocked < 20:  # the kernel's buffers take some more
        blocked = 0 if tcp.send() else blocked + 1
        time.sleep(0.01)


def still(daemon, tcp):
    """Nothing is taken any more, and no count moves."""
    tcp.hear()
    before = (daemon.status()["received"], tcp.hear())
    time.sleep(0.3)
    equal((daemon.status()["received"], tcp.hear()), before, "a full journal took something")


def test_pressure():
    with Place() as place:
        cloud = place.cloud()
        authority = Authority(place.file("ca"), "authority")
        certificate, key = authority.sign("server")
        secure, acked = free_port(), free_port()
        daemon = place.daemon(
            cloud, listed=(), journal={"limit": "32MiB", "segment": "8MiB", "spares": 1}, group={"memory": "64MiB",
                                                                                               "bytes_max": "1MiB"},
            tcp={"acked_listen": f"127.0.0.1:{acked}"}, bigquery={"enabled": False},
            https={"listen": f"127.0.0.1:{secure}", "certificate": certificate, "key": key})
        clients, streams = [], []
        for phase in range(2):
            cloud.fault(service="storage", status=503)
            pair = [Http(f"http{phase}", daemon.connect()),
                    Http(f"https{phase}", connect(secure, client(authority)))]
            tcp = Tcp(f"tcp{phase}", acked)
            clients += pair
            streams.append(tcp)
            fill(daemon, pair, tcp)
            still(daemon, tcp)
            expect(daemon.admin("/readyz")[0] == 503 and "full" in daemon.admin("/readyz")[1], "readyz")
            if phase == 1:
                daemon.kill()
                daemon.process = daemon.launch()  # not ready while it is full, but it serves
                until(lambda: daemon.admin_answers("/healthz"), 60, "penstockd to serve")
                pair = [Http("again", daemon.connect())]
                clients += pair
                equal(pair[0].send(), 429, "full after a restart too")
            cloud.clear_faults()
            for one in pair:  # the same connections, without a pause
                until(lambda one=one: one.send() == 200, 30, f"{one.name} to be taken again")
            if phase == 0:
                until(lambda: tcp.send() or tcp.hear() == tcp.whole(), 30, "TCP to be read again")
                until(lambda: not tcp.sent or (tcp.send() and False), 30, "the rest to be sent")
                until(lambda: tcp.hear() == tcp.n, 30, lambda: f"all {tcp.n} lines to be durable: {tcp.hear()}")
        daemon.settle()
        stored = collections.Counter(strip_added(line) for _, line in cloud.lines("output/"))
        expect(max(stored.values()) == 1, "something is stored twice")
        for one in clients:
            equal([e for e in one.taken if e not in stored][:3], [], f"{one.name}: acknowledged and lost")
            equal([e for e in one.refused if e in stored][:3], [], f"{one.name}: refused and stored")
            expect(one.taken and one.refused, one.name, len(one.taken), len(one.refused))
        for tcp in streams:
            lost = [i for i in range(tcp.count) if event(tcp.name, i) not in stored]
            equal(lost[:3], [], f"{tcp.name}: counted as durable and lost, of {tcp.count}")
        daemon.stop()


def main():
    return run_tests([test_pressure])


if __name__ == "__main__":
    sys.exit(main())
