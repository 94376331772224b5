#!/usr/bin/env python3
"""Goal: every event lies under the exact path of its time, and every table is made as promised.

Method: events with chosen times and fields go through a running daemon; then names of objects,
resources of
tables and datasets, rows and load jobs are read by Google's APIs and compared with what they must
be, literally.
"""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (DATASET, LISTED, PROJECT, Place, equal, expect, run_tests,  # noqa: E402
                      strip_added, until)

ORDER = {"event_type": "order", "order_id": "o1", "customer_id": "c", "order_date": "2026-01-02T03:04:05Z",
         "status": "pending", "items": [{"product_id": "p", "product_name": "n", "quantity": 1, "price": 2}],
         "total_amount": 1.5, "shipping_address": {"street": "s", "city": "c", "country": "k"}}
DAY_MS = 86_400_000

# Text of the time -> path, event_date. Each in UTC, whatever the offset says.
TIMES = [
    ("2026-01-02T03:04:05Z", "2026/01/02/03/04"),
    ("2026-01-02T03:04:59.999999Z", "2026/01/02/03/04"),
    ("2026-01-02T03:05:00Z", "2026/01/02/03/05"),
    ("2026-01-01T00:30:00+01:00", "2025/12/31/23/30"),
    ("2025-12-31T23:30:00-01:30", "2026/01/01/01/00"),
    ("2024-02-29T23:59:59.5Z", "2024/02/29/23/59"),
    ("2024-02-29T22:00:00-05:00", "2024/03/01/03/00"),
    ("2023-03-01T00:00:00+00:01", "2023/02/28/23/59"),
    ("1970-01-01T00:00:00Z", "1970/01/01/00/00"),
    ("1969-12-31T23:59:59.999Z", "1969/12/31/23/59"),
    ("1965-07-01T12:00:01Z", "1965/07/01/12/00"),
    ("2026-05-06 07:08:09", "2026/05/06/07/08"),
    ("2026-05-06T07:08:09", "2026/05/06/07/08"),
    (1767323045, "2026/01/02/03/04"),
    (-1, "1969/12/31/23/59"),
]


def dump(event):
    return json.dumps(event, separators=(",", ":")).encode()


def test_paths():
    """The minute of the event's own time, in UTC, is the path; event_date is its day."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types={"time_field": "meta.at", "lateness": "3650d"})
        # A type for each time: the same name must come from the time alone.
        for i, (time, _) in enumerate(TIMES):
            daemon.post_ok(dump({"event_type": f"t{i}", "meta": {"at": time}}))
        daemon.settle()
        for i, (time, path) in enumerate(TIMES):
            found = cloud.lines(f"output/t{i}/")
            equal(len(found), 1, f"events of {time}")
            name, line = found[0]
            compact = path.replace("/", "")
            wanted = rf"output/t{i}/{path}/t{i}_{compact}_test_[0-9a-f]{{8}}_[0-9a-f]{{8}}\.json"
            expect(re.fullmatch(wanted, name), name, "is not", wanted, "for", time)
            equal(json.loads(line)["event_date"], path[:10].replace("/", "-"), f"event_date of {time}")
            equal([r["event_date"] for r in cloud.rows(f"t{i}")], [path[:10].replace("/", "-")], "row")
        equal(daemon.status()["bad_time"], 0, "bad times")
        daemon.clean()
        daemon.stop()


def test_late():
    """Older than the newest by more than the lateness: the same path, another name; on time: no such name."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types={"time_field": "at", "lateness": "1h"})
        for at in ("2026-03-01T12:00:00Z", "2026-03-01T11:00:00Z", "2026-03-01T10:59:59Z",
                   "2026-02-01T00:00:00Z", "2026-03-01T11:30:00Z"):
            daemon.post_ok(dump({"event_type": "t", "at": at}))
        daemon.settle()
        names = [re.sub(r"_test_.*", "", n) for n in cloud.names("output/")]
        equal(names, ["output/t/2026/02/01/00/00/t_202602010000_late", "output/t/2026/03/01/10/59/t_202603011059_late",
                      "output/t/2026/03/01/11/00/t_202603011100", "output/t/2026/03/01/11/30/t_202603011130",
                      "output/t/2026/03/01/12/00/t_202603011200"], "names")
        equal(daemon.status()["late"], 2, "late events")
        daemon.stop()


