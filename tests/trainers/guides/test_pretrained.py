"""Weights of guides: what they are known by, where they come from, and what they give."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import trainers
from tests.helpers.conditions import changed, term_of
from trainers.architectures import ARCHITECTURES, build_on_meta
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.ids import guide_id, identity, replicate_id, replicate_ids
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.cost.timing import expected_seconds
from trainers.distances import DISTANCES
from trainers.guides import pretrained
from trainers.guides.pool import GuidePool
from trainers.store.store import Store
from trainers.tasks import InputSpec, OutputSpec
from trainers.training import train
from trainers.training.setup import RunSetup

MakeCondition = Callable[..., Condition]
EVALUATION = TrainSettings(steps=0)


def quiet(_payload: dict[str, Any]) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def trained(make_condition: MakeCondition) -> train.Result:
    """The guide of seed 1, trained here."""
    guide = make_condition(control="none", state="trained").guide_conditions[0]
    assert guide is not None
    return trainers.train(guide, seed=1, report=quiet)


@pytest.fixture
def state(trained: train.Result) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trained.network.state_dict().items()}


@pytest.fixture
def file(state: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "guide.safetensors"
    save_file(state, path)
    return path


def alone(condition: Condition, weights: Weights) -> Condition:
    """The guide alone of a guided condition, with weights instead of training."""
    assert condition.guidance is not None
    return Condition(
        is_guide=True,
        task=condition.task,
        target=condition.guidance.term.guide.architecture,
        train=EVALUATION,
        weights=weights,
    )


def guided_by(condition: Condition, weights: Weights) -> Condition:
    """A condition with its trained guide a pretrained one."""
    guide = replace(term_of(condition).guide, train=None, weights=weights)
    return changed(condition, guide=guide)


# What weights are.


def test_the_same_tensors_are_the_same_weights_in_any_file(
    file: Path, state: dict[str, Tensor], tmp_path: Path
) -> None:
    weights = pretrained.of_file(file)
    assert (weights.name, weights.published) == ("guide.safetensors", False)
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "lightning.pth")
    torch.save({"model": state, "optimizer": {}}, tmp_path / "detr.pth")
    (tmp_path / "sub").mkdir()
    file.rename(tmp_path / "sub" / "other.safetensors")
    for name in ("plain.pt", "lightning.pth", "detr.pth", "sub/other.safetensors"):
        found = pretrained.of_file(tmp_path / name)
        assert found == weights, name
        assert found.name == Path(name).name
    state["output.bias"][0] += 1
    torch.save(state, tmp_path / "plain.pt")
    assert pretrained.of_file(tmp_path / "plain.pt") != weights


def test_a_name_a_shape_and_a_type_are_content(state: dict[str, Tensor]) -> None:
    values = torch.arange(6, dtype=torch.int32)
    variants = [
        {"a": values},
        {"b": values},
        {"a": values.reshape(2, 3)},
        {"a": values.view(torch.float32)},
        {"a": values[:3], "b": values[3:]},
        {"a": values[:0], "b": values},
    ]
    assert len({pretrained.digest_of(each) for each in variants}) == len(variants)
    turned = {name: tensor.mT.contiguous().mT for name, tensor in state.items() if tensor.dim() > 1}
    straight = {name: state[name] for name in reversed(turned)}
    assert pretrained.digest_of(turned) == pretrained.digest_of(straight)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_bytes(b"?" * 100)
    (tmp_path / "no.pt").write_bytes(b"?" * 100)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    for name in ("no.safetensors", "no.pt", "network.pt"):
        with pytest.raises(ValueError, match=rf"{name} holds no tensors alone, or is damaged"):
            pretrained.of_file(tmp_path / name)
    with pytest.raises(ValueError, match=r"list.pt holds no state dict; save network.state_dict"):
        pretrained.of_file(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"'epoch' is a int; .* under 'state_dict' or 'model'"):
        pretrained.of_file(tmp_path / "epoch.pt")
    with pytest.raises(FileNotFoundError):
        pretrained.of_file(tmp_path / "none.pt")


def test_a_file_that_changes_meanwhile_is_not_taken(file: Path, state: dict[str, Tensor]) -> None:
    weights = pretrained.of_file(file)
    state["output.bias"][0] += 1
    save_file(state, file)
    with pytest.raises(ValueError, match="has other content than when it was read first"):
        pretrained.obtain(weights)


# Identity.


def test_ids_follow_the_content(make: MakeCondition, file: Path) -> None:
    weights = pretrained.of_file(file)
    elsewhere = replace(weights, name="renamed.pt", path=None)
    other = replace(weights, content="0" * 64)
    named = Weights(content="torchvision/resnet2d/V1", name="V1")
    trained = make(control="none", state="trained")
    for build in (alone, guided_by):
        mine, its = build(trained, weights), build(trained, elsewhere)
        assert (mine, replicate_id(mine, 0)) == (its, replicate_id(its, 0))
        assert len({replicate_id(build(trained, w), 0) for w in (weights, other, named)}) == 3
        content = json.loads(json.dumps(to_json(mine)))
        assert "path" not in json.dumps(content)
        assert from_json(content) == mine
        assert replicate_id(from_json(content), 3) == replicate_id(mine, 3)
        assert weights.path is not None
        assert weights.path not in json.dumps(identity(mine))
    # All seeds share the evaluation, and the guide's cache; not what is guided.
    assert len(set(replicate_ids(alone(trained, weights), range(3)))) == 1
    guided = guided_by(trained, weights)
    assert len(set(replicate_ids(guided, range(3)))) == 3
    assert len({guide_id(guided, term_of(guided), seed) for seed in range(3)}) == 1
    assert len({guide_id(g, term_of(g), 0) for g in (guided, guided_by(trained, other))}) == 2
    assert guided.guide_conditions == ()
    assert alone(trained, weights).with_steps(2) == alone(trained, weights)
    assert guided.with_steps(2).guidance == guided.guidance


# What they give.


def test_an_evaluation_scores_the_weights_once_for_all_seeds(
    make: MakeCondition, file: Path, trained: train.Result, tmp_path: Path
) -> None:
    condition = alone(make(control="none", state="trained"), pretrained.of_file(file))
    reports: list[Any] = []
    result = trainers.train(condition, seed=5, store=tmp_path / "store", report=reports.append)
    assert (result.metrics, result.steps) == (trained.metrics, 0)
    points = {(p.step, p.metric): p.value for p in result.history.points}
    assert {step for step, _ in points} == {0}
    assert not any(name.startswith("train/") for _, name in points)
    assert points[0, "test/accuracy"] == trained.metrics["accuracy"]
    last = [p.value for p in trained.history.points if p.metric == "validation/loss"][-1]
    assert points[0, "validation/loss"] == last
    assert {payload.step for payload in reports} == {0}
    file.unlink()
    again = trainers.train(condition, seed=6, store=tmp_path / "store", report=reports.append)
    assert again.replicate_id == result.replicate_id
    replicate = Store(tmp_path / "store").replicate(result.replicate_id)
    assert replicate.described()["seed"] is None
    network = trainers.load(tmp_path / "store", result.replicate_id)
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("control", "guidance"),
    [
        ("none", {}),
        ("shuffled", {}),
        ("noise", {}),
        ("none", {"distance": DISTANCES.component("distillation")}),
        ("none", {"cache": Cache(form="features", feature_bytes=1)}),
    ],
)
def test_a_pretrained_guide_guides_as_the_trained_one_whose_weights_it_has(
    control: str,
    guidance: dict[str, Any],
    make: MakeCondition,
    file: Path,
    same_result: Callable[..., None],
) -> None:
    condition = make(control=control, state="trained", guidance=guidance)
    by_trained = trainers.train(condition, seed=1, report=quiet)
    by_weights = trainers.train(
        guided_by(condition, pretrained.of_file(file)), seed=1, report=quiet
    )
    assert by_weights.replicate_id != by_trained.replicate_id
    same_result(replace(by_weights, replicate_id=by_trained.replicate_id), by_trained)


def test_all_seeds_have_one_guide(make: MakeCondition, file: Path) -> None:
    guided = guided_by(make(control="none", state="trained"), pretrained.of_file(file))
    guides = GuidePool()
    for seed in (0, 1):
        train.guide_sources(RunSetup.of(guided, seed), None, guides)
    assert len(guides) == 1


def test_timing_asks_for_no_weights(make: MakeCondition) -> None:
    nowhere = Weights(content="0" * 64, name="gone.pt")
    trained = make(control="none", state="trained")
    assert expected_seconds(alone(trained, nowhere)) < expected_seconds(guided_by(trained, nowhere))


# The store.


def test_workers_read_from_the_store(
    make: MakeCondition, file: Path, trained: train.Result, tmp_path: Path
) -> None:
    weights, store = pretrained.of_file(file), Store(tmp_path / "store")
    condition = from_json(to_json(guided_by(make(control="none", state="trained"), weights)))
    with pytest.raises(ValueError, match=r"weights guide.safetensors \(not in the store .*no file"):
        trainers.train(condition, store=store.uri, report=quiet)
    pretrained.put(store, weights, pretrained.obtain(weights))
    file.unlink()
    assert [p.name for p in (tmp_path / "store" / "weights").iterdir()] == [
        f"{weights.content}.safetensors"
    ]
    trainers.train(condition, store=store.uri, report=quiet)
    found = pretrained.stored(store, weights)
    assert found is not None
    assert all(torch.equal(found[n], t) for n, t in trained.network.state_dict().items())


def test_damage_in_the_store_is_seen(file: Path, tmp_path: Path) -> None:
    weights, store = pretrained.of_file(file), Store(tmp_path / "store")
    assert pretrained.stored(store, weights) is None
    pretrained.put(store, weights, pretrained.obtain(weights))
    path = tmp_path / "store" / "weights" / f"{weights.content}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for damaged in (bytes(content), bytes(content[:-9]), b""):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"weights guide.safetensors are damaged"):
            assert pretrained.stored(store, weights) is None


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    tensors = {"a": shared, "b": shared, "c": shared.reshape(2, 2).T}
    weights = Weights(content=pretrained.digest_of(tensors), name="tied.pt")
    pretrained.put(Store(tmp_path), weights, tensors)
    found = pretrained.stored(Store(tmp_path), weights)
    assert found is not None
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


# Do they fit?


def network(num_classes: int = 10, **options: Any) -> torch.nn.Module:
    component = ARCHITECTURES.component("resnet2d", **{"width": 2, "blocks": 1} | options)
    image = InputSpec(kind="image", shape=(1, 16, 16))
    return build_on_meta(component, image, OutputSpec(num_classes=num_classes))


def test_prefixes_of_wrappers_do_not_matter(state: dict[str, Tensor]) -> None:
    bare = network()
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    assert pretrained.fitted(parallel, bare).keys() == state.keys()

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = bare

    for given in (state, parallel, {f"model.{name}": t for name, t in state.items()}):
        found = pretrained.fitted(given, Wrapped())
        assert found.keys() == {f"model.{name}" for name in state}


def test_counters_of_batch_norm_may_be_missing(state: dict[str, Tensor]) -> None:
    old = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    assert pretrained.fitted(old, network()).keys() == old.keys()


def test_what_does_not_fit_is_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"missing 'blocks.block2.*', .* and \d+ more; of another"):
        pretrained.fitted(state, network(blocks=2))
    with pytest.raises(ValueError, match=r"of another shape 'stem.0.weight' 2x1x3x3, not 3x1x3x3"):
        pretrained.fitted(state, network(width=3))
    more = state | {"fc.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"do not fit the network: unexpected 'fc.weight'$"):
        pretrained.fitted(more, network())


def test_another_number_of_classes_is_explained(state: dict[str, Tensor]) -> None:
    with pytest.raises(
        ValueError, match=r"have 10 outputs, and the task needs 7 \('output' is all"
    ):
        pretrained.fitted(state, network(num_classes=7))


@pytest.mark.parametrize("suffix", pretrained.SUFFIXES)
def test_folders_and_forbidden_files_are_not_said_to_be_missing(
    tmp_path: Path, suffix: str, forbidding: Any, file: Path
) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"loop{suffix}").symlink_to(f"loop{suffix}")
    kept = file.rename(tmp_path / f"kept{suffix}")
    for name, said in (("folder", "Is a directory"), ("loop", "Too many levels")):
        with pytest.raises(OSError, match=said) as raised:
            pretrained.of_file(tmp_path / f"{name}{suffix}")
        assert raised.value.strerror
    with forbidding(kept), pytest.raises(PermissionError) as forbidden:
        pretrained.of_file(kept)
    assert forbidden.value.strerror == "Permission denied"


def test_tensors_that_are_not_their_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.ones(2), "b": torch.ones(2, 2).to_sparse()}, path)
    with pytest.raises(ValueError, match=r"w\.pt: 'b' is sparse or quantized; save its values"):
        pretrained.of_file(path)
