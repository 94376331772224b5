#!/usr/bin/env python3
"""Goal: every input at once, both ways into BigQuery, while the cloud misbehaves and the daemon is killed:
nothing that was acknowledged is lost, nothing is stored twice, and `penstock verify` is clean.

Method: HTTP plain and gzip, TCP acknowledged and plain, UDP and `penstock ingest` of a file run together, each
with events of its own seed. Orders go by load jobs, inventory by insertAll, user activity to a table whose
columns are inferred. localcloud answers 503 and 429, loses answers, keeps part of a chunk, stops rows. The
daemon is killed and started again in the middle; the ingest command too. In the end `penstock-gen --check`
compares objects, rows and dead letters with what each input was told, by id.
"""
import gzip
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (BUCKET, DATASET, PROJECT, Place, equal, expect, free_port, listed_mixed,  # noqa: E402
                      program, run_tests, until)

SECONDS = float(os.environ.get("PENSTOCK_FAULT_SECONDS", "1")) + 4
FILE_EVENTS = 30000
TABLES = (("orders", "order_id"), ("inventory", "inventory_id"), ("user_activity", "metadata.session_id"))
HTTP, GZIP, ACKED, PLAIN, UDP, FILE = range(21, 27)  # seeds


def start(place):
    cloud = place.cloud()
    ports = [free_port() for _ in range(3)]
    daemon = place.daemon(cloud, listed=listed_mixed(), tcp={"acked_listen": f"127.0.0.1:{ports[0]}",
                                                             "listen": f"127.0.0.1:{ports[1]}"},
                          udp={"listen": f"127.0.0.1:{ports[2]}"}, gcs={"resumable_bytes": "256KiB",
                                                                        "chunk_bytes": "256KiB"})
    return cloud, daemon, ports


def misbehave(cloud):
    cloud.fault(status=503, probability=0.1, seed=1)
    cloud.fault(status=429, probability=0.05, seed=2, service="storage")
    cloud.fault(lose_answer=True, probability=0.05, seed=3, method="POST", service="storage")
    cloud.fault(lose_answer=True, probability=0.05, seed=4, method="POST", path_contains="/jobs")
    cloud.fault(row_reason="backendError", row_every=7, probability=0.2, seed=5, path_contains="/insertAll")
    cloud.fault(persist_bytes=262144, probability=0.3, seed=6, method="PUT")


class Sender:
    """penstock-gen to one input, with its acknowledgement log where the input answers."""

    def __init__(self, place, name, target, seed, log=True, rate=2500):
        self.seed, self.acks = seed, place.file(f"{name}.acks")
        argv = [program("penstock-gen"), "--target", target, "--seed", str(seed), "--rate", str(rate), "--batch",
                "20", "--duration", str(SECONDS), "--json", "--connections", "4", "--reconnect"]
        argv += ["--malformed", "1", "--malformed-kinds", "broken_json,bad_utf8"] if log else []
        argv += ["--log", self.acks] if log else []
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)

    def report(self):
        out = self.child.communicate(timeout=120)[0]
        equal(self.child.returncode, 0, f"exit status of the sender with seed {self.seed}: {out}")
        return json.loads(out)


def send_gzip(daemon, acks, stop):
    """Compressed bodies of 50 events; a request without an answer is not sent again."""
    out = subprocess.run([program("penstock-gen"), "--out", "-", "--count", "5000", "--seed", str(GZIP)],
                         capture_output=True, check=True).stdout.splitlines(keepends=True)
    with open(acks, "w", encoding="ascii") as log:
        for first in range(0, len(out), 50):
            if stop.is_set():
                return
            lines = out[first:first + 50]
            try:
                answer = daemon.post(gzip.compress(b"".join(lines)), headers={"Content-Encoding": "gzip"})
                status = str(answer.status)
            except OSError:
                status = "none"
                time.sleep(0.05)
            for seq, line in enumerate(lines, first):
                event = json.loads(line)
                name = event.get("order_id") or event.get("inventory_id") or event["metadata"]["session_id"]
                log.write(f"{seq} {name} {event['event_type']} good {status}\n")


class Ingest:
    """`penstock ingest` of a file, killed now and then, always continued."""

    def __init__(self, place, daemon):
        self.path = place.file("backfill.ndjson")
        self.argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "ingest", "--wait", "60",
                     self.path]
        subprocess.run([program("penstock-gen"), "--out", self.path, "--count", str(FILE_EVENTS), "--seed",
                        str(FILE)], check=True, stderr=subprocess.DEVNULL)
        self.log = open(place.file("ingest.log"), "ab")  # pylint: disable=consider-using-with
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def finish(self):
        status = self.child.wait(180)
        for _ in range(20):
            if status == 0:
                break
            self.start()
            status = self.child.wait(180)
        with open(self.log.name, encoding="utf-8") as file:
            equal(status, 0, f"exit status of ingest: {file.read()[-800:]}")


