#!/usr/bin/env python3
"""Goal: thousands of idle connections cost their own memory and nobody's time: many active ones beside them
are all served, nothing is refused, and an idle one of them is as good as new.

Method: IDLE connections, plain and TLS, each after one request; then ACTIVE ones that send in turn, with
PENSTOCK_LONG 10,000 and 1,000. Memory is compared with what the configuration says that it is.
"""
import os
import re
import resource
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, Reader, equal, expect, free_port, request, run_tests, until  # noqa: E402
from tls import Authority, client, connect  # noqa: E402

LONG = bool(os.environ.get("PENSTOCK_LONG"))
IDLE, ACTIVE, SECURE, ROUNDS = (10000, 1000, 500, 20) if LONG else (1500, 200, 50, 5)
WARM = 1500
EVENT = b'{"event_type":"t","n":1}\n'
PLAIN_BYTES = 4096  # of an idle connection: its place, a page at most
SECURE_BYTES = 64 << 10  # what OpenSSL needs beside


def asked(connection):
    connection.sendall(request(EVENT))


def answered(connection):
    equal(Reader(connection).answer().status, 200, "answer")


def test_many():
    with Place() as place:
        authority = Authority(place.file("ca"), "authority")
        certificate, key = authority.sign("server")
        port = free_port()
        daemon = place.daemon(place.cloud(), listed=(),
                              https={"listen": f"127.0.0.1:{port}", "certificate": certificate, "key": key},
                              http={"connections_max": IDLE + ACTIVE + SECURE, "idle_timeout": "1h"})
        with daemon.connect() as c:  # what first requests touch: receive buffers, commit blocks
            for _ in range(WARM):
                asked(c)
                answered(c)
        before = daemon.taken_rss()
        idle = []
        for _ in range(IDLE):
            idle.append(daemon.connect())
            asked(idle[-1])
        for c in idle:
            answered(c)
        plain = daemon.rss() - before
        context = client(authority)
        secure = [connect(port, context) for _ in range(SECURE)]
        for c in secure:
            asked(c)
            answered(c)
        tls = daemon.rss() - before - plain
        print(f"{IDLE} idle connections: {plain / IDLE:.0f} bytes each; over TLS {tls / SECURE:.0f}")
        active = [daemon.connect() for _ in range(ACTIVE)]
        for _ in range(ROUNDS):
            for c in active:
                asked(c)
            for c in active:
                answered(c)
        for c in idle[::7] + secure[::7]:
            asked(c)
            answered(c)
        status = daemon.status()
        equal((status["connections"], status["refused"]), (IDLE + SECURE + ACTIVE, {}), "connections, refused")
        equal(status["received"], WARM + IDLE + SECURE + ACTIVE * ROUNDS + len(idle[::7]) + len(secure[::7]), "events")
        expect(plain < IDLE * PLAIN_BYTES + (8 << 20), f"{plain} bytes for {IDLE} idle connections")
        expect(tls < SECURE * SECURE_BYTES + (8 << 20), f"{tls} bytes for {SECURE} idle TLS connections")
        said = float(re.search(r"sum ([\d.]+) MiB, taken", daemon.log()).group(1))
        expect(daemon.rss() < (said + 100) * (1 << 20) + tls, f"{daemon.rss()} bytes resident, {said} MiB were said")
        for c in idle + active:
            c.close()
        for c in secure:
            try:
                c.unwrap()
            except (ssl.SSLError, OSError):
                pass
            c.close()
        until(lambda: daemon.status()["connections"] == 0, 60, "all connections to be gone")
        daemon.settle()
        daemon.stop()


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + ACTIVE + SECURE + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(f"skip many {hard} open files are allowed, {wanted} are needed")
        return 77
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return run_tests([test_many])


if __name__ == "__main__":
    sys.exit(main())
