#!/usr/bin/env python3
"""Goal: `json-check` tells valid documents from others as its document says, in files of any form and size,
alike in every variant; the example of docs/json.md builds against the library alone and prints what is said.

Method: the program on files made here. What is valid is known from how the files are made; the lines of the
large file are cut by the program's own pieces at ever other places.
"""
import os
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from penstock import BUILD, ROOT, Place, equal, expect, program, run_tests  # noqa: E402

WRONG = {
    "no document": [("", 0), (" \n", 2)],
    "a character that cannot stand here": [("[1}", 2), ('{"a":1,}', 7), ("\ufeff{}", 0)],
    "the document ends early": [("[", 1), ("[1,\n", 3), ('"a', 2), ("-", 1), ("tru", 3)],
    "a control character or a bad escape in a string": [('"\t"', 1), ('"\\x"', 2), ('"\\u12g4"', 5)],
    "an unpaired surrogate escape": [('"\\ud83d"', 1), ('"a\\ude00"', 2)],
    "a malformed number": [("[01]", 2), ("[1.]", 3), ("+1", 0), (".5", 0), ("[1e]", 3)],
    "neither true, false nor null": [("[tru]", 4), ("True", 0), ("[NaN]", 1), (' {"a":nul}', 9)],
    "nested too deep": [("[" * 65 + "]" * 65, 64)],
    "bytes after the document": [("{} {}", 3), ("1 2", 2), ("[1]]", 3)],
}
RIGHT = ["{}", "[]", "null", "0", "-0.0e+1", '""', " [ 1 ,\r\n2 ]\n", '"\\ud83d\\ude00é€"', "[" * 64 + "]" * 64,
         '{"a":1,"a":2}']


def check(*arguments, status=0, data=None):
    done = subprocess.run([program("json-check"), *arguments], capture_output=True, timeout=120, input=data)
    equal(done.returncode, status, f"status of json-check {arguments}: {done.stderr[-400:]}")
    expect(done.stderr or status < 2, "an error says nothing")
    return done.stdout.decode().splitlines(), done.stderr.decode()


def variants():
    """--isa of each variant that this CPU has."""
    usable = []
    for isa in ("scalar", "avx2", "avx512"):
        done = subprocess.run([program("json-check"), "--isa", isa, "-"], capture_output=True, timeout=20,
                              input=b"1", check=False)
        if done.returncode == 0:
            usable.append(isa)
        else:
            expect(b"this CPU has no " + isa.encode() in done.stderr, done.stderr)
    expect("scalar" in usable, usable)
    return usable


def test_documents():
    for isa in variants():
        for text in RIGHT:
            equal(check("--isa", isa, "-", data=text.encode())[0], ["valid"], text)
        for reason, cases in WRONG.items():
            for text, offset in cases:
                out, _ = check("--isa", isa, "-", data=text.encode(), status=1)
                equal(out, [f"invalid {offset} {reason}"], text)
        out, _ = check("--isa", isa, "-", data=b'["\xc3("]', status=1)
        equal(out, ["invalid 2 bytes that are not UTF-8"])


def test_reasons_are_documented():
    with open(os.path.join(ROOT, "docs", "json.md"), encoding="utf-8") as file:
        table = re.search(r"^\| reason \|.*?\n\n", file.read(), re.S | re.M).group()
    reasons = re.findall(r"^\| ([a-z][^|]*) \| ", table, re.M)
    equal(sorted(reasons), sorted(["reason", "bytes that are not UTF-8", *WRONG]))


def test_lines():
    lines = [(t, "valid") for t in RIGHT if "\n" not in t]
    lines += [(t, f"invalid {at} {r}") for r, cases in WRONG.items() for t, at in cases if t.strip() and "\n" not in t]
    text = "\r\n \n".join(t for t, _ in lines)
    for data in (text, text + "\n", "\n\n" + text):
        for isa in variants():
            out, _ = check("--ndjson", "--isa", isa, "-", data=data.encode(), status=1)
            equal(out, [answer for _, answer in lines])
    equal(check("--ndjson", "-", data=b"\n \r\n")[0], [])
    out, _ = check("--ndjson", "--names", "-", data=b'{}\n\n  {"a":x}\r\n[', status=1)
    equal(out, ["(standard input):1: valid", "(standard input):3: invalid 7 neither true, false nor null",
                "(standard input):4: invalid 1 the document ends early"])


