#!/usr/bin/env python3
"""Goal: what a hostile review found stays mended: events and configurations at the edge of what is allowed.

Method: few runs of the daemon, several checks in each: events of unusual types, sizes, numbers and times; a
restart with little memory, large blocks and much to read again; a stop while no file can be written; tables
that change between two starts while loads of theirs are open. Everything is read back from the local cloud;
nothing may be parked.
"""
import datetime
import json
import os
import random
import re
import resource
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (Gen, Place, Process, compare, dead_letters, equal, expect,  # noqa: E402
                      program, request, run_tests, strip_added, until)

SEED = int(os.environ.get("PENSTOCK_SEED", "20"))
COLUMNS = [{"name": "event_type", "type": "STRING"}, {"name": "at", "type": "TIMESTAMP"},
           {"name": "n", "type": "INTEGER"}]
LONG_TYPE = "\u00e9" * 64  # 128 bytes; each becomes four in names
MINUTES_END = datetime.datetime(1970, 1, 1) + datetime.timedelta(minutes=2**31 - 1)
TIMES = [  # text, whether it can be used
    ("9999-12-31T23:59:59Z", False),
    ("6053-06-01T00:00:00Z", False),
    (MINUTES_END.isoformat() + "Z", False),
    ((MINUTES_END - datetime.timedelta(microseconds=1)).isoformat() + "Z", True),
    (253402300799, False),
    ("5999-12-31T23:59:59Z", True),
    ("0001-01-01T00:00:00Z", True),
]
DAYS = 4100
BIG_BODIES, BIG_LINES, BIG_BYTES = 13, 560, 10000  # 73 MB in bodies that need blocks of 5.6 MB


def dump(event):
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def schema_file(place):
    path = place.file("item.json")
    with open(path, "w") as file:
        json.dump(COLUMNS, file)
    return path


def events_of(rows):
    """The column event of rows, parsed."""
    return [json.loads(row["event"]) for row in rows]


def parked(daemon):
    return [thread for thread in daemon.cli_json("sinks")["threads"]
            if thread["plans_parked"] + thread["loads_parked"] > 0]


def open_loads(daemon):
    """Tables whose load is under way."""
    return {t["table"] for thread in daemon.cli_json("sinks")["threads"] for t in thread["tables"]
            if t["state"] != "idle"}


def settle(daemon):
    """Everything is delivered; what is parked shows at once."""
    daemon.flush(40)
    daemon.clean()
    daemon.settle(40)
    equal(parked(daemon), [], "parked")


def archived(daemon):
    """Whether everything received is in the bucket."""
    return daemon.status()["sinks"]["gcs"]["pending"] == 0


# ---- one run: types, numbers, times, sizes ----

def long_type(daemon):
    daemon.post_ok(dump({"event_type": LONG_TYPE, "n": 1}) + b"\n" +
                   dump({"event_type": LONG_TYPE, "n": 2}) + b"\n" +
                   b'{"event_type":"' + LONG_TYPE.encode() + b'","n":1e999}')


def check_long_type(cloud, letters):
    equal(sorted(e["n"] for e in events_of(cloud.rows("_xC3_xA9" * 64))), [1, 2], "rows of the long type")
    names = [n for n in cloud.names() if "_xC3_xA9" in n]
    expect(max(len(n) for n in names) <= 1024, "long names", names)
    equal(sorted({n.split("/")[0] for n in names}), ["dead_letter", "output"], "folders of the long type")
    dead = [letter["reason"] for name, letter in letters if "_xC3_xA9" in name]
    equal(dead, ["bad_value"], "dead letters of the long type")


FAR = ["1e999", "-1e999", '[{"x":1E400}]', "1" * 310, "9" * 309 + ".5"]
NEAR = ["1e308", "-1.5e-400", '"1e999"', "1" * 308, "0.1e1"]


