"""The processes of the demo: ports, start, stop, and asking them. Used by demo_run.py.

Children get a session of their own, so that Ctrl-C reaches the demo alone, which then stops them in order.
Unless they are to be kept, the kernel kills them when the demo dies in a way that it cannot handle.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

PR_SET_PDEATHSIG = 1
LOG_LINES_SHOWN = 20


class DemoError(Exception):
    """Ends the demo with a message for its user."""


def check_port(name, port, variable):
    """A port that something listens on is refused, with what to do about it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            other = port + 10000 if port < 55000 else port - 10000
            what = "is in use" if error.errno == errno.EADDRINUSE else "is not for this user"
            raise DemoError(
                f"port {port} for {name} {what}.\n"
                f"  Another one:              make demo {variable}={other}\n"
                f"  What listens there:       ss -ltnp 'sport = :{port}'\n"
                f"  A demo that was kept up:  tools/demo.sh stop") from None


def die_with_parent():
    """In the child: SIGKILL when the demo is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One program of the demo that runs until it is stopped."""

    def __init__(self, name, argv, log_path, keep):
        self.name = name
        self.log_path = log_path
        with open(log_path, "wb") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=subprocess.STDOUT, start_new_session=True,
                                          preexec_fn=None if keep else die_with_parent)

    def wait_ready(self, url, seconds=30):
        """Returns when url answers 200; a program that ended or stays silent is an error with its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child.poll() is not None:
                raise DemoError(f"{self.name} ended with status {self.child.returncode}.\n{self.log_tail()}")
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise DemoError(f"{self.name} was not ready within {seconds} s.\n{self.log_tail()}")

    def log_tail(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"  The end of {self.log_path}:"] + [f"  | {line}" for line in lines])

    def stop(self, patience_s):
        """SIGTERM, again after patience_s (the daemon then stops waiting for delivery), at last SIGKILL."""
        for sign, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self.child.poll() is None:
                self.child.send_signal(sign)
            try:
                return self.child.wait(wait_s)
            except subprocess.TimeoutExpired:
                continue
        return self.child.poll()


def stop_kept(pid_file, patience_s=40):
    """Ends the programs of a demo that was kept up, in order; returns how many there were."""
    stopped = 0
    for name, pid in kept_alive(pid_file):
        os.kill(pid, signal.SIGTERM)
        print(f"demo: stopping {name} (process {pid})")
        end = time.monotonic() + patience_s
        while is_program(pid, name) and time.monotonic() < end:
            time.sleep(0.05)
        if is_program(pid, name):
            os.kill(pid, signal.SIGKILL)
        stopped += 1
    if os.path.exists(pid_file):
        os.unlink(pid_file)
    return stopped


def kept_alive(pid_file):
    """(name, process id) of the recorded programs that still run."""
    if not os.path.exists(pid_file):
        return []
    with open(pid_file, encoding="ascii") as file:
        recorded = [line.split() for line in file]
    return [(name, int(pid)) for name, pid in recorded if is_program(int(pid), name)]


def is_program(pid, name):
    """Whether process pid runs the program of that name; a number may have been given out again."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            program = file.read().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return False
    return os.path.basename(program) == name


def capture(argv, ok=(0,)):
    """Runs a program to its end: (exit status, standard output). Any other status is an error."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode not in ok:
        shown = done.stderr.strip() or done.stdout.strip()
        raise DemoError(f"{' '.join(argv)}\n  ended with status {done.returncode}: {shown}")
    return done.returncode, done.stdout


class Cloud:
    """The local cloud's Storage API, read only."""

    def __init__(self, endpoint, bucket):
        self.base = f"{endpoint}/storage/v1/b/{bucket}/o"

    def list(self):
        """All objects, page by page."""
        objects, token = [], ""
        while True:
            url = f"{self.base}?maxResults=1000" + (f"&pageToken={token}" if token else "")
            with urllib.request.urlopen(url, timeout=60) as answer:
                page = json.load(answer)
            objects += page.get("items", [])
            token = page.get("nextPageToken")
            if not token:
                return objects


class Progress:
    """One line that is written over on a terminal, and a line a second elsewhere."""

    def __init__(self):
        self.tty = sys.stdout.isatty()
        self.last = 0.0
        self.open = False

    def show(self, text, force=False):
        now = time.monotonic()
        if not force and now - self.last < (0.1 if self.tty else 1.0):
            return
        self.last = now
        if self.tty:
            sys.stdout.write(f"\r\033[K{text}")
            sys.stdout.flush()
            self.open = True
        else:
            print(text)

    def done(self):
        if self.open:
            print()
        self.open = False
