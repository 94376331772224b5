"""Compares events with what BigQuery has of them, value for value, for tables whose columns are inferred.

Nothing here is shared with the product: a version's file says which column an event's field has, and every
value of an event must be in that column or, exactly as it was, in penstock_overflow under its path.
"""
import datetime
import decimal
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from penstock import DATASET, PROJECT, ADDED_PLAIN, equal, expect, short, strip_added  # noqa: E402

ADDED = ("event_date", "processed_timestamp", "penstock_id", "penstock_overflow")


def parse(text):
    """JSON with exact numbers; an object is a list of pairs."""
    return json.loads(text, parse_float=decimal.Decimal, object_pairs_hook=Pairs)


class Pairs(list):
    """The members of an object, in order, repeated keys included."""

    def named(self):
        """A dict, in which repeated keys have become key#2, key#3."""
        found, seen = {}, {}
        for key, value in self:
            seen[key] = seen.get(key, 0) + 1
            found[key if seen[key] == 1 else f"{key}#{seen[key]}"] = value
        return found


def is_rounded(number):
    """Whether neither int64 nor a double holds it as it was written."""
    if isinstance(number, int):
        return not -2**63 <= number < 2**63
    held = float(number)
    return held in (float("inf"), float("-inf")) or decimal.Decimal(repr(held)) != number


def same(found, value):
    """Whether JSON that came back is the event's value: numbers exactly, or as text if they cannot be."""
    if isinstance(value, Pairs):
        want = value.named()
        return isinstance(found, Pairs) and found.named().keys() == want.keys() and \
            all(same(one, want[key]) for key, one in found.named().items())
    if isinstance(value, list):
        return isinstance(found, list) and not isinstance(found, Pairs) and len(found) == len(value) and \
            all(map(same, found, value))
    if is_number(value) and is_rounded(value):
        return isinstance(found, str) and decimal.Decimal(found) == value
    return type(found) is type(value) and found == value or \
        is_number(found) and is_number(value) and found == value


def versions(daemon):
    """{table: [version, newest first]}; a version is the JSON object of its file, with its number."""
    found = {}
    folder = os.path.join(daemon.config["data_dir"], "columns")
    for name in os.listdir(folder):
        if not name.endswith(".rows"):
            continue
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                head = file.readline().split()
                version = json.loads(file.read())
        except FileNotFoundError:  # nobody needs it any more
            continue
        equal(head[:3], ["PENSTOCK", "ROWS", "1"], f"first line of {name}")
        version["number"] = int(head[3])
        found.setdefault(head[7], []).append(version)
    return {table: sorted(all_, key=lambda v: -v["number"]) for table, all_ in found.items()}


def instant(text):
    """Microseconds since the epoch of a time with a zone, or of a table's seconds."""
    if re.fullmatch(r"-?[0-9.]+(E[0-9]+)?", text):
        return int(decimal.Decimal(text) * 1000000)
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (time - epoch) // datetime.timedelta(microseconds=1)


def is_number(value):
    return isinstance(value, (int, decimal.Decimal)) and not isinstance(value, bool)


def scalar_equal(column, cell, value):
    """Whether a cell of tabledata.list is the event's value, by the column's type."""
    kind = column["type"]
    if kind in ("STRING", "DATE"):
        return isinstance(value, str) and cell == value
    if kind == "INTEGER":
        return is_number(value) and decimal.Decimal(cell) == value
    if kind in ("FLOAT", "NUMERIC"):
        if isinstance(value, str):  # a configured column takes numbers as text
            value = decimal.Decimal(value)
        return is_number(value) and float(cell) == float(value) and \
            (kind == "FLOAT" or decimal.Decimal(cell) == value)
    if kind == "BOOLEAN":
        return cell == {True: "true", False: "false"}.get(value)
    if kind == "TIMESTAMP":
        return isinstance(value, str) and instant(cell) == instant(value)
    if kind == "JSON":
        return same(parse(cell), value)
    raise AssertionError(f"no rule for {kind}")