def far_numbers(daemon):
    """No double holds them: a load would refuse the whole object."""
    lines = [f'{{"event_type":"far","x":{x}}}'.encode() for x in FAR + NEAR]
    equal(daemon.post_ok(b"\n".join(lines))["dead_lettered"], len(FAR), "dead letters of far numbers")


def check_far_numbers(cloud, letters):
    equal(len(cloud.rows("far")), len(NEAR), "rows of numbers")
    wanted = sorted(f'{{"event_type":"far","x":{x}}}'.encode() for x in FAR)
    equal(sorted(letter["bytes"] for name, letter in letters if "/far/" in name), wanted, "far numbers")


def times(daemon):
    before = daemon.status()["bad_time"]
    daemon.post_ok(b"\n".join(dump({"event_type": "times", "at": at}) for at, _ in TIMES))
    equal(daemon.status()["bad_time"] - before, sum(not good for _, good in TIMES), "bad times")


def check_times(cloud):
    rows = {json.loads(row["event"])["at"]: row["event_date"] for row in cloud.rows("times")}
    equal(len(rows), len(TIMES), "rows of times")
    paths = {json.loads(strip_added(line))["at"]: name for name, line in cloud.lines("output/times/")}
    this_year = str(datetime.datetime.now(datetime.timezone.utc).year)
    for at, good in TIMES:
        year = str(at)[:4] if good else this_year
        expect(paths[at].startswith(f"output/times/{year}/"), paths[at], "for", at)
        equal(rows[at][:4], year, f"event_date of {at}")


def large_events(daemon):
    """Close to http.event_max: wrapped for a JSON column; and moved to penstock_overflow."""
    daemon.post_ok(dump({"event_type": "large", "pad": "x" * 3_500_000}))
    daemon.post_ok(dump({"event_type": "item", "n": -1, "pad": "y" * 3_800_000}))


def check_large_events(cloud):
    equal([len(e["pad"]) for e in events_of(cloud.rows("large"))], [3_500_000], "the large event")
    moved = [row["penstock_overflow"] for row in cloud.rows("items") if row["n"] == "-1"]
    equal([len(json.loads(m)["pad"]) for m in moved], [3_800_000], "the large unknown field")


def many_days(cloud, daemon):
    """More days than one job may touch, in no order, all owed at once."""
    first = datetime.date(2015, 1, 1)
    days = [(first + datetime.timedelta(days=i)).isoformat() for i in range(DAYS)]
    random.Random(SEED).shuffle(days)
    for event_type in ("item", "days"):
        lines = [dump({"event_type": event_type, "at": f"{day}T12:00:00Z", "n": i})
                 for i, day in enumerate(days)]
        daemon.post_ok(b"\n".join(lines))
    until(lambda: archived(daemon), 120, "all days to be archived")
    jobs = len(cloud.jobs())
    daemon.flush(60)
    daemon.clean()
    expect(len(cloud.jobs()) >= jobs + 4, "jobs", len(cloud.jobs()) - jobs)
    for table in ("items", "days"):
        found = cloud.query(f"SELECT COUNT(*), COUNT(DISTINCT event_date) FROM `{cloud_table(table)}` "
                            "WHERE event_date < DATE '2027-01-01' AND event_date >= DATE '2015-01-01'")
        expect([int(v) for v in found[0]][1] >= DAYS, table, "has", found)


def cloud_table(name):
    return f"test-project.test_events.{name}"


def refuses_without_log(daemon):
    """Journals with events and no delivery log: started, it would deliver everything again."""
    folder = os.path.join(daemon.config["data_dir"], "delivery")
    os.rename(folder, folder + ".away")
    before = len(daemon.log())
    process = daemon.launch()
    equal(process.wait(30), 1, "exit status without the delivery log")
    process.out.close()
    said = daemon.log()[before:]
    expect("the delivery log that says which of them are delivered is gone" in said, said)
    shutil.rmtree(folder)
    os.rename(folder + ".away", folder)


