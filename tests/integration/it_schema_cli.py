#!/usr/bin/env python3
"""Goal: `penstock schema infer` finds columns that take every event of a file, in each form of file, and
`penstock schema ddl` says the same in GoogleSQL.

Method: the command on CloudTrail records and on hard cases, against a small inference written here; a
daemon with the printed schema, whose table must hold every value of every event. The files in the folder
that PENSTOCK_DATA names are read too, when they are there.
"""
import gzip
import json
import os
import random
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import ROOT, Place, equal, expect, program, run_tests  # noqa: E402

SAMPLE = os.path.join(ROOT, "tests", "data", "cloudtrail_sample.ndjson")
FOUR = """  event_date DATE OPTIONS(description="UTC day of the event's time, set by Penstock"),
  processed_timestamp TIMESTAMP OPTIONS(description="When Penstock took the event"),
  penstock_id STRING OPTIONS(description="Unique id of the event: Penstock's journal and position"),
  penstock_overflow JSON OPTIONS(description="Fields of the event that the schema does not name")
)
PARTITION BY event_date"""


def schema(*arguments, status=0, data=None):
    argv = [program("penstock"), "--socket", "/nowhere/socket", "schema", *arguments]  # no daemon is asked
    done = subprocess.run(argv, capture_output=True, timeout=120, input=data)
    err = done.stderr.decode()
    equal(done.returncode, status, f"status of schema {arguments}: {err[-600:]}")
    return done.stdout.decode(), err


def infer(*arguments, **more):
    out, err = schema("infer", *arguments, **more)
    return json.loads(out), err


def has(text, *parts):
    for part in parts:
        expect(part in text, f"{part!r} is not in: {text[-1500:]}")


