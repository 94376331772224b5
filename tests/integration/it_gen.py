#!/usr/bin/env python3
"""Goal: penstock-gen makes the events it promises, sends them as asked, and logs the fate of each.

Method: runs build/bin/penstock-gen (BUILD chooses another build folder) into files and against a
small
HTTP server in this process, which can refuse, answer in pieces, reset, and go away for a while.
Events
are checked by parsing them; runs by counting, never by time. Exit 0 all passed, 1 a check failed,
77 not
built.
"""
import collections
import datetime
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GEN = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin", "penstock-gen")
NOW = 1_750_000_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?Z")
CUSTOMERS = {f"customer-{i:03d}" for i in range(1, 101)}
PRODUCTS = {f"prod-{i:03d}" for i in range(1, 11)}
FIELDS = {
    "order": ["event_type", "order_id", "customer_id", "order_date", "status", "items",
              "shipping_address", "total_amount"],
    "inventory": ["event_type", "inventory_id", "product_id", "warehouse_id", "quantity_change",
                  "reason", "timestamp"],
    "user_activity": ["event_type", "user_id", "activity_type", "ip_address", "user_agent",
                      "timestamp", "metadata"],
}
AGE_MAX = {"order": 3600, "inventory": 1800, "user_activity": 900}


def run(*args, check=0):
    """Runs the generator; returns (stdout, stderr) as bytes and text."""
    done = subprocess.run([GEN, *map(str, args)], capture_output=True, timeout=120)
    err = done.stderr.decode(errors="replace")
    assert done.returncode == check, f"exit {done.returncode}, wanted {check}: {args}\n{err}"
    return done.stdout, err


def report(*args, check=0):
    return json.loads(run("--json", *args, check=check)[0])


def make(*args):
    """Lines of events with a fixed time, as bytes."""
    return run("--out", "-", "--now", NOW, *args)[0].splitlines()


def event_id(event):
    return event.get("order_id") or event.get("inventory_id") or event["metadata"]["session_id"]


def event_age(event):
    text = event["order_date"] if event["event_type"] == "order" else event["timestamp"]
    assert TIME.fullmatch(text), text
    return NOW - datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def read_log(path):
    with open(path, encoding="ascii") as file:
        return [line.split() for line in file]


def log_ids(rows, outcome):
    return {row[1] for row in rows if row[4] == outcome}


class Server:
    """HTTP/1.1 server, a thread a connection. behave(server, number) says how to answer each
    request:
    "ok", "chunked", "pieces", "close", "reset", "silent", or (status, retry_after)."""

    def __init__(self, behave=lambda server, number: "ok", port=0):
        self.behave = behave
        self.lock = threading.Lock()
        self.bodies = []  # of requests that were answered 200, in order of arrival
        self.received = 0
        self.heads = []
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/events"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        """Goes away: the port refuses, connections are reset."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in list(self.open):
                self._reset(connection)

    def events(self):
        with self.lock:
            return [line for body in self.bodies for line in body.splitlines()]

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    @staticmethod
    def _reset(connection):
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RD)
        except OSError:
            pass
        connection.close()

    def _serve(self, connection):
        reader = connection.makefile("rb")
        try:
            while self._serve_one(connection, reader):
                pass
        except (OSError, ValueError):
            pass
        with self.lock:
            self.open.discard(connection)
        reader.close()
        connection.close()

    def _serve_one(self, connection, reader):
        head = {}
        request_line = reader.readline()
        if not request_line:
            return False
        while (line := reader.readline().strip()):
            name, value = line.split(b":", 1)
            head[name.lower()] = value.strip()
        body = reader.read(int(head[b"content-length"]))
        with self.lock:
            self.received += 1
            number = self.received
            self.heads.append((request_line, head))
        action = self.behave(self, number)
        if isinstance(action, tuple):
            self._refuse(connection, *action)
            return True
        if action == "silent":
            time.sleep(3)
            return False
        if action == "reset":
            self._reset(connection)
            return False
        with self.lock:
            self.bodies.append(body)
        self._accept_body(connection, action, body)
        return action != "close"

    @staticmethod
    def _refuse(connection, status, retry_after):
        header = f"Retry-After: {retry_after}\r\n" if retry_after is not None else ""
        connection.sendall(f"HTTP/1.1 {status} No\r\n{header}Content-Length: 2\r\n\r\nno".encode())

    @staticmethod
    def _accept_body(connection, action, body):
        good = bad = 0
        for line in body.splitlines():
            try:
                json.loads(line.decode())  # of bytes it would let surrogates pass
                good += 1
            except ValueError:
                bad += 1
        answer = json.dumps({"accepted": good, "dead_lettered": bad,
                             "errors": [{"index": 0, "reason": "\"accepted\":99"}]}).encode()
        start = b"HTTP/1.1 100 Continue\r\n\r\n" if action == "pieces" else b""
        start += b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if action == "chunked":
            middle = len(answer) // 2
            connection.sendall(start + b"Transfer-Encoding: chunked\r\n\r\n")
            for part in (answer[:middle], answer[middle:]):
                connection.sendall(b"%x;x=y\r\n%s\r\n" % (len(part), part))
            connection.sendall(b"0\r\nTrailer: x\r\n\r\n")
        elif action == "close":
            connection.sendall(start + b"Connection: close\r\n\r\n" + answer)
        else:
            whole = start + b"Content-Length: %d\r\n\r\n" % len(answer) + answer
            step = 7 if action == "pieces" else len(whole)
            for at in range(0, len(whole), step):
                connection.sendall(whole[at:at + step])


