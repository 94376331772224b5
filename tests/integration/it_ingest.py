#!/usr/bin/env python3
"""Goal: `penstock ingest` stores each document of a file exactly once, whoever is killed when.

Method: real files in every form, the command run again, renamed, grown and changed files; kill -9 of
client and daemon at random moments (PENSTOCK_SEED replays them) until the file is in; a journal
without room; two clients at once; live requests beside it. In the end every number must be in the
bucket and in the table once.
"""
import collections
import ctypes
import gzip
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Place, Process, Reader, dead_letters, equal, expect, program,  # noqa: E402
                      request, run_tests, until)

SEED = int(os.environ.get("PENSTOCK_SEED", "0")) or random.randrange(1 << 30)


def zstd(data):
    """One frame; Python has no zstd of its own."""
    lib = ctypes.CDLL("libzstd.so.1")
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    size = lib.ZSTD_compress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)), 3)
    return out.raw[:size]


def event(n, kind="backfill", **more):
    return json.dumps({"event_type": kind, "n": n, **more})


def write(place, name, text):
    path = place.file(name)
    data = text if isinstance(text, bytes) else text.encode()
    with open(path, "wb") as file:
        file.write(data)
    return path


def lines_of(numbers, kind="backfill", pad=0):
    return "".join(event(n, kind, pad="x" * pad) + "\n" for n in numbers)


def ingest(daemon, *arguments, status=0, stdin=None, seconds=120):
    """Runs it; returns what it printed."""
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "ingest", *arguments]
    done = subprocess.run(argv, capture_output=True, timeout=seconds, input=stdin)
    text = (done.stdout + done.stderr).decode(errors="replace")
    equal(done.returncode, status, f"exit status of ingest {arguments}: {text[-600:]}")
    return text


def launch(place, daemon, *arguments, name="ingest"):
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "ingest", *arguments]
    return Process(argv, place.file(f"{name}.log"))


def stored(cloud, kind="backfill"):
    """How often each number is in the bucket."""
    return collections.Counter(json.loads(line)["n"] for _, line in cloud.lines(f"output/{kind}/"))


def loaded(cloud, kind="backfill"):
    return collections.Counter(json.loads(row["event"])["n"] for row in cloud.rows(kind))


def exactly_once(daemon, cloud, numbers, kind="backfill"):
    daemon.settle()
    want = collections.Counter(numbers)
    for what, got in (("bucket", stored(cloud, kind)), ("table", loaded(cloud, kind))):
        expect(got == want, what, "lacks", sorted((want - got))[:10], "has too many",
               sorted((got - want))[:10])


