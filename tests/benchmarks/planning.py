"""Planning 100,000 replicates, of few conditions and of many, each in a process of its own.

Processor time, which other work on the machine changes less than the clock.

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
    "20,002 conditions x 5 seeds": (5000, 5, False),
    "202 conditions x 500 seeds": (50, 500, False),
    "20,005 conditions x 5 seeds, mixtures and rivals": (2500, 5, True),
}
CODE = """
import sys, time
started = time.process_time()
from study import Study
imported = time.process_time()
alphas, seeds, mixed = map(int, sys.argv[1:])
mixture = {"mix": ["resnet2d", {"name": "vit", "depth": 2}], "weights": [[0.5, 0.5]]}
study = Study(
    name="large", task="translated_digits", targets=["fcn"],
    guides=["resnet2d", mixture] if mixed else ["resnet2d"],
    rivals=["orthogonal", "label_smoothing"] if mixed else [],
    controls=["shuffled"], schedule={"alpha": [(k + 1) / 100 for k in range(alphas)]},
    seeds=seeds, train={"epochs": 1},
)
replicates = study.plan().replicates
ended = time.process_time()
assert "ray" not in sys.modules
print(len(replicates), imported - started, ended - imported)
"""


def measure(alphas: int, seeds: int, mixed: bool = False) -> dict[str, float]:
    """Replicates, and median CPU-seconds to import and to plan."""
    command = [sys.executable, "-c", CODE, str(alphas), str(seeds), str(int(mixed))]
    runs = []
    for _ in range(REPEATS):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append([float(value) for value in done.stdout.split()])
    replicates, importing, planning = (
        statistics.median(column) for column in zip(*runs, strict=True)
    )
    return {"replicates": replicates, "import_seconds": importing, "plan_seconds": planning}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = {name: measure(*size) for name, size in SIZES.items()}
    if as_json:
        print(json.dumps({"machine": platform.processor(), "sizes": found}, indent=1))
        return
    print(f"{'':<52}{'replicates':>12}{'import (s)':>12}{'plan (s)':>12}")
    for name, row in found.items():
        print(
            f"{name:<52}{row['replicates']:>12,.0f}"
            f"{row['import_seconds']:>12.2f}{row['plan_seconds']:>12.2f}"
        )


if __name__ == "__main__":
    main()
