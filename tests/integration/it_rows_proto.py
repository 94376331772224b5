#!/usr/bin/env python3
"""Goal: the protobuf rows of a schema's program say what the events say, value for value.

Method: build/test/test_program makes rows of events with the worker's parser; a decoder written here, from the
protobuf specification and the descriptor alone, reads them back; what each column should hold is worked out from the
JSON by Python's own json, datetime, decimal and base64. Events: those of penstock-gen for the schemas of config/ and
perf/, and random ones (fixed seed) of a schema with every type, in several orders and with unknown fields.
Exit 0 all passed, 1 a check failed, 77 not built.
"""
import base64
import datetime
import decimal
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
GEN = os.path.join(BUILD, "bin", "penstock-gen")
ENCODER = os.path.join(BUILD, "test", "test_program")
COLUMN_NAME = 454943157  # the extension of FieldOptions
EPOCH = datetime.datetime(1970, 1, 1)
ADDED = {"event_date": 20254, "processed_timestamp": -1,
         "penstock_id": "0123456789abcdef0123456789abcdef-0000000000000001"}
decimal.getcontext().prec = 100


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            assert byte or shift == 7, "a varint longer than it must be"
            return value, at


def fields(data):
    """The fields of a message: (number, wire type, value)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = data[at:at + 8], at + 8
        else:
            assert wire == 2, f"wire type {wire}"
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size
        yield number, wire, value
    assert at == len(data)


def descriptor(data):
    """{message name: {number: (column, label, type, type name)}} of a DescriptorProto, and the root's name."""
    messages, name, columns = {}, None, {}
    for number, _, value in fields(data):
        if number == 1:
            name = value.decode()
        elif number == 3:
            nested, _ = descriptor(value)
            messages.update(nested)
        elif number == 2:
            got = {n: v for n, _, v in fields(value)}
            column = got[1].decode()
            for n, _, v in fields(got.get(8, b"")):
                column = v.decode() if n == COLUMN_NAME else column
            columns[got[3]] = (column, got[4], got[5], got.get(6, b"").decode())
    messages[name] = columns
    return messages, name


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


def decode(messages, name, data):
    """A message as {column: value}, repeated ones as lists."""
    out = {}
    for number, wire, value in fields(data):
        column, label, kind, type_name = messages[name][number]
        assert wire == {1: 1, 3: 0, 5: 0, 8: 0}.get(kind, 2), f"{column}: wire type {wire} for type {kind}"
        if kind == 11:
            value = decode(messages, type_name, value)
        elif kind == 9:
            value = value.decode()
        elif kind == 1:
            value = struct.unpack("<d", value)[0]
        elif kind in (3, 5):
            value = signed(value)
        elif kind == 8:
            assert value in (0, 1)
        if label == 3:
            out.setdefault(column, []).append(value)
        else:
            assert column not in out, f"{column} twice"
            out[column] = value
    for column, label, _, _ in messages[name].values():
        assert label != 2 or column in out, f"{column} is required"
    return out


def micros(moment):
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def timestamp(value):
    if isinstance(value, (int, decimal.Decimal)):
        return int((decimal.Decimal(value) * 1000000).to_integral_value(decimal.ROUND_DOWN))
    text = value.replace(" UTC", "Z").replace("T", " ")
    zone = datetime.timedelta(0)
    if text.endswith("Z"):
        text = text[:-1]
    elif text[-6] in "+-" and text[-3] == ":":
        zone = datetime.timedelta(hours=int(text[-5:-3]), minutes=int(text[-2:])) * (-1 if text[-6] == "-" else 1)
        text = text[:-6]
    return micros(civil(text) - zone)


def civil(text):
    text = text.replace("T", " ")
    if text.count(":") == 1:
        text += ":00"
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S")


def clock(text):
    moment = civil("2000-01-01 " + text)
    return (moment.hour << 12 | moment.minute << 6 | moment.second) << 20 | moment.microsecond


def packed(text):
    m = civil(text)
    return (m.year << 26 | m.month << 22 | m.day << 17) << 20 | clock(text.replace("T", " ").split(" ")[1])


def scaled(value, digits):
    n = int(decimal.Decimal(value).scaleb(digits))
    size = 1
    while not -(1 << (8 * size - 1)) <= n < 1 << (8 * size - 1):
        size += 1
    return n.to_bytes(size, "little", signed=True)


