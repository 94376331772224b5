#!/usr/bin/env python3
"""Seeded schedules of a whole Penstock over a simulated disk, clock and cloud (sim.h): PENSTOCK_SCHEDULES of them
(10,000 in `make test-fault`, 2,000 in `make test`), from PENSTOCK_SEED (or 1) on; then a few schedules again and again,
each operation of the disk failing in turn; then the canaries, each with one fault built in, which must be caught.

A schedule that fails is shown as short as it still fails, event by event. Replay one:

    build/sim/sim replay SEED
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
SIM = (BUILD if BUILD.is_absolute() else ROOT / BUILD) / "sim"
SCHEDULES = int(os.environ.get("PENSTOCK_SCHEDULES", "2000"))
SEED = int(os.environ.get("PENSTOCK_SEED", "1"), 0)
EVERY_NTH_SEEDS = 1 + SCHEDULES // 2500
CANARY_TRIES = 3000
CANARIES = {1: "early_acknowledgement", 2: "skipped_plan_sync", 3: "retry_of_a_failed_flush",
            4: "plan_before_its_decision", 5: "found_decision_trusted", 6: "odd_answer_believed",
            8: "spooled_before_its_file_is"}


def run(program, *args):
    """Runs a program of the simulation, shows what it says. Returns (exit status, its last JSON line)."""
    child = subprocess.run([SIM / program, *map(str, args)], stdout=subprocess.PIPE, text=True, errors="replace",
                           timeout=500, check=False)
    print(child.stdout, end="", flush=True)
    rows = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{\"sim\"")]
    return child.returncode, rows[-1] if rows else {}


def check(name, good, why):
    print(f"ok {name}" if good else f"FAIL {name} {why}", flush=True)
    return good


def schedules():
    status, row = run("sim", "schedules", SCHEDULES, SEED)
    # A simulation in which little happens proves nothing.
    busy = all(row.get(key, 0) > SCHEDULES // 10
               for key in ("acknowledged", "faults", "power_cuts", "kills", "objects", "jobs", "jobs_failed",
                           "pieces", "letters", "duplicates", "inserts",
                           "spooled"))
    return check("sim_schedules", status == 0 and row.get("schedules") == SCHEDULES and busy,
                 f"exit status {status}: see the lines SEED= above")


def every_nth():
    good = True
    for seed in range(SEED, SEED + EVERY_NTH_SEEDS):
        status, row = run("sim", "every-nth", seed)
        good = good and status == 0 and row.get("schedules", 0) > 100
    return check("sim_every_operation_fails", good, "see the lines SEED= above")


def canary(number, name):
    status, _ = run(f"sim_canary{number}", "canary", CANARY_TRIES)
    return check(f"sim_canary_{name}", status == 0, "the planted fault was not found")


def main():
    good = [schedules(), every_nth()] + [canary(n, name) for n, name in CANARIES.items()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
