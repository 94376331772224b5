#!/usr/bin/env python3
"""Goal: Google's unmodified Node clients work with localcloud. Method: start it on a free port and
run the
scripts of tests/clients, once with the client's endpoint option and once with the emulator
variable. The
clients are installed by `npm ci` at the first run. Prints "ok", "FAIL" or "skip"; exits 77 when
skipped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLIENTS = os.path.join(ROOT, "tests", "clients")
PROGRAM = os.environ.get(
    "LOCALCLOUD", os.path.join(ROOT, os.environ.get("BUILD", "build"), "bin", "localcloud")
)
NODE_MAJOR_MIN = 18
INSTALL_S, RUN_S = 180, 120
NO_REGISTRY = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "E403")


def skip(why):
    print("skip google_clients " + why)
    sys.exit(77)


def fail(name, detail):
    print(f"FAIL {name}  {detail[-1500:]}")
    sys.exit(1)


def check_node():
    if not shutil.which("node") or not shutil.which("npm"):
        skip("no npm: install nodejs and npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        skip(f"no npm: node {version} is older than {NODE_MAJOR_MIN}")


def install():
    """The clients of package-lock.json; node_modules/.package-lock.json is npm's record of a full install."""
    done = os.path.join(CLIENTS, "node_modules", ".package-lock.json")
    lock = os.path.join(CLIENTS, "package-lock.json")
    if os.path.exists(done) and os.path.getmtime(done) >= os.path.getmtime(lock):
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        out = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        skip("no npm: the registry does not answer")
    if out.returncode and any(code in out.stderr for code in NO_REGISTRY):
        skip("no npm: the registry cannot be reached")
    if out.returncode:
        fail("google_clients_install", out.stdout + out.stderr)
    os.utime(done)


def run(script, address, **more):
    """Passes the script's lines on. Returns whether it ended well."""
    env = dict(os.environ, LOCALCLOUD=address, METADATA_SERVER_DETECTION="none", **more)
    env.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    try:
        out = subprocess.run(
            ["node", os.path.join(CLIENTS, script)], env=env, capture_output=True, text=True, timeout=RUN_S
        )
    except subprocess.TimeoutExpired as e:
        print((e.stdout or b"").decode(errors="replace"), end="")
        print(f"FAIL google_clients_{script}  not over after {RUN_S} s")
        return False
    print(out.stdout, end="", flush=True)
    said_so = "FAIL " in out.stdout
    if (out.returncode or "ok " not in out.stdout) and not said_so:
        print(f"FAIL google_clients_{script}  exit {out.returncode}: {out.stderr[-800:]!r}")
    return out.returncode == 0 and not said_so


def main():
    check_node()
    install()
    data = tempfile.mkdtemp(prefix="it-google-clients-")
    server = subprocess.Popen(
        [PROGRAM, "--data", data, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = "http://127.0.0.1:" + server.stdout.readline().split("port ")[1].split(",")[0]
        results = [
            run("storage.js", address),
            run("storage.js", address, STORAGE_EMULATOR_HOST=address),
            run("bigquery.js", address),
            run("bigquery.js", address, BIGQUERY_EMULATOR_HOST=address),
        ]
        server.send_signal(signal.SIGTERM)
        clean = server.wait(20) == 0
        print(("ok" if clean else "FAIL") + " google_clients_clean_end")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        shutil.rmtree(data, ignore_errors=True)
    sys.exit(0 if clean and all(results) else 1)


if __name__ == "__main__":
    main()
