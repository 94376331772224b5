#!/usr/bin/env python3
"""Goal: types whose way is stopped (objects denied, an insertAll table refused, paused) cost the others nothing while
far more than a journal goes through: their events move to the spool and, when all is well again, arrive once.

Method: a journal of 32 MiB, types of which one may not be written, one's rows are refused and one is paused, several
journals' worth of each; kill -9 in between; then the ways are opened. A spool file that is missing or damaged is named
and nothing else waits for it.
"""
import glob
import json
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, free_port, run_tests, until  # noqa: E402

FILL = "f" * 1000
BODY = 400


def events(kind, first, n=BODY):
    return b"".join(json.dumps({"event_type": kind, "n": first + i, "fill": FILL}).encode() + b"\n" for i in range(n))


class Sender:
    """Sends bodies, all of which must be taken."""

    def __init__(self, daemon):
        self.daemon, self.n = daemon, {}

    def send(self, *kinds, bodies=1):
        for _ in range(bodies):
            for kind in kinds:
                first = self.n.get(kind, 0)
                until(lambda kind=kind, first=first: self.taken(kind, first), 30, f"room for {kind}")
                self.n[kind] = first + BODY

    def taken(self, kind, first):
        answer = self.daemon.post(events(kind, first))
        expect(answer.status in (200, 429, 503), answer.status, answer.body)
        if answer.status == 429:  # a moment too fast for the sinks; never because of another type
            equal(answer.json()["error"]["reason"], "journal_full", "reason")
        return answer.status == 200


def stored(cloud, kind, folder="output"):
    found = [int(re.search(rb'"n":\s?(\d+)', line).group(1)) for _, line in cloud.lines(f"{folder}/{kind}/")]
    equal(len(found), len(set(found)), f"{kind} in {folder}: some twice")
    return len(found)


def spool_files(daemon):
    return sorted(glob.glob(os.path.join(daemon.config["data_dir"], "spool", "*.plan")))


def leave_files(daemon):
    """What a crash leaves between a file's name and its record: here one for each plan that has none."""
    last = spool_files(daemon)[-1]
    stem, n = last[:-len(".plan") - 16], int(last[-len(".plan") - 16:-len(".plan")], 16)
    for i in range(1, n + 500):
        if not os.path.exists(f"{stem}{i:016x}.plan"):
            with open(f"{stem}{i:016x}.plan", "wb"):
                pass


def small(place, cloud, **more):
    return place.daemon(cloud, listed=more.pop("listed", ()), shutdown={"grace": "0s"},
                        journal={"limit": "32MiB", "segment": "8MiB", "spares": 1},
                        group={"memory": "64MiB", "bytes_max": "1MiB", "age_max": "300ms"}, **more)


def test_denied_prefix():
    with Place() as place:
        cloud = place.cloud()
        daemon = small(place, cloud, bigquery={"enabled": False})
        cloud.fault(object_prefix="output/bad/", status=403, reason="forbidden", message="no storage.objects.create")
        sender = Sender(daemon)
        for turn in range(3):
            for _ in range(24):  # 20 MB each time
                sender.send("bad", "good")
            until(lambda: stored(cloud, "good") == sender.n["good"], 60, "the good type, all of it")
            equal(stored(cloud, "bad"), 0, "objects where none may be written")
            if turn == 1:
                daemon.kill()
                daemon.start()
        until(lambda: daemon.status()["journal"]["used_bytes"] < 24 << 20, 30, "the journal to be free for others")
        expect(len(spool_files(daemon)) > 10, spool_files(daemon))
        status = daemon.status()
        why = {p["what"]: p["why"] for p in status["parked"]["problems"]}
        expect(any("no storage.objects.create" in w for w in why.values()), why)
        daemon.kill()
        leave_files(daemon)
        cloud.clear_faults()
        daemon.start()
        until(lambda: daemon.pending() == 0, 60, lambda: f"all to be delivered: {daemon.status()['parked']}")
        equal(stored(cloud, "bad"), sender.n["bad"], "the bad type in the end")
        equal(stored(cloud, "good"), sender.n["good"], "the good type in the end")
        until(lambda: not spool_files(daemon), 10, "the spool to be empty")
        daemon.verify()
        daemon.stop()


def post_some(daemon, kind, first, path="/v1/events", n=BODY):
    return daemon.post(events(kind, first, n), path)


