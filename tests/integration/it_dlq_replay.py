#!/usr/bin/env python3
"""Goal: a replay takes each dead letter in again exactly once, whatever ends it in between.

Method: letters are made right by a change of the configuration, and replayed: from several clients at once, given
up with Ctrl-C, killed with the daemon at any moment. Then every event is in the bucket and in its table once, by
number, and verify is clean.
"""
import collections
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dlq import clean, flush, listed, raw, refused, send, thing, upload  # noqa: E402
from penstock import Place, equal, expect, program, run_tests, until  # noqa: E402


def numbers(cloud, event_type="thing"):
    """How often each number is in the bucket and in the table; both must agree."""
    stored = collections.Counter(json.loads(line)["n"] for _, line in cloud.lines(f"output/{event_type}/"))
    rows = collections.Counter(int(v) for v in cloud.column(event_type, "JSON_VALUE(event, '$.n')"))
    equal(stored, rows, "bucket and table")
    return stored


def expect_once(cloud, count):
    found = numbers(cloud)
    doubled, lost = [n for n, k in found.items() if k != 1], [n for n in range(count) if n not in found]
    expect(not doubled and not lost, f"{len(doubled)} doubled, {len(lost)} lost", doubled[:5], lost[:5])
    equal(sum(found.values()), count, "events")


def make_unlisted(daemon, count):
    """Letters that a change of the configuration makes right."""
    for first in range(0, count, 2000):
        send(daemon, b"\n".join(thing(i) for i in range(first, min(first + 2000, count))))
    flush(daemon)


def allow(daemon):
    daemon.config["types"]["unlisted"] = "json"
    daemon.restart()


def test_replay():
    with Place() as place:
        cloud = place.cloud()
        schema = place.file("order.json")
        columns = [{"name": "order_id", "type": "STRING"}, {"name": "order_date", "type": "TIMESTAMP"},
                   {"name": "event_type", "type": "STRING"}]
        with open(schema, "w") as file:
            json.dump([{**columns[0], "type": "INTEGER"}, *columns[1:]], file)
        listed_types = [{"name": "order", "table": "orders", "time_field": "order_date", "schema": schema}]
        daemon = place.daemon(cloud, listed=listed_types, types={"unlisted": "dead_letter"})
        order = {"event_type": "order", "order_id": "ord-1-1", "order_date": "2026-11-21T08:00:00Z"}
        long_one = thing(1, b',"text":"' + b'\\"' * 400000 + b'"')  # in parts: quotes take twice their room
        answer = send(daemon, json.dumps(order).encode())
        equal(answer["dead_lettered"], 1, "the wrong schema")
        send(daemon, thing(0) + b"\n" + long_one + b"\n" + b'{"event_type":"thing","n":2} x')
        send(daemon, b'{"no":"type"}')
        flush(daemon)
        parts = {x["bytes"]: x["parts"] for x in listed(daemon)}
        expect(parts[len(long_one)] > 1, f"a letter in parts: {parts}")
        text = refused(daemon, "replay", "--type", "order", status=1, has=["1 dead letters would be replayed", "--yes"])
        expect("accepted" not in text, text)
        equal(daemon.cli_json("dlq", "replay", "--type", "order", "--dry-run")["matched"], 1, "--dry-run")
        one = listed(daemon, "--type", "order")[0]["id"]
        done = daemon.cli_json("dlq", "replay", "--id", one)
        equal((done["replayed"], done["dead_lettered"]), (1, 1), "a replay before the cause is fixed")
        flush(daemon)
        again = listed(daemon, "--source", f"replay_of {one}")
        equal([(x["reason"], x["type"], raw(daemon, x["id"])) for x in again],
              [("bad_value", "order", json.dumps(order).encode())], "dead again")
        with open(schema, "w") as file:
            json.dump(columns, file)
        allow(daemon)
        done = daemon.cli_json("dlq", "replay", "--id", one)
        equal((done["replayed"], done["handled_before"]), (0, 1), "the first letter has been replayed")
        done = daemon.cli_json("dlq", "replay", "--all", "--yes")
        equal((done["replayed"], done["accepted"], done["dead_lettered"]), (5, 3, 2), f"replay --all: {done}")
        equal(sorted(g["reason"] for g in done["dead_lettered_by_kind"]["groups"]), ["bad_json", "missing_type"], "")
        equal(daemon.cli_json("dlq", "replay", "--reason", "unlisted_type", "--yes")["replayed"], 0, "again")
        flush(daemon)
        done = daemon.cli_json("dlq", "replay", "--reason", "missing_type", "--yes", "--as-type", "order/2")
        equal((done["replayed"], done["accepted"]), (1, 1), "--as-type")
        equal(daemon.cli_json("dlq", "drop", "--reason", "bad_json", "--yes")["dropped"], 1, "drop")
        done = daemon.cli_json("dlq", "replay", "--reason", "bad_json", "--state", "dropped", "--yes")
        equal((done["replayed"], done["dead_lettered"]), (1, 1), "a dropped one is replayed after all")
        clean(daemon)
        equal(numbers(cloud), {0: 1, 1: 1}, "things")
        stored = [line for _, line in cloud.lines("output/thing/") if b'"n":1,' in line][0]
        expect(stored.startswith(long_one[:-1]), "the long one, byte for byte")
        equal([r["order_id"] for r in cloud.rows("orders")], ["ord-1-1"], "orders")
        equal(len(cloud.lines("output/order_x2F2/")), 1, "order/2")


