"""JSON beside peers: corpora, the runs of bench_json over them, and ratios. README.md says what is measured and how."""

import collections
import json
import os
import re
import statistics
import subprocess

from bench_lib import ROOT, BenchError, first_line, log, program, setting, workspace

SEED, NOW = 4, 1750000000
# Events for at least 64 MB of each family; of commerce and mixed 200 MB, for streams.
COUNTS = {"commerce": 300000, "github": 43000, "kibana": 39500, "mixed": 156000, "shapes": 82000}
FRESH_BYTES = 66_000_000
CASES = [  # job, manner, corpus
    ("fields", "fresh", "commerce"), ("fields", "stream", "commerce"), ("fields", "fresh", "github"),
    ("fields", "fresh", "kibana"), ("fields", "fresh", "mixed"), ("fields", "stream", "mixed"),
    ("fields", "fresh", "shapes"), ("rows", "fresh", "commerce"), ("rows", "stream", "commerce"),
]
REAL = {"ecommerce_orders.ndjson": "kibana", "github_events.json": "github", "cloudtrail.ndjson": "cloudtrail"}
SMALL_BYTES, SMALL_PASSES = 8_000_000, 99  # files too small for a steady time get more passes

Subject = collections.namedtuple("Subject", "name isa compiler job validates")


def generate(corpus, folder):
    path = os.path.join(folder, f"{corpus}.ndjson")
    if not os.path.exists(path):
        subprocess.run([program("penstock-gen"), "--events", corpus, "--seed", str(SEED), "--now", str(NOW),
                        "--count", str(COUNTS[corpus]), "--out", path], check=True, stderr=subprocess.DEVNULL)
    return path


def head_of(path, size):
    """The first whole lines of a file, about so many bytes, as a file beside it."""
    if os.path.getsize(path) <= size:
        return path
    part = f"{path}.{size}"
    if not os.path.exists(part):
        with open(path, "rb") as source, open(part, "wb") as target:
            data = source.read(size)
            target.write(data[:data.rindex(b"\n") + 1])
    return part


def real_file(source, folder):
    """A real file as lines: what is one array is written anew, an element a line."""
    path = os.path.join(folder, f"real-{os.path.basename(source)}")
    with open(source, encoding="utf-8") as file, open(path, "w", encoding="utf-8") as target:
        if source.endswith(".json"):
            for event in json.load(file):
                target.write(json.dumps(event, separators=(",", ":"), ensure_ascii=False) + "\n")
        else:
            target.writelines(line for line in file if line.strip())
    return path


def build_peers():
    make = ["make", "-s", "-f", "perf/Makefile", f"BUILD={os.environ.get('BUILD') or 'build'}"]
    listed = subprocess.run([*make, "list-peers"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    if not listed:
        log("json: no peers are installed; perf/setup.sh json does that")
        return []
    subprocess.run([*make, f"-j{os.cpu_count()}", "peers"], check=True, stdout=subprocess.DEVNULL)
    return [os.path.join(ROOT, path) for path in listed]


def measure(job, manner, corpus, path, passes, peers):
    """Median GB/s by subject."""
    argv = [program("bench_json", "perf"), job, manner, corpus, path, str(passes), *peers]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}))
    if done.returncode != 0:
        raise BenchError(f"json: {corpus}, {manner}: see above")
    rates = {}
    for line in done.stdout.splitlines():
        *subject, count, nanoseconds = line.split("\t")
        rates.setdefault(Subject(*subject), []).append(int(count) / int(nanoseconds))
    return {subject: statistics.median(values) for subject, values in rates.items()}


def yardstick(subject, medians):
    """The best peer that does what this subject does: of those that validate everything if it is about fields;
    of the same instructions for AVX2."""
    if subject.job == "ceiling":
        return None
    peers = [s for s in medians if s.job == subject.job and not s.name.startswith("penstock") and s != subject
             and (s.validates == "all" or subject.job == "rows")
             and (subject.isa != "avx2" or s.isa == "avx2")]
    return max(peers, key=medians.get, default=None)


def full_name(subject):
    return subject.name if subject.isa == "native" else f"{subject.name} {subject.isa}"


def report_case(report, case, medians, passes, size):
    for subject, value in sorted(medians.items(), key=lambda item: (item[0].job == "ceiling", -item[1])):
        other = yardstick(subject, medians)
        checks = {"ceiling": "a ceiling"}.get(subject.job) or \
            {"all": "validates everything", "some": "validates in part"}[subject.validates]
        compiler = None if subject.compiler == "-" else first_line([subject.compiler, "--version"])
        report.line("json", case, full_name(subject), "throughput", value, "GB/s", passes,
                    full_name(other) if other else None, medians.get(other),
                    f"{size} bytes, one core; {subject.job}; {checks}", compiler)


def bench_json(report):
    peers, passes = build_peers(), setting("BENCH_PASSES", 9)
    wanted = re.compile(os.environ.get("BENCH_CASES") or "")
    cases = [(f"{corpus}, {'rows, ' if job == 'rows' else ''}{manner}", job, manner, corpus, None)
             for job, manner, corpus in CASES]
    folder = os.environ.get("PENSTOCK_DATA")
    if folder:
        cases += [(f"real {name}, fresh", "fields", "fresh", corpus, os.path.join(folder, name))
                  for name, corpus in REAL.items() if os.path.exists(os.path.join(folder, name))]
    with workspace() as scratch:
        for case, job, manner, corpus, source in cases:
            if not wanted.search(case):
                continue
            path = real_file(source, scratch) if source else generate(corpus, scratch)
            if manner == "fresh":
                path = head_of(path, FRESH_BYTES)
            size = os.path.getsize(path)
            runs = passes if size > SMALL_BYTES else max(passes, SMALL_PASSES)
            log(f"json: {case}: {runs} passes over {size / 1e6:.1f} MB")
            report_case(report, case, measure(job, manner, corpus, path, runs, peers), runs, size)
