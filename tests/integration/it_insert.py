#!/usr/bin/env python3
"""BigQuery insertAll as a delivery method: the rows are those of a load, whatever BigQuery answers.

Goal: rows by insertAll equal rows by load jobs, value for value; refused rows become dead letters with
BigQuery's reason; 404 after creation, 403 by reason, 5xx, lost answers, stopped rows, 413 and 400 for a
whole request lose nothing and double nothing within BigQuery's window; a table in trouble leaves the
others alone; kill -9 and changes of method in between. Method: the local cloud with faults, everything
read back; `penstock verify` after each.
"""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Cloud, Daemon, Gen, LISTED, Place, compare, dead_letters, equal,  # noqa: E402
                      expect, run_tests, until)

FAST = {"age_max": "50ms"}
COLUMNS = [
    {"name": "id", "type": "STRING", "mode": "REQUIRED"}, {"name": "at", "type": "TIMESTAMP"},
    {"name": "j", "type": "JSON"}, {"name": "js", "type": "JSON", "mode": "REPEATED"},
    {"name": "n", "type": "NUMERIC"}, {"name": "b", "type": "BIGNUMERIC"},
    {"name": "i", "type": "INTEGER"}, {"name": "is", "type": "INTEGER", "mode": "REPEATED"},
    {"name": "f", "type": "FLOAT"}, {"name": "t", "type": "BOOLEAN"}, {"name": "y", "type": "BYTES"},
    {"name": "d", "type": "DATE"}, {"name": "tm", "type": "TIME"}, {"name": "dt", "type": "DATETIME"},
    {"name": "g", "type": "GEOGRAPHY"}, {"name": "iv", "type": "INTERVAL"},
    {"name": "rd", "type": "RANGE", "rangeElementType": {"type": "DATE"}},
    {"name": "rt", "type": "RANGE", "rangeElementType": {"type": "TIMESTAMP"}, "mode": "REPEATED"},
    {"name": "r", "type": "RECORD", "fields": [
        {"name": "j", "type": "JSON"}, {"name": "s", "type": "STRING"},
        {"name": "q", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "j", "type": "JSON"}, {"name": "n", "type": "NUMERIC"}]}]},
]


def by_insert(entry):
    return {**entry, "method": "insert_all"}


def now(days=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400 * days))


def send(daemon, kind, events, path="/v1/events"):
    route = {} if path != "/v1/events" else {"event_type": kind}
    lines = [json.dumps({**route, **e}).encode() for e in events]
    answer = daemon.post_ok(b"\n".join(lines) + b"\n", path)
    equal(answer["accepted"], len(lines), f"accepted: {answer}")
    return lines


def simple(count, prefix="e"):
    return [{"id": f"{prefix}-{i}", "timestamp": now()} for i in range(count)]


def wait_delivered(daemon, seconds=60):
    until(lambda: daemon.pending() == 0, seconds, lambda: f"nothing pending: {daemon.status()['sinks']}")


def ids(cloud, table):
    return sorted(cloud.column(table, "JSON_VALUE(event.id)"))


def sinks_table(daemon, table):
    for thread in daemon.cli_json("sinks")["threads"]:
        for found in thread["tables"]:
            if found["table"] == table:
                return found
    return None


