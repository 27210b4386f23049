"""Where the time of a study goes that is not training: its start, its end, and all between.

    python tests/benchmarks/startup.py [SPEC] [--tree FOLDER] [--plain] [--runs N] [--json]

Runs a study (default: the quickstart) in a fresh store, as a person would, on a machine that has
run it before: `archprior run --debug` fills the machine's cache and Python's first. Phases are seen
from outside, by the output of the command, the times of the store's files and Ray's, and its
processes: so `--tree` may be a checkout of any age. With `--plain` the same replicates are trained
once more by as many plain processes as there are CPUs, without Ray, MLflow and all else, each
taking the next that nobody has.

Each line is a moment: seconds since the command, and since the moment before. Of what goes on at
the same time, the later one shows only what it adds.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.02

#: One of several processes that train a study's replicates and do nothing else: guides first, and
#: what shares a guide in a row, as in a trial.
PLAIN = """
import os, sys, time, trainers
from study import Study
spec, store = sys.argv[1:]
def order(r):
    return r.role != "guide", str([term.guide for term in r.condition.terms]), r.seed
def claim(name):
    try:
        os.close(os.open(f"{store}.{name}", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
replicates = sorted(Study.load(spec).plan().replicates, key=order)
def ended(identifier):
    return os.path.exists(f"{store}/replicates/{identifier}/result.json")
def finished(r):
    return ended(r.id)
for r in replicates:
    if claim(r.id):
        while not all(map(ended, r.requires)):
            time.sleep(0.05)
        trainers.train(r.condition, seed=r.seed, store=store, report=lambda payload: None)
"""


class Watch:
    """The first time that each of some things was so, asked for until the command has ended."""

    def __init__(self, things: Mapping[str, Callable[[], bool]]) -> None:
        self.times: dict[str, float] = {}
        self._things = dict(things)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """The times, in seconds since 1970."""
        self._stop.set()
        self._thread.join()
        return self.times

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for name, is_so in list(self._things.items()):
                if is_so():
                    self.times[name] = time.time()
                    del self._things[name]


class Raylet:
    """Ray's daemon below a process."""

    def __init__(self, parent: int) -> None:
        self._parent = psutil.Process(parent)
        self._daemon: psutil.Process | None = None

    def is_there(self) -> bool:
        """Whether it was started."""
        with suppress(psutil.Error):
            found = [child for child in self._parent.children() if child.name() == "raylet"]
            self._daemon = found[0] if found else None
        return self._daemon is not None

    def has_gone(self) -> bool:
        """Whether it was there and is no more."""
        try:
            return self._daemon is not None and self._daemon.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True


def environment(tree: Path) -> dict[str, str]:
    """As of a person: with Python's cache, and the checkout to measure before all others."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPATH": str(tree)}


def measure(spec: Path, name: str, tree: Path, folder: Path) -> dict[str, Any]:
    """One run in a fresh store: its moments in seconds since the command, and what they sum to."""
    store, ray = folder / "store", folder / "ray"
    study, output = store / "studies" / name, folder / "output"
    ray.mkdir()
    os.utime(spec, ns=(0, spec.stat().st_mtime_ns))
    command = [sys.executable, "-m", "study", "run", str(spec), "--store", str(store)]
    variables = environment(tree) | {"RAY_TMPDIR": str(ray)}
    started = time.time()
    with output.open("wb") as out:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=out, stderr=out)
    daemon = Raylet(process.pid)
    watch = Watch(
        {
            "imports": lambda: spec.stat().st_atime_ns > 0,
            "plan": (study / "lease.json").exists,
            "rehearsal": (study / "spec.yaml").exists,
            "database": (store / "mlflow.db").exists,
            "Ray up": lambda: (
                any(ray.glob("ray/session_*/logs/python-core-driver-*")) and daemon.is_there()
            ),
            "trials planned": lambda: b"training " in output.read_bytes(),
            "first worker": lambda: any((store / "replicates").glob("*/starts.json")),
            "Ray down": daemon.has_gone,
        }
    )
    status, ended = process.wait(), time.time()
    seen = watch.stop()
    if status:
        raise SystemExit(f"{shlex.join(command)} ended with {status}:\n{output.read_text()}")
    moments = seen | of_files(store, study) | {"prompt": ended}
    times = {name: moment - started for name, moment in moments.items()}
    return {"moments": dict(sorted(times.items(), key=lambda item: item[1]))} | sums(times, store)


def results(store: Path) -> Iterator[tuple[dict[str, Any], float]]:
    """The result of each replicate, and when it was written."""
    for path in (store / "replicates").glob("*/result.json"):
        yield json.loads(path.read_bytes()), path.stat().st_mtime


def of_files(store: Path, study: Path) -> dict[str, float]:
    """Moments that the store's files tell when all is done."""
    compared = [path.stat().st_mtime for path in (store / "alignments").rglob("*.parquet")]
    tables = [path.stat().st_mtime for path in study.glob("*.parquet")]
    return {
        "first step": min(r["ended"] - r["train_seconds"] for r, _ in results(store)),
        "last result": max(written for _, written in results(store)),
        "last comparison": max(compared, default=0.0),
        "MLflow closed": (study / "mlflow_runs.json").stat().st_mtime,
        "tables": max(tables),
    }


def sums(times: Mapping[str, float], store: Path) -> dict[str, float]:
    """What the goals are set for."""
    training = [result["train_seconds"] for result, _ in results(store)]
    slots = os.cpu_count() or 1
    wall = times["prompt"]
    busy = slots * (times["last result"] - times["first step"])
    return {
        "wall": wall,
        "to the first step": times["first step"],
        "after the last result": wall - times["last result"],
        "training, of all replicates": sum(training),
        "replicates": len(training),
        "slots between first step and last result, not training": busy - sum(training),
        f"({slots} x wall - training) a replicate": (slots * wall - sum(training)) / len(training),
    }


def plain(spec: Path, tree: Path, folder: Path) -> float:
    """Wall-clock seconds of as many plain processes as there are CPUs."""
    started = time.time()
    command = [sys.executable, "-c", PLAIN, str(spec), str(folder / "plain")]
    processes = [
        subprocess.Popen(command, env=environment(tree), cwd=folder)
        for _ in range(os.cpu_count() or 1)
    ]
    ends = [process.wait() for process in processes]
    if any(ends):
        raise SystemExit("a plain process failed")
    return time.time() - started


def prepared(spec: str, tree: Path, folder: Path) -> tuple[Path, str]:
    """The spec as a file of its own, and the study's name; the machine has run it before."""
    given = Path(spec)
    source = given if given.exists() else tree / "study" / "presets" / f"{spec}.yaml"
    copy = Path(shutil.copy(source, folder / "spec.yaml"))
    # Two steps of each condition, in a store of its own, in the temporary folder.
    command = [sys.executable, "-m", "study", "run", str(copy), "--debug", "--local"]
    variables = environment(tree) | {"TMPDIR": str(folder)}
    subprocess.run(command, env=variables, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return copy, yaml.safe_load(copy.read_bytes())["name"]


def show(figures: Mapping[str, Any]) -> None:
    """Print the moments in their order, and the sums."""
    before = 0.0
    for name, at in figures["moments"].items():
        print(f"{at:9.2f} s  {at - before:+8.2f}  {name}")
        before = at
    for name, value in figures.items():
        if name != "moments":
            print(f"{value:9.2f}    {name}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", nargs="?", default="quickstart", help="a preset or a YAML file")
    parser.add_argument("--tree", type=Path, default=HERE, help="the checkout to measure")
    parser.add_argument("--runs", type=int, default=1, help="how often; each is printed")
    parser.add_argument("--plain", action="store_true", help="train by plain processes too")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    tree, found = arguments.tree.resolve(), []
    with tempfile.TemporaryDirectory(prefix="startup-") as temporary:
        spec, name = prepared(arguments.spec, tree, Path(temporary))
        for run in range(arguments.runs):
            folder = Path(temporary, str(run))
            folder.mkdir()
            figures = measure(spec, name, tree, folder)
            if arguments.plain:
                figures["plain processes"] = plain(spec, tree, folder)
                figures["wall / plain"] = figures["wall"] / figures["plain processes"]
            found.append(figures)
            if not arguments.json:
                show(figures)
    if arguments.json:
        print(json.dumps(found, indent=1))
    elif len(found) > 1:
        for name in found[0].keys() - {"moments"}:
            print(f"{statistics.median(each[name] for each in found):9.2f}    median of {name}")


if __name__ == "__main__":
    main()