def cat(cloud, prefix, path):
    with open(path, "wb") as file:
        subprocess.run([program("localcloud"), "--data", cloud.data, "--cat", f"gs://{BUCKET}/{prefix}"], stdout=file,
                       check=True)
    return path


def lines_of(path, seed, to):
    """The lines with ids of one seed."""
    mark = f"-{seed}-".encode()
    with open(path, "rb") as file, open(to, "wb") as out:
        n = 0
        for line in file:
            if mark in line:
                out.write(line)
                n += 1
    return n


def check(*arguments, status=0):
    done = subprocess.run([program("penstock-gen"), "--check", "--json", *arguments], capture_output=True, timeout=120,
                          check=False)
    equal(done.returncode, status, f"{arguments}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def compare(place, cloud, logs, unanswered):
    """Objects and rows of each seed against what its sender was told."""
    places = {"objects": cat(cloud, "output/", place.file("objects"))}
    dead = cat(cloud, "dead_letter/", place.file("dead"))
    with open(place.file("rows"), "w", encoding="ascii") as file:
        for table, column in TABLES:
            for row in cloud.query(f"SELECT {column} FROM `{PROJECT}.{DATASET}.{table}`"):
                file.write(row[0] + "\n")
    places["rows"] = place.file("rows")
    counts = {}
    for what, path in places.items():
        for seed, log in logs.items():
            part = place.file(f"{what}.{seed}")
            lines_of(path, seed, part)
            counts[what, seed] = check("--acks", log, "--arrived", part)["arrived"]
        counts[what, FILE] = lines_of(path, FILE, place.file(f"{what}.file"))
        check("--seed", str(FILE), "--count", str(FILE_EVENTS), "--arrived", place.file(f"{what}.file"))
        for seed, sent in unanswered.items():
            n = lines_of(path, seed, place.file(f"{what}.{seed}"))
            found = check("--seed", str(seed), "--count", str(sent), "--arrived", place.file(f"{what}.{seed}"),
                          status=0 if n == sent else 1)
            equal((found["surplus"], found["unknown"], found["without_id"]), (0, 0, 0), f"seed {seed}: {found}")
            counts[what, seed] = n
    for seed in [*logs, FILE, *unanswered]:
        equal(counts["objects", seed], counts["rows", seed], f"objects and rows of seed {seed}")
    logged = place.file("objects.logged")
    with open(logged, "wb") as out:
        for seed in logs:
            with open(place.file(f"objects.{seed}"), "rb") as part:
                out.write(part.read())
    acks = [word for log in logs.values() for word in ("--acks", log)]
    counts["dead", 0] = check(*acks, "--arrived", logged, "--dead", dead)["dead_arrived"]
    return counts


def test_mixed():
    with Place() as place:
        cloud, daemon, (acked, plain, udp) = start(place)
        misbehave(cloud)
        ingest = Ingest(place, daemon)
        senders = {HTTP: Sender(place, "http", f"http://127.0.0.1:{daemon.port}/v1/events", HTTP),
                   ACKED: Sender(place, "acked", f"tcp+acked://127.0.0.1:{acked}", ACKED)}
        silent = {PLAIN: Sender(place, "plain", f"tcp://127.0.0.1:{plain}", PLAIN, log=False),
                  UDP: Sender(place, "udp", f"udp://127.0.0.1:{udp}", UDP, log=False)}
        stop = threading.Event()
        gzip_acks = place.file("gzip.acks")
        gzipper = threading.Thread(target=send_gzip, args=(daemon, gzip_acks, stop))
        gzipper.start()
        for wait in (SECONDS / 3, SECONDS / 3):
            time.sleep(wait)
            ingest.kill()
            daemon.kill()
            daemon.start()
            ingest.start()
        reports = {seed: sender.report() for seed, sender in {**senders, **silent}.items()}
        stop.set()
        gzipper.join()
        ingest.finish()
        cloud.clear_faults()
        until(daemon.ready, 60, "the daemon")
        daemon.settle(240)
        logs = {seed: sender.acks for seed, sender in senders.items()}
        logs[GZIP] = gzip_acks
        counts = compare(place, cloud, logs, {seed: reports[seed]["events"] for seed in silent})
        daemon.clean()
        expect(counts["dead", 0] > 100, counts)
        expect(all(counts["rows", seed] > 100 for seed in (HTTP, GZIP, ACKED, PLAIN, UDP)), counts)
        daemon.stop()
        print("mixed:", {f"{what} {seed}": n for (what, seed), n in counts.items()})


if __name__ == "__main__":
    sys.exit(run_tests([test_mixed]))