def test_forms():
    """NDJSON, arrays, spread objects, gzip, zstd, standard input, a type for all; dead letters."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        lines = write(place, "a.ndjson", lines_of(range(3)) + "not json\n\n[1]\n" + lines_of([3]))
        array = write(place, "b.json", json.dumps([json.loads(event(n)) for n in range(10, 20)] + [7], indent=2))
        spread = write(place, "c.json", json.dumps(json.loads(event(20)), indent=1) + "\n" +
                       json.dumps(json.loads(event(21)), indent=1))
        packed = write(place, "d.ndjson.gz", gzip.compress(lines_of(range(30, 40)).encode()) +
                       gzip.compress(lines_of(range(40, 50)).encode()))
        zst = write(place, "e.zst", zstd(lines_of(range(50, 60)).encode()))
        text = ingest(daemon, lines, array, spread, packed, zst, status=3)
        expect("a.ndjson:4: dead letter: bad_json" in text, text)
        expect("a.ndjson:6: dead letter: not_object" in text, text)
        expect("b.json:11: dead letter: not_object" in text, text)
        expect("all files: 49 documents stored, 3 of them as dead letters" in text, text)
        ingest(daemon, "-", stdin=lines_of(range(60, 70)).encode())
        ingest(daemon, "--type", "backfill", "-", stdin=b"".join(b'{"n":%d}\n' % n for n in range(70, 80)))
        empty = write(place, "empty", "\n")
        ingest(daemon, empty)
        pipe = place.file("pipe")
        os.mkfifo(pipe)
        with subprocess.Popen(["tee", pipe], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as tee:
            tee.stdin.write(lines_of(range(80, 90)).encode())
            tee.stdin.close()
            expect("10 documents stored" in ingest(daemon, pipe), "a named pipe is read once")
        ingest(daemon, "/dev/stdin", stdin=lines_of(range(90, 100)).encode())
        exactly_once(daemon, cloud, [*range(4), *range(10, 22), *range(30, 100)])
        found = {(letter["reason"], letter["source"]) for _, letter in dead_letters(cloud)}
        equal(found, {("bad_json", f"file {lines}:4"), ("not_object", f"file {lines}:6"),
                      ("not_object", f"file {array} element:11")}, "dead letters")
        equal(daemon.status()["injected"]["documents"], 89, "injected")
        daemon.clean()
        daemon.stop()


def test_again():
    """The same file is passed over, renamed too; a grown one continues; a changed one is an error."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        path = write(place, "a.ndjson", lines_of(range(10)))
        ingest(daemon, path)
        expect("all 10 documents are stored already" in ingest(daemon, path), "passed over")
        renamed = place.file("renamed")
        os.rename(path, renamed)
        ingest(daemon, renamed)
        write(place, "renamed", lines_of(range(20)))
        expect("10 documents stored; 10 were stored before" in ingest(daemon, renamed), "grown")
        big = write(place, "big", lines_of(range(100, 3000), pad=50))
        ingest(daemon, big)
        daemon.kill()
        daemon.start()
        write(place, "big", lines_of(range(100, 3500), pad=50))
        expect("500 documents stored; 2900 were stored before" in ingest(daemon, big), "grown, restarted")
        write(place, "big", lines_of([*range(100, 2000), 9999, *range(2001, 4000)], pad=50))
        expect("has changed in the part that is stored" in ingest(daemon, big, status=1), "changed")
        write(place, "big", lines_of(range(100, 3000), pad=50))
        expect("has changed in the part" in ingest(daemon, big, status=1), "shrunk")
        daemon.restart()
        write(place, "big", lines_of(range(100, 3600), pad=50))
        expect("another --type" in ingest(daemon, "--type", "t", big, status=1), "another type")
        ingest(daemon, big)
        expect("20 documents stored;" in ingest(daemon, "--again", renamed), "again")
        ingest(daemon, renamed)
        data = lines_of(range(5000, 5100)).encode()
        ingest(daemon, "--session", "nightly", "-", stdin=data[:len(data) // 2].rsplit(b"\n", 1)[0] + b"\n")
        ingest(daemon, "--session", "nightly", "-", stdin=data)
        exactly_once(daemon, cloud, [*range(20), *range(20), *range(100, 3600), *range(5000, 5100)])
        daemon.clean()
        daemon.stop()


def kill_at_random(place, cloud, daemon, path, dice, stop):
    """Runs the client until it is through, with somebody killed at random moments."""
    for round_number in range(60):
        if not daemon.process.alive():
            daemon.start()
        client = launch(place, daemon, "--rate", "20000", "--quiet", path, name=f"client{round_number}")
        if round_number >= 8:
            status = client.wait(120)
            expect(status in (0, 3), status, f"last run: {client.text()[-500:]}")  # 3: it met the dead letters
            stop.set()
            return round_number
        time.sleep(dice.uniform(0, 0.5))
        victim = dice.choice(["client", "daemon", "both", "reconnect"])
        if victim in ("daemon", "both", "reconnect"):
            daemon.kill()
        if victim == "reconnect":
            daemon.start()
            time.sleep(dice.uniform(0, 0.3))
        client.kill()


def live_load(daemon, sent, stop):
    """One connection after the other, an event a request, as long as it goes."""
    n = 0
    while not stop.is_set():
        try:
            with daemon.connect() as s:
                reader = Reader(s)
                while not stop.is_set():
                    n += 1
                    sent[n] = False
                    s.sendall(request(event(n, "live").encode()))
                    sent[n] = reader.answer().status == 200
        except (OSError, AssertionError, Exception):  # pylint: disable=broad-except
            time.sleep(0.02)


def test_kill():
    """kill -9 of client and daemon at random moments, live requests beside it: each exactly once."""
    print(f"PENSTOCK_SEED={SEED}", flush=True)
    dice = random.Random(SEED)
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, workers=2)
        good = list(range(60000))
        text = lines_of(good[:30000], pad=20) + "{bad\n" * 7 + lines_of(good[30000:], pad=900)
        path = write(place, "big.ndjson", text)
        sent, stop = {}, threading.Event()
        load = threading.Thread(target=live_load, args=(daemon, sent, stop))
        load.start()
        try:
            kill_at_random(place, cloud, daemon, path, dice, stop)
        finally:
            stop.set()
            load.join()
        exactly_once(daemon, cloud, good)
        dead = [letter["source"] for _, letter in dead_letters(cloud)]
        equal(sorted(dead), sorted(f"file {path}:{30001 + n}" for n in range(7)), "dead letters")
        live = stored(cloud, "live")
        expect(all(live[n] == 1 for n, ok in sent.items() if ok), "an acknowledged live event is missing or double")
        expect("are stored already" in ingest(daemon, path), "complete")
        daemon.stop()


def test_no_room():
    """With the cloud away the journal fills: ingest waits, live clients hear 429, all comes in the end."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, journal={"limit": "48MiB", "segment": "8MiB"}, workers=1,
                              http={"body_max": "4MiB"}, block={"bytes": "256KiB"})
        cloud.kill()
        numbers = range(28000)
        path = write(place, "big.ndjson", lines_of(numbers, pad=2000))
        client = launch(place, daemon, path)
        until(lambda: daemon.status()["journal"]["full"] > 0, 60, "the journal to be full")
        until(lambda: daemon.post(event(1, "live").encode()).status == 429, 30, "a live request to hear 429")
        expect(client.alive(), "the client waits", client.text())
        other = ingest(daemon, "--wait", "1", path, status=1, seconds=30)
        expect("somebody else is sending" in other, other)
        client.kill()
        client = launch(place, daemon, path, name="second")
        time.sleep(1)
        cloud.start()
        equal(client.wait(120), 0, client.text()[-500:])
        exactly_once(daemon, cloud, numbers)
        for again in (daemon.restart, lambda: (daemon.kill(), daemon.start())):
            again()  # the blocks that bore the marks are recycled by now
            expect("all 28000 documents are stored already" in ingest(daemon, path), "after a restart")
        daemon.stop()


def test_stop():
    """SIGINT ends behind what is answered and says how to go on; a daemon that drains is waited for."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        numbers = range(30000)
        path = write(place, "a.ndjson", lines_of(numbers))
        client = launch(place, daemon, "--rate", "10000", path)
        time.sleep(0.5)
        client.signal(signal.SIGINT)
        equal(client.wait(20), 130, client.text())
        expect("the same command goes on behind them" in client.text(), client.text())
        client = launch(place, daemon, "--rate", "10000", path, name="second")
        time.sleep(0.5)
        daemon.restart()
        equal(client.wait(60), 0, client.text())
        exactly_once(daemon, cloud, numbers)
        summary = json.loads(ingest(daemon, "--json", "--quiet", "--again", path))
        equal((summary["accepted"], summary["files_done"], summary["status"]), (30000, 1, 0), "summary")
        daemon.stop()
        expect("is it running?" in ingest(daemon, path, status=1), "no daemon")


def test_progress():
    """On a terminal one line is rewritten: how much, how fast, how long still."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        path = write(place, "a.ndjson", lines_of(range(3000)))
        ours, theirs = pty.openpty()
        argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "ingest", "--rate", "2000",
                path]
        done = subprocess.run(argv, stderr=theirs, stdout=subprocess.PIPE, timeout=60)
        os.close(theirs)
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        equal(done.returncode, 0, shown)
        expect(re.search(r"\r\x1b\[Kpenstock: \S+a.ndjson: [0-9.]+% of [0-9.]+ kB, \d+ documents, \d+/s", shown), shown)
        daemon.stop()


def test_usage():
    """Wrong options, unreadable files, a dry run."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        pipe = subprocess.Popen([program("penstock"), "--socket", daemon.config["control"]["socket"], "ingest", "-"],
                                stdin=subprocess.PIPE)
        for n in range(1, 4):  # what has come is stored before more is waited for
            pipe.stdin.write(lines_of([n], "pipe").encode())
            pipe.stdin.flush()
            until(lambda: daemon.status()["injected"]["documents"] == n, 20, f"{n} documents of a pipe")
        pipe.stdin.close()
        equal(pipe.wait(20), 0, "the pipe's exit status")
        for arguments, words in ((["--rat", "1", "f"], "unknown option"), ([], "no file"),
                                 (["--rate", "0", "f"], "--rate takes"), (["--type"], "a value is missing"),
                                 (["--wait", "5x", "f"], "--wait takes"), (["--wait", "0s", "f"], "--wait takes"),
                                 (["--session", "x", "a", "b"], "one file")):
            expect(words in ingest(daemon, *arguments, status=2), arguments)
        expect("--again" in ingest(daemon, "--help"), "help")
        expect("No such file" in ingest(daemon, "--wait", "0.5m", place.file("none"), status=1), "a missing file")
        expect("Is a directory" in ingest(daemon, os.path.dirname(place.file("x")), status=1), "a folder")
        torn = write(place, "torn.json", "[" + event(1) + ',\n{"n":')
        text = ingest(daemon, torn, status=1)
        expect("line 2: what begins here has no end; what stands in front of it is stored" in text, text)
        write(place, "torn.json", "[" + event(1) + ",\n" + event(2) + "]")
        expect("1 documents stored; 1 were stored before" in ingest(daemon, torn), "mended")
        growing = write(place, "growing", lines_of([3, 4]) + event(5)[:-3])
        expect("line 3: the last line is cut off" in ingest(daemon, growing, status=1), "a line being written")
        write(place, "growing", lines_of(range(3, 7)))
        expect("2 documents stored; 2 were stored before" in ingest(daemon, growing), "written")
        mixed = write(place, "mixed", lines_of(range(3)) + "bad\n")
        expect("4 documents, 1 of them would become dead letters" in ingest(daemon, "--dry-run", mixed, status=3),
               "dry run")
        equal(daemon.status()["injected"]["documents"], 9, "injected")
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([test_forms, test_again, test_kill, test_no_room, test_stop, test_progress, test_usage]))