def test_same_rows_as_load():
    """The same events under two types of one schema, by both methods: all cells but the ids are equal."""
    with Place() as place:
        cloud = Cloud(place)
        schema = place.file("columns.json")
        with open(schema, "w") as file:
            json.dump(COLUMNS, file)
        listed = [{"name": "loaded", "schema": schema, "time_field": "at", "method": "load"},
                  {"name": "inserted", "schema": schema, "time_field": "at", "method": "insert_all"}]
        daemon = Daemon(place, cloud, listed=listed, insert=FAST)
        big = {"deep": [{"a": "\u00e9\n\"quoted\" \\ back", "b": [1.5, None, True]}], "n": 1234567890123456789}
        events = [
            {"id": "all", "at": now(), "j": big, "js": [1, "two", {"three": [3]}, []], "n": "12.345678901",
             "b": "1234567890123456789012345678901234567.00000000000000000000000000000000000001",
             "i": 9007199254740993, "is": [1, -9223372036854775808, "9223372036854775807"], "f": 1.25, "t": True,
             "y": "AAEC/w==", "d": "2026-11-21", "tm": "12:34:56.789", "dt": "2026-11-21 12:34:56.5",
             "g": "POINT(1 2)", "iv": "1-2 -3 4:5:6.7", "rd": {"start": "2024-02-29", "end": None},
             "rt": [{"start": "2024-01-01T00:00:00+01:00", "end": "2024-01-01T00:00:00Z"}, {}],
             "r": {"j": {"x": 1}, "s": "s", "q": [{"j": [1]}, {"n": 0.1}, {}]}},
            {"id": "nulls", "at": now(-40), "j": None, "js": [], "r": None, "is": None},
            {"id": "scalars", "at": now(-3000), "j": "text", "n": 3, "f": "NaN", "i": "17", "t": "true"},
            {"id": "json", "at": now(300), "j": 0, "js": [False, ""], "r": {"q": []}},
            {"id": "moved", "at": now(), "unknown": {"a": [1, {"b": "c"}]}, "r": {"s": "x", "more": "\u20ac"}},
        ]
        events += [{"id": f"e{n}", "at": now(), "j": {"n": n}, "r": {"q": [{"j": n}] * (n % 3)}} for n in range(700)]
        for kind in ("loaded", "inserted"):
            send(daemon, kind, events, f"/v1/events/{kind}")
        daemon.settle()
        rows = {}
        for table in ("loaded", "inserted"):
            rows[table] = {}
            for row in cloud.rows(table):
                for own in ("penstock_id", "processed_timestamp"):
                    expect(row.pop(own), own, "is missing in", table)
                rows[table][row["id"]] = row
        equal(len(rows["loaded"]), len(events), "rows loaded")
        equal([rows["loaded"]["all"][column] for column in ("iv", "rd", "rt")],
              ["1-2 -3 4:5:6.7", "[2024-02-29, UNBOUNDED)",
               [{"v": "[2023-12-31T23:00:00, 2024-01-01T00:00:00)"}, {"v": "[UNBOUNDED, UNBOUNDED)"}]],
              "intervals and ranges")
        for key, row in rows["loaded"].items():
            equal(rows["inserted"].get(key), row, f"row {key}")
        equal({json.loads(j)["n"] for j in [r["j"] for k, r in rows["inserted"].items() if k[0] == "e"]},
              set(range(700)), "JSON values")
        expect(not [j for j in cloud.jobs()
                    if j["configuration"]["load"]["destinationTable"]["tableId"] == "inserted"], "a load job")
        expect(any("/inserted/" in name for name in cloud.names("output/")), "the archive has them too")
        daemon.clean()


def test_generated_mix():
    """Types by both methods under load, with dead letters and late events: exactly once in both sinks."""
    with Place() as place:
        cloud = Cloud(place, arguments=["--table-delay", "400"])
        listed = [by_insert(LISTED[0]), LISTED[1], by_insert(LISTED[2])]
        daemon = Daemon(place, cloud, listed=listed, insert=FAST)
        gen = Gen(place, daemon, count=30000, rate=12000, malformed=0.01, late=0.01, batch=50)
        gen.wait()
        daemon.settle()
        counts = compare(gen, cloud)
        expect(counts["rows"] > 25000, counts)
        methods = {t: sinks_table(daemon, t)["method"] for t in ("orders", "inventory", "user_activity")}
        equal(methods, {"orders": "insert_all", "inventory": "load", "user_activity": "insert_all"}, "methods")
        daemon.clean()


