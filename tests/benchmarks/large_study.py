"""What a study of many short replicates costs by its size, trained and all: time, memory, files.

Run: python tests/benchmarks/large_study.py [--replicates N ...] [--figure FILE] [--json]

For each size a study of networks that train for milliseconds runs in a fresh store, on Ray, with
comparisons, MLflow (sqlite) and tables; then come a run with nothing to do, `status`, `plan`,
`studies` and a dry `gc`. Each is a process of its own, as in `collect.py`, whose studies have
longer histories and were never trained. Memory is that of the driver, not of Ray's daemons and
workers.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis.plots import save
from tests.helpers.commands_measured import command

NAME = "large"
SIZES = (100, 1_000, 10_000)
#: Targets, and values of alpha each is guided with beside its baseline: conditions of one seed.
TARGETS, ALPHAS = 4, 24
COMMANDS = {
    "run": ("run", "SPEC"), "run again": ("run", "SPEC"), "status": ("status", NAME),
    "plan": ("plan", "SPEC"), "studies": ("studies",), "gc --dry-run": ("gc", "--dry-run"),
}  # fmt: skip

Figures = dict[str, dict[str, float]]


def spec(replicates: int) -> dict[str, Any]:
    """The spec of a study of about so many replicates: more seeds of the same conditions."""
    return {
        "name": NAME,
        "task": {"name": "translated_digits", "places": 1},
        "targets": [{"name": "fcn", "depth": 1, "width": 8 + k} for k in range(TARGETS)],
        "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
        "states": ["untrained"],
        "controls": [],
        "schedule": [{"alpha": 0.25 * (1 + k)} for k in range(ALPHAS)],
        "seeds": max(1, round(replicates / (TARGETS * (1 + ALPHAS)))),
        "train": {"steps": 4, "batch_size": 20, "report_every": 2},
    }


def measure(folder: Path, replicates: int) -> Figures:
    """What commands take on a study of about so many replicates, and what it leaves."""
    store, path = folder / "store", folder / "spec.yaml"
    path.write_text(json.dumps(spec(replicates)), encoding="utf-8")
    found: Figures = {}
    for name, words in COMMANDS.items():
        found[name] = command(store, "none", *(str(path) if w == "SPEC" else w for w in words))
        print(f"{replicates} replicates, {name}: {shown(found[name])}", file=sys.stderr, flush=True)
    results = [json.loads(each.read_bytes()) for each in store.glob("replicates/*/result.json")]
    files = [each.stat().st_size for each in store.rglob("*") if each.is_file()]
    database = (store / "mlflow.db").stat().st_size
    found["left"] = {
        "replicates": len(results),
        "training_s": sum(each["train_seconds"] for each in results),
        "files": len(files), "mb": sum(files) / 1e6, "mlflow_mb": database / 1e6,
    }  # fmt: skip
    return found


def shown(figures: Mapping[str, float]) -> str:
    """Figures in a line."""
    return ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())


def draw(found: Mapping[int, Figures], path: Path) -> None:
    """Draw seconds and the driver's memory by the number of replicates, on logarithmic axes."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    sizes = [each["left"]["replicates"] for each in found.values()]
    for name in COMMANDS:
        seconds.plot(sizes, [f[name]["wall_s"] for f in found.values()], marker="o", label=name)
        memory.plot(sizes, [f[name]["peak_mb"] for f in found.values()], marker="o", label=name)
    for axes, label in ((seconds, "seconds"), (memory, "largest resident memory (MB)")):
        axes.set(xscale="log", yscale="log", xlabel="replicates", ylabel=label)
        axes.grid(alpha=0.3)
    figure.legend(*seconds.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    save(figure, path)


def main() -> None:
    """Measure each size in a temporary folder, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, nargs="+", default=SIZES)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {}
    for size in arguments.replicates:
        with tempfile.TemporaryDirectory() as folder:
            found[size] = measure(Path(folder), size)
    if arguments.figure is not None:
        draw(found, arguments.figure)
    if arguments.json:
        print(json.dumps({"machine": platform.processor(), "figures": found}, indent=1))
        return
    for size, figures in found.items():
        for name, values in figures.items():
            print(f"{size} replicates, {name}: {shown(values)}")


if __name__ == "__main__":
    main()