class Comparison:
    """One event beside its row."""

    def __init__(self, overflow):
        self.overflow = dict(overflow)
        self.in_columns = self.in_overflow = 0

    def find_overflow(self, path, value):
        """Takes the value out of the overflow, or says that it is not there. A key that repeats comes as
        key#2, key#3."""
        for key in [path] + [f"{path}#{i}" for i in range(2, 12)]:
            if key in self.overflow and same(self.overflow[key], value):
                del self.overflow[key]
                self.in_overflow += 1
                return True
        return False

    def value(self, column, cell, value, path):
        """One value that is not null."""
        if self.find_overflow(path, value):
            expect(cell in (None, []), path, "is in the overflow and in its column:", short(cell))
            return
        if column is None:
            raise AssertionError(f"{path} has no column and is not in the overflow: {short(value)}")
        if column["mode"] == "REPEATED":
            self.repeated(column, cell, value, path)
        elif column["type"] == "RECORD":
            expect(isinstance(value, Pairs), path, "is no object:", short(value))
            self.record(column["fields"], cell, value, path + ".")
        else:
            expect(cell is not None and scalar_equal(column, cell, value),
                   path, f"{column['type']} {short(cell)} is not", short(value))
            self.in_columns += 1

    def repeated(self, column, cell, value, path):
        expect(isinstance(value, list) and not isinstance(value, Pairs), path, "is no array:", short(value))
        cells = [c["v"] for c in cell or []]
        equal(len(cells), len(value), f"elements of {path}")
        for i, (one, element) in enumerate(zip(cells, value)):
            self.value(dict(column, mode="NULLABLE"), one, element, f"{path}[{i}]")

    def record(self, columns, cell, members, prefix):
        """columns: of the version, in the table's order of this RECORD."""
        cells = {c["name"]: one for c, one in zip(columns, cell_values(cell, columns))}
        by_source = {c["source"]: c for c in columns if "source" in c}
        used, seen = set(), set()
        for key, value in members:
            column = by_source.get(key)
            if value is None:
                continue
            if key in seen:  # only the first of a repeated key has the column
                expect(self.find_overflow(prefix + key, value), prefix + key, "again, is nowhere")
                continue
            seen.add(key)
            self.value(column, cells[column["name"]] if column else None, value, prefix + key)
            if column:
                used.add(column["name"])
        for name, one in cells.items():
            expect(name in used or name in ADDED or is_empty(one),
                   prefix + name, "has a value that the event has not:", short(one))


def is_empty(cell):
    if isinstance(cell, dict):
        return all(is_empty(c["v"]) for c in cell["f"])
    return cell in (None, [])


def cell_values(cell, columns):
    if cell is None:
        return [None] * len(columns)
    return [c["v"] for c in cell["f"]]


def in_table_order(columns, fields):
    """The version's columns as the table lists them; what others added has no source."""
    known = {c["name"].lower(): c for c in columns}
    ordered = []
    for f in fields:
        c = dict(known.pop(f["name"].lower(), {}), name=f["name"], type=f["type"],
                 mode=f.get("mode", "NULLABLE"))
        if c.get("base"):  # configured: its name is what events call it
            c["source"] = c["name"]
        c["fields"] = in_table_order(c.get("fields", []), f.get("fields", []))
        ordered.append(c)
    expect(not known, "columns that the table lacks:", list(known))
    return ordered


def archived(cloud, folder):
    """{penstock_id: the producer's bytes} of a type's objects."""
    found = {}
    for _, line in cloud.lines(f"output/{folder}/"):
        at = ADDED_PLAIN.search(line)
        expect(at, "no added fields in", line[-200:])
        expect(at.group(1) not in found, at.group(1), "twice in the bucket")
        found[at.group(1).decode()] = strip_added(line)
    return found


def compare_table(cloud, daemon, table, folder=None):
    """Every event of a type in the bucket has one row in the table with all of its values. Returns the
    numbers of values in columns and in the overflow."""
    version = versions(daemon)[table][0]
    fields = cloud.table(table)["schema"]["fields"]
    columns = in_table_order(version["fields"], fields)
    events = archived(cloud, folder or table)
    rows = {}
    for row in cloud.rows(table):
        expect(row["penstock_id"] not in rows, row["penstock_id"], "has two rows")
        rows[row["penstock_id"]] = row
    equal(sorted(rows), sorted(events), f"ids of {PROJECT}.{DATASET}.{table} and of the bucket")
    in_columns = in_overflow = 0
    for penstock_id, row in rows.items():
        c = Comparison(parse(row["penstock_overflow"] or "{}"))
        try:
            c.record(columns, {"f": [{"v": row[f["name"]]} for f in fields]},
                     parse(events[penstock_id]), "")
        except Exception as error:
            error.args = (f"{penstock_id}: {error}; event {short(events[penstock_id])}",)
            raise
        expect(not c.overflow, penstock_id, "has more in the overflow than the event:", c.overflow)
        in_columns += c.in_columns
        in_overflow += c.in_overflow
    return in_columns, in_overflow