def test_refused_rows():
    """Refused rows are dead letters with BigQuery's words and the event as it came; stopped rows come again."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[by_insert(LISTED[0])], insert=FAST,
                        bigquery={"method": "insert_all"}, types={"time_field": "timestamp"})
        cloud.fault(service="bigquery", row_reason="invalid", message="no such thing: x.",
                    row_contains="bad-")
        cloud.fault(service="bigquery", row_reason="stopped", row_every=3, count=4)
        cloud.fault(service="bigquery", row_reason="backendError", row_every=2, count=2)
        lines = send(daemon, "free", simple(300, "good") + simple(20, "bad"))
        old = send(daemon, "free", [{"id": "old", "timestamp": now(-3800)}])
        order = {"order_id": "bad-1", "customer_id": "c", "order_date": now(), "status": "new", "total_amount": 1.5,
                 "items": [], "extra": {"kept": [1]},
                 "shipping_address": {"street": "s", "city": "c", "country": "d", "flat": "7"}}
        typed = send(daemon, "order", [order])
        wait_delivered(daemon)
        equal(ids(cloud, "free"), sorted(f"good-{i}" for i in range(300)), "rows")
        letters = {letter["bytes"]: letter for _, letter in dead_letters(cloud)}
        equal(len(letters), 22, "dead letters")
        for line in lines[300:]:
            letter = letters[line]
            equal(letter["reason"], "refused_by_bigquery", "reason")
            equal(letter["detail"], "invalid: no such thing: x.", "detail")
            equal(letter["event_type"], "free", "type")
            expect(letter["source"] == f"journal {letter['penstock_id']}", letter["source"])
        expect("outside the allowed bounds" in letters[old[0]]["detail"], letters[old[0]])
        whole = [b for b in letters if b"order_id" in b]
        found = json.loads(whole[0])
        equal(found.pop("shipping_address.flat", None), "7", "a moved nested field")
        wanted = json.loads(typed[0])
        del wanted["shipping_address"]["flat"]
        equal(found, wanted, "the event of a refused row")
        sink = daemon.status()["sinks"]["bigquery"]
        equal((sink["planned"], sink["delivered"], sink["refused"], sink["pending"]), (322, 300, 22, 0), "status")
        equal(daemon.status()["dead_letters"], {"refused_by_bigquery": 22}, "reasons")
        text = daemon.admin("/metrics")[1]
        expect('penstock_type_refused_events_total{type="free",sink="bigquery"} 21' in text, "metrics")
        daemon.verify()
        daemon.restart()  # what is known is in the ledger, not in memory
        equal(daemon.status()["sinks"]["bigquery"]["refused"], 22, "refused after a restart")
        daemon.verify()
        cloud.call("DELETE", f"/storage/v1/b/{cloud.bucket}/o/" +
                   cloud.names("dead_letter/")[0].replace("/", "%2F"))
        status, text = daemon.cli("verify")
        expect(status != 0 and "missing_object" in text, "a removed dead letter object:", text[-600:])


def test_failing_requests():
    """5xx, resets, lost answers, rate limits, 400 and 413 of whole requests: each row once, none refused."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert={**FAST, "rows": 64}, bigquery={"method": "insert_all"})
        send(daemon, "free", simple(10, "first"))
        wait_delivered(daemon)
        faults = [
            {"status": 503, "count": 2}, {"reset": True, "count": 2}, {"lose_answer": True, "count": 3},
            {"status": 403, "reason": "rateLimitExceeded", "count": 2}, {"status": 413, "reason": "x", "count": 3},
            {"status": 400, "reason": "invalid", "count": 3}, {"status": 429, "count": 1},
            {"status": 400, "reason": "tableUnavailable", "count": 1},
        ]
        total = 10
        for n, fault in enumerate(faults):
            cloud.fault(service="bigquery", path_contains="/insertAll", **fault)
            send(daemon, "free", simple(150, f"f{n}"))
            wait_delivered(daemon)
            total += 150
            cloud.clear_faults()
        found = ids(cloud, "free")
        equal((len(found), len(set(found))), (total, total), "rows and different rows")
        equal(dead_letters(cloud), [], "dead letters")
        daemon.verify()
        daemon.clean()


