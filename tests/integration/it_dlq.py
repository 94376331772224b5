#!/usr/bin/env python3
"""Goal: an operator finds every dead letter, sees why and byte for byte what, and deals with it: drops it, or takes
it in again, exactly once.

Method: the real daemon with the local cloud. Letters of many reasons are made, found by each filter, and compared
with what was sent; objects are edited behind Penstock's back; verify judges what drop deletes.
"""
import collections
import contextlib
import gzip
import http.client
import json
import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import Place, equal, expect, program, run_tests, until  # noqa: E402

BIG = b'{"event_type":"order","order_id":"' + b'x\\"' * (1 << 20) + b'"}'
SENT = {  # by reason: what is sent, as which type, and the type that the letter has
    "missing_field": (b'{"event_type":"order"}', None, "order"),
    "missing_type": (b'{"x":1}', None, ""),
    "bad_json": (b'{bad \x1b[31m\xc3\xa9', None, ""),
    "bad_utf8": (b'{"event_type":"order","order_id":"\xff\xfe"}', None, ""),
    "not_object": (b'"[1,2]"', None, ""),
    "wrong_type": (b'{"inventory_id":3,"a":"\\u0000"}', "inventory", "inventory"),
    "duplicate_key": (b'{"order_id":"a","order_id":"b"}', "order", "order"),
    "oversize": (BIG, "we/ird d%\xe9", "we/ird d%\xe9"),
}


def send(daemon, body, event_type=None):
    path = "/v1/events" + ("/" + urllib.parse.quote(event_type, safe="") if event_type else "")
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request("POST", path, body + b"\n")
    answer = connection.getresponse()
    data = json.loads(answer.read())
    connection.close()
    equal(answer.status, 200, f"status of {body[:80]}")
    return data


def send_all(daemon):
    for reason, (body, event_type, _) in SENT.items():
        answer = send(daemon, body, event_type)
        equal([e["reason"] for e in answer["errors"]], [reason], "reason")
    flush(daemon)


def flush(daemon):
    status, text = daemon.cli("flush")
    equal(status, 0, text)


def listed(daemon, *arguments):
    return daemon.cli_json("dlq", "list", *arguments)["letters"]


def raw(daemon, letter_id, *more):
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "dlq", "show", letter_id, "--raw"]
    argv += more
    return subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout


def refused(daemon, *arguments, status=2, has=()):
    got, text = daemon.cli("dlq", *arguments)
    equal(got, status, f"status of {arguments}: {text}")
    for part in has:
        expect(part in text, f"{part!r} is not in: {text}")
    return text


def upload(cloud, name, data):
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)
    quoted = urllib.parse.quote(name, safe="")
    connection.request("POST", f"/upload/storage/v1/b/{cloud.bucket}/o?uploadType=media&name={quoted}", data,
                       {"Content-Type": "application/x-ndjson"})
    answer = connection.getresponse()
    equal(answer.status, 200, f"upload of {name}: {answer.read()[:200]}")
    connection.close()


def at_terminal(daemon, answer, *arguments):
    """What `penstock` shows to somebody at a terminal who gives this answer."""
    ours, theirs = pty.openpty()
    argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], *arguments]
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    text = b""
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not got:
            break
        text += got
    child.wait(60)
    os.close(ours)
    return text.decode()