def test_files_and_statuses():
    with Place() as place:
        good, bad = place.file("good.json"), place.file("bad.json")
        for name, text in ((good, '{"a":\n1}'), (bad, '{"a":\n01}')):
            with open(name, "w", encoding="utf-8") as file:
                file.write(text)
        equal(check(good, good)[0], ["valid", "valid"])
        out, err = check("--names", bad, good, "/nowhere/x", place.path, good, status=2)
        equal(out, [f"{bad}: invalid 7 a malformed number", f"{good}: valid", f"{good}: valid"])
        expect("/nowhere/x: No such file" in err and "Is a directory" in err, err)
        for wrong, said in (([], "no FILE was named"), (["--isa"], "a value is missing behind --isa"),
                            (["--isa", "mmx", good], "--isa takes avx512, avx2, scalar or auto, not mmx"),
                            (["--nope", good], "there is no option --nope"), (["-q", good], "there is no option -q")):
            out, err = check(*wrong, status=2)
            expect(not out and err.startswith("json-check: " + said) and "--help" in err, (wrong, err))
        for command in ([good], ["--help"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([program("json-check"), *command], stdout=full, stderr=subprocess.PIPE,
                                      timeout=20)
            equal(done.returncode, 2, f"status of {command} with a full disk")
            expect(b"No space left" in done.stderr, done.stderr)
    expect(any("usage" in line for line in check("--help")[0]), "--help")


def test_odd_files():
    """Empty, blank, with a byte order mark, with CR LF, without a last line end, unreadable, too large, closed."""
    with Place() as place:
        def made(text):
            with open(place.file("odd"), "wb") as file:
                file.write(text)
            return place.file("odd")

        for isa in variants():
            isa = ["--isa", isa]
            equal(check(*isa, made(b""), status=1)[0], ["invalid 0 no document"])
            equal(check(*isa, "--ndjson", made(b""))[0], [])
            equal(check(*isa, "--ndjson", made(b" \r\n\t\n"))[0], [])
            equal(check(*isa, made(b"\xef\xbb\xbf{}"), status=1)[0],
                  ["invalid 0 a character that cannot stand here"])
            equal(check(*isa, "--ndjson", made(b"\xef\xbb\xbf{}\n{}"), status=1)[0],
                  ["invalid 0 a character that cannot stand here", "valid"])
            equal(check(*isa, "--ndjson", made(b'{"a":1}\r\n{"b":2}\r\n'))[0], ["valid", "valid"])
            equal(check(*isa, "--ndjson", made(b'{"a":1}\n{"b":2}'))[0], ["valid", "valid"])
            equal(check(*isa, made(b'{"a":1}\n{"b":2}\n'), status=1)[0], ["invalid 8 bytes after the document"])
            equal(check(*isa, made(b'\xff\xfe{\0}\0'), status=1)[0], ["invalid 0 bytes that are not UTF-8"])
            equal(check(*isa, "--names", "-", made(b"[]"), "-", data=b"{", status=1)[0],
                  ["(standard input): invalid 1 the document ends early", f"{place.file('odd')}: valid",
                   "(standard input): invalid 0 no document"])
        out, err = check("/proc/self/mem", made(b"1"), status=2)
        expect(out == ["valid"] and "/proc/self/mem: Input/output error" in err, (out, err))
        with open(place.file("sparse"), "wb") as file:
            file.truncate(5 << 30)
        out, err = check(place.file("sparse"), made(b"1"), status=2)
        expect(out == ["valid"] and "a document may have 4294967294 bytes at most" in err, (out, err))
        done = subprocess.run(["sh", "-c", 'exec "$0" - <&-', program("json-check")], capture_output=True, timeout=20)
        expect(done.returncode == 2 and b"(standard input): Bad file descriptor" in done.stderr, done)


def test_large():
    """30 MB of lines, some longer than what is read at once; a pipe that gives ever other amounts."""
    rng = random.Random(7)
    lines, answers = [], []
    while sum(map(len, lines)) < 30_000_000:
        size = rng.choice([0, 10, 100, 1000, 60_000, 3_000_000])
        if rng.random() < 0.1:
            lines.append(b'{"a":"' + b"x" * size + b'","b":[1,2}')
            answers.append(f"invalid {size + 16} a character that cannot stand here")
        else:
            lines.append(b'{"a":"' + b"x" * size + b'","b":[1,2]}')
            answers.append("valid")
    data = b"\n".join(lines)
    for isa in variants():
        with subprocess.Popen([program("json-check"), "--ndjson", "--isa", isa, "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as child:
            at = 0
            while at < len(data):
                n = rng.randrange(1, 500_000)
                child.stdin.write(data[at:at + n])
                child.stdin.flush()
                at += n
            child.stdin.close()
            equal(child.stdout.read().decode().splitlines(), answers, isa)
            equal(child.wait(60), 1)
        array = b"[\n" + b",\n".join(line for line, a in zip(lines, answers) if a == "valid") + b"]"
        equal(check("--isa", isa, "-", data=array)[0], ["valid"])
        equal(check("--isa", isa, "-", data=array[:-1] + b"}", status=1)[0],
              [f"invalid {len(array) - 1} a character that cannot stand here"])


def run_example(code, printed):
    library = os.path.join(BUILD, "libpenstockjson.a")
    expect(os.path.exists(library), library)
    sanitized = [] if "asan" not in BUILD else ["-fsanitize=address,undefined"]
    with Place() as place:
        with open(place.file("example.c"), "w", encoding="utf-8") as file:
            file.write(code)
        command = [os.environ.get("CC", "cc").split()[-1], "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra",
                   "-Werror", "-I.", "-o", place.file("example"), place.file("example.c"), library, "-lm"]
        done = subprocess.run(command + sanitized, cwd=ROOT, capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stderr)
        done = subprocess.run([place.file("example")], capture_output=True, text=True, timeout=20)
        equal((done.returncode, done.stdout), (0, printed))


def test_examples_of_the_document():
    with open(os.path.join(ROOT, "docs", "json.md"), encoding="utf-8") as file:
        text = file.read()
    codes = re.findall(r"^```c\n(.*?)^```", text, re.S | re.M)
    outputs = re.findall(r"^```text\n(.*?)^```", text, re.S | re.M)
    equal((len(codes), len(outputs)), (2, 2), "examples and what they print")
    for code, printed in zip(codes, outputs):
        run_example(code, printed)


if __name__ == "__main__":
    if shutil.which("cc") is None:
        print("no C compiler")
        sys.exit(77)
    sys.exit(run_tests([test_documents, test_reasons_are_documented, test_lines, test_files_and_statuses,
                        test_odd_files, test_large, test_examples_of_the_document]))
