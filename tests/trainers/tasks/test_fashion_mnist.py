"""Fashion-MNIST from files of its format: the published ones where they are, else made up."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import data_files
from tests.helpers.data_files import FASHION_TRAIN, idx, write_fashion
from trainers.conditions.condition import Condition
from trainers.conditions.ids import identity
from trainers.conditions.training import TrainSettings
from trainers.registry import Component
from trainers.tasks import ABSENT, TASKS, Task, fashion_mnist


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root without the data set; the system has none either."""
    data_files.use(tmp_path, monkeypatch)
    return tmp_path


def task(train_size: int = 25) -> Task:
    return TASKS["fashion_mnist"].factory(train_size=train_size)


def test_splits_are_those_of_the_files(root: Path) -> None:
    write_fashion(root / "fashion_mnist")
    splits = task().splits
    assert [len(splits[name].inputs) for name in ("train", "validation", "test")] == [25, 20, 20]
    images = data_files.fashion_images(60, 0).astype(np.float64)
    expected = torch.from_numpy((images / 255 - 0.2860) / 0.3530).float()
    assert torch.allclose(splits["train"].inputs[:, 0], expected[:25], atol=1e-5)
    assert torch.allclose(splits["validation"].inputs[:, 0], expected[40:], atol=1e-5)
    assert splits["validation"].labels.tolist() == [index % 10 for index in range(40, 60)]


def test_digest_is_of_the_content(root: Path) -> None:
    folder = root / "fashion_mnist"
    assert task().data == ABSENT
    write_fashion(folder)
    first = task().data
    write_fashion(folder, level=1)
    assert task(7).data == first
    write_fashion(folder, seed=1)
    assert task().data not in (first, ABSENT, None)


def test_digest_enters_the_identity(root: Path) -> None:
    train = TrainSettings(steps=1)
    options = (("train_size", 25),)
    component, target = Component("fashion_mnist", options), Component("fcn")
    condition = Condition(task=component, target=target, train=train)
    assert identity(condition)["task"]["data"] == ABSENT
    write_fashion(root / "fashion_mnist")
    assert identity(condition)["task"]["data"] == task().data


def test_absent_files_say_where_they_are_expected(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"fashion_mnist.*train-images-idx3-ubyte.gz") as e:
        task().check_data()
    assert str(root / "fashion_mnist") in str(e.value)


@pytest.mark.parametrize("damage", ["truncated", "no idx", "other count"])
def test_damaged_files_are_refused(root: Path, damage: str) -> None:
    write_fashion(root / "fashion_mnist")
    images = np.zeros((FASHION_TRAIN - 1, 28, 28))
    content = {
        "truncated": gzip.compress(idx(images)[:-1]),
        "no idx": gzip.compress(b"other"),
        "other count": gzip.compress(idx(images)),
    }[damage]
    (root / "fashion_mnist" / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train"):
        _ = task().splits


@pytest.mark.skipif(not fashion_mnist.SHARED.is_dir(), reason="needs dataset-fashion-mnist")
def test_published_files() -> None:
    whole = TASKS["fashion_mnist"].factory()
    assert whole.data == "44e35cec8f7b8811"
    inputs, labels = whole.train
    assert inputs.mean().item() == pytest.approx(0, abs=0.01)
    assert inputs.std().item() == pytest.approx(1, abs=0.01)
    assert labels.bincount().min() > 5400


def test_labels_that_are_no_class_are_refused(root: Path) -> None:
    write_fashion(root / "fashion_mnist")
    path = root / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(20) % 10 + 1)))
    with pytest.raises(ValueError, match=r"t10k: 2 of 20 labels are no class, .* row 9 \(10; al"):
        _ = task().splits


def test_a_packed_file_that_is_not_whole_is_named(root: Path) -> None:
    write_fashion(root / "fashion_mnist")
    path = root / "fashion_mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        _ = task().data