# ---- events


def check_order(event):
    assert event["customer_id"] in CUSTOMERS
    assert event["status"] in {"pending", "processing", "shipped", "delivered"}
    assert 1 <= len(event["items"]) <= 3
    for item in event["items"]:
        assert list(item) == ["product_id", "product_name", "quantity", "price"]
        assert item["product_id"] in PRODUCTS and item["quantity"] >= 1 and item["price"] > 0
    total = sum(round(i["price"] * 100) * i["quantity"] for i in event["items"])
    assert round(event["total_amount"] * 100) == total, event
    assert list(event["shipping_address"]) == ["street", "city", "country"]


def check_inventory(event):
    assert event["product_id"] in PRODUCTS
    assert -100 <= event["quantity_change"] <= 100 and isinstance(event["quantity_change"], int)
    assert event["reason"] in {"restock", "sale", "return", "damage"}


def check_user_activity(event):
    assert event["user_id"] in CUSTOMERS
    assert event["activity_type"] in {"login", "logout", "view_product", "add_to_cart",
                                      "remove_from_cart"}
    parts = [int(part) for part in event["ip_address"].split(".")]
    assert len(parts) == 4 and all(0 <= part <= 255 for part in parts)
    assert list(event["metadata"]) == ["session_id", "platform"]
    assert event["metadata"]["platform"] in {"web", "mobile", "tablet"}


def test_values():
    lines = make("--count", 20000, "--seed", 7)
    checks = {"order": check_order, "inventory": check_inventory,
              "user_activity": check_user_activity}
    prefix = {"order": "ord", "inventory": "inv", "user_activity": "ses"}
    sets = collections.defaultdict(set)
    fractions = collections.Counter()
    for seq, line in enumerate(lines):
        event = json.loads(line)
        kind = event["event_type"]
        assert list(event) == FIELDS[kind], event
        assert event_id(event) == f"{prefix[kind]}-7-{seq}"
        assert 0 <= event_age(event) <= AGE_MAX[kind], event
        checks[kind](event)
        fractions[len(TIME.search(line.decode()).group(1) or "")] += 1
        sets["customer"].add(event.get("customer_id") or event.get("user_id"))
        sets["warehouse"].add(event.get("warehouse_id"))
        sets["change"].add(event.get("quantity_change"))
        sets["agent"].add(event.get("user_agent"))
        for item in event.get("items", []):
            sets["product"].add((item["product_id"], item["product_name"], item["price"]))
        if kind == "order":
            sets["city"].add(event["shipping_address"]["city"])
            sets["country"].add(event["shipping_address"]["country"])
    assert len(lines) == 20000
    assert set(fractions) == {0, 4, 7}, fractions
    for line in lines:
        assert b" " not in re.sub(rb'"[^"]*"', b"", line), "compact"
    sizes = {name: len(values - {None}) for name, values in sets.items()}
    assert sizes == {"customer": 100, "warehouse": 5, "change": 201, "agent": 4, "product": 10,
                     "city": 10, "country": 7}, sizes
    mean = sum(map(len, lines)) / len(lines)
    assert 300 <= mean <= 670, mean


