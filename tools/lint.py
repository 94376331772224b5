#!/usr/bin/env python3
"""Checks what a compiler does not: who includes whom, banned calls, contracts, sizes. `make lint` runs it.

    tools/lint.py              every file that git knows or would add
    tools/lint.py FILE...      only these
    tools/lint.py --self-test  proves that each rule can fail

A finding is "file:line: [rule] text"; the exit status is 1 when there is any.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# ---- The include table: a module, and what it may include beside its own folder ----
#
# A module is a folder, or the .c and .h files directly in it ("dataplane": the worker; "sinks": the sink
# thread). An entry is a module, a folder with everything below it ("dataplane/**"), or a single header.

BASE, JSON, EVENT = "dataplane/base", "dataplane/json", "dataplane/event"
BLOCK, JOURNAL, ENGINE = "dataplane/block", "dataplane/journal", "sinks/engine"
CLOUD = [BASE, JSON, EVENT + "/schema.h", EVENT + "/names.h", ENGINE]

MAY_INCLUDE = {
    BASE: [],
    JSON: [BASE],
    EVENT: [BASE, JSON],
    BLOCK: [BASE, JSON, EVENT],
    JOURNAL: [BASE, BLOCK],
    "dataplane/input": [BASE, JSON, EVENT, BLOCK],
    "dataplane/packet": [BASE],
    "dataplane": ["dataplane/**"],
    ENGINE: [BASE, JSON],  # the cloud's answers are JSON
    "sinks/delivery": [BASE, JSON, EVENT, BLOCK, JOURNAL, ENGINE],
    "sinks/dedupe": [BASE, EVENT + "/names.h", ENGINE],
    "sinks/gcs": CLOUD,
    "sinks/bigquery": CLOUD,
    "sinks/owner": [BASE, ENGINE, "sinks/gcs"],  # one object that is read and written
    "sinks": ["sinks/**", BASE, JSON, EVENT, BLOCK, JOURNAL, "dataplane/lane.h"],
    "control": ["dataplane/**", "sinks/**"],
    # The pure parts, and those that read a daemon's files: the command line works where no daemon runs.
    "tools/penstock": ["control/protocol.h", "control/ingest_protocol.h", BASE, JSON, EVENT,
                       "dataplane/input/tokens.h", JOURNAL + "/inspect.h",
                       "sinks/delivery/dlog_inspect.h"],
    "tools/gen": [],
    "tools/packets": [],
    "tools/localcloud": [],
    "tools/json-check": [BASE, JSON],  # the example of the library
}
ANYTHING = ("tests", "perf")  # may include all of it; nothing includes them
BANNED_SYSTEM = {"dataplane": re.compile(r"^curl/")}  # by top folder

# ---- Limits ----

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 150
LINE_CHARS_MAX = 110
LINE_CHARS_MAX_PYTHON = 120  # clang-format does not wrap these

BANNED_CALL = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll)\s*\(")
LOCALE_CALL = re.compile(r"\b(setlocale|newlocale|uselocale)\s*\(")
VOLATILE = re.compile(r"\bvolatile\b(?!\s+sig_atomic_t)")
ASM_VOLATILE = re.compile(r"\b(__asm__|__asm|asm)\s+volatile\b")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.M)
TODO = re.compile(r"\bTODO\b(?!\(#\d+\))")
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)
DECLARATOR = re.compile(r"^(?!(?:typedef|static_assert|_Static_assert)\b)[\w\s*]*[\w*]\s+\**(\w+)\s*\(")

RULES = {
    "include": "an include that the table does not allow",
    "internal": "foo_internal.h outside its folder",
    "banned": "a call that cannot be bounded or checked",
    "locale": "a locale: what is printed and read has points, whatever the environment says",
    "volatile": "volatile does not order threads; use atomics",
    "contract": "a prototype in a public header without a comment directly above",
    "file-length": f"more than {FILE_LINES_MAX} lines",
    "function-length": f"more than {FUNCTION_LINES_MAX} lines",
    "line-length": f"more than {LINE_CHARS_MAX} characters",
    "todo": "TODO without an issue: TODO(#12)",
    "space": "white space at the end of a line",
    "heat": "the first comment of a dataplane source says HOT or COLD",
    "head": "a file starts with a comment: role, threads, invariants",
}


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def blank(match):
    """Spaces in place of what matched; lines stay lines."""
    return re.sub(r"[^\n]", " ", match.group())


def code_only(text):
    """The text without comments and literals, at the same offsets."""
    return NOT_CODE.sub(blank, text)


def module_of(path):
    folder = path.rsplit("/", 1)[0] if "/" in path else ""
    while folder and folder not in MAY_INCLUDE and folder.count("/") > 1:
        folder = folder.rsplit("/", 1)[0]
    return folder


def allowed(target, entries):
    for entry in entries:
        if entry.endswith("/**"):
            if target.startswith(entry[:-2]):
                return True
        elif target == entry or module_of(target) == entry:
            return True
    return False


# ---- Rules: each takes (path, text, code) and yields (line, rule, message) ----


def check_includes(path, text, code):
    top, module = path.split("/")[0], module_of(path)
    for found in INCLUDE.finditer(text):
        line = line_of(text, found.start())
        target, system = found.groups()
        if not code[found.start():found.end()].strip():
            continue  # inside a comment
        if system is not None:
            if top in BANNED_SYSTEM and BANNED_SYSTEM[top].match(system):
                yield line, "include", f"{top} may not include <{system}>"
            continue
        folder = target.rsplit("/", 1)[0] if "/" in target else ""
        if target.endswith("_internal.h") and top not in ANYTHING and folder != path.rsplit("/", 1)[0]:
            yield line, "internal", f"{target} belongs to {folder}"
            continue
        if top in ANYTHING:
            continue
        if not folder:
            yield line, "include", f'write "{target}" from the top of the repository'
        elif module not in MAY_INCLUDE:
            yield line, "include", f"{module} is not in the table of tools/lint.py"
        elif module_of(target) != module and not allowed(target, MAY_INCLUDE[module]):
            yield line, "include", f"{module} may not include {target}"


def check_calls(path, text, code):
    for found in BANNED_CALL.finditer(code):
        yield line_of(code, found.start()), "banned", found.group(1)
    for found in LOCALE_CALL.finditer(code):
        if path.split("/", 1)[0] not in ANYTHING:
            yield line_of(code, found.start()), "locale", RULES["locale"]
    spared = {m.end() for m in ASM_VOLATILE.finditer(code)}
    for found in VOLATILE.finditer(code):
        if found.end() not in spared:
            yield line_of(code, found.start()), "volatile", RULES["volatile"]


def statements(code):
    """(start, end, closing) of each statement at file scope; closing is ';' or '{'. No directives."""
    code = DIRECTIVE.sub(blank, code)
    depth, start, i = 0, 0, 0
    for i, c in enumerate(code):
        if c == "{":
            if depth == 0:
                yield start, i, "{"
            depth += 1
        elif c == "}":
            depth = max(0, depth - 1)
            if depth == 0:
                start = i + 1
        elif c == ";" and depth == 0:
            yield start, i, ";"
            start = i + 1


def declared_name(statement):
    """The function that a statement at file scope declares or defines, or None."""
    statement = " ".join(statement.split())
    found = DECLARATOR.match(statement)
    if found is None or "=" in statement.split("(", 1)[0]:
        return None
    return found.group(1)


def check_contracts(path, text, code):
    if not path.endswith(".h") or path.endswith("_internal.h") or path.startswith(ANYTHING):
        return
    lines = text.split("\n")
    seen = set()
    for start, end, _ in statements(code):
        name = declared_name(code[start:end])
        if name is None or name in seen:
            continue
        seen.add(name)
        first = line_of(code, end - len(code[start:end].lstrip()))
        above = lines[first - 2].strip() if first >= 2 else ""
        if not above.endswith("*/") and not above.startswith("//"):
            yield first, "contract", f"{name}() has no comment directly above"


def function_end(code, brace):
    depth = 0
    for i in range(brace, len(code)):
        depth += (code[i] == "{") - (code[i] == "}")
        if depth == 0:
            return i
    return len(code)


def check_sizes(path, text, code):
    count = text.count("\n")
    if count > FILE_LINES_MAX:
        yield count, "file-length", f"{count} lines"
    bare = DIRECTIVE.sub(blank, code)
    for start, end, closing in statements(code):
        name = declared_name(bare[start:end]) if closing == "{" else None
        if name is None:
            continue
        first = line_of(bare, end - len(bare[start:end].lstrip()))
        length = line_of(bare, function_end(bare, end)) - first + 1
        if length > FUNCTION_LINES_MAX:
            yield first, "function-length", f"{name}() has {length} lines"


def check_head(path, text, code):
    found = re.match(r"/\*.*?\*/|(?://[^\n]*\n)+", text.lstrip(), re.S)
    if found is None:
        yield 1, "head", RULES["head"]
    elif path.startswith("dataplane/") and path.endswith(".c"):
        if not re.search(r"\b(HOT|COLD)\b", found.group()):
            yield 1, "heat", RULES["heat"]


def check_text(path, text):
    longest = LINE_CHARS_MAX_PYTHON if path.endswith(".py") else LINE_CHARS_MAX
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield number, "space", RULES["space"]
        if len(line) > longest:
            yield number, "line-length", f"{len(line)} characters"
        if TODO.search(line) and path != "tools/lint.py":
            yield number, "todo", RULES["todo"]


def check_file(path, text):
    findings = []
    if path.endswith((".c", ".h")):
        code = code_only(text)
        for rule in (check_includes, check_calls, check_contracts, check_sizes, check_head):
            findings += rule(path, text, code)
    if path.endswith((".c", ".h", ".py", ".sh")) or path == ".ci/run":
        findings += check_text(path, text)
    return [(path, *finding) for finding in sorted(findings)]


# ---- The self-test: one clean tree, and for each rule text that breaks it and nothing else ----

CLEAN = {
    "dataplane/json/a.c": '/* COLD. A file. */\n#include "dataplane/base/span.h"\n#include <stdio.h>\n\n'
                          "/* sprintf(volatile) */\nint a(int x)\n{\n"
                          "    return x; /* TODO(#12): more */\n}\n",
    "dataplane/json/a.h": "/* A header. */\n#define F(x) \\\n    g(x)\n\n"
                          "typedef int (*cb)(int);\n\nstruct s {\n    int (*f)(int);\n};\n\n"
                          "/** Contract. */\nint a(int x);\n\n"
                          "/** Contract. */\nstatic inline int b(int x);\n\nstatic inline int b(int x)\n{\n"
                          "    return a(x);\n}\n",
    "dataplane/worker.c": '/* HOT. */\n#include "dataplane/input/http.h"\n'
                          '#include "dataplane/worker_internal.h"\n',
    "sinks/gcs/a.c": '/* x */\n#include "sinks/engine/http.h"\n#include "dataplane/event/names.h"\n'
                     "#include <curl/curl.h>\n",
    "sinks/thread.c": '/* x */\n#include "sinks/gcs/gcs.h"\n#include "dataplane/journal/reader.h"\n',
    "control/main.c": '/* x */\n#include "sinks/sink.h"\n#include "dataplane/worker.h"\n'
                      '#include "control/knobs.h"\n\nstatic volatile sig_atomic_t stop;\n'
                      'static void f(void)\n{\n    __asm__ volatile("" ::: "memory");\n}\n',
    "tools/penstock/a.c": '/* x */\n#include "control/protocol.h"\n',
    "tests/unit/test_a.c": '/* x */\n#include "dataplane/json/a_internal.h"\n'
                           '#include "control/config.h"\n',
    "tests/fuzz/fuzz_a.c": "/* x */\nint f(const char *s);\n",
}


def include_line(target):
    return f'/* COLD */\n#include "{target}"\n'


BROKEN = [
    ("include", "dataplane/base/a.c", include_line("dataplane/json/json.h")),
    ("include", "dataplane/json/a.c", include_line("dataplane/event/schema.h")),
    ("include", "dataplane/event/a.c", include_line("dataplane/block/block.h")),
    ("include", "dataplane/block/a.c", include_line("dataplane/journal/journal.h")),
    ("include", "dataplane/journal/a.c", include_line("dataplane/event/type.h")),
    ("include", "dataplane/input/a.c", include_line("dataplane/worker.h")),
    ("include", "dataplane/worker.c", include_line("sinks/sink.h")),
    ("include", "dataplane/worker.c", include_line("control/config.h")),
    ("include", "dataplane/worker.c", "/* HOT */\n#include <curl/curl.h>\n"),
    ("include", "sinks/engine/a.c", include_line("dataplane/event/type.h")),
    ("include", "sinks/delivery/a.c", include_line("sinks/gcs/gcs.h")),
    ("include", "sinks/gcs/a.c", include_line("dataplane/event/check.h")),
    ("include", "sinks/gcs/a.c", include_line("sinks/bigquery/bigquery.h")),
    ("include", "sinks/thread.c", include_line("dataplane/input/http.h")),
    ("include", "sinks/thread.c", include_line("dataplane/worker.h")),
    ("include", "sinks/new/a.c", include_line("dataplane/base/span.h")),
    ("include", "control/a.c", include_line("tests/unit/a.h")),
    ("include", "control/a.c", include_line("knobs.h")),
    ("include", "tools/penstock/a.c", include_line("control/config.h")),
    ("include", "tools/gen/a.c", include_line("dataplane/base/span.h")),
    ("include", "tools/localcloud/a.c", include_line("dataplane/json/json.h")),
    ("internal", "control/a.c", include_line("dataplane/json/json_internal.h")),
    ("internal", "dataplane/worker.c", include_line("dataplane/json/json_internal.h")),
    *[("banned", "control/a.c", f"/* x */\nstatic void f(void)\n{{\n    {call}(a);\n}}\n")
      for call in ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol")],
    ("locale", "control/a.c", "/* x */\nstatic void f(void)\n{\n    setlocale(LC_ALL, \"\");\n}\n"),
    ("volatile", "control/a.c", "/* x */\nstatic volatile int shared;\n"),
    ("contract", "control/a.h", "/* x */\n\nint f(int a,\n      int b);\n"),
    ("contract", "control/a.h", "/* x */\n\n/** One comment for two. */\nint f(int a);\nchar *g(int a);\n"),
    ("contract", "control/a.h", "/* x */\n\nstatic inline int f(int a)\n{\n    return a;\n}\n"),
    ("file-length", "control/a.c", "/* x */\n" + "int a;\n" * FILE_LINES_MAX),
    ("function-length", "control/a.c", "/* x */\nint f(int a)\n{\n" + "    a++;\n" * 148 + "}\n"),
    ("line-length", "control/a.c", "/* " + "x" * LINE_CHARS_MAX + " */\n"),
    ("todo", "tools/a.sh", "# TODO: later\n"),
    ("space", "tools/a.py", "x = 1 \n"),
    ("heat", "dataplane/a.c", "/* A file. */\nint a; /* HOT */\n"),
    ("head", "control/a.c", "int a;\n"),
    ("head", "control/a.h", "#pragma once\n/* late */\n"),
]


def self_test():
    errors = []
    for path, text in CLEAN.items():
        errors += [f"clean text is refused: {finding}" for finding in check_file(path, text)]
    for rule, path, text in BROKEN:
        rules = {finding[2] for finding in check_file(path, text)}
        if rules != {rule}:
            errors.append(f"{path}: expected [{rule}], found {sorted(rules)}: {text[:60]!r}")
    errors += [f"rule {rule} has no text that breaks it" for rule in RULES.keys() - {b[0] for b in BROKEN}]
    for error in errors:
        print(f"lint: self-test: {error}")
    print(f"lint: self-test: {len(CLEAN)} clean, {len(BROKEN)} broken, {len(errors)} errors")
    return 1 if errors else 0


def repository_files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                            capture_output=True).stdout.decode()
    return sorted(p for p in listed.split("\0") if p and (ROOT / p).is_file())


def main():
    args = sys.argv[1:]
    if args == ["--self-test"]:
        return self_test()
    paths = [str(Path(a).resolve().relative_to(ROOT)) for a in args] or repository_files()
    findings = []
    checked = 0
    for path in paths:
        if path.endswith((".c", ".h", ".py", ".sh")) or path == ".ci/run":
            checked += 1
            findings += check_file(path, (ROOT / path).read_text(errors="replace"))
    for path, line, rule, message in findings:
        print(f"{path}:{line}: [{rule}] {message}")
    print(f"lint: {checked} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
