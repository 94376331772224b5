#!/usr/bin/env python3
"""Goal: the HTTP front door answers methods, origins, ambiguous framing and slow clients as mature
servers do, and goes on with the connection wherever that is safe.

Method: raw sockets against one running daemon. After each answer that must leave the connection usable,
an event is sent on the same connection; after each that must not, the end is read. What was refused must
be nowhere: the daemon's count of accepted events is compared at the end.
"""
import email.utils
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, Reader, chunked, equal, expect, request, run_tests, until  # noqa: E402

ORIGIN = "https://shop.example"
EVENT = b'{"event_type":"t","n":1}\n'


class Suite:
    def __init__(self, place):
        self.place = place
        self.cloud = place.cloud()
        self.daemon = place.daemon(self.cloud, http={"cors": {"origins": [ORIGIN, "http://localhost:3000"],
                                                              "max_age": "5m"}, "header_max": "4KiB"})
        self.accepted = 0

    def usable(self, connection, reader):
        """The connection takes an event."""
        connection.sendall(request(EVENT))
        answer = reader.answer()
        equal((answer.status, answer.json()["accepted"]), (200, 1), "an event on the same connection")
        self.accepted += 1


class HeadReader(Reader):
    """Answers without a body, whatever their Content-Length."""

    def head(self):
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), headers


def test_methods(s):
    """HEAD, GET, OPTIONS, 404, 405, 411, 413, 415, 431: status, fields, and whether the connection goes on."""
    with s.daemon.connect() as c:
        reader = HeadReader(c)
        for method, path, status, allow in (
                ("GET", "/v1/events", 405, "OPTIONS, POST"), ("PUT", "/v1/events", 405, "OPTIONS, POST"),
                ("DELETE", "/v1/events/order", 405, "OPTIONS, POST"), ("BREW", "/v1/events", 405, "OPTIONS, POST"),
                ("GET", "/", 404, None), ("POST", "/v2", 404, None), ("GET", "/healthz", 200, None),
                ("POST", "/healthz", 404, None)):
            c.sendall(request(EVENT if method in ("PUT", "POST") else b"", path, method=method))
            answer = reader.answer()
            equal((answer.status, answer.headers.get("allow")), (status, allow), f"{method} {path}")
            expect("connection" not in answer.headers, f"{method} {path}: {answer.headers}")
            sent = email.utils.parsedate_to_datetime(answer.headers["date"])
            expect(abs(sent.timestamp() - time.time()) < 60, answer.headers["date"])
            s.usable(c, reader)
        for path, status in (("/v1/events", 405), ("/", 404), ("/healthz", 200)):
            c.sendall(request(b"", path, method="HEAD", length=False))
            got, headers = reader.head()
            equal(got, status, f"HEAD {path}")
            expect(int(headers["content-length"]) > 0, headers)
            s.usable(c, reader)
        for path in ("/v1/events", "/v1/events/order", "*"):
            c.sendall(request(b"", path, method="OPTIONS", length=False))
            got, headers = reader.head()
            equal((got, headers["allow"]), (204, "OPTIONS, POST"), f"OPTIONS {path}")
            expect("content-length" not in headers and "access-control-allow-origin" not in headers, headers)
            s.usable(c, reader)
        c.sendall(request(EVENT, headers={"Content-Type": "text/xml"}))
        answer = reader.answer()
        equal((answer.status, answer.headers["accept-encoding"]), (415, "gzip, zstd"), "415")
        s.usable(c, reader)
        c.sendall(request(b"", length=False))
        equal(reader.answer().status, 411, "no length")
        expect(reader.closed(), "a body without a length may follow: not closed")
    for status, data in ((405, request(EVENT, method="PUT")[:-5]),
                         (415, request(EVENT, headers={"Content-Type": "a/b"})[:-5]),
                         (413, request(b"", headers={"Content-Length": 1 << 40})),
                         (431, request(EVENT, headers={"X": "x" * 5000}))):
        with s.daemon.connect() as c:
            c.sendall(data)
            reader = Reader(c)
            answer = reader.answer()
            equal((answer.status, answer.headers.get("connection")), (status, "close"), f"{data[:30]}")
            expect(reader.closed(), "what is left of a request is not read: not closed")


