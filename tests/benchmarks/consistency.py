"""Speed and memory of the `consistency` table on random answers of networks that err alike.

    python tests/benchmarks/consistency.py [--json] [--conditions N] [--examples N] [--seeds N]

One baseline and one guide at every seed, the rest guided conditions; one BLAS thread. Prints the
seconds that the table took (of the clock, and of the processor, where others work on the machine),
the memory that plan and answers hold before it, and what the table takes on top at its peak (on
Linux alone: the peak is reset in /proc).
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import argparse
import gc
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.answers import Answers
from analysis.consistency.table import consistency_table
from analysis.measured import REPLICATES_AT_ONCE
from analysis.schema import frame_of, schema

NUM_CLASSES = 10
ACCURACY = 0.8
#: Probability that a network answers an example as its task's hardness says, not by chance.
SHARED = 0.4


def plan(conditions: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Rows of the plan: a guide, a baseline and `conditions` guided ones, at each seed."""
    same = {"study": "benchmark", "task": "random", "status": "finished"}
    for seed in range(seeds):
        ids = {"baseline_id": f"baseline/{seed}", "guide_id": f"guide/{seed}"}
        named = same | {"seed": seed}
        yield named | {"replicate_id": ids["guide_id"], "role": "guide", "target": "cnn"}
        yield named | {"replicate_id": ids["baseline_id"], "role": "baseline", "target": "fcn"}
        for number in range(conditions):
            yield named | ids | {
                "replicate_id": f"guided/{number}/{seed}", "role": "guided", "target": "fcn",
                "guide": "cnn", "state": "trained", "control": "none", "alpha": float(number),
            }  # fmt: skip


def answers(replicates: int, examples: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Labels `(examples,)` and answers `(replicates, examples)`."""
    rng = np.random.default_rng(0)
    labels = rng.integers(NUM_CLASSES, size=examples)
    hard = rng.random(examples) > ACCURACY
    chosen = np.empty((replicates, examples), dtype=np.int64)
    for row in chosen:
        own = rng.random(examples) > ACCURACY
        wrong = np.where(rng.random(examples) < SHARED, hard, own)
        row[:] = (labels + wrong * rng.integers(1, NUM_CLASSES, examples)) % NUM_CLASSES
    return labels, chosen


def predictions(ids: list[str], examples: int) -> Iterator[pd.DataFrame]:
    """The `predictions` table, in parts of some replicates, as its row groups are."""
    labels, chosen = answers(len(ids), examples)
    for start in range(0, len(ids), REPLICATES_AT_ONCE):
        part = ids[start : start + REPLICATES_AT_ONCE]
        yield pd.DataFrame(
            {
                "replicate_id": pd.Series(np.repeat(np.array(part, dtype=object), examples)),
                "example": np.tile(np.arange(examples), len(part)),
                "position": 0,
                "label": np.tile(labels, len(part)),
                "prediction": chosen[start : start + len(part)].ravel(),
                "cluster": np.tile(np.arange(examples), len(part)),
            }
        )


def memory_mib(field: str) -> float:
    """VmRSS, memory now, or VmHWM, its peak since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    for name, default in (("conditions", 1000), ("examples", 10_000), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rows = list(plan(given.conditions, given.seeds))
    replicates = frame_of(rows, schema("replicates"))
    tasks = {str(row["replicate_id"]): str(row["task"]) for row in rows}
    held = Answers(predictions(list(tasks), given.examples), tasks)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_mib("VmRSS")
    started, used = time.perf_counter(), time.process_time()
    frame = consistency_table(replicates, held)
    result = {
        "conditions": given.conditions,
        "examples": given.examples,
        "seeds": given.seeds,
        "rows": len(frame),
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "answers_mib": before,
        "added_mib": memory_mib("VmHWM") - before,
    }
    if given.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:<12}{value:>12,.{1 if isinstance(value, float) else 0}f}")


if __name__ == "__main__":
    main()
