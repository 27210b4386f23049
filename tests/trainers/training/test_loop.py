"""Training one replicate: the same numbers everywhere, and what a run reports."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import trainers
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.ids import replicate_id
from trainers.conditions.training import TrainSettings
from trainers.controls.none import GuideSource
from trainers.cost import timing
from trainers.guides import frozen
from trainers.guides.pool import GuidePool
from trainers.runtime.streams import Streams
from trainers.store.store import Store
from trainers.store.tables import ALIGNMENT, HISTORY, PREDICTIONS, arrow_schema
from trainers.tasks.batches import Batches
from trainers.training.log import DivergedError
from trainers.training.loop import Run
from trainers.training.train import Result

MakeCondition = Callable[..., Condition]
SameResult = Callable[[Result, Result], None]
ROOT = Path(__file__).parents[3]


def silent(_payload: dict[str, Any]) -> None:
    pass


def train(condition: Condition, seed: int = 0, **options: Any) -> Result:
    return trainers.train(condition, seed=seed, **{"report": silent} | options)


def weights_digest(result: Result) -> str:
    state = result.network.state_dict()
    content = b"".join(tensor.numpy().tobytes() for tensor in state.values())
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize("control", [None, "none", "shuffled", "noise", "input"])
def test_same_seed_same_result(
    kind: str, control: str | None, make: MakeCondition, same_result: SameResult
) -> None:
    state = None if control == "input" else "untrained"
    condition = make(kind, control=control, state=state)
    first = train(condition)
    torch.manual_seed(123)
    torch.randn(7)
    same_result(first, train(condition))
    assert weights_digest(train(condition, seed=1)) != weights_digest(first)


def test_same_result_after_other_work(make: MakeCondition, same_result: SameResult) -> None:
    condition = make(control="none", state="trained", target={"dropout": 0.3})
    alone = train(condition)
    train(make("token", control="shuffled"), seed=3)
    train(make(control="none", state="trained"), seed=5)
    same_result(alone, train(condition))


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of examples of each forward of a guide."""
    sizes = []
    forward = frozen.FrozenGuide.forward

    def spy(guide: Any, inputs: Any) -> Any:
        sizes.append(len(inputs))
        return forward(guide, inputs)

    monkeypatch.setattr(frozen.FrozenGuide, "forward", spy)
    return sizes