def test_determinism():
    first = make("--count", 3000, "--seed", 5, "--malformed", 10, "--late", 10)
    assert first == make("--count", 3000, "--seed", 5, "--malformed", 10, "--late", 10)
    assert first == make("--count", 3000, "--seed", 5, "--malformed", 10, "--late", 10,
                         "--batch", 7), "batch size does not matter"
    assert first[:100] == make("--count", 100, "--seed", 5, "--malformed", 10, "--late", 10)
    other = make("--count", 3000, "--seed", 6, "--malformed", 10, "--late", 10)
    assert sum(a == b for a, b in zip(first, other)) == 0


def test_types():
    count = collections.Counter(json.loads(line)["event_type"]
                                for line in make("--count", 10000, "--types",
                                                 "order=5,inventory=3,user_activity=2"))
    for kind, share in (("order", 5000), ("inventory", 3000), ("user_activity", 2000)):
        assert abs(count[kind] - share) < 300, count
    only = {json.loads(line)["event_type"] for line in make("--count", 100, "--types", "inventory")}
    assert only == {"inventory"}


def classify(line):
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return "bad_utf8"
    try:
        event = json.loads(text)
    except ValueError:
        return "broken_json"
    if "event_type" not in event:
        return "missing_type"
    missing = [field for field in FIELDS[event["event_type"]] if field not in event]
    if missing:
        assert len(missing) == 1
        return "missing_field"
    try:
        {"order": check_order, "inventory": check_inventory,
         "user_activity": check_user_activity}[event["event_type"]](event)
        if isinstance(event.get("warehouse_id", ""), str) and isinstance(
                event.get("user_agent", ""), str):
            return "late" if event_age(event) > 3600 else "good"
    except (AssertionError, TypeError, AttributeError, ValueError):
        pass
    return "wrong_type"


def test_malformed_and_late():
    lines = make("--count", 20000, "--malformed", 10, "--late", 5)
    found = collections.Counter(map(classify, lines))
    assert len(lines) == 20000
    for kind in ("broken_json", "bad_utf8", "missing_type", "wrong_type", "missing_field"):
        assert 300 < found[kind] < 500, found
    assert 850 < found["late"] < 1150, found
    for line in lines:
        if classify(line) == "late":
            assert 2 * 86400 <= event_age(json.loads(line)) <= 20 * 86400
    for kind in ("broken_json", "bad_utf8", "missing_type", "wrong_type", "missing_field"):
        lines = make("--count", 2000, "--malformed", 100, "--malformed-kinds", kind)
        assert set(map(classify, lines)) == {kind}, kind
        if kind != "broken_json":
            assert all(b"-1-%d\"" % seq in line for seq, line in enumerate(lines)), "id kept"


def test_array():
    events = json.loads(run("--out", "-", "--format", "array", "--count", 250)[0])
    assert [event_id(e).split("-")[2] for e in events] == [str(i) for i in range(250)]
    events = json.loads(run("--out", "-", "--format", "array", "--count", 1000, "--malformed", 50)[0])
    assert len(events) == 1000 and any("event_type" not in e for e in events)
    server = Server()
    result = report("--target", server.url, "--format", "array", "--count", 250)
    assert result["acked"] == 250
    assert sum(len(json.loads(body)) for body in server.bodies) == 250
    assert server.heads[0][1][b"content-type"] == b"application/json"
    server.stop()