def test_edges():
    with Place() as place:
        cloud = place.cloud()
        listed = [{"name": "item", "table": "items", "schema": schema_file(place)}]
        daemon = place.daemon(cloud, listed=listed, types={"time_field": "at", "lateness": "3650d"},
                              http={"event_max": "4MiB"}, bigquery={"load_cadence": "1h"})
        long_type(daemon)
        far_numbers(daemon)
        times(daemon)
        large_events(daemon)
        daemon.post_ok(dump({"event_type": "days", "n": -1}))
        settle(daemon)  # the next load of each table waits for a flush
        letters = dead_letters(cloud)
        check_long_type(cloud, letters)
        check_far_numbers(cloud, letters)
        check_times(cloud)
        check_large_events(cloud)
        many_days(cloud, daemon)
        settle(daemon)
        equal(cloud.names("staging/"), [], "staging objects")
        daemon.stop()
        refuses_without_log(daemon)
        daemon.start()
        daemon.verify()
        daemon.stop()


# ---- small limits, and a disk that fails ----

def test_small_events():
    """The smallest http.event_max: a dead letter, whose frame is larger than the event."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, http={"event_max": "1KiB"})
        bad = [b'{"event_type":"t","n":' + b"\x01" * 900, b'{"a":"' + b"z" * 3000 + b'"}', b"\xff" * 1000,
               b"{"]
        equal(daemon.post_ok(b"\n".join(bad))["dead_lettered"], len(bad), "dead letters")
        daemon.post_ok(dump({"event_type": "t", "pad": "x" * 900}))
        settle(daemon)
        equal(sorted(letter["bytes"] for _, letter in dead_letters(cloud)), sorted(bad), "dead letters")
        equal(len(cloud.rows("t")), 1, "rows")
        daemon.clean()
        daemon.stop()


def launch_limited(daemon):
    """Starts it so that a write past RLIMIT_FSIZE fails, and does not kill it."""
    argv = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\"", program("penstockd"), "--config"]
    daemon.process = Process(argv + [daemon.write_config()], daemon.log_path)
    until(daemon.ready, 60, "penstockd to be ready")


def test_stop_without_disk():
    """SIGTERM while no file can be written ends after shutdown.grace; what was acknowledged is delivered."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, start=False, shutdown={"grace": "500ms"})
        launch_limited(daemon)
        daemon.post_ok(dump({"event_type": "t", "n": 1}))
        limit = (0, resource.RLIM_INFINITY)
        resource.prlimit(daemon.process.child.pid, resource.RLIMIT_FSIZE, limit)
        with daemon.connect() as s:
            s.sendall(request(dump({"event_type": "t", "n": 2})))
            until(lambda: journal_errors(daemon) > 0, 30, "a failed write")
            s.setblocking(False)
            try:
                expect(not s.recv(1), "answered without a durable write")
            except BlockingIOError:
                pass
            daemon.stop(15)
        daemon.start()
        settle(daemon)
        found = numbers(cloud, "t")
        expect(found in ([1], [1, 2]), "events", found)  # the second was never answered
        daemon.stop()


def journal_errors(daemon):
    found = re.findall(r"^penstock_journal_write_errors\S* (\d+)$", daemon.admin("/metrics")[1], re.M)
    return sum(map(int, found))


# ---- little memory, large blocks, a restart ----

def both_sinks(cloud, event_type):
    """Events that are in the bucket and in the table."""
    return min(loaded(cloud, event_type), len(cloud.lines(f"output/{event_type}/")))


def post_big(daemon, event_type, bodies):
    for i in range(bodies):
        body = b"\n".join(dump({"event_type": event_type, "n": i * BIG_LINES + k, "pad": "x" * BIG_BYTES,
                                "at": "2026-01-02T03:04:05Z"}) for k in range(BIG_LINES))
        until(lambda: daemon.post(body).status == 200, 30, "room for a large body")


def loaded(cloud, table):
    return int(cloud.table(table)["numRows"]) if table in cloud.tables() else 0


