#!/usr/bin/env python3
"""Goal: verify finds one removed object, one removed row and one doubled row, and names them.

Method: events of a type with a schema, of one without and of one by insertAll, over three days; then
the local cloud's files are edited behind everybody's back while it is down: an object goes, in one
table a row goes and another one is doubled, so that their number is as before.
"""
import contextlib
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import DATASET, PROJECT, Place, equal, expect, run_tests  # noqa: E402

DAYS = ("2026-11-19", "2026-11-20", "2026-11-21")
FIELDS = [{"name": "event_type", "type": "STRING"}, {"name": "n", "type": "INTEGER"},
          {"name": "at", "type": "TIMESTAMP"}]
TYPES = ("plain", "wrapped", "inserted")


def listed(place):
    schema = place.file("verify.json")
    with open(schema, "w") as file:
        json.dump(FIELDS, file)
    return [{"name": "plain", "schema": schema, "time_field": "at"}, {"name": "wrapped", "time_field": "at"},
            {"name": "inserted", "schema": schema, "time_field": "at", "method": "insert_all"}]


@contextlib.contextmanager
def edited(cloud):
    """The rows' database, while nobody else has it."""
    cloud.kill()
    path = next(os.path.join(folder, name) for folder, _, names in os.walk(cloud.data)
                for name in names if name == "bigquery.db")
    with contextlib.closing(sqlite3.connect(path)) as db:
        yield db
        db.commit()
    cloud.start()


def table_of(db, ids):
    """The SQLite table that holds these penstock_ids."""
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 't[0-9]*'"):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
        column = next((c for c in columns if "penstock_id" in c), None)
        if column and db.execute(f"SELECT count(*) FROM {name} WHERE \"{column}\" = ?", (ids,)).fetchone()[0]:
            return name, column, [c for c in columns if c != columns[0]]
    raise AssertionError(f"no table with {ids}")


def remove_row(db, penstock_id):
    name, column, _ = table_of(db, penstock_id)
    equal(db.execute(f"DELETE FROM {name} WHERE \"{column}\" = ?", (penstock_id,)).rowcount, 1, "rows removed")


def double_row(db, penstock_id):
    name, column, others = table_of(db, penstock_id)
    names = ", ".join(f'"{c}"' for c in others)
    db.execute(f"INSERT INTO {name}({names}) SELECT {names} FROM {name} WHERE \"{column}\" = ?", (penstock_id,))


def report(daemon, status=1):
    code, text = daemon.cli("--json", "verify")
    equal(code, status, f"exit status of verify: {text[:800]}")
    return json.loads(text)


def ids(cloud, table):
    return sorted(row[0] for row in cloud.query(f"SELECT penstock_id FROM `{PROJECT}.{DATASET}.{table}`"))


def test_planted():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=listed(place), workers=2)
        for t in TYPES:
            lines = [{"event_type": t, "n": n, "at": f"{day}T10:0{n % 3}:00Z"} for day in DAYS for n in range(40)]
            daemon.post_ok("".join(json.dumps(line) + "\n" for line in lines).encode())
        daemon.settle()
        # Rows alone: one removed and one doubled in each table.
        planted = {t: ids(cloud, t) for t in TYPES}
        with edited(cloud) as db:
            for t in TYPES:
                remove_row(db, planted[t][50])
                double_row(db, planted[t][70])
        found = report(daemon)
        named = {(r["kind"], r["table"], r["penstock_id"], r["found"]) for r in found["rows"]}
        wanted = {("missing_row", t, planted[t][50], 0) for t in TYPES}
        wanted |= {("doubled_row", t, planted[t][70], 2) for t in TYPES}
        equal(named, wanted, "named rows")
        kinds = sorted((d["kind"], d["name"]) for d in found["differences"])
        equal(kinds, [("rows", t) for t in sorted(TYPES)], "differences")
        code, text = daemon.cli("verify")
        expect(f"missing_row plain {planted['plain'][50]}, in object output/plain/" in text, text)
        expect(f"doubled_row wrapped {planted['wrapped'][70]}, 2 times" in text, text)
        # And an object, of another day.
        with edited(cloud) as db:
            remove_row(db, planted["plain"][51])
        gone = next(o["name"] for o in cloud.listing("output/plain/2026/11/20/"))
        cloud.call("DELETE", f"/storage/v1/b/{cloud.bucket}/o/{gone.replace('/', '%2F')}")
        found = report(daemon)
        equal(sorted((d["kind"], d["name"]) for d in found["differences"]),
              [("missing_object", gone)] + [("rows", t) for t in sorted(TYPES)], "differences")
        missing = {r["penstock_id"] for r in found["rows"] if (r["kind"], r["table"]) == ("missing_row", "plain")}
        expect(planted["plain"][50] in missing, "the first removed row", missing)
        expect(not [r for r in found["rows"] if r["kind"] == "unknown_row"], "unknown rows", found["rows"])
        daemon.stop()


sys.exit(run_tests([test_planted]))
