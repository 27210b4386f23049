"""Studies with pretrained guides: planned by content, evaluated once, and found in the store."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

import trainers
from study import Study
from study.cli.console import plan_lines
from study.plan import packing, weights
from study.plan.build import Plan
from study.plan.cost import Estimate
from study.plan.progress import Progress
from study.run import status
from study.run.descriptions import describe
from study.spec.read import SpecError, read
from tests.helpers.plans import plan_of
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.training import TrainSettings
from trainers.store.store import Store
from trainers.tasks import TASKS

GUIDE: dict[str, Any] = {"name": "resnet2d", "width": 2, "blocks": 1}
SPEC: dict[str, Any] = {
    "name": "pretrained",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [GUIDE | {"weights": "guide.safetensors"}],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 50},
}


def write_weights(path: Path, seed: int = 0, **options: Any) -> Path:
    task = tasks.build(TASKS.component("translated_digits", places=1))
    component = ARCHITECTURES.component("resnet2d", **{"width": 2, "blocks": 1} | options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = architectures.build(component, task.input, task.output).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with weights in it."""
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "guide.safetensors")
    return tmp_path


def plan(**changes: Any) -> Plan:
    return Study(**SPEC | changes).plan()


def ids(plan: Plan, role: str, state: str | None = None) -> list[str]:
    return [
        row["replicate_id"]
        for row in plan.rows()
        if row["role"] == role and (state is None or row["state"] == state)
    ]


# Plans.


def test_a_guide_with_weights_is_one_evaluation(folder: Path) -> None:
    found = plan(seeds=[3, 4, 5])
    # Guide alone once; baseline, two states guided, each with a control, at three seeds.
    assert len(found) == len(found.replicates) == 1 + 3 * (1 + 2 * 2)
    (alone,) = [r for r in found.replicates if r.condition.role == "guide"]
    assert (alone.condition.train.steps, alone.seed, alone.requires) == (0, 3, set())
    rows = list(found.rows())
    assert len({row["replicate_id"] for row in rows}) == len(rows) == len(found)
    for row in rows:
        assert row["requires_ids"] == []
        if row["role"] in ("guided", "control"):
            assert row["guide_id"] == alone.id
            # Both states are in one row of `priors`.
            assert row["guide"] == "resnet2d(blocks=1,width=2,weights=guide.safetensors)"
    assert rows[0]["target"] == "resnet2d(blocks=1,width=2,weights=guide.safetensors)"
    assert describe(alone) == f"guide {rows[0]['target']} on translated_digits(places=1)"
    progress = Progress(found, Store(folder / "store"))
    lines = plan_lines(progress, Estimate({}, 0.0), 1)
    assert "1 guide: 1 to evaluate" in lines


def test_weights_play_no_part_in_the_untrained_state(folder: Path) -> None:
    with_weights = plan()
    without = plan(guides=[GUIDE], guide_train={"steps": 2})
    assert ids(with_weights, "guided", "untrained") == ids(without, "guided", "untrained")
    assert ids(with_weights, "control", "untrained") == ids(without, "control", "untrained")
    assert ids(with_weights, "baseline") == ids(without, "baseline")
    assert not set(ids(with_weights, "guided", "trained")) & set(ids(without, "guided"))


def test_ids_follow_the_content_of_the_file(folder: Path) -> None:
    before = {r.id for r in plan().replicates}
    (folder / "sub").mkdir()
    moved = (folder / "guide.safetensors").rename(folder / "sub" / "moved.safetensors")
    renamed = plan(guides=[GUIDE | {"weights": "sub/moved.safetensors"}])
    assert {r.id for r in renamed.replicates} == before
    absolute = plan(guides=[GUIDE | {"weights": str(moved)}])
    assert {r.id for r in absolute.replicates} == before
    write_weights(moved, seed=1)
    changed = plan(guides=[GUIDE | {"weights": "sub/moved.safetensors"}])
    for role, state in (("guide", None), ("guided", "trained"), ("control", "trained")):
        assert not set(ids(changed, role, state)) & before
    assert set(ids(changed, "baseline") + ids(changed, "guided", "untrained")) < before


def test_files_are_looked_for_beside_the_spec(folder: Path, monkeypatch: Any) -> None:
    (folder / "specs").mkdir()
    spec = folder / "specs" / "spec.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    here = {r.id for r in Study.load(spec).plan().replicates}
    write_weights(folder / "specs" / "guide.safetensors", seed=1)
    assert {r.id for r in Study.load(spec).plan().replicates} != here
    (folder / "guide.safetensors").unlink()
    assert len(Study.load(spec).plan()) == 1 + 2 * 5
    monkeypatch.chdir(folder / "specs")
    assert len(Study.load("spec.yaml").plan()) == 1 + 2 * 5


