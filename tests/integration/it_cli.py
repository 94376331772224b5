#!/usr/bin/env python3
"""Goal: what an operator types and sees: exit statuses, messages that name the fix, admin answers,
drain,
verify.

Method: the real daemon with the local cloud, all on free ports in a temporary folder. verify must
be clean
while events flow, and must name what this test then removes, replaces or adds behind Penstock's
back.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import (DATASET, PROJECT, Place, Process, equal, expect, program,  # noqa: E402
                      run_tests, until)

EVENT = (b'{"event_type":"inventory","inventory_id":"inv-1-%d","product_id":"prod-001",'
         b'"warehouse_id":"wh-us-east","quantity_change":1,"reason":"sale",'
         b'"timestamp":"2026-11-21T08:%02d:00Z"}\n')


def events(first, count):
    return b"".join(EVENT % (i, i % 60) for i in range(first, first + count))


def run(*argv, env=None):
    done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=60,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def has(text, *parts):
    for part in parts:
        expect(part in text, f"{part!r} is not in: {text[-1500:]}")


def test_usage():
    status, out, _ = run(program("penstockd"), "--version")
    equal(status, 0, "--version")
    has(out, "penstockd ")
    status, out, _ = run(program("penstockd"), "--help")
    equal(status, 0, "--help")
    has(out, "exit status: 0")
    for arguments, message in (([], "--config FILE is missing"), (["--confg", "x"], "did you mean --config?"),
                               (["--config"], "--config needs a value")):
        status, _, err = run(program("penstockd"), *arguments)
        equal(status, 2, f"status of {arguments}")
        has(err, message, "usage: penstockd")


def test_bad_configuration():
    with Place() as place:
        path = place.file("bad.yaml")
        with open(path, "w") as file:
            file.write("workers: none\nhttp:\n  lisen: 127.0.0.1:1\ngroup:\n  age_max: soon\n")
        for arguments in (["--check"], []):
            status, _, err = run(program("penstockd"), "--config", path, "--set", "log.level=loud",
                                 *arguments)
            equal(status, 2, "status")
            has(err, f"{path}:1: workers: found \"none\"", f"{path}:3: http.lisen: unknown key; did you mean",
                f"{path}:5: group.age_max: found \"soon\"", "--set: log.level: found \"loud\"", "gcs.bucket")
        status, _, err = run(program("penstockd"), "--config", place.file("none.yaml"))
        equal(status, 2, "status without a file")
        has(err, "none.yaml", "No such file")


def test_check():
    for name in ("local", "penstock"):
        status, out, err = run(program("penstockd"), "--config", f"config/{name}.yaml", "--check")
        equal(status, 0, f"--check of {name}.yaml: {err}")
        has(out, "valid")


def test_client_without_daemon():
    with Place() as place:
        cli = program("penstock")
        status, _, err = run(cli, "--socket", place.file("none.sock"), "status")
        equal(status, 1, "status without a daemon")
        has(err, "no penstockd answers", "none.sock", "is it running?")
        status, _, err = run(cli, "--socket", place.file("none.sock"), "stauts")
        equal(status, 2, "status of an unknown command")
        has(err, 'unknown command "stauts"; did you mean "status"?')
        equal(run(cli)[0], 2, "status without a command")
        equal(run(cli, "--sockt", "x")[0], 2, "status of an unknown option")
        status, out, _ = run(cli, "help")
        equal(status, 0, "help")
        has(out, "verify", "drain", "--socket")


def test_start_refused():
    with Place() as place:
        cloud = place.cloud()
        first = place.daemon(cloud)
        second = place.daemon(cloud, name="second", start=False)

        def fails(what, *messages):
            process = second.launch()
            equal(process.wait(60), 1, f"exit status with {what}")
            has(process.text(), *messages)
            process.kill()

        data = second.config["data_dir"]
        second.config["data_dir"] = first.config["data_dir"]
        fails("the other's data directory", "in use by another penstockd", f"pid {first.process.child.pid}")
        second.config["data_dir"] = data
        for section, key in (("http", "http.listen"), ("admin", "admin.listen")):
            mine = second.config[section]["listen"]
            second.config[section]["listen"] = first.config[section]["listen"]
            fails(f"{key} in use", key, first.config[section]["listen"], "in use")
            second.config[section]["listen"] = mine
        mine = second.config["control"]["socket"]
        second.config["control"]["socket"] = first.config["control"]["socket"]
        fails("the other's socket", "control.socket", "another daemon uses it")
        second.config["control"]["socket"] = mine
        with open(place.file("file"), "w"):
            pass
        second.config["data_dir"] = place.file("file")
        fails("a file as data_dir", "data_dir", "a file is in the way")
        second.config["data_dir"] = place.file("file", "below")
        fails("a file above data_dir", "data_dir", place.file("file"))
        second.config["data_dir"] = data
        second.config["workers"] = [4000]
        fails("a core that no machine has", "workers: core 4000 is not there", "runs on")
        expect(first.ready(), "the first daemon was disturbed")
        equal(first.cli("status")[0], 0, "status of the first daemon")


def run_on_mount(options, directory, *argv):
    """Runs argv with a file system of its own on the directory: in name spaces, or as root where there are none."""
    inside = f"mount -t tmpfs -o {options} none {directory} && exec \"$@\""
    result = run("unshare", "--map-root-user", "--mount", "sh", "-c", inside, "sh", *argv)
    if "unshare failed" not in result[2]:
        return result
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    try:
        return run(*argv)
    finally:
        subprocess.run(["umount", directory], check=True)


def test_start_without_room():
    """A file system that cannot be written, and one that is full: mounted for this one process."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, start=False)
        data = daemon.config["data_dir"]
        os.makedirs(data)
        for options, messages in (("ro", ["data_dir", data, "Read-only file system", "make it writable"]),
                                  ("size=20m", ["delivery log", data, "No space left on device", "make room"])):
            status, _, err = run_on_mount(options, data, program("penstockd"), "--config", daemon.write_config())
            equal(status, 1, f"{options}: {err}")
            has(err, *messages)