def test_file():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "events")
        result = report("--out", path, "--count", 12345)
        with open(path, "rb") as file:
            text = file.read()
        assert text.count(b"\n") == 12345 == result["events"] and len(text) == result["bytes"]
        result = report("--out", path, "--count", 40, "--rate", 400)
        assert result["events"] == 40
        run("--out", os.path.join(folder, "no", "such"), check=1)


def test_usage():
    for args in (["--rate", "fast"], ["--types", "orders"], ["--types", "order=0"], ["--count", "0"],
                 ["--count", "-1"], ["--nothing"], ["stray"], ["--target", "https://x/"],
                 ["--target", "http://x:99999"], ["--target", "127.0.0.1:80"], ["--retry", "2"],
                 ["--malformed", "60", "--late", "60"], ["--malformed", "nan"], ["--sample", "x"],
                 ["--out", "-", "--target", "http://x"], ["--log", "x", "--pregenerate", "5"],
                 ["--threads", "17"], ["--header", "x"], ["--format", "array", "--malformed-kinds",
                                                          "broken_json"]):
        _, err = run(*args, check=2)
        assert err.strip(), args
    out, _ = run("--help")
    for option in ("target", "rate", "reconnect", "log", "sample"):
        assert b"--" + option.encode() in out
    for kind, fields in FIELDS.items():
        assert list(json.loads(run("--sample", kind)[0])) == fields


# ---- requests


def strings_of(value, keys):
    """All string values; notes the keys that are passed."""
    if isinstance(value, dict):
        keys.update(value)
        value = list(value.values())
    if isinstance(value, list):
        return [s for item in value for s in strings_of(item, keys)]
    return [value] if isinstance(value, str) else []


def shape_of(line):
    """What is left of an event without its strings' and numbers' values."""
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b'"', line).replace(b" ", b"")
    return re.sub(rb"[-0-9][-+.eE0-9]*|true|false|null", b"0", bare)


def test_families():
    """Rich events are valid, as rich as promised, and follow from seed and number alone."""
    lines = make("--events", "commerce", "--count", 5000)
    assert lines[100:] == make("--events", "commerce", "--count", 5000, "--batch", 7)[100:]
    assert lines != make("--events", "commerce", "--count", 5000, "--seed", 2)
    keys, texts = set(), []
    for line in lines:
        event = json.loads(line)
        texts += strings_of(event, keys)
        assert datetime.datetime.fromisoformat(event["order_date"].replace("Z", "+00:00"))
        cents = sum(round(100 * i["price"]) * i["quantity"] for i in event["items"])
        assert round(100 * event["total_amount"]) == cents, event
    assert len(keys) == 23, keys
    assert len({json.loads(line)["order_id"] for line in lines}) == 5000
    sizes = [len(line) for line in lines]
    assert 409 <= min(sizes) and max(sizes) <= 1478 and 600 < sum(sizes) / 5000 < 740, (min(sizes), max(sizes))
    escaped = sum(json.dumps(text, ensure_ascii=False)[1:-1] != text for text in texts) / len(texts)
    foreign = sum(not text.isascii() for text in texts) / len(texts)
    assert 0.02 < escaped < 0.04 and 0.03 < foreign < 0.06, (escaped, foreign)
    assert len({tuple(json.loads(line)) for line in lines}) >= 4
    for family, keys in (("github", {"type", "created_at", "actor", "payload"}),
                         ("kibana", {"type", "order_date", "products", "geoip", "event"})):
        lines = make("--events", family, "--count", 500)
        assert all(keys <= set(json.loads(line)) for line in lines)
        assert len({shape_of(line) for line in lines}) > 10
    kinds = collections.Counter(tuple(sorted({"event_type", "payload", "geoip"} & set(json.loads(line))))
                                for line in make("--events", "mixed", "--count", 900))
    assert len(kinds) == 3 and min(kinds.values()) > 200, kinds
    lines = make("--events", "shapes", "--count", 2000)
    assert all({"event_type", "ref", "at"} <= set(json.loads(line)) for line in lines)
    assert len({shape_of(line) for line in lines}) == 2000
    for wrong in (["--malformed", 1], ["--types", "order"], ["--check", "--arrived", "x"], ["--sequence"]):
        assert b"" == run("--events", "commerce", *wrong, check=2)[0]
    assert "shapes" in run("--events", "shop,commerce", check=2)[1]


