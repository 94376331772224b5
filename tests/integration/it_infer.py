#!/usr/bin/env python3
"""Goal: tables whose columns are inferred, or grow, lose nothing: not when fields appear under load, when types
conflict, when the process is killed between a version and its plans, when BigQuery refuses a change, or when
the policy is another one after a restart.

Method: events with a running number, made here; everything is read back from bucket and tables and compared
value for value (tests/lib/rows.py).
"""
import json
import os
import random
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import DATASET, PROJECT, Place, equal, expect, run_tests, short, until  # noqa: E402
from rows import ADDED, compare_table, versions  # noqa: E402

SEED = int(os.environ.get("PENSTOCK_SEED", "4"))
INFER = {"unlisted": "infer", "time_field": "at"}


def lines(events):
    return b"".join(json.dumps(e).encode() + b"\n" for e in events)


def send(daemon, events, kind="web"):
    answer = daemon.post_ok(lines(events), f"/v1/events/{kind}")
    equal((answer["accepted"], answer["dead_lettered"]), (len(events), 0), f"answer {answer}")


def columns(cloud, table):
    return {f["name"]: f["type"] + (" REPEATED" if f.get("mode") == "REPEATED" else "")
            for f in cloud.table(table)["schema"]["fields"]}


def counted(cloud, table, n):
    """Every number from 0 to n - 1 once."""
    got = sorted(int(v) for v in cloud.column(table, "n"))
    equal(got, list(range(n)), f"numbers in {table}")


def test_grows_live():
    """New fields while events flow: columns come without a restart, and the log and the reports name them."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        stop, sent = threading.Event(), [0]

        def flow():
            while not stop.is_set():
                n = sent[0]
                wave = n // 300 if "web" in cloud.tables() else 0  # new fields when types are fixed
                events = [{"n": n + i, "at": "2026-05-01T10:00:00Z", "id": f"e{n + i}",
                           **{f"field_{w}": w * 1.5 for w in range(wave)},
                           "deep": {"one": 1, **({f"d{wave}": [{"x": wave}]} if wave else {})}}
                          for i in range(50)]
                send(daemon, events)
                sent[0] = n + 50
                time.sleep(0.01)

        thread = threading.Thread(target=flow)
        thread.start()
        until(lambda: sent[0] >= 1500, 60, "events")
        until(lambda: "web" in cloud.tables() and "field_1" in columns(cloud, "web"), 60, "a column to be added")
        stop.set()
        thread.join()
        daemon.settle()
        counted(cloud, "web", sent[0])
        in_columns, in_overflow = compare_table(cloud, daemon, "web")
        expect(in_columns > 20 * in_overflow, in_columns, in_overflow)
        newest = versions(daemon)["web"][0]
        expect(newest["number"] > 1, "one version only")
        expect(daemon.log_lines("new ones: ") and "field_3" in daemon.log(), "the log names new columns")
        table = daemon.cli_json("sinks")["threads"][0]["tables"][0]
        equal(table["columns"]["version"], newest["number"], "version in the report")
        expect(table["columns"]["added"] > 0, table)
        expect("penstock_sink_columns_added" in daemon.admin("/metrics")[1], "metrics")
        equal(len(versions(daemon)["web"]), 1, "versions that are kept when all is delivered")
        daemon.clean()


HARD = [
    {"a": 1, "A": "case", "a-b": 2, "a_b": 3, "1st": True, "": "empty", "ünï": "c", "event_Date": "x"},
    {"mixed": 1, "list": [1, 2], "rec": {"x": {"y": "deep"}}, "none": None, "nil": {}, "no": []},
    {"mixed": "text", "list": [1, "b"], "rec": "scalar", "when": "2026-01-02T03:04:05.123456+05:30"},
    {"big": 12345678901234567890, "huge": 1e400, "exact": 0.1, "long": 9007199254740993, "minus": -0.0},
    {"mixed": {"b": [None]}, "list": [[1]], "nulls": [1, None], "penstock_overflow": {"mine": 1}, "event": "e"},
]


def test_conflicts():
    """What teaches a table first, and what comes when its types are fixed: every value is somewhere."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        raw = b"".join(json.dumps({"n": i, **e}).replace("Infinity", "1e400").encode() + b"\n"
                       for i, e in enumerate(HARD))
        for kind in ("first", "later"):
            if kind == "later":  # integers and texts first, so that all else has to give way
                send(daemon, [{"n": -1, "mixed": 7, "list": [1], "rec": {"x": {"y": 1}}, "a": "t"}], kind)
                daemon.flush()
            answer = daemon.post_ok(raw, f"/v1/events/{kind}")
            equal((answer["accepted"], answer["dead_lettered"]), (len(HARD), 0), "answer")
            answer = daemon.post_ok(b'{"n":7,"twice":1,"twice":2,"twice":3}\n', f"/v1/events/{kind}")
            equal(answer["accepted"], 1, "answer")
            daemon.settle()
            print(kind, compare_table(cloud, daemon, kind))
        equal(columns(cloud, "first")["mixed"], "JSON", "a conflict while learning")
        equal(columns(cloud, "later")["mixed"], "INTEGER", "a type that was fixed")
        shown = daemon.cli_json("schema", "show", "later")
        equal((shown["table"], shown["columns"], shown["version"]),
              ("later", "inferred", versions(daemon)["later"][0]["number"]), "schema show")
        equal({f["name"] for f in shown["fields"]} | set(ADDED), set(columns(cloud, "later")), "its columns")
        status, text = daemon.cli("schema", "show", "first")
        expect(status == 0 and re.search(r'a_b_7f0cf420 +INTEGER +NULLABLE +from "a', text), text)
        status, text = daemon.cli("schema", "show", "nobody")
        expect(status == 1 and "no columns yet" in text, status, text)
        daemon.clean()