def write(place, name, data):
    path = place.file(name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    if data.lstrip().startswith(b"["):
        return json.loads(data)
    return [json.loads(line) for line in data.split(b"\n") if line]


# ---- a small inference, for comparing ----

def shape(value):
    """None, a type, {name: shape} for a RECORD, or [shape]."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "INTEGER" if -2**63 <= value < 2**63 else "JSON"
    if isinstance(value, float):
        return "FLOAT"
    if isinstance(value, str):
        return "STRING"
    if isinstance(value, dict):
        members = {k: s for k, s in ((k, shape(v)) for k, v in value.items()) if s is not None}
        return members or None
    if isinstance(value, list) and value:
        if any(v is None or isinstance(v, list) for v in value):
            return "JSON"
        if len({isinstance(v, dict) for v in value}) > 1:
            return "JSON"
        merged = None
        for v in value:
            merged = merge(merged, shape(v))
        return merged if merged in (None, "JSON") else [merged]
    return None


def merge(a, b):
    if a is None or b is None or a == b:
        return a if b is None else b
    if {str(a), str(b)} == {"INTEGER", "FLOAT"}:
        return "FLOAT"
    if isinstance(a, dict) and isinstance(b, dict):
        return {k: merge(a.get(k), b.get(k)) for k in {**a, **b}}
    if isinstance(a, list) and isinstance(b, list):
        inner = merge(a[0], b[0])
        return "JSON" if inner == "JSON" else [inner]
    return "JSON"


def shape_of_fields(fields):
    found = {}
    for f in fields:
        inner = shape_of_fields(f["fields"]) if f["type"] == "RECORD" else f["type"]
        found[f["name"]] = [inner] if f["mode"] == "REPEATED" else inner
    return found


# ---- rows as values ----

def plain(field, cell):
    """A cell of tabledata.list as the value that an event would have."""
    if cell is None:
        return None
    if field.get("mode") == "REPEATED":
        return [plain({**field, "mode": "NULLABLE"}, c["v"]) for c in cell]
    if field["type"] == "RECORD":
        return {f["name"]: plain(f, c["v"]) for f, c in zip(field["fields"], cell["f"])}
    kinds = {"INTEGER": int, "FLOAT": float, "BOOLEAN": lambda v: v == "true", "JSON": json.loads}
    return kinds.get(field["type"], str)(cell)


def put_back(values, path, value):
    """A value of penstock_overflow back to where it was: "items[2].sku"; names here have no dots."""
    *above, key = [int(t[1:-1]) if t[0] == "[" else t for t in re.findall(r"[^.\[\]]+|\[\d+\]", path)]
    for name in above:
        if values[name] is None:
            values[name] = {}
        values = values[name]
    values[key] = value


def without_nothing(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 36 and 36.0 are one number
    if isinstance(value, dict):
        inner = {k: without_nothing(v) for k, v in value.items()}
        return {k: v for k, v in inner.items() if v is not None and v != [] and v != {}} or None
    if isinstance(value, list):
        return [without_nothing(v) for v in value]
    return value


def rows(cloud, table):
    fields = cloud.table(table)["schema"]["fields"]
    found = []
    for row in cloud.rows(table):
        values = {f["name"]: plain(f, row[f["name"]]) for f in fields}
        moved = values.pop("penstock_overflow") or {}
        for name in ("event_date", "processed_timestamp", "penstock_id"):
            values.pop(name)
        for path, value in moved.items():
            put_back(values, path, value)
        found.append(without_nothing(values))
    return found


def load_with(place, path, events, *arguments):
    """A table with the inferred schema must take all events, value for value."""
    fields, err = infer(path, *arguments)
    expect("dead letters" not in err, err)
    file = write(place, "inferred.json", json.dumps(fields).encode())
    cloud = place.cloud()
    daemon = place.daemon(cloud, listed=[{"name": "t", "schema": file}])
    for start in range(0, len(events), 200):
        body = b"\n".join(json.dumps(e).encode() for e in events[start:start + 200]) + b"\n"
        answer = daemon.post_ok(body, "/v1/events/t")
        equal((answer["accepted"], answer["dead_lettered"]), (len(events[start:start + 200]), 0),
              f"answer {answer}")
    daemon.settle()

    def order(values):
        return sorted((json.dumps(v, sort_keys=True) for v in values))
    got, wanted = order(rows(cloud, "t")), order(without_nothing(e) for e in events)
    equal(len(got), len(wanted), "rows")
    for g, w in zip(got, wanted):
        equal(g, w, "a row")
    daemon.clean()
    daemon.stop()


# ---- tests ----

def test_cloudtrail():
    events = read(SAMPLE)
    fields, err = infer(SAMPLE)
    wanted = None
    for event in events:
        wanted = merge(wanted, shape(event))
    equal(shape_of_fields(fields), wanted, "columns")
    has(err, f"{len(events)} events, ", " 0 conflicts, 0 mapped names")
    fields, _ = infer(SAMPLE, "--time-field", "eventTime")
    equal([f["type"] for f in fields if f["name"] == "eventTime"], ["TIMESTAMP"], "the time")
    with Place() as place:
        load_with(place, SAMPLE, events)


def hard_events():
    random.seed(7)
    events = []
    for i in range(300):
        events.append({
            "id": i, "big": 2**53 + i, "ratio": random.choice([1, 0.5, 1e300]), "flag": i % 2 == 0,
            "name": "é\u0000\"\\" + "x" * (i % 50), "mixed": random.choice([1, "1", True, {"a": 1}, [1, "a", None]]),
            "list": [random.choice([1, 2.5])] * (i % 4), "nested": {"a": {"b": [{"c": i, "d": None}]}, "o-p": i},
            "order-id": "x", "Order_Id": i, "none": None,
            f"only_{i % 40}": {"k": [{"v": str(i)}]}})
    return events


def test_hard_cases():
    events = hard_events()
    with Place() as place:
        path = write(place, "hard.ndjson", b"\n".join(json.dumps(e).encode() for e in events))
        fields, err = infer(path)
        types = {f["name"]: (f["type"], f["mode"]) for f in fields}
        for name, wanted in {"id": ("INTEGER", "NULLABLE"), "big": ("INTEGER", "NULLABLE"),
                             "ratio": ("FLOAT", "NULLABLE"), "flag": ("BOOLEAN", "NULLABLE"),
                             "mixed": ("JSON", "NULLABLE"), "list": ("FLOAT", "REPEATED"),
                             "order_id": ("STRING", "NULLABLE"), "only_39": ("RECORD", "NULLABLE")}.items():
            equal(types.get(name), wanted, name)
        expect("none" not in types, "null shows no column")
        mapped = [f for f in fields if f["name"].startswith("Order_Id_")]
        equal([(f["type"], f["description"]) for f in mapped], [("INTEGER", "Source field: Order_Id")],
              "the name that clashes without case")
        has(err, "300 events, ", " 1 conflicts, 3 mapped names", "mixed: JSON", "order_id: from the field \"order-id\"",
            "Order_Id_")
        names, _ = infer(path, "--name-map")
        equal([(n["source"], n["column"]) for n in names][:2],
              [("nested.o-p", "nested.o_p"), ("order-id", "order_id")], "names")
        load_with(place, path, events)


def test_forms():
    """NDJSON, arrays and objects, pretty or not, packed or not, from a file or a pipe: one schema."""
    events = hard_events()[:40]
    lines = b"\n".join(json.dumps(e).encode() for e in events)
    pretty = json.dumps(events, indent=2).encode()
    spread = b"\n".join(json.dumps(e, indent=1).encode() for e in events)
    wanted, _ = infer("-", data=lines)
    for data in (lines.replace(b"\n", b"\r\n\n") + b"\n", pretty, json.dumps(events).encode(), spread,
                 gzip.compress(pretty)):
        equal(infer("-", data=data)[0], wanted, f"schema of {data[:60]}")
    with Place() as place:
        first, second = write(place, "1.gz", gzip.compress(lines[:lines.index(b"\n", 9000)])), place.file("2")
        write(place, "2", lines[lines.index(b"\n", 9000):])
        both, err = infer(first, second)
        equal(both, wanted, "schema of two files")
        has(err, "40 events")


def test_types():
    events = [{"k": {"t": name}, "v": value} for name, value in
              (("a", 1), ("b/c", "x"), ("a", 2.5), ("b/c", "y"))] + [{"v": 1}]
    data = b"\n".join(json.dumps(e).encode() for e in events)
    both, err = infer("-", "--type-field", "k.t", data=data)
    equal({t: shape_of_fields(f)["v"] for t, f in both.items()}, {"a": "FLOAT", "b/c": "STRING"}, "types")
    has(err, "line 5: no k.t that is a type", "1 events without a type")
    one, _ = infer("-", "--type-field=k.t", "--type=a", data=data)
    equal(shape_of_fields(one), {"k": {"t": "STRING"}, "v": "FLOAT"}, "one type")
    with Place() as place:
        out = place.file("out")
        equal(schema("infer", "-", "--type-field", "k.t", "--out", out, data=data)[0], "", "output")
        equal(sorted(os.listdir(out)), ["a.json", "b_x2Fc.json"], "files")
        with open(os.path.join(out, "a.json"), "rb") as file:
            equal(shape_of_fields(json.load(file))["v"], "FLOAT", "a")


def test_bad_input():
    out, err = infer("-", data=b'{"a":1}\nnot json\n\n{"a":2}\n[1]\n{"a":"' + b"\xff" + b'"}\n', status=1)
    equal(shape_of_fields(out), {"a": "INTEGER"}, "schema of the good lines")
    has(err, "-: line 2: neither true", "-: line 5: not an object", "line 6: bytes that are not UTF-8",
        "3 bad documents", "2 events")
    _, err = schema("infer", "-", data=b"", status=1)
    has(err, "no event")
    _, err = schema("infer", "-", data=b'[{"a":1},{"a":', status=1)
    has(err, "line 1")
    _, err = schema("infer", "/nowhere/x", status=1)
    has(err, "/nowhere/x: No such file")
    with Place() as place:  # an array where the column is a RECORD: a table with this schema refuses it
        path = write(place, "x", b'{"a":{"b":1}}\n{"a":[]}\n')
        has(schema("infer", path)[1], "1 events would become dead letters (wrong_type), first line 2: a: ")
    for arguments, message in (([], "infer|ddl"), (["infer"], "needs a file"), (["infer", "--typ"], "unknown option"),
                               (["infer", "-", "--type", "a"], "--type needs --type-field"),
                               (["infer", "-", "--time-field", "a..b"], "--time-field"),
                               (["infer", "-", "--time-field"], "needs a value"),
                               (["ddl", "a", "b"], "one schema file"),
                               (["ddl", "a", "--type-field", "t"], "need --infer"),
                               (["ddl", SAMPLE, "--infer", "--table", "x"], "DATASET.TABLE"),
                               (["ddl", SAMPLE, "--infer", "--partition", "eventID"], "--partition"),
                               (["ddl", SAMPLE, "--infer", "--cluster", "eventID,randomseed"], "--cluster")):
        _, err = schema(*arguments, status=2)
        has(err, message)


def test_ddl():
    fields = [
        {"name": "id", "type": "STRING", "mode": "REQUIRED", "maxLength": "9", "description": "say \"id\" \\ é\n/"},
        {"name": "order", "type": "INTEGER", "defaultValueExpression": "1 + 1"},
        {"name": "price", "type": "NUMERIC", "precision": 10, "scale": 2},
        {"name": "tags", "type": "STRING", "mode": "REPEATED"},
        {"name": "items", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "sku", "type": "BYTES", "mode": "REQUIRED"},
            {"name": "at", "type": "RECORD", "fields": [{"name": "x", "type": "FLOAT"}]}]},
        {"name": "during", "type": "RANGE", "rangeElementType": {"type": "date"}, "mode": "REPEATED"},
        {"name": "age", "type": "INTERVAL"},
        {"name": "when", "type": "TIMESTAMP"}]
    columns = r"""  id STRING(9) NOT NULL OPTIONS(description="say \"id\" \\ é\n/"),
  `order` INT64 DEFAULT 1 + 1,
  price NUMERIC(10, 2),
  tags ARRAY<STRING>,
  items ARRAY<STRUCT<
    sku BYTES NOT NULL,
    `at` STRUCT<
      x FLOAT64
    >
  >>,
  during ARRAY<RANGE<DATE>>,
  age INTERVAL,
  `when` TIMESTAMP,
"""
    with Place() as place:
        path = write(place, "my-orders.json", json.dumps(fields).encode())
        equal(schema("ddl", path)[0], f"CREATE TABLE `dataset.my_orders`\n(\n{columns}{FOUR};\n", "ddl")
        out, _ = schema("ddl", path, "--table", "p-1.d.t", "--partition", "when", "--cluster", "order,id")
        equal(out, f"CREATE TABLE `p-1.d.t`\n(\n{columns}{FOUR.rsplit(chr(10), 1)[0]}\n"
              "PARTITION BY TIMESTAMP_TRUNC(`when`, DAY)\nCLUSTER BY `order`, id;\n", "ddl with options")
        out, _ = schema("ddl", path, "--partition", "none")
        expect(out.endswith("\n);\n"), out)
    out, _ = schema("ddl", "/dev/stdin", "--table", "dataset.my_orders", data=json.dumps(fields).encode())
    equal(out, f"CREATE TABLE `dataset.my_orders`\n(\n{columns}{FOUR};\n", "ddl of a pipe")
    out, _ = schema("ddl", "--infer", SAMPLE, "--time-field", "eventTime", "--table", "d.cloudtrail")
    has(out, "CREATE TABLE `d.cloudtrail`\n(\n  awsRegion STRING,\n", "\n  eventTime TIMESTAMP,\n",
        "\n  sourceIPAddress STRUCT<\n    asn STRUCT<\n      number INT64,\n      organization_name STRING\n    >,\n",
        FOUR)


def test_memory():
    """60 MB through a pipe, in memory that does not grow with it."""
    chunk = (b"\n".join(json.dumps(e).encode() for e in hard_events()) + b"\n") * 8
    process = subprocess.Popen([program("penstock"), "schema", "infer", "-"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def feed():
        for _ in range(60_000_000 // len(chunk)):
            process.stdin.write(chunk)
        process.stdin.close()
    feeder = threading.Thread(target=feed)
    feeder.start()
    out, err = process.stdout.read(), process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    feeder.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    equal(process.returncode, 0, err)
    has(err, f"{60_000_000 // len(chunk) * 8 * 300} events")
    expect(len(json.loads(out)) > 40, "columns")
    expect(usage.ru_maxrss < 40_000, f"{usage.ru_maxrss} KiB")


def test_real_files():
    folder = os.environ.get("PENSTOCK_DATA", "")
    for name, time_field in (("cloudtrail.ndjson", "eventTime"), ("ecommerce_orders.ndjson", "order_date"),
                             ("github_events.json", "created_at")):
        path = os.path.join(folder, name)
        if not folder or not os.path.exists(path):
            continue
        events, wanted = read(path), None
        for event in events:
            wanted = merge(wanted, shape(event))
        equal(shape_of_fields(infer(path)[0]), wanted, f"columns of {name}")
        fields, _ = infer(path, "--time-field", time_field)
        equal([f["type"] for f in fields if f["name"] == time_field], ["TIMESTAMP"], f"time of {name}")
        with Place() as place:
            load_with(place, path, events)


if __name__ == "__main__":
    sys.exit(run_tests([test_cloudtrail, test_hard_cases, test_forms, test_types, test_bad_input, test_ddl,
                        test_memory, test_real_files]))
