#!/usr/bin/env python3
"""Goal: the HTTP input takes what HTTP/1.1 clients send, whole or not at all, and says exactly what
it did.

Method: raw sockets against a running daemon, in odd pieces and broken off at odd places. What was
acknowledged is
then read back from the bucket and the tables by id; what was refused must be nowhere, and be
counted. One daemon
serves most tests: each uses event ids of its own.
"""
import collections
import json
import os
import socket
import struct
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Place, Reader, chunked, dead_letters, equal, expect, request,  # noqa: E402
                      run_tests, strip_added, until)

DEEP = b'{"event_type":"t","n":' + b"[" * 2000 + b"]" * 2000 + b"}"
ORDER = {"event_type": "order", "order_id": "o", "customer_id": "c", "order_date": "2026-01-02T03:04:05Z",
         "status": "pending", "items": [], "total_amount": 1.5,
         "shipping_address": {"street": "s", "city": "c", "country": "k"}}


def event(name, i=0, **more):
    return json.dumps({"event_type": "t", "name": name, "i": i, **more}, separators=(",", ":")).encode()


class Suite:
    """The shared daemon, what must have been delivered, and what must not."""

    def __init__(self, place):
        self.cloud = place.cloud()
        self.daemon = place.daemon(self.cloud, types={"time_field": "time"})
        self.delivered = collections.Counter()
        self.never = set()

    def accept(self, answer, events, dead=0):
        equal(answer.status, 200, f"answer {answer.body[:300]}")
        got = answer.json()
        equal((got["accepted"], got["dead_lettered"]), (len(events), dead), "answer")
        self.delivered.update(events)
        return got

    def refuse(self, answer, status, reason, events=()):
        equal(answer.status, status, f"answer {answer.body[:300]}")
        equal(answer.headers["content-type"], "application/json", "content type")
        error = answer.json()["error"]
        equal((error["code"], error["reason"]), (status, reason), "error")
        expect(error["message"], "no message")
        self.never.update(events)

    def refused(self, reason):
        return self.daemon.status()["refused"].get(reason, 0)

    def counted(self, reason, before, by=1):
        until(lambda: self.refused(reason) >= before + by, 20, f"{reason} to be counted")
        equal(self.refused(reason), before + by, f"counter of {reason}")


def test_bodies(s):
    """NDJSON, array, one object over several lines; empty lines, CRLF, no line break at the end."""
    a, b, c = (event("bodies", i) for i in range(3))
    s.accept(s.daemon.post(a + b"\n" + b + b"\n"), [a, b])
    s.accept(s.daemon.post(c), [c])
    a, b, c = (event("crlf", i) for i in range(3))
    s.accept(s.daemon.post(b"\r\n\n" + a + b"\r\n\r\n\n  \n" + b + b"\n \t " + c + b"  \r\n\n"), [a, b, c])
    a, b = (event("array", i) for i in range(2))
    s.accept(s.daemon.post(b" [\n" + a + b" ,\r\n\t" + b + b"\n] \n"), [a, b])
    s.accept(s.daemon.post(b"[]"), [])
    pretty = json.dumps({"event_type": "t", "name": "pretty", "list": [1, {"a": "b"}]}, indent=2)
    s.accept(s.daemon.post(pretty.encode() + b"\n"), [pretty.replace("\n", " ").encode()])


def test_chunked(s):
    """Chunks of every size, one byte at a time, with extension-free trailers."""
    for n, sizes in enumerate(([1], [3, 1, 7], [100000], [2, 4096])):
        events = [event(f"chunked{n}", i) for i in range(20)]
        body = b"\n".join(events) + b"\n"
        head = request(b"", headers={"Transfer-Encoding": "chunked"}, length=False)
        with s.daemon.connect() as c:
            data = head + chunked(body, sizes, b"X-Sum: 1\r\n" if n == 1 else b"")
            if n == 0:
                for i in range(len(data)):
                    c.send(data[i:i + 1])
            else:
                c.sendall(data)
            s.accept(Reader(c).answer(), events)


def test_pieces(s):
    """Head and body in packets of one byte, and cut at every place of a small request."""
    one = event("pieces")
    with s.daemon.connect() as c:
        for byte in request(one):
            c.send(bytes([byte]))
        s.accept(Reader(c).answer(), [one])
        reader = Reader(c)
        length = len(request(event("cut", 100)))
        for at in range(1, length):
            one = event("cut", at + 100)
            data = request(one)
            c.sendall(data[:at])
            c.sendall(data[at:])
            s.accept(reader.answer(), [one])