def acked_lines(connection, n):
    """Waits until so many lines are acknowledged."""
    heard = b""
    connection.settimeout(20)
    while not heard.endswith(b"%d\n" % n):
        heard += connection.recv(100)


STREAMS = 8  # twice as many as there are receive buffers


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def mixed_lines(i):
    """Lines of stream i: those before the refused ones, and the rest."""
    first = 2 * 10**6 + 1000 * i
    return events("good", first, 10), events("bad", first, 5) + events("good", first + 10, 5)


def acked_streams(daemon, port):
    """More than there are buffers come to a line of a refused type, and hold up nobody."""
    streams = [connect(port) for _ in range(STREAMS)]
    for i, stream in enumerate(streams):
        stream.sendall(b"".join(mixed_lines(i)))
        acked_lines(stream, 10)
    with connect(port) as good:
        good.sendall(events("good", 3 * 10**6, 100))
        acked_lines(good, 100)
    for stream in streams:
        equal(stream.recv(100), b"", "the end of a stream")
        stream.close()
    until(lambda: daemon.status()["tcp"]["connections"] == 0, 10, "their slots to be free")
    equal(daemon.status()["tcp"]["waiting"], 0, "streams that wait")
    equal(daemon.status()["tcp"]["dropped_lines"], {}, "what acked streams lost")


def resume(port):
    """Each client goes on behind what it has heard. @return events of either type."""
    for i in range(STREAMS):
        with connect(port) as stream:
            stream.sendall(mixed_lines(i)[1])
            acked_lines(stream, 10)
    return 5 * STREAMS


def plain_stream(daemon, port):
    """Where nothing is acknowledged, exactly the lines of the type are dropped."""
    with connect(port) as plain:
        for i in range(10):
            plain.sendall(events("good", 6 * 10**6 + 10 * i, 10) + events("bad", 6 * 10**6, 3))
        until(lambda: daemon.status()["tcp"]["dropped_lines"] == {"type_parked": 30}, 10, "lines to be dropped")
    expect(re.search(r"TCP dropped +30 +type_parked", daemon.cli("status")[1]), daemon.cli("status"))
    expect(re.search(r'penstock_tcp_dropped_lines_total\{.*"type_parked"\} 30\b', daemon.admin("/metrics")[1]),
           "no counter")
    return 100


def other_ways_in(daemon, acked, plain, udp):
    """What TCP and UDP do with a refused type. @return events of the good type that were taken."""
    acked_streams(daemon, acked)
    good = 10 * STREAMS + 100 + plain_stream(daemon, plain)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.sendto(events("bad", 1, 1), ("127.0.0.1", udp))
    until(lambda: daemon.status()["udp"]["dropped"].get("type_parked") == 1, 10, "the datagram to be counted")
    return good


def refuse_bodies(daemon):
    """What HTTP says of a refused type, however it is named. @return events of the good type that were taken."""
    mixed = events("good", 10**6, 3) + events("bad", 10**6, 1)
    equal(daemon.post(mixed).json()["error"]["reason"], "type_parked", "a body that holds one such event")
    escaped = events("good", 10**6, 3) + b'{"event_type":"\\u0062ad","n":1}\n'
    equal(daemon.post(escaped).status, 429, "its name in escapes")
    equal(post_some(daemon, "x", 0, "/v1/events/bad").status, 429, "its name in the path")
    equal(daemon.post(b'{"event_type":"good","n":5000000,"text":"bad"}\n').status, 200, "a mere mention of the name")
    return 1


