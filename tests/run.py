#!/usr/bin/env python3
"""Runs the test suites and counts: run.py [unit|integration|fault|fuzz]...; tests/README.md says
how.

Nothing that goes wrong may count as passed: a program that crashes, prints no result, outlives its
time
or was never built is one failure. Every program runs in its own process group, which is killed
afterwards. TEST_JOBS programs run at once (one more than there are cores: most of them wait).
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(os.environ.get("PENSTOCK_TESTS_DIR", ROOT / "tests")).resolve()
BUILD = Path(os.environ.get("BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else ROOT / BUILD
LOGS = BUILD / "test-logs"
TIMEOUT_S = float(os.environ.get("TEST_TIMEOUT", "600"))
JOBS = int(os.environ.get("TEST_JOBS", "0")) or (os.cpu_count() or 1) + 1
FUZZ_S = int(os.environ.get("FUZZ_SECONDS", "5"))
TAIL_LINES = 40
SKIPPED = 77

CMOCKA = re.compile(r"\[ +(RUN|OK|FAILED|SKIPPED|ERROR) +\] (\S.*)$")
SCRIPT = re.compile(r"^(ok|FAIL|skip) (\S+)(.*)$")


class Result:
    """What one program adds to the totals."""

    def __init__(self, passed=0, failed=0, skipped=0, notes=()):
        self.passed = passed
        self.failed = failed
        self.skipped = skipped
        self.notes = list(notes)

    def fail(self, note):
        self.failed += 1
        self.notes.append(note)


def kill_group(pgid):
    try:
        os.killpg(pgid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def execute(argv, log_path, timeout_s, extra_env):
    """Runs argv with both outputs in log_path. Returns (exit status or None when it timed out, text)."""
    env = dict(os.environ, BUILD=str(BUILD), PYTHONUNBUFFERED="1", **extra_env)
    with open(log_path, "wb") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                 cwd=ROOT, env=env, start_new_session=True)
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            kill_group(child.pid)
            child.wait()
    return status, log_path.read_text(errors="replace")


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def describe(status):
    if status is None:
        return "timed out"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def finish(result, status, text):
    """The rules that hold for every kind of program, after its own lines are counted."""
    if status == SKIPPED and result.failed == 0:
        if result.skipped == 0:
            result.skipped = 1
            result.notes.append(f"skipped: {last_line(text)}")
        return result
    if status is None or (status != 0 and (result.failed == 0 or status < 0)):
        result.fail(describe(status))
    elif result.passed + result.failed + result.skipped == 0:
        result.fail("reported no test")
    return result


def count_cmocka(status, text):
    """Each RUN line is one test; its result is the next line that names it."""
    result = Result()
    running = None
    for line in text.splitlines():
        found = CMOCKA.search(line)
        if found is None:
            continue
        word, name = found.group(1), found.group(2).strip()
        if word == "RUN":
            if running is not None:
                result.fail(f"{running}: no result")
            running = name
        elif name == running or "GROUP" in name:
            if word == "OK":
                result.passed += 1
            elif word == "SKIPPED":
                result.skipped += 1
                result.notes.append(f"skipped: {name}")
            else:
                result.fail(name)
            running = None if name == running else running
    if running is not None:
        result.fail(f"{running}: {describe(status)}")
        if status is not None and status != 0:
            return result  # the crash is counted, once
    return finish(result, status, text)


def count_script(status, text):
    """Lines "ok NAME", "FAIL NAME", "skip NAME reason"."""
    result = Result()
    for line in text.splitlines():
        found = SCRIPT.match(line)
        if found is None:
            continue
        word, name, rest = found.groups()
        if word == "ok":
            result.passed += 1
        elif word == "FAIL":
            result.fail(name + rest)
        else:
            result.skipped += 1
            result.notes.append(f"skipped: {name}{rest}")
    return finish(result, status, text)


def count_fuzz(status, text):
    """One test a target: it ran to its end and found nothing."""
    result = Result()
    if status == 0 and re.search(r"^(Done \d+ runs|stat::number_of_executed_units)", text, re.M):
        result.passed = 1
    elif status == 0:
        result.fail("reported no runs")
    else:
        result.fail(describe(status))
    return result


def count_canary(status, text):
    """The canary holds a planted fault: finding nothing means that the fuzzing finds nothing."""
    if status not in (0, None) and "AddressSanitizer" in text:
        return Result(passed=1)
    return Result(failed=1, notes=["the planted fault was not found"])


def unit_jobs():
    for source in sorted((TESTS / "unit").glob("test_*.c")):
        yield source.stem, [str(BUILD / "test" / source.stem)], count_cmocka, TIMEOUT_S


def script_jobs(suite, patterns):
    scripts = sorted(p for pattern in patterns for p in (TESTS / suite).glob(pattern))
    for script in scripts:
        runner = "python3" if script.suffix == ".py" else "sh"
        yield script.name, [runner, str(script)], count_script, TIMEOUT_S


def fuzz_corpus(name):
    """tests/fuzz/corpus/<name>, or the folder of the name's first word: http for http_parser."""
    for folder in (name, name.split("_")[0]):
        path = TESTS / "fuzz" / "corpus" / folder
        if path.is_dir():
            return [str(path)]
    return []


