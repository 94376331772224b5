#!/usr/bin/env python3
"""Goal: the test runner counts right, so that nothing broken passes.

Method: run it over a private folder of dummy tests that fail, crash, hang, say nothing or leave
processes
behind, and compare its last line and status.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNNER = Path(__file__).resolve().parent.parent / "run.py"

OK_UNIT = """#!/bin/sh
echo '[==========] Running 2 test(s).'
echo '[ RUN      ] one'
echo 'noise [       OK ] one'
echo '[ RUN      ] two'
echo '[       OK ] two'
echo '[  PASSED  ] 2 test(s).'
"""
BAD_UNIT = """#!/bin/sh
echo '[ RUN      ] one'
echo '[       OK ] one'
echo '[ RUN      ] two'
echo '[  FAILED  ] two' >&2
echo '[ RUN      ] three'
echo '[  SKIPPED ] three'
echo '[  PASSED  ] 1 test(s).'
echo '[  FAILED  ] 1 test(s), listed below:' >&2
echo '[  FAILED  ] two' >&2
exit 1
"""
CRASH_UNIT = """#!/bin/sh
echo '[ RUN      ] one'
echo '[       OK ] one'
echo '[ RUN      ] two'
kill -SEGV $$
"""
SETUP_UNIT = """#!/bin/sh
echo '[ RUN      ] one'
echo '[       OK ] one'
echo '[  FAILED  ] GROUP TEARDOWN' >&2
exit 1
"""
OK_FUZZ = "#!/bin/sh\necho 'Done 5 runs in 1 second(s)'\n"

# name: (files, arguments, last line, status)
CASES = {
    "passing_script": ({"integration/it_a.sh": "echo ok one; echo ok two"}, ["integration"],
                       "2 passed, 0 failed", 0),
    "passing_python": ({"fault/fault_a.py": "print('ok one')"}, ["fault"], "1 passed, 0 failed", 0),
    "failing_script": ({"integration/it_a.sh": "echo ok one; echo FAIL two: why; exit 1"}, ["integration"],
                       "1 passed, 1 failed", 1),
    "fail_line_with_exit_0": ({"integration/it_a.sh": "echo FAIL one"}, ["integration"],
                              "0 passed, 1 failed", 1),
    "exit_1_without_fail_line": ({"integration/it_a.sh": "echo ok one; exit 1"}, ["integration"],
                                 "1 passed, 1 failed", 1),
    "silent_script": ({"integration/it_a.sh": "true"}, ["integration"], "0 passed, 1 failed", 1),
    "crashing_python": ({"integration/it_a.py": "print('ok one')\nraise SystemError"}, ["integration"],
                        "1 passed, 1 failed", 1),
    "killed_after_fail": ({"integration/it_a.sh": "echo FAIL one; kill -SEGV $$"}, ["integration"],
                          "0 passed, 2 failed", 1),
    "skip_line": ({"integration/it_a.sh": "echo ok one; echo skip two no network"}, ["integration"],
                  "1 passed, 0 failed, 1 skipped", 0),
    "exit_77": ({"integration/it_a.sh": "echo no such device; exit 77",
                 "integration/it_b.sh": "echo ok one"}, ["integration"], "1 passed, 0 failed, 1 skipped", 0),
    "only_skips": ({"integration/it_a.sh": "exit 77"}, ["integration"], "0 passed, 0 failed, 1 skipped", 1),
    "nothing_ran": ({}, [], "0 passed, 0 failed", 1),
    "hanging_script": ({"integration/it_a.sh": "echo ok one; sleep 100"}, ["integration"],
                       "1 passed, 1 failed", 1),
    "unit_passes": ({"unit/test_a.c": "", "build/test/test_a": OK_UNIT}, ["unit"], "2 passed, 0 failed", 0),
    "unit_fails": ({"unit/test_a.c": "", "build/test/test_a": BAD_UNIT}, ["unit"],
                   "1 passed, 1 failed, 1 skipped", 1),
    "unit_crashes": ({"unit/test_a.c": "", "build/test/test_a": CRASH_UNIT}, ["unit"],
                     "1 passed, 1 failed", 1),
    "unit_group_fails": ({"unit/test_a.c": "", "build/test/test_a": SETUP_UNIT}, ["unit"],
                         "1 passed, 1 failed", 1),
    "unit_silent": ({"unit/test_a.c": "", "build/test/test_a": "#!/bin/sh\n"}, ["unit"],
                    "0 passed, 1 failed", 1),
    "unit_not_built": ({"unit/test_a.c": ""}, ["unit"], "0 passed, 1 failed", 1),
    "unit_stale_is_ignored": ({"unit/test_a.c": "", "build/test/test_a": OK_UNIT,
                               "build/test/test_gone": BAD_UNIT}, ["unit"], "2 passed, 0 failed", 0),
    "fuzz_passes": ({"fuzz/fuzz_a.c": "", "build/fuzz/fuzz_a": OK_FUZZ}, ["fuzz"], "1 passed, 0 failed", 0),
    "fuzz_finds": ({"fuzz/fuzz_a.c": "", "build/fuzz/fuzz_a": "#!/bin/sh\nexit 77\n"}, ["fuzz"],
                   "0 passed, 1 failed", 1),
    "canary_found": ({"fuzz/fuzz_canary.c": "", "build/fuzz/fuzz_canary":
                      "#!/bin/sh\necho ERROR: AddressSanitizer\nexit 1\n"}, ["fuzz"],
                     "1 passed, 0 failed", 0),
    "canary_missed": ({"fuzz/fuzz_canary.c": "", "build/fuzz/fuzz_canary": OK_FUZZ}, ["fuzz"],
                      "0 passed, 1 failed", 1),
    "all_suites": ({"unit/test_a.c": "", "build/test/test_a": OK_UNIT, "integration/it_a.sh": "echo ok a",
                    "fault/fault_a.py": "print('ok a')", "fuzz/fuzz_a.c": "", "build/fuzz/fuzz_a": OK_FUZZ},
                   [], "5 passed, 0 failed", 0),
}


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        path.chmod(0o755)


def run(root, args):
    env = dict(os.environ, PENSTOCK_TESTS_DIR=str(root), BUILD=str(root / "build"), TEST_TIMEOUT="2",
               FUZZ_SECONDS="1")
    return subprocess.run([sys.executable, str(RUNNER), *args], env=env, capture_output=True, text=True,
                          timeout=60)


def case_error(files, args, last, status):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root, files)
        done = run(root, args)
    lines = done.stdout.splitlines()
    if not lines or lines[-1] != last or done.returncode != status:
        return f"status {done.returncode}, last line {lines[-1:]}, expected {status}, {last!r}"
    return None


def orphan_error():
    """A process that a test leaves behind is gone when the runner ends."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root, {"integration/it_a.sh": f"sleep 300 & echo $! > {root}/pid; echo ok one"})
        done = run(root, ["integration"])
        pid = int((root / "pid").read_text())
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return None if done.returncode == 0 else f"status {done.returncode}"
        if state == "Z":
            return None
        time.sleep(0.1)
    return f"process {pid} still runs"


def main():
    failed = 0
    checks = [(name, lambda c=case: case_error(*c)) for name, case in CASES.items()]
    for name, check in checks + [("orphans_are_killed", orphan_error)]:
        error = check()
        failed += error is not None
        print(f"ok {name}" if error is None else f"FAIL {name}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