def check_filters(daemon):
    letters = listed(daemon)
    equal(sorted(x["reason"] for x in letters), sorted(SENT), "reasons")
    times = [x["received_at"] for x in letters]
    equal(times, sorted(times, reverse=True), "newest first")
    for reason, (body, _, event_type) in SENT.items():
        found = listed(daemon, "--reason", reason)
        equal([(x["reason"], x["type"], x["bytes"], x["state"]) for x in found],
              [(reason, event_type, len(body), "new")], f"--reason {reason}")
        equal(raw(daemon, found[0]["id"]), body, f"original bytes of {reason}")
    for event_type in {t for _, _, t in SENT.values() if t}:
        found = listed(daemon, "--type", event_type)
        equal({x["reason"] for x in found}, {r for r, (_, _, t) in SENT.items() if t == event_type}, event_type)
    equal({x["type"] for x in listed(daemon, "--untyped")}, {""}, "--untyped")
    equal(len(listed(daemon, "--since", "10m", "--source", "http 127.0.0.1")), len(SENT), "--since and --source")
    equal(listed(daemon, "--source", "10.1.2.3"), [], "another source")
    equal(listed(daemon, "--until", "10m"), [], "--until")
    equal(listed(daemon, "--since", "2020-01-01", "--until", "2021-01-01"), [], "long ago")
    middle = times[3]
    equal([x["received_at"] for x in listed(daemon, "--since", middle)], times[:4], f"--since {middle}")
    equal([x["received_at"] for x in listed(daemon, "--until", middle)], times[4:], f"--until {middle}")
    equal(len(listed(daemon, "--state", "dropped")), 1, "--state dropped")
    cut = daemon.cli_json("dlq", "list", "--limit", "3")
    equal(([x["received_at"] for x in cut["letters"]], cut["cut"]), (times[:3], True), "--limit 3")
    groups = daemon.cli_json("dlq", "list", "--group")
    equal({(g["type"], g["reason"], g["letters"], g["bytes"]) for g in groups["groups"]},
          {(t, r, 1, len(b)) for r, (b, _, t) in SENT.items()}, "--group")
    text = daemon.cli("dlq", "list", "--limit", "3")[1]
    expect("there are more: these are the newest 3" in text, text)


def test_list_and_show():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, gcs={"gzip": True}, group={"age_max": "1h"})
        send(daemon, SENT["bad_json"][0])
        answer = daemon.cli_json("dlq", "list")
        equal((answer["letters"], answer["on_their_way"]["unplanned_max"]), ([], 1), "before the flush")
        flush(daemon)
        status, text = daemon.cli("dlq", "drop", "--all", "--yes")
        equal(status, 0, text)
        send_all(daemon)
        expect(all(n.endswith(".json.gz") for n in cloud.names("dead_letter/")), "gzip objects")
        check_filters(daemon)
        found = listed(daemon, "--reason", "bad_json")[0]["id"]
        text = daemon.cli("dlq", "show", found)[1]
        expect("{bad \\x1b[31m\xe9\n" in text and "\x1b" not in text, f"escaped: {text!r}")
        lines = text.splitlines()
        caret = next(i for i, line in enumerate(lines) if line.strip() == "^")
        equal(lines[caret - 1][lines[caret].index("^")], "b", "what the caret points at")
        wanted = {"state": "new", "reason": "bad_json", "error_offset": 1, "parts": 1}
        shown = daemon.cli_json("dlq", "show", found)
        equal({k: shown[k] for k in wanted}, wanted, "show --json")
        equal(daemon.cli_json("status")["dlq"],
              {"new": len(SENT), "replayed": 0, "dropped": 1, "replaying": 0, "objects_deleted": 0}, "status")
        expect('penstock_dead_letters{state="dropped"} 1\n' in daemon.admin("/metrics")[1], "metrics")


def test_usage():
    with Place() as place:
        daemon = place.daemon(place.cloud())
        refused(daemon, has=["there is list, show, replay, drop, help"])
        refused(daemon, "lst", has=['did you mean "list"?'])
        refused(daemon, "list", "--reason", "bad_jsn", has=["bad_json, bad_utf8"])
        refused(daemon, "list", "--since", "gestern \x1b", has=['--since: found "gestern ?"', "90m, 2d"])
        refused(daemon, "drop", has=["--id ID, filters, or --all"])
        refused(daemon, "show", "x", has=["32 hex digits"])
        refused(daemon, "show", "0" * 32 + "-" + "1" * 16, status=1, has=["no such dead letter in the bucket"])
        refused(daemon, "list", "--type", "", has=["empty"])
        for words in (["dlq", "help"], ["dlq", "--help"], ["dlq", "drop", "-h"]):
            status, text = daemon.cli(*words)
            equal(status, 0, words)
            expect("--delete-objects" in text and "--as-type" in text, text)