def test_column_lags():
    """A schema gets a column at a restart: answers that do not know it yet make no dead letters."""
    with Place() as place:
        cloud = Cloud(place)
        schema = place.file("columns.json")
        columns = [{"name": "id", "type": "STRING"}, {"name": "at", "type": "TIMESTAMP"}]

        def write():
            with open(schema, "w") as file:
                json.dump(columns, file)

        write()
        daemon = Daemon(place, cloud, insert=FAST, listed=[
            {"name": "plain", "schema": schema, "time_field": "at", "method": "insert_all"}])
        send(daemon, "plain", [{"id": "a", "at": now()}], "/v1/events/plain")
        daemon.settle()
        columns.append({"name": "later", "type": "INTEGER"})
        write()
        daemon.restart()
        cloud.fault(service="bigquery", row_reason="invalid", row_contains="later", count=3,
                    message="no such field: later.")
        send(daemon, "plain", [{"id": "b", "at": now(), "later": 7}, {"id": "c", "at": now()}], "/v1/events/plain")
        wait_delivered(daemon)
        equal(sorted(cloud.column("plain", "id")), ["a", "b", "c"], "rows")
        equal([f["hits"] for f in cloud.faults()["faults"]], [3], "refusals")
        cloud.fault(service="bigquery", row_reason="invalid", row_contains="bad",
                    message="Cannot convert value: no such field: to integer")  # a value that was sent
        send(daemon, "plain", [{"id": "bad", "at": now()}], "/v1/events/plain")
        wait_delivered(daemon)
        equal(len(dead_letters(cloud)), 1, "dead letters")
        daemon.verify()


def test_one_row_at_fault():
    """A request refused as a whole because of one row: found by halving, the others go in."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"},
                        http={"event_max": "6MiB", "body_max": "16MiB"},
                        journal={"limit": "1GiB", "segment": "32MiB"})
        send(daemon, "free", simple(3, "first"))
        wait_delivered(daemon)
        # As a string of JSON text it is twice as long: more than insertAll takes.
        huge = {"id": "huge", "timestamp": now(), "text": "\"" * 2600000}
        lines = send(daemon, "free", simple(40) + [huge] + simple(40, "behind"))
        wait_delivered(daemon)
        equal(len(ids(cloud, "free")), 83, "rows")
        letters = dead_letters(cloud)
        equal([letter["bytes"] == lines[40] for _, letter in letters], [True], "the letter is the event")
        expect("uploadTooLarge" in letters[0][1]["detail"], letters[0][1]["detail"])
        daemon.verify()


def test_table_not_found():
    """404 after creation is waited out; past the limit the rows are parked, and go in when it is over."""
    with Place() as place:
        cloud = Cloud(place, arguments=["--table-delay", "8000"])
        daemon = Daemon(place, cloud, listed=[by_insert(LISTED[1])], insert={**FAST, "table_wait": "1s"},
                        bigquery={"method": "insert_all"})
        send(daemon, "free", simple(20))
        until(lambda: (sinks_table(daemon, "free") or {}).get("state") == "parked", 20, "the table to be parked")
        expect("does not find" in sinks_table(daemon, "free")["text"], sinks_table(daemon, "free"))
        wait_delivered(daemon)
        equal(len(ids(cloud, "free")), 20, "rows")
        send(daemon, "free", simple(5, "more"))
        wait_delivered(daemon)
        daemon.verify()
        equal(sinks_table(daemon, "free")["text"], "", "why it waits")


def test_one_bad_table():
    """A table without rights parks, and the other tables do not notice; with rights again all arrives."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert={**FAST, "concurrency": 2, "table_concurrency": 1},
                        bigquery={"method": "insert_all"})
        cloud.fault(service="bigquery", path_contains="/tables/bad/insertAll", status=403, reason="accessDenied",
                    message="no rights")
        cloud.fault(service="bigquery", path_contains="/tables/slow/insertAll", delay_ms=1500)
        for n in range(10):
            send(daemon, "bad", simple(10, f"b{n}"))
            send(daemon, "slow", simple(10, f"s{n}"))
            send(daemon, "good", simple(10, f"g{n}"))
        until(lambda: "good" in cloud.tables() and len(ids(cloud, "good")) == 100, 30, "the good table's rows")
        until(lambda: (sinks_table(daemon, "bad") or {}).get("state") == "parked", 20, "the bad one to be parked")
        expect("no rights" in sinks_table(daemon, "bad")["text"], sinks_table(daemon, "bad"))
        expect(any("no rights" in p["why"] for p in daemon.status()["parked"]["problems"]), "status says why")
        equal(cloud.column("bad", "penstock_id"), [], "rows of the bad table")
        cloud.clear_faults()
        wait_delivered(daemon)
        equal((len(ids(cloud, "bad")), len(ids(cloud, "slow"))), (100, 100), "rows afterwards")
        daemon.verify()


