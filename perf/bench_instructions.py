"""Instructions per byte of our JSON variants, function by function: callgrind over one way through a corpus. Valgrind
knows no AVX-512, so that variant is not among them."""

import os
import re
import subprocess

from bench_json import generate, head_of
from bench_lib import BenchError, log, program, workspace

BYTES = 8_000_000
LEAST = 0.02  # instructions a byte: what takes less is summed up as others
CASES = [("commerce", "fields"), ("commerce", "rows"), ("kibana", "fields"), ("shapes", "fields")]
ISAS = ["avx2", "scalar"]
LINE = re.compile(r"^\s*([0-9,]+) \([ 0-9.]+%\)\s+(\S+):(\S+)")


def by_function(folder, job, corpus, path, isa):
    """Instructions of each function that is not inlined, loading of the file excluded; None: no such variant here."""
    out = os.path.join(folder, f"callgrind.{isa}.{corpus}.{job}")
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=run_pass",
                           program("bench_json", "perf"), job, "once", corpus, path, isa],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        if "does not run it" in done.stderr or "no such variant" in done.stderr:
            return None
        raise BenchError(f"instructions: {done.stderr.strip()}")
    listed = subprocess.run(["callgrind_annotate", "--threshold=100", out], check=True, stdout=subprocess.PIPE,
                            text=True)
    counts = {}
    for line in listed.stdout.splitlines():
        found = LINE.match(line)
        if found:
            name = found.group(3).split("'")[0]
            counts[name] = counts.get(name, 0) + int(found.group(1).replace(",", ""))
    return counts


def bench_instructions(report):
    with workspace() as folder:
        for corpus, job in CASES:
            path = head_of(generate(corpus, folder), BYTES)
            size = os.path.getsize(path)
            for isa in ISAS:
                log(f"instructions: {corpus}, {job}, {isa}")
                counts = by_function(folder, job, corpus, path, isa)
                if counts is None:
                    log(f"instructions: {isa} is not there")
                    continue
                report_counts(report, f"{corpus}, {job}", isa, counts, size)


def report_counts(report, case, isa, counts, size):
    total = sum(counts.values()) / size
    config = f"{size} bytes, one way through them, callgrind"
    report.line("instructions", case, f"{isa} all", "instructions", total, "1/byte", 1, None, None, config)
    others = total
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        if count / size < LEAST:
            break
        others -= count / size
        report.line("instructions", case, f"{isa} {name}", "instructions", count / size, "1/byte", 1, f"{isa} all",
                    total, config)
    report.line("instructions", case, f"{isa} others", "instructions", others, "1/byte", 1, f"{isa} all", total, config)