def test_pipelining(s):
    """Many requests in one packet on a kept connection, of both framings, answered in order."""
    with s.daemon.connect() as c:
        reader, sent, data = Reader(c), [], b""
        for i in range(200):
            events = [event("pipeline", i * 10 + j) for j in range(i % 4 + 1)]
            body = b"\n".join(events)
            data += request(body) if i % 3 else \
                request(b"", headers={"Transfer-Encoding": "chunked"}, length=False) + chunked(body, [50])
            sent.append(events)
        c.sendall(data)
        for events in sent:
            s.accept(reader.answer(), events)
        one = event("keep-alive close")
        c.sendall(request(one, headers={"Connection": "close"}))
        s.accept(reader.answer(), [one])
        expect(reader.closed(), "not closed after Connection: close")


def test_continue(s):
    """Expect: 100-continue is answered before the body is sent; a refusal comes instead."""
    one = event("continue")
    data = request(one, headers={"Expect": "100-continue"})
    with s.daemon.connect() as c:
        reader = Reader(c)
        c.sendall(data[:-len(one)])
        equal(reader.answer().status, 100, "interim answer")
        c.sendall(one)
        s.accept(reader.answer(), [one])
    with s.daemon.connect() as c:
        c.sendall(request(b"", headers={"Expect": "100-continue", "Content-Length": 1 << 40}))
        s.refuse(Reader(c).answer(), 413, "body_too_big")


def test_sizes(s):
    """Bodies of 64 KiB, 1 MiB and 15 MiB, whole and chunked."""
    for size in (64 << 10, 1 << 20, 15 << 20):
        for framing in ("length", "chunked"):
            fill = "x" * (900 if size < 1 << 20 else 50000)
            n = size // (len(fill) + 60)
            events = [event(f"size {size} {framing}", i, fill=fill) for i in range(n)]
            body = b"\n".join(events)
            with s.daemon.connect() as c:
                if framing == "length":
                    c.sendall(request(body))
                else:
                    c.sendall(request(b"", headers={"Transfer-Encoding": "chunked"}, length=False)
                              + chunked(body, [65536, 1000]))
                s.accept(Reader(c).answer(), events)


def test_whole_or_nothing(s):
    """Truncation, reset, malformed arrays: nothing is stored, and it is counted."""
    events = [event("nothing", i) for i in range(3)]
    s.never.update(events)
    body = b"\n".join(events) + b"\n"
    for how in ("close", "reset", "chunked"):
        before = s.refused("truncated")
        with s.daemon.connect() as c:
            if how == "chunked":
                c.sendall(request(b"", headers={"Transfer-Encoding": "chunked"}, length=False)
                          + chunked(body, [10])[:-5])
            else:
                c.sendall(request(body, headers={"Content-Length": len(body) + 1}))
            if how == "reset":
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.counted("truncated", before)
    a = events[0]
    arrays = [b"[" + a, b"[" + a + b",]", b"[" + a + b" " + a + b"]", b"[" + a + b"]x", b"[" + a + b",{]",
              b"[" + a + b",\xff]", b"[", b"[" + a + b"]\n" + a]
    before = s.refused("bad_array")
    for body in arrays:
        s.refuse(s.daemon.post(body), 400, "bad_array")
    s.counted("bad_array", before, len(arrays))


def test_errors(s):
    """Every refusal has its status, a JSON body and its reason, and is counted."""
    one = event("refused")
    cases = [
        (404, "not_found", request(one, "/v1/event")),
        (404, "not_found", request(one, "/v1/events/a/b")),
        (404, "not_found", request(one, "/")),
        (405, "method_not_allowed", request(one, method="PUT")),
        (405, "method_not_allowed", request(b"", method="GET", length=False)),
        (411, "length_required", request(b"", length=False)),
        (413, "body_too_big", request(b"", headers={"Content-Length": (16 << 20) + 1})),
        (415, "unsupported_media_type", request(one, headers={"Content-Type": "text/xml"})),
        (415, "unsupported_media_type", request(one, headers={"Content-Encoding": "br"})),
        (431, "header_too_big", request(one, headers={"X-Long": "x" * 20000})),
        (400, "bad_request", b"nonsense\r\n\r\n"),
        (400, "bad_request", request(one, headers={"Content-Length": "12x"})),
        (400, "bad_request", request(one, headers={"Transfer-Encoding": "chunked"})),  # both framings
        (400, "bad_request", request(b"", headers={"Transfer-Encoding": "chunked"}, length=False) + b"zz\r\n"),
        (400, "empty_body", request(b"")),
        (400, "empty_body", request(b" \n\r\n ")),
        (400, "bad_path_type", request(one, "/v1/events/")),
        (400, "bad_path_type", request(one, "/v1/events/" + "a" * 129)),
        (400, "bad_path_type", request(one, "/v1/events/%ff")),
    ]
    s.never.add(one)
    for status, reason, data in cases:
        before = s.refused(reason)
        with s.daemon.connect() as c:
            c.sendall(data)
            s.refuse(Reader(c).answer(), status, reason)
        s.counted(reason, before)
    with s.daemon.connect() as c:
        c.sendall(request(one, method="PUT"))
        equal(Reader(c).answer().headers.get("allow"), "OPTIONS, POST", "Allow")


