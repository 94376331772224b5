#!/usr/bin/env python3
"""Goal: events in datagrams arrive, and every datagram that does not is counted where it was lost.

Method: datagrams from many sockets over IPv4 and IPv6 to a running daemon with two workers, then with a full
journal, over kill -9 and at SIGTERM. What is in the bucket is compared with what was sent, byte for byte; sent =
accepted + dead-lettered + drops, by the daemon's own counters.
"""
import collections
import json
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Place, dead_letters, equal, expect, free_port, run_tests, strip_added, until)  # noqa: E402


def event(name, i=0, **more):
    return json.dumps({"event_type": "t", "name": name, "i": i, **more}, separators=(",", ":")).encode()


def start(place, cloud, host="127.0.0.1", udp=None, **sections):
    port = free_port()
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    daemon = place.daemon(cloud, name=f"daemon{port}", listed=[], udp={"listen": listen, **(udp or {})}, **sections)
    daemon.udp = (host, port)
    return daemon


def sender(daemon):
    s = socket.socket(socket.AF_INET6 if ":" in daemon.udp[0] else socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(daemon.udp)
    return s


def seen(daemon):
    """Datagrams whose fate is known."""
    udp = daemon.status()["udp"]
    return udp["datagrams"] + udp["kernel_drops"]


def delivered(cloud):
    return collections.Counter(strip_added(line) for _, line in cloud.lines("output/"))


def check_forms(host):
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud, host, workers=2, udp={"datagram_max": "16KiB"})
        wanted, dead, sent = collections.Counter(), collections.Counter(), 0
        senders = [sender(daemon) for _ in range(8)]
        for i in range(200):
            a, b, c = (event("forms", 3 * i + k, fill="f" * (i * 13 % 1500)) for k in range(3))
            for data, events, letters in (
                    (a, [a], []), (a + b"\n" + b + b"\r\n\n" + c + b"\n", [a, b, c], []),
                    (b"[" + a + b", " + b + b"]", [a, b], []), (b"{bad\n" + c, [c], [b"{bad"]),
                    (b"[" + a + b",", [], [b"[" + a + b","]), (b" \n ", [], []),
                    (event("too big", fill="x" * 16384), [], [])):
                senders[sent % 8].send(data)
                sent += 1
                wanted.update(events)
                dead.update(letters)
            if i % 10 == 0:  # not faster than the socket's buffer
                until(lambda: seen(daemon) == sent, 20, "datagrams to be seen")
        until(lambda: seen(daemon) == sent, 20, "all datagrams to be seen")
        udp = daemon.status()["udp"]
        equal(udp, {"datagrams": sent, "kernel_drops": 0, "dropped_lines": 200,
                    "dropped": {"datagram_too_big": 200, "empty_body": 200}}, "counters")
        daemon.settle()
        expect(delivered(cloud) == wanted, "delivered:", sum(delivered(cloud).values()), "of", sum(wanted.values()))
        letters = [letter for _, letter in dead_letters(cloud)]
        expect(collections.Counter(letter["bytes"] for letter in letters) == dead, "dead letters")
        shown = f"udp [{host}]:" if ":" in host else f"udp {host}:"
        ports = {s.getsockname()[1] for s in senders}
        expect(all(letter["source"].startswith(shown) and int(letter["source"].rsplit(":", 1)[1]) in ports
                   for letter in letters), "sources:", letters[0]["source"])
        metrics = daemon.admin("/metrics")[1]
        expect('penstock_udp_dropped_datagrams_total{worker="0",reason="datagram_too_big"}' in metrics, "metrics")
        daemon.clean()


def test_forms():
    """One event, several, an array; dead letters; what is too big or empty; from many senders."""
    check_forms("127.0.0.1")


def test_forms_v6():
    """The same over IPv6."""
    check_forms("::1")


def test_full_journal():
    """With a full journal each datagram is counted, and those before and after it are delivered."""
    with Place() as place:
        cloud = place.cloud()
        cloud.fault(path_prefix="/upload/", status=503)
        daemon = start(place, cloud, journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                       block={"bytes": "256KiB", "count": 12, "lane_max": 4},
                       http={"body_max": "1MiB", "event_max": "256KiB"})
        s, sent = sender(daemon), 0
        while daemon.status()["udp"]["dropped"].get("journal_full", 0) == 0:
            for _ in range(300):
                s.send(event("full", sent, fill="f" * 2000))
                sent += 1
        cloud.clear_faults()
        until(lambda: seen(daemon) == sent, 30, "all datagrams to be seen")

        def taken_again():
            nonlocal sent
            before = daemon.status()["received"]
            s.send(event("after", sent))
            sent += 1
            until(lambda: seen(daemon) == sent, 30, "the datagram to be seen")
            time.sleep(0.05)
            return daemon.status()["received"] > before

        until(taken_again, 60, "events to be taken again")
        status = daemon.status()
        udp = status["udp"]
        equal(status["received"] + sum(udp["dropped"].values()) + udp["kernel_drops"], sent, "the sum")
        equal(udp["dropped_lines"], sum(udp["dropped"].values()), "lines lost, one a datagram")
        daemon.settle()
        found = delivered(cloud)
        equal((len(found), sum(found.values())), (status["received"], status["received"]), "delivered, each once")


def test_kill():
    """kill -9 in the middle: what the journal has is delivered once, and nothing that was not sent."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        s, sent = sender(daemon), set()
        for i in range(3000):
            sent.add(event("kill", i))
            s.send(event("kill", i))
        until(lambda: daemon.status()["durable"] >= 1000, 20, "events to be durable")
        durable = daemon.status()["durable"]
        daemon.kill()
        daemon.start()
        daemon.settle()
        found = delivered(cloud)
        expect(set(found) <= sent and max(found.values()) == 1, "delivered twice, or never sent")
        expect(len(found) >= durable, len(found), "delivered of", durable, "durable")


def test_drain():
    """After `penstock drain` datagrams are counted as drops, and what came before is delivered."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        s = sender(daemon)
        for i in range(2000):
            s.send(event("drain", i))
        until(lambda: seen(daemon) == 2000, 20, "datagrams to be seen")
        taken = daemon.status()["received"]
        equal(daemon.cli("drain")[0], 0, "exit status of drain")
        for i in range(10):
            s.send(event("drained", i) + b"\n" + event("drained", i))
        until(lambda: daemon.status()["udp"]["dropped"] == {"draining": 10}, 20, "drops to be counted")
        equal(daemon.status()["udp"]["dropped_lines"], 20, "lines")
        daemon.settle()
        equal(sum(delivered(cloud).values()), taken, "delivered")


def test_port_in_use():
    """A second daemon on the same port does not start, and says which key to set."""
    with Place() as place:
        cloud = place.cloud()
        daemon = start(place, cloud)
        other = place.daemon(cloud, name="other", start=False, listed=[],
                             udp={"listen": f"127.0.0.1:{daemon.udp[1]}"})
        other.process = other.launch()
        expect(other.process.wait(30) != 0, "started")
        expect("udp.listen" in other.log(), "log:", other.log()[-300:])


if __name__ == "__main__":
    sys.exit(run_tests([test_forms, test_forms_v6, test_full_journal, test_kill, test_drain, test_port_in_use]))