def test_weights_are_an_axis_and_namesakes_are_told_apart(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        (folder / name).mkdir()
        # The second and the third are the same.
        write_weights(folder / name / "guide.pt", seed=min(seed, 1))
    weights = [None, "a/guide.pt", "b/guide.pt", "c/guide.pt"]
    found = plan(guides=[GUIDE | {"weights": weights}], states="trained", guide_train={"steps": 2})
    labels = {row["guide"] for row in found.rows()} - {None}
    assert len(labels) == 3
    assert "resnet2d(blocks=1,width=2)" in labels
    assert sum(label.startswith("resnet2d(blocks=1,width=2,weights=guide.pt:") for label in labels)
    # One is trained at two seeds, two are evaluated.
    assert len(ids(found, "guide")) == 2 + 2
    guides = [r for r in found.replicates if r.condition.role == "guide"]
    assert len({r.id for r in guides}) == 4
    lines = plan_lines(Progress(found, Store(folder / "store")), Estimate({}, 0.0), 1)
    assert "4 guides: 2 to train, 2 to evaluate" in lines
    as_axis = plan(guides=[GUIDE], axes={"guides.weights": ["a/guide.pt", "b/guide.pt"]})
    assert len(ids(as_axis, "guide")) == 2


def test_no_trial_waits_for_an_evaluation(folder: Path) -> None:
    found = plan(seeds=6)
    trials = packing.pack(found.replicates, {r.id: 500.0 for r in found.replicates}, slots=3)
    assert len(trials) > 1
    assert not any(trial.requires for trial in trials)


def test_published_weights_are_planned_without_their_library(folder: Path) -> None:
    named = plan_of(guides=[{"name": "resnet2d", "weights": "IMAGENET1K_V1"}])
    (alone,) = [p.condition for p in named.conditions if p.condition.role == "guide"]
    assert alone.weights is not None
    assert alone.weights.content == "torchvision/resnet2d/IMAGENET1K_V1"
    assert "resnet2d(weights=IMAGENET1K_V1)" in {row["guide"] for row in named.rows()}


def test_self_is_trained_beside_a_pretrained_guide(folder: Path) -> None:
    found = plan(controls=["self"], guide_train={"steps": 3})
    controls = [p for p in found.conditions if p.condition.role == "control"]
    trained = [p for p in controls if p.needs]
    assert len(controls) == 2
    ((needs,),) = [p.needs for p in trained]
    assert (needs.condition.target.name, needs.condition.train.steps) == ("fcn", 3)
    with pytest.raises(SpecError, match=r"self, .* say in 2 ways how; .* one value of each key"):
        plan(controls=["self"], guide_train={"steps": [3, 4]})
    own = {"targets": [{"name": "fcn", "train": {"steps": 2}}], "train": {"lr": 0.1}}
    with pytest.raises(SpecError, match=r"self, .* is trained, also .*; guide_train: epochs"):
        plan(controls=["self"], **own)
    assert plan(controls=["self"], states="untrained", **own)
    assert plan(**own)


def test_threads_alone_of_the_training_settings_play_a_part(folder: Path) -> None:
    assert ids(plan(), "guide") == ids(plan(train={"epochs": 3, "lr": 0.1}), "guide")
    threads = {"threads": 2}
    assert ids(plan(), "guide") != ids(plan(guide_train=threads), "guide")


# What is wrong with weights is said before anything starts.


def refused(message: str, **changes: Any) -> None:
    with pytest.raises(SpecError, match=message):
        plan(**changes)


def test_files_that_cannot_be_used_are_refused(folder: Path) -> None:
    def weights(name: str, **options: Any) -> dict[str, Any]:
        return {"guides": [GUIDE | options | {"weights": name}]}

    refused(r"guides: resnet2d: weights: no file 'gone.pt' in ", **weights("gone.pt"))
    refused("'models/guide.onnx' is no name of published weights", **weights("models/guide.onnx"))
    (folder / "broken.safetensors").write_bytes(b"?")
    refused("broken.safetensors holds no tensors alone", **weights("broken.safetensors"))
    (folder / "folder.pt").mkdir()
    refused("cannot read .*folder.pt: Is a directory", **weights("folder.pt"))
    refused(
        r"guides: resnet2d\(blocks=1,width=3\) on task 'translated_digits': weights "
        r"guide.safetensors: they do not fit the network: of another shape 'stem.0.weight'",
        **weights("guide.safetensors", width=3),
    )


def test_published_weights_that_cannot_be_had_stop_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, module, None)
    spec = SPEC | {"guides": [GUIDE | {"weights": "V1"}]}
    with pytest.raises(SpecError, match=r"V1: torchvision is not installed; pip install 'archp"):
        Study(**spec).run(store=folder / "store", local=True)
    assert not (folder / "store" / "replicates").exists()