def test_quota():
    """Past sinks.spool_bytes only the bad type is refused, by every way in, until it is well."""
    with Place() as place:
        cloud = place.cloud()
        acked, plain, udp = free_port(), free_port(), free_port()
        daemon = small(place, cloud, bigquery={"enabled": False}, sinks={"spool_bytes": "8MiB", "park_retry": "1s"},
                       tcp={"acked_listen": f"127.0.0.1:{acked}", "listen": f"127.0.0.1:{plain}",
                            "receive_buffers": STREAMS // 2}, udp={"listen": f"127.0.0.1:{udp}"})
        cloud.fault(object_prefix="output/bad/", status=403, reason="forbidden", message="no rights")
        sender, bad = Sender(daemon), 0

        def refused():
            nonlocal bad
            answer = post_some(daemon, "bad", bad)
            if answer.status == 200:
                bad += BODY
                sender.send("good")
            return answer if answer.status == 429 and answer.json()["error"]["reason"] == "type_parked" else None

        answer = until(refused, 90, "the bad type to be refused")
        expect("type bad" in answer.json()["error"]["message"], answer.json())
        expect(int(answer.headers["retry-after"]) >= 1, answer.headers)
        equal(daemon.status()["spool"]["refused_types"], ["bad"], "refused types")
        sender.send("good", bodies=5)
        good = refuse_bodies(daemon) + other_ways_in(daemon, acked, plain, udp)
        expect('penstock_type_parked_refusals_total{type="bad"}' in daemon.admin("/metrics")[1], "no counter")
        until(lambda: stored(cloud, "good") == sender.n["good"] + good, 60, "the good type")
        daemon.kill()
        daemon.start()
        until(lambda: daemon.status()["spool"]["refused_types"] == ["bad"], 10, "it to be refused after a restart")
        expect(daemon.status()["spool"]["bytes"] >= 8 << 20, daemon.status()["spool"])
        cloud.clear_faults()
        until(lambda: daemon.status()["spool"]["refused_types"] == [], 60, "the refusal to end")
        equal(post_some(daemon, "bad", bad).status, 200, "the type when it is well")
        more = resume(acked)
        daemon.settle()
        equal(stored(cloud, "bad"), bad + BODY + more, "the bad type in the end")
        equal(stored(cloud, "good"), sender.n["good"] + good + more, "the good type in the end")
        until(lambda: not spool_files(daemon), 10, "the spool to be empty")
        daemon.stop()


def shelf(daemon, kind):
    """What `penstock sinks` says of one type's output in the spool."""
    found = [h for t in daemon.cli_json("sinks")["threads"] for h in t["spooled"]
             if (h["type"], h["way"]) == (kind, "output")]
    return found[0] if found else {"sending": False, "text": "nothing"}


def test_paused_on_the_way_out():
    """What is being sent when its type is paused counts again as waiting: sinks.spool_bytes holds for it."""
    with Place() as place:
        cloud = place.cloud()
        daemon = small(place, cloud, bigquery={"enabled": False}, sinks={"spool_bytes": "8MiB", "park_retry": "1s"})
        cloud.fault(object_prefix="output/bad/", status=403, reason="forbidden", message="no rights")
        sender = Sender(daemon)
        until(lambda: sender.send("bad", "good") or daemon.status()["spool"]["bytes"] > 6 << 20, 60, "a filled spool")
        cloud.clear_faults()
        cloud.fault(path_contains="/upload/", delay_ms=1500)
        until(lambda: shelf(daemon, "bad")["sending"], 30, "it to be sent")
        daemon.cli("pause", "type", "bad")
        cloud.clear_faults()
        until(lambda: not shelf(daemon, "bad")["sending"], 10, "the pause to be seen")
        equal(shelf(daemon, "bad")["text"], "the type is paused", "why it waits")
        answer, limit = None, sender.n["bad"] + 60 * BODY  # three journals
        while (answer is None or answer.status != 429) and sender.n["bad"] < limit:
            answer = until(lambda: post_some(daemon, "bad", sender.n["bad"]), 10, "an answer")
            if answer.status == 429 and answer.json()["error"]["reason"] == "journal_full":
                answer = None  # a moment too fast for the sinks
            elif answer.status == 200:
                sender.n["bad"] += BODY
            sender.send("good")
        equal(answer.status, 429, f"the paused type: {daemon.status()['spool']}")
        equal(answer.json()["error"]["reason"], "type_parked", "reason")
        daemon.cli("resume", "type", "bad")
        until(lambda: daemon.status()["spool"]["refused_types"] == [], 60, "the refusal to end")
        daemon.settle()
        equal([stored(cloud, "bad"), stored(cloud, "good")], [sender.n["bad"], sender.n["good"]], "stored in the end")
        daemon.stop()


def test_no_disk():
    """While the spool cannot be written, all types that need it are refused, not only those that were tried."""
    with Place() as place:
        cloud = place.cloud()
        daemon = small(place, cloud, bigquery={"enabled": False}, sinks={"park_retry": "1s"})
        spool = os.path.join(daemon.config["data_dir"], "spool")
        os.rename(spool, spool + ".away")
        refused, late = (lambda: daemon.status()["spool"]["refused_types"]), [f"late{i}" for i in range(6)]
        cloud.fault(object_prefix="output/bad/", status=403, reason="forbidden", message="no rights")
        n = 0
        while refused() != ["bad"]:
            expect(n < 60 * BODY, "three journals of a type that cannot be delivered", daemon.status()["spool"])
            if daemon.status()["journal"]["used_bytes"] < 20 << 20:  # half full, and room for others
                n += BODY if post_some(daemon, "bad", n).status == 200 else 0
        cloud.fault(object_prefix="output/late", status=403, reason="forbidden", message="no rights")
        for kind in late:
            daemon.post_ok(events(kind, 0, 10))
        until(lambda: refused() == ["bad", *late], 25, lambda: f"all to be refused: {refused()}")
        daemon.post_ok(events("good", 0))
        os.rename(spool + ".away", spool)
        cloud.clear_faults()
        until(lambda: refused() == [], 60, "the refusals to end")
        daemon.settle()
        equal([stored(cloud, kind) for kind in ("bad", "good", *late)], [n, BODY] + 6 * [10], "stored in the end")
        daemon.stop()


def rows(cloud, table):
    found = [int(n) for (n,) in cloud.query(f"SELECT n FROM `test-project.test_events.{table}`")] \
        if table in cloud.tables() else []
    equal(len(found), len(set(found)), f"{table}: some rows twice")
    return len(found)


def test_rows_and_pauses():
    """A table of insertAll that is refused, half of its first plan being in, and a type that is paused; a missing and
    a damaged file are named, hold up nothing, and are taken when they are restored."""
    with Place() as place:
        cloud, schema = place.cloud(), place.file("n.json")
        with open(schema, "w") as file:
            json.dump([{"name": "event_type", "type": "STRING"}, {"name": "n", "type": "INTEGER"},
                       {"name": "fill", "type": "STRING"}], file)
        listed = [{"name": "rows", "schema": schema, "method": "insert_all"}, {"name": "still"}]
        daemon = small(place, cloud, listed=listed, bigquery={"load_cadence": "1s"}, insert={"rows": 200})
        sender = Sender(daemon)
        sender.send("rows", "good")
        until(lambda: rows(cloud, "rows") == BODY, 30, "the first rows")
        cloud.fault(service="bigquery", path_contains="/tables/rows/insertAll", skip=3, status=403,
                    reason="accessDenied")
        daemon.cli("pause", "type", "still")
        for _ in range(3):
            sender.send("rows", "still", "good", bodies=11)
            until(lambda: stored(cloud, "good") == sender.n["good"], 60, "the good type")
        until(lambda: {(h["type"], h["way"]) for t in daemon.cli_json("sinks")["threads"] for h in t["spooled"]} >=
              {("rows", "insert_all"), ("still", "output"), ("still", "staging")}, 30,
              lambda: f"both to be spooled: {daemon.cli_json('sinks')}")
        equal(stored(cloud, "rows"), sender.n["rows"], "the archive of the refused rows")
        daemon.stop()
        files = spool_files(daemon)
        os.rename(files[0], files[0] + ".away")
        with open(files[1], "r+b") as file:
            whole = file.read()
            file.seek(len(whole) // 2)
            file.write(bytes([whole[len(whole) // 2] ^ 1]))
        daemon.start()
        cloud.clear_faults()
        daemon.cli("resume", "type", "still")
        until(lambda: daemon.status()["spool"]["plans"] == 2 and daemon.status()["spool"]["lost"] == 2, 90,
              lambda: f"all but two: {daemon.status()['spool']}")
        why = str(daemon.status()["parked"]["problems"])
        expect("missing" in why or "not the planned ones" in why, why)
        os.rename(files[0] + ".away", files[0])
        with open(files[1], "wb") as file:
            file.write(whole)
        until(lambda: daemon.pending() == 0, 60, lambda: f"the rest: {daemon.status()['spool']}")
        loaded = int(list(cloud.query("SELECT COUNT(*) FROM `test-project.test_events.still`"))[0][0])
        equal([stored(cloud, "still"), stored(cloud, "rows"), loaded],
              [sender.n["still"], sender.n["rows"], sender.n["still"]], "stored and loaded")
        equal(rows(cloud, "rows"), sender.n["rows"], "rows")
        daemon.verify()
        daemon.stop()


def main():
    return run_tests([test_denied_prefix, test_quota, test_paused_on_the_way_out, test_no_disk, test_rows_and_pauses])


if __name__ == "__main__":
    sys.exit(main())
