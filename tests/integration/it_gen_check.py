#!/usr/bin/env python3
"""Goal: penstock-gen's scenarios, duplicates, disorder, hot keys and sequence numbers are what they
promise, and --check finds every event that is missing, doubled or never sent.

Method: runs into files, whose lines are then spoiled on purpose in ways whose count is known; and one
run through penstockd and localcloud, whose objects, rows and dead letters are checked by id.
"""
import base64
import collections
import gzip
import json
import os
import random
import subprocess
import sys
import urllib.request

import it_gen
from it_gen import GEN, event_age, event_id, make, report, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import BUCKET, DATASET, PROJECT, Gen, Place, equal, expect, program, run_tests  # noqa: E402

SCENARIOS = {"quick_sample": (12, 1, 12), "light_demo": (30, 5, 150), "moderate_load": (60, 10, 600),
             "heavy_load": (120, 15, 1800), "burst_test": (300, 3, 900), "sustained_demo": (90, 30, 2700),
             "stress_test": (600, 10, 6000), "orders_only": (60, 5, 300), "inventory_only": (60, 5, 300),
             "user_activity_only": (60, 5, 300)}


def test_scenarios():
    listed = {}
    for line in run("--scenarios")[0].decode().splitlines()[1:]:
        name, *numbers = line.split()[:4]
        listed[name] = tuple(map(int, numbers))
    equal(listed, SCENARIOS, "scenarios")
    for name, (_, _, total) in SCENARIOS.items():
        events = [json.loads(line) for line in make("--scenario", name, "--speed", 100000)]
        equal(len(events), total, name)
        types = {event["event_type"] for event in events}
        wanted = {name.removesuffix("_only").removesuffix("s")} if name.endswith("_only") else set(it_gen.FIELDS)
        wanted = {"order" if kind == "order" else kind for kind in wanted}
        equal(types, wanted, name)
    server = it_gen.Server()
    result = report("--scenario", "stress_test", "--speed", 600, "--target", server.url)
    equal((result["acked"], len(server.events())), (6000, 6000), "a scenario sent")
    expect(result["seconds"] > 0.9, "its rate is kept:", result["seconds"])
    server.stop()
    equal(len(make("--count", 5, "--scenario", "stress_test", "--speed", 1000)), 5, "options change it")
    _, err = run("--scenario", "no_such", check=2)
    expect("no_such" in err and "--scenarios" in err, err)
    run("--speed", 2, check=2)


def test_duplicates():
    lines = make("--count", 20000, "--duplicates", 5, "--malformed", 2)
    plain = make("--count", 20000, "--malformed", 2)
    again = [seq for seq, line in enumerate(lines) if line != plain[seq]]
    expect(800 < len(again) < 1100, len(again))
    for seq in again:
        origin = int(event_id(json.loads(lines[seq])).split("-")[2])
        expect(0 < seq - origin, origin, seq)
        equal(lines[seq], plain[origin], f"duplicate {seq}")
    with Place() as place:
        out = place.file("events")
        result = report("--out", out, "--count", 20000, "--duplicates", 5, "--malformed", 2)
        equal(result["duplicates"], len(again), "duplicates reported")


def test_order():
    ages = [event_age(json.loads(line)) for line in make("--count", 2000, "--ordered")]
    equal(set(ages), {0}, "ordered")
    ages = [event_age(json.loads(line)) for line in make("--count", 20000, "--out-of-order", 10,
                                                         "--disorder", 30)]
    back = [age for age in ages if age > 0]
    expect(1800 < len(back) < 2200, len(back))
    expect(0 < min(back) and max(back) <= 30, min(back), max(back))
    run("--out-of-order", 60, "--late", 60, check=2)


def test_hot_keys():
    events = [json.loads(line) for line in make("--count", 9000, "--hot", 90, "--hot-keys", 2)]
    customers = collections.Counter(e.get("customer_id") or e.get("user_id") for e in events)
    del customers[None]
    hot = customers["customer-001"] + customers["customer-002"]
    expect(0.88 < hot / sum(customers.values()) < 0.95, customers.most_common(4))
    houses = collections.Counter(e["warehouse_id"] for e in events if "warehouse_id" in e)
    expect(houses["wh-us-east"] > 5 * houses["wh-eu-west"], houses)


