"""Inputs that are made when they are asked for: the same batches whoever makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers
from tests.helpers import data_files
from tests.helpers.conditions import guidance_of
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.comparison import align
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.training import TrainSettings
from trainers.cost import timing
from trainers.data import lazy
from trainers.parallel.workers import Workers
from trainers.runtime.streams import Streams
from trainers.store.store import Store
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import Batches, chunks
from trainers.training import evaluation, train
from trainers.trial import ray_worker
from trainers.trial.trial import TrialContext, run_trial

CPU = torch.device("cpu")
IMAGES = TASKS.component("imagenet", **data_files.OPTIONS["imagenet"])
FCN = ARCHITECTURES.component("fcn", depth=2, width=8, norm="batch")
RESNET = ARCHITECTURES.component("resnet2d", width=2, blocks=1)


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("data")
    data_files.write_tree(root / "imagenet")
    with pytest.MonkeyPatch.context() as patch:
        data_files.use(root, patch)
        tasks.clear_cache()
        yield
    tasks.clear_cache()


def images() -> Task:
    return tasks.build(IMAGES)


def batches(loaders: int, **options: Any) -> Batches:
    streams = Streams("target", IMAGES, FCN, 0)
    settings = TrainSettings(epochs=3, batch_size=7)
    return Batches(images(), settings, streams, CPU, loaders=loaders, **options)


def condition(**changes: Any) -> Condition:
    guide = Guide(architecture=RESNET, state="untrained", batch_norm="calibrated")
    parts: dict[str, Any] = {"treatment": guidance_of(guide=guide)}
    train = TrainSettings(steps=4, batch_size=6, report_every=2)
    return Condition(task=IMAGES, target=FCN, train=train, **parts | changes)


@pytest.mark.parametrize("apart", [False, True])
def test_batches_do_not_depend_on_who_makes_them(apart: bool) -> None:
    expected = batches(0, augment_guide_separately=apart)
    wanted = [expected[step] for step in range(9)]
    assert [len(batch.inputs) for batch in wanted] == [6] * 9
    for loaders in (1, 2):
        made = batches(loaders, augment_guide_separately=apart)
        found = [made[step] for step in range(9)]
        made.close()
        for mine, its in zip(wanted, found, strict=True):
            assert torch.equal(mine.inputs, its.inputs)
            assert torch.equal(mine.guide_inputs, its.guide_inputs)
            assert torch.equal(mine.labels, its.labels)
            assert (mine.augmented_for_guide is None) == (not apart)
            assert mine.augmented_for_guide is None or not torch.equal(
                mine.augmented_for_guide, mine.inputs
            )


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_run_that_starts_in_the_middle_sees_the_same(loaders: int) -> None:
    whole, later = batches(0), batches(loaders)
    for step in (5, 6, 2, 3, 3):
        assert torch.equal(whole[step].inputs, later[step].inputs)
    later.close()


def test_every_epoch_shows_each_example_once_and_otherwise() -> None:
    made = batches(0)
    epochs = [[made[step] for step in range(at, at + 3)] for at in (0, 3)]
    views: list[dict[int, torch.Tensor]] = []
    for epoch in epochs:
        views.append({})
        for batch in epoch:
            assert batch.examples is not None
            assert torch.equal(batch.labels, images().train.labels[batch.examples])
            views[-1] |= dict(zip(batch.examples.tolist(), batch.inputs, strict=True))
    assert views[0].keys() == views[1].keys() == set(range(18))
    assert not any(torch.equal(views[0][example], views[1][example]) for example in range(18))


def test_loaders_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    made = batches(1)
    assert len(made[0].inputs)
    made.close()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("loaders", [0, 2])
def test_chunks(loaders: int) -> None:
    inputs = images().validation.inputs
    parts = list(chunks(inputs, 8, loaders=loaders))
    assert [len(part) for part in parts] == [8, 8, 8, 6]
    assert torch.equal(torch.cat(parts), inputs[:])


def test_an_error_in_a_loader_is_raised_here() -> None:
    class Broken(lazy.LazyInputs):
        shape = torch.Size((4, 1))
        digest = "broken"

        def example(self, index: int) -> torch.Tensor:
            raise ValueError(f"image {index} cannot be decoded")

    with pytest.raises(ValueError, match="image 2 cannot be decoded"):
        list(lazy.made_ahead(Broken(), [[(2, None)]], 1))
    with pytest.raises(NotImplementedError, match="Broken does not augment"):
        lazy.make(Broken(), [(0, 1)])


def test_training_is_the_same_with_loaders(
    tmp_path: Path, same_result: Callable[[train.Result, train.Result], None]
) -> None:
    alone = trainers.train(condition(), store=tmp_path / "alone", report=lambda _p: None)
    assert set(alone.metrics) == {"top5_accuracy", "accuracy", "loss"}
    stored = str(tmp_path / "loaders")
    setting = TrialContext(store=stored, report=lambda _payload: None, workers=Workers(loaders=1))
    run_trial([(condition(), 0)], setting)
    result = Store(stored).replicate_of(condition(), 0).result()
    assert result is not None
    assert result.metrics == alone.metrics
    again = trainers.train(condition(), store=stored, report=lambda _payload: None)
    assert all(
        torch.equal(mine, its)
        for mine, its in zip(
            alone.network.state_dict().values(), again.network.state_dict().values(), strict=True
        )
    )


def test_resume(tmp_path: Path, reports: Any, interruption: Any, same_result: Any) -> None:
    whole = trainers.train(condition(), report=lambda _payload: None)
    with pytest.raises(interruption):
        trainers.train(condition(), store=tmp_path, report=reports(interrupt_at=2))
    resumed = trainers.train(condition(), store=tmp_path, report=lambda _payload: None)
    same_result(whole, resumed)


def test_everything_else_that_looks_at_inputs(tmp_path: Path) -> None:
    baseline = condition(treatment=None)
    assert timing.expected_seconds(condition()) > 0
    ids = [
        trainers.train(each, store=tmp_path, report=lambda _payload: None).replicate_id
        for each in (baseline, condition())
    ]
    for measure in ("linear_cka", "mutual_knn"):
        rows = align(tmp_path, ids[1], ids[0], measure=measure)
        assert {row["n"] for row in rows} == {12}
    network = train.load(tmp_path, ids[0])
    split = images().validation
    scores = [
        evaluation.evaluate(network, images(), each, CPU).scores
        for each in (split, tasks.Split(split.inputs[:], split.labels))
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(("cpus", "loaders"), [(0.5, 0), (1, 0), (2, 1), (8.0, 7)])
def test_a_worker_keeps_one_of_its_cpus(cpus: float, loaders: int) -> None:
    assert ray_worker.loaders_of(cpus) == loaders


def test_a_fingerprint_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "make", None)
    first = TASKS["imagenet"].factory(size=16, classes=3)
    other = TASKS["imagenet"].factory(size=16, classes=2)
    assert first.fingerprint == images().fingerprint != other.fingerprint


class _Bad(lazy.LazyInputs):
    """Inputs of which the third is no good, in one of two ways."""

    shape = torch.Size((4, 1))
    digest = "bad"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def example(self, index: int) -> torch.Tensor:
        """None for the third."""
        if index == 2:
            raise self._error
        return torch.zeros(1)


def test_a_file_that_is_no_good_is_one_line_from_loaders_too() -> None:
    for loaders in (0, 1):
        made = lazy.made_ahead(
            _Bad(ValueError("x.png is bad")), [[(0, None)], [(2, None)]], loaders
        )
        assert next(made).shape == (1, 1)
        with pytest.raises(ValueError, match=r"^x\.png is bad") as raised:
            next(made)
        assert str(raised.value) == "x.png is bad"
        notes = getattr(raised.value, "__notes__", [])
        assert loaders == 0 or "in example" in "".join(notes)
    made = lazy.made_ahead(_Bad(RuntimeError("a mistake")), [[(2, None)]], 1)
    with pytest.raises(RuntimeError, match=r"Traceback[\s\S]*a mistake"):
        next(made)
