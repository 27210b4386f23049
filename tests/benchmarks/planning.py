"""Planning 10,000 to 100,000 replicates, each study in a process of its own.

Without mixtures, with mixtures, rivals and controls, and with many seeds of few conditions. The
time to plan is that to expand the spec and to give each replicate its id; the time to print is what
`archprior plan` adds in an empty store: states, expected cost, trials and lines. Processor time,
which other work on the machine changes less than the clock.

Run: python tests/benchmarks/planning.py [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

REPEATS = 3
#: What is planned: alphas, seeds for each, and whether there are mixtures and rivals too.
SIZES = {
    "10,000": (166, 5, False),
    "30,000": (500, 5, False),
    "100,000": (1667, 5, False),
    "200 conditions x 500 seeds": (16, 500, False),
    "10,000 with mixtures and rivals": (62, 5, True),
    "30,000 with mixtures and rivals": (186, 5, True),
    "100,000 with mixtures and rivals": (620, 5, True),
}
CODE = """
import sys, tempfile, time
started = time.process_time()
from study import Study
from study.cli.console import plan_lines
from study.plan import cost, packing
from study.plan.progress import Progress
from trainers.store.store import Store
imported = time.process_time()
alphas, seeds, mixed = map(int, sys.argv[1:])
guides = ["resnet2d", {"name": "vit", "depth": 2}]
weights = [[1, 0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0, 1]]
steps = [1 + k for k in range(max(1, alphas // 10))]
study = Study(
    name="large", task="translated_digits", targets=["fcn"],
    guides=[{"mix": guides, "weights": weights}] if mixed else guides,
    rivals=["orthogonal", {"name": "aligned_start", "steps": steps}] if mixed else [],
    controls=["standard"], schedule={"alpha": [(k + 1) / 100 for k in range(alphas)]},
    seeds=seeds, train={"epochs": 10},
)
plan = study.plan()
count = len(plan.replicates)
planned = time.process_time()
with tempfile.TemporaryDirectory() as folder:
    progress = Progress(plan, Store(folder))
estimate = cost.estimate(progress)
trials = packing.pack(progress.todo, estimate.seconds, slots=2)
lines = plan_lines(progress, estimate, len(trials))
printed = time.process_time()
assert "ray" not in sys.modules
print(count, imported - started, planned - imported, printed - planned)
"""


def measure(alphas: int, seeds: int, mixed: bool = False) -> dict[str, float]:
    """Replicates, and median CPU-seconds to import, to plan and to print."""
    command = [sys.executable, "-c", CODE, str(alphas), str(seeds), str(int(mixed))]
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append([float(value) for value in done.stdout.split()])
    names = ("replicates", "import_seconds", "plan_seconds", "print_seconds")
    medians = (statistics.median(column) for column in zip(*runs, strict=True))
    return dict(zip(names, medians, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = {name: measure(*size) for name, size in SIZES.items()}
    if as_json:
        print(json.dumps({"machine": platform.processor(), "sizes": found}, indent=1))
        return
    print(f"{'':<36}{'replicates':>12}{'import (s)':>12}{'plan (s)':>12}{'print (s)':>12}")
    for name, row in found.items():
        print(
            f"{name:<36}{row['replicates']:>12,.0f}{row['import_seconds']:>12.2f}"
            f"{row['plan_seconds']:>12.2f}{row['print_seconds']:>12.2f}"
        )


if __name__ == "__main__":
    main()
