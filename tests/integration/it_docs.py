#!/usr/bin/env python3
"""Goal: the commands of README.md and docs/ do what is said beside them.

Method: every ```sh block of these documents has a comment in front of it: <!-- runnable -->, or <!-- not
run: WHY --> with one of the reasons below; one without is a failure. For each document with runnable blocks
a small demo is kept up on free ports, and its blocks run in order in one shell, with the default ports
replaced. What stands in a block after <!-- shows --> has to be in the output of the block before, line by
line and in that order; "..." stands for anything. Blocks that are not run are at least parsed by the shell.
"""

import os
import re
import subprocess
import sys
import tempfile

from it_demo import BUILD, ROOT, Bed

DOCUMENTS = ["README.md"] + sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
REASONS = {
    "needs Google Cloud": r"\b(gcloud|bq)\b|^PROJECT=",
    "installs on the machine": r"\bsudo\b|make (demo|test|install)",
    "starts a service": r"systemctl|penstockd --config",
    "needs two programs": r"penstock-packets",
    "needs a network card": r"dpdk|ip link",
}
BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^>]*?) -->\n)?^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^ *```",
                   re.S | re.M)
MARK = "@@ block"


def blocks_of(name):
    """[(mark, kind, text)] of all fenced blocks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        before = text[:match.start()].rstrip().rsplit("\n", 1)[-1].strip()
        mark = match["mark"] or ""
        if not mark and before.startswith("<!--") and before.endswith("-->"):
            mark = before[4:-3].strip()
        body = "".join(line[len(match["indent"]):] if line.strip() else "\n"
                       for line in match["body"].splitlines(keepends=True))
        found.append((mark, match["kind"], body))
    return found


def test_every_block_is_marked():
    wrong = []
    for name in DOCUMENTS:
        for mark, kind, text in blocks_of(name):
            if kind != "sh" or mark == "runnable":
                continue
            reason = mark.removeprefix("not run: ")
            if not mark.startswith("not run: ") or reason not in REASONS:
                wrong.append(f"{name}: no mark, or an unknown one ({mark!r}), before {text[:60]!r}")
            elif not re.search(REASONS[reason], text, re.M):
                wrong.append(f"{name}: {text[:60]!r} is not run, but there is no sign that it {reason}")
    assert not wrong, "\n".join(wrong)


def test_unrun_blocks_parse():
    for name in DOCUMENTS:
        for mark, kind, text in blocks_of(name):
            if kind == "sh" and mark != "runnable":
                done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{name}: {done.stderr}\n{text}"


def replaced(bed, text):
    for old, new in (("8080", bed.http), ("9464", bed.admin), ("9050", bed.cloud), ("8081", bed.tcp),
                     ("8082", bed.tcp_acked), ("8083", bed.udp)):
        text = re.sub(rf"(?<=[:/]){old}\b", str(new), text)
    return text


def matches(wanted, line):
    pattern = ".*".join(re.escape(part.strip()) for part in wanted.split("..."))
    return re.search(rf"^\s*{pattern}\s*$" if "..." in wanted else re.escape(wanted.strip()), line)


def check_shown(name, block, shown, output):
    """Every line of shown, in order."""
    lines = iter(output.splitlines())
    for wanted in shown.splitlines():
        if wanted.strip() and not any(matches(wanted, line) for line in lines):
            raise AssertionError(f"{name}: {wanted!r} is not (or not there) in the output of\n{block}\n{output}")


def run_document(name):
    blocks = blocks_of(name)
    script = ["export PS4=; set -euo pipefail", f"PATH={BUILD}/bin:$PATH"]
    runnable = []
    for i, (mark, kind, text) in enumerate(blocks):
        if kind == "sh" and mark == "runnable":
            runnable.append(i)
            script += [f"echo '{MARK} {i}'", text]
    with tempfile.TemporaryDirectory(prefix="penstock-docs-") as folder:
        bed = Bed(folder)
        (bed.folder / "build").symlink_to(BUILD)
        code, out = bed.run(KEEP="1", DEMO_EVENTS="2000")
        assert code == 0, out
        try:
            done = subprocess.run(["bash", "-c", replaced(bed, "\n".join(script))], cwd=bed.folder, env=bed.env,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=180, check=False)
            output = done.stdout.decode(errors="replace")
            assert done.returncode == 0, f"{name}: exit status {done.returncode}\n{output[-3000:]}"
            parts = dict(re.findall(rf"^{MARK} (\d+)\n(.*?)(?=^{MARK}|\Z)", output, re.S | re.M))
            for i in runnable:
                if i + 1 < len(blocks) and blocks[i + 1][0] == "shows":
                    check_shown(name, blocks[i][2], replaced(bed, blocks[i + 1][2]), parts[str(i)])
        finally:
            bed.run("stop")
        bed.nothing_left()


def main():
    if not (BUILD / "bin" / "penstockd").exists():
        print("not built")
        return 77
    tests = {name.removeprefix("test_"): f for name, f in globals().items() if name.startswith("test_")}
    for name in DOCUMENTS:
        if any(mark == "runnable" for mark, _, _ in blocks_of(name)):
            tests[name] = lambda name=name: run_document(name)
    failed = 0
    for name, test in tests.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        try:
            test()
            print(f"ok {name}", flush=True)
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name} {' '.join(str(error).split())[:3000]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