def test_admin():
    with Place() as place:
        daemon = place.daemon(place.cloud())
        daemon.post_ok(events(0, 10))
        equal(daemon.admin("/healthz"), (200, "ok\n"), "/healthz")
        equal(daemon.admin("/readyz"), (200, "ready\n"), "/readyz")
        status, text = daemon.admin("/metrics")
        equal(status, 200, "/metrics")
        has(text, 'penstock_events_total{worker="0"} 10\n', "# TYPE penstock_events_total counter",
            'penstock_type_events_total{type="inventory"} 10\n', "process_resident_memory_bytes")
        equal(daemon.admin("/other")[0], 404, "another path")
        daemon.stop()


def test_commands():
    with Place() as place:
        daemon = place.daemon(place.cloud())
        daemon.post_ok(events(0, 100) + b'{"bad\n{"event_type":"loose","a":1}\n')
        daemon.flush()
        status = daemon.status()
        equal(status["received"], 102, "received")
        equal(status["durable"], 102, "durable")
        equal(status["dead_letters"], {"bad_json": 1}, "dead letters")
        equal(status["sinks"]["gcs"]["delivered"], 101, "stored events")
        equal(status["sinks"]["gcs"]["dead_letters_delivered"], 1, "stored dead letters")
        equal(status["sinks"]["bigquery"]["delivered"], 101, "loaded")
        equal(daemon.pending(), 0, "pending")
        types = {t["type"]: t for t in daemon.cli_json("types")["types"]}
        equal(types["inventory"]["events"], 100, "events of inventory")
        equal(types["inventory"]["bigquery"]["delivered"], 100, "rows of inventory")
        expect(types["inventory"]["configured"] and not types["loose"]["configured"], "configured", types)
        tables = {t["table"] for thread in daemon.cli_json("sinks")["threads"] for t in thread["tables"]}
        expect("inventory" in tables, "tables", tables)
        for command in ("status", "types", "sinks", "verify"):
            code, text = daemon.cli(command)
            equal(code, 0, f"{command}: {text}")
        equal(daemon.cli("status", "now")[0], 2, "an argument too many")
        equal(daemon.cli("flush", "--timeout", "5")[0], 2, "a duration without unit")
        daemon.clean()