def wanted(field, value):
    """What the column should hold."""
    kind = field["type"]
    if kind == "RECORD":
        return expected(field["fields"], value, "", {})
    return {
        "STRING": lambda: value, "GEOGRAPHY": lambda: value, "JSON": lambda: value, "INTERVAL": lambda: value,
        "RANGE": lambda: {end: wanted({"type": field["rangeElementType"]["type"]}, text)
                          for end, text in value.items() if text is not None},
        "BYTES": lambda: base64.b64decode(value, validate=True),
        "INTEGER": lambda: int(value), "FLOAT": lambda: float(value),
        "BOOLEAN": lambda: int(value in (True, "true")),
        "TIMESTAMP": lambda: timestamp(value),
        "DATE": lambda: (datetime.date.fromisoformat(value) - EPOCH.date()).days,
        "TIME": lambda: clock(value), "DATETIME": lambda: packed(value),
        "NUMERIC": lambda: scaled(value, 9), "BIGNUMERIC": lambda: scaled(value, 38),
    }[kind]()


def expected(columns, event, path, overflow):
    out, by_name = {}, {c["name"]: c for c in columns}
    for key, value in event.items():
        if key not in by_name:
            overflow[path + key] = value
        elif value is None:
            pass
        elif by_name[key].get("mode") == "REPEATED":
            if value:
                out[key] = [wanted(by_name[key], v) for v in value]
        else:
            out[key] = wanted(by_name[key], value)
    return out


def same(columns, got, want, where):
    assert got.keys() == want.keys(), f"{where}: {sorted(got)} instead of {sorted(want)}"
    by_name = {c["name"]: c for c in columns}
    for key, value in want.items():
        column = by_name.get(key, {"type": "STRING"})
        pairs = zip(got[key], value, strict=True) if isinstance(value, list) and column.get("mode") == "REPEATED" \
            else [(got[key], value)]
        for a, b in pairs:
            if column["type"] == "RECORD":
                same(column["fields"], a, b, f"{where}.{key}")
            elif column["type"] == "JSON":
                assert loads(a) == b, f"{where}.{key}: {a!r} instead of {b!r}"
            elif column["type"] == "FLOAT":
                assert a == b or math.isnan(a) and math.isnan(b), f"{where}.{key}: {a!r} instead of {b!r}"
            else:
                assert a == b, f"{where}.{key}: {a!r} instead of {b!r}"


def loads(text):
    return json.loads(text, parse_float=decimal.Decimal)


def rows(schema, events, mode="--rows"):
    """The rows of events, lines of JSON, decoded; None for one that was refused."""
    with tempfile.TemporaryDirectory(prefix="penstock-it-rows-") as folder:
        file, schema_file = os.path.join(folder, "events"), os.path.join(folder, "schema")
        with open(file, "wb") as f:
            f.write(b"".join(e + b"\n" for e in events))
        with open(schema_file, "w", encoding="utf-8") as f:
            json.dump(schema, f)
        done = subprocess.run([ENCODER, mode, schema_file, file], capture_output=True, timeout=60, check=True)
    lines = done.stdout.decode().splitlines()
    messages, root = descriptor(bytes.fromhex(lines[0]))
    assert len(lines) == len(events) + 1, f"{len(lines) - 1} rows of {len(events)} events"
    return [line if line.startswith("refused") else decode(messages, root, bytes.fromhex(line)) for line in lines[1:]]


def compare(schema, events):
    for i, (row, line) in enumerate(zip(rows(schema, events), events, strict=True)):
        assert isinstance(row, dict), f"event {i}: {row}: {line[:300]}"
        event, overflow = loads(line), {}
        columns = [c for c in schema if c["name"] not in ADDED]
        want = {**expected(columns, event, "", overflow), **ADDED}
        moved = row.pop("penstock_overflow", None)
        assert (loads(moved) if moved is not None else {}) == overflow, f"event {i}: {moved} instead of {overflow}"
        same(columns, row, want, f"event {i}")


def generated(*args):
    done = subprocess.run([GEN, "--out", "-", "--seed", "5", "--count", "3000", *args], capture_output=True,
                          check=True, timeout=60)
    return done.stdout.splitlines()


def schema_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return json.load(f)


