#!/usr/bin/env python3
"""Writes change_points.csv: series of 120 runs whose levels are known. The noise is log-normal, 2 % in deviation, which
is that of a median latency on a quiet machine; Python's generator gives the same numbers everywhere."""

import datetime
import pathlib
import random

RUNS = 120
# By series: the level from each run on, in milliseconds.
LEVELS = {
    "step": {0: 4.0, 60: 4.6},
    "bump": {0: 10.0, 50: 11.5, 62: 10.0},
    "newest": {0: 0.5, 115: 0.6},
    "stairs": {0: 1.0, 30: 1.2, 60: 1.5, 90: 1.1},
    "outliers": {0: 2.0},
    "drift_back": {0: 8.0, 40: 9.2, 80: 8.0},
}
# Single runs that went wrong: the factor by which they took longer.
OUTLIERS = {"outliers": {20: 3.0, 61: 2.5, 63: 4.0, 118: 5.0}}

source = random.Random(20261121)
columns = {}
for name, levels in LEVELS.items():
    level, values = 0.0, []
    for run in range(RUNS):
        level = levels.get(run, level)
        values.append(level * source.lognormvariate(0.0, 0.02) * OUTLIERS.get(name, {}).get(run, 1.0))
    columns[name] = values

first = datetime.datetime(2026, 1, 1, 6, tzinfo=datetime.timezone.utc)
lines = ["time," + ",".join(columns)]
for run in range(RUNS):
    time = (first + datetime.timedelta(days=run)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines.append(time + "," + ",".join(f"{values[run]:.6f}" for values in columns.values()))
pathlib.Path(__file__).with_suffix(".csv").write_text("\n".join(lines) + "\n")