def test_protocol():
    """Malformed requests are refused, and the daemon goes on."""
    with Place() as place:
        daemon = place.daemon(place.cloud())

        def ask(data, close=True):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30)
                s.connect(daemon.config["control"]["socket"])
                s.sendall(data)
                if close:
                    s.shutdown(socket.SHUT_WR)
                got = b""
                while True:
                    more = s.recv(65536)
                    if not more:
                        return got
                    got += more

        expect(ask(b"help\n").startswith(b"PENSTOCK 0 "), "help")
        expect(ask(b"nonsense\n").startswith(b"PENSTOCK 2 "), "nonsense")
        expect(ask(b"\x00\xff\n").startswith(b"PENSTOCK 2 "), "bytes")
        expect(ask(b"x" * 20000, close=False).startswith(b"PENSTOCK 2 "), "a long line")
        equal(ask(b"status"), b"", "a line without end")
        equal(ask(b""), b"", "nothing")
        expect(ask(b"help --json\nhelp --json\n").count(b"PENSTOCK 0 ") == 2, "two requests on a connection")
        open_ones = [socket.socket(socket.AF_UNIX) for _ in range(64)]
        for s in open_ones:
            s.connect(daemon.config["control"]["socket"])
        until(lambda: ask(b"help\n").startswith(b"PENSTOCK 1 "), 10, "one too many to be refused")
        status, text = daemon.cli("ingest", "--wait", "300ms", __file__)
        expect(status == 1 and "more than 64 commands at once" in text, "ingest gave", status, text)
        for s in open_ones:
            s.close()
        until(lambda: ask(b"help\n").startswith(b"PENSTOCK 0 "), 10, "places to be free again")
        with open("/dev/full", "wb") as full:
            argv = [program("penstock"), "--socket", daemon.config["control"]["socket"], "status"]
            done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, check=False)
        expect(done.returncode == 1 and b"No space left" in done.stderr, "a full disk", done)


def test_drain():
    with Place() as place:
        daemon = place.daemon(place.cloud())
        daemon.post_ok(events(0, 50))
        code, text = daemon.cli("drain", "--timeout", "60s")
        equal(code, 0, text)
        has(text, "drained")
        equal(daemon.pending(), 0, "pending")
        equal(daemon.status()["state"], "drained", "state")
        code, text = daemon.admin("/readyz")
        equal(code, 503, "/readyz")
        has(text, "drained by command")
        equal(daemon.admin("/healthz")[0], 200, "/healthz")
        try:
            equal(daemon.post(events(50, 1)).status, 503, "an event after drain")
        except (ConnectionError, EOFError):
            pass  # the listener is closed
        daemon.verify()
        daemon.restart()
        daemon.post_ok(events(50, 1))
        daemon.settle()


def test_stop_and_restart():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "1s"})
        cloud.kill()
        daemon.post_ok(events(0, 500))
        daemon.stop(30)
        has(daemon.log(), "pending: 500 for Cloud Storage", "the next start delivers them", "stopped")
        cloud.start()
        daemon.start()
        daemon.settle()
        equal(len(cloud.rows("inventory")), 500, "rows")
        equal(daemon.status()["durable_ever"], 500, "acknowledged, ever")
        daemon.stop(30)
        expect(not os.path.exists(daemon.config["control"]["socket"]), "the socket's file is left")


def test_second_signal():
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "300s"})
        cloud.kill()
        daemon.post_ok(events(0, 10))
        daemon.process.signal(signal.SIGTERM)
        until(lambda: "waiting for delivery" in daemon.log(), 10, "the first signal to be seen")
        daemon.process.signal(signal.SIGINT)
        equal(daemon.process.wait(30), 0, "exit status")
        has(daemon.log(), "second signal", "stopped")


