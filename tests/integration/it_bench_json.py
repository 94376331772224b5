#!/usr/bin/env python3
"""Goal: the JSON benchmark measures only what does the same job, and says so when something does not.

Method: builds bench_json and runs it over a small corpus of each family, in both manners; over events that are broken;
and beside peers made here of a few lines of C, one honest, one that finds an event less, one that finds other bytes.
report.py makes tables of results. Nothing is said about speed. Exit 0 all passed, 1 a check failed, 77 not built.
"""
import json
import os
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", "build")
GEN = os.path.join(ROOT, BUILD, "bin", "penstock-gen")
BENCH = os.path.join(ROOT, BUILD, "perf", "bench_json")
PEER = """/* A peer that counts lines, and knows how many bytes all find in the whole file. */
#include <stdlib.h>
#include "perf/json_peer.h"
static void *create(enum json_corpus c, size_t n) { (void)c; (void)n; return malloc(1); }
static bool run(void *s, const char *buf, size_t len, struct json_found *found)
{
    (void)s;
    for (const char *p = buf, *end = buf + len; p < end; p = json_line_end(p, end) + 1)
        found->events++;
    found->events -= FEWER;
    found->bytes += BYTES;
    return TAKES;
}
const struct json_subject json_subjects[] = {
    {.name = "fake", .isa = "native", .compiler = "cc", .job = JSON_JOB_FIELDS, .create = create, .run = run,
     .destroy = free},
    {0},
};
"""


def bench(*args, check=0):
    done = subprocess.run([BENCH, *map(str, args)], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == check, f"exit {done.returncode}, wanted {check}: {args}\n{done.stderr}"
    return done


def make_corpus(folder, family, count=1500):
    path = os.path.join(folder, f"{family}.ndjson")
    args = ["--events", family, "--seed", "4", "--now", "1750000000", "--count", str(count), "--out", path]
    subprocess.run([GEN, *args], check=True, stderr=subprocess.DEVNULL)
    return path


def make_peer(folder, **what):
    path = os.path.join(folder, "peer-" + "-".join(map(str, what.values())) + ".so")
    flags = [f"-D{name}={value}" for name, value in what.items()]
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-I.", "-fPIC", "-shared", *flags, "-x", "c", "-", "-o", path],
                   input=PEER, text=True, check=True, cwd=ROOT)
    return path


def found_of(done):
    """Events and bytes that all have found."""
    words = done.stderr.split("all find ")[1].replace(",", "").split()
    return int(words[0]), int(words[2])


def test_families(folder):
    """Every family is understood, in both manners, with one line a subject and pass."""
    for family in ("commerce", "github", "kibana", "mixed", "shapes"):
        path = make_corpus(folder, family)
        size = os.path.getsize(path)
        for manner in ("fresh", "stream"):
            done = bench("fields", manner, family, path, 2)
            assert found_of(done)[0] == 1500 and found_of(done)[1] > 1500 * 20
            lines = [line.split("\t") for line in done.stdout.splitlines()]
            assert all(len(line) == 7 and int(line[5]) == size and int(line[6]) > 0 for line in lines), lines
            ours = [line for line in lines if line[0] == "penstock"]
            assert len(ours) == 2 * len({line[1] for line in ours}) and {line[4] for line in ours} == {"all"}
            assert {"memchr, lines only", "memcpy", "read"} <= {line[0] for line in lines}


def test_extracted_bytes(folder):
    """What is extracted is what Python finds."""
    path = make_corpus(folder, "commerce")
    with open(path, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    wanted = sum(len(e["event_type"]) + len(e["metadata"]["session_id"]) + len(e["order_date"]) for e in events)
    assert found_of(bench("fields", "fresh", "commerce", path, 1)) == (1500, wanted)


def test_rows(folder):
    done = bench("rows", "fresh", "commerce", make_corpus(folder, "commerce"), 1)
    assert found_of(done)[0] == 1500
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == {"penstock rows"}


def test_broken_events(folder):
    """An event that is not valid ends the benchmark, and so does a last line that is cut off."""
    path = make_corpus(folder, "commerce", 50)
    with open(path, "rb") as file:
        good = file.read()
    for broken in (good + b'{"event_type":"x",}\n', good + b"{}x\n", good[:-1]):
        with open(path, "wb") as file:
            file.write(broken)
        assert bench("fields", "fresh", "commerce", path, 1, check=1).stdout == ""


def test_peers(folder):
    """A peer that finds the same is measured; one that does not, or refuses an event, ends it."""
    path = make_corpus(folder, "commerce")
    _, size = found_of(bench("fields", "fresh", "commerce", path, 1))
    for fewer, more, takes, status in ((0, 0, "true", 0), (1, 0, "true", 1), (0, 1, "true", 1), (0, 0, "false", 1)):
        peer = make_peer(folder, FEWER=fewer, BYTES=size + more, TAKES=takes)
        done = bench("fields", "stream", "commerce", path, 2, peer, check=status)
        assert ("fake" in done.stdout) == (status == 0), done.stderr
    bench("fields", "fresh", "commerce", path, 1, "/dev/null", check=1)  # no shared object


def test_report(folder):
    """Tables are made of JSON lines; what people wrote around them stays."""
    path = os.path.join(folder, "RESULTS.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write("# Mine\n<!-- begin: perf/report.py -->\nold\n<!-- end -->\ntail\n")
    line = {"bench": "json", "case": "commerce, fresh", "metric": "throughput", "unit": "GB/s", "runs": 9,
            "commit": "abc", "cpu": "a CPU", "compiler": "cc 1"}
    lines = [{**line, "subject": "peer DOM avx512", "value": 2.0, "ratio_to": None, "ratio": None,
              "config": "1 bytes, one core; fields; validates everything"},
             {**line, "subject": "penstock avx512", "value": 5.0, "ratio_to": "peer DOM avx512", "ratio": 2.5,
              "config": "1 bytes, one core; fields; validates everything"}]
    lines += [{**line, "bench": "instructions", "case": "commerce, fields", "subject": f"avx2 {name}", "value": value}
              for name, value in (("all", 3.5), ("scan", 2.5))]
    subprocess.run([sys.executable, os.path.join(ROOT, "perf/report.py"), path], check=True, text=True,
                   input="".join(json.dumps(one) + "\n" for one in lines))
    with open(path, encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("# Mine\n") and text.endswith("<!-- end -->\ntail\n") and "old" not in text
    assert "| in all | all 3.50 |" in text and "| 1 | scan 2.50 |" in text, text
    assert "| commerce, fresh | 5.00 | **2.50** |" in text and "peer DOM avx512 2.00" in text, text


def main():
    if not os.path.exists(GEN):
        print(f"skip it_bench_json: {GEN} is not built")
        return 77
    make = ["make", "-s", "-f", "perf/Makefile", f"BUILD={BUILD}", f"{BUILD}/perf/bench_json"]
    subprocess.run(make, check=True, cwd=ROOT)
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory(prefix="penstock-it-") as folder:
            try:
                test(folder)
                print(f"ok {name}", flush=True)
            except Exception:  # noqa: BLE001: any failure of a test is a failed test
                failed += 1
                print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