def order(**changes):
    made = {k: v for k, v in {**ORDER, **changes}.items() if v is not None}
    return json.dumps(made, separators=(",", ":")).encode()


def test_dead_letters(s):
    """Every reason, with its position, its source and the original bytes."""
    bad = [
        ("bad_json", b'{"event_type":"t",}'),
        ("bad_json", b"word"),
        ("bad_json", b'{"event_type":"t"} {}'),
        ("bad_json", b'{"event_type":"t","ctrl":"\x01\x02"}'),
        ("bad_utf8", b'{"event_type":"t","name":"\xff\xfe"}'),
        ("too_deep", DEEP),
        ("not_object", b"[1,2]"),
        ("not_object", b'"text"'),
        ("not_object", b"17"),
        ("oversize", event("oversize", fill="\u00e4\"\\" * 400000)),
        ("missing_type", b'{"name":"no type"}'),
        ("bad_type", b'{"event_type":5}'),
        ("bad_type", b'{"event_type":""}'),
        ("bad_type", b'{"event_type":"' + b"x" * 129 + b'"}'),
        ("missing_field", order(status=None)),
        ("wrong_type", order(items="none")),
        ("bad_value", order(order_date="2026-02-30T00:00:00Z")),
        ("duplicate_key", order()[:-1] + b',"status":"shipped"}'),
        ("null_element", order(items=[None])),
    ]
    good = [event("between the dead", i) for i in range(len(bad))]
    body = b"\n".join(x for i, (_, raw) in enumerate(bad) for x in (good[i], raw)) + b"\n"
    with s.daemon.connect() as c:
        source = "http 127.0.0.1:%d" % c.getsockname()[1]
        c.sendall(request(body))
        got = s.accept(Reader(c).answer(), good, len(bad))
    equal([(e["index"], e["reason"]) for e in got["errors"]],
          [(2 * i + 1, reason) for i, (reason, _) in enumerate(bad)], "errors")
    s.daemon.flush()
    found = {d["position"]: (name, d) for name, d in dead_letters(s.cloud) if d["source"] == source}
    equal(sorted(found), [2 * i + 1 for i in range(len(bad))], "positions")
    for i, (reason, raw) in enumerate(bad):
        name, letter = found[2 * i + 1]
        equal(letter["reason"], reason, f"reason of {raw[:60]}")
        equal(letter["bytes"], raw, f"bytes of {reason}")
        expect(letter["error_offset"] <= len(raw), letter["error_offset"])
        kind = "order" if b'"order"' in raw and b"order_id" in raw else "_x_unknown"
        expect(name.startswith(f"dead_letter/{kind}/2"), name)
    expect(found[19][1]["parts"] > 1, "the oversize event is in one part")
    status = s.daemon.status()["dead_letters"]
    equal(status, dict(collections.Counter(r for r, _ in bad)), "status")


def test_path_types(s):
    """The type in the URL, percent-encoded, decides paths and tables; the event's own is kept as data."""
    names = {"order.created": "order_x2Ecreated", "a/b": "a_x2Fb", "na\u00efve \u2603":
             "na_xC3_xAFve_x20_xE2_x98_x83", "x_x": "x_x5Fx", "A-b_c": "A-b_c", "9": "9", "a b": "a_x20b"}
    for kind, escaped in names.items():
        one = json.dumps({"event_type": "other", "kind": kind, "time": "2026-03-04T05:06:07Z"}).encode()
        s.accept(s.daemon.post(one, "/v1/events/" + urllib.parse.quote(kind, safe="")), [one])
        s.daemon.flush()
        found = s.cloud.lines(f"output/{escaped}/2026/03/04/05/06/")
        equal([strip_added(line) for _, line in found], [one], f"object of {kind}")
        expect(f"/{escaped}_202603040506_test_" in found[0][0] or "_late_" in found[0][0], found[0][0])
    tables = s.cloud.tables()
    for kind, escaped in names.items():
        table = escaped if escaped in tables else escaped.replace("-", "_x2D")
        rows = s.cloud.rows(table)
        equal([json.loads(row["event"])["kind"] for row in rows], [kind], f"rows of {kind}")


