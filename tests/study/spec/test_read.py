"""Specs: what is refused and in which words, and where specs are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.spec import strict_yaml
from study.spec.entries import train_settings
from study.spec.files import load, presets
from study.spec.read import Spec, SpecError, read
from study.spec.settings import MAX_REPLICATES

GOOD: dict[str, Any] = {
    "name": "small",
    "task": "translated_digits",
    "targets": ["fcn"],
    "guides": ["resnet2d"],
    "train": {"epochs": 1},
}


def spec_of(**changes: Any) -> Spec:
    return read({**GOOD, **changes})


def refusal(**changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec_of(**changes)
    return str(caught.value)


def test_the_shortest_spec_gets_the_documented_defaults() -> None:
    (block,) = read({key: GOOD[key] for key in GOOD}).blocks
    assert block.states == ["trained", "untrained"]
    assert [entry.name for entry in block.controls] == ["standard"]
    assert [entry.name for entry in block.distances] == ["linear_cka"]
    assert block.seeds == [0, 1, 2, 3, 4]
    assert [entry.name for entry in block.mapping] == ["evenly_spaced"]
    assert block.reduction == ["sum"]
    assert [(s.alpha, s.stop_step) for s in block.schedule[0].points] == [(1.0, None)]


#: What is changed in a good spec, and what the message must say: field, value, what is allowed.
BAD: list[tuple[dict[str, Any], list[str]]] = [
    # Unknown keys, with the nearest match.
    ({"targetz": ["fcn"]}, ["targetz", "did you mean 'targets'?"]),
    ({"resource": {}}, ["resource", "did you mean 'resources'?"]),
    ({"train": {"epochs": 1, "batchsize": 3}}, ["train.batchsize", "did you mean 'batch_size'?"]),
    ({"schedule": {"alfa": 1}}, ["schedule.alfa", "did you mean 'alpha'?"]),
    ({"resources": {"worker": 1}}, ["resources.worker", "did you mean 'workers'?"]),
    ({"baselines": ["mached"]}, ["baselines[0]", "'matched' or 'best_validation'", "mached"]),
    ({"baselines": True}, ["baselines: ", "'matched' or 'best_validation'", "True"]),
    ({"cache": True}, ["cache", "give a mapping"]),
    ({"cache": {}}, ["cache.max_gib"]),
    ({"cache": {"max_gib": 0}}, ["cache.max_gib"]),
    ({"cache": {"max_gb": 1}}, ["cache.max_gb", "did you mean 'max_gib'?"]),
    ({"cache": {"max_gib": 1, "dtype": "float8"}}, ["cache.dtype", "float16"]),
    ({"targets": [{"name": "fcn", "dept": 3}]}, ["targets[0].dept", "did you mean 'depth'?"]),
    (
        {"targets": [{"name": "fcn", "train": {"epohs": 1}}]},
        ["targets[0].train.epohs", "did you mean 'epochs'?"],
    ),
    # Later keys are unknown until then.
    ({"searches": {}}, ["searches: unknown key 'searches'"]),
    ({"schedule": {"align_last": 5}}, ["align_last: unknown key", "did you mean 'align_first'?"]),
    (
        {"controls": ["selfie"]},
        ["controls[0]", "'selfie'", "did you mean 'self'", "noise, reversed, self"],
    ),
    (
        {"guides": [{"name": "resnet2d", "weights": "w.pt", "train": {"epochs": 1}}]},
        ["guides[0]: train and weights exclude each other: a guide with weights is not trained"],
    ),
    ({"guides": [{"name": "resnet2d", "weights": 1}]}, ["guides[0].weights", "string"]),
    # Unknown names.
    ({"targets": ["fnc"]}, ["targets[0]", "'fnc'", "did you mean 'fcn'?", "transformer"]),
    ({"task": "mnist1"}, ["task", "'mnist1'", "did you mean 'mnist1d'?"]),
    ({"distances": ["linear_ka"]}, ["distances[0]", "did you mean 'linear_cka'?"]),
    ({"states": ["traned"]}, ["states[0]", "'traned'", "'trained' or 'untrained'"]),
    ({"mapping": "rondom"}, ["mapping", "'rondom'", "evenly_spaced"]),
    ({"reduction": "max"}, ["reduction", "'max'", "'sum' or 'mean'"]),
    ({"train": {"epochs": 1, "optimizer": "adm"}}, ["train.optimizer", "'adm'", "'adamw'"]),
    (
        {"distances": [{"name": "linear_cka", "rows": "token"}]},
        ["distances[0].rows", "'token'", "'examples', 'pooled', 'positions' or 'tokens'"],
    ),
    ({"guides": [{"name": "resnet2d", "batch_norm": "btch"}]}, ["batch_norm", "'calibrated'"]),
    # Mappings and schedules.
    ({"mapping": {"name": "last", "k": "two"}}, ["mapping.k", "'two'", "integer"]),
    ({"mapping": {"name": "explicit", "pairs": ["stem"]}}, ["mapping.pairs", "'stem'"]),
    ({"schedule": {"align_first": 5}}, ["schedule.align_first", "mapping", "5"]),
    ({"schedule": {"align_first": {"steps": 0}}}, ["align_first.steps", "got 0"]),
    ({"schedule": {"align_first": {"inputs": "noise"}}}, ["align_first.steps", "is needed"]),
    (
        {"schedule": {"align_first": {"steps": 5}, "stop_step": 3}},
        ["schedule", "align_first is guidance before training; it excludes stop_step"],
    ),
    (
        {"schedule": {"align_first": {"steps": 5}, "every": 2}},
        ["schedule", "it excludes stop_step, decay, warm_up, balanced and every"],
    ),
    ({"schedule": {"every": 0}}, ["schedule.every", "got 0"]),
    ({"schedule": {"every": 2.5}}, ["schedule.every", "2.5"]),
    ({"schedule": {"scale_alpha": 1}}, ["schedule.scale_alpha", "boolean", "1"]),
    ({"schedule": {"scale_alpha": True}}, ["schedule", "scale_alpha is true and every is 1"]),
    ({"schedule": {"every": 2, "scale": True}}, ["schedule", "scale"]),
    ({"schedule": {"decay": "fast"}}, ["schedule.decay", "'fast'", "'linear'"]),
    ({"schedule": {"balanced": 1}}, ["schedule.balanced", "boolean", "1"]),
    ({"schedule": {"warm_up": -1}}, ["schedule.warm_up", "got -1"]),
    ({"targets": [{"name": "fcn", "norm": "btch"}]}, ["targets[0].norm", "'btch'", "'batch'"]),
    (
        {"distances": ["cka"]},
        ["distances[0]", "unknown distance 'cka'; did you mean 'linear_cka' or 'rbf_cka'?"],
    ),
    # An index is named where a list was written.
    ({"task": "mnist1"}, ["spec: task: unknown"]),
    ({"targets": "fnc"}, ["spec: targets: unknown"]),
    ({"targets": ["fcn", "fnc"]}, ["spec: targets[1]: unknown"]),
    ({"targets": {"name": "fcn", "depth": -1.5}}, ["spec: targets.depth: "]),
    ({"targets": [{"name": "fcn", "depth": [2, -1.5]}]}, ["spec: targets[0].depth[1]: "]),
    ({"train": {"epochs": 1, "lr": [0.1, -1]}}, ["spec: train.lr[1]: "]),
    (
        {"guides": [{"mix": ["fcn", "resnet2d"], "weights": [1, -1]}]},
        ["spec: guides[0].weights[1]: "],
    ),
    (
        {"guides": [{"mix": ["fcn", "resnet2d"], "weights": [[1, 1], [1, -1]]}]},
        ["spec: guides[0].weights[1][1]: "],
    ),
    # Wrong types.
    ({"targets": [{"name": "fcn", "depth": "deep"}]}, ["targets[0].depth", "'deep'", "integer"]),
    ({"targets": [{"name": "fcn", "depth": 2.5}]}, ["targets[0].depth", "2.5", "integer"]),
    ({"targets": [{"name": "fcn", "depth": True}]}, ["targets[0].depth", "True", "number"]),
    ({"targets": [3]}, ["targets[0]", "3", "give a name, or a mapping with a name"]),
    ({"targets": [{"depth": 3}]}, ["targets[0]", "give a name"]),
    ({"task": None}, ["task", "None", "give a name"]),
    ({"train": [{"epochs": 1}]}, ["train: give a mapping"]),
    ({"train": {"epochs": 1.5}}, ["train.epochs", "1.5", "integer"]),
    ({"train": {"epochs": 1, "lr": True}}, ["train.lr", "True", "number"]),
    ({"train": {"epochs": 1, "batch_size": "100"}}, ["train.batch_size", "'100'", "integer"]),
    ({"seeds": "3"}, ["seeds", "'3'", "number of seeds or a list"]),
    ({"seeds": True}, ["seeds", "True", "number of seeds or a list"]),
    ({"resources": [1]}, ["resources: give a mapping", "[1]"]),
    ({"axes": ["train.lr"]}, ["axes", "mapping of dotted keys to lists"]),
    ({"axes": {3: [1]}}, ["axes", "mapping of dotted keys to lists"]),
    ({"axes": {"train.lr": 0.1}}, ["axes", "mapping of dotted keys to lists", "0.1"]),
    ({"axes": {"train.epochs.x": [1]}}, ["axes.x", "1 has no keys"]),
    ({"grids": {}}, ["grids", "list of one block or more"]),
    ({"grids": [3]}, ["grids[0]", "give a mapping", "3"]),
    # Nothing to choose from.
    ({"targets": []}, ["targets: give one value or more"]),
    ({"states": []}, ["states: give one value or more"]),
    ({"train": {"epochs": 1, "lr": []}}, ["train.lr: give one value or more"]),
    ({"targets": [{"name": "fcn", "depth": []}]}, ["targets[0].depth: give one value or more"]),
    ({"axes": {"train.lr": []}}, ["axes"]),
    ({"grids": []}, ["grids: give a list of one block or more"]),
    ({"seeds": []}, ["seeds: give 1 seed or more"]),
    # Out of range.
    ({"seeds": 0}, ["seeds: give 1 seed or more", "got 0"]),
    ({"seeds": [1, 1]}, ["seeds: a seed stands twice", "[1, 1]"]),
    ({"seeds": [-1]}, ["seeds[0]", "greater than or equal to 0", "-1"]),
    ({"schedule": {"alpha": -1}}, ["schedule.alpha", "greater than or equal to 0", "-1"]),
    ({"schedule": {"alpha": float("inf")}}, ["schedule.alpha", "finite", "inf"]),
    ({"schedule": {"stop_step": 0}}, ["schedule.stop_step", "got 0"]),
    ({"train": {"epochs": 0}}, ["train.epochs", "greater than or equal to 1", "got 0"]),
    ({"train": {"epochs": 1, "lr": float("nan")}}, ["train.lr", "nan"]),
    ({"resources": {"workers": 0}}, ["resources.workers", "greater than or equal to 1", "got 0"]),
    ({"resources": {"workers": 1.5}}, ["resources.workers", "integer", "got 1.5"]),
    (
        {"resources": {"workers": 2, "gpus_per_worker": 0.5}},
        ["resources", "gpus_per_worker is 0.5", "workers is 2", "whole GPUs, or workers: 1"],
    ),
    ({"resources": {"cpus_per_worker": 0}}, ["resources.cpus_per_worker", "got 0"]),
    (
        {"resources": {"replicates_per_trial": "many"}},
        ["resources.replicates_per_trial", "auto or a whole number of 1 or more", "'many'"],
    ),
    ({"resources": {"max_concurrent_trials": 0}}, ["max_concurrent_trials", "got 0"]),
    # Names lead nowhere.
    ({"name": "Bad Name"}, ["name", "'Bad Name'", "[a-z0-9]"]),
    ({"name": "../out"}, ["name", "'../out'", "[a-z0-9]"]),
    ({"name": "line\n"}, ["name", "[a-z0-9]"]),
    ({"name": 3}, ["name", "3", "string"]),
    # How long to train.
    (
        {"train": {"epochs": 1, "steps": 2}},
        ["epochs 1 and steps 2 exclude each other"],
    ),
    ({"train": {"lr": 0.1}}, ["train: give epochs or steps", "target 'fcn'"]),
    ({"train": {}, "guide_train": {"steps": 3}}, ["train: give epochs or steps", "target 'fcn'"]),
    # Too much.
    ({"seeds": MAX_REPLICATES + 1}, ["seeds", "1,000,000"]),
    ({"seeds": 10**15}, ["seeds", "1,000,000"]),
    ({"seeds": [2**70]}, ["seeds[0]", str(2**70)]),
    ({"axes": {"schedule.alpha": [1] * 1001, "train.lr": [1] * 1001}}, ["axes", "1,000,000"]),
    (
        {"targets": [{"name": "fcn", "depth": [1] * 1001, "width": [1] * 1001}]},
        ["targets[0]", "1,000,000"],
    ),
    (
        {"seeds": 1001, "schedule": {"alpha": list(range(1001))}, "states": ["trained"]},
        ["1,000,000"],
    ),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[str(changes)[:60] for changes, _ in BAD])
def test_a_bad_spec_is_refused_in_words(changes: dict[str, Any], words: list[str]) -> None:
    message = refusal(**changes)
    assert [word for word in words if word not in message] == [], message
    assert message.startswith("spec: ")


@pytest.mark.parametrize("key", ["name", "task", "targets", "guides"])
def test_what_every_spec_needs(key: str) -> None:
    with pytest.raises(SpecError, match=f"{key}: is needed"):
        read({other: GOOD[other] for other in GOOD if other != key})


def test_mistakes_are_reported_together() -> None:
    message = refusal(
        targets=["fnc", {"name": "fcn", "depth": "x", "dept": 1}],
        seeds=0,
        schedule={"alpha": -1},
        serach={},
        name="No",
    )
    lines = message.splitlines()
    assert len(lines) == 7
    for field in ("serach", "targets[0]", "targets[1].depth", "targets[1].dept", "seeds"):
        assert any(line.startswith(f"spec: {field}: ") for line in lines), field


def test_the_block_of_a_mistake_is_named() -> None:
    message = refusal(grids=[{}, {"seeds": 0}, {"targetz": [], "name": "x"}])
    assert message.splitlines()[0].startswith("spec: grids[1].seeds: ")
    assert "grids[2].targetz: unknown key 'targetz'; did you mean 'targets'?" in message
    assert "grids[2].name: unknown key 'name'" in message


def test_a_wrong_key_at_the_top_is_reported_once() -> None:
    assert len(refusal(cahce=1, grids=[{}, {}]).splitlines()) == 1


def test_numbers_may_be_written_as_yaml_reads_them() -> None:
    content = strict_yaml.parse(yaml.safe_dump(GOOD) + "seeds: [3, 1]", "small.yaml")
    content["train"] = strict_yaml.parse("{epochs: 1, lr: 1e-3}", "train")
    spec = read(content)
    (found,) = train_settings(spec.blocks[0].train)
    assert found.lr == 0.001
    assert spec.blocks[0].seeds == [3, 1]


# Files and presets.


def test_a_file_and_its_content_give_the_same_spec(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    raw, spec = load(path)
    assert raw == GOOD
    assert spec == read(GOOD)


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "seeds": 0}))
    with pytest.raises(SpecError, match=r"small\.yaml: seeds: "):
        load(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quikstart", "there is neither a preset nor a file of this name; did you mean 'quickst"),
        ("zebra", "there is neither a preset nor a file of this name (archprior list presets "),
        ("mine", "there is neither a preset nor a file of this name; did you mean 'mine.yaml'?"),
        ("nofile.yaml", "there is no such file"),
        ("nofile.yml", "there is no such file"),
        ("specs/nofile", "there is no such file"),
        ("my_priors.py", "there is no such file"),
        ("quickstart.yaml", "there is no such file"),
        (".", "it is a folder; give a YAML file, or a preset (archprior list presets)"),
        ("..", "it is a folder"),
        ("x" * 5000, "there is neither a preset nor a file of this name"),
        ("y" * 300 + ".yaml", "it cannot be read: File name too long"),
        ("no\0pe", "there is neither a preset nor a file of this name"),
        ("", "there is neither a preset nor a file of this name"),
    ],
)
def test_neither_file_nor_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(SpecError) as caught:
        load(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: {words}")
    # A list of all presets would hide the message.
    assert len(message) < len(name) + 120


def test_a_binary_file_is_not_a_spec(tmp_path: Path) -> None:
    (tmp_path / "weights.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SpecError, match=r"weights.yaml: not a YAML file in UTF-8"):
        load(tmp_path / "weights.yaml")


@pytest.mark.parametrize("preset", presets())
def test_a_preset_is_called_as_its_file(preset: str) -> None:
    raw, spec = load(preset)
    assert raw["name"] == spec.name == preset


def test_a_file_beside_does_not_hide_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert load("quickstart")[1].name == "quickstart"


@pytest.mark.parametrize("name", ["x" * 101, "x" * 300, "A b", "", "..", "ä", "a/b"])
def test_a_study_s_name_is_one_of_a_folder(name: str) -> None:
    with pytest.raises(SpecError, match=r"name: study '.*up to 100 lower-case letters, digits"):
        spec_of(name=name)
    assert spec_of(name="x" * 100).name == "x" * 100
