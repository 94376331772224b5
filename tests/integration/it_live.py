#!/usr/bin/env python3
"""Goal: knobs change, sinks and types pause and resume, types are sampled while events flow, and
nothing is lost or doubled by it.

Method: the real daemon under penstock-gen's load, with several clients on its socket that set,
reset, pause and resume all the while; then every event is read back, once, and verify is clean.
"""
import collections
import fcntl
import json
import os
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import LISTED, Gen, Place, compare, equal, expect, program, run_tests, until  # noqa: E402


class Control:
    """A kept connection to the daemon's socket."""

    def __init__(self, daemon):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(daemon.config["control"]["socket"])
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        word, status, size = self.file.readline().split()
        equal(word, b"PENSTOCK", "answer")
        return int(status), self.file.read(int(size)).decode()

    def ok(self, line):
        status, text = self.ask(line)
        equal(status, 0, f"{line}: {text[:400]}")
        return text

    def refused(self, line, *parts):
        status, text = self.ask(line)
        equal(status, 2, f"status of {line}: {text[:300]}")
        for part in parts:
            expect(part in text, f"{line}: {part!r} is not in {text[:500]!r}")

    def value(self, name):
        knobs = json.loads(self.ok(f"get {name} --json"))["knobs"]
        return {k["name"]: k for k in knobs}[name]


def plain(count, event_type="page", first=0):
    return b"".join(b'{"event_type":"%s","n":%d,"text":"%s"}\n' % (event_type.encode(), i, b"x" * (i % 50))
                    for i in range(first, first + count))


def test_get_and_set():
    with Place() as place:
        daemon = place.daemon(place.cloud(), types={"list": [{"name": "page", "sampling": 0.5}]})
        with Control(daemon) as c:
            knob = c.value("group.age_max")
            equal((knob["value"], knob["number"], knob["phase"], knob["default"], knob["unit"], knob["until"]),
                  ("300ms", 300000, "runtime", "60s", "microseconds", None), "group.age_max")
            expect(knob["from"].startswith("file:"), knob["from"])
            equal(c.value("data_dir")["phase"], "startup", "data_dir")
            expect("forgotten at the next start" in c.ok("set group.age_max 100ms"), "the answer says so")
            knob = c.value("group.age_max")
            equal((knob["value"], knob["from"]), ("100ms", "live"), "after set")
            answer = json.loads(c.ok("--json set gcs.concurrency=4 log.level=debug"))
            equal([x["name"] for x in answer["changes"]], ["gcs.concurrency", "log.level"], "changes")
            equal((answer["changes"][0]["was"], answer["threads_behind"]), ("16", 0), "answer")
            c.refused("set gcs.concurrency=5 log.level=loud", "one of debug|info|warn|error")
            equal(c.value("gcs.concurrency")["value"], "4", "nothing of a wrong request is done")
            c.refused("set group.agemax 1s", 'did you mean "group.age_max"?')
            c.refused("set data_dir /tmp", "needs a restart")
            c.refused("set group.age_max", "allowed: set NAME VALUE")
            c.refused("set", "usage: set NAME VALUE")
            c.refused("set group.age_max 1s --for 1ms", "--for: found", "from 1s up to 365d")
            c.refused("set types.pgae.sampling 1", 'did you mean "page"?')
            c.refused("get grupe", "no knob")
            equal(len(json.loads(c.ok("--json get group."))["knobs"]), 3, "knobs of a section")
            equal(c.value("types.page.sampling")["value"], "0.5", "sampling of the file")
            c.ok("set types.page.sampling 0.25 --for 2s")
            equal((c.value("types.page.sampling")["value"], c.value("types.page.sampling")["then"]),
                  ("0.25", "0.5"), "sampling for a time")
            c.ok("set group.age_max 1s --for 1s")
            until(lambda: c.value("group.age_max")["value"] == "100ms", 10, "the value to come back")
            until(lambda: c.value("types.page.sampling")["value"] == "0.5", 10, "the sampling to come back")
        daemon.restart()
        with Control(daemon) as c:
            equal(c.value("group.age_max")["value"], "300ms", "the file holds after a restart")


