#!/usr/bin/env python3
"""Goal: what README.md and docs/ name is there: links, files, make targets, options of our programs,
packages, metrics, reasons and configuration keys. it_docs.py runs the commands.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from it_demo import BUILD, ROOT

DOCUMENTS = ["README.md", "CHANGELOG.md", "perf/README.md"]
DOCUMENTS += sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md") if p.name != "configuration.md")
NOT_REASONS = ("status", "sinks", "pending", "parked", "late", "bad_time", "reason", "sampled_out", "types")
PROGRAMS = ["penstockd", "penstock", "penstock-gen", "penstock-packets", "localcloud", "json-check"]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(text):
    """All commands of a document: fenced shell blocks, continued lines joined."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.S | re.M)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_links():
    for name in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
            if not target.startswith("http"):
                assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_files():
    """Paths in code spans that start with one of our folders."""
    folders = "|".join(p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith((".", "build")))
    for name in DOCUMENTS:
        for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text_of(name)):
            assert (ROOT / path).exists(), f"{name}: {path}"


def test_make_targets():
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.M))
    for name in DOCUMENTS:
        text = text_of(name)
        used = re.findall(r"`make ([a-z-]+)", text)
        used += [w for line in fenced(text) for w in re.findall(r"(?:^|sudo |&& )make ([a-z-]+)", line)]
        for target in used:
            assert target in targets, f"{name}: make {target}"


def help_of(program):
    argv = [str(BUILD / "bin" / program), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_options():
    helps = {program: help_of(program) for program in PROGRAMS}
    helps["penstock"] += source("tools/penstock") + text_of("control/dlq_options.c")
    for name in DOCUMENTS:
        for line in fenced(text_of(name)):
            for command in re.split(r"\||&&|;", line):
                words = command.split()
                programs = [w for w in words if os.path.basename(w) in PROGRAMS]
                if not programs or words.index(programs[0]) > 1:
                    continue
                for option in re.findall(r"(?:^| )(--[a-z-]+)", command):
                    known = helps[os.path.basename(programs[0])]
                    assert option in known, f"{name}: {programs[0]} has no {option}"


def test_penstock_commands():
    known = help_of("penstock")
    for name in DOCUMENTS:
        for word in re.findall(r"`penstock ([a-z]+)", text_of(name)):
            assert re.search(rf"^  {word}\b", known, re.M), f"{name}: penstock {word}"


def test_packages():
    lists = re.findall(r'^(?:BUILD|TESTS)="([^"]+)"', text_of("tools/setup.sh"), re.M)
    setup = " ".join(lists).split()
    assert len(lists) == 2, "tools/setup.sh: the lists BUILD and TESTS"
    table = text_of("README.md").split("## Packages")[1].split("\n## ")[0]
    named = [p for row in re.findall(r"^\| ([^|]+) \|", table, re.M) for p in re.split(r", ", row)]
    named = [p for p in named if p not in ("package", "---")]
    assert sorted(named) == sorted(setup), f"README {sorted(named)}, tools/setup.sh {sorted(setup)}"


def source(*folders):
    return "\n".join(p.read_text(encoding="utf-8") for f in folders for p in (ROOT / f).rglob("*.[ch]"))


def test_metrics_and_reasons():
    metrics = source("control")
    reasons = text_of("dataplane/base/reason.h")
    for name in DOCUMENTS:
        for metric in re.findall(r"\bpenstock_([a-z_]+)\b", text_of(name)):
            if metric in ("overflow", "id"):
                continue  # columns
            stem = metric.removesuffix("_total")
            assert f'"{stem}"' in metrics or f"penstock_{metric}" in metrics, f"{name}: penstock_{metric}"
    table = text_of("docs/operations.md").split("## What each limit does")[1].split("\n## ")[0]
    for row in re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|$", table, re.M):
        for word in re.findall(r"`([a-z_]+)`", row):
            if not word.startswith("penstock_") and word not in NOT_REASONS:
                assert f'"{word}"' in reasons, f"docs/operations.md: reason {word}"


def test_configuration_keys():
    table = set(re.findall(r"^\| `([a-z_.]+)` \|", text_of("docs/configuration.md"), re.M))
    sections = {key.split(".")[0] for key in table if "." in key}
    for name in DOCUMENTS:
        for key in re.findall(r"`([a-z_]+\.[a-z_.]+)(?:: [^`]*)?`", text_of(name)):
            ours = key.split(".")[0] in sections
            if ours and not key.endswith((".c", ".h", ".py", ".sh", ".yaml", ".md")):
                assert key.rstrip(".") in table or key.endswith("_"), f"{name}: {key}"


def main():
    if not (BUILD / "bin" / "penstockd").exists():
        print("not built")
        return 77
    failed = 0
    for name, test in [(n, f) for n, f in globals().items() if n.startswith("test_")]:
        name = name.removeprefix("test_")
        try:
            test()
            print(f"ok {name}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name} {str(error)[:2000]!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
