"""What Ray, MLflow and everything else cost beside training, by kind of process.

    python tests/benchmarks/overhead.py [SPEC] [--store FOLDER] [--json]

Runs a study (default: the quickstart) in a fresh store and samples the CPU time of every process
that it starts. Overhead is CPU time of all processes less the training time that replicates report,
and less that of the comparisons of networks after training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict

import psutil

from study import Study
from study.plan.packing import pack
from study.plan.progress import Progress
from trainers.store.store import Store

KINDS = {
    "train_replicates": "train worker",
    "RayTrainWorker": "train worker",
    "TrainController": "train controller",
    "TrainStateActor": "train bookkeeping",
    "PlacementGroupCleaner": "train bookkeeping",
    "SynchronizationActor": "train bookkeeping",
    "DatasetManager": "train bookkeeping",
    "Preemption": "train bookkeeping",
    "tune_trial": "tune trial",
    "ImplicitFunc": "tune trial",
    "align_networks": "alignment",
    "gcs_server": "ray daemons",
    "raylet": "ray daemons",
    "dashboard": "ray daemons",
    "runtime_env": "ray daemons",
    "log_monitor": "ray daemons",
    "monitor.py": "ray daemons",
    "ray::IDLE": "idle workers",
    "default_worker": "idle workers",
    "archprior": "driver",
    "study": "driver",
}


class Sampler:
    """The latest CPU seconds of every process below `root`."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self.seconds: dict[tuple[int, float], float] = {}
        self.kinds: dict[tuple[int, float], str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.25):
            try:
                processes = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return
            for process in processes:
                self._note(process)

    def _note(self, process: psutil.Process) -> None:
        try:
            key = (process.pid, process.create_time())
            times, command = process.cpu_times(), " ".join(process.cmdline())
        except psutil.Error:
            return
        self.seconds[key] = times.user + times.system
        kind = next((kind for mark, kind in KINDS.items() if mark in command), "other")
        if kind != "idle workers" or key not in self.kinds:
            self.kinds[key] = kind


def measure(spec: str, store: str) -> dict[str, object]:
    command = [sys.executable, "-m", "study", "run", spec, "--store", store]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        sampler = Sampler(process.pid)
        process.wait()
        wall = time.monotonic() - started
        sampler.stop()
    by_kind: dict[str, float] = defaultdict(float)
    for key, seconds in sampler.seconds.items():
        by_kind[sampler.kinds[key]] += seconds
    study = Study.load(spec)
    progress = Progress(study.plan(), Store(store))
    results = {
        identifier: state.result
        for identifier, state in progress.states.items()
        if state.result is not None
    }
    training = sum(result.train_cpu_seconds or 0.0 for result in results.values())
    planned = pack(
        study.plan().replicates,
        {identifier: result.train_seconds for identifier, result in results.items()},
        slots=psutil.cpu_count() or 1,
    )
    total = sum(by_kind.values())
    alignment = by_kind["alignment"]
    overhead = total - training - alignment
    return {
        "wall_seconds": wall,
        "cpu_seconds": total,
        "training_cpu_seconds": training,
        "alignment_cpu_seconds": alignment,
        "overhead_cpu_seconds": overhead,
        "replicates": len(results),
        "trials": len(planned),
        "overhead_per_replicate": overhead / max(1, len(results)),
        "overhead_per_trial": overhead / max(1, len(planned)),
        "cpu_seconds_by_kind": dict(sorted(by_kind.items(), key=lambda item: -item[1])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="quickstart")
    parser.add_argument("--store")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.spec, arguments.store or folder)
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        if isinstance(value, dict):
            for kind, seconds in value.items():
                print(f"    {kind:<24} {seconds:8.1f} s")
        else:
            print(f"{name:<26} {value:10.1f}")


if __name__ == "__main__":
    main()