def test_sampling():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        with Control(daemon) as c:
            equal(daemon.post_ok(plain(100)), {"accepted": 100, "dead_lettered": 0, "errors": []}, "all kept")
            c.ok("set types.page.sampling 0.2")
            answer = daemon.post_ok(plain(20000, first=100) + b"{nothing}\n")
            kept, out = answer["accepted"], answer["sampled_out"]
            equal((kept + out, answer["dead_lettered"]), (20000, 1), "dead letters are not sampled")
            expect(3700 < kept < 4300, f"{kept} of 20000 kept at 0.2")
            again = daemon.post_ok(plain(20000, first=100))
            equal((again["accepted"], again["sampled_out"]), (kept, out), "the same events, the same fate")
            c.ok("set types.page.sampling 0.4")
            more = daemon.post_ok(plain(20000, first=100))["accepted"]
            expect(7600 < more < 8400, f"{more} of 20000 kept at 0.4")
            c.ok("set types.sampling=0")
            equal(daemon.post_ok(plain(10, "other")), {"accepted": 0, "dead_lettered": 0, "sampled_out": 10,
                                                       "errors": []}, "types without their own")
            left_out = 20000 * 3 - 2 * kept - more + 10
        daemon.settle()
        status = daemon.status()
        equal((status["sampled_out"], status["dead_lettered"]), (left_out, 1), "status")
        equal(daemon.cli_json("verify")["sampled_out"], left_out, "verify")
        equal(status["received"], status["durable"] + left_out, "what came is kept or counted as left out")
        types = {t["type"]: t for t in daemon.cli_json("types")["types"]}
        equal((types["page"]["sampled_out"], types["page"]["events"]),
              (left_out - 10, 100 + 2 * kept + more), "the type")
        found = stored(cloud, "page")
        equal(len(found), 100 + 2 * kept + more, "stored")
        counts = collections.Counter(found)
        equal({counts[n] for n in range(100, 20100)}, {0, 1, 3}, "a tenth is part of a fifth")
        metrics = daemon.admin("/metrics")[1]
        expect(f'penstock_sampled_out_events_total{{worker="0"}} {left_out}\n' in metrics, "metrics")