def test_generated():
    for kind in ("order", "inventory", "user_activity"):
        compare(schema_of(f"config/schemas/{kind}.json"), generated("--types", f"{kind}=1"))
    compare(schema_of("perf/schemas/commerce.json"), generated("--events", "commerce"))


def test_lines():
    """Lines of the journal, whose added columns are columns like all others."""
    schema = schema_of("config/schemas/inventory.json")
    lines = [e[:-1] + b',"event_date":"2025-06-15","processed_timestamp":"1969-12-31T23:59:59.999999Z","penstock_id":"'
             + ADDED["penstock_id"].encode() + b'"}' for e in generated("--types", "inventory=1")]
    assert rows(schema, lines, "--lines") == rows(schema, [e[:e.rindex(b',"event_date"')] + b"}" for e in lines])


EVERY_TYPE = [
    {"name": "s", "type": "STRING"}, {"name": "limited", "type": "STRING", "maxLength": "300"},
    {"name": "y", "type": "BYTES"}, {"name": "i", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "f", "type": "FLOAT"}, {"name": "o", "type": "BOOLEAN"}, {"name": "t", "type": "TIMESTAMP"},
    {"name": "d", "type": "DATE"}, {"name": "m", "type": "TIME"}, {"name": "e", "type": "DATETIME"},
    {"name": "n", "type": "NUMERIC"}, {"name": "b", "type": "BIGNUMERIC"}, {"name": "j", "type": "JSON"},
    {"name": "g", "type": "GEOGRAPHY"}, {"name": "v", "type": "INTERVAL"},
    {"name": "rd", "type": "RANGE", "rangeElementType": {"type": "DATE"}},
    {"name": "rt", "type": "RANGE", "rangeElementType": {"type": "TIMESTAMP"}, "mode": "REPEATED"},
    {"name": "re", "type": "RANGE", "rangeElementType": {"type": "DATETIME"}},
    {"name": "li", "type": "INTEGER", "mode": "REPEATED"},
    {"name": "ls", "type": "STRING", "mode": "REPEATED"},
    {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [
        {"name": "a_name_that_is_much_longer_than_thirty_two_bytes", "type": "FLOAT"},
        {"name": "q", "type": "RECORD", "fields": [{"name": "t", "type": "TIMESTAMP"}, {"name": "s", "type": "STRING"},
                                                   {"name": "l", "type": "JSON", "mode": "REPEATED"}]}]},
]


def random_text(rng):
    alphabet = "abc \"\\/\b\n\r\t\x01\x7fäß€𝄞日'{}[]:,"
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 5, 31, 32, 33, 130, 300])))


def random_digits(rng, whole, fraction):
    text = str(rng.randrange(10 ** rng.randint(1, whole)))
    places = rng.randint(0, fraction)
    return rng.choice(["", "-"]) + text + (f".{rng.randrange(10 ** places):0{places}}" if places else "")


def random_moment(rng, fraction=True):
    moment = datetime.datetime(rng.choice([2, 1583, 1600, 1900, 1969, 1970, 2000, 2024, 2100, 9998]), 1, 1)
    moment += datetime.timedelta(seconds=rng.randrange(366 * 86400 - 1))
    text = moment.strftime("%H:%M:%S")
    places = rng.choice([0, 1, 3, 6]) if fraction else 0
    return f"{moment.year:04}-{moment:%m-%d}", text + (f".{rng.randrange(10 ** places):0{places}}" if places else "")


