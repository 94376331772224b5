#!/usr/bin/env python3
"""The demo: local cloud and daemon on loopback, a sample, a load, and whether everything arrived.

usage: tools/demo.sh [stop | --help]

Settings, from the environment or as `make demo NAME=value`:

  KEEP=1              leave everything up at the end and say how to look around
  DEMO_EVENTS         events of the load (300000)
  DEMO_HTTP_PORT      port of Penstock's HTTP input (8080)
  DEMO_TCP_PORT       port of its plain TCP input (8081)
  DEMO_ACKED_PORT     port of its acknowledged TCP input (8082)
  DEMO_UDP_PORT       port of its UDP input (8083)
  DEMO_ADMIN_PORT     port of its metrics (9464)
  DEMO_CLOUD_PORT     port of the local cloud (9050)
  DEMO_DIR            folder for all data, emptied at the start (.demo)
  BUILD               where `make` put the programs (build)

Exit status: 0 everything arrived and matched, 1 something did not, 2 wrong usage, 130 interrupted.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

from demo_procs import (Cloud, DemoError, Progress, Server, capture, check_port, kept_alive,
                        stop_kept)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUCKET, PROJECT, DATASET = "penstock-demo", "demo-project", "dev_events_dataset"
MARK = "penstock-demo-data"  # a file by which a folder is known as the demo's own
OBJECT_PATH = re.compile(r"^output/([^/]+)/(\d{4}/\d\d/\d\d/\d\d/\d\d)/[^/]+\.json$")
IDS = {"orders": "order_id", "inventory": "inventory_id", "user_activity": "metadata.session_id"}

QUERIES = [
    ("Orders and total value per customer, 30 days (the first 5)", """
SELECT customer_id, COUNT(*) AS orders, ROUND(SUM(total_amount), 2) AS total_value
FROM `demo-project.dev_events_dataset.orders`
WHERE event_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 30 DAY)
GROUP BY customer_id
ORDER BY total_value DESC
LIMIT 5"""),
    ("Net quantity change per warehouse and product, today (the first 5)", """
SELECT warehouse_id, product_id, SUM(quantity_change) AS net_change
FROM `demo-project.dev_events_dataset.inventory`
WHERE event_date = CURRENT_DATE()
GROUP BY warehouse_id, product_id
ORDER BY warehouse_id, product_id
LIMIT 5"""),
    ("Distinct users per activity, 7 days", """