def test_bad_time():
    """A time that cannot be used: the time of receipt instead, counted; the bytes stay."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, listed=[], types={"time_field": "at"})
        bad = [{"event_type": "t", "at": at} for at in ("soon", "2026-02-30T00:00:00Z", None, True, [1], "")]
        bad.append({"event_type": "t"})
        raw = [dump(event) for event in bad]
        daemon.post_ok(b"\n".join(raw))
        equal(daemon.status()["bad_time"], len(bad), "bad times")
        daemon.settle()
        lines = [line for _, line in cloud.lines("output/t/")]
        equal(sorted(map(strip_added, lines)), sorted(raw), "bytes")
        for name, line in cloud.lines("output/t/"):
            received = json.loads(line)["processed_timestamp"]
            minute = re.sub(r"[-T:]", "/", received[:16])
            expect(name.startswith(f"output/t/{minute}/"), name, "for", received)
            equal(json.loads(line)["event_date"], received[:10], "event_date")
        daemon.stop()


def test_tables():
    """Partitioning, clustering, labels, description, expiration; made when the first event comes."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, bigquery={"labels": {"team": "data"}, "location": "EU",
                                               "table_expiration": "90d"}, types={"time_field": "time"})
        equal(cloud.tables(), [], "tables before the first event")
        daemon.post_ok(dump(ORDER) + b"\n" + b'{"event_type":"click","time":"2026-01-02T03:04:05Z","n":1e3}')
        daemon.settle()
        equal(cloud.tables(), ["click", "orders"], "tables")
        labels = {"team": "data", "environment": "test", "managed_by": "penstock", "table_type": "events",
                  "auto_created": "true"}
        dataset = cloud.call("GET", f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}")
        equal(dataset["location"], "EU", "location")
        equal(dataset["defaultTableExpirationMs"], str(90 * DAY_MS), "default expiration")
        equal(dataset["labels"], labels, "labels of the dataset")
        for name, clustering, description in (("orders", ["customer_id", "status"], "Orders of the shop"),
                                              ("click", None, "Events written by Penstock")):
            table = cloud.table(name)
            equal(table["timePartitioning"], {"type": "DAY", "field": "event_date"}, "partitioning")
            equal(table.get("clustering", {}).get("fields"), clustering, "clustering")
            equal(table["description"], description, "description")
            equal(table["labels"], labels, "labels")
            equal(int(table["expirationTime"]) - int(table["creationTime"]), 90 * DAY_MS, "expiration")
        fields = {f["name"]: (f["type"], f["mode"]) for f in cloud.table("click")["schema"]["fields"]}
        equal(fields, {"event": ("JSON", "NULLABLE"), "event_date": ("DATE", "NULLABLE"),
                       "processed_timestamp": ("TIMESTAMP", "NULLABLE"),
                       "penstock_id": ("STRING", "NULLABLE")}, "columns without a schema")
        with open(LISTED[0]["schema"]) as file:
            wanted = {f["name"]: (f["type"], f.get("mode", "NULLABLE")) for f in json.load(file)}
        wanted |= {"event_date": ("DATE", "NULLABLE"), "processed_timestamp": ("TIMESTAMP", "NULLABLE"),
                   "penstock_id": ("STRING", "NULLABLE"), "penstock_overflow": ("JSON", "NULLABLE")}
        fields = {f["name"]: (f["type"], f["mode"]) for f in cloud.table("orders")["schema"]["fields"]}
        equal(fields, wanted, "columns of orders")
        row = cloud.rows("click")[0]
        equal(json.loads(row["event"]), {"event_type": "click", "time": "2026-01-02T03:04:05Z", "n": 1000},
              "event without a schema")
        daemon.clean()
        daemon.stop()