def test_add_column():
    """A schema file that is kept to, and columns beside it."""
    with Place() as place:
        cloud = place.cloud()
        schema = place.file("order.json")
        with open(schema, "w") as file:
            json.dump([{"name": "n", "type": "INTEGER", "mode": "REQUIRED"}, {"name": "price", "type": "NUMERIC"},
                       {"name": "meta", "type": "RECORD", "fields": [{"name": "k", "type": "STRING"}]}], file)
        daemon = place.daemon(cloud, listed=[{"name": "order", "table": "orders", "schema": schema,
                                              "unknown_fields": "add_column", "clustering": ["n"]}])
        send(daemon, [{"n": 0, "price": "1.25", "meta": {"k": "v"}}], "order")
        daemon.settle()
        equal(columns(cloud, "orders")["price"], "NUMERIC", "price")
        send(daemon, [{"n": 1, "price": 2.5, "color": "red", "meta": {"k": "v", "size": 3}}], "order")
        answer = daemon.post_ok(lines([{"n": 2, "price": "cheap"}, {"price": 1}]), "/v1/events/order")
        equal((answer["accepted"], answer["dead_lettered"]), (0, 2), "what the file forbids")
        daemon.settle()
        equal(columns(cloud, "orders")["color"], "STRING", "color")
        daemon.stop()
        with open(schema) as file:  # the file takes a column over, and has a new one
            more = json.load(file) + [{"name": "color", "type": "STRING", "mode": "NULLABLE"},
                                      {"name": "day", "type": "DATE"}]
        with open(schema, "w") as file:
            json.dump(more, file)
        daemon.start()
        answer = daemon.post_ok(lines([{"n": 2, "color": 1}]), "/v1/events/order")
        equal(answer["dead_lettered"], 1, "what the file forbids now")
        send(daemon, [{"n": 2, "color": "blue", "day": "2026-11-21", "meta": {"size": 4}}], "order")
        daemon.settle()
        equal(columns(cloud, "orders")["day"], "DATE", "day")
        print(compare_table(cloud, daemon, "orders", "order"))
        counted(cloud, "orders", 3)
        daemon.clean()


