#!/usr/bin/env python3
"""Goal: tools/demo.sh tells the truth, leaves nothing running, and says what is wrong when
something is.

Method: runs a copy of it with this tree's programs, on free ports, with fewer events: to the end
(twice, the
second over the data of the first), kept up and stopped, with a used port, interrupted at several
moments,
killed, and with an object that somebody deletes before verify.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
EVENTS = 20000


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Bed:
    """A copy of what the demo needs, and its environment."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "tools").mkdir()
        for source in (ROOT / "tools").glob("demo*"):
            if source.is_file():
                shutil.copy2(source, self.folder / "tools")
        shutil.copytree(ROOT / "config", self.folder / "config")
        self.http, self.admin, self.cloud, self.tcp, self.tcp_acked, self.udp = free_ports(6)
        self.env = {key: value for key, value in os.environ.items() if key != "KEEP"}
        self.env.update(BUILD=str(BUILD), DEMO_HTTP_PORT=str(self.http), DEMO_ADMIN_PORT=str(self.admin),
                        DEMO_CLOUD_PORT=str(self.cloud), DEMO_TCP_PORT=str(self.tcp),
                        DEMO_ACKED_PORT=str(self.tcp_acked), DEMO_UDP_PORT=str(self.udp),
                        DEMO_EVENTS=str(EVENTS), DEMO_DIR=".demo")

    def run(self, *args, **env):
        done = subprocess.run(["tools/demo.sh", *args], cwd=self.folder, env={**self.env, **env}, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False)
        return done.returncode, done.stdout + done.stderr

    def processes(self):
        """Programs of this bed that run: its ports are in their arguments."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if f"127.0.0.1:{self.cloud}" in line or f"127.0.0.1:{self.http}" in line:
                    found.append(line)
        return found

    def nothing_left(self):
        end = time.monotonic() + 3
        while self.processes() and time.monotonic() < end:
            time.sleep(0.05)
        assert not self.processes(), self.processes()


def number(text, label):
    found = re.search(rf"^ +{re.escape(label)} +([\d,]+) +(\S.*)$", text, re.M)
    assert found, f"no line {label!r} in\n{text}"
    assert found.group(2) == "ok", found.group(0)
    return int(found.group(1).replace(",", ""))


def test_whole_run(bed):
    code, text = bed.run()
    assert code == 0, text
    received = number(text, "events received")
    dead = number(text, "dead-lettered")
    assert received == EVENTS + 4 and number(text, "durable") == received
    assert dead > 1
    assert number(text, "delivered to Cloud Storage: events") == received - dead
    assert number(text, "delivered to Cloud Storage: dead letters") == dead
    assert number(text, "delivered to BigQuery: rows") == received - dead
    assert number(text, "rows in all tables") == received - dead
    assert number(text, "events in all objects") == received
    assert '{"accepted":3,"dead_lettered":1,"errors":[{"index":3,"reason":"bad_json"}]}' in text
    for kind in ("order", "inventory", "user_activity"):
        assert re.search(rf"output/{kind}/\d{{4}}/\d\d/\d\d/\d\d/\d\d/{kind}_\d{{12}}_\S+\.json", text), kind
    assert re.search(r"^    received .* durable .* stored .* loaded ", text, re.M), "no progress"
    assert re.search(r"^    clean$", text, re.M), "verify"
    assert text.count("SELECT ") == 3 and "total_value" in text and "net_change" in text
    assert re.search(r"^    view_product +\d+$", text, re.M), "no answer to the third query"
    bed.nothing_left()


def test_second_run(bed):
    assert (bed.folder / ".demo").is_dir()
    code, text = bed.run()
    assert code == 0, text
    assert number(text, "events received") == EVENTS + 4
    bed.nothing_left()


def test_keep_and_stop(bed):
    code, text = bed.run(KEEP="1")
    assert code == 0 and "tools/demo.sh stop" in text, text
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bed.admin}/readyz", timeout=10) as answer:
            assert answer.status == 200
        code, text = bed.run()
        assert code == 1 and "tools/demo.sh stop" in text, text
    finally:
        code, text = bed.run("stop")
    assert code == 0 and "penstockd" in text and "localcloud" in text, text
    bed.nothing_left()
    code, text = bed.run("stop")
    assert code == 0 and "nothing" in text, text


def test_used_ports(bed):
    for name, port in (("DEMO_HTTP_PORT", bed.http), ("DEMO_ADMIN_PORT", bed.admin),
                       ("DEMO_CLOUD_PORT", bed.cloud)):
        with socket.socket() as used:
            used.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            used.bind(("127.0.0.1", port))
            used.listen()
            code, text = bed.run()
        assert code == 1 and f"port {port} " in text and f"make demo {name}=" in text, text
    bed.nothing_left()


def test_wrong_usage(bed):
    assert bed.run("nonsense")[0] == 2
    code, text = bed.run(DEMO_EVENTS="many")
    assert code == 1 and "DEMO_EVENTS" in text, text
    (bed.folder / "other").mkdir()
    (bed.folder / "other" / "file").write_text("mine")
    code, text = bed.run(DEMO_DIR="other")
    assert code == 1 and (bed.folder / "other" / "file").exists(), text


def test_interrupts(bed):
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for delay in (0.6, 1.5):
            with subprocess.Popen(["tools/demo.sh"], cwd=bed.folder,
                                  env={**bed.env, "DEMO_EVENTS": "2000000"}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
                time.sleep(delay)
                child.send_signal(sign)
                _, err = child.communicate(timeout=60)
            assert child.returncode == 130, f"{sign.name} after {delay} s: {child.returncode} {err}"
            bed.nothing_left()


def test_killed(bed):
    with subprocess.Popen(["tools/demo.sh"], cwd=bed.folder, env={**bed.env, "DEMO_EVENTS": "2000000"},
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as child:
        time.sleep(1.5)
        child.kill()
    bed.nothing_left()


def test_sees_a_lost_object(bed):
    """A demo whose cloud loses an object must fail: the demo's own checks are checked."""
    run = bed.folder / "tools" / "demo_run.py"
    text = run.read_text()
    call = "            self.show_verify()\n"
    assert call in text
    run.write_text(text.replace(call, "            lose_one(self)\n" + call).replace("class Demo:", '''
def lose_one(demo):
    import urllib.parse, urllib.request
    name = next(o["name"] for o in Cloud(demo.cloud, BUCKET).list() if o["name"].startswith("output/"))
    url = f"{demo.cloud}/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"))


class Demo:''', 1))
    try:
        code, out = bed.run()
    finally:
        run.write_text(text)
    assert code == 1 and "Demo FAILED" in out and "missing_object" in out, out
    bed.nothing_left()


def main():
    if not (BUILD / "bin" / "penstockd").exists():
        print("not built")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        bed = Bed(folder)
        for test in (test_whole_run, test_second_run, test_keep_and_stop, test_used_ports, test_wrong_usage,
                     test_interrupts, test_killed, test_sees_a_lost_object):
            name = test.__name__.removeprefix("test_")
            try:
                test(bed)
                print(f"ok {name}", flush=True)
            except Exception as error:  # pylint: disable=broad-except
                failed += 1
                print(f"FAIL {name} {json.dumps(str(error)[:3000])}", flush=True)
                bed.run("stop")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