def test_type_names():
    plain, named = make("--count", 3000), make("--count", 3000, "--type-names", 50)
    for before, after in zip(plain, named):
        event, other = json.loads(before), json.loads(after)
        name, number = other["event_type"].rsplit("_", 1)
        equal(name, event.pop("event_type"), "type")
        expect(len(number) == 5 and int(number) < 50, "one of 50 names:", other["event_type"])
        equal({k: v for k, v in other.items() if k != "event_type"}, event, "all else is the same")
    names = collections.Counter(json.loads(line)["event_type"] for line in named)
    expect(len(names) == 150 and max(names.values()) < 60, "all names, about as often:", names.most_common(3))
    expect(it_gen.classify(make("--count", 1, "--type-names", 7, "--malformed", 100, "--malformed-kinds",
                                "missing_type")[0]) == "missing_type", "without a type there is nothing to name")


def test_sequence():
    for seq, line in enumerate(make("--count", 1000, "--sequence")):
        equal(json.loads(line)["sequence"], seq, "sequence")
    kinds = collections.Counter(map(it_gen.classify, make("--count", 3000, "--sequence", "--malformed", 100)))
    expect("good" not in kinds, kinds)


def test_file_target():
    with Place() as place:
        path = place.file("events")
        equal(report("--target", f"file:{path}", "--count", 500)["events"], 500, "events")
        with open(path, "rb") as file:
            equal(len(file.readlines()), 500, "lines")
        run("--target", "file:", check=2)


def check(*args, status):
    done = subprocess.run([GEN, "--check", "--json", *map(str, args)], capture_output=True, timeout=60)
    equal(done.returncode, status, f"{args}: {done.stderr.decode()}")
    return json.loads(done.stdout) if status < 2 else done.stderr.decode()


def write(path, lines):
    with open(path, "wb") as file:
        file.writelines(line + b"\n" for line in lines)


def test_check_without_log():
    with Place() as place:
        path = place.file("events")
        lines = make("--count", 5000, "--seed", 4)
        write(path, lines)
        options = ("--seed", 4, "--count", 5000, "--arrived", path)
        found = check(*options, status=0)
        equal((found["arrived"], found["gaps_count"]), (5000, 0), "all")
        write(path, lines[:100] + lines[150:300] + lines[301:] + lines[7:9])
        found = check(*options, status=1)
        equal((found["missing"], found["surplus"], found["gaps"]), (51, 2, [[4, 100, 149], [4, 300, 300]]), "")
        write(path, lines + make("--count", 3, "--seed", 5) + [b"{}"])
        found = check(*options, status=1)
        equal((found["unknown"], found["without_id"]), (3, 1), "never sent")
        write(path, [b"order_id,n"] + [event_id(json.loads(line)).encode() for line in lines])
        check(*options, status=0)
        folder = place.file("folder")
        os.makedirs(os.path.join(folder, "a", "b"))
        write(os.path.join(folder, "a", "one"), lines[:2000])
        write(os.path.join(folder, "a", "b", "two"), lines[2000:])
        check("--seed", 4, "--count", 5000, "--arrived", folder, status=0)
        check("--seed", 4, "--count", 5000, "--arrived", os.path.join(folder, "none"), status=2)
        done = subprocess.run([GEN, "--check", "--seed", "4", "--count", "5000", "--arrived", "-"],
                              input=b"\n".join(lines), capture_output=True, check=False)
        equal(done.returncode, 0, done.stderr)


def dead_line(raw, part=1, parts=1):
    try:
        text = raw.decode()
        body = {"raw": text}
    except UnicodeDecodeError:
        body = {"raw_base64": base64.b64encode(raw).decode()}
    return json.dumps({"reason": "bad_json", "part": part, "parts": parts, **body},
                      separators=(",", ":")).encode()


