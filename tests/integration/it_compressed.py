#!/usr/bin/env python3
"""Goal: gzip and zstd bodies are taken like others, within the same bound; bombs, corrupt and cut bodies store
nothing and are answered.

Method: bodies compressed here, by Content-Length and chunked, of all sizes; what was accepted is compared byte for
byte with the bucket, what was refused must be nowhere.
"""
import collections
import ctypes
import ctypes.util
import gzip
import json
import os
import sys
import threading
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Place, Reader, chunked, dead_letters, equal, expect, request, run_tests,  # noqa: E402
                      strip_added)

BODY_MAX = 8 << 20


def zstd(data, level=3):
    lib = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress.restype = ctypes.c_size_t
    lib.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    lib.ZSTD_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(len(data)))
    size = lib.ZSTD_compress(out, len(out), data, len(data), level)
    return out.raw[:size]


CODINGS = {"gzip": gzip.compress, "zstd": zstd}


def event(name, i=0, **more):
    return json.dumps({"event_type": "t", "name": name, "i": i, **more}, separators=(",", ":")).encode()


class Suite:
    def __init__(self, place):
        self.cloud = place.cloud()
        self.daemon = place.daemon(self.cloud, listed=[], http={"body_max": "8MiB", "event_max": "256KiB"},
                                   input={"leases_large": 3})
        self.delivered = collections.Counter()

    def refused(self, reason):
        return self.daemon.status()["refused"].get(reason, 0)

    def accept(self, answer, events, dead=0):
        equal(answer.status, 200, f"answer {answer.body[:300]}")
        got = answer.json()
        equal((got["accepted"], got["dead_lettered"]), (len(events), dead), "answer")
        self.delivered.update(events)

    def refuse(self, body, coding, status, reason):
        """Refused on a connection that then goes on."""
        before = self.refused(reason)
        after = event("after a refusal", len(self.delivered))
        with self.daemon.connect() as c:
            reader = Reader(c)
            c.sendall(request(body, headers={"Content-Encoding": coding}) + request(after))
            answer = reader.answer()
            equal((answer.status, answer.json()["error"]["reason"]), (status, reason), "answer")
            self.accept(reader.answer(), [after])
        equal(self.refused(reason), before + 1, f"counter of {reason}")


def test_sizes(s):
    """From one event to all that a body may hold, in one piece, in chunks, and byte by byte."""
    for coding, pack in CODINGS.items():
        for size in (1, 100, 3000, 7900 << 10):
            fill = "x" * 40 if size < 1 << 20 else "y" * 30000
            count = max(1, size // len(event("sizes", 10000, coding=coding, size=size, fill=fill)))
            events = [event("sizes", i, coding=coding, size=size, fill=fill) for i in range(count)]
            body = pack(b"\n".join(events))
            headers = {"Content-Encoding": coding}
            s.accept(s.daemon.post(body, headers=headers), events)
            with s.daemon.connect() as c:
                head = request(b"", headers={"Transfer-Encoding": "chunked", **headers}, length=False)
                c.sendall(head + chunked(body, [1000, 1, 50000]))
                s.accept(Reader(c).answer(), events)
            if size < 1000:
                with s.daemon.connect() as c:
                    for byte in request(body, headers=headers):
                        c.send(bytes([byte]))
                    s.accept(Reader(c).answer(), events)


def test_forms(s):
    """Arrays, x-gzip, several members and frames, the type in the path, dead letters; pipelined."""
    a, b = event("forms a"), event("forms b")
    with s.daemon.connect() as c:
        reader = Reader(c)
        for coding, body in (("gzip", gzip.compress(b"[" + a + b",") + gzip.compress(b + b"]")),
                             ("X-GZIP", gzip.compress(a + b"\n" + b)),
                             ("zstd", zstd(a + b"\n") + zstd(b"") + zstd(b)),
                             ("identity", a + b"\n" + b)):
            c.sendall(request(body, headers={"Content-Encoding": coding}))
        for _ in range(4):
            s.accept(reader.answer(), [a, b])
    s.accept(s.daemon.post(gzip.compress(b"{broken\n" + a), headers={"Content-Encoding": "gzip"}), [a], 1)


def test_bombs(s):
    """What would expand past the bound is 413, before it has; a body of exactly the bound is fine."""
    for coding, pack in CODINGS.items():
        bomb = pack(bytes(64 << 20)) if coding == "zstd" else \
            16 * gzip.compress(bytes(16 << 20))
        s.refuse(bomb, coding, 413, "body_too_big")
        s.refuse(pack(b" " * (BODY_MAX + 1)), coding, 413, "body_too_big")
        one = event("exact", coding=coding)
        s.accept(s.daemon.post(pack(one + b" " * (BODY_MAX - len(one))), headers={"Content-Encoding": coding}), [one])


def test_bad(s):
    """Corrupt, cut off, followed by something else, empty, or something else altogether: 400."""
    lost = event("never")
    for coding, pack in CODINGS.items():
        good = pack(lost * 3)
        for bad in (good[:-1], good[:len(good) // 2], good + b"x", good + b"\n", b"", lost,
                    b"\x27" + good[1:], good[:-6] + b"\xff" * 6 + good):
            s.refuse(bad, coding, 400, "bad_encoding")
    s.refuse(zlib.compress(lost), "gzip", 400, "bad_encoding")
    for coding in ("br", "deflate", "gzip, gzip", "compress"):
        equal(s.daemon.post(lost, headers={"Content-Encoding": coding}).status, 415, coding)


def test_together(s):
    """Many clients with large and small bodies at once, in slices on one worker: all is answered right."""
    failures, lock = [], threading.Lock()

    def client(n):
        try:
            coding = ("gzip", "zstd", "identity")[n % 3]
            pack = CODINGS.get(coding, bytes)
            for i in range(3):
                large = n < 4
                events = [event("together", i * 1000 + j, client=n, fill="z" * (9000 if large else 10))
                          for j in range(600 if large else 5)]
                body = pack(b"\n".join(events))
                while True:
                    answer = s.daemon.post(body, headers={"Content-Encoding": coding})
                    if answer.status != 503:
                        break
                with lock:
                    s.accept(answer, events)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not failures, failures[:1])


def test_all(s):
    """Everything accepted is delivered as sent, and nothing else."""
    s.daemon.settle()
    found = collections.Counter(strip_added(line) for _, line in s.cloud.lines("output/"))
    expect(found == s.delivered, "delivered:", list((found - s.delivered).items())[:3],
           "missing:", list((s.delivered - found).items())[:3])
    equal([letter["bytes"] for _, letter in dead_letters(s.cloud)], [b"{broken"], "dead letters")
    metrics = s.daemon.admin("/metrics")[1]
    expect("penstock_compressed_requests_total" in metrics and "penstock_expanded_bytes_total" in metrics, "metrics")
    s.daemon.clean()


def main():
    with Place() as place:
        suite = Suite(place)
        tests = [test_sizes, test_forms, test_bombs, test_bad, test_together, test_all]
        return run_tests([(t.__name__.removeprefix("test_"), lambda t=t: t(suite)) for t in tests])


if __name__ == "__main__":
    sys.exit(main())
