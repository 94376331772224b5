"""What all benchmarks share: settings, the one form of a result, CPU time of threads."""

import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICKS = os.sysconf("SC_CLK_TCK")
SYS_SCHED_SETATTR = 314  # x86-64
SLICE_NS = 100_000_000


class BenchError(Exception):
    """A benchmark cannot go on."""


def log(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def setting(name, default):
    return int(os.environ.get(name) or default)


def program(name, folder="bin"):
    path = os.path.join(ROOT, os.environ.get("BUILD") or "build", folder, name)
    if not os.access(path, os.X_OK):
        raise BenchError(f"{path} is not built")
    return path


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def workspace(parent=None):
    """A temporary folder. What a benchmark that was killed has left behind goes first: its name has the owner's pid."""
    parent = parent or tempfile.gettempdir()
    for name in os.listdir(parent):
        owner = re.fullmatch(r"penstock-bench-(\d+)-.*", name)
        if owner and not alive(int(owner.group(1))):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"penstock-bench-{os.getpid()}-", dir=parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def first_line(argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0]


def cpu_name():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "unknown"


class Report:
    """Writes results, one JSON object a line, always with the same keys."""

    def __init__(self):
        self.commit = first_line([program("penstockd"), "--version"]).split()[-1]
        tree = first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"])
        if tree != self.commit:
            log(f"the programs say that they are of {self.commit}, the tree is at {tree}: make clean all")
        self.cpu = cpu_name()
        self.compiler = first_line([*shlex.split(os.environ.get("CC") or "gcc"), "--version"])

    def line(self, bench, case, subject, metric, value, unit, runs, ratio_to, other, config,
             compiler=None, **more):
        """other is the value of the subject ratio_to; without one there is no ratio. compiler: of a subject that
        was not built by ours. more: keys that only this metric has."""
        ratio = value / other if other else None
        print(json.dumps({
            "bench": bench, "case": case, "subject": subject, "metric": metric,
            "value": float(f"{value:.5g}"), "unit": unit, "runs": runs,
            "ratio_to": ratio_to if ratio is not None else None,
            "ratio": float(f"{ratio:.4g}") if ratio is not None else None,
            "commit": self.commit, "cpu": self.cpu, "compiler": compiler or self.compiler, "config": config,
            **more,
        }), flush=True)


def first(tid):
    """Lets a thread go before others on its core when the machine has other work: BENCH_FIRST is how far. 0: this one.
    So does its session, which is what counts where the scheduler groups by sessions."""
    nice = -setting("BENCH_FIRST", 0)
    if not nice:
        return
    os.setpriority(os.PRIO_PROCESS, tid, nice)
    with contextlib.suppress(OSError), open(f"/proc/{tid or 'self'}/autogroup", "w", encoding="ascii") as file:
        file.write(str(nice))


def long_slice():
    """For this thread: a time slice of 100 ms. Threads that become ready have a shorter one and go before it; it would
    else keep them waiting until the next tick, up to 4 ms. Kernels before 6.12 know no slices."""
    attributes = struct.pack("IIQiIQQQII", 56, 0, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, SLICE_NS, 0, 0, 0, 0)
    ctypes.CDLL(None).syscall(SYS_SCHED_SETATTR, 0, attributes, 0)


def tasks(pid):
    """Thread ids of a process, its first one first; kernel workers of io_uring are among them."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def task_cpu(pid, tid):
    """User and system seconds of one thread: to the nanosecond where the kernel tells."""
    try:
        with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        pass
    with open(f"/proc/{pid}/task/{tid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def process_cpu(pid):
    """User and system seconds of all threads, ended ones included."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