def random_value(rng, field):
    date, time = random_moment(rng)
    kind = field["type"]
    if kind == "INTEGER":
        value = rng.choice([0, 1, -1, 127, 128, 2**53, -2**63, 2**63 - 1, rng.randrange(-10**9, 10**9)])
        return rng.choice([value, str(value)])
    if kind == "FLOAT":
        value = rng.choice([random_digits(rng, 12, 9), "1e-7", "4.9e-324", "1.7976931348623157e308", "0.1", "-0.0"])
        return rng.choice([("raw", value), value, "NaN", "Infinity", "-Infinity"])
    if kind == "RECORD":
        return {f["name"]: random_field(rng, f) for f in shuffled(rng, field["fields"])}
    return {
        "STRING": lambda: random_text(rng),
        "JSON": lambda: rng.choice([[1, {"a": None}], {"x": random_text(rng)}, "s", 5]),
        "BYTES": lambda: base64.b64encode(rng.randbytes(rng.choice([0, 1, 2, 3, 100]))).decode(),
        "BOOLEAN": lambda: rng.choice([True, False, "true", "false"]),
        "TIMESTAMP": lambda: rng.choice([
            f"{date}T{time}Z", f"{date} {time}", f"{date}T{time}+05:30", f"{date} {time} UTC", f"{date}T{time[:5]}",
            f"{date}T{time}-14:00", ("raw", random_digits(rng, 9, 8))]),
        "DATE": lambda: date, "TIME": lambda: time, "DATETIME": lambda: date + rng.choice(" T") + time,
        "NUMERIC": lambda: rng.choice([random_digits(rng, 29, 9), ("raw", random_digits(rng, 15, 9)), "1e3"]),
        "BIGNUMERIC": lambda: random_digits(rng, 38, 38), "GEOGRAPHY": lambda: "POINT(1 2)",
        "INTERVAL": lambda: f"-{rng.randrange(10000)}-{rng.randrange(12)} {rng.randint(-9, 9)} "
                            f"{rng.randrange(999)}:0:59.5",
        "RANGE": lambda: random_range(rng, field["rangeElementType"]["type"]),
    }[kind]()


def random_range(rng, kind):
    """The years of moments end with 9998: so the end is behind the start."""
    date, time = random_moment(rng)
    end = {"DATE": "", "DATETIME": "T23:59:59.5", "TIMESTAMP": "T23:59:59Z"}[kind]
    start = {"DATE": date, "DATETIME": f"{date} {time}", "TIMESTAMP": f"{date}T{time}+05:30"}[kind]
    return rng.choice([{"start": start, "end": "9999-12-31" + end}, {"start": start},
                       {"end": start, "start": None}, {}])


def random_field(rng, field):
    if field.get("mode") == "REPEATED":
        return [random_value(rng, field) for _ in range(rng.choice([0, 1, 2, 5]))]
    return None if field.get("mode") != "REQUIRED" and rng.random() < 0.1 else random_value(rng, field)


def shuffled(rng, columns):
    kept = [c for c in columns if c.get("mode") == "REQUIRED" or rng.random() < 0.8]
    return kept if rng.random() < 0.6 else rng.sample(kept, len(kept))


def dump(rng, value):
    """JSON text; ("raw", digits) is a number as written."""
    if isinstance(value, tuple):
        return value[1]
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(rng, v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(dump(rng, v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def test_every_type():
    rng, events = random.Random(4), []
    for _ in range(2000):
        event = {f["name"]: random_field(rng, f) for f in shuffled(rng, EVERY_TYPE)}
        if rng.random() < 0.2:
            event[random_text(rng) + "?"] = [1, None, {"x": "y"}]
        events.append(dump(rng, event).encode())
    compare(EVERY_TYPE, events + events)  # the second time by plans, where there are some


def test_refused():
    """A row is refused for what a check refuses, with its words."""
    schema = [{"name": "i", "type": "INTEGER", "mode": "REQUIRED"}, {"name": "t", "type": "TIMESTAMP"},
              {"name": "d", "type": "DATE"}]
    cases = [(b'{"i":9223372036854775808}', "bad_value i: INTEGER, outside 64 bits"),
             (b'{"i":1,"t":1750000000000}', "bad_value t: TIMESTAMP, seconds outside"),
             (b'{"i":1,"t":"2024-02-30T00:00:00Z"}', "bad_value t: TIMESTAMP, not YYYY"),
             (b'{"i":1,"d":"2023-02-29"}', "bad_value d: DATE, not YYYY-MM-DD"),
             (b'{"i":1,"t":"2024-01-01T00:00:00.1234567Z"}', "bad_value t: TIMESTAMP, more than six"),
             (b'{"t":1}', "missing_field i: REQUIRED, but not there"), (b'{"i":[1]}', "wrong_type i: expected INTEGER")]
    for (event, why), row in zip(cases, rows(schema, [c[0] for c in cases]), strict=True):
        assert isinstance(row, str) and row.startswith("refused " + why), f"{event}: {row}"


def main():
    if not os.path.exists(ENCODER) or not os.path.exists(GEN):
        print(f"not built: {ENCODER}")
        return 77
    failed = 0
    for name, test in sorted(globals().items()):
        if name.startswith("test_"):
            try:
                test()
                print("ok", name)
            except AssertionError as e:
                failed = 1
                print(f"FAILED {name}: {e}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
