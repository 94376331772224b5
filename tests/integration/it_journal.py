#!/usr/bin/env python3
"""Goal: `penstock journal inspect|verify` says what lies on the disk, and names each damaged byte by file and offset.

Method: a daemon without a cloud stores events in several segments and is killed; its folder is read, as text and as
JSON; then one byte at a time is changed in copies of it: in a block, a segment's header, the delivery log's frames and
meta. What each damage does to the daemon itself is the business of other tests.
"""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Gen, Place, equal, expect, program, run_tests  # noqa: E402

EVENTS = 60000
BLOCK_MAGIC, FRAME_MAGIC = b"PSB1", b"PDFR"


def run(*words, status=0):
    done = subprocess.run([program("penstock"), "journal", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    equal(done.returncode, status, done.stdout[-600:])
    return done.stdout


def stored(place, flushes=0):
    """A data_dir with undelivered events in several segments; each flush leaves a frame in the delivery log."""
    cloud = place.cloud()
    daemon = place.daemon(cloud, workers=1, journal={"limit": "64MiB", "segment": "8MiB"},
                          delivery_log={"file": "8MiB"})
    cloud.kill()
    for _ in range(flushes):
        daemon.post_ok(b'{"event_type":"planned","n":1}\n')
        equal(daemon.cli("flush", "--timeout", "1s")[0], 1, "flush without a cloud: planned, not stored")
    equal(Gen(place, daemon, count=EVENTS, seed=1).wait()["acked"], EVENTS, "acknowledged")
    daemon.kill()
    return daemon.config["data_dir"]


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def blocks_of(path):
    """Offsets and lengths of the blocks of a segment, read without our code."""
    found, at = [], 4096
    with open(path, "rb") as file:
        data = file.read()
    while data[at:at + 4] == BLOCK_MAGIC:
        found.append((at, struct.unpack_from("<I", data, at + 12)[0]))
        at += found[-1][1]
    return found


def segments_in_use(data):
    found = json.loads(run("inspect", data, "--json"))[0]["found"]
    return [item["segment"] for item in found if item.get("counts")]


def damaged(place, data, name, offset, whole=True):
    """The answer for a copy of data in which one byte of a file is another one."""
    copy = place.file("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("*.sock"))
    flip(os.path.join(copy, name), offset)
    return run("verify" if whole else "inspect", copy, status=1)


def test_inspect_and_verify():
    with Place() as place:
        data = stored(place)
        text = run("verify", data)
        expect("no damage: every block and record verifies" in text, text)
        expect(f"{EVENTS} events ever" in text, text)
        expect("no damage seen" in run("inspect", data), text)
        rows = json.loads(run("verify", data, "--json"))
        equal([len(rows), rows[0]["events"]], [2, EVENTS], "journals and delivery log")
        equal(sum(item.get("events", 0) for item in rows[0]["found"]), EVENTS, "events in segments")
        equal(rows[1]["delivery_log"], f"{data}/delivery", "delivery log")
        equal(json.loads(run("inspect", f"{data}/journal/00", "--json"))[0]["uuid"], rows[0]["uuid"], "one journal")
        expect("frames to offset" in run("verify", f"{data}/delivery"), "one delivery log")


def test_damage_is_named():
    with Place() as place:
        data = stored(place)
        chain = sorted(segments_in_use(data))
        expect(len(chain) >= 3, chain)
        segment = f"journal/00/{chain[1]:08x}.seg"
        at, length = blocks_of(os.path.join(data, segment))[2]
        for place_in_block in (0, 9, 200, length // 2):
            text = damaged(place, data, segment, at + place_in_block)
            expect(f"{segment} offset {at}: no valid block where one is durable" in text, text)
        text = damaged(place, data, segment, 20)
        expect(f"{segment} offset 0: the header is damaged" in text, text)
        last = f"journal/00/{chain[-1]:08x}.seg"
        at, _ = blocks_of(os.path.join(data, last))[0]
        text = damaged(place, data, last, at + 300, whole=False)
        expect(f"{last} offset {at}: no valid block, and acknowledged blocks follow it" in text, text)
        text = damaged(place, data, "journal/00/meta", 30)
        expect("meta is damaged" in text, text)


def test_damage_in_the_delivery_log():
    with Place() as place:
        data = stored(place, flushes=3)
        files = json.loads(run("inspect", f"{data}/delivery", "--json"))[0]["files"]
        newest = max(files, key=lambda file: file["seq"])
        path = os.path.join(data, "delivery", newest["file"])
        with open(path, "rb") as file:
            frames = [at for at in range(4096, newest["end"], 4096)
                      if file.seek(at) == at and file.read(4) == FRAME_MAGIC]
        expect(len(frames) >= 3, frames)
        text = damaged(place, data, f"delivery/{newest['file']}", frames[-2] + 20)
        wanted = f"{newest['file']} offset {frames[-2]}: no valid frame, and acknowledged records follow it"
        expect(wanted in text, text)


def test_wrong_usage():
    with Place() as place:
        run(status=2)
        run("look", place.path, status=2)
        run("verify", status=2)
        run("verify", place.path, "--fast", status=2)
        expect("neither a data_dir" in run("verify", place.path, status=1), "an empty folder")
        expect(not glob.glob(place.file("*")), "nothing is made")


if __name__ == "__main__":
    run_tests([test_inspect_and_verify, test_damage_is_named, test_damage_in_the_delivery_log, test_wrong_usage])