def test_kills():
    """kill -9 between versions and plans, with plans of several versions pending."""
    rng = random.Random(SEED)
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER, group={"age_max": "150ms"},
                              gcs={"gzip": True})
        n, kinds = 0, ("web", "other", "third")
        for round_ in range(3):
            outage = round_ % 2 == 0
            if outage:
                cloud.fault(service=rng.choice(["storage", "bigquery"]), status=503)
            for wave in range(4):
                events = [{"n": n + i, "at": "2026-05-01T10:00:00Z", f"r{round_}_w{wave}": i,
                           "same": {"k": [i, i + 1]}, "odd": i if wave % 2 else str(i)} for i in range(40)]
                for kind in kinds:
                    send(daemon, events, kind)
                n += len(events)
                time.sleep(rng.choice([0, 0, 0.05, 0.2]))
            if rng.random() < 0.5:
                until(lambda: versions(daemon).get("web"), 20, "a version")
            daemon.kill()
            if outage:
                cloud.clear_faults()
            daemon.config["sinks"]["threads"] = 1 + round_ % 2  # tables change hands
            daemon.start()
        daemon.settle()
        for kind in kinds:
            counted(cloud, kind, n)
            print(n, "events", compare_table(cloud, daemon, kind))
        equal(cloud.names("staging/"), [], "staging objects")
        daemon.clean()


def test_insert_all():
    """The same by insertAll: columns come before the rows that have them, rows that BigQuery does not know a new
    column of yet are sent again, and load jobs before and after change nothing."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[{"name": "web", "schema": "infer", "method": "insert_all",
                                              "time_field": "at"}])
        n = 0

        def wave(more):
            nonlocal n
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            send(daemon, [{"n": n + i, "at": at, "deep": {"k": [i]}, "mix": i, **more} for i in range(20)])
            n += 20

        wave({"mix": "text"})
        wave({"mix": 1.5})  # may meet the table while it is learning, or later
        daemon.settle()
        cloud.fault(service="bigquery", row_reason="invalid", row_contains="fresh", count=2,
                    message="no such field: fresh.")
        wave({"fresh": {"x": True}})
        daemon.settle()
        equal(columns(cloud, "web")["fresh"], "RECORD", "a column that came")
        equal(cloud.faults()["faults"][0]["hits"], 2, "answers that did not know the column")
        equal(cloud.jobs(), [], "load jobs")
        equal(daemon.cli_json("sinks")["threads"][0]["tables"][0]["columns"]["version"], 2, "version in the report")
        wave({"twice": 1, "fresh": {"y": "z"}})
        daemon.kill()
        daemon.start()
        daemon.settle()
        for method in ("load", "insert_all"):
            wave({method: 1})
            daemon.kill()
            daemon.config["types"]["list"][0]["method"] = method
            daemon.start()
            wave({"after_" + method: {"l": [method]}})
        daemon.settle()
        counted(cloud, "web", n)
        print(compare_table(cloud, daemon, "web"))
        equal(daemon.status()["dead_lettered"], 0, "dead letters")
        equal(cloud.names("dead_letter/"), [], "objects of dead letters")
        daemon.clean()


def test_insert_all_parks():
    """A request is refused for good while the table is being given new columns: it is parked and tried again, and
    the change that is under way is not begun a second time."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER, bigquery={"method": "insert_all"},
                              insert={"age_max": "50ms"})
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        send(daemon, [{"n": 0, "at": at}])
        daemon.settle()
        time.sleep(2.5)  # past the pause between two changes of a table: the next one begins at once
        cloud.fault(service="bigquery", path_contains="/insertAll", delay_ms=4000, status=403,
                    reason="accessDenied", message="no", count=1)
        cloud.fault(service="bigquery", method="GET", path_contains="/tables/web", delay_ms=5000, count=1)
        send(daemon, [{"n": 1, "at": at}])
        until(lambda: cloud.faults()["faults"][0]["hits"] == 1, 20, "a request under way")
        send(daemon, [{"n": 2, "at": at, "fresh": True}])
        until(lambda: daemon.log_lines("parked: inserts into table web"), 20, "the table to be parked")
        equal([f["hits"] for f in cloud.faults()["faults"]], [1, 1], "both under way at once")
        until(lambda: daemon.pending() == 0, 60, "nothing pending")
        counted(cloud, "web", 3)
        until(lambda: daemon.status()["sinks"]["bigquery"]["pending"] == 0, 5, "the daemon to answer")


