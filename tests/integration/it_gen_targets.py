#!/usr/bin/env python3
"""Goal: penstock-gen speaks every input, and what it logs is true: HTTP, acknowledged TCP, TCP and UDP at once,
with malformed and late events, then with kill -9 in the middle.

Method: one run of the generator per input against one daemon, then every event by id in objects and rows, as its
log says; where nothing is answered, by the daemon's counters.
"""
import os
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, compare, equal, expect, free_port, program, run_tests, until  # noqa: E402


def start(place, cloud):
    ports = {name: free_port() for name in ("tcp", "tcp+acked", "udp")}
    daemon = place.daemon(cloud, tcp={"listen": f"127.0.0.1:{ports['tcp']}",
                                      "acked_listen": f"127.0.0.1:{ports['tcp+acked']}"},
                          udp={"listen": f"127.0.0.1:{ports['udp']}"})
    daemon.targets = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
    return daemon


def test_all_inputs():
    """All four at once: everything arrives, once, and the reports agree with the daemon."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        gens = {name: Gen(place, daemon, name.replace("+", "_"), seed=i + 1, target=target, count=20000, rate=10000,
                          connections=8, batch=20 if name == "udp" else 50, malformed=3, late=3)
                for i, (name, target) in enumerate([("http", None), *daemon.targets.items()])}
        reports = {name: gen.wait() for name, gen in gens.items()}
        for name, report in reports.items():
            answered = name in ("http", "tcp+acked")
            equal((report["acked"], report["unanswered"]), (20000, 0) if answered else (0, 20000), name)

        def seen():
            status = daemon.status()
            return status["received"] + status["udp"]["kernel_drops"] * 20 >= 80000

        until(seen, 30, "everything to be received")
        lost = daemon.status()["udp"]["kernel_drops"]
        equal(daemon.status()["received"], 80000 - 20 * lost, "received")
        daemon.settle()
        counts = compare(list(gens.values()), cloud)
        equal(counts["objects"] + counts["dead"], 80000 - 20 * lost, "delivered")
        daemon.clean()


def test_acked_through_kills():
    """Acknowledged TCP over kill -9, with --reconnect: what was confirmed is there once, the rest at most once."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        gen = Gen(place, daemon, seed=9, target=daemon.targets["tcp+acked"], count=60000, connections=16, batch=20,
                  rate=15000, reconnect=True)
        for mark in (8000, 20000):
            until(lambda: gen.fates() >= mark, 60, "events to be confirmed")
            daemon.kill()
            daemon.start()
        gen.wait()
        daemon.settle()
        counts = compare(gen, cloud)
        expect(counts["acked"] >= 40000, counts)


def test_no_server():
    """Nobody there, or somebody who says other things: a clear error and status 1."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        for scheme in ("tcp", "tcp+acked"):
            argv = [program("penstock-gen"), "--target", f"{scheme}://127.0.0.1:{s.getsockname()[1]}", "--count", "10"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
            equal(done.returncode, 1, scheme)
            expect("cannot connect" in done.stderr, done.stderr)
    for wrong in ("tcp://127.0.0.1", "udp://:1", "tcp://h:1/path", "sctp://h:1"):
        done = subprocess.run([program("penstock-gen"), "--target", wrong], capture_output=True, text=True, timeout=60)
        equal(done.returncode, 2, wrong)
        expect("--target" in done.stderr, done.stderr)


if __name__ == "__main__":
    sys.exit(run_tests([test_all_inputs, test_acked_through_kills, test_no_server]))
