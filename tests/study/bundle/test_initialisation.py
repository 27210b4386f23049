"""Weights after alignment as a file, and a study of other data that starts from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import trainers
from study import Study
from study.cli.app import app
from trainers.conditions.encoding import from_json
from trainers.store.store import Store
from trainers.store.tables import History
from trainers.training.loop import Run

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "task": {"name": "copy_paste", "length": 2, "symbols": 3},
    "targets": [{"name": "rnn", "depth": 2, "width": 8, "embedding": 4}],
    "guides": [{"name": "transformer", "depth": 1, "width": 8, "heads": 2, "feed_forward": 8}],
    "states": ["trained"],
    "controls": ["shuffled"],
    "schedule": [{"align_first": {"steps": 4}}, {"alpha": 1.0}],
    "rivals": [{"name": "aligned_start", "steps": 2}],
    "seeds": 2,
    "train": {"steps": 6, "batch_size": 20, "report_every": 3},
    "guide_train": {"steps": 2},
}
#: Copies of other lengths: other inputs and labels for the same network.
LONGER = {"name": "copy_paste", "length": 3, "symbols": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished study with alignments."""
    folder = tmp_path_factory.mktemp("aligned") / "store"
    Study(name="aligned", **SPEC).run(store=folder, local=True)
    return folder


def rows_of(store: Path, study: str = "aligned") -> pd.DataFrame:
    return pd.read_parquet(store / "studies" / study / "replicates.parquet")


def identifier(store: Path, query: str) -> str:
    found: str = rows_of(store).query(f"{query} and seed == 1")["replicate_id"].item()
    return found


ALIGNED = {
    "guided": "role == 'guided' and schedule == 'alpha=1,align_first=4'",
    "control": "control == 'shuffled' and schedule == 'alpha=1,align_first=4'",
    "rival": "role == 'rival' and control == 'none'",
}