def test_senseless_answers():
    """What is no answer of insertAll is never success: rows are sent again until one makes sense."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"})
        send(daemon, "free", simple(5, "first"))
        wait_delivered(daemon)
        cloud.fault(service="bigquery", row_reason="", row_every=2, count=2)  # listed without a reason
        send(daemon, "free", simple(30))
        wait_delivered(daemon)
        found = ids(cloud, "free")
        equal((len(found), len(set(found))), (35, 35), "rows")
        expect("penstock_bigquery_insert_odd_answers_total" in daemon.admin("/metrics")[1], "counter")
        daemon.verify()


def test_doubled_rows_are_named():
    """Beyond BigQuery's window a lost answer doubles rows: verify names it, and is no alarm; a loss is one."""
    with Place() as place:
        cloud = Cloud(place, arguments=["--dedupe", "0"])
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"})
        cloud.fault(service="bigquery", path_contains="/insertAll", lose_answer=True, count=1)
        send(daemon, "free", simple(25))
        wait_delivered(daemon)
        equal(len(ids(cloud, "free")), 50, "rows")
        status, text = daemon.cli("verify")
        expect(status == 0 and "25 rows twice" in text and "clean" in text, status, text)
        tables = daemon.cli_json("verify")["tables"]
        equal([(t["doubled"], t["insert_all"]) for t in tables], [(25, True)], "verify --json")
        cloud.call("DELETE", "/bigquery/v2/projects/test-project/datasets/test_events/tables/free")
        status, text = daemon.cli("verify")
        expect(status != 0 and "the table is gone" in text, status, text)


def test_kills():
    """kill -9 again and again while rows go in, with faults on: each event once in both sinks."""
    with Place() as place:
        cloud = Cloud(place, arguments=["--dedupe", "600000"])
        listed = [by_insert(LISTED[0]), LISTED[1], by_insert(LISTED[2])]
        daemon = Daemon(place, cloud, listed=listed, insert=FAST)
        cloud.fault(service="bigquery", path_contains="/insertAll", status=503, probability=0.2, seed=3)
        cloud.fault(service="bigquery", path_contains="/insertAll", lose_answer=True, probability=0.1, seed=4)
        cloud.fault(service="bigquery", row_reason="stopped", row_every=7, probability=0.3, seed=5)
        gens = []
        for n in range(6):
            gen = Gen(place, daemon, name=f"gen{n}", seed=100 + n, count=4000, rate=8000, batch=40)
            gens.append(gen)
            until(lambda g=gen: g.fates() > 600 + 500 * n or not g.running(), 60, "some events")
            daemon.kill()
            gen.interrupt()  # killed, it would not tell of what is under way
            until(lambda g=gen: not g.running(), 60, "the generator to end")
            daemon.start()
        cloud.clear_faults()
        daemon.settle()
        compare(gens, cloud)