def test_sending():
    server = Server(lambda _, number: ("ok", "chunked", "pieces", "close")[number % 4])
    result = report("--target", server.url + "?x=1", "--count", 4321, "--batch", 50, "--connections",
                    5, "--threads", 2, "--malformed", 5, "--header", "Authorization: Bearer t")
    lines = server.events()
    bad = sum(classify(line) in ("broken_json", "bad_utf8") for line in lines)
    assert len(lines) == 4321 == result["events"] == result["acked"]
    assert result["requests"] == 87 == server.received
    assert result["bytes"] == sum(map(len, server.bodies)) == result["acked_bytes"]
    assert result["dead_lettered"] == bad > 0
    assert result["refused"] == result["unanswered"] == result["unsent"] == 0
    assert result["error"] == "" and result["latency_ms"]["max"] >= result["latency_ms"]["p50"] > 0
    steps, latency = result["latency_histogram_ms"], result["latency_ms"]
    tops = [top for top, _ in steps]
    assert sum(count for _, count in steps) == 87 and all(count > 0 for _, count in steps), steps
    assert tops == sorted(set(tops)) and tops[-1] >= latency["max"], (steps, latency)
    assert sum(count for top, count in steps if top < latency["p50"] * 0.9) < 44, (steps, latency)
    assert sum(count for top, count in steps if top <= latency["p50"] * 1.2) >= 44, (steps, latency)
    line, head = server.heads[0]
    assert line == b"POST /v1/events?x=1 HTTP/1.1\r\n"
    assert head[b"host"] == b"127.0.0.1:%d" % server.port
    assert head[b"authorization"] == b"Bearer t"
    assert head[b"content-type"] == b"application/x-ndjson"
    server.stop()


def test_progress():
    server = Server()
    _, err = run("--target", server.url, "--rate", 100, "--duration", 2.5, "--progress")
    assert re.search(r"1 s +sent \d+ +acked \d+ +rate", err), err
    server.stop()


def test_open_loop():
    server = Server()
    for threads in (1, 3):
        result = report("--target", server.url, "--rate", 2000, "--count", 1500, "--batch", 20,
                        "--threads", threads)
        assert result["acked"] == 1500 and result["requests"] == 75
    result = report("--target", server.url, "--rate", 500, "--duration", 1.5, "--batch", 10)
    assert result["events"] + result["unsent"] == 750, result
    result = report("--target", server.url, "--rate", 100, "--duration", 0.5)
    assert result["events"] + result["unsent"] == 50
    assert result["requests"] == result["events"], "slow rates come one event a request"
    result = report("--target", server.url, "--duration", 0.5)
    assert result["acked"] == result["events"] > 0
    server.stop()


def test_warm_up():
    """Requests meant for the warm-up are sent and counted, but have no latency. Half of 100 are."""
    server = Server()
    result = report("--target", server.url, "--rate", 100, "--duration", 1, "--warm-up", 0.5)
    assert result["acked"] + result["unsent"] == 100 and server.received == result["requests"], result
    measured = sum(count for _, count in result["latency_histogram_ms"])
    assert measured == 50 - result["unsent"], result
    for wrong in (["--duration", 1, "--warm-up", 1], ["--out", "-", "--warm-up", 1], ["--warm-up", -1]):
        assert "--warm-up" in run(*wrong, check=2)[1]
    server.stop()