def test_stop_during_verify():
    """A verify that waits for a cloud that is gone does not hold a stop up."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, shutdown={"grace": "100ms"})
        cloud.kill()
        asking = Process([program("penstock"), "--socket", daemon.config["control"]["socket"], "verify"],
                         place.file("verify.log"))
        until(lambda: daemon.status()["state"] == "ready", 10, "an answer beside verify")
        daemon.stop(20)
        equal(asking.wait(20), 1, "exit status of verify")
        asking.kill()


def test_verify_while_events_flow():
    with Place() as place:
        daemon = place.daemon(place.cloud())
        going = threading.Event()
        sent = []

        def send():
            while not going.is_set():
                daemon.post_ok(events(100 * len(sent), 100))
                sent.append(100)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(8):
                code, text = daemon.cli("verify")
                equal(code, 0, text)
        finally:
            going.set()
            sender.join()
        daemon.settle()
        equal(daemon.status()["durable"], sum(sent), "durable")


def object_path(cloud, name):
    return f"/storage/v1/b/{cloud.bucket}/o/{urllib.parse.quote(name, safe='')}"


def upload(cloud, name, data, metadata):
    boundary = "b0undary"
    body = (f"--{boundary}\r\nContent-Type: application/json\r\n\r\n"
            f"{json.dumps({'name': name, 'metadata': metadata})}\r\n--{boundary}\r\n"
            f"Content-Type: application/x-ndjson\r\n\r\n").encode()
    body += data + f"\r\n--{boundary}--\r\n".encode()
    with cloud.client() as client:
        client.connection.request("POST", f"/upload/storage/v1/b/{cloud.bucket}/o?uploadType=multipart", body,
                                  {"Content-Type": f"multipart/related; boundary={boundary}"})
        answer = client.connection.getresponse()
        equal(answer.status, 200, f"upload: {answer.read()[:300]}")


def differences(daemon, count):
    code, text = daemon.cli("--json", "verify")
    equal(code, 1, f"exit status of verify: {text[:600]}")
    answer = json.loads(text)
    equal(len(answer["differences"]), count, f"differences: {answer['differences']}")
    expect(not answer["clean"], "clean")
    return answer["differences"]


def test_verify_finds():
    """An object removed, one replaced, one added, rows added, rows removed."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud)
        daemon.post_ok(events(0, 120))
        daemon.settle()
        listed = cloud.listing("output/")
        gone, changed = listed[0], listed[1]
        cloud.call("DELETE", object_path(cloud, gone["name"]))
        found = differences(daemon, 1)[0]
        equal((found["kind"], found["name"], found["found"]), ("missing_object", gone["name"], 0), "missing")
        code, text = daemon.cli("verify")
        equal(code, 1, "exit status")
        has(text, f"difference: missing_object {gone['name']}", "1 difference\n")

        cloud.call("DELETE", object_path(cloud, changed["name"]))
        upload(cloud, changed["name"], b"{}\n", changed["metadata"])
        kinds = {d["kind"]: d for d in differences(daemon, 2)}
        equal(kinds["changed_object"]["name"], changed["name"], "changed")
        equal(kinds["changed_object"]["ledger"], int(changed["size"]), "size by the ledger")
        equal(kinds["changed_object"]["found"], 3, "size in the bucket")

        folder, name = listed[2]["name"].rsplit("/", 1)
        alien = folder + "/" + name.rsplit("_", 1)[0] + "_7fffffff.json"
        upload(cloud, alien, b"{}\n", {**listed[2]["metadata"], "penstock-plan": "2147483647"})
        kinds = {d["kind"]: d for d in differences(daemon, 3)}
        equal(kinds["unknown_object"]["name"], alien, "unknown")

        other = folder + "/somebody-elses.json"
        upload(cloud, other, b"{}\n", {})
        differences(daemon, 3)

        job = {"jobReference": {"projectId": PROJECT, "jobId": "by_hand"},
               "configuration": {"load": {
                   "sourceUris": [f"gs://{cloud.bucket}/{listed[2]['name']}"],
                   "sourceFormat": "NEWLINE_DELIMITED_JSON", "writeDisposition": "WRITE_APPEND",
                   "destinationTable": {"projectId": PROJECT, "datasetId": DATASET, "tableId": "inventory"}}}}
        cloud.call("POST", f"/bigquery/v2/projects/{PROJECT}/jobs", job)
        until(lambda: len(cloud.rows("inventory")) > 120, 20, "the rows loaded by hand")
        kinds = {d["kind"]: d for d in differences(daemon, 4)}
        equal((kinds["rows"]["name"], kinds["rows"]["ledger"]), ("inventory", 120), "rows")
        expect(kinds["rows"]["found"] > 120, "rows found", kinds["rows"])

        cloud.call("DELETE", f"/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables/inventory")
        kinds = {d["kind"]: d for d in differences(daemon, 4)}
        equal(kinds["rows"]["found"], 0, "rows of a removed table")


def test_fewer_workers():
    """Journals left over from more workers are drained."""
    with Place() as place:
        cloud = place.cloud()
        daemon = place.daemon(cloud, workers=3, shutdown={"grace": "0s"})
        cloud.kill()
        for i in range(60):
            daemon.post_ok(events(10 * i, 10))
        daemon.stop(30)
        cloud.start()
        daemon.config["workers"] = 1
        daemon.start()
        daemon.settle()
        equal(len({row["inventory_id"] for row in cloud.rows("inventory")}), 600, "ids")
        equal(len(cloud.rows("inventory")), 600, "rows")


TESTS = [test_usage, test_bad_configuration, test_check, test_client_without_daemon, test_start_refused,
         test_start_without_room,
         test_admin, test_commands, test_protocol, test_drain, test_stop_and_restart, test_second_signal,
         test_stop_during_verify, test_verify_while_events_flow, test_verify_finds, test_fewer_workers]

if __name__ == "__main__":
    sys.exit(run_tests(TESTS))