def test_overflow_and_added():
    """Unknown fields move to penstock_overflow; the producer's own added fields give way to ours."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        event = json.loads(dump(ORDER))
        event |= {"coupon": {"a": [1, None, "\u00e4"]}, "event_date": "1999-01-01", "penstock_id": "mine",
                  "processed_timestamp": 5, "n": None}
        event["items"][0]["sku"] = "S"
        event["shipping_address"]["zip"] = "8001"
        daemon.post_ok(dump(event))
        daemon.post_ok(dump(ORDER))
        daemon.settle()
        equal(daemon.status()["normalized"], 1, "normalized")
        overflow = {"coupon": event["coupon"], "n": None, "items[0].sku": "S", "shipping_address.zip": "8001"}
        rows = cloud.rows("orders")
        equal(len(rows), 2, "rows")
        moved = [json.loads(r["penstock_overflow"]) for r in rows if r["penstock_overflow"] is not None]
        equal(moved, [overflow], "overflow column")
        lines = [json.loads(line) for _, line in cloud.lines("output/order/")]
        for line in lines:
            equal(line["event_date"], "2026-01-02", "event_date")
            expect(re.fullmatch(r"[0-9a-f]{32}-[0-9a-f]{16}", line["penstock_id"]), line["penstock_id"])
            expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["processed_timestamp"]), line)
            for key in ("event_date", "penstock_id", "processed_timestamp", "penstock_overflow"):
                line.pop(key, None)
            equal(line, ORDER, "what is left")
        equal({r["penstock_id"] for r in rows},
              {json.loads(line)["penstock_id"] for _, line in cloud.lines("output/order/")}, "ids of both sinks")
        daemon.stop()


def test_existing_table():
    """A table that is there already: missing columns are added, its own columns stay."""
    with Place() as place:
        cloud = place.cloud()
        cloud.call("POST", f"/bigquery/v2/projects/{PROJECT}/datasets",
                   {"datasetReference": {"projectId": PROJECT, "datasetId": DATASET}})
        with open(LISTED[0]["schema"]) as file:
            columns = [f for f in json.load(file) if f["name"] not in ("event_date", "processed_timestamp")]
        columns += [{"name": "event_date", "type": "DATE"}, {"name": "theirs", "type": "STRING"}]
        cloud.call("POST", f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables", {
            "tableReference": {"projectId": PROJECT, "datasetId": DATASET, "tableId": "orders"},
            "schema": {"fields": columns}, "timePartitioning": {"type": "DAY", "field": "event_date"}})
        daemon = place.daemon(cloud)
        daemon.post_ok(dump({**ORDER, "extra": 1}))
        daemon.settle()
        row = cloud.rows("orders")[0]
        equal((row["theirs"], row["order_id"], json.loads(row["penstock_overflow"])), (None, "o1", {"extra": 1}),
              "row")
        daemon.clean()
        daemon.stop()


def test_jobs():
    """Load jobs have ids that follow from the plan, name each object once, and staging objects go."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, types={"time_field": "time"})
        for i in range(3):
            daemon.post_ok(b"\n".join(dump({**ORDER, "order_id": f"o{i}-{j}"}) for j in range(10)))
            daemon.post_ok(b'{"event_type":"click","time":"2026-01-02T03:04:05Z"}')
            daemon.flush()
        daemon.settle()
        until(lambda: cloud.names("staging/") == [], 30, "staging objects to be removed")
        ids, uris, prefixes = [], [], set()
        for job in cloud.jobs():
            job_id = job["jobReference"]["jobId"]
            found = re.fullmatch(r"(penstock_[0-9a-f]{32})_(\d+)_a1", job_id)
            expect(found, job_id)
            prefixes.add(found.group(1))
            ids.append(job_id)
            load = job["configuration"]["load"]
            uris += load["sourceUris"]
            equal((load["writeDisposition"], load["createDisposition"], load.get("ignoreUnknownValues", False)),
                  ("WRITE_APPEND", "CREATE_NEVER", False), "load")
            equal(load["maxBadRecords"], 0, "bad records allowed")
        equal(len(set(ids)), 6, "jobs")
        equal(len(prefixes), 1, "delivery logs in job ids")
        equal(len(uris), len(set(uris)), "objects loaded")
        in_bucket = {f"gs://{cloud.bucket}/{name}" for name in cloud.names("output/order/")}
        equal({u for u in uris if "/output/" in u}, in_bucket, "objects of orders")
        equal(len([u for u in uris if "/staging/click/" in u]), 3, "staging objects")
        equal((len(cloud.rows("orders")), len(cloud.rows("click"))), (30, 3), "rows")
        metadata = [o["metadata"] for o in cloud.listing("output/")]
        expect(len({json.dumps(m, sort_keys=True) for m in metadata}) == len(metadata), "plans repeat:", metadata)
        daemon.clean()
        daemon.stop()


if __name__ == "__main__":
    sys.exit(run_tests([test_paths, test_late, test_bad_time, test_tables, test_overflow_and_added,
                        test_existing_table, test_jobs]))
