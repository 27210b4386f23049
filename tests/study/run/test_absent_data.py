"""Studies of data that is not here: a plan says so, a run refuses before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from study import Study
from study.errors import SpecError
from study.run.descriptions import absent_lines
from study.run.ray_session import RaySession
from tests.helpers import data_files
from trainers import tasks
from trainers.trial.trial import ForeignDataError, check_data

SPEC: dict[str, Any] = {
    "name": "photographs",
    "task": [
        {"name": "imagenet", "size": 16, "classes": 3},
        {"name": "translated_digits", "places": 1},
    ],
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": [],
    "states": ["untrained"],
    "seeds": 1,
    "train": {"steps": 2, "batch_size": 10},
}
LABEL = "imagenet(classes=3,size=16)"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    data_files.use(tmp_path / "data", monkeypatch)
    tasks.clear_cache()
    yield tmp_path / "data"
    tasks.clear_cache()


def ids(task: str) -> set[str]:
    plan = Study(**SPEC).plan()
    return {r.id for r in plan.replicates if r.condition.task.name == task}


def test_a_plan_says_what_is_provisional(root: Path) -> None:
    plan = Study(**SPEC).plan()
    assert list(plan.absent()) == [LABEL]
    (line,) = absent_lines(plan)
    assert line.startswith(f"data of {LABEL} is not here (looked in {root}/imagenet): ids are")
    before = {name: ids(name) for name in ("imagenet", "translated_digits")}
    data_files.write_tree(root / "imagenet")
    assert Study(**SPEC).plan().absent() == {}
    assert not before["imagenet"] & ids("imagenet")
    assert before["translated_digits"] == ids("translated_digits")


def test_the_command_plan(
    root: Path, spec_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.cli import planning

    path, store = str(spec_file(**SPEC)), str(tmp_path / "store")
    planning.show(path, store, as_json=True, measure=False)
    content = json.loads(capsys.readouterr().out)
    assert content["provisional"] == [LABEL]
    planning.show(path, store, as_json=False, measure=False)
    assert f"data of {LABEL} is not here" in capsys.readouterr().out
    data_files.write_tree(root / "imagenet")
    planning.show(path, store, as_json=True, measure=False)
    assert json.loads(capsys.readouterr().out)["provisional"] == []


def test_a_run_refuses_before_anything_starts(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"imagenet: looked in {root}/imagenet.*<class>"):
        Study(**SPEC).run(store=tmp_path / "store", local=True)
    assert not (tmp_path / "store" / "studies").exists()


def test_a_worker_with_other_data_refuses(root: Path) -> None:
    data_files.write_tree(root / "imagenet")
    plan = Study(**SPEC).plan()
    planned = [(r.condition, r.seed, r.id) for r in plan.replicates]
    check_data(planned)
    (root / "imagenet" / "train" / "n0000" / "train_0.JPEG").rename(root / "train_0.JPEG")
    tasks.clear_cache()
    with pytest.raises(ForeignDataError, match="data of task imagenet"):
        check_data(planned)
    (root / "imagenet").rename(root / "elsewhere")
    tasks.clear_cache()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check_data(planned)


def test_workers_of_a_cluster_look_where_the_driver_looks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def variables() -> Any:
        with RaySession("auto", []) as session:
            session.up.result(timeout=300)
        return started["runtime_env"]["env_vars"]

    assert variables()["ARCHPRIOR_DATA"] == str(root)
    assert variables()["RAY_TRAIN_V2_ENABLED"] == "1"
    monkeypatch.delenv("ARCHPRIOR_DATA")
    assert "ARCHPRIOR_DATA" not in variables()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://tok3n@minio:9000")
    with pytest.raises(SpecError, match="AWS_ENDPOINT_URL: it holds a secret"):
        variables()