def test_refusals_over_a_crash():
    """A crash between a refused row's dead letter and the end of its plan: the letter is never lost, and kept
    apart when BigQuery speaks otherwise the second time."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"},
                        group={"age_max": "200ms"})
        send(daemon, "free", simple(3, "first"))
        wait_delivered(daemon)
        cloud.fault(service="bigquery", row_reason="invalid", row_contains="bad-", message="first word")
        # The letters are stored, but the answer is lost, and nothing can be looked up.
        cloud.fault(service="storage", method="POST", path_contains="/upload/", lose_answer=True)
        cloud.fault(service="storage", method="GET", path_contains="/o/", status=503)
        lines = send(daemon, "free", simple(5, "bad") + simple(5, "good"))
        until(lambda: len(cloud.names("dead_letter/")) == 1, 30, "the dead letters to be stored")
        daemon.kill()
        cloud.clear_faults()
        cloud.fault(service="bigquery", row_reason="invalid", row_contains="bad-", message="second word")
        daemon.start()
        wait_delivered(daemon)
        names = cloud.names("dead_letter/")
        equal(len(names), 2, f"objects of dead letters: {names}")
        expect(names[1].endswith("_r2.json"), names)
        letters = dead_letters(cloud)
        equal(sorted(letter["bytes"] for _, letter in letters), sorted(2 * lines[:5]), "letters")
        equal({letter["detail"] for _, letter in letters}, {"invalid: first word", "invalid: second word"}, "words")
        equal(len({letter["penstock_id"] for _, letter in letters}), 5, "ids of letters")
        equal(len(ids(cloud, "free")), 8, "rows")
        daemon.verify()


def test_method_changes():
    """load, insert_all, load, with plans pending at each change: nothing lost, nothing twice."""
    with Place() as place:
        cloud = Cloud(place, arguments=["--dedupe", "600000"])
        daemon = Daemon(place, cloud, insert=FAST, group={"age_max": "1s"}, bigquery={"load_cadence": "1s"})
        gens = []
        for n, method in enumerate(("load", "insert_all", "load", "insert_all")):
            daemon.config["types"]["list"] = [{**e, "method": method} for e in LISTED]
            if n > 0:
                daemon.start()
            gen = Gen(place, daemon, name=f"gen{n}", seed=200 + n, count=3000, rate=10000, batch=40)
            gens.append(gen)
            gen.wait()
            if n == 1:  # some rows are in, some are not
                cloud.fault(service="bigquery", status=503)
            daemon.kill()
            cloud.clear_faults()
        daemon.start()
        daemon.settle()
        compare(gens, cloud)


def test_memory_is_shared():
    """A table that is down for long costs the others nothing, and its rows are read again from the journal."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"},
                        group={"memory": "64MiB", "bytes_max": "1MiB", "age_max": "200ms"})
        cloud.fault(service="bigquery", path_contains="/tables/bad/insertAll", status=503)
        filler = "x" * 900
        for n in range(80):
            send(daemon, "bad", [{**e, "filler": filler} for e in simple(1000, f"b{n}")])
        send(daemon, "good", simple(50))
        until(lambda: "good" in cloud.tables() and len(ids(cloud, "good")) == 50, 30, "the good table's rows")
        expect(daemon.status()["sinks"]["bigquery"]["pending"] >= 80000, "the bad table's rows wait")
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 60, "all events in the archive")
        cloud.clear_faults()
        wait_delivered(daemon, 120)
        equal(len(set(ids(cloud, "bad"))), 80000, "rows of the bad table")
        daemon.verify()


def test_many_tables_down():
    """Hundreds of tables that are down leave the archive going on; after it all rows are there."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"},
                        group={"memory": "128MiB", "age_max": "5s"})
        equal(daemon.cli("pause", "bigquery")[0], 0, "pause")  # no different from an outage, but over at once
        for n in range(28):
            lines = [json.dumps({"event_type": f"t{i}", "id": f"e{n}", "timestamp": now()}) for i in range(600)]
            for at in range(0, 600, 300):
                daemon.post_ok("\n".join(lines[at:at + 300]).encode() + b"\n")
            time.sleep(0.2)  # so that groups become plans
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 60, "all events in the archive")
        equal(daemon.status()["sinks"]["bigquery"]["pending"], 16800, "rows pending")
        equal(daemon.cli("resume", "bigquery")[0], 0, "resume")
        wait_delivered(daemon, 120)
        equal(sum(t["rows"] for t in json.loads(daemon.cli("verify", "--json")[1])["tables"]), 16800, "rows")


def test_pauses():
    """A paused type or sink holds its inserts, over a kill -9 too; knobs change live; resumed, all arrives once."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"})
        send(daemon, "held", simple(5, "first"))
        send(daemon, "free", simple(5, "first"))
        wait_delivered(daemon)
        equal(daemon.cli("pause", "type", "held")[0], 0, "pause type")
        equal(daemon.cli("set", "insert.rows", "7")[0], 0, "set")
        send(daemon, "held", simple(50))
        send(daemon, "free", simple(50))
        until(lambda: len(ids(cloud, "free")) == 55, 30, "the rows of the other type")
        equal(len(ids(cloud, "held")), 5, "rows of the paused type")
        equal(daemon.cli("pause", "bigquery")[0], 0, "pause bigquery")
        send(daemon, "free", simple(50, "more"))
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] <= 50, 30, "objects of the other type")
        equal(len(ids(cloud, "free")), 55, "rows while bigquery is paused")
        daemon.kill()
        daemon.start()
        equal(len(ids(cloud, "free")), 55, "rows after a restart")
        equal(daemon.cli("resume", "bigquery")[0], 0, "resume bigquery")
        until(lambda: len(ids(cloud, "free")) == 105, 30, "the rows of the other type")
        equal(len(ids(cloud, "held")), 5, "rows of the paused type")
        equal(daemon.cli("resume", "type", "held")[0], 0, "resume type")
        wait_delivered(daemon)
        equal(len(set(ids(cloud, "held"))), 55, "rows of the resumed type")
        daemon.verify()
        daemon.clean()