def on_terminal(daemon, rows, columns, key):
    """`penstock top` on a terminal of this size until a key is hit: (exit status, what it wrote)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(slave)
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "top", "--interval", "100ms"]
    child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave)
    text = b""
    try:
        while text.count(b"\033[H") < 3:
            expect(select.select([master], [], [], 20)[0], "nothing comes:", text[-300:])
            text += os.read(master, 65536)
        if key is None:
            child.send_signal(signal.SIGINT)
        else:
            os.write(master, key)
        while select.select([master], [], [], 0.3)[0] or child.poll() is None:
            if select.select([master], [], [], 0)[0]:
                text += os.read(master, 65536)
        equal(termios.tcgetattr(slave), before, "the terminal's modes afterwards")
        return child.wait(20), text.decode()
    finally:
        child.kill()
        os.close(master)
        os.close(slave)


def test_top():
    with Place() as place:
        daemon = place.daemon(place.cloud(), types={"list": [{"name": "page", "sampling": 0.5}]})
        gen = Gen(place, daemon, duration=8, rate=2000, malformed=5)
        until(lambda: daemon.status()["received"] > 1000, 20, "events")
        daemon.post_ok(plain(1000))
        answer = json.loads(daemon.cli("top", "--once", "--json", "--interval", "500ms")[1])
        expect(500 < answer["rates"]["events"] < 8000, answer["rates"])
        expect(0 < answer["answers"]["p50_us"] <= answer["answers"]["p99_us"] <= answer["answers"]["p999_us"],
               answer["answers"])
        rates = [t["events"] for t in answer["types"]]
        equal(rates, sorted(rates, reverse=True), "types are sorted by rate")
        expect({"order", "inventory", "user_activity", "page"} <= {t["type"] for t in answer["types"]}, "types")
        expect("bad_json" in {e["reason"] for e in answer["errors"]}, answer["errors"])
        status, text = daemon.cli("top", "--once", "--interval", "200ms")
        lines = text.splitlines()
        equal((status, len(lines) <= 24, max(map(len, lines)) <= 80), (0, True, True), f"a screen: {text}")
        for part in ("events/s", "p99.9", "lag", "journal   [", "errors", "TYPE", "order"):
            expect(part in text, f"{part!r} is not in {text}")
        with Control(daemon) as c:
            c.ok("pause type order --for 1h")
            wide = c.ok("top --interval 100ms --rows 50 --columns 150")
            expect(any(line.startswith("order ") and line.endswith(" PAUSED") for line in wide.splitlines()), wide)
            expect("NEWEST" in wide and max(map(len, wide.splitlines())) <= 150, wide)
            c.refused("top --interval 1ms", "from 100ms up to 1m")
            c.refused("top --rows 0", "a whole number")
            c.ok("resume all")
        for rows, columns, key in ((24, 80, b"q"), (12, 60, None), (60, 200, b"Q")):
            status, text = on_terminal(daemon, rows, columns, key)
            equal((status, text.startswith("\033[?1049h"), text.endswith("\033[?1049l")), (0, True, True), "ends")
            screen = text.split("\033[H")[2].split("\033[J")[0].split("\r\n")
            expect(len(screen) <= rows and max(len(s) for s in screen) <= columns + 3, "a screen fits", screen)
        argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "--json", "top", "--interval",
                "100ms"]
        piped = subprocess.Popen(argv, stdout=subprocess.PIPE)
        seen = [json.loads(piped.stdout.readline()) for _ in range(3)]
        equal({type(s["rates"]["events"]) for s in seen}, {float}, "one object a line")
        gen.kill()
        daemon.stop()
        piped.communicate(timeout=20)
        equal(piped.returncode, 1, "status when the daemon ends")


LIVE = [("group.age_max", ("50ms", "300ms", "2s")), ("group.bytes_max", ("64KiB", "1MiB", "16MiB")),
        ("gcs.concurrency", ("1", "4", "64")), ("block.bytes", ("640KiB", "1MiB")),
        ("block.age_max", ("0", "1ms", "5ms")), ("block.lane_max", ("1", "4", "16")),
        ("bigquery.load_cadence", ("1s", "2s")), ("bigquery.load_bytes", ("1MiB", "1GiB")),
        ("types.lateness", ("1h", "2h")), ("worker.spin", ("true", "false")),
        ("http.idle_timeout", ("60s", "75s")), ("sinks.stall_timeout", ("30s", "60s")),
        ("log.level", ("info", "warn")), ("gcs.gzip", ("true", "false")), ("gcs.gzip_level", ("1", "6")),
        ("insert.rows", ("100", "500")), ("insert.bytes", ("256KiB", "4MiB")),
        ("insert.age_max", ("50ms", "1s")), ("insert.concurrency", ("1", "16")),
        ("insert.table_concurrency", ("1", "4")), ("tcp.line_timeout", ("10s", "30s"))]


def stored(cloud, event_type):
    return sorted(json.loads(line)["n"] for _, line in cloud.lines(f"output/{event_type}/"))


def waits(daemon, what, type_name=None):
    """`flush` says at once what is paused, and delivers the rest."""
    status, text = daemon.cli("--json", "flush", "--timeout", "60s", seconds=20)
    answer = json.loads(text)
    equal((status, answer["done"], answer["error"]), (1, False, "paused"), "flush while paused")
    equal([(p["what"], p["type"]) for p in answer["paused"]], [(what, type_name)], "what is paused")


def test_pause_type():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[{"name": "page"}, {"name": "a b"}],
                              group={"memory": "64MiB", "bytes_max": "8MiB"})
        with Control(daemon) as c:
            c.refused("pause type pgae", 'did you mean "page"?')
            c.refused("pause gsc", "allowed: gcs, bigquery, or type NAME")
            c.refused("pause", "usage: pause")
            equal(c.ask("resume type page")[0], 1, "status of resuming what is not paused")
            c.ok("pause type page")
            c.ok("pause type a%20b --for 1s")
            until(lambda: len(daemon.status()["paused"]) == 1, 10, "a pause to end by itself")
        daemon.post_ok(plain(1000) + plain(1000, "a b") + plain(1000, "other"))
        waits(daemon, "type", "page")
        equal((stored(cloud, "page"), stored(cloud, "other")), ([], list(range(1000))), "stored")
        equal(len(cloud.lines("output/a")), 1000, "the type whose pause is over")
        # Far more than group memory: other types do not wait for a paused one.
        big = b"".join(b'{"event_type":"page","n":%d,"fill":"%s"}\n' % (n, b"x" * 20000) for n in range(1000, 1300))
        for i in range(20):
            daemon.post_ok(big.replace(b'"n":', b'"part":%d,"n":' % i))
        daemon.post_ok(plain(1000, "other", first=1000))
        waits(daemon, "type", "page")
        equal(stored(cloud, "other"), list(range(2000)), "the other type flows")
        types = {t["type"]: t for t in daemon.cli_json("types")["types"]}
        equal((types["page"]["paused"]["what"], types["other"]["paused"]), ("type", None), "types")
        expect('penstock_paused{what="type",type="page"} 1' in daemon.admin("/metrics")[1], "metrics")
        expect("paused: type page since" in daemon.cli("flush")[1], "flush in words")
        daemon.kill()
        daemon.start()
        expect(daemon.log_lines("still paused: type page"), "the log at start")
        waits(daemon, "type", "page")
        equal(stored(cloud, "page"), [], "paused after a crash")
        with Control(daemon) as c:
            equal(c.ok("resume type page").split(" since")[0], "resumed: type page", "answer")
        daemon.settle()
        equal(stored(cloud, "page"), sorted(list(range(1000)) + 20 * list(range(1000, 1300))), "all of it, once")
        equal((daemon.status()["paused"], daemon.status()["held"]), ([], {"objects": 0, "tables": 0}), "status")


def test_pause_sinks():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[{"name": "streamed", "method": "insert_all"}])
        with Control(daemon) as c:
            c.ok("pause bigquery")
            daemon.post_ok(plain(1000) + plain(100, "streamed"))
            waits(daemon, "bigquery")
            equal((stored(cloud, "page"), cloud.jobs()), (list(range(1000)), []), "stored and not loaded")
            expect("streamed" not in cloud.tables(), "rows were inserted while paused")
            expect("paused" in {t["state"] for s in daemon.cli_json("sinks")["threads"] for t in s["tables"]}, "sinks")
            c.ok("pause gcs --for 1h")
            c.ok("resume bigquery")
            daemon.post_ok(plain(1000, first=1000))
            waits(daemon, "gcs")
            equal(len(stored(cloud, "page")), 1000, "nothing more is stored")
            until(lambda: cloud.jobs(), 20, "the load of what was stored")
            daemon.kill()
            daemon.start()
        waits(daemon, "gcs")
        expect("gcs since" in daemon.cli("status")[1], "status in words")
        # Stopping does not wait for what is paused.
        daemon.restart()
        with Control(daemon) as c:
            answer = json.loads(c.ok("resume all --json"))
            equal([(p["what"], p["until"] is not None) for p in answer["resumed"]], [("gcs", True)], "resumed")
        daemon.settle()
        equal(stored(cloud, "page"), list(range(2000)), "all of it, once")
        equal(len(cloud.rows("streamed")), 100, "rows that were inserted")


PAUSES = ["gcs", "bigquery", "type order", "type inventory"]


def pause_and_resume(daemon, seed, stop, done, errors):
    rng = random.Random(seed)
    try:
        with Control(daemon) as c:
            while not stop.wait(rng.uniform(0, 0.3)):
                what = rng.choice(PAUSES)
                c.ok(f"pause {what}" + rng.choice(("", " --for 1s")))
                stop.wait(rng.uniform(0, 0.5))
                c.ask(f"resume {what}")
                done[0] += 1
    except Exception as error:  # told to the test's thread
        errors.append(error)


def turn_knobs(daemon, seed, stop, done, errors):
    """Sets one knob or several after the other, some for a time, until told to stop."""
    rng = random.Random(seed)
    try:
        with Control(daemon) as c:
            while not stop.is_set():
                pairs = [(name, rng.choice(values)) for name, values in rng.sample(LIVE, rng.randint(1, 3))]
                c.ok("set " + " ".join(f"{n}={v}" for n, v in pairs) + rng.choice(("", "", " --for 1s")))
                done[0] += 1
    except Exception as error:  # told to the test's thread
        errors.append(error)


def test_under_load():
    with Place() as place:
        cloud = place.cloud()
        listed = [{**t, "method": "insert_all"} if t["name"] == "inventory" else t for t in LISTED]
        daemon = place.daemon(cloud, workers=2, listed=listed)
        gen = Gen(place, daemon, count=100000, rate=12000, malformed=1, late=2)
        stop, done, errors = threading.Event(), [0], []
        threads = [threading.Thread(target=turn_knobs, args=(daemon, i, stop, done, errors)) for i in range(4)]
        pauses = [0]
        threads.append(threading.Thread(target=pause_and_resume, args=(daemon, 9, stop, pauses, errors)))
        for thread in threads:
            thread.start()
        report = gen.wait()
        until(lambda: done[0] >= 3000 or errors, 60, lambda: f"3000 changes; {done[0]} so far")
        stop.set()
        for thread in threads:
            thread.join()
        expect(not errors, errors[:1])
        equal(report["acked"], 100000, "acknowledged")
        print(f"{done[0]} changes and {pauses[0]} pauses under load")
        with Control(daemon) as c:
            c.ok("set group.age_max=100ms block.age_max=0 gcs.concurrency=16 bigquery.load_cadence=1s "
                 "log.level=info worker.spin=false")
            c.ok("resume all")
        daemon.settle()
        compare(gen, cloud)
        forms = [{uri.endswith(".gz") for uri in job["configuration"]["load"]["sourceUris"]}
                 for job in cloud.jobs()]
        equal({len(f) for f in forms}, {1}, "forms of objects in a load job")
        expect({True} in forms and {False} in forms, "both forms were loaded")


if __name__ == "__main__":
    sys.exit(run_tests([test_get_and_set, test_sampling, test_pause_type, test_pause_sinks, test_top, test_under_load]))
