#!/usr/bin/env python3
"""Goal: the memory that the log names is taken at start, so nobody who sends waits for it; where there is not so much,
a start says so, takes none of it ahead, and events are served all the same.

Method: resident memory against the sum in the log, before and after bodies of every size by HTTP and TCP have gone
through all buffers, groups included; then a configuration that asks for more than the machine has.
"""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, free_port, run_tests, until  # noqa: E402

MIB = 1 << 20
OTHER = 64 * MIB  # code, libraries
GROWTH = 24 * MIB  # stacks, plans, the ledger
LINE = b'{"event_type":"t","fill":"%s"}\n' % (b"f" * 960)


def said(daemon):
    return float(re.findall(r"memory: sum ([0-9.]+) MiB", daemon.log())[-1]) * MIB


def machine(key):
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(rf"^{key}:\s+(\d+)", file.read(), re.M).group(1))


def send_all(daemon, tcp):
    """Through every receive buffer, lease, commit block and group chunk, more than once."""
    events = 0
    for n in (1, 60, 250, 1000, 12000):
        for _ in range(max(8, 1000 // n) if n < 12000 else 8):
            daemon.post_ok(LINE * n)
            events += n
    with socket.create_connection(("127.0.0.1", tcp), timeout=60) as c:
        c.sendall(LINE * 20000)
    events += 20000
    until(lambda: daemon.status()["durable_ever"] == events, 60, "all events")


def test_taken():
    with Place() as place:
        tcp = free_port()
        daemon = place.daemon(place.cloud(), listed=(), group={"memory": "128MiB", "age_max": "2s"},
                              tcp={"listen": f"127.0.0.1:{tcp}"}, bigquery={"enabled": False})
        before, total = daemon.taken_rss(), said(daemon)
        send_all(daemon, tcp)
        after = daemon.rss()
        print(f"{total / MIB:.0f} MiB said, {before / MIB:.0f} taken, {after / MIB:.0f} when used")
        expect(total * 0.9 - OTHER < before < total, before, "bytes resident of", total)
        expect(after < before + GROWTH, "grown from", before, "to", after)
        daemon.settle()
        daemon.stop()


def test_not_there():
    """Each sink thread's groups fit, all of them do not."""
    with Place() as place:
        there = machine("MemTotal") << 10
        daemon = place.daemon(place.cloud(), listed=(), sinks={"threads": 4}, bigquery={"enabled": False},
                              group={"memory": f"{there * 2 // 5 // MIB}MiB"})
        lines = daemon.log_lines("MiB are left here")
        equal(len(lines), 1, daemon.log())
        expect("warn memory" in lines[0] and "group.memory" in lines[0], lines)
        expect(daemon.taken_rss() < there // 4, daemon.rss(), "bytes resident")
        for _ in range(20):
            daemon.post_ok(LINE * 100)
        daemon.settle()
        daemon.clean()
        daemon.stop()


def here(test):
    """Whether a test says anything on this machine; says so when not."""
    if test is not test_taken or machine("HugePages_Total") == 0:
        return True
    print("skip taken huge pages are set aside here, which are not counted as resident", flush=True)
    return False


sys.exit(run_tests([t for t in (test_taken, test_not_there) if here(t)]))
