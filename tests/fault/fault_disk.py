#!/usr/bin/env python3
"""Goal: a disk that is full under a running daemon: nothing acknowledged is lost, clients hear 503 and no false
200, status says why, a restart delivers what is there, and all goes on by itself when there is room again.

Method: a small file system (tmpfs, so root is needed; skipped without) that a file fills while penstock-gen sends; the
cloud is away, so that the journal must grow. In between the daemon is killed and started on the full disk. In the end
every event is compared by id. Other failures of the disk are the simulation's (sim.h).
"""
import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, compare, equal, expect, run_tests, until  # noqa: E402

MIB = 1 << 20


@contextlib.contextmanager
def small_disk(path, size):
    os.makedirs(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "penstock-test", path], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        print(f"skip full_disk {' '.join(done.stderr.split())}")
        sys.exit(77)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path):
    """Takes all the room there is."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MIB))


def test_full_disk():
    with Place() as place, small_disk(place.file("disk"), 200 * MIB):
        filler = place.file("disk", "filler")
        cloud = place.cloud()
        daemon = place.daemon(cloud, start=False, workers=1, data_dir=place.file("disk", "data"),
                              journal={"limit": "1GiB", "segment": "8MiB", "spares": 2},
                              group={"memory": "64MiB", "bytes_max": "16MiB"}, delivery_log={"file": "8MiB"},
                              shutdown={"grace": "0s"})
        daemon.start()
        cloud.kill()
        gen = Gen(place, daemon, seed=5, duration=600, connections=8, batch=20, malformed=1, late=2, reconnect=True)
        until(lambda: gen.fates() > 2000, 60, "events")
        fill(filler)
        until(lambda: daemon.status()["journal"]["disk_error"] == 1, 60, "the full disk to be noticed")
        until(lambda: daemon.status()["refused"], 60, "refusals")
        expect("DISK ERROR" in daemon.cli("status")[1], "status in words")
        daemon.kill()
        fill(filler + "2")
        daemon.process = daemon.launch()  # it runs and delivers, and is not ready for events
        until(lambda: daemon.admin_answers("/healthz"), 60, "the start on a full disk")
        cloud.start()
        before = daemon.status()["durable_ever"]
        expect(before > 0, "what is there")
        os.remove(filler)
        os.remove(filler + "2")
        until(lambda: daemon.status()["durable_ever"] > before + 1000, 60, "events to be taken again")
        gen.interrupt()
        gen.wait(60)
        daemon.flush()
        daemon.settle()  # verify asks dlq.db, which could not be opened at the start
        equal(daemon.cli("dlq", "list")[0], 0, "dead letters once there is room")
        print(dict(compare(gen, cloud)))
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([test_full_disk]))
