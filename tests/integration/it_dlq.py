#!/usr/bin/env python3
"""Goal: an operator finds every dead letter, sees why and byte for byte what, and drops what
is dealt with.

Method: the real daemon with the local cloud. Letters of many reasons are made, found by each filter, and compared
with what was sent; objects are edited behind Penstock's back; verify judges what drop deletes.
"""
import gzip
import json
import os
import pty
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dlq import clean, flush, listed, raw, refused, send, upload  # noqa: E402
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


def send_all(daemon):
    for reason, (body, event_type, _) in SENT.items():
        answer = send(daemon, body, event_type)
        equal([e["reason"] for e in answer["errors"]], [reason], "reason")
    flush(daemon)


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


def test_trouble():
    """The cloud misbehaves while letters are read and deleted; kill -9 between two deletions; no lasting trace."""
    count = 40
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, types={"list": [], "time_field": "at"})
        for i in range(count):
            send(daemon, b"{bad %d" % i, f"type-{i}")
        flush(daemon)
        equal(len(cloud.names("dead_letter/")), count, "objects")
        cloud.fault(service="storage", status=503, probability=0.15, seed=1)
        cloud.fault(service="storage", method="GET", reset=True, probability=0.1, seed=2)
        equal(len(listed(daemon)), count, "list")
        equal(daemon.cli_json("dlq", "replay", "--type", "type-7", "--yes")["dead_lettered"], 1, "replay")
        cloud.clear_faults()
        flush(daemon)
        cloud.fault(service="storage", method="DELETE", delay_ms=150)
        cloud.fault(service="storage", method="DELETE", lose_answer=True, probability=0.2, seed=3)
        argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "dlq", "drop", "--all", "--yes",
                "--delete-objects"]
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: len(cloud.names("dead_letter/")) < count - 5, 60, "some deletions")
        daemon.kill()
        child.wait()
        expect(cloud.names("dead_letter/"), "some are left")
        daemon.start()
        clean(daemon)
        cloud.clear_faults()
        equal(daemon.cli_json("dlq", "drop", "--all", "--yes", "--delete-objects")["objects_kept"], 0, "kept")
        equal(cloud.names("dead_letter/"), [], "objects")
        clean(daemon)


if __name__ == "__main__":
    sys.exit(run_tests([test_list_and_show, test_usage, test_drop, test_edited_objects, test_trouble]))
