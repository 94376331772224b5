"""What the integration and fault tests share: programs, HTTP, reading back, comparing.

A test starts a Cloud and a Daemon in a Place, sends events, waits until everything is delivered,
and reads
ALL objects by the Cloud Storage API and ALL rows by the BigQuery API. Nothing here sleeps in hope:
waiting
polls until a deadline, and a deadline that passes is a failure that says what was waited for.
"""
import base64
import collections
import contextlib
import gzip
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
SCHEMAS = os.path.join(ROOT, "config", "schemas")
PROJECT, DATASET, BUCKET = "test-project", "test_events", "test-bucket"
ADDED = re.compile(rb',"(?:penstock_overflow|event_date)":.*\}$')
ADDED_PLAIN = re.compile(rb',"event_date":"[0-9-]{10}","processed_timestamp":"[0-9T:.-]{26}Z",'
                         rb'"penstock_id":"([0-9a-f]{32}-[0-9a-f]{16})"\}$')
EVENT_ID = re.compile(rb'"(?:order_id|inventory_id|session_id)":"((?:ord|inv|ses)-\d+-\d+)"')


class Failed(Exception):
    """A check that does not hold."""


def expect(condition, *what):
    if not condition:
        raise Failed(" ".join(str(w) for w in what))


def equal(got, wanted, what=""):
    if got != wanted:
        raise Failed(f"{what}: got {short(got)}, wanted {short(wanted)}")


def short(value, limit=400):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def until(ready, seconds, what):
    """Polls until ready() is true; returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds} s in vain for {what() if callable(what) else what}")
        time.sleep(0.02)


def program(name):
    path = os.path.join(BUILD, "bin", name)
    if not os.access(path, os.X_OK):
        print(f"{path} is not built")
        sys.exit(77)
    return path


def free_port():
    """Free for TCP and for UDP: daemons share ports on purpose. Below the ports that the kernel hands out itself: no
    client's own port can be in the way, and none that connects while nobody listens can meet itself."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as s, socket.socket(type=socket.SOCK_DGRAM) as d, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            d.bind(("127.0.0.1", port))
            return port


def run_tests(tests):
    """Runs (name, function) pairs or functions; prints one line each; returns the exit status."""
    wanted = set(sys.argv[1:])
    failed = 0
    for test in tests:
        name, function = test if isinstance(test, tuple) else (test.__name__.removeprefix("test_"), test)
        if wanted and name not in wanted:
            continue
        started = time.monotonic()
        try:
            function()
            print(f"ok {name} {time.monotonic() - started:.1f} s", flush=True)
        except Exception as error:  # whatever it is, the other tests still run
            failed += 1
            if not isinstance(error, Failed):
                traceback.print_exc(file=sys.stdout)
            print(f"FAIL {name} {' '.join(str(error).split())}", flush=True)
    return 1 if failed else 0


# ---- processes ----

class Process:
    """A program with its output in a file; killed at the end."""

    def __init__(self, argv, log, env=None):
        self.log = log
        self.out = open(log, "ab")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out,
                                      env=env)

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.alive():
            self.child.kill()
        self.child.wait()
        self.out.close()

    def wait(self, seconds):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.child.args[0]} did not end within {seconds} s") from None

    def text(self):
        with open(self.log, errors="replace") as file:
            return file.read()