def test_old(s):
    """HTTP/1.0: kept when asked for, and said so; closed otherwise."""
    with s.daemon.connect() as c:
        reader = Reader(c)
        for i in range(3):
            c.sendall(request(EVENT, headers={"Connection": "Keep-Alive"}).replace(b"HTTP/1.1", b"HTTP/1.0"))
            answer = reader.answer()
            equal((answer.status, answer.headers.get("connection")), (200, "keep-alive"), "HTTP/1.0, kept")
        c.sendall(request(EVENT, headers={"Host": None}).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = reader.answer()
        equal((answer.status, answer.headers.get("connection")), (200, "close"), "HTTP/1.0")
        expect(reader.closed(), "not closed")
        s.accepted += 4


def test_names(s):
    """Field names in any case, in any order, with any white space around values."""
    with s.daemon.connect() as c:
        reader = Reader(c)
        for head in (b"content-LENGTH:  %d \t\r\nCONTENT-type:application/json\r\nhOsT:x\r\n",
                     b"X-A: \xff\xfe\r\nHost: [::1]:80\r\nX-Empty:\r\nContent-Length:%d\r\n",
                     b"Accept: */*\r\nAccept-Encoding: br\r\nHost: x\r\nCookie: a=b\r\nContent-Length: 0%d\r\n"):
            c.sendall(b"POST /v1/events HTTP/1.1\r\n" + head % len(EVENT) + b"\r\n" + EVENT)
            equal(reader.answer().status, 200, f"{head}")
            s.accepted += 1


def smuggled(framing, rest=b""):
    return b"POST /v1/events HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + rest


SMUGGLING = {
    "length and chunked": smuggled(b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "chunked and length": smuggled(b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"0\r\n\r\n"),
    "two lengths": smuggled(b"Content-Length: 5\r\nContent-Length: 6"),
    "two equal lengths": smuggled(b"Content-Length: 5\r\nContent-Length: 5"),
    "a list of lengths": smuggled(b"Content-Length: 5, 5"),
    "signed length": smuggled(b"Content-Length: +5"),
    "negative length": smuggled(b"Content-Length: -5"),
    "hex length": smuggled(b"Content-Length: 0x5"),
    "huge length": smuggled(b"Content-Length: 99999999999999999999"),
    "empty length": smuggled(b"Content-Length: "),
    "length with a blank": smuggled(b"Content-Length: 1 0"),
    "folded line": smuggled(b"X: a\r\n b: c\r\nContent-Length: 0"),
    "fold after the request line": b"POST /v1/events HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": b"POST /v1/events HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
    "bare LF in a field": smuggled(b"X: a\nContent-Length: 0"),
    "bare CR in a field": smuggled(b"X: a\rContent-Length: 0"),
    "space before the colon": smuggled(b"Content-Length : 0"),
    "tab before the colon": smuggled(b"Transfer-Encoding\t: chunked"),
    "empty name": smuggled(b": a\r\nContent-Length: 0"),
    "NUL": smuggled(b"X: a\0b\r\nContent-Length: 0"),
    "identity": smuggled(b"Transfer-Encoding: identity"),
    "gzip, chunked": smuggled(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "chunked twice": smuggled(b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
    "two codings": smuggled(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"0\r\n\r\n"),
    "xchunked": smuggled(b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
    "quoted chunked": smuggled(b'Transfer-Encoding: "chunked"', b"0\r\n\r\n"),
    "empty coding": smuggled(b"Transfer-Encoding: ", b"0\r\n\r\n"),
    "chunked in HTTP/1.0": smuggled(b"Transfer-Encoding: chunked", b"0\r\n\r\n").replace(b"/1.1", b"/1.0"),
    "no host": b"POST /v1/events HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two hosts": smuggled(b"Host: y\r\nContent-Length: 0"),
    "two origins": smuggled(b"Origin: https://a\r\nOrigin: https://b\r\nContent-Length: 0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"POST /v1/events\r\n\r\n",
    "two spaces": b"POST  /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
CHUNKS = {
    "no digits": b"\r\n", "not hex": b"xyz\r\n", "signed": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\n", "0x": b"0x5\r\nhello\r\n0\r\n\r\n", "bare LF": b"5\nhello\r\n0\r\n\r\n",
    "blank before": b" 5\r\nhello\r\n0\r\n\r\n", "blank behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "too large": b"ffffffffffffffffff\r\n", "body longer": b"3\r\nhello\r\n0\r\n\r\n",
    "body shorter": b"8\r\nhello\r\n0\r\n\r\n", "no CR LF": b"5\r\nhello0\r\n\r\n",
    "long extension": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a=b\nc\r\nhello\r\n0\r\n\r\n", "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "long trailers": b"0\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "length in a trailer with a space": b"0\r\nContent-Length : 5\r\n\r\n",
}


def test_smuggling(s):
    """What two servers could read in two ways is refused, the connection ends, and nothing behind it is taken."""
    cases = dict(SMUGGLING)
    cases.update({f"chunk: {name}": smuggled(b"Transfer-Encoding: chunked", body) for name, body in CHUNKS.items()})
    for name, data in cases.items():
        with s.daemon.connect() as c:
            reader = Reader(c)
            c.sendall(data + request(b'{"event_type":"smuggled"}'))
            answer = reader.answer()
            equal((answer.status, answer.headers.get("connection")), (400, "close"), name)
            expect(reader.closed(), name, "was refused, and the connection goes on")
    with s.daemon.connect() as c:  # the harmless ones of the same kinds
        reader = Reader(c)
        head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n"
        for body in (b"%x;a=b;c=\"d\"\r\n" % len(EVENT) + EVENT + b"\r\n0\r\n\r\n",
                     b"%X ;a\r\n" % len(EVENT) + EVENT + b"\r\n000;x\r\nX-T: y\r\nContent-Length: 7\r\n\r\n",
                     b"00%x\r\n" % len(EVENT) + EVENT + b"\r\n0\r\n\r\n"):
            c.sendall(head + body)
            equal(reader.answer().status, 200, f"{body}")
            s.accepted += 1


def test_origins(s):
    """Preflight, the answer's fields for listed origins, 403 for others, nothing for what is no page."""
    for origin in (ORIGIN, "http://localhost:3000"):
        with s.daemon.connect() as c:
            reader = HeadReader(c)
            c.sendall(request(b"", "/v1/events", {"Origin": origin, "Access-Control-Request-Method": "POST",
                                                  "Access-Control-Request-Headers": "content-type,authorization"},
                              "OPTIONS", length=False))
            status, headers = reader.head()
            equal((status, headers["access-control-allow-origin"], headers["access-control-allow-methods"],
                   headers["access-control-max-age"], headers["vary"]), (204, origin, "POST", "300", "Origin"), origin)
            expect("Authorization" in headers["access-control-allow-headers"], headers)
            for body, status in ((EVENT, 200), (b"", 400)):
                c.sendall(request(body, headers={"Origin": origin}))
                answer = reader.answer()
                equal((answer.status, answer.headers["access-control-allow-origin"], answer.headers["vary"]),
                      (status, origin, "Origin"), "an event of a page")
            s.accepted += 1
    for origin in ("https://evil.example", "https://shop.example.evil", "https://shop.example:8443", "null",
                   "http://shop.example", "x"):
        with s.daemon.connect() as c:
            reader = HeadReader(c)
            c.sendall(request(b"", "/v1/events", {"Origin": origin}, "OPTIONS", length=False))
            status, headers = reader.head()
            expect(status == 204 and "access-control-allow-origin" not in headers, origin, headers)
            c.sendall(request(EVENT, headers={"Origin": origin}))
            answer = reader.answer()
            equal((answer.status, answer.json()["error"]["reason"]), (403, "origin_not_allowed"), origin)
            expect("access-control-allow-origin" not in answer.headers, answer.headers)
            s.usable(c, reader)
    equal(s.daemon.status()["refused"]["origin_not_allowed"], 6, "counted")


def test_nothing_else(s):
    """What was refused above is nowhere."""
    equal(s.daemon.status()["received"], s.accepted, "events")
    s.daemon.settle()
    expect("smuggled" not in s.cloud.tables(), "a smuggled event has arrived")
    s.daemon.clean()
    s.daemon.stop()


def test_late(s):
    """A request that does not arrive in time hears 408; an idle connection ends without a word."""
    daemon = s.place.daemon(s.cloud, name="late", http={"request_timeout": "1s", "idle_timeout": "1s"})
    cases = {"head": request(EVENT)[:20], "body": request(EVENT)[:-3],
             "chunk": request(b"", headers={"Transfer-Encoding": "chunked"}, length=False) + chunked(EVENT, [9])[:-7]}
    held = {name: daemon.connect() for name in cases}
    idle = daemon.connect()
    for name, data in cases.items():
        held[name].sendall(data)
    for name, c in held.items():
        reader = Reader(c)
        answer = reader.answer()
        equal((answer.status, answer.headers.get("connection")), (408, "close"), name)
        expect(reader.closed(), name, "was not closed")
    expect(Reader(idle).closed(), "an idle connection heard something")
    equal(daemon.status()["refused"].get("timeout"), len(cases), "counted")
    half = daemon.connect()  # a client that has ended its side hears its answer
    half.sendall(request(EVENT))
    half.shutdown(socket.SHUT_WR)
    equal(Reader(half).answer().status, 200, "half-open")
    until(lambda: daemon.status()["connections"] == 0, 20, "all connections to be gone")
    daemon.stop()


def test_large_together(s):
    """Sixty clients with 150 KB each that are all to come: there is a buffer for each, and again on the same
    connections, which then receive into larger ones."""
    daemon = s.place.daemon(s.cloud, name="together")
    body = (EVENT[:-2] + b',"text":"' + b"x" * 15000 + b'"}\n') * 10
    clients = [daemon.connect() for _ in range(60)]
    readers = [Reader(c) for c in clients]
    for turn in range(2):
        for c in clients:
            c.sendall(request(body, headers={"Expect": "100-continue"})[:-len(body)])
        equal({reader.answer().status for reader in readers}, {100}, f"buffers in turn {turn}")
        for c in clients:
            c.sendall(body)
        equal({reader.answer().status for reader in readers}, {200}, f"turn {turn}")
    for c in clients:
        c.sendall(request(body))
    equal({reader.answer().status for reader in readers}, {200}, "in one go")
    clients[0].sendall(request(EVENT) * 100)  # a large receive of small requests
    equal({readers[0].answer().status for _ in range(100)}, {200}, "small ones")
    equal(daemon.status()["received"], 3 * 60 * body.count(b"\n") + 100, "all events")
    daemon.stop()


def test_slow(s):
    """Unfinished heads take nothing from anybody; slow bodies lose their buffers when others need them."""
    daemon = s.place.daemon(s.cloud, name="slow", http={"connections_max": 1000},
                            input={"leases_small": 1, "leases_middle": 1, "leases_medium": 1, "leases_large": 1})
    body = EVENT * 800  # 20 KB: more than a connection's own buffer

    def begin():
        """A request whose head has been read; it has a buffer for its body, or is answered."""
        c = daemon.connect()
        c.sendall(request(body, headers={"Expect": "100-continue"})[:-len(body)])
        reader = Reader(c)
        return c, reader, reader.answer().status

    def in_pieces():
        c, reader, status = begin()
        if status == 100:
            c.sendall(body)
            status = reader.answer().status
        c.close()
        return status

    heads = [daemon.connect() for _ in range(300)]
    for i, c in enumerate(heads):
        c.sendall(request(EVENT, headers={"X": "x" * (10 * i)})[:-30 - len(EVENT)])
    until(lambda: daemon.status()["connections"] == 300, 20, "300 connections")
    equal([in_pieces() for _ in range(20)], [200] * 20, "beside 300 unfinished heads")
    slow = [begin() for _ in range(4)]
    equal([status for _, _, status in slow], [100] * 4, "four buffers")
    equal(in_pieces(), 503, "a fifth")
    until(lambda: in_pieces() == 200, 20, "slow bodies to lose their buffers")
    refused = daemon.status()["refused"]
    expect(refused["no_lease"] > 0 and 1 <= refused["slow"] <= 4, refused)
    equal(slow[0][1].answer().status, 408, "a slow body")
    with daemon.connect() as c:
        for byte in request(EVENT):  # slow, but in its own buffer
            c.send(bytes([byte]))
        equal(Reader(c).answer().status, 200, "a byte a packet")
    for c in heads + [c for c, _, _ in slow]:
        c.close()
    daemon.stop()


def test_config(s):
    """Origins that no browser sends are refused at start."""
    daemon = s.place.daemon(s.cloud, name="config", start=False, http={"cors": {"origins": ["https://a/b"]}})
    process = daemon.launch("--check")
    equal(process.wait(20), 2, "exit status")
    expect("http.cors.origins" in process.text() and "without a path" in process.text(), process.text())


def main():
    with Place() as place:
        suite = Suite(place)
        return run_tests([(t.__name__[5:], lambda t=t: t(suite)) for t in (
            test_methods, test_old, test_names, test_smuggling, test_origins, test_nothing_else, test_late,
            test_large_together, test_slow, test_config)])


if __name__ == "__main__":
    sys.exit(main())
