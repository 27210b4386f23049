"""What every registered task keeps."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers import data_files, text_files
from trainers import tasks
from trainers.registry import Component
from trainers.tasks import IGNORE, TASKS, Split, Task
from trainers.tasks.parity import DISJOINT_LENGTH, PADDING

#: Training (None: streamed), validation and test examples; of files, those of `data_files`.
SIZES = {
    "translated_digits": (1297 * 3, 100 * 4, 400 * 4),
    "copy_paste": (None, 2000, 2000),
    "mnist1d": (3500, 500, 1000),
    "parity": (None, 2000, 2000),
    "digits": (1297, 100, 400),
    "fashion_mnist": (30, 20, 20),
    "cifar10": (150, 100, 100),
    "cifar100": (150, 100, 100),
    "imagenet": (18, 30, 12),
    "pydoc_topics": text_files.pydoc_sizes(context=64),
    "text": (56, 3, 3),
    "wikitext103": (6, 4, 2),
}
OPTIONS = data_files.OPTIONS | text_files.OPTIONS
STREAMED = [n for n in TASKS.names() if tasks.build(TASKS.component(n)).num_train is None]


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.mktemp("data")
    data_files.write_all(root)
    text_files.write_all(root)
    with pytest.MonkeyPatch.context() as patch:
        data_files.use(root, patch)
        tasks.build.cache_clear()
        yield
    tasks.build.cache_clear()


def component(name: str) -> Component:
    return TASKS.component(name, **OPTIONS.get(name, {}))


def new(name: str) -> Task:
    """As built, but from scratch: nothing of it is kept."""
    return TASKS[name].factory(**OPTIONS.get(name, {}))


@pytest.fixture(params=TASKS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def task(name: str) -> Task:
    return tasks.build(component(name))


def contents(inputs: Tensor) -> list[bytes]:
    return [example.numpy().tobytes() for example in inputs[:]]


def test_sizes(name: str, task: Task) -> None:
    assert name in SIZES, "add the sizes of the new task"
    assert task.num_train == SIZES[name][0]
    assert (len(task.validation.inputs), len(task.test.inputs)) == SIZES[name][1:]
    if task.num_train is not None:
        assert len(task.train.inputs) == task.num_train
    assert ("train" in task.splits) == (task.num_train is not None)


def test_shapes_and_labels(task: Task) -> None:
    for split in task.splits.values():
        inputs, labels = split
        assert inputs.shape[1:] == task.input.shape
        time = task.input.shape if task.output.per_position else ()
        assert labels.shape == (len(inputs), *time)
        inputs = inputs[:]
        assert inputs.shape == (len(labels), *task.input.shape)
        assert labels.dtype == torch.int64
        scored = labels[labels != IGNORE]
        if task.headline == "perplexity":
            # Of a vocabulary a text need not have every token.
            assert scored.min() >= 0
            assert scored.max() < task.output.num_classes
        else:
            assert set(scored.tolist()) == set(range(task.output.num_classes))
        if task.input.kind == "tokens":
            assert inputs.dtype == torch.int64
            assert task.input.vocabulary is not None
            assert inputs.min() >= 0
            assert inputs.max() < task.input.vocabulary
        else:
            assert inputs.dtype == torch.float32
            assert inputs.isfinite().all()
            assert len(inputs) == len(labels)


def test_splits_are_disjoint(name: str, task: Task) -> None:
    seen: set[bytes] = set()
    for split in task.splits.values():
        inputs = split.inputs
        if name == "parity":
            # Of short bit strings there are fewer than a split has examples.
            inputs = inputs[(inputs != PADDING).sum(1) >= DISJOINT_LENGTH]
        if name == "pydoc_topics":
            # Borders of tables are alike wherever they stand; 35 is the first letter's token.
            inputs = inputs[(inputs >= 35).any(1)]
        examples = set(contents(inputs))
        assert not seen & examples
        seen |= examples


def test_translated_digits_are_split_by_base_image() -> None:
    task = tasks.build(TASKS.component("translated_digits"))
    seen: set[bytes] = set()
    for split in task.splits.values():
        ink = [image[0] > image.min() for image in split.inputs]
        boxes = [(mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]) for mask in ink]
        crops = {
            image[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].numpy().tobytes()
            for image, (rows, columns) in zip(split.inputs, boxes, strict=True)
        }
        assert not seen & crops
        seen |= crops
    assert len(seen) == 1297 + 100 + 400


def test_training_inputs_are_standardised() -> None:
    inputs = tasks.build(TASKS.component("translated_digits")).train.inputs
    assert inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.std().item() == pytest.approx(1, abs=1e-5)


def test_data_is_a_function_of_the_task_alone(name: str, task: Task) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    other = new(name)
    for part, split in task.splits.items():
        assert torch.equal(split.inputs[:], other.splits[part].inputs[:])
        assert torch.equal(split.labels, other.splits[part].labels)
    assert (other.fingerprint, other.data) == (task.fingerprint, task.data)


def test_loading_leaves_the_global_generators_alone(name: str) -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()
    assert all(len(split.inputs[:2]) for split in new(name).splits.values())
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tobytes() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_samples_are_a_function_of_the_generator(task: Task) -> None:
    if task.num_train is not None:
        with pytest.raises(NotImplementedError, match=type(task).__name__):
            task.sample(3, torch.Generator())
        return

    def draw(seed: int, disturbance: int) -> Split:
        torch.manual_seed(disturbance)
        return task.sample(16, torch.Generator().manual_seed(seed))

    first, again, other = draw(0, 1), draw(0, 2), draw(1, 1)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.inputs, other.inputs)
    assert first.inputs.shape == (16, *task.input.shape)


@pytest.mark.parametrize("streamed", STREAMED)
def test_consecutive_samples_differ(streamed: str) -> None:
    generator = torch.Generator().manual_seed(0)
    task = tasks.build(TASKS.component(streamed))
    first, second = task.sample(16, generator), task.sample(16, generator)
    assert not torch.equal(first.inputs, second.inputs)


def test_score_of_chance(task: Task) -> None:
    labels, classes = task.test.labels, task.output.num_classes
    logits = torch.randn((*labels.shape, classes), generator=torch.Generator().manual_seed(0))
    scores = task.score(task.tally(logits, labels))
    assert scores.keys() == task.higher_is_better.keys()
    assert task.headline in scores
    count = int((labels != IGNORE).sum())
    deviation = math.sqrt((1 - 1 / classes) / classes / count)
    assert scores["accuracy"] == pytest.approx(1 / classes, abs=5 * deviation)
    uniform = task.score(task.tally(torch.zeros_like(logits), labels))
    assert uniform["loss"] == pytest.approx(math.log(classes), rel=1e-6)


def test_score_of_the_right_answer(task: Task) -> None:
    labels = task.validation.labels
    logits = 50.0 * torch.nn.functional.one_hot(labels.clamp_min(0), task.output.num_classes)
    # What is not scored is answered wrong.
    logits[labels == IGNORE] = logits[labels == IGNORE].roll(1, -1)
    scores = task.score(task.tally(logits, labels))
    assert scores["accuracy"] == 1.0
    assert scores["loss"] < 1e-6


def test_copy_paste_asks_for_the_sequence_again() -> None:
    task = tasks.build(TASKS.component("copy_paste", length=3, symbols=5))
    inputs, labels = task.sample(7, torch.Generator().manual_seed(0))
    assert (inputs[:, :3] < 5).all()
    assert (inputs[:, 3] == 5).all()
    assert (inputs[:, 4:] == 6).all()
    assert torch.equal(labels[:, 4:], inputs[:, :3])
    assert (labels[:, :4] == IGNORE).all()


def test_copy_paste_of_several_lengths() -> None:
    task = tasks.build(TASKS.component("copy_paste", length=2, symbols=5, max_length=4))
    inputs, labels = task.sample(500, torch.Generator().manual_seed(0))
    copy, blank, end, padding = 5, 6, 7, 8
    assert (task.input.vocabulary, task.input.padding) == (9, padding)
    assert task.output.num_classes == 6
    lengths = []
    for row, answers in zip(inputs.tolist(), labels.tolist(), strict=True):
        length = row.index(copy)
        lengths.append(length)
        symbols, rest = row[:length], 2 * (4 - length)
        assert set(symbols) <= set(range(5))
        assert row[length:] == [copy, *[blank] * length, end, *[padding] * rest]
        assert answers == [IGNORE] * (length + 1) + [*symbols, 5] + [IGNORE] * rest
    assert all(abs(lengths.count(length) - 500 / 3) < 55 for length in (2, 3, 4))
    mask = task.mask(inputs)
    assert mask is not None
    assert mask.sum(1).tolist() == [2 * length + 2 for length in lengths]


def test_fixed_sequences_to_copy() -> None:
    task = TASKS["copy_paste"].factory(train_size=300, max_length=21)
    assert task.num_train == len(task.train.inputs) == 300
    streamed = TASKS["copy_paste"].factory(max_length=21)
    assert streamed.num_train is None
    assert torch.equal(task.test.inputs, streamed.test.inputs)
    seen = [set(contents(split.inputs)) for split in task.splits.values()]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 4300


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("translated_digits", "places", 0),
        ("mnist1d", "train_size", 3501),
        ("fashion_mnist", "train_size", 41),
        ("cifar10", "train_size", 201),
        ("cifar100", "train_size", 0),
        ("digits", "train_size", 1298),
        ("imagenet", "size", 7),
        ("imagenet", "classes", 1001),
        ("mnist1d", "train_size", 0),
        ("copy_paste", "length", 0),
        ("copy_paste", "symbols", 1),
        ("copy_paste", "max_length", 19),
        ("copy_paste", "train_size", 0),
        ("parity", "min_length", 0),
        ("parity", "min_length", 51),
        ("parity", "max_length", 1),
        ("parity", "train_size", 0),
        ("text", "context", 0),
        ("pydoc_topics", "train_size", 0),
        ("wikitext103", "vocabulary", 0),
    ],
)
def test_bad_options_are_refused(name: str, option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{option} is {value}"):
        TASKS[name].factory(**{option: value})


@pytest.mark.parametrize("name", ["mnist1d", "digits", "fashion_mnist", "cifar10"])
def test_smaller_training_sets_are_subsets(name: str) -> None:
    whole = tasks.build(component(name))
    part = TASKS[name].factory(train_size=20)
    assert len(part.train.inputs) == 20
    assert set(contents(part.train.inputs)) < set(contents(whole.train.inputs))
    assert torch.equal(part.test.inputs, whole.test.inputs)