def test_lost_version():
    """A version that pending plans need and that is gone, or damaged: a clear refusal to start; back again: all
    is delivered."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        cloud.fault(service="storage", status=503)
        send(daemon, [{"n": 0, "x": 1}])
        until(lambda: daemon.cli_json("sinks")["threads"][0]["plans_waiting"] >= 2, 20, "plans")
        until(lambda: cloud.faults()["faults"][0]["hits"] >= 2, 20, "uploads: the plans are durable then")
        daemon.kill()
        folder = os.path.join(daemon.config["data_dir"], "columns")
        name = os.path.join(folder, os.listdir(folder)[0])
        os.rename(name, place.file("kept"))
        refused(daemon, "is not in")
        with open(place.file("kept"), "rb") as file:
            good = file.read()
        with open(name, "wb") as file:
            file.write(good.replace(b"INTEGER", b"integer", 1))
        refused(daemon, "is damaged")
        with open(name, "wb") as file:
            file.write(good)
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        counted(cloud, "web", 1)


def test_disk_refuses():
    """Versions cannot be written: known tables go on with the columns that they have, new ones wait, nothing is
    lost; when they can be, it all goes on by itself."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        send(daemon, [{"n": 0, "x": 1}])
        daemon.settle()
        folder = os.path.join(daemon.config["data_dir"], "columns")
        os.rename(folder, place.file("away"))
        # One block, many shapes: what the lines behind the first one show must leave its row alone.
        send(daemon, [{"n": 1, "x": 1, "y": {"z": 2}}] + [{"n": i, "x": i, f"w{i}": "w" * i} for i in range(2, 40)])
        until(lambda: len(cloud.rows("web")) == 40, 30, "the rows")
        overflow = {int(row["n"]): json.loads(row["penstock_overflow"]) for row in cloud.rows("web")
                    if row["penstock_overflow"] is not None}
        equal(overflow, {1: {"y": {"z": 2}}, **{i: {f"w{i}": "w" * i} for i in range(2, 40)}}, "overflow")
        send(daemon, [{"n": 0, "x": 1}], "fresh")
        until(lambda: "fresh: its columns cannot be written" in daemon.log(), 30, "the log to say so")
        equal(daemon.cli("flush", "--timeout", "1s")[0], 1, "flush while a table cannot begin")
        os.rename(place.file("away"), folder)
        send(daemon, [{"n": 40, "x": 1, "y": {"z": 3}}])
        daemon.settle()
        counted(cloud, "web", 41)
        counted(cloud, "fresh", 1)
        compare_table(cloud, daemon, "web")
        equal(columns(cloud, "web")["y"], "RECORD", "y")


def refused(daemon, text):
    process = daemon.launch()
    expect(process.wait(30) != 0, "it started")
    process.out.close()
    expect(text in daemon.log().splitlines()[-1], "the last line does not say", text, ":", daemon.log()[-500:])