def test_letters_are_held():
    """What BigQuery refuses is an upload: a pause of gcs holds it, and costs the rows that are in nothing."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert=FAST, bigquery={"method": "insert_all"})
        cloud.fault(service="bigquery", row_reason="invalid", message="no.", row_contains="bad-")
        equal(daemon.cli("pause", "gcs")[0], 0, "pause gcs")
        send(daemon, "free", simple(30, "good") + simple(3, "bad"))
        until(lambda: "free" in cloud.tables() and len(ids(cloud, "free")) == 30, 30, "the rows")
        rc, text = daemon.cli("flush", "--timeout", "20s")
        expect(rc == 1 and "gcs" in text and "paused" in text, "flush names what holds:", rc, text)
        equal(cloud.names("output/") + cloud.names("dead_letter/"), [], "objects while gcs is paused")
        requests = sinks_table(daemon, "free")["jobs"]
        equal(daemon.cli("resume", "gcs")[0], 0, "resume gcs")
        wait_delivered(daemon)
        equal(len(dead_letters(cloud)), 3, "dead letters")
        equal(sinks_table(daemon, "free")["jobs"], requests, "requests: none was repeated")
        equal(len(ids(cloud, "free")), 30, "rows")
        daemon.verify()
        daemon.clean()


def test_pending_is_exact():
    """What gathers for insertAll is pending also when its object is stored, and not pending any more when it is in."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, listed=[], insert={"age_max": "1h"}, bigquery={"method": "insert_all"},
                        group={"age_max": "100ms"})
        cloud.fault(service="bigquery", path_contains="/insertAll", status=503)
        daemon.cli("pause", "bigquery")
        send(daemon, "free", simple(30))
        until(lambda: daemon.status()["sinks"]["gcs"]["pending"] == 0, 30, "the object")
        equal(daemon.status()["sinks"]["bigquery"]["pending"], 30, "rows pending")
        expect(daemon.cli("set", "group.age_max=1h", "insert.age_max=50ms")[0] == 0, "set")
        daemon.cli("resume", "bigquery")
        cloud.clear_faults()
        send(daemon, "free", simple(12, "more"))
        until(lambda: daemon.status()["sinks"]["bigquery"]["pending"] == 0, 30, "no rows pending")
        equal(len(ids(cloud, "free")), 42, "rows")
        equal(daemon.status()["sinks"]["gcs"]["pending"], 12, "events without an object")
        daemon.settle()


def test_configuration():
    """Wrong methods and limits are refused with key, value and what is allowed."""
    with Place() as place:
        cloud = Cloud(place)
        daemon = Daemon(place, cloud, start=False, listed=[{"name": "a", "method": "stream"}],
                        bigquery={"method": "storage_write"}, insert={"rows": 50001, "bytes": "10MiB"})
        process = daemon.launch("--check")
        expect(process.wait(20) != 0, "a wrong configuration passes")
        text = process.text()
        for part in ("types.list[0].method", "load|insert_all", "bigquery.method", "insert.rows", "insert.bytes"):
            expect(part in text, part, "not in", text)


if __name__ == "__main__":
    sys.exit(run_tests([
        test_same_rows_as_load, test_generated_mix, test_refused_rows, test_failing_requests,
        test_column_lags, test_one_row_at_fault, test_table_not_found, test_one_bad_table, test_senseless_answers,
        test_doubled_rows_are_named, test_kills, test_refusals_over_a_crash, test_method_changes,
        test_memory_is_shared, test_many_tables_down, test_pauses, test_letters_are_held,
        test_pending_is_exact,
        test_configuration,
    ]))