@pytest.fixture
def export(store: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs `export init`; returns its result with exit status and output."""

    def run(name: str, to: Path | None = None, study: str = "aligned") -> Any:
        path = tmp_path / "start.safetensors" if to is None else to
        arguments = ["export", "init", study, name, "--to", str(path), "--store", str(store)]
        return CliRunner().invoke(app, arguments)

    return run


def weights_before_training(
    condition: Any, seed: int, monkeypatch: pytest.MonkeyPatch, store: Path
) -> dict[str, Tensor]:
    """The target's weights when its first training step begins, in a training of its own."""
    seen: dict[str, Tensor] = {}
    train_loss = Run.train_loss

    def spy(run: Run, step: int, outputs: dict[str, Tensor]) -> Any:
        if step == 0 and not seen and run.schedule.align_steps:
            seen.update({n: t.clone() for n, t in run.network.state_dict().items()})
        return train_loss(run, step, outputs)

    monkeypatch.setattr(Run, "train_loss", spy)
    trainers.train(condition, seed=seed, store=store, report=lambda _message: None)
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("kind", ALIGNED)
def test_they_are_those_with_which_training_began(
    kind: str, store: Path, export: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = identifier(store, ALIGNED[kind])
    done = export(name)
    assert done.exit_code == 0, done.output
    condition = Store(store).replicate(name).condition()
    expected = weights_before_training(condition, 1, monkeypatch, tmp_path / "again")
    found = load_file(tmp_path / "start.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[each], expected[each]) for each in expected)
    final = trainers.load(store, name).state_dict()
    assert not all(torch.equal(found[each], final[each]) for each in final)


def test_the_metadata_say_where_they_come_from(
    store: Path, export: Callable[..., Any], tmp_path: Path
) -> None:
    name = identifier(store, ALIGNED["guided"])
    done = export(name)
    with safe_open(tmp_path / "start.safetensors", "pt") as file:
        found = file.metadata()
    assert found.pop("format") == "pt"
    facts = {key.removeprefix("archprior."): value for key, value in found.items()}
    (row,) = rows_of(store).query("replicate_id == @name").to_dict("records")
    assert facts["study"] == "aligned"
    assert facts["spec"] == (store / "studies" / "aligned" / "spec.yaml").read_text()
    assert (facts["replicate_id"], facts["seed"], facts["align_steps"]) == (name, "1", "4")
    assert (facts["task"], facts["target"]) == (row["task"], row["target"])
    assert json.loads(facts["guide_ids"]) == [row["guide_id"]]
    replicate = Store(store).replicate(name)
    assert from_json(json.loads(facts["condition"])) == replicate.condition()
    assert facts["same_numbers"] == "true"
    history = History.from_parquet(name, replicate.read("history.parquet"))
    first = {p.metric: p.value for p in history.points if p.step == 0}
    before, after = json.loads(facts["before"]), json.loads(facts["after"])
    assert before == first
    assert {"train/distance", "validation/accuracy"} <= after.keys()
    assert f"{before['train/distance']:.3g} at first" in done.output
    assert f"{after['train/distance']:.3g} at last" in done.output
    assert "transformer" in done.output


def test_a_study_of_other_data_starts_from_them(
    store: Path, export: Callable[..., Any], tmp_path: Path
) -> None:
    export(identifier(store, ALIGNED["guided"]))
    path = tmp_path / "start.safetensors"
    entry = {"name": "from_weights", "path": str(path)}
    spec = SPEC | {
        "name": "longer", "task": LONGER, "schedule": {"alpha": 1.0},
        "rivals": [entry, "label_smoothing"],
    }  # fmt: skip
    Study(**spec).run(store=tmp_path / "other", local=True)
    rivals = rows_of(tmp_path / "other", "longer").query("role == 'rival'")
    assert set(rivals["status"]) == {"finished"}
    start = "from_weights(weights=start.safetensors)"
    assert set(rivals["treatment"]) == {start, "label_smoothing"}
    transfer = pd.read_parquet(tmp_path / "other" / "studies" / "longer" / "transfer.parquet")
    assert set(transfer.query("treatment == @start")["n"]) == {2}
    # Its first loss is that of the exported weights on the other data.
    (first,) = rivals.query("treatment == @start and seed == 0")["replicate_id"]
    replicate = Store(tmp_path / "other").replicate(first)
    setup = replicate.condition()
    assert setup.task.kwargs["length"] == 3
    validation = {p.metric: p.value for p in replicate.history().points if p.step == 0}
    network = trainers.load(tmp_path / "other", first)
    network.load_state_dict(load_file(path))
    task = trainers.tasks.build(setup.task)
    with torch.no_grad():
        loss = task.loss(network(task.validation.inputs), task.validation.labels)
    assert validation["validation/loss"] == pytest.approx(loss.item(), rel=1e-4)


def test_mistakes(store: Path, export: Callable[..., Any], tmp_path: Path) -> None:
    name = identifier(store, ALIGNED["guided"])
    plain = identifier(store, "role == 'guided' and schedule == 'alpha=1'")
    baseline = identifier(store, "role == 'baseline'")
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"kept")
    cases = [
        (export(name, there), f"--to: {there} exists"),
        (export(name, tmp_path / "start.pt"), "ends in .safetensors"),
        (export(name, study="alined"), "'alined'; did you mean 'aligned'?"),
        (export(name[:-1] + "?"), f"did you mean '{name}'"),
        (export(plain), f"replicate {plain} (guided): no alignment comes before its training"),
        (export(baseline), "(baseline): no alignment comes before"),
        (export(name, there / "start.safetensors"), "cannot be written"),
    ]
    for result, message in cases:
        assert result.exit_code != 0
        text = str(result.exception)
        assert message in text, text
        assert "\n" not in text
    assert there.read_bytes() == b"kept"
    assert {path.name for path in tmp_path.iterdir()} == {"there.safetensors"}


def test_other_numbers_are_said(
    store: Path, export: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another machine repeats the alignment."""
    name, step = identifier(store, ALIGNED["guided"]), Run.step

    def other(run: Run, number: int, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = step(run, number, outputs)
        return losses | {"train/distance": losses["train/distance"] * 1.0001}

    monkeypatch.setattr(Run, "step", other)
    done = export(name)
    assert done.exit_code == 0, done.output
    assert "not to the bit its own" in done.output
    with safe_open(tmp_path / "start.safetensors", "pt") as file:
        assert file.metadata()["archprior.same_numbers"] == "false"