class Others:
    """A cloud without the events of one type."""

    def __init__(self, cloud, without):
        self.cloud, self.without = cloud, without

    def __getattr__(self, name):
        return getattr(self.cloud, name)

    def lines(self, prefix):
        return [(name, line) for name, line in self.cloud.lines(prefix) if not name.startswith(self.without)]


def test_cold_plans():
    """After kill -9, plans of half of group.memory are read again while more comes than fits beside them."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, group={"memory": "64MiB", "bytes_max": "32MiB", "age_max": "1h"},
                              block={"bytes": "8MiB", "count": 8, "lane_max": 4},
                              journal={"limit": "512MiB", "segment": "32MiB", "spares": 2},
                              types={"time_field": "at", "lateness": "1h"}, sinks={"park_retry": "3s"})
        cloud.fault(service="storage", status=503)
        post_big(daemon, "big", BIG_BODIES)
        until(lambda: daemon.cli_json("sinks")["threads"][0]["plans_waiting"] >= 2, 30, "large plans")
        daemon.kill()
        cloud.clear_faults()
        daemon.start()
        gen = Gen(place, daemon, seed=SEED, duration=3, rate=5000, malformed=1, late=2)
        gen.wait(60)
        until(lambda: loaded(cloud, "big") > 3000, 40, "plans from before to be loaded, without a flush")
        settle(daemon)
        wanted = list(range(BIG_BODIES * BIG_LINES))
        equal(sorted(int(n) for n in cloud.column("big", "JSON_VALUE(event.n)")), wanted, "rows")
        equal(sorted(json.loads(line)["n"] for _, line in cloud.lines("output/big/")), wanted, "events")
        compare(gen, Others(cloud, "output/big/"))
        found = re.findall(r"^penstock_sink_read_errors\S* (\d+)$", daemon.admin("/metrics")[1], re.M)
        expect(found and set(found) == {"0"}, "read errors", found)
        daemon.clean()
        parked_for_long(cloud, daemon)
        daemon.stop()


def parked_for_long(cloud, daemon):
    """A plan whose bytes were dropped while it was parked gets room, though open groups hold most of it."""
    cloud.fault(service="storage", method="POST", status=403, reason="forbidden", count=1)
    post_big(daemon, "refused", 6)
    until(lambda: "parked: object" in daemon.log(), 30, "a plan to be parked")
    until(lambda: daemon.cli_json("sinks")["threads"][0]["plans_waiting"] == 0, 30, "the other plan's memory")
    post_big(daemon, "beside", 4)
    wanted = {"refused": 6 * BIG_LINES, "beside": 4 * BIG_LINES}
    until(lambda: both_sinks(cloud, "refused") > 3000, 20, "the parked plan to be delivered, without a flush")
    daemon.flush(40)
    daemon.settle(40)
    equal({t: loaded(cloud, t) for t in wanted}, wanted, "rows")
    equal({t: len(cloud.lines(f"output/{t}/")) for t in wanted}, wanted, "events")


# ---- tables that change while their loads are open ----

MOVED = [f"moved{i}" for i in range(4)]  # several, so that both sink threads own some, before and after
PLAIN = [f"plain{i}" for i in range(3)]
CLICKS = [f"click{i}" for i in range(2)]


def post_each(daemon, types, first, count=5):
    daemon.post_ok(b"\n".join(dump({"event_type": t, "n": first + i}) for t in types for i in range(count)))


def numbers(cloud, table):
    """n of all rows: of the column event, or of their own column."""
    found = []
    for row in cloud.rows(table):
        whole = row.get("event")
        found.append(json.loads(whole)["n"] if whole is not None else int(row["n"]))
    return sorted(found)


def columns(cloud, table):
    """(rows with the column event, rows with their own columns)."""
    wrapped = sum(row.get("event") is not None for row in cloud.rows(table))
    return wrapped, sum(row.get("n") is not None for row in cloud.rows(table))


def loads_stuck(cloud, daemon, types, tables, first):
    """Loads of all tables are open, and as much again is owed behind each."""
    cloud.fault(service="bigquery", status=503)
    post_each(daemon, types, first)
    until(lambda: set(tables) <= open_loads(daemon), 60, lambda: f"open loads, not only {open_loads(daemon)}")
    post_each(daemon, types, first + 5)
    until(lambda: archived(daemon), 60, "all to be archived")


def test_changed_tables():
    with Place() as place:
        cloud = place.cloud()
        schema = schema_file(place)
        listed = [{"name": t, "table": "old_" + t, "schema": schema} for t in MOVED]
        daemon = place.daemon(cloud, listed=listed,
                              sinks={"threads": 2, "park_retry": "1s"}, bigquery={"load_cadence": "1s"},
                              shutdown={"grace": "300ms"})
        # Loaded, but for the staging objects that cannot be deleted; then a second load of the same tables.
        cloud.fault(service="storage", method="DELETE", status=503)
        post_each(daemon, CLICKS, 0)
        until(lambda: set(CLICKS) <= set(cloud.tables()), 60, "tables")
        until(lambda: all(numbers(cloud, t) for t in CLICKS), 60, "first loads")
        until(lambda: not open_loads(daemon), 60, "first loads to end")
        loads_stuck(cloud, daemon, MOVED + PLAIN + CLICKS, ["old_" + t for t in MOVED] + PLAIN + CLICKS, 5)
        expect(len(cloud.names("staging/click")) >= 4, "staging objects", cloud.names("staging/"))
        daemon.kill()

        # Other tables for some types, a schema for others.
        listed = [{"name": t, "table": "new_" + t, "schema": schema} for t in MOVED]
        daemon.config["types"]["list"] = listed + [{"name": t, "schema": schema} for t in PLAIN]
        cloud.clear_faults()
        daemon.start()
        post_each(daemon, MOVED + PLAIN + CLICKS, 15)
        settle(daemon)
        for t in MOVED:
            equal(numbers(cloud, "old_" + t), list(range(5, 10)), f"old table of {t}")
            equal(numbers(cloud, "new_" + t), list(range(10, 20)), f"new table of {t}")
        for t in PLAIN:
            equal(numbers(cloud, t), list(range(5, 20)), t)
            equal(columns(cloud, t), (10, 5), f"rows of {t} with and without the column event")
        for t in CLICKS:
            equal(numbers(cloud, t), list(range(20)), t)
        equal(cloud.names("staging/"), [], "staging objects")
        switched_off(cloud, daemon)
        daemon.clean()
        daemon.stop()


def switched_off(cloud, daemon):
    """Without BigQuery nothing waits for its debt; with it again, the debt is loaded."""
    tables = ["new_" + t for t in MOVED] + PLAIN + CLICKS
    loads_stuck(cloud, daemon, MOVED + PLAIN + CLICKS, tables, 20)
    daemon.stop()
    daemon.config["bigquery"]["enabled"] = False
    daemon.config["shutdown"]["grace"] = "1h"
    cloud.clear_faults()
    daemon.start()
    post_each(daemon, ["unloaded"], 0)
    daemon.flush(15)
    equal(len(cloud.lines("output/unloaded/")), 5, "events while it is switched off")
    daemon.stop(15)
    daemon.config["bigquery"]["enabled"] = True
    daemon.start()
    settle(daemon)
    for t in MOVED:
        equal(numbers(cloud, "new_" + t), list(range(10, 30)), f"new table of {t}")
    for t in PLAIN:
        equal(numbers(cloud, t), list(range(5, 30)), t)
    for t in CLICKS:
        equal(numbers(cloud, t), list(range(30)), t)
    expect("unloaded" not in cloud.tables(), cloud.tables())


if __name__ == "__main__":
    sys.exit(run_tests([test_edges, test_small_events, test_stop_without_disk, test_cold_plans,
                        test_changed_tables]))