def test_refused_by_bigquery():
    """Rows that insertAll refused: the replay has the event as it came, and its row is there once."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, insert={"age_max": "50ms"}, bigquery={"method": "insert_all"})
        cloud.fault(service="bigquery", row_reason="invalid", message="no such thing: x.", row_contains="bad-")
        lines = [thing(i, b',"id":"bad-%d"' % i if i % 3 == 0 else b"") for i in range(60)]
        send(daemon, b"\n".join(lines))
        flush(daemon)
        found = listed(daemon, "--reason", "refused_by_bigquery")
        equal(len(found), 20, "refused")
        equal({(x["type"], x["detail"]) for x in found}, {("thing", "invalid: no such thing: x.")}, "BigQuery's word")
        equal({raw(daemon, x["id"]) for x in found[:3]} - set(lines), set(), "the event as it came")
        expect(all(x["source"] == f"journal {x['id']}" for x in found), "sources")
        equal(daemon.cli_json("status")["dlq"]["new"], 20, "status")
        equal(daemon.cli_json("dlq", "replay", "--all", "--yes")["accepted"], 20, "replay, nothing fixed")
        flush(daemon)
        equal(len(listed(daemon)), 20, "refused again")
        cloud.clear_faults()
        equal(daemon.cli_json("dlq", "replay", "--since", "10m", "--yes")["accepted"], 20, "replay")
        clean(daemon)
        rows = collections.Counter(int(v) for v in cloud.column("thing", "JSON_VALUE(event, '$.n')"))
        equal(rows, collections.Counter(range(60)), "rows")
        equal(daemon.cli_json("dlq", "drop", "--all", "--yes", "--delete-objects")["objects_kept"], 0, "drop")
        clean(daemon)


def test_too_large_and_partial():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        large = thing(0, b',"text":"' + b"x" * (2 << 20) + b'"')
        send(daemon, large, "thing")
        flush(daemon)
        refused(daemon, "replay", "--all", "--yes", status=1, has=["1 are larger than http.event_max"])
        name = cloud.names("dead_letter/thing/")[0]
        whole = cloud.objects(name)[name]
        upload(cloud, name, b"".join(line + b"\n" for line in whole.split(b"\n")[:2]))
        equal([x["complete"] for x in listed(daemon)], [False], "a part is missing")
        text = refused(daemon, "replay", "--all", "--yes", status=1, has=["1 lack parts"])
        refused(daemon, "show", listed(daemon)[0]["id"], "--raw", status=1, has=["not all of its parts"])
        expect("INCOMPLETE    2 of 3" in daemon.cli("dlq", "show", listed(daemon)[0]["id"])[1], text)
        # The rest is in the next object, as when a group was full in the middle of a letter.
        rest = name.replace(name[-13:], "%08x.json" % (int(name[-13:-5], 16) + 1))
        upload(cloud, rest, whole.split(b"\n")[2] + b"\n")
        equal([(x["complete"], x["bytes"]) for x in listed(daemon)], [(True, len(large))], "in two objects")
        daemon.config["http"]["event_max"] = "4MiB"
        daemon.restart()
        equal(daemon.cli_json("dlq", "replay", "--all", "--yes")["accepted"], 1, "with a larger http.event_max")
        flush(daemon)
        expect_once(cloud, 1)
        expect(cloud.lines("output/thing/")[0][1].startswith(large[:-1]), "byte for byte")
        equal(daemon.cli_json("dlq", "drop", "--all", "--yes", "--delete-objects")["objects_deleted"], 2, "deleted")
        equal(cloud.names("dead_letter/"), [], "objects")


def test_replay_killed():
    """kill -9 at any moment of a replay, then the same command again."""
    count, seed = 12000, random.randrange(1 << 30)
    rng = random.Random(seed)
    print(f"seed {seed}")
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, types={"unlisted": "dead_letter"})
        make_unlisted(daemon, count)
        allow(daemon)
        argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "dlq", "replay", "--all", "--yes"]
        kills = 0
        for _ in range(6):
            before = daemon.cli_json("status")["dlq"]["replayed"]
            child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            aim = before + rng.randrange(1, 1900)
            until(lambda: child.poll() is not None or daemon.cli_json("status")["dlq"]["replayed"] >= aim, 60,
                  "letters")
            daemon.kill()
            kills += child.wait() != 0
            daemon.start()
        expect(kills >= 3, f"only {kills} replays were cut off")
        status, text = daemon.cli("dlq", "replay", "--all", "--yes")
        equal(status, 0, text)
        equal(daemon.cli_json("status")["dlq"], {"new": 0, "replayed": count, "dropped": 0, "replaying": 0,
                                                 "objects_deleted": 0}, "status")
        clean(daemon)
        expect_once(cloud, count)


def test_replay_at_once():
    """Several at once, one of them given up with Ctrl-C, and a client that waits for nothing."""
    count = 6000
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, types={"unlisted": "dead_letter"})
        make_unlisted(daemon, count)
        allow(daemon)
        argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "--json", "dlq", "replay",
                "--untyped", "--yes"]
        gone = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: daemon.cli_json("status")["dlq"]["replayed"] > 0, 60, "the first letters")
        gone.send_signal(signal.SIGINT)
        gone.wait()
        both = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(3)]
        answers = [json.loads(child.communicate(timeout=120)[0]) for child in both]
        expect(sum(a["replayed"] for a in answers) <= count, answers)
        equal([a["problem_count"] for a in answers], [0, 0, 0], "problems")
        equal(daemon.cli_json("status")["dlq"]["replayed"], count, "replayed")
        clean(daemon)
        expect_once(cloud, count)
        # A session that the daemon has forgotten: nothing is open, so a new one begins.
        daemon.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(daemon.config["data_dir"], "dlq.db"))) as db:
            db.execute("UPDATE meta SET stored_seq = 1000000")
            db.commit()
        daemon.start()
        send(daemon, b'{"n":%d}' % count)
        flush(daemon)
        done = daemon.cli_json("dlq", "replay", "--reason", "missing_type", "--as-type", "thing", "--yes")
        equal((done["replayed"], done["accepted"]), (1, 1), "in a new session")
        expect(daemon.log_lines("the session of earlier replays is forgotten"), daemon.log()[-500:])
        clean(daemon)
        expect_once(cloud, count + 1)


if __name__ == "__main__":
    sys.exit(run_tests([test_replay, test_refused_by_bigquery, test_too_large_and_partial, test_replay_killed,
                        test_replay_at_once]))
