"""What was given no GPU leaves those of its machine alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

CODE = """
import json, os
from trainers.trial.ray_worker import WORKER_ENVIRONMENT
os.environ |= WORKER_ENVIRONMENT
import ray
ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
seen = ray.remote(lambda: os.environ.get("CUDA_VISIBLE_DEVICES"))
print(json.dumps([ray.get(seen.options(num_gpus=count).remote()) for count in (0, 1)]))
"""


def test_workers_without_a_gpu_see_none() -> None:
    # A GPU that Ray is told of; the machine need not have it.
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["", "0"]
