#!/usr/bin/env python3
"""Two minutes of tests/soak/soak.py, so that every test run mixes load, faults and restarts; `make soak` is the half
hour. SOAK_SECONDS and PENSTOCK_SEED as there."""
import os
import runpy

os.environ.setdefault("SOAK_SECONDS", "120")
os.environ.setdefault("SOAK_RATE", "1000")  # other tests run beside it
runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak", "soak.py"), run_name="__main__")
