"""A team's MLflow: PostgreSQL, artifacts in a bucket, passwords, eight studies begun at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from study import Study
from tests.helpers.bucket import Bucket
from tests.helpers.mlflow_server import Server
from tests.helpers.postgres import PASSWORD as DATABASE_PASSWORD
from tests.helpers.postgres import Postgres, needs_postgres
from tests.helpers.ray_head import ROOT
from tests.helpers.tracked import Tracked, expected
from trainers.store.store import Store

pytestmark = [needs_postgres, pytest.mark.slow]

NUM_STUDIES = 8
SPEC: dict[str, Any] = {
    "task": {"name": "translated_digits", "places": 1},
    "targets": {"name": "fcn", "depth": 2, "width": 8},
    "guides": {"name": "resnet2d", "width": 2, "blocks": 1},
    "controls": [],
    "states": "untrained",
    "seeds": 1,
}
USER, PASSWORD, WRONG = "ann", "a-l0ng-one-of-ann", "n0t-that-of-ann"
_ADMIN_PASSWORD = "a-l0ng-one-of-the-admin"


def spec_of(number: int) -> dict[str, Any]:
    """Eight studies of four contents: each replicate is of two studies."""
    steps = 4 + number % 4
    return SPEC | {"name": f"study{number}", "train": {"steps": steps, "batch_size": 50}}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket") / "server.log") as found:
        yield found


@pytest.fixture(scope="module", params=["proxied", "direct"])
def server(
    request: pytest.FixtureRequest, postgres: Postgres, bucket: Bucket,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:  # fmt: skip
    """The server; clients write artifacts through it, or into the bucket themselves."""
    folder = tmp_path_factory.mktemp(request.param)
    users = folder / "users.ini"
    users.write_text(
        f"[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"database_uri = {postgres.create(f'users_{request.param}')}\n"
    )
    place = f"s3://lab/{request.param}"
    artifacts = {
        "proxied": ["--serve-artifacts", "--artifacts-destination", place],
        "direct": ["--no-serve-artifacts", "--default-artifact-root", place],
    }[request.param]
    options = ["--app-name", "basic-auth", *artifacts]
    options += ["--backend-store-uri", postgres.create(f"runs_{request.param}")]
    environment = bucket.environment | {
        "MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_AUTH_ADMIN_PASSWORD": _ADMIN_PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
    }  # fmt: skip
    with Server(folder, options, environment) as made:
        requests.post(
            f"{made.url}/api/2.0/mlflow/users/create", timeout=120,
            auth=("admin", _ADMIN_PASSWORD), json={"username": USER, "password": PASSWORD},
        ).raise_for_status()  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the same studies, run one after the other into sqlite."""
    store = tmp_path_factory.mktemp("quiet")
    for number in range(NUM_STUDIES):
        assert Study(**spec_of(number)).run(store=store, local=True).complete
    return store


def start(number: int, folder: Path, uri: str, variables: Mapping[str, str]) -> Any:
    spec = folder / f"study{number}.yaml"
    spec.write_text(json.dumps(spec_of(number)))
    command = [sys.executable, "-m", "study", "run", str(spec), "--local", "--tracking-uri", uri]
    log = folder / f"study{number}.jsonl"
    return subprocess.Popen(
        [*command, "--store", str(folder / "store"), "--log-json", str(log)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run_all(folder: Path, uri: str, variables: Mapping[str, str]) -> str:
    """Run all studies at once; returns their output."""
    started = [start(number, folder, uri, variables) for number in range(NUM_STUDIES)]
    outputs = [process.communicate(timeout=1200)[0] for process in started]
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output
    return "".join(outputs)


def check_all(folder: Path, quiet: Path, uri: str) -> None:
    """Nothing is lost or doubled, and the tables are those of studies run alone."""
    store = folder / "store"
    for number in range(NUM_STUDIES):
        study = Study(**spec_of(number))
        tracked = Tracked(uri, study.name)
        plan = study.plan()
        (parent,) = tracked.parents
        assert tracked.children.keys() == {replicate.id for replicate in plan.replicates}
        assert len(tracked.conditions) == len(plan.replicates) == 3
        assert "tables" in tracked.artifacts(parent)
        for replicate in plan.replicates:
            run = tracked.children[replicate.id]
            assert run.info.status == "FINISHED"
            assert tracked.points(run) == expected(store, replicate)
            assert "history.parquet" in tracked.artifacts(run)
        for name in ("transfer", "replicates", "pairs"):
            found, wanted = (
                pd.read_parquet(place / "studies" / study.name / f"{name}.parquet").drop(
                    columns=["train_seconds", "run_id"], errors="ignore"
                )
                for place in (store, quiet)
            )
            pd.testing.assert_frame_equal(found, wanted, check_exact=True, obj=name)
    results = [name for name in Store(store).known() if Store(store).replicate(name).result()]
    assert len(results) == len(set(results)) == 3 * 4


def files_with(folder: Path, *secrets: str) -> list[Path]:
    """Files below a folder in which one of these is."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def test_eight_studies_begin_at_once_on_a_new_database(
    postgres: Postgres, quiet: Path, tmp_path: Path
) -> None:
    uri = postgres.create("straight")
    output = run_all(tmp_path, uri, {})
    check_all(tmp_path, quiet, uri)
    assert DATABASE_PASSWORD not in output
    assert files_with(tmp_path, DATABASE_PASSWORD) == []
    assert "ERROR" not in postgres.log


def test_eight_studies_begin_at_once_on_a_server(
    server: Server, bucket: Bucket, quiet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    # MLflow hashes the password five times a request, and has to share the cores with all studies.
    account["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "120"
    for name, value in (bucket.environment | account).items():
        monkeypatch.setenv(name, value)
    output = run_all(tmp_path, server.url, {})
    check_all(tmp_path, quiet, server.url)
    assert PASSWORD not in output
    assert files_with(tmp_path, PASSWORD) == []
    assert files_with(server.log.parent, PASSWORD, _ADMIN_PASSWORD) == []
    place = Counter(
        each["Key"].partition("/")[0]
        for each in bucket.client().list_objects_v2(Bucket="lab")["Contents"]
    )
    assert place[server.log.parent.name.rstrip("0123456789")] > 0


@pytest.mark.parametrize("command", ["run", "analyze"])
def test_a_wrong_password_is_one_line(command: str, server: Server, tmp_path: Path) -> None:
    """With the variables of MLflow, and in the URI."""
    Study(**spec_of(0)).run(store=tmp_path / "store", local=True)
    (tmp_path / "s.yaml").write_text(json.dumps(spec_of(0)))
    named = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": WRONG}
    within = server.url.replace("http://", f"http://{USER}:{WRONG}@")
    for uri, variables in ((server.url, named), (within, {})):
        # Of a study that is not in the store MLflow is read.
        what = str(tmp_path / "s.yaml") if command == "run" else "study1"
        local = ["--local"] if command == "run" else []
        ended = subprocess.run(
            [sys.executable, "-m", "study", command, what, *local, "--tracking-uri", uri,
             "--store", str(tmp_path / "store")],
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING_")}
            | variables,
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert ended.returncode == 2, ended.stderr
        (line,) = [each for each in ended.stderr.splitlines() if each.startswith("error:")]
        assert "it refuses user and password: MLFLOW_TRACKING_USERNAME" in line
        assert "Traceback" not in ended.stderr
        assert WRONG not in ended.stdout + ended.stderr
    assert files_with(tmp_path, WRONG) == []
    assert files_with(server.log.parent, WRONG) == []