def test_lateness():
    """What a client that is behind adds to latencies is told apart."""
    def behave(*_):
        time.sleep(0.05)
        return "ok"

    server = Server(behave)
    result = report("--target", server.url, "--rate", 100, "--count", 5, "--batch", 1, "--connections", 1)
    late, latency = result["lateness_ms"], result["latency_ms"]
    assert late["max"] >= 160 and latency["max"] >= late["max"] + 50, result  # the last: 40 ms after the first
    result = report("--target", server.url, "--count", 5, "--batch", 1, "--connections", 1)
    assert result["lateness_ms"]["max"] == 0 and result["latency_ms"]["p50"] >= 50, result
    server.stop()


def test_behind():
    """A server that answers nothing cannot slow the schedule; what was not sent is counted."""
    server = Server(lambda *_: "silent")
    result = report("--target", server.url, "--rate", 100, "--duration", 1, "--batch", 10,
                    "--connections", 2, "--timeout", 10, "--reconnect")
    assert result["events"] == 20 == result["unanswered"] and result["unsent"] == 80, result
    server.stop()


def test_pregenerate():
    server = Server()
    result = report("--target", server.url, "--count", 1000, "--batch", 10, "--pregenerate", 4,
                    "--threads", 2)
    assert result["acked"] == 1000
    ids = collections.Counter(event_id(json.loads(line)) for line in server.events())
    assert len(ids) == 40 and set(ids.values()) == {25}, ids
    server.stop()


# ---- refusals and failures


def test_refused():
    server = Server(lambda _, number: (503, 1) if number % 2 else (429, None))
    with tempfile.NamedTemporaryFile() as log:
        result = report("--target", server.url, "--count", 1000, "--log", log.name)
        rows = read_log(log.name)
    assert result["acked"] == 0 and result["refused"] == 1000 and result["retries"] == 0
    assert result["refused_by_status"] == {"429": 500, "503": 500}
    assert len(rows) == 1000 and len(log_ids(rows, "503")) == 500
    server.stop()


def test_retry():
    """The same bytes come again, after the time the server gave."""
    times = {}

    def behave(_, number):
        times[number] = time.monotonic()
        return (503, 1) if number == 1 else (429, 0) if number == 2 else "ok"

    server = Server(behave)
    with tempfile.NamedTemporaryFile() as log:
        result = report("--target", server.url, "--count", 300, "--connections", 1, "--retry", 1,
                        "--log", log.name)
        rows = read_log(log.name)
    assert result["acked"] == 300 and result["retries"] == 2 and result["refused"] == 0
    assert result["requests"] == 3 and server.received == 5
    assert len(server.events()) == 300 == len(set(server.events()))
    assert times[2] - times[1] >= 0.99
    assert log_ids(rows, "200") == {event_id(json.loads(line)) for line in server.events()}
    server.stop()


def test_log():
    server = Server()
    with tempfile.NamedTemporaryFile() as log:
        result = report("--target", server.url, "--count", 5000, "--log", log.name, "--malformed", 10,
                        "--late", 10, "--seed", 3, "--threads", 2, "--connections", 4)
        rows = read_log(log.name)
    assert sorted(int(row[0]) for row in rows) == list(range(5000))
    kinds = collections.Counter(row[3] for row in rows)
    assert kinds["late"] == result["late"]
    assert sum(n for k, n in kinds.items() if k.startswith("malformed:")) == result["malformed"]
    by_seq = {int(row[0]): row for row in rows}
    whole = [json.loads(line) for line in server.events() if has_all_fields(line)]
    for event in whole:
        row = by_seq[int(event_id(event).split("-")[2])]
        assert row[1:] == [event_id(event), event["event_type"], row[3], "200"]
        assert row[3] in ("good", "late", "malformed:wrong_type")
    assert len(whole) == kinds["good"] + kinds["late"] + kinds["malformed:wrong_type"]
    prefix = {"order": "ord", "inventory": "inv", "user_activity": "ses"}
    assert all(row[1] == f"{prefix[row[2]]}-3-{row[0]}" for row in rows)
    server.stop()


