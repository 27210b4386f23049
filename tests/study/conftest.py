"""A store with a small study in it, trained once."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.plan.build import Plan

SPEC: dict[str, Any] = {
    "name": "small",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 50, "report_every": 2},
    "guide_train": {"steps": 2},
}


@dataclass(frozen=True)
class Trained:
    """A plan, the folder its replicates were trained into, and what they reported meanwhile.

    The guide of seed 1 failed, and what it should have guided is blocked.
    """

    spec: dict[str, Any]
    plan: Plan
    folder: Path
    reports: list[dict[str, Any]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from trainers.store.store import Store
    from trainers.trial.trial import TrialContext, run_trial

    folder = tmp_path_factory.mktemp("trained") / "store"
    plan = Study(**SPEC).plan()
    reports: list[dict[str, Any]] = []
    guide = next(r for r in plan.replicates if r.condition.role == "guide" and r.seed == 1)
    stored = Store(folder).replicate(guide.id)
    stored.begin(guide.condition, guide.seed)
    stored.fail(RuntimeError("out of luck"))
    setting = TrialContext(
        store=str(folder), report=reports.append, provenance={"git_commit": "trained"}
    )
    run_trial([(r.condition, r.seed) for r in plan.replicates], setting)
    return Trained(SPEC, plan, folder, reports)


@pytest.fixture
def store_copy(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "store"))


@pytest.fixture(scope="session")
def analyzed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the study `small` as a run leaves it, with its tables: not to change."""
    import analysis
    from analysis.errors import NotWrittenWarning
    from study.plan import table

    store = Path(shutil.copytree(trained.folder, tmp_path_factory.mktemp("analyzed") / "store"))
    folder = store / "studies" / "small"
    folder.mkdir(parents=True)
    question = "# archprior run small   (seconds)\n#\n# Does a tiny ResNet\n# help?\n"
    (folder / "spec.yaml").write_text(question + json.dumps(trained.spec))
    (folder / "plan.parquet").write_bytes(table.encode(trained.plan, {"git_commit": "trained"}))
    with pytest.warns(NotWrittenWarning, match="tables are not in MLflow"):
        analysis.analyze("small", store=store)
    return store


@pytest.fixture
def analyzed_copy(analyzed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(analyzed, tmp_path / "analyzed"))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a sqlite data base; MLflow takes seconds to make one, so tests share it."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/mlflow.db"


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps({**SPEC, **changes}))
        return path

    return write


@pytest.fixture
def archprior(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit status, output, errors."""
    from study.cli import app

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["archprior", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    return run