def test_all_there(s):
    """At the end: everything acknowledged by the tests above is in both sinks once, and nothing else."""
    s.daemon.settle()
    objects = collections.Counter(strip_added(line) for _, line in s.cloud.lines("output/"))
    equal(objects - s.delivered, collections.Counter(), "in the bucket, but never acknowledged")
    equal(s.delivered - objects, collections.Counter(), "acknowledged, but not in the bucket")
    rows = sum(len(s.cloud.rows(table)) for table in s.cloud.tables())
    equal(rows, sum(s.delivered.values()), "rows")
    for one in s.never:
        expect(one not in objects, one, "was refused, but is there")
    equal(collections.Counter(row["event"] for row in s.cloud.rows("t")).total(),
          len([e for e in s.delivered.elements() if b'"event_type":"t"' in e or b'"event_type": "t"' in e]),
          "rows of t")
    s.daemon.clean()
    s.daemon.stop()


def test_limits():
    """Connections past the limit are closed; slow clients time out while others go on."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, types={"unlisted": "dead_letter", "max": 4},
                              http={"connections_max": 8, "request_timeout": "1s", "idle_timeout": "2s"})
        held = [daemon.connect() for _ in range(8)]
        until(lambda: daemon.status()["connections"] == 8, 20, "8 connections")
        with daemon.connect() as c:
            expect(Reader(c).closed(), "the ninth connection was kept")
        until(lambda: daemon.status()["refused"].get("connections", 0) >= 1, 20, "the count")
        held[0].sendall(request(b"x" * 100)[:-50])  # slow: never finished
        reader = Reader(held[1])
        for i in range(50):
            held[1].sendall(request(order(order_id=f"o{i}")))
            equal(reader.answer().status, 200, "another client's answer")
        expect(Reader(held[0]).closed() or True, "")
        until(lambda: daemon.status()["refused"].get("timeout", 0) == 1, 20, "the timeout's count")
        until(lambda: daemon.status()["connections"] == 0, 20, "idle connections to be closed")
        for c in held:
            c.close()
        answer = daemon.post_ok(b'{"event_type":"unlisted"}\n')
        equal(answer["errors"], [{"index": 0, "reason": "unlisted_type"}], "errors")
        daemon.settle()
        equal(len(cloud.rows("orders")), 50, "rows")
        daemon.stop()


def test_type_limit():
    """Types past types.max, and unknown fields where the schema's entry refuses them, are dead letters."""
    from penstock import LISTED
    with Place() as place:
        cloud = place.cloud()
        listed = [{**LISTED[0], "unknown_fields": "dead_letter"}]
        daemon = place.daemon(cloud, listed=listed, types={"max": 3})
        body = b"\n".join([order(new=1)] + [b'{"event_type":"k%d"}' % i for i in range(4)])
        answer = daemon.post_ok(body)
        equal([(e["index"], e["reason"]) for e in answer["errors"]],
              [(0, "unknown_field"), (3, "too_many_types"), (4, "too_many_types")], "errors")
        many = order()[:-1] + b"," + b",".join(b'"u%d":1' % i for i in range(5000)) + b"}"
        equal(daemon.post_ok(many)["errors"][0]["reason"] in ("too_many_unknown", "unknown_field"), True, "many")
        daemon.settle()
        equal(len(dead_letters(cloud)), 4, "dead letters")
        daemon.stop()


def main():
    with Place() as place:
        suite = Suite(place)
        shared = [test_bodies, test_chunked, test_pieces, test_pipelining, test_continue, test_sizes,
                  test_whole_or_nothing, test_errors, test_dead_letters, test_path_types, test_all_there]
        return run_tests([(t.__name__[5:], lambda t=t: t(suite)) for t in shared]
                         + [test_limits, test_type_limit])


if __name__ == "__main__":
    sys.exit(main())