class Place:
    """A temporary folder and what was started in it; everything ends with the context."""

    def __init__(self, keep=None):
        self.keep = os.environ.get("PENSTOCK_KEEP") is not None if keep is None else keep

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="penstock-")
        self.started = []
        return self

    def __exit__(self, kind, error, trace):
        for thing in reversed(self.started):
            thing.kill()
        if kind is not None:
            for thing in self.started:
                print_tail(thing)
        if self.keep:
            print(f"kept {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def file(self, *names):
        return os.path.join(self.path, *names)

    def cloud(self, **more):
        return Cloud(self, **more)

    def daemon(self, cloud, **more):
        return Daemon(self, cloud, **more)


def print_tail(thing):
    """The end of a log, indented, so that no line of it counts as a result."""
    if os.path.exists(thing.log_path):
        with open(thing.log_path, errors="replace") as file:
            for line in file.read().splitlines()[-15:]:
                print(f"    {os.path.basename(thing.log_path)}: {line[:300]}")


class Cloud:
    """localcloud, and the two Google APIs as this test's own client speaks them."""

    def __init__(self, place, bucket=BUCKET, arguments=()):
        self.place, self.bucket, self.arguments = place, bucket, list(arguments)
        self.data, self.log_path = place.file("cloud"), place.file("localcloud.log")
        self.port, self.process = 0, None
        place.started.append(self)
        self.start()

    def start(self):
        argv = [program("localcloud"), "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        if self.bucket:
            argv += ["--create-bucket", self.bucket]
        seen = os.path.getsize(self.log_path) if os.path.exists(self.log_path) else 0
        self.process = Process(argv + self.arguments, self.log_path)

        def listening():
            expect(self.process.alive(), "localcloud ended:", self.process.text()[-500:])
            found = re.search(r"serving on port (\d+)", self.process.text()[seen:])
            return found and int(found.group(1))

        self.port = until(listening, 20, "localcloud to listen")

    def kill(self):
        if self.process:
            self.process.kill()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def client(self):
        return Client(self.port)

    def call(self, method, path, body=None, ok=(200, 204)):
        with self.client() as client:
            status, data = client.call(method, path, body)
        expect(status in ok, method, path, "answered", status, data[:300])
        return json.loads(data) if data else None

    def fault(self, **rule):
        return self.call("POST", "/localcloud/faults", rule)

    def clear_faults(self):
        self.call("DELETE", "/localcloud/faults")

    def faults(self):
        return self.call("GET", "/localcloud/faults")

    def stats(self):
        return self.call("GET", "/localcloud/stats")

    def names(self, prefix=""):
        """Names of all objects, sorted."""
        return sorted(o["name"] for o in self.listing(prefix))

    def listing(self, prefix=""):
        found, token = [], None
        with self.client() as client:
            while True:
                query = {"prefix": prefix, "maxResults": 1000}
                if token:
                    query["pageToken"] = token
                page = client.json(f"/storage/v1/b/{self.bucket}/o?{urllib.parse.urlencode(query)}")
                found += page.get("items", [])
                token = page.get("nextPageToken")
                if not token:
                    return found

    def objects(self, prefix=""):
        """{name: bytes} of all objects; gzip objects are unpacked."""
        content = {}
        with self.client() as client:
            for name in self.names(prefix):
                quoted = urllib.parse.quote(name, safe="")
                status, data = client.call("GET", f"/storage/v1/b/{self.bucket}/o/{quoted}?alt=media")
                equal(status, 200, f"get {name}")
                content[name] = gzip.decompress(data) if name.endswith(".gz") else data
        return content

    def lines(self, prefix):
        """[(object name, line)] of all objects under a prefix; every object ends with a line break."""
        found = []
        for name, data in self.objects(prefix).items():
            expect(data.endswith(b"\n"), f"{name} does not end with a line break")
            found += [(name, line) for line in data[:-1].split(b"\n")]
        return found

    def tables(self):
        path = f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables?maxResults=1000"
        answer = self.call("GET", path, ok=(200, 404))
        return sorted(t["tableReference"]["tableId"] for t in answer.get("tables", []))

    def table(self, name):
        return self.call("GET", f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables/{name}")

    def rows(self, table):
        """All rows as dicts, by tabledata.list."""
        fields = [f["name"] for f in self.table(table)["schema"]["fields"]]
        path = f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables/{table}/data?maxResults=20000"
        found, token = [], None
        with self.client() as client:
            while True:
                page = client.json(path + (f"&pageToken={urllib.parse.quote(token)}" if token else ""))
                found += [dict(zip(fields, [cell["v"] for cell in row["f"]])) for row in page.get("rows", [])]
                token = page.get("pageToken")
                if not token:
                    equal(len(found), int(page["totalRows"]), f"rows of {table}")
                    return found

    def column(self, table, expression):
        """One expression of every row, by a query."""
        sql = f"SELECT {expression} AS v FROM `{PROJECT}.{DATASET}.{table}`"
        return [row[0] for row in self.query(sql)]

    def query(self, sql):
        """All rows of a query, as lists of text."""
        return list(self.query_each(sql))

    def query_each(self, sql):
        """The rows of a query, page by page."""
        path = f"/bigquery/v2/projects/{PROJECT}/queries"
        found = 0
        with self.client() as client:
            page = client.json(path, {"query": sql, "useLegacySql": False, "maxResults": 50000})
            job = page["jobReference"]["jobId"]
            while True:
                rows = page.get("rows", [])
                found += len(rows)
                yield from ([cell["v"] for cell in row["f"]] for row in rows)
                token = page.get("pageToken")
                if not token:
                    equal(found, int(page["totalRows"]), f"rows of {sql}")
                    return
                page = client.json(f"{path}/{job}?maxResults=50000&pageToken={urllib.parse.quote(token)}")

    def jobs(self):
        """All load jobs."""
        found, token = [], None
        with self.client() as client:
            while True:
                path = f"/bigquery/v2/projects/{PROJECT}/jobs?projection=full&maxResults=1000"
                page = client.json(path + (f"&pageToken={urllib.parse.quote(token)}" if token else ""))
                found += page.get("jobs", [])
                token = page.get("nextPageToken")
                if not token:
                    return [j for j in found if "load" in j["configuration"]]


class Client:
    """One kept connection to the cloud."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def __enter__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        return self

    def __exit__(self, *_):
        self.connection.close()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        self.connection.request(method, path, data, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def json(self, path, body=None):
        status, data = self.call("GET" if body is None else "POST", path, body)
        equal(status, 200, f"{path}: {data[:300]}")
        return json.loads(data)


LISTED = [
    {"name": "order", "table": "orders", "time_field": "order_date", "schema": f"{SCHEMAS}/order.json",
     "description": "Orders of the shop", "clustering": ["customer_id", "status"]},
    {"name": "inventory", "table": "inventory", "time_field": "timestamp",
     "schema": f"{SCHEMAS}/inventory.json", "clustering": ["product_id", "warehouse_id"]},
    {"name": "user_activity", "table": "user_activity", "time_field": "timestamp",
     "schema": f"{SCHEMAS}/user_activity.json", "clustering": ["user_id", "activity_type"]},
]


def listed_mixed():
    """LISTED with each way into BigQuery: orders by load, inventory by insertAll, user activity inferred."""
    listed = {entry["name"]: dict(entry) for entry in LISTED}
    listed["inventory"]["method"] = "insert_all"
    listed["user_activity"]["schema"] = "infer"
    for key in ("clustering", "description"):
        listed["user_activity"].pop(key, None)
    return list(listed.values())


class Daemon:
    """penstockd with a generated configuration: short cadences, its own ports and folder."""

    def __init__(self, place, cloud, name="daemon", start=True, types=None, listed=LISTED, **sections):
        self.place, self.cloud = place, cloud
        self.folder, self.log_path = place.file(name), place.file(f"{name}.log")
        self.port, self.admin_port = free_port(), free_port()
        self.process = None
        self.config = {
            "node": "test",
            "data_dir": os.path.join(self.folder, "data"),
            "http": {"listen": f"127.0.0.1:{self.port}"},
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "control": {"socket": os.path.join(self.folder, "control.sock")},
            "journal": {"limit": "1GiB", "segment": "16MiB"},
            "group": {"age_max": "300ms"},
            "gcs": {"endpoint": cloud.endpoint, "bucket": cloud.bucket or BUCKET},
            "bigquery": {"endpoint": cloud.endpoint, "project": PROJECT, "dataset": DATASET,
                         "environment": "test", "load_cadence": "1s"},
            "sinks": {"park_retry": "1s"},
            "types": {"field": "event_type", "list": list(listed), **(types or {})},
        }
        for key, value in sections.items():
            if isinstance(value, dict):
                self.config.setdefault(key, {}).update(value)
            else:
                self.config[key] = value
        os.makedirs(self.folder)
        place.started.append(self)
        if start:
            self.start()

    def write_config(self):
        path = os.path.join(self.folder, "penstock.yaml")
        with open(path, "w") as file:
            json.dump(self.config, file, indent=1)  # JSON is YAML
        return path

    def launch(self, *arguments):
        argv = [program("penstockd"), "--config", self.write_config(), *arguments]
        return Process(argv, self.log_path)

    def start(self, *arguments, seconds=60):
        self.process = self.launch(*arguments)
        until(self.ready, seconds, "penstockd to be ready")

    def ready(self):
        expect(self.process.alive(), "penstockd ended:", self.process.text()[-600:])
        try:
            return self.admin("/readyz")[0] == 200
        except OSError:
            return False

    def admin(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def admin_answers(self, path):
        """Whether the admin port answers 200."""
        try:
            return self.admin(path)[0] == 200
        except OSError:
            return False

    def kill(self):
        """kill -9."""
        if self.process:
            self.process.kill()

    def stop(self, seconds=90):
        """SIGTERM; it must end well."""
        self.process.signal(signal.SIGTERM)
        status = self.process.wait(seconds)
        self.process.out.close()
        equal(status, 0, "exit status after SIGTERM")

    def restart(self):
        self.stop()
        self.start()

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def log_lines(self, *words):
        return [line for line in self.log().splitlines() if any(w in line for w in words)]

    def rss(self):
        with open(f"/proc/{self.process.child.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) << 10

    def taken_rss(self):
        """Resident bytes when the memory that is taken at start is there."""
        tasks = f"/proc/{self.process.child.pid}/task"

        def ended():
            names = []
            for task in os.listdir(tasks):
                with contextlib.suppress(OSError), open(f"{tasks}/{task}/comm") as file:
                    names.append(file.read().strip())
            return "memory" not in names
        until(ended, 120, "memory to be taken")
        return self.rss()

    # -- the command line --

    def cli(self, *arguments, seconds=150):
        """Runs `penstock`; returns (exit status, output)."""
        argv = [program("penstock"), "--socket", self.config["control"]["socket"], *arguments]
        done = subprocess.run(argv, capture_output=True, timeout=seconds)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def cli_json(self, *arguments):
        status, text = self.cli("--json", *arguments)
        expect(status == 0, " ".join(arguments), "gave", status, text[:500])
        return json.loads(text)

    def status(self):
        return self.cli_json("status")

    def until_owner(self):
        """Waits for the bucket's word: before it, nothing is sent."""
        until(lambda: self.status()["owner"]["state"] == "held", 60, "the claim on the bucket")

    def flush(self, seconds=120):
        status, text = self.cli("flush", "--timeout", f"{seconds}s", seconds=seconds + 30)
        expect(status == 0, "flush gave", status, text[:600])

    def verify(self):
        status, text = self.cli("verify")
        expect(status == 0, "verify gave", status, text[-1500:])  # its end says what differs

    def settle(self, seconds=120):
        """Flushes, until nothing is pending, and verifies."""
        self.flush(seconds)
        until(lambda: self.pending() == 0, seconds, lambda: f"nothing pending: {short(self.status())}")
        self.verify()
        self.steady()

    def steady(self):
        """Whatever came: a worker has allocated some hundred bytes when it started, and nothing since; with TLS,
        OpenSSL allocates."""
        if "https" in self.config:
            return
        found = re.findall(r"^penstock_worker_malloc_bytes\{.*\} (\S+)$", self.admin("/metrics")[1], re.M)
        expect(found and max(map(float, found)) <= 4096, "workers have allocated", found)

    def pending(self):
        sinks = self.status()["sinks"]
        return sinks["gcs"]["pending"] + sinks["bigquery"]["pending"]

    def clean(self):
        """No line of the log is an alarm: nothing parked, no conflict, no assertion."""
        bad = self.log_lines(" error ", "conflict", "ASSERT", "assertion")
        expect(not bad, "alarms in the log:", bad[:5])

    # -- events --

    def connect(self):
        return self.connect_to(self.port)

    @staticmethod
    def connect_to(port):
        s = socket.create_connection(("127.0.0.1", port), timeout=60)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def post(self, body, path="/v1/events", headers=None):
        """One request on a connection of its own; returns Answer."""
        with self.connect() as s:
            s.sendall(request(body, path, headers))
            return Reader(s).answer()

    def post_ok(self, body, path="/v1/events"):
        answer = self.post(body, path)
        equal(answer.status, 200, f"answer {answer.body[:300]}")
        return answer.json()


# ---- HTTP ----

def request(body, path="/v1/events", headers=None, method="POST", length=True):
    head = {"Host": "penstock", "Content-Type": "application/x-ndjson"}
    if length:
        head["Content-Length"] = len(body)
    head.update(headers or {})
    lines = [f"{method} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in head.items() if v is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body, sizes, trailer=b""):
    """The body in chunks of these sizes, in turn."""
    out, at, i = [], 0, 0
    while at < len(body):
        size = min(sizes[i % len(sizes)], len(body) - at)
        out.append(b"%x\r\n" % size + body[at:at + size] + b"\r\n")
        at += size
        i += 1
    return b"".join(out) + b"0\r\n" + trailer + b"\r\n"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Reader:
    """Takes answers off a connection."""

    def __init__(self, s):
        self.socket, self.data = s, b""

    def more(self):
        got = self.socket.recv(1 << 16)
        if not got:
            raise EOFError(f"closed after {self.data!r}")
        self.data += got

    def answer(self):
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        while len(self.data) < length:
            self.more()
        body, self.data = self.data[:length], self.data[length:]
        return Answer(int(lines[0].split()[1]), headers, body)

    def closed(self):
        """Whether the other side has closed, with nothing more to read."""
        try:
            return self.data == b"" and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


# ---- the generator ----

class Gen:
    """A run of penstock-gen in the background, with its acknowledgement log."""

    def __init__(self, place, daemon, name="gen", seed=1, now=None, target=None, **options):
        self.seed = seed
        self.now = int(time.time()) if now is None else now
        self.malformed, self.late = options.get("malformed", 0), options.get("late", 0)
        self.types = options.get("types")
        self.acks_path, self.log_path = place.file(f"{name}.acks"), place.file(f"{name}.log")
        target = target or f"http://127.0.0.1:{daemon.port}/v1/events"
        argv = [program("penstock-gen"), "--target", target, "--seed", str(seed), "--now", str(self.now), "--log",
                self.acks_path, "--json"]
        argv += arguments_of(options)
        self.seen_bytes = self.seen_lines = 0
        self.report_path = place.file(f"{name}.json")
        open(self.acks_path, "wb").close()
        self.out = open(self.report_path, "wb")
        self.err = open(self.log_path, "wb")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)
        place.started.append(self)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()

    def running(self):
        return self.child.poll() is None

    def wait(self, seconds=300, status=0):
        """The report, when the run has gone through."""
        try:
            equal(self.child.wait(seconds), status, "exit status of penstock-gen")
        except subprocess.TimeoutExpired:
            raise Failed(f"penstock-gen did not end within {seconds} s") from None
        with open(self.report_path) as file:
            return json.load(file)

    def interrupt(self):
        self.child.send_signal(signal.SIGINT)

    def fates(self):
        """How many events have a line in the log by now."""
        with open(self.acks_path, "rb") as file:
            file.seek(self.seen_bytes)
            data = file.read()
        self.seen_bytes += len(data)
        self.seen_lines += data.count(b"\n")
        return self.seen_lines

    def acks(self):
        """[(seq, type, kind, outcome)] of every event whose fate is known."""
        with open(self.acks_path, encoding="ascii") as file:
            rows = [line.split() for line in file]
        return [(int(seq), event_id, kind, outcome) for seq, event_id, _, kind, outcome in rows]

    def events(self, count):
        """The bytes of events 0 to count - 1, made again from the seed."""
        argv = [program("penstock-gen"), "--out", "-", "--seed", str(self.seed), "--now", str(self.now),
                "--count", str(count)]
        argv += arguments_of({"malformed": self.malformed, "late": self.late, "types": self.types})
        done = subprocess.run(argv, capture_output=True, check=True)
        lines = done.stdout.split(b"\n")[:-1]
        equal(len(lines), count, "events made again")
        return lines


def arguments_of(options):
    argv = []
    for key, value in options.items():
        if value is True:
            argv.append("--" + key.replace("_", "-"))
        elif value not in (None, False):
            argv += ["--" + key.replace("_", "-"), str(value)]
    return argv


# ---- comparing ----

def dead_letters(cloud, prefix="dead_letter/"):
    """[(object name, letter)]; letters in parts are put together, raw is bytes."""
    whole, parts = [], collections.defaultdict(dict)
    for name, line in cloud.lines(prefix):
        letter = json.loads(line)
        raw = letter.pop("raw", None)
        letter["bytes"] = raw.encode() if raw is not None else base64.b64decode(letter.pop("raw_base64"))
        if letter.get("parts", 1) == 1:
            whole.append((name, letter))
            continue
        key = (letter["source"], letter["received_at"], letter["position"])
        expect(letter["part"] not in parts[key], f"part {letter['part']} of {key} twice")
        parts[key][letter["part"]] = (name, letter)
    for key, found in parts.items():
        n = next(iter(found.values()))[1]["parts"]
        equal(sorted(found), list(range(1, n + 1)), f"parts of dead letter {key}")
        name, letter = found[1]
        letter["bytes"] = b"".join(found[i][1]["bytes"] for i in range(1, n + 1))
        whole.append((name, letter))
    return whole


def strip_added(line):
    """The producer's bytes of a delivered line without cuts."""
    found = ADDED_PLAIN.search(line)
    expect(found, "no added fields at the end of", line[-300:])
    return line[:found.start()] + b"}"


def penstock_id(line):
    return ADDED_PLAIN.search(line).group(1).decode()


class Delivered:
    """Everything that is in the bucket and in the tables, by penstock-gen's event id."""

    ID_COLUMN = {"orders": "order_id", "inventory": "inventory_id", "user_activity": "metadata.session_id"}

    def __init__(self, cloud):
        self.objects = collections.Counter()
        self.bytes = {}
        self.late_names = set()
        self.ids = collections.Counter()
        for name, line in cloud.lines("output/"):
            found = EVENT_ID.search(line)
            expect(found, "no event id in", line[:200])
            event = found.group(1).decode()
            self.objects[event] += 1
            self.bytes[event] = strip_added(line)
            self.ids[penstock_id(line)] += 1
            if "_late_" in name:
                self.late_names.add(event)
        self.dead = collections.Counter(letter["bytes"] for _, letter in dead_letters(cloud))
        self.rows = collections.Counter()
        self.row_ids = collections.Counter()
        tables = cloud.tables()
        for table, column in self.ID_COLUMN.items():
            if table in tables:
                for event, penstock in cloud.query(f"SELECT {column}, penstock_id "
                                                   f"FROM `{PROJECT}.{DATASET}.{table}`"):
                    self.rows[event] += 1
                    self.row_ids[penstock] += 1


def compare(gens, cloud):
    """Every acknowledged event exactly once in both sinks, every unanswered one at most once, every
    refused
    one not at all; malformed ones likewise among the dead letters; all by id and byte for byte. Of
    one run, or of
    all runs there were. Returns counts."""
    found = Delivered(cloud)
    wrong, known, counts = [], set(), collections.Counter()
    least, most = collections.Counter(), collections.Counter()
    for gen in gens if isinstance(gens, list) else [gens]:
        compare_run(gen, found, wrong, known, counts, least, most)
    for raw in set(least) | set(most) | set(found.dead):
        if not least[raw] <= found.dead[raw] <= most[raw]:
            wrong.append(f"dead letter {raw[:120]}: {found.dead[raw]} found, {least[raw]} to {most[raw]} sent")
    for event in (set(found.objects) | set(found.rows)) - known:
        wrong.append(f"{event} was never sent")
    if found.ids != found.row_ids:
        wrong.append(f"{len(found.ids - found.row_ids)} penstock_ids only in the bucket, "
                     f"{len(found.row_ids - found.ids)} only in the tables")
    if len(found.ids) != sum(found.ids.values()):
        wrong.append("a penstock_id appears twice")
    counts["objects"] = sum(found.objects.values())
    counts["rows"] = sum(found.rows.values())
    counts["dead"] = sum(found.dead.values())
    expect(not wrong, f"{len(wrong)} differences, such as", *[f"\n    {w}" for w in wrong[:10]])
    equal(cloud.names("staging/"), [], "staging objects")
    return counts


def compare_run(gen, found, wrong, known, counts, least, most):
    acks = gen.acks()
    equal(len({seq for seq, *_ in acks}), len(acks), "sequence numbers in the acknowledgement log")
    # White space around a line is framing: an event that was cut off behind a space comes without
    # it.
    made = [line.strip() for line in gen.events(max(seq for seq, *_ in acks) + 1)] if acks else []
    for seq, event, kind, outcome in acks:
        acked, unknown = outcome.startswith("2"), outcome == "none"
        counts["acked" if acked else "unanswered" if unknown else "refused"] += 1
        if kind.startswith("malformed"):
            least[made[seq]] += acked
            most[made[seq]] += acked or unknown
            counts["malformed_acked"] += acked
            continue
        known.add(event)
        counts["good_acked"] += acked
        counts["late_acked"] += acked and kind == "late"
        in_bucket, in_table = found.objects[event], found.rows[event]
        counts["unanswered_kept"] += unknown and in_bucket
        if in_bucket != in_table or in_bucket > 1 or (acked and in_bucket != 1) or \
                (not acked and not unknown and in_bucket != 0):
            wrong.append(f"{event} ({kind}, {outcome}): {in_bucket} in the bucket, {in_table} in the table")
        elif in_bucket and found.bytes[event] != made[seq]:
            wrong.append(f"{event}: other bytes: {found.bytes[event][:200]} for {made[seq][:200]}")
