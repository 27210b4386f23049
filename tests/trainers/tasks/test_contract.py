"""Our tasks keep the contract that `trainers.testing` ships; their sizes, and what few keep."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.helpers import data_files, text_files
from trainers import tasks, testing
from trainers.registry import Component
from trainers.tasks import IGNORE, TASKS, Task
from trainers.tasks.parity import DISJOINT_LENGTH, PADDING

#: Training (None: streamed), validation and test examples; of files, those of `data_files`.
SIZES = {
    "translated_digits": (1297 * 3, 100 * 4, 400 * 4),
    "copy_paste": (None, 2000, 2000),
    "mnist1d": (3500, 500, 1000),
    "parity": (None, 2000, 2000),
    "digits": (1297, 100, 400),
    "diabetes": (292, 50, 100),
    "fashion_mnist": (30, 20, 20),
    "cifar10": (150, 100, 100),
    "cifar100": (150, 100, 100),
    "imagenet": (18, 30, 12),
    "pydoc_topics": text_files.pydoc_sizes(context=64),
    "text": (56, 3, 3),
    "wikitext103": (6, 4, 2),
    "openwebtext": (13, 3, 1),
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
        tasks.clear_cache()
        yield
    tasks.clear_cache()


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


def letters(inputs: Tensor) -> Tensor:
    # Borders of tables are alike wherever they stand; 35 is the first letter's token.
    return inputs[(inputs >= 35).any(1)]


def long_strings(inputs: Tensor) -> Tensor:
    # Of short bit strings there are fewer than a split has examples.
    return inputs[(inputs != PADDING).sum(1) >= DISJOINT_LENGTH]


#: Which inputs may stand in no other split, where others may.
COMPARED = {"pydoc_topics": letters, "parity": long_strings}


def test_contract(name: str) -> None:
    compared = {"compared": COMPARED[name]} if name in COMPARED else {}
    testing.check_task(component(name), **compared)


def test_sizes(name: str, task: Task) -> None:
    assert name in SIZES, "add the sizes of the new task"
    assert task.num_train == SIZES[name][0]
    assert (len(task.validation.inputs), len(task.test.inputs)) == SIZES[name][1:]
    if task.num_train is not None:
        assert len(task.train.inputs) == task.num_train
    assert ("train" in task.splits) == (task.num_train is not None)


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


def test_score_of_chance(task: Task) -> None:
    labels, classes = task.test.labels, task.output.num_classes
    if classes is None:
        pytest.skip("its answers are values")
    logits = torch.randn((*labels.shape, classes), generator=torch.Generator().manual_seed(0))
    scores = task.score(task.tally(logits, labels))
    assert scores.keys() == task.higher_is_better.keys()
    assert task.primary_metric in scores
    count = int((labels != IGNORE).sum())
    deviation = math.sqrt((1 - 1 / classes) / classes / count)
    assert scores["accuracy"] == pytest.approx(1 / classes, abs=5 * deviation)
    uniform = task.score(task.tally(torch.zeros_like(logits), labels))
    assert uniform["loss"] == pytest.approx(math.log(classes), rel=1e-6)
    chance = {name: task.chance(name) for name in scores}
    assert chance["accuracy"] == pytest.approx(1 / classes)
    for name in scores.keys() - {"accuracy", "top5_accuracy"}:
        assert uniform[name] == pytest.approx(chance[name], rel=1e-6)
    assert task.chance("no such metric") is None


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
        ("openwebtext", "documents", 0),
        ("openwebtext", "documents", 8_013_770),
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
