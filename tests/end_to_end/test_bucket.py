"""A store in a bucket: the same tables as in a folder, and what happens while it is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study
from tests.helpers.bucket import Bucket
from tests.helpers.ray_head import ROOT

pytestmark = pytest.mark.processes
SPEC: dict[str, Any] = {
    "name": "bucket",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "norm": "batch", "depth": 3, "width": 64}],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "controls": ["shuffled"],
    "states": ["trained"],
    "seeds": 1,
    "train": {"steps": 60, "batch_size": 100, "optimizer": "adam", "report_every": 20},
    "guide_train": {"steps": 20},
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket") / "server.log") as found:
        yield found


def run(bucket: Bucket, folder: Path, store: str) -> subprocess.Popen[str]:
    """Start a run in this process's place, on one core."""
    spec = folder / "spec.yaml"
    spec.write_text(json.dumps(SPEC))
    uri = f"sqlite:///{folder}/mlflow.db"
    return subprocess.Popen(
        [sys.executable, "-m", "study", "run", str(spec), "--local", "--store", store,
         "--tracking-uri", uri],
        env=os.environ | bucket.environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def tables(place: str, bucket: Bucket) -> dict[str, pd.DataFrame]:
    options = {
        "key": "test", "secret": "test", "endpoint_url": bucket.url,
    } if "://" in place else None  # fmt: skip
    return {
        name: pd.read_parquet(
            f"{place}/studies/bucket/{name}.parquet", storage_options=options
        ).drop(columns=["train_seconds", "run_id"], errors="ignore")
        for name in ("transfer", "replicates", "pairs")
    }


def test_a_study_in_a_bucket_has_the_tables_of_one_in_a_folder(
    bucket: Bucket, tmp_path: Path
) -> None:
    output, _ = (process := run(bucket, tmp_path, "s3://lab/store")).communicate(timeout=600)
    assert process.returncode == 0, output
    assert Study(**SPEC).run(store=tmp_path / "folder", local=True).complete
    found = tables("s3://lab/store", bucket)
    for name, frame in tables(str(tmp_path / "folder"), bucket).items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True, obj=name)


@pytest.mark.slow
def test_a_server_that_hangs_for_a_while_costs_only_time(bucket: Bucket, tmp_path: Path) -> None:
    process = run(bucket, tmp_path, "s3://lab/hanging")
    client = bucket.client()
    deadline = time.monotonic() + 400
    while not any(
        each["Key"].endswith("history.parquet")
        for each in client.list_objects_v2(Bucket="lab", Prefix="hanging/replicates/").get(
            "Contents", []
        )
    ):
        assert time.monotonic() < deadline, process.communicate()[0]
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    bucket.process.send_signal(signal.SIGSTOP)
    threading.Timer(30, bucket.process.send_signal, (signal.SIGCONT,)).start()
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "4 replicates, " in output
