#!/usr/bin/env python3
"""Reads the commands of `make -Bnk V=1` and writes compile_commands.json: stdin to stdout."""

import json
import os
import re
import shlex
import sys

COMPILER = re.compile(r"^(?:\S*/)?(?:gcc|clang|cc)(?:-\d+)?$")
LAUNCHERS = ("ccache", "distcc")


def entry(line, folder):
    """The entry of one command line, or None when it compiles nothing."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    while words and words[0] in LAUNCHERS:
        words = words[1:]
    if not words or not COMPILER.match(words[0]):
        return None
    sources = [word for word in words[1:] if word.endswith(".c")]
    if not sources:
        return None
    found = {"directory": folder, "file": sources[0], "arguments": words}
    if "-o" in words[:-1]:
        found["output"] = words[words.index("-o") + 1]
    return found


def main():
    commands = sys.stdin.read().replace("\\\n", " ").splitlines()
    entries = [e for e in (entry(line, os.getcwd()) for line in commands) if e is not None]
    json.dump(entries, sys.stdout, indent=1)
    print()
    return 0 if entries else 1


if __name__ == "__main__":
    sys.exit(main())