def test_check_with_log():
    """Of each outcome some; dead letters whose id is cut off are counted."""
    with Place() as place:
        log, path, dead = place.file("acks"), place.file("events"), place.file("dead")
        options = ("--count", 4000, "--malformed", 10, "--duplicates", 5, "--seed", 9, "--now", it_gen.NOW)
        server = it_gen.Server(lambda _, number: (503, None) if number % 4 == 0 else "ok")
        run("--target", server.url, "--log", log, *options)
        got = server.events()
        server.stop()
        good = [line for line in got if it_gen.classify(line) in ("good", "late")]
        bad = [line for line in got if line not in set(good)]
        write(path, good)
        write(dead, [dead_line(line) for line in bad] + [dead_line(b"rest of it", 2, 2)])
        where = ("--acks", log, "--arrived", path, "--dead", dead)
        found = check(*where, status=0)
        equal(found["arrived"], len(good), "arrived")
        expect(found["dead_arrived"] == len(bad) > 250, found)
        expect(len(good) > len(set(good)), "duplicates arrived")
        check(*where, "--deduped", status=1)
        write(path, sorted(set(good)))
        check(*where, status=1)
        check(*where, "--deduped", status=0)
        write(path, good)
        write(dead, [dead_line(line) for line in bad[1:]])
        equal(check(*where, status=1)["dead_missing"], 1, "a dead letter lost")
        write(dead, [dead_line(line) for line in bad + bad[:1]])
        equal(check(*where, status=1)["dead_surplus"], 1, "a dead letter twice")
        with open(log, encoding="ascii") as file:
            rows = file.read().splitlines()
        refused = next(row.split()[1] for row in rows if row.endswith("good 503"))
        write(dead, [dead_line(line) for line in bad])
        write(path, good + [b'{"order_id":"%s"}' % refused.encode()])
        equal(check(*where, status=1)["surplus"], 1, "refused, but there")
        write(path, good)
        write(log, [row.replace(" 200", " none").encode() for row in rows])
        equal(check(*where, status=0)["unanswered"], len(good), "no promise")
        write(path, good[::2])
        check(*where, status=0)
        write(log, [b"1 ord-9-1 order good"])
        expect("line 1" in check(*where, status=2), "a broken log")


def test_check_usage():
    for args in ((), ("--arrived", "x"), ("--arrived", "x", "--count", 5, "--out", "y"),
                 ("--arrived", "x", "--count", 5, "--target", "http://h")):
        check(*args, status=2)
    run("--arrived", "x", check=2)


def cat(cloud, prefix):
    done = subprocess.run([program("localcloud"), "--data", cloud.data, "--cat", f"gs://{BUCKET}/{prefix}"],
                          capture_output=True, check=False)
    equal(done.returncode, 0, done.stderr)
    return done.stdout


def test_whole_way():
    """What penstockd delivers passes; a line taken away does not."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        gen = Gen(place, daemon, count=3000, malformed=3, late=2)
        gen.wait()
        daemon.settle()
        objects = cat(cloud, "output/").splitlines()
        rows = []
        for table, column in (("orders", "order_id"), ("inventory", "inventory_id"),
                              ("user_activity", "metadata.session_id")):
            rows += [row[0].encode() for row in cloud.query(f"SELECT {column} FROM `{PROJECT}.{DATASET}.{table}`")]
        dead = place.file("dead")
        with open(dead, "wb") as file:
            file.write(cat(cloud, "dead_letter/"))
        for name, lines in (("objects", objects), ("rows", rows)):
            write(place.file(name), lines)
            found = check("--acks", gen.acks_path, "--arrived", place.file(name), "--dead", dead, status=0)
            expect(found["arrived"] + found["dead_arrived"] == 3000, name, found)
            lines.pop(random.randrange(len(lines)))
            write(place.file(name), lines)
            equal(check("--acks", gen.acks_path, "--arrived", place.file(name), "--dead", dead,
                        status=1)["missing"], 1, name)


def test_cat():
    """Objects come out in name order, gzip unpacked."""
    with Place() as place:
        cloud = place.cloud()
        for name, body in (("a/2", gzip.compress(b"two\n")), ("a/1", b"one\n"), ("b", b"other\n")):
            address = f"{cloud.endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
            urllib.request.urlopen(urllib.request.Request(address, body, method="POST")).read()
        equal(cat(cloud, "a/"), b"one\ntwo\n", "a/")
        equal(cat(cloud, ""), b"one\ntwo\nother\n", "all")
        for url, status in (("gs://", 2), ("x", 2), ("gs://no-such-bucket/", 1)):
            done = subprocess.run([program("localcloud"), "--data", cloud.data, "--cat", url],
                                  capture_output=True, check=False)
            equal(done.returncode, status, url)
            expect(done.stderr, url)


if __name__ == "__main__":
    program("penstock-gen")
    sys.exit(run_tests([f for name, f in list(globals().items()) if name.startswith("test_")]))