def has_all_fields(line):
    try:
        event = json.loads(line.decode())
        return list(event) == FIELDS[event["event_type"]]
    except (ValueError, KeyError):
        return False


def test_reset_with_reconnect():
    server = Server(lambda _, number: "reset" if number % 5 == 0 else "ok")
    with tempfile.NamedTemporaryFile() as log:
        result = report("--target", server.url, "--count", 5000, "--log", log.name, "--reconnect",
                        "--connections", 4)
        rows = read_log(log.name)
    acked = {event_id(json.loads(line)) for line in server.events()}
    assert result["requests"] == 50 == server.received, "nothing is sent twice"
    assert result["unanswered"] == 1000 and result["acked"] == 4000
    assert log_ids(rows, "200") == acked and len(log_ids(rows, "none")) == 1000
    assert not acked & log_ids(rows, "none") and len(rows) == 5000
    server.stop()


def test_reset_without_reconnect():
    server = Server(lambda _, number: "reset" if number > 3 else "ok")
    with tempfile.NamedTemporaryFile() as log:
        result = report("--target", server.url, "--count", 5000, "--log", log.name, "--connections",
                        2, check=1)
        rows = read_log(log.name)
    assert result["acked"] == 300 and result["unanswered"] == 200, result
    assert "connection" in result["error"]
    assert len(rows) == 500 and len(log_ids(rows, "none")) == 200
    server.stop()


def test_server_dies_and_returns():
    """Down in the middle, up again on the same port: sending goes on with new events."""
    down = threading.Event()

    def behave(server, number):
        if number >= 20:
            down.set()
        return "ok"

    first = Server(behave)
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen([GEN, "--target", first.url, "--count", "100000", "--batch", "20",
                                    "--rate", "50000", "--reconnect", "--log", log.name, "--json",
                                    "--connections", "4"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert down.wait(30)
        first.stop()
        time.sleep(0.3)
        second = Server(port=first.port)
        out, _ = process.communicate(timeout=90)
        rows = read_log(log.name)
    result = json.loads(out)
    assert process.returncode == 0
    assert result["events"] == 100000 == len(rows) == len({row[1] for row in rows})
    assert result["connect_errors"] > 0
    assert result["acked"] + result["unanswered"] == 100000
    got = [event_id(json.loads(line)) for line in first.events() + second.events()]
    assert len(got) == len(set(got)), "nothing is sent twice"
    acked = log_ids(rows, "200")
    assert acked <= set(got), "what was acknowledged had arrived"
    assert set(got) - acked <= log_ids(rows, "none")
    second.stop()


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target = f"http://127.0.0.1:{port}"
    result = report("--target", target, "--count", 10, check=1)
    assert result["events"] == 0 and "refused" in result["error"], result
    result = report("--target", target, "--duration", 0.5, "--reconnect", "--connections", 2)
    assert result["events"] == 0 and result["connect_errors"] >= 2


def test_timeout():
    server = Server(lambda _, number: "silent" if number == 1 else "ok")
    result = report("--target", server.url, "--count", 300, "--connections", 1, "--timeout", 0.3,
                    "--reconnect")
    assert result["timeouts"] == 1 and result["unanswered"] == 100 and result["acked"] == 200
    server.stop()


def test_stop_signal():
    server = Server()
    process = subprocess.Popen([GEN, "--target", server.url, "--duration", "60", "--json"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while server.received < 5:
        time.sleep(0.01)
    process.terminate()
    out, _ = process.communicate(timeout=30)
    result = json.loads(out)
    assert process.returncode == 0 and result["unanswered"] == 0
    assert result["acked"] == result["events"] == len(server.events())
    server.stop()


def main():
    if not os.path.exists(GEN):
        print(f"skip it_gen: {GEN} is not built")
        return 77
    failed = 0
    wanted = sys.argv[1:]
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        try:
            test()
            print(f"ok {name}", flush=True)
        except Exception:  # noqa: BLE001: any failure of a test is a failed test
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