def test_drop():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        send_all(daemon)
        refused(daemon, "drop", "--untyped", status=1, has=["would be dropped", "nothing was done: add --yes"])
        equal(len(listed(daemon)), len(SENT), "after a drop without --yes")
        equal(daemon.cli("dlq", "drop", "--all", "--dry-run")[0], 0, "--dry-run")
        one = listed(daemon, "--reason", "wrong_type")[0]["id"]
        for answer, dropped in (("n", 0), ("", 0), ("y", 1)):
            text = at_terminal(daemon, answer, "dlq", "drop", "--reason", "wrong_type")
            expect("1 dead letters would be dropped" in text and "do it? [y/N]" in text, text)
            expect(("1 dead letters dropped" in text) == (dropped == 1), f"{answer!r}: {text}")
            equal(daemon.cli_json("status")["dlq"]["dropped"], dropped, f"dropped after {answer!r}")
        one, before = listed(daemon, "--type", "order")[0]["id"], one
        equal(daemon.cli_json("dlq", "show", before)["state"], "dropped", "by name")
        done = daemon.cli_json("dlq", "drop", "--id", one)
        equal((done["matched"], done["dropped"]), (1, 1), "drop --id")
        done = daemon.cli_json("dlq", "drop", "--id", one)
        equal((done["matched"], done["handled_before"]), (0, 1), "drop --id again")
        shown = daemon.cli_json("dlq", "show", one)
        equal((shown["state"], shown["uid"]), ("dropped", os.getuid()), "show of a dropped one")
        refused(daemon, "drop", "--id", one, "--id", one[:-1] + "f", status=1, has=["1 of the ids are not"])
        daemon.kill()
        daemon.start()
        equal({x["id"] for x in listed(daemon, "--state", "dropped")}, {one, before}, "dropped, after kill -9")
        names = cloud.names("dead_letter/")
        done = daemon.cli_json("dlq", "drop", "--reason", "missing_type", "--yes", "--delete-objects")
        gone = set(names) - set(cloud.names("dead_letter/"))
        equal((len(gone), done["objects_deleted"]), (1, 1), "only the object whose one letter was dropped")
        expect("/inventory/" in next(iter(gone)), gone)
        done = daemon.cli_json("dlq", "drop", "--all", "--yes", "--limit", "2", "--delete-objects")
        equal(done["dropped"], 2, "--limit")
        equal(daemon.cli_json("dlq", "drop", "--all", "--yes", "--delete-objects")["objects_kept"], 0, "kept")
        equal((cloud.names("dead_letter/"), listed(daemon, "--state", "all")), ([], []), "the bucket")
        report = daemon.cli_json("verify")
        equal((report["clean"], report["objects"]["deleted"], report["objects"]["deleted_dead_letters"]),
              (True, len(names), len(SENT)), "verify")
        daemon.restart()
        expect("deleted on purpose by dlq drop" in daemon.cli("verify")[1], "verify after a restart")


def edit(cloud, name, change):
    data = cloud.objects(name)[name]
    upload(cloud, name, change(data))


