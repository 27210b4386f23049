"""Guides, their controls and the features they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainers
from trainers import controls, distances, tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import BatchNorm, Guide
from trainers.controls import CONTROLS, FeatureSource, SourceContext
from trainers.controls.input import InputSource, geometry
from trainers.controls.none import GuideSource
from trainers.guides import frozen as frozen_module
from trainers.guides.frozen import FrozenGuide, StreamedFeatures, untrained
from trainers.runtime.streams import Streams
from trainers.tasks import TASKS, InputSpec, Task
from trainers.tasks.batches import Batch
from trainers.training import train

MakeCondition = Callable[..., Condition]
CPU = torch.device("cpu")
DIGITS = TASKS.component("translated_digits", places=1)
COPY = TASKS.component("copy_paste", length=2, symbols=3)
RESNET = ARCHITECTURES.component("resnet2d", width=4, blocks=2)
TRANSFORMER = ARCHITECTURES.component("transformer", width=8, depth=1)


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def frozen(
    component: Any = DIGITS, network: Any = RESNET, batch_norm: BatchNorm = "calibrated"
) -> FrozenGuide:
    task = tasks.build(component)
    guide = Guide(architecture=network, state="untrained", batch_norm=batch_norm)
    streams = Streams("guide", component, network, 0)
    return FrozenGuide(untrained(guide, task, streams), task, CPU)


def target_streams(component: Any = DIGITS) -> Streams:
    return Streams("target", component, ARCHITECTURES.component("fcn"), 0)


def batch_of(task: Task, index: Tensor) -> Batch:
    return Batch(task.train.inputs[index], task.train.labels[index], index)


def source_for(control: str, guide: FrozenGuide, streamed: StreamedFeatures | None = None) -> Any:
    task, component = guide.task, DIGITS if guide.task.num_train else COPY
    context = SourceContext(
        task=task, taps=guide.taps, streams=target_streams(component), guide=guide,
        streamed=streamed,
    )  # fmt: skip
    return controls.build(CONTROLS.component(control)).source(context)


INDEX = torch.arange(40, 72)


def assert_close(mine: Any, its: Any) -> None:
    assert tuple(mine) == tuple(its)
    for tap in mine:
        torch.testing.assert_close(mine[tap], its[tap], rtol=1e-5, atol=1e-5)


def test_calibrated_features_are_those_of_batch_statistics() -> None:
    task = tasks.build(DIGITS)
    inputs = task.validation.inputs[:256]
    cka = distances.create("linear_cka")
    far = {}
    for mode in ("calibrated", "eval"):
        guide = frozen(batch_norm=mode)  # type: ignore[arg-type]
        features = guide.forward(inputs)
        guide.network.train()
        by_batch = guide.forward(inputs)
        far[mode] = {
            tap: cka(features[tap].flatten(1).clone(), by_batch[tap].flatten(1).clone()).item()
            for tap in guide.taps
        }
    assert max(far["calibrated"].values()) < 0.01
    assert max(far["eval"].values()) > max(far["calibrated"].values())


def test_calibration_estimates_the_statistics_of_the_training_data() -> None:
    guide, task = frozen(), tasks.build(DIGITS)
    first = next(m for m in guide.network.modules() if isinstance(m, nn.BatchNorm2d))
    convolution = guide.network.get_submodule("stem.0")
    with torch.no_grad():
        channels = convolution(task.train.inputs).transpose(0, 1).flatten(1)
    assert first.running_mean is not None
    assert first.running_var is not None
    torch.testing.assert_close(first.running_mean, channels.mean(1), rtol=0.02, atol=0.01)
    torch.testing.assert_close(first.running_var, channels.var(1), rtol=0.05, atol=0)


def test_eval_is_pytorchs_fresh_state() -> None:
    norms = [
        m for m in frozen(batch_norm="eval").network.modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert norms
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()


def test_both_modes_have_the_same_weights() -> None:
    weights = [
        dict(frozen(batch_norm=mode).network.named_parameters()) for mode in ("calibrated", "eval")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("control", ["none", "shuffled", "noise"])
@pytest.mark.parametrize("state", ["trained", "untrained"])
def test_training_leaves_the_guide_as_it_is(
    state: str, control: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = train.guide_sources

    def spy(*given: Any, **options: Any) -> list[FeatureSource]:
        sources: list[FeatureSource] = original(*given, **options)
        if not sources:
            # The trained guide's own training.
            return sources
        (source,) = sources
        assert isinstance(source, GuideSource)
        network = source.guide.network
        seen.append((network, {name: t.clone() for name, t in network.state_dict().items()}))
        return sources

    monkeypatch.setattr(train, "guide_sources", spy)
    trainers.train(make(control=control, state=state), report=lambda payload: None)
    ((network, before),) = seen
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


def test_kept_features_are_those_of_a_live_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    task, guide = tasks.build(DIGITS), frozen()
    assert guide.train_features is not None
    kept = GuideSource(guide).features(batch_of(task, INDEX), 0)
    assert_close(kept, guide.forward(task.train.inputs[INDEX]))
    monkeypatch.setattr(frozen_module, "CACHE_BYTES", 1000)
    live = frozen()
    assert live.train_features is None
    assert_close(GuideSource(live).features(batch_of(task, INDEX), 0), kept)


def streamed_batch(num_examples: int, index: int = 0) -> Batch:
    split = tasks.build(COPY).sample(num_examples, torch.Generator().manual_seed(0))
    return Batch(*split, None, index)


def kept_of(guide: FrozenGuide, batch_size: int) -> StreamedFeatures:
    kept = guide.streamed_features(target_streams(COPY), batch_size, range(10))
    assert kept is not None
    return kept


@pytest.mark.parametrize("keep", [False, True])
def test_features_of_streamed_data(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    guide, batch = frozen(COPY, TRANSFORMER), streamed_batch(5)
    assert guide.train_features is None
    expected = guide.forward(batch.inputs)
    assert {output.shape for output in expected.values()} == {(5, 5, 8)}
    source = GuideSource(guide, kept_of(guide, 5) if keep else None)
    ran = []
    forward = guide.forward
    monkeypatch.setattr(guide, "forward", lambda inputs: ran.append(1) or forward(inputs))
    for step in (0, 0, 1):
        features = source.features(batch._replace(number=step), step)
        assert all(torch.equal(features[tap], expected[tap]) for tap in guide.taps)
    assert len(ran) == (2 if keep else 3)


def test_runs_share_features_of_the_same_batches() -> None:
    guide, streams = frozen(COPY, TRANSFORMER), target_streams(COPY)
    kept = kept_of(guide, 5)
    assert guide.streamed_features(target_streams(COPY), 5, range(20)) is kept
    other = Streams("target", COPY, ARCHITECTURES.component("fcn"), 1)
    assert guide.streamed_features(streams, 6, range(10)) is not kept
    assert guide.streamed_features(other, 5, range(10)) is not kept
    assert frozen(COPY, TRANSFORMER).streamed_features(streams, 5, range(10)) is not kept
    assert frozen().streamed_features(streams, 5, range(10)) is None


def test_features_are_kept_where_those_of_whole_runs_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    guide, streams = frozen(COPY, TRANSFORMER), target_streams(COPY)
    outputs = guide.forward(streamed_batch(5).inputs)
    monkeypatch.setattr(frozen_module, "CACHE_BYTES", 10 * sum(o.nbytes for o in outputs.values()))
    other = Streams("target", COPY, ARCHITECTURES.component("fcn"), 1)
    assert guide.streamed_features(streams, 5, range(11)) is None
    assert guide.streamed_features(streams, 5, range(6)) is not None
    assert guide.streamed_features(other, 5, range(5)) is None
    assert guide.streamed_features(other, 5, range(4)) is not None
    assert guide.streamed_features(streams, 5, range(7)) is None
    assert guide.streamed_features(streams, 5, range(1)) is not None
    assert guide.streamed_features(other, 5, range(5)) is None


def test_steps_that_no_run_guides_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    guide, streams = frozen(COPY, TRANSFORMER), target_streams(COPY)
    outputs = guide.forward(streamed_batch(5).inputs)
    size = sum(output.nbytes for output in outputs.values())
    monkeypatch.setattr(frozen_module, "CACHE_BYTES", 3 * size)
    kept = guide.streamed_features(streams, 5, range(0, 6, 3))
    assert kept is not None
    assert kept.nbytes == 2 * size
    assert guide.streamed_features(streams, 5, range(6)) is None
    # Steps 0 and 3 again, and 2.
    assert guide.streamed_features(streams, 5, range(0, 4, 3)) is kept
    assert kept.nbytes == 2 * size
    assert guide.streamed_features(streams, 5, range(2, 3)) is kept
    assert kept.nbytes == 3 * size
    for step in (3, 0, 2):
        made = {tap: torch.full_like(output, step) for tap, output in outputs.items()}
        kept.at(step, lambda made=made: made)
    for step in (0, 2, 3):
        found = kept.at(step, lambda: pytest.fail("it is kept"))
        assert all(bool((output == step).all()) for output in found.values())


@pytest.mark.parametrize("cache_bytes", [frozen_module.CACHE_BYTES, 0])
def test_shuffled_permutes_examples(cache_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_module, "CACHE_BYTES", cache_bytes)
    task, guide = tasks.build(DIGITS), frozen()
    source = source_for("shuffled", guide)
    batch = batch_of(task, INDEX)
    plain = GuideSource(guide).features(batch, 0)["pool"]
    orders = []
    for step in (0, 1, 0):
        shuffled = source.features(batch, step)
        order = torch.cdist(shuffled["pool"], plain).argmin(1)
        assert torch.equal(order.sort().values, torch.arange(len(INDEX)))
        assert_close(shuffled, guide.forward(batch.inputs[order]))
        orders.append(order)
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], torch.arange(len(INDEX)))
    assert_close(source.evaluate(*batch[:2]), guide.forward(batch.inputs))


@pytest.mark.parametrize("keep", [False, True])
def test_shuffled_leaves_tokens_in_their_order(keep: bool) -> None:
    guide, batch = frozen(COPY, TRANSFORMER), streamed_batch(6)
    kept = kept_of(guide, 6) if keep else None
    source = source_for("shuffled", guide, kept)
    inputs = batch.inputs
    (plain,) = GuideSource(guide, kept).features(batch, 3).values()
    (shuffled,) = source.features(batch, 3).values()
    order = [next(i for i in range(6) if torch.equal(row, plain[i])) for row in shuffled]
    assert order != list(range(6))
    # Equal sequences have equal features.
    assert sorted(map(str, inputs[order].tolist())) == sorted(map(str, inputs.tolist()))


@pytest.mark.parametrize("cache_bytes", [frozen_module.CACHE_BYTES, 0])
def test_noise_belongs_to_the_example(cache_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_module, "CACHE_BYTES", cache_bytes)
    task, guide = tasks.build(DIGITS), frozen()
    source = source_for("noise", guide)
    features = source.features(batch_of(task, INDEX), 0)
    backwards = source.features(batch_of(task, INDEX.flip(0)), 7)
    assert_close(features, {tap: output.flip(0) for tap, output in backwards.items()})
    assert len(features["pool"].unique(dim=0)) == len(INDEX)
    real = guide.forward(task.train.inputs[INDEX])
    assert not torch.allclose(features["pool"], real["pool"], rtol=0.1)
    assert_close(
        source.evaluate(task.test.inputs[:3], task.test.labels[:3]),
        guide.forward(task.test.inputs[:3]),
    )


def test_noise_of_streamed_tokens_is_fresh_in_every_step() -> None:
    task, guide = tasks.build(COPY), frozen(COPY, TRANSFORMER)
    source = source_for("noise", guide)
    batch = Batch(*task.sample(8, torch.Generator().manual_seed(0)), None)
    (first,), (again,), (other,) = (source.features(batch, s).values() for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape == other.shape == (8, 5, 8)
    assert not torch.allclose(first, other)


def test_input_is_the_same_at_every_tap() -> None:
    task = tasks.build(DIGITS)
    source = InputSource(("a", "b"), task.input)
    features = source.features(batch_of(task, INDEX), 0)
    assert tuple(features) == ("a", "b")
    assert torch.equal(features["a"], features["b"])
    assert torch.equal(features["a"], task.train.inputs[INDEX].flatten(1))


def test_geometry_of_tokens() -> None:
    spec = InputSpec(kind="tokens", shape=(3,), vocabulary=4)
    features = geometry(torch.tensor([[2, 0, 3], [1, 1, 1]]), spec)
    assert features.tolist() == [
        [[0, 0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1]],
        [[0, 1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1]],
    ]