def fuzz_jobs():
    artifacts = BUILD / "fuzz-artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    for source in sorted((TESTS / "fuzz").glob("fuzz_*.c")):
        name = source.stem[len("fuzz_"):]
        found = BUILD / "fuzz-corpus" / name
        found.mkdir(parents=True, exist_ok=True)
        argv = [str(BUILD / "fuzz" / source.stem), f"-max_total_time={FUZZ_S}", "-timeout=20",
                "-rss_limit_mb=4096", "-print_final_stats=1", f"-artifact_prefix={artifacts}/{name}-"]
        if FUZZ_S == 0:
            argv.append("-runs=0")  # only the corpus
        dictionary = TESTS / "fuzz" / f"{name}.dict"
        if dictionary.is_file():
            argv.append(f"-dict={dictionary}")
        # New finds go to the first folder; the seeds under tests/ stay as they are.
        argv += [str(found)] + fuzz_corpus(name)
        yield source.stem, argv, count_canary if name == "canary" else count_fuzz, FUZZ_S + TIMEOUT_S


SUITES = {
    "unit": unit_jobs,
    "integration": lambda: script_jobs("integration", ("it_*.py", "it_*.sh")),
    "fault": lambda: script_jobs("fault", ("fault_*.py",)),
    "fuzz": fuzz_jobs,
}


REPORTING = threading.Lock()


def run_job(suite, name, argv, count, timeout_s):
    log = LOGS / f"{suite}-{name}.log"
    started = time.monotonic()
    if not Path(argv[0]).is_absolute() or os.access(argv[0], os.X_OK):
        status, text = execute(argv, log, timeout_s, {"CMOCKA_MESSAGE_OUTPUT": "STDOUT"})
        result = count(status, text)
    else:
        log.write_text(f"{argv[0]}: not built\n")
        result = Result(failed=1, notes=["not built"])
    with REPORTING:
        report(suite, name, result, time.monotonic() - started, log)
    return result


def report(suite, name, result, seconds, log):
    word = "FAIL" if result.failed else "ok  " if result.passed else "skip"
    counts = f"{result.passed} passed"
    if result.failed:
        counts += f", {result.failed} failed"
    if result.skipped:
        counts += f", {result.skipped} skipped"
    print(f"  {word} {suite + '/' + name:<44} {seconds:7.1f} s  {counts}", flush=True)
    for note in result.notes:
        print(f"         {note}", flush=True)
    if result.failed:
        lines = log.read_text(errors="replace").splitlines()
        print(f"       --- the end of {log}:")
        for line in lines[-TAIL_LINES:]:
            print(f"       | {line}")
        print("       ---", flush=True)


def main():
    suites = sys.argv[1:] or list(SUITES)
    unknown = [s for s in suites if s not in SUITES]
    if unknown:
        print(f"run.py: no suite {unknown[0]!r}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(JOBS) as pool:
        running = [pool.submit(run_job, suite, *job) for suite in suites for job in SUITES[suite]()]
        results = [job.result() for job in running]
    passed = sum(r.passed for r in results)
    failed = sum(r.failed for r in results)
    skipped = sum(r.skipped for r in results)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