def test_edited_objects():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        send_all(daemon)
        names = {n.split("/")[1]: n for n in cloud.names("dead_letter/")}
        line = next(line for name, line in cloud.lines("dead_letter/_x_unknown/") if b"missing_type" in line)
        edit(cloud, names["order"], lambda d: d + b'\n{"reason":"x"}\n\xff\x00\x1b[2J' + b"[" * 100000 + b"\n" + d)
        edit(cloud, names["inventory"], lambda d: gzip.compress(d)[:-9])
        upload(cloud, "dead_letter/what is this", b"hello")
        text = refused(daemon, "list", status=1, has=["line 3: not a dead letter: an empty line", "line 4:", "line 5:",
                                                      "its gzip ends early", "names that no dead letters have"])
        expect("\x1b" not in text, repr(text))
        answer = json.loads(daemon.cli("--json", "dlq", "list")[1])
        found = [x["reason"] for x in answer["letters"]]
        equal(sorted(found), sorted([*SENT, "missing_field", "duplicate_key"]), "letters")
        equal(answer["problem_count"], 5, "problems")
        done = json.loads(daemon.cli("--json", "dlq", "drop", "--all", "--yes", "--delete-objects")[1])
        expect({names["order"], names["inventory"]} <= set(cloud.names("dead_letter/")), "what was edited is kept")
        equal((done["dropped"], done["objects_kept"]), (len(SENT), 2), "dropped once each, and kept")
        edit(cloud, names["inventory"], lambda d: d[:0])
        equal([x["reason"] for x in json.loads(daemon.cli("--json", "dlq", "list")[1])["letters"]], [], "empty")
        # Objects of another node are only shown when asked for.
        theirs = "f" * 32 + "-" + "1" * 16
        other = names["order"].replace("_" + names["order"].split("_")[-2] + "_", "_01234567_")
        upload(cloud, other, json.dumps({**json.loads(line), "penstock_id": theirs}).encode())
        equal(json.loads(daemon.cli("--json", "dlq", "list")[1])["objects_others"], 1, "others")
        refused(daemon, "show", theirs, status=1, has=["no such dead letter"])
        found = json.loads(daemon.cli("--json", "dlq", "list", "--others")[1])["letters"]
        equal([(x["id"], x["type"], x["reason"]) for x in found], [(theirs, "order", "missing_type")], "--others")
        equal(raw(daemon, theirs, "--others"), SENT["missing_type"][0], "the bytes of another node's")



# ---- replay ----

def thing(number, more=b""):
    return b'{"event_type":"thing","n":%d%s}' % (number, more)


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


def clean(daemon):
    flush(daemon)
    report = daemon.cli_json("verify")
    equal((report["clean"], report["differences"], report["errors"]), (True, [], []), "verify")


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
        send(daemon, thing(0, b',"text":"' + b"x" * (2 << 20) + b'"'), "thing")
        flush(daemon)
        refused(daemon, "replay", "--all", "--yes", status=1, has=["1 are larger than http.event_max"])
        name = cloud.names("dead_letter/thing/")[0]
        whole = cloud.objects(name)[name]
        upload(cloud, name, b"".join(line + b"\n" for line in whole.split(b"\n")[:2]))
        equal([x["complete"] for x in listed(daemon)], [False], "a part is missing")
        text = refused(daemon, "replay", "--all", "--yes", status=1, has=["1 lack parts"])
        refused(daemon, "show", listed(daemon)[0]["id"], "--raw", status=1, has=["not all of its parts"])
        expect("INCOMPLETE    2 of 3" in daemon.cli("dlq", "show", listed(daemon)[0]["id"])[1], text)
        upload(cloud, name, whole)
        daemon.config["http"]["event_max"] = "4MiB"
        daemon.restart()
        equal(daemon.cli_json("dlq", "replay", "--all", "--yes")["accepted"], 1, "with a larger http.event_max")
        flush(daemon)
        expect_once(cloud, 1)


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
        for _ in range(8):
            before = daemon.cli_json("status")["dlq"]["replayed"]
            child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            aim = before + rng.randrange(1, 1400)
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
    sys.exit(run_tests([test_list_and_show, test_usage, test_drop, test_edited_objects, test_replay,
                        test_refused_by_bigquery,
                        test_too_large_and_partial, test_replay_killed, test_replay_at_once]))
