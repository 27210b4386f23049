"""Collecting 10,000 replicates of 100 reports: analysis, status, a run with nothing to do, report.

Run: python tests/benchmarks/collect.py [--replicates N] [--reports R] [--server] [--json]
     python tests/benchmarks/collect.py --trials N [--reports R] [--json]

A finished study is written as trials write it, through the store, and brought to MLflow by the
tracker; only its numbers are drawn. Then each command runs in a process of its own. Beside seconds
(processor time of the process and its children, and wall-clock time) it tells the largest resident
memory and how many calls MLflow got. With `--server` MLflow is a server of its own on loopback, and
a copy of the study without its store is analysed from it. `--only-store` leaves MLflow out. With
`--trials` the study is a search of so many trials at two tuning seeds each, from its store alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis import database
from study.plan.progress import Progress
from study.tracking.tracker import Tracker
from tests.helpers.commands_measured import command
from tests.helpers.drawn_study import finish_rest, grid, write
from tests.helpers.mlflow_server import Server
from trainers.store.store import Store

NAME = "collected"
GUIDES, SEEDS = 10, 12
#: Trials of an arm that are asked for at once.
BATCH = 50
#: Replicates that come later, to be collected beside those that are known.
NEW = 5


def spec(replicates: int) -> dict[str, Any]:
    """The spec of a study of about so many replicates; small ones have fewer seeds."""
    seeds = max(2, min(SEEDS, replicates // (1 + 5 * GUIDES)))
    targets = max(1, round((replicates / seeds - GUIDES) / (1 + 4 * GUIDES)))
    return grid(NAME, targets, GUIDES, seeds)


def searched(trials: int) -> dict[str, Any]:
    """The spec of a search of so many trials in five arms: a baseline, and four with guidance."""
    return grid(NAME, targets=1, guides=1, seeds=5) | {
        "search": {
            "budget": max(1, trials // 5),
            "batch": BATCH,
            "seeds": [100, 101],
            "select": "validation/accuracy",
            "space": {
                "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
                "targets.dropout": {"low": 0.0, "high": 0.5},
                "schedule.alpha": {"low": 0.1, "high": 10.0, "log": True},
            },
        }
    }


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server on loopback; gives its URI."""
    folder.mkdir()
    made = Server(folder)
    made.start()
    try:
        yield made.url
    finally:
        made.kill(15)


def project(progress: Progress, uri: str) -> float:
    """Bring the study to MLflow by the tracker; returns CPU-seconds of this process."""
    began = process_time()
    tracker = Tracker(progress, uri, {"git_commit": "0" * 40}, lambda line: None)
    tracker.start({})
    tracker.close({})
    return process_time() - began


def measure(folder: Path, replicates: int, reports: int, *, mlflow: str) -> dict[str, Any]:
    """What commands take on a study; `mlflow` is `none`, `sqlite` or `server`."""
    with ExitStack() as stack:
        uri = None
        if mlflow == "server":
            uri = stack.enter_context(server(folder / "mlflow"))
        return _measure(folder, replicates, reports, mlflow, uri)


def _measure(
    folder: Path, replicates: int, reports: int, mlflow: str, uri: str | None
) -> dict[str, Any]:
    store, path, began = folder / "store", folder / "spec.yaml", process_time()
    path.write_text(json.dumps(spec(replicates)), encoding="utf-8")
    progress = write(spec(replicates), Store(store), reports, withheld=NEW)
    found: dict[str, Any] = {"written": {"cpu_s": process_time() - began}}
    found["written"] |= {"replicates": len(progress.by_id)}
    if mlflow != "none":
        place = uri or database.uri_of(store / database.NAME)
        found["written to MLflow"] = {"cpu_s": project(progress, place)}
    kind = {"none": "none", "sqlite": "client", "server": "http"}[mlflow]
    take = partial(command, store, kind, uri=uri)
    found["analyze"] = take("analyze", NAME)
    found["analyze again"] = take("analyze", NAME)
    finish_rest(progress, reports)
    found[f"analyze, {NEW} new"] = take("analyze", NAME)
    found["status"] = take("status", NAME)
    if mlflow != "none":
        found[f"run, {NEW} new"] = take("run", str(path), "--local")
        found["run again"] = take("run", str(path), "--local")
    found["report"] = take("report", NAME)
    found["report again"] = take("report", NAME)
    if mlflow == "server":
        store = folder / "elsewhere"
        found["analyze from MLflow"] = command(store, "http", "analyze", NAME, uri=uri)
        found["analyze from MLflow again"] = command(store, "http", "analyze", NAME, uri=uri)
    return found


def measure_search(folder: Path, trials: int, reports: int) -> dict[str, Any]:
    """What commands take on a search of so many trials, from its store."""
    store, began = folder / "store", process_time()
    progress = write(searched(trials), Store(store), reports)
    found: dict[str, Any] = {"written": {"cpu_s": process_time() - began}}
    found["written"] |= {"replicates": len(progress.by_id)}
    for name in ("analyze", "analyze again", "status", "report"):
        found[name] = command(store, "none", name.split()[0], NAME)
    (path,) = store.rglob("search.parquet")
    ended = pq.read_table(path, columns=["status"]).column("status").to_pylist()
    found["search.parquet"] = {"trials": len(ended), "finished": ended.count("finished")}
    return found


def main() -> None:
    """Measure in a temporary folder, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--only-store", action="store_true")
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    mlflow = "none" if arguments.only_store else "server" if arguments.server else "sqlite"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.trials is not None:
            found = measure_search(Path(folder), arguments.trials, arguments.reports)
        else:
            found = measure(Path(folder), arguments.replicates, arguments.reports, mlflow=mlflow)
    if arguments.json:
        print(json.dumps({"machine": platform.processor(), "figures": found}, indent=1))
        return
    for name, figures in found.items():
        shown = ", ".join(f"{key} {value:,.1f}" for key, value in figures.items())
        print(f"{name}: {shown}")


if __name__ == "__main__":
    main()