def test_refused_change():
    """BigQuery refuses new columns: the table is parked and says so; when it may again, all of it is there."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        send(daemon, [{"n": 0, "x": 1}])
        daemon.settle()
        cloud.fault(service="bigquery", method="PATCH", status=403, reason="accessDenied")
        send(daemon, [{"n": 1, "x": 1, "y": 1}])
        table = until(lambda: parked(daemon), 30, "the table to be parked")
        expect("accessDenied" in table["text"], table)
        send(daemon, [{"n": 2, "x": 1, "z": {"q": 1}}])
        send(daemon, [{"n": 3, "x": 1}], "other")  # another table goes on
        until(lambda: "other" in cloud.tables() and cloud.rows("other"), 30, "the other table's row")
        cloud.clear_faults()
        daemon.settle()
        counted(cloud, "web", 3)
        compare_table(cloud, daemon, "web")
        equal(daemon.status()["dead_lettered"], 0, "dead letters")


def parked(daemon):
    tables = daemon.cli_json("sinks")["threads"][0]["tables"]
    return next((t for t in tables if t["state"] == "parked"), None)


def test_existing_table():
    """A table that somebody made: missing columns are added; one of another type parks and says what to do."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types=INFER)
        send(daemon, [{"n": 0}], "warm")  # makes the dataset
        daemon.settle()
        path = f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables"
        for name, kind in (("fits", "STRING"), ("differs", "INTEGER")):
            reference = {"projectId": PROJECT, "datasetId": DATASET, "tableId": name}
            cloud.call("POST", path, {"tableReference": reference,
                                      "schema": {"fields": [{"name": "NAME", "type": kind}]}})
            send(daemon, [{"n": 0, "name": "text", "more": 1}], name)
        table = until(lambda: parked(daemon), 30, "a table to be parked")
        equal(table["table"], "differs", "the table")
        expect("name" in table["text"] and "INTEGER" in table["text"] and "RENAME COLUMN" in table["text"], table)
        until(lambda: cloud.rows("fits"), 30, "the row")
        counted(cloud, "fits", 1)
        compare_table(cloud, daemon, "fits")
        cloud.call("DELETE", f"{path}/differs")
        daemon.settle()
        counted(cloud, "differs", 1)
        compare_table(cloud, daemon, "differs")


def test_switches():
    """json, infer, a schema file, infer again: with work of the run before pending at each switch."""
    schema = [{"name": "n", "type": "INTEGER"}, {"name": "name", "type": "STRING"}]
    with Place() as place:
        with open(place.file("s.json"), "w") as file:
            json.dump(schema, file)
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], start=False)
        policies = [{}, {"schema": "infer"}, {"schema": place.file("s.json")},
                    {"schema": place.file("s.json"), "unknown_fields": "add_column"}, {"schema": "infer"}]
        n = 0
        for i, policy in enumerate(policies):
            daemon.config["types"]["list"] = [{"name": "web", **policy}]
            daemon.start()
            cloud.clear_faults()
            send(daemon, [{"n": n, "name": f"early {i}"}])
            if i % 2 == 1:
                daemon.flush()
            cloud.fault(service="storage" if i % 2 else "bigquery", status=503)
            send(daemon, [{"n": n + 1, "name": f"late {i}", **({} if i == 2 else {f"f{i}": i})}])
            n += 2
            time.sleep(0.4)
            daemon.kill()
        cloud.clear_faults()
        daemon.start()
        daemon.settle()
        got = sorted(int(v if v is not None else json.loads(e)["n"])
                     for v, e in cloud.query(f"SELECT n, event FROM `{PROJECT}.{DATASET}.web`"))
        equal(got, list(range(n)), "numbers of all policies")
        expect({"f1", "f3", "f4", "event"} <= set(columns(cloud, "web")), columns(cloud, "web"))
        daemon.clean()


if __name__ == "__main__":
    print(f"PENSTOCK_SEED={SEED}")
    sys.exit(run_tests([test_grows_live, test_conflicts, test_add_column, test_kills, test_insert_all,
                        test_insert_all_parks,
                        test_lost_version, test_disk_refuses, test_refused_change, test_existing_table, test_switches]))