# A whole study.


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and weights, and the store of the study, which has been run."""
    folder = tmp_path_factory.mktemp("ran")
    write_weights(folder / "guide.safetensors")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    outcome = Study.load(folder / "spec.yaml").run(store=folder / "store", local=True)
    assert outcome.complete
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "store" / "studies" / "pretrained" / f"{name}.parquet")


@pytest.mark.processes
def test_tables(ran: Path) -> None:
    replicates = table(ran, "replicates")
    assert len(replicates) == 1 + 2 * 5
    assert set(replicates["status"]) == {"finished"}
    (alone,) = replicates[replicates["role"] == "guide"].to_dict("records")
    assert (alone["steps"], alone["seed"]) == (0, 0)
    priors = table(ran, "priors")
    assert set(priors["guide"]) == {"resnet2d(blocks=1,width=2,weights=guide.safetensors)"}
    assert len(priors) == 2
    assert priors[["architecture_prior", "knowledge", "total"]].notna().all(axis=None)
    transfer = table(ran, "transfer")
    assert set(transfer["n"]) == {2}
    accuracy = transfer[transfer["metric"] == "accuracy"]
    assert set(accuracy["guide_alone"]) == {alone["test_accuracy"]}


@pytest.mark.processes
def test_untrained_guides_are_compared_at_the_weights_of_their_seed(ran: Path) -> None:
    found = Study.load(ran / "spec.yaml").plan()
    (alone,) = ids(found, "guide")
    alignment = table(ran, "alignment")
    assert set(alignment["guide_id"]) == {alone}
    guide = next(r.condition for r in found.replicates if r.id == alone)
    for replicate in found.replicates:
        if replicate.condition.role != "baseline":
            continue
        # What has no weights is the same untrained guide, and has a seed.
        trained = replace(guide, weights=None, train=TrainSettings(steps=1))
        own = trainers.train(
            trained, seed=replicate.seed, store=ran / "store", report=lambda _: None
        )
        expected = trainers.align(
            ran / "store", replicate.id, own.replicate_id, guide_moment="initial"
        )
        rows = alignment[
            (alignment["replicate_id"] == replicate.id)
            & (alignment["moment"] == "final")
            & (alignment["guide_moment"] == "initial")
        ]
        assert [row["similarity"] for row in expected] == rows["similarity"].tolist()
    with pytest.raises(ValueError, match=r"pretrained guide, which has no seed; .* guide_seed"):
        trainers.align(ran / "store", replicate.id, alone, guide_moment="initial")


@pytest.mark.processes
def test_a_second_run_trains_nothing(ran: Path) -> None:
    results = sorted((ran / "store" / "replicates").glob("*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert Study.load(ran / "spec.yaml").run(store=ran / "store", local=True).complete
    assert [path.stat().st_mtime_ns for path in results] == before
    progress = Progress(Study.load(ran / "spec.yaml").plan(), Store(ran / "store"))
    assert "1 guide: 1 done" in plan_lines(progress, Estimate({}, 0.0), 1)


@pytest.mark.processes
def test_the_store_knows_the_study_without_the_file(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"no file 'guide.safetensors'"):
        Study(**SPEC).plan()
    kept = yaml.safe_load((ran / "store" / "studies" / "pretrained" / "spec.yaml").read_text())
    written = kept["guides"][0]["weights"]
    assert written.startswith("guide.safetensors@sha256:")
    assert status.load("pretrained", Store(ran / "store")).progress.counts()["finished"] == 11
    # One more seed is trained from the store's weights alone.
    assert Study(**kept | {"seeds": 3}).run(store=ran / "store", local=True).complete
    with pytest.raises(SpecError, match=r"guide.safetensors: no file here holds them \(SHA-256"):
        Study(**kept | {"seeds": 3}).run(store=tmp_path / "other", local=True)
    # A file of another content does not stand in for it.
    write_weights(tmp_path / "guide.safetensors", seed=1)
    assert set(ids(Plan(read(kept)), "guide")) == set(ids(Study(**kept).plan(), "guide"))


def test_specs_are_pinned_wherever_they_name_weights() -> None:
    pins = {"w.pt": "w.pt@sha256:0"}
    raw = {
        "guides": [{"name": "a", "weights": ["w.pt", None]}, "w.pt"],
        "axes": {"guides.weights": ["w.pt", "V1"], "guides.name": ["w.pt"]},
        "grids": [{"guides": {"name": "a", "weights": "w.pt"}}],
    }
    found = weights.pinned(raw, pins)
    assert found == json.loads(
        json.dumps(raw)
        .replace('"weights": ["w.pt"', '"weights": ["w.pt@sha256:0"')
        .replace('"guides.weights": ["w.pt"', '"guides.weights": ["w.pt@sha256:0"')
        .replace('"weights": "w.pt"', '"weights": "w.pt@sha256:0"')
    )


def test_the_command_line_says_what_is_evaluated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.cli import planning

    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    planning.show(
        os.fspath(folder / "spec.yaml"), os.fspath(folder / "store"), as_json=False, measure=False
    )
    assert "1 guide: 1 to evaluate" in capsys.readouterr().out