SELECT activity_type, COUNT(DISTINCT user_id) AS users
FROM `demo-project.dev_events_dataset.user_activity`
WHERE event_date >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)
GROUP BY activity_type
ORDER BY activity_type"""),
]


def setting(name, default):
    """A whole number from the environment."""
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) == 0:
        raise DemoError(f"{name}={text}: a whole number above 0 is needed, such as {default}")
    return int(text)


def rule(text):
    print(f"\n--- {text} " + "-" * max(3, 96 - len(text)))


def indent(text):
    print("\n".join("    " + line for line in text.rstrip("\n").splitlines()))


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def sample_lines():
    """Three good events of the three types, and one that is cut off."""
    now = datetime.now(timezone.utc)
    order = {"event_type": "order", "order_id": "ord-sample-1", "customer_id": "customer-042",
             "order_date": stamp(now), "status": "pending",
             "items": [{"product_id": "prod-001", "product_name": "Laptop", "quantity": 1, "price": 999.5}],
             "shipping_address": {"street": "1 Main Street", "city": "Berlin", "country": "Germany"},
             "total_amount": 999.5}
    inventory = {"event_type": "inventory", "inventory_id": "inv-sample-1", "product_id": "prod-001",
                 "warehouse_id": "wh-eu-central", "quantity_change": -1, "reason": "sale",
                 "timestamp": stamp(now - timedelta(seconds=1))}
    activity = {"event_type": "user_activity", "user_id": "customer-042", "activity_type": "add_to_cart",
                "ip_address": "192.0.2.7", "user_agent": "Mozilla/5.0",
                "timestamp": stamp(now - timedelta(seconds=2)),
                "metadata": {"session_id": "ses-sample-1", "platform": "web"}}
    lines = [json.dumps(event, separators=(",", ":")) for event in (order, inventory, activity)]
    return lines + ['{"event_type":"order","order_id":"ord-sample-2","customer_id":']


class Demo:
    """One run: its settings, its servers, and what did not match."""

    def __init__(self):
        self.keep = os.environ.get("KEEP", "0") not in ("", "0")
        self.events = setting("DEMO_EVENTS", 300000)
        self.port_http = setting("DEMO_HTTP_PORT", 8080)
        self.port_tcp = setting("DEMO_TCP_PORT", 8081)
        self.port_acked = setting("DEMO_ACKED_PORT", 8082)
        self.port_udp = setting("DEMO_UDP_PORT", 8083)
        self.port_admin = setting("DEMO_ADMIN_PORT", 9464)
        self.port_cloud = setting("DEMO_CLOUD_PORT", 9050)
        self.dir = os.environ.get("DEMO_DIR") or ".demo"
        self.bin = os.path.join(os.environ.get("BUILD") or "build", "bin")
        self.cloud = f"http://127.0.0.1:{self.port_cloud}"
        self.admin = f"http://127.0.0.1:{self.port_admin}"
        self.url = f"http://127.0.0.1:{self.port_http}/v1/events"
        self.socket = os.path.join(self.dir, "penstock.sock")
        self.servers = []
        self.wrong = []
        self.progress = Progress()

    # --- before the start

    def check(self):
        for name in ("penstockd", "penstock", "penstock-gen", "localcloud"):
            if not os.access(os.path.join(self.bin, name), os.X_OK):
                raise DemoError(f"{self.bin}/{name} is not built; `make all` does that")
        running = kept_alive(self.pid_file())
        if running:
            raise DemoError(f"a demo that was kept up still runs here ({running[0][0]} is process "
                            f"{running[0][1]}). Stop it first:  tools/demo.sh stop")
        check_port("Penstock's HTTP input", self.port_http, "DEMO_HTTP_PORT")
        check_port("Penstock's TCP input", self.port_tcp, "DEMO_TCP_PORT")
        check_port("Penstock's acknowledged TCP input", self.port_acked, "DEMO_ACKED_PORT")
        check_port("Penstock's metrics", self.port_admin, "DEMO_ADMIN_PORT")
        check_port("the local cloud", self.port_cloud, "DEMO_CLOUD_PORT")

    def pid_file(self):
        return os.path.join(self.dir, "pids")

    def clear(self):
        """Empties the demo's folder, but never one that something else has filled."""
        mark = os.path.join(self.dir, MARK)
        if os.path.isdir(self.dir) and os.listdir(self.dir) and not os.path.exists(mark):
            raise DemoError(f"{self.dir} is not empty and not the demo's: choose another with DEMO_DIR")
        try:
            os.makedirs(self.dir, exist_ok=True)
            with open(mark, "w", encoding="ascii"):
                pass
            for name in os.listdir(self.dir):
                path = os.path.join(self.dir, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                elif name != MARK:  # the mark stays, in case that this is interrupted
                    os.unlink(path)
        except PermissionError as error:
            raise DemoError(f"{self.dir} belongs to another user ({error.strerror}): remove it with "
                            f"sudo rm -r {self.dir}, or choose another with DEMO_DIR") from None

    # --- the run

    def start(self):
        rule("start")
        cloud = Server("localcloud", [
            os.path.join(self.bin, "localcloud"), "--listen", f"127.0.0.1:{self.port_cloud}",
            "--data", os.path.join(self.dir, "cloud"), "--create-bucket", BUCKET,
        ], os.path.join(self.dir, "localcloud.log"), self.keep)
        self.servers.append(cloud)
        cloud.wait_ready(f"{self.cloud}/storage/v1/b/{BUCKET}")
        print(f"    localcloud   Cloud Storage and BigQuery, on {self.cloud}")
        daemon = Server("penstockd", [
            os.path.join(self.bin, "penstockd"), "--config", "config/local.yaml",
            "--set", f"data_dir={self.dir}/data", "--set", f"control.socket={self.socket}",
            "--set", f"http.listen=127.0.0.1:{self.port_http}",
            "--set", f"tcp.listen=127.0.0.1:{self.port_tcp}",
            "--set", f"tcp.acked_listen=127.0.0.1:{self.port_acked}",
            "--set", f"udp.listen=127.0.0.1:{self.port_udp}",
            "--set", f"admin.listen=127.0.0.1:{self.port_admin}",
            "--set", f"gcs.endpoint={self.cloud}", "--set", f"bigquery.endpoint={self.cloud}",
        ], os.path.join(self.dir, "penstockd.log"), self.keep)
        self.servers.insert(0, daemon)  # stopped first: it delivers what is left
        daemon.wait_ready(f"{self.admin}/readyz")
        print(f"    penstockd    config/local.yaml, events on {self.url}")
        with open(self.pid_file(), "w", encoding="ascii") as file:
            file.writelines(f"{server.name} {server.child.pid}\n" for server in self.servers)

    def penstock(self, *args, ok=(0,)):
        argv = [os.path.join(self.bin, "penstock"), "--socket", self.socket, *args]
        return capture(argv, ok)

    def status(self):
        return json.loads(self.penstock("--json", "status")[1])

    def post(self, body, seconds=20):
        """Sends a body; 503 means that nothing of it was stored, so it is sent again, as clients do."""
        end = time.monotonic() + seconds
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port_http, timeout=60)
            connection.request("POST", "/v1/events", body, {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            if answer.status != 503 or time.monotonic() > end:
                return answer, text
            time.sleep(0.2)

    def send_sample(self):
        rule("a small sample: three events and a line that is cut off")
        lines = sample_lines()
        path = os.path.join(self.dir, "sample.ndjson")
        body = "\n".join(lines) + "\n"
        with open(path, "w", encoding="ascii") as file:
            file.write(body)
        print(f"    $ cat {path}")
        indent(body)
        print(f"\n    $ curl -i -H 'Content-Type: application/x-ndjson' --data-binary @{path} {self.url}")
        answer, text = self.post(body)
        indent(f"HTTP/1.1 {answer.status} {answer.reason}\n{text}")
        if answer.status != 200:
            raise DemoError(f"the sample was refused.\n{self.servers[0].log_tail()}")
        self.sample = json.loads(text)
        self.same("accepted of the sample", self.sample["accepted"], 3)
        self.same("dead-lettered of the sample", self.sample["dead_lettered"], 1)

    def show_progress(self, force=False):
        s = self.status()
        sinks = s["sinks"]
        stored = sinks["gcs"]["delivered"] + sinks["gcs"]["dead_letters_delivered"]
        self.progress.show(f"    received {s['received']:>9,}   durable {s['durable']:>9,}   "
                           f"stored {stored:>9,}   loaded {sinks['bigquery']['delivered']:>9,}", force)

    def watch(self, argv):
        """Runs a program to its end with a progress line; returns its standard output."""
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
            try:
                while child.poll() is None:
                    self.show_progress()
                    time.sleep(0.05)
                out, err = child.communicate()
            finally:
                if child.poll() is None:
                    child.kill()
        if child.returncode != 0:
            raise DemoError(f"{' '.join(argv)}\n  ended with status {child.returncode}: "
                            f"{(err or out).strip()}\n{self.servers[0].log_tail()}")
        return out

    def send_load(self):
        rule(f"{self.events:,} events at full speed, 1 % malformed, 2 % late")
        argv = [os.path.join(self.bin, "penstock-gen"), "--target", self.url, "--count",
                str(self.events), "--malformed", "1", "--late", "2", "--json"]
        print(f"    $ {' '.join(argv[:-1])}")
        started = time.monotonic()
        self.load = json.loads(self.watch(argv))
        flush = [os.path.join(self.bin, "penstock"), "--socket", self.socket, "flush",
                 "--timeout", "300s"]
        self.watch(flush)
        self.show_progress(force=True)
        self.progress.done()
        print(f"    acknowledged, durable on disk: {self.load['acked']:,} in {self.load['seconds']:.2f} s, "
              f"{self.load['events_per_s']:,.0f} events/s with the client on the same machine")
        print(f"    all of it in the local cloud after {time.monotonic() - started:.1f} s")

    # --- what came of it

    def same(self, what, found, wanted):
        if found != wanted:
            self.wrong.append(f"{what}: {found}, not {wanted}")
        return found == wanted

    def count(self, what, found, wanted):
        mark = "ok" if self.same(what, found, wanted) else f"NOT {wanted:,}"
        print(f"    {what:<44} {found:>12,}   {mark}")

    def show_counts(self):
        rule("counts: what the client was told, against what the daemon says")
        s = self.status()
        gcs, bq = s["sinks"]["gcs"], s["sinks"]["bigquery"]
        accepted = self.load["accepted"] + self.sample["accepted"]
        dead = self.load["dead_lettered"] + self.sample["dead_lettered"]
        self.same("events sent", self.load["acked"], self.events)
        self.same("answers that refused", self.load["refused"], 0)
        self.count("events received", s["received"], accepted + dead)
        self.count("durable", s["durable"], accepted + dead)
        self.count("delivered to Cloud Storage: events", gcs["delivered"], accepted)
        self.count("delivered to Cloud Storage: dead letters", gcs["dead_letters_delivered"], dead)
        self.count("delivered to BigQuery: rows", bq["delivered"], accepted)
        self.count("dead-lettered", s["dead_lettered"], dead)
        self.count("pending", gcs["pending"] + bq["pending"], 0)
        reasons = ", ".join(f"{name} {n:,}" for name, n in s["dead_letters"].items())
        print(f"    dead letters by reason: {reasons}")
        self.accepted, self.dead = accepted, dead

    def show_rows(self):
        """Exactly once, by id: as many rows as different ids in each table, asked of BigQuery itself."""
        total = 0
        for table, column in IDS.items():
            answer = self.sql(f"SELECT COUNT(*) AS n, COUNT(DISTINCT {column}) AS ids "
                              f"FROM `{PROJECT}.{DATASET}.{table}`", "--json")
            row = json.loads(answer)
            self.count(f"rows in {table}, by different {column}", int(row["ids"]), int(row["n"]))
            total += int(row["n"])
        self.count("rows in all tables", total, self.accepted)

    def show_objects(self):
        rule(f"objects in gs://{BUCKET}, by event type and minute of the event")
        objects = [item for item in Cloud(self.cloud, BUCKET).list()
                   if not item["name"].startswith("penstock/owner/")]  # which says who may deliver, and has no events
        groups = {"late": [], "dead": []}
        for item in objects:
            name = item["name"]
            path = OBJECT_PATH.match(name)
            if name.startswith("dead_letter/"):
                groups["dead"].append(item)
            elif path is None:
                self.wrong.append(f"object outside output/TYPE/YYYY/MM/DD/HH/MM/: {name}")
            elif "_late_" in name:
                groups["late"].append(item)
            else:
                groups.setdefault(path.group(1), []).append(item)
        for kind in sorted(groups, key=lambda k: (k == "dead", k == "late", k)):
            for item in groups[kind][-2:]:
                print(f"    {item['name']:<94} {item['metadata']['penstock-events']:>6} events")
        counts = ", ".join(f"{kind} {len(items):,}" for kind, items in sorted(groups.items()))
        print(f"    {len(objects):,} objects: {counts}")
        events = sum(int(item["metadata"]["penstock-events"]) for item in objects)
        self.count("events in all objects", events, self.accepted + self.dead)

    def show_verify(self):
        rule("penstock verify: the ledger against the bucket's listing and the tables' rows")
        print(f"    $ {self.bin}/penstock --socket {self.socket} verify")
        code, text = self.penstock("verify", ok=(0, 1))
        indent(text)
        self.same("exit status of verify", code, 0)

    def sql(self, query, *options):
        return capture([os.path.join(self.bin, "localcloud"), "--data",
                        os.path.join(self.dir, "cloud"), "--project", PROJECT, "--sql",
                        query.strip(), *options])[1]

    def show_queries(self):
        rule("what analysts ask, answered by the local BigQuery")
        for title, query in QUERIES:
            print(f"    {title}\n")
            indent(query.strip())
            print()
            answer = self.sql(query)
            indent(answer)
            print()
            if len(answer.strip().splitlines()) < 3 and not self.near_midnight():
                self.wrong.append(f"no answer to the query: {title}")

    @staticmethod
    def near_midnight():
        """Events lie up to an hour back: shortly after midnight UTC few of them are of today."""
        return datetime.now(timezone.utc).hour == 0

    # --- the end

    def stop(self):
        """Ends every program. Interrupts are held off meanwhile, so that nothing is left."""
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.SIG_IGN)
        clean = sys.exc_info()[0] is None
        for server in self.servers:
            status = server.stop(40 if clean else 3)
            if clean:
                self.same(f"exit status of {server.name} after SIGTERM", status, 0)
        if os.path.exists(self.pid_file()):
            os.unlink(self.pid_file())
        self.servers = []

    def leave_up(self):
        socket, data = self.socket, self.dir
        rule("left up: look around")
        print(f"""
    An event:   {self.bin}/penstock-gen --sample order | \\
                  curl -i -H 'Content-Type: application/json' --data-binary @- {self.url}
    A load:     {self.bin}/penstock-gen --target {self.url} --duration 10 --rate 20000 --progress
    Status:     {self.bin}/penstock --socket {socket} status      (or types, sinks, flush, verify, help)
    Metrics:    curl {self.admin}/metrics
    Objects:    curl '{self.cloud}/storage/v1/b/{BUCKET}/o?prefix=output/order/&maxResults=5'
    SQL:        {self.bin}/localcloud --data {data}/cloud --project {PROJECT} \\
                  --sql 'SELECT status, COUNT(*) AS n FROM {DATASET}.orders GROUP BY status'
    Logs:       tail -f {data}/penstockd.log
    Stop:       tools/demo.sh stop""")

    def result(self):
        if not self.wrong:
            print(f"\nDemo passed: {self.accepted:,} events in both sinks, {self.dead:,} dead letters kept, "
                  f"nothing lost, nothing twice.")
            return 0
        print("\nDemo FAILED:")
        for line in self.wrong:
            print(f"    {line}")
        return 1

    def run(self):
        self.check()
        self.clear()
        try:
            self.start()
            self.send_sample()
            self.send_load()
            self.show_counts()
            self.show_rows()
            self.show_objects()
            self.show_verify()
            self.show_queries()
            if self.keep:
                self.leave_up()
                self.servers = []
        finally:
            self.progress.done()
            self.stop() if self.servers else None
        return self.result()


def interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(args):
    os.chdir(ROOT)
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, interrupted)
    if args in (["-h"], ["--help"]):
        print(__doc__.split("\n", 2)[2].strip())
        return 0
    try:
        demo = Demo()
        if args == ["stop"]:
            if stop_kept(demo.pid_file()) == 0:
                print("demo: nothing was left up")
            return 0
        if args:
            print(f"demo: unknown argument {args[0]!r}; see tools/demo.sh --help", file=sys.stderr)
            return 2
        return demo.run()
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as why:
        print(f"\ndemo: interrupted by {str(why) or 'SIGINT'}; everything is stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
