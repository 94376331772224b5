#!/usr/bin/env python3
"""Makes the tables of RESULTS.md from the JSON lines of `perf/run.sh json instructions`: report.py RESULTS.md < LINES

What stands between the two marks in that file is replaced; the rest, written by people, stays."""

import json
import sys

BEGIN, END = "<!-- begin: perf/report.py -->", "<!-- end -->"


def rows_of(results, bench):
    """Results of a benchmark by case, in the order in which they came."""
    cases = {}
    for result in results:
        if result["bench"] == bench:
            cases.setdefault(result["case"], []).append(result)
    return cases


def mark(result):
    """Checks everything, a part, or is only a ceiling."""
    last = result["config"].rsplit("; ", 1)[1]
    return {"validates everything": "all", "validates in part": "in part"}.get(last, "-")


def ratio_of(result):
    return f"{result['ratio']:.2f} of {result['ratio_to']}" if result["ratio"] is not None else ""


def summary(cases):
    """One line a case: ours, beside the best peer that validates everything."""
    yield "| GB/s | AVX-512 | ratio | AVX2 | ratio (AVX2 peers) | scalar | ratio | best peer, AVX-512; AVX2 |"
    yield "|---|---|---|---|---|---|---|---|"
    for case, results in cases.items():
        ours = {r["subject"].split(" ")[-1]: r for r in results if r["subject"].startswith("penstock ")}
        by_name = {r["subject"]: r for r in results}
        cells, best = [case], []
        for isa in ("avx512", "avx2", "scalar"):
            r = ours.get(isa)
            cells += [f"{r['value']:.2f}", f"**{r['ratio']:.2f}**" if r["ratio"] else ""] if r else ["", ""]
            if r and r["ratio_to"] and isa != "scalar":
                best.append(f"{r['ratio_to']} {by_name[r['ratio_to']]['value']:.2f}")
        yield "| " + " | ".join([*cells, "; ".join(best)]) + " |"


def details(case, results):
    yield f"### {case}"
    yield ""
    yield "| subject | GB/s | validates | ratio | compiler |"
    yield "|---|---|---|---|---|"
    for r in results:
        yield f"| {r['subject']} | {r['value']:.2f} | {mark(r)} | {ratio_of(r)} | {r['compiler']} |"
    yield ""


def instructions(case, results):
    """One column a variant: instructions a byte of each function."""
    isas = list(dict.fromkeys(r["subject"].split(" ")[0] for r in results))
    values = {isa: [(r["subject"].split(" ")[1], r["value"]) for r in results if r["subject"].split(" ")[0] == isa]
              for isa in isas}
    yield f"| {case} | " + " | ".join(isas) + " |"
    yield "|---" * (len(isas) + 1) + "|"
    for place in range(max(len(v) for v in values.values())):
        cells = [f"{values[isa][place][0]} {values[isa][place][1]:.2f}" if place < len(values[isa]) else ""
                 for isa in isas]
        yield f"| {place or 'in all'} | " + " | ".join(cells) + " |"
    yield ""


def render(lines):
    lines = [json.loads(line) for line in lines]
    cases, counted = rows_of(lines, "json"), rows_of(lines, "instructions")
    if not cases:
        raise SystemExit("report: no results of the JSON benchmark on standard input")
    everything = [r for results in cases.values() for r in results]
    first = next((r for r in everything if r["subject"].startswith("penstock ")), everything[0])
    yield f"Commit {first['commit']}, {first['cpu']}, {first['compiler']}; medians of {first['runs']} passes."
    yield ""
    yield from summary(cases)
    yield ""
    if counted:
        yield "## Instructions a byte"
        yield ""
        for case, results in counted.items():
            yield from instructions(case, results)
    yield "## Every subject"
    yield ""
    for case, results in cases.items():
        yield from details(case, results)


def main(path):
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    after = rest.split(END)[1]
    text = "\n".join(render(sys.stdin)).rstrip("\n")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: report.py RESULTS.md < LINES")
    main(sys.argv[1])
