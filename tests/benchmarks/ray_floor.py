"""What Ray Tune and Ray Train take by themselves: trials whose workers do nothing.

    python tests/benchmarks/ray_floor.py [--trials N] [--runs N] [--json]

Each trial is a `TorchTrainer` with one worker, as a trial of a study is, and nothing of this
project is imported. So these are seconds that `startup.py` cannot go below on the same machine:
from the command to the first step, from the last report to the end, and slots in all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOMENTS = ("imports", "Ray up", "first trial", "first worker", "last report", "trials ended", "end")


def train(config: dict[str, Any]) -> None:
    """A worker: note when it began, and report."""
    import ray.train

    folder = Path(config["folder"])
    (folder / f"worker-{config['trial']}").write_text(str(time.time()))
    ray.train.report({"done": 1})
    (folder / f"report-{config['trial']}").write_text(str(time.time()))


def trial(config: dict[str, Any]) -> None:
    """A Tune trial: a Train group of one worker."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    folder = Path(config["folder"])
    (folder / f"trial-{config['trial']}").write_text(str(time.time()))
    TorchTrainer(
        train,
        train_loop_config=config,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.9}),
        run_config=RunConfig(
            name=f"trial-{config['trial']}",
            storage_path=str(folder / "ray"),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def run(trials: int, folder: Path, began: float) -> None:
    """Run the trials, and write the moments, in seconds since `began`, into `moments.json`."""
    seen = {}
    import ray
    from ray import tune

    seen["imports"] = time.time()
    ray.init(address="local", log_to_driver=False, logging_level="error")
    seen["Ray up"] = time.time()
    space = {"trial": tune.grid_search(list(range(trials))), "folder": str(folder)}
    tune.Tuner(
        tune.with_resources(trial, {"CPU": 0.01}),
        param_space=space,
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    ).fit()
    seen["trials ended"] = time.time()
    ray.shutdown()
    seen["end"] = time.time()
    for name, kind, which in (
        ("first trial", "trial", min),
        ("first worker", "worker", min),
        ("last report", "report", max),
    ):
        seen[name] = which(float(path.read_text()) for path in folder.glob(f"{kind}-*"))
    moments = {name: seen[name] - began for name in MOMENTS}
    (folder / "moments.json").write_text(json.dumps(moments))


def measure(trials: int) -> dict[str, float]:
    """Moments of one run in a process of its own, and what they sum to."""
    environment = os.environ | {
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory(prefix="floor-") as folder:
        command = [sys.executable, __file__, "--trials", str(trials), "--in", folder]
        command += ["--began", str(time.time())]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        found: dict[str, float] = json.loads(Path(folder, "moments.json").read_text())
    slots = os.cpu_count() or 1
    return found | {
        "after the last report": found["end"] - found["last report"],
        "slot-seconds in all": slots * found["end"],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:
        run(given.trials, given.folder, given.began)
        return
    found = [measure(given.trials) for _ in range(given.runs)]
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    if given.json:
        print(json.dumps({"runs": found, "medians": medians}, indent=1))
        return
    for name, seconds in medians.items():
        print(f"{seconds:7.1f} s  {name}")


if __name__ == "__main__":
    main()