@pytest.mark.parametrize("cache_bytes", [frozen.CACHE_BYTES, 0])
def test_runs_on_streamed_data_share_the_guides_features(
    cache_bytes: int, make: MakeCondition, monkeypatch: pytest.MonkeyPatch, same_result: SameResult,
    forwards: list[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(frozen, "CACHE_BYTES", cache_bytes)
    conditions = [
        make("token", control="none", state="trained", stop_step=4),
        make("token", control="shuffled", state="trained"),
        make("token", control="none", state="trained", alpha=2),
        make("token", control="noise", state="trained"),
    ]

    def trained(condition: Condition, guides: GuidePool | None = None) -> tuple[Result, int]:
        before = forwards.count(20)
        return train(condition, guides=guides), forwards.count(20) - before

    pool = GuidePool()
    together = [trained(condition, pool) for condition in conditions]
    assert [count for _, count in together] == ([4, 2, 0, 6] if cache_bytes else [4, 6, 6, 6])
    alone = [trained(condition) for condition in conditions]
    assert [count for _, count in alone] == [4, 6, 6, 6]
    for (result, _), (expected, _) in zip(together, alone, strict=True):
        same_result(result, expected)


@pytest.mark.parametrize("control", ["none", "shuffled"])
def test_timing_runs_the_guide_in_every_step(
    control: str, make: MakeCondition, forwards: list[int]
) -> None:
    condition = make("token", control=control)
    train(condition)
    before = forwards.count(20)
    assert timing.expected_seconds(condition) > 0
    assert forwards.count(20) - before == timing.WARM_STEPS + timing.TIMED_STEPS


@pytest.mark.processes
def test_same_result_in_another_process(make: MakeCondition, tmp_path: Path) -> None:
    condition = make(control="none", state="trained", target={"dropout": 0.3})
    store = Store(tmp_path)
    store.replicate("x").begin(condition, 0)
    code = """
import hashlib, sys, torch, trainers
from trainers.conditions.encoding import from_json
from trainers.store.store import Store
torch.randn(5)
condition = from_json(Store(sys.argv[1]).replicate("x").described())
result = trainers.train(condition, report=lambda payload: None)
state = result.network.state_dict()
content = b"".join(tensor.numpy().tobytes() for tensor in state.values())
print(hashlib.sha256(content).hexdigest(), result.metrics["loss"].hex())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result = train(condition)
    assert ran.stdout.split() == [weights_digest(result), result.metrics["loss"].hex()]


@pytest.mark.parametrize("ends", ["finishes", "diverges"])
def test_the_caller_is_left_alone(ends: str, make: MakeCondition) -> None:
    condition = make(control="none", state="trained", threads=3, optimizer="sgd")
    if ends == "diverges":
        condition = replace(condition, train=replace(condition.train, lr=1e30))
    before = torch.get_rng_state(), torch.get_num_threads()
    if ends == "finishes":
        train(condition)
    else:
        with pytest.raises(DivergedError, match="loss is nan"):
            train(condition)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_training_runs_with_the_threads_of_its_settings(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    step = Run.step

    def spy(*args: Any) -> Any:
        seen.add(torch.get_num_threads())
        return step(*args)

    monkeypatch.setattr(Run, "step", spy)
    train(make(threads=3))
    assert seen == {3}


@pytest.mark.parametrize("control", ["none", "shuffled", "noise", "input"])
def test_guided_and_baseline_start_alike_and_see_the_same(
    control: str, make: MakeCondition, same_result: SameResult
) -> None:
    # Without a learning rate the weights stay the initial ones, while batch norm's running
    # statistics tell which batches were seen in which order.
    state = None if control == "input" else "untrained"
    baseline, guided = train(make(lr=0)), train(make(lr=0, control=control, state=state))
    mine, its = baseline.network.state_dict(), guided.network.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in mine)
    assert baseline.metrics == guided.metrics


@pytest.mark.parametrize("kind", ["image", "token"])
def test_alpha_0_is_the_baseline(kind: str, make: MakeCondition) -> None:
    dropout = {"dropout": 0.3} if kind == "image" else {}
    baseline = train(make(kind, target=dropout))
    guided = train(make(kind, target=dropout, control="none", state="trained", alpha=0))
    assert weights_digest(baseline) == weights_digest(guided)
    assert baseline.metrics == guided.metrics
    assert baseline.replicate_id != guided.replicate_id


def test_guidance_changes_the_result(make: MakeCondition) -> None:
    assert weights_digest(train(make())) != weights_digest(train(make(control="none")))


def test_after_stop_step_the_guide_does_not_run(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    features = GuideSource.features

    def spy(source: Any, batch: Any, step: int) -> Any:
        steps.append(step)
        return features(source, batch, step)

    monkeypatch.setattr(GuideSource, "features", spy)
    result = train(make(control="none", stop_step=2))
    assert steps == [0, 1]
    guided = {p.step for p in result.history.points if "distance" in p.metric}
    assert guided == {0, 2}
    after = {p.metric for p in result.history.points if p.step > 2}
    assert {"train/loss", "train/task_loss"} <= after
    until = train(make(control="none", steps=2))
    assert {p.value for p in until.history.points if p.metric == "train/distance"} == {
        p.value for p in result.history.points if p.metric == "train/distance"
    }


def test_metrics_of_a_guided_run(make: MakeCondition, reports: Any) -> None:
    report = reports()
    result = train(make(control="none", alpha=2), report=report)
    pairs = [
        ("hidden.layer1", "stem"),
        ("hidden.layer1", "blocks.block1.inner"),
        ("hidden.layer2", "blocks.block1"),
        ("hidden.layer2", "pool"),
    ]
    distances = {f"distance/{target}/{guide}" for target, guide in pairs}
    losses = {"train/loss", "train/task_loss", "train/distance"} | distances
    scores = {"validation/accuracy", "validation/loss"}
    health = {f"{m}/hidden.layer{i}" for m in ("feature_std", "effective_rank") for i in (1, 2)}
    ended = {f"{split}/{m}" for split in ("test", "train_sample") for m in ("accuracy", "loss")}
    by_step: dict[int, dict[str, float]] = {}
    for step, name, value in report.points:
        assert name not in by_step.setdefault(step, {})
        by_step[step][name] = value
    assert {step: set(metrics) for step, metrics in by_step.items()} == {
        0: losses | scores | health,
        2: losses | scores,
        4: losses | scores,
        6: losses | scores | health | ended,
    }
    for metrics in by_step.values():
        total = metrics["train/task_loss"] + 2 * metrics["train/distance"]
        assert metrics["train/loss"] == pytest.approx(total, rel=1e-6)
        each = sum(metrics[name] for name in distances)
        assert metrics["train/distance"] == pytest.approx(each, rel=1e-6)
    assert by_step[6]["test/accuracy"] == result.metrics["accuracy"]
    assert report.points == [(p.step, p.metric, p.value) for p in result.history.points]


def test_metrics_of_a_baseline(make: MakeCondition) -> None:
    history = train(make()).history
    assert not any("distance" in p.metric for p in history.points)
    losses = {p.step: p.value for p in history.points if p.metric == "train/loss"}
    assert losses == {p.step: p.value for p in history.points if p.metric == "train/task_loss"}
    assert sorted(losses) == [0, 2, 4, 6]


def test_training_learns(make: MakeCondition) -> None:
    result = train(make("token", steps=150, report_every=150, target={"width": 16}))
    metrics = {(p.step, p.metric): p.value for p in result.history.points}
    assert metrics[150, "validation/loss"] < metrics[0, "validation/loss"] - 0.3
    assert result.metrics["accuracy"] > 0.5


def test_guidance_brings_the_distance_down(make: MakeCondition) -> None:
    condition = make(control="none", alpha=10, steps=60, report_every=10)
    values = [p.value for p in train(condition).history.points if p.metric == "train/distance"]
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "step"])
def test_learning_rate(schedule: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []

    def spy(optimizer: Any, *_args: Any, **_kwargs: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    lr_step = 0.5 if schedule == "step" else None
    train(make(lr=2.0, steps=4, lr_schedule=schedule, lr_step=lr_step))
    expected = {
        "constant": [2.0, 2.0, 2.0, 2.0],
        "linear": [2.0, 1.5, 1.0, 0.5],
        "cosine": [2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5],
        "step": [2.0, 2.0, 0.2, 0.2],
    }
    assert rates == pytest.approx(expected[schedule])


def test_gradients_are_clipped(make: MakeCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []

    def spy(optimizer: Any, *_args: Any, **_kwargs: Any) -> None:
        gradients = [p.grad.flatten() for p in optimizer.param_groups[0]["params"]]
        norms.append(torch.cat(gradients).norm().item())

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    train(make(steps=2))
    train(make(steps=2, grad_clip=1e-3))
    assert min(norms[:2]) > 1e-2
    assert norms[2:] == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_an_epoch_is_every_example_once(make: MakeCondition) -> None:
    condition = make(control=None)
    task = tasks.build(condition.task)
    settings = TrainSettings(epochs=2, batch_size=100)
    streams = Streams("target", condition.task, condition.target, 0)
    batches = Batches(task, settings, streams, torch.device("cpu"))
    per_epoch = settings.epoch_steps(1297)
    seen = [batches[step].examples for step in range(2 * per_epoch)]
    assert {len(index) for index in seen if index is not None} == {99, 100}
    epochs = [torch.cat(seen[:per_epoch]), torch.cat(seen[per_epoch:])]  # type: ignore[arg-type]
    assert all(torch.equal(epoch.sort().values, torch.arange(1297)) for epoch in epochs)
    assert not torch.equal(*epochs)
    assert torch.equal(batches[3].examples, seen[3])  # type: ignore[arg-type]
    assert torch.equal(batches[3].inputs, task.train.inputs[seen[3]])  # type: ignore[index]


@pytest.mark.parametrize("kind", ["image", "token"])
def test_files_agree_with_the_result(kind: str, make: MakeCondition, tmp_path: Path) -> None:
    condition = make(kind, control="none")
    result = train(condition, store=tmp_path)
    replicate = Store(tmp_path).replicate(result.replicate_id)
    tables = {
        name: pq.read_table(io.BytesIO(replicate.read(f"{name}.parquet")))
        for name in ("history", "predictions", "alignment")
    }
    assert tables["history"].schema.equals(arrow_schema(HISTORY))
    assert tables["predictions"].schema.equals(arrow_schema(PREDICTIONS))
    assert tables["alignment"].schema.equals(arrow_schema(ALIGNMENT))
    assert all(set(t["replicate_id"].to_pylist()) == {result.replicate_id} for t in tables.values())

    frame = tables["predictions"].to_pandas()
    assert (frame.label == frame.prediction).mean() == result.metrics["accuracy"]
    labels = tasks.build(condition.task).test.labels
    assert len(frame) == (labels >= 0).sum()
    assert frame.example.nunique() == len(labels)
    assert set(frame.position) == ({0} if kind == "image" else {3, 4})
    assert frame.groupby("cluster").example.nunique().unique().tolist() == [
        4 if kind == "image" else 1
    ]

    points = [(p.step, p.timestamp, p.metric, p.value) for p in result.history.points]
    columns = tables["history"].to_pydict()
    stamps = [round(stamp.timestamp() * 1000) for stamp in columns["timestamp"]]
    names = columns["step"], stamps, columns["metric"], columns["value"]
    assert list(zip(*names, strict=True)) == points

    alignment = tables["alignment"].to_pandas()
    num_taps = 4 * 2 if kind == "image" else 1 * 2
    assert alignment.groupby("moment").size().to_dict() == {"initial": num_taps, "final": num_taps}
    assert alignment.n.nunique() == 1
    assert alignment.similarity.between(-1, 1).all()


def test_load_gives_the_trained_network(make: MakeCondition, tmp_path: Path) -> None:
    condition = make(target={"dropout": 0.3})
    result = train(condition, store=tmp_path)
    state = torch.get_rng_state()
    network = trainers.load(tmp_path, result.replicate_id)
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert not result.network.training
    inputs = tasks.build(condition.task).test.inputs
    assert torch.equal(network(inputs), result.network(inputs))
    with pytest.raises(FileNotFoundError, match="no finished replicate"):
        trainers.load(tmp_path, replicate_id(condition, 1))


@pytest.mark.parametrize(("steps", "loss"), [(4, "train/loss"), (1, "validation/loss")])
def test_divergence_is_an_error(steps: int, loss: str, make: MakeCondition, tmp_path: Path) -> None:
    # After a single step the weights are no numbers any more, while the training loss was.
    condition = make(target={"norm": "none"}, optimizer="sgd", lr=1e38, steps=steps)
    with pytest.raises(DivergedError, match=f"^{loss} is (nan|inf) by step"):
        train(condition, store=tmp_path)
    assert Store(tmp_path).replicate_of(condition, 0).result() is None
