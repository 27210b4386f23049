"""CIFAR from archives of its binary version."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import data_files
from trainers.tasks import ABSENT, TASKS, Task, cifar


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data_files.use(tmp_path, monkeypatch)
    return tmp_path


def task(name: str = "cifar10", **options: object) -> Task:
    return TASKS[name].factory(**{"train_size": 150} | options)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_splits_are_the_records_of_the_archive(name: str, root: Path) -> None:
    data_files.write_cifar(root / name, name)
    built = task(name)
    assert isinstance(built, cifar.CIFAR)
    train, test = data_files.cifar_records(name)
    for split, records in (("train", train[:150]), ("validation", train[200:]), ("test", test)):
        inputs, labels = built.splits[split]
        pixels = records[:, -3072:].reshape(-1, 3, 32, 32) / 255
        mean, deviation = (
            np.array(values)[:, None, None] for values in (built.mean, built.deviation)
        )
        expected = torch.from_numpy((pixels - mean) / deviation).float()
        assert torch.allclose(inputs, expected, atol=1e-5)
        # Of the two labels of CIFAR-100, the second and finer one.
        assert labels.tolist() == records[:, -3073].tolist()


def test_digest_is_of_the_members(root: Path) -> None:
    assert task().data == ABSENT
    path = data_files.write_cifar(root / "cifar10", "cifar10")
    first = task().data
    content = path.read_bytes()
    with tarfile.open(path) as packed:
        members = {entry.name: packed.extractfile(entry) for entry in packed}
        assert None not in members.values()
    # Packed otherwise, the same data.
    data_files.write_cifar(root / "cifar10", "cifar10")
    assert path.read_bytes() != content or path.stat().st_size == len(content)
    assert task().data == first
    data_files.write_cifar(root / "cifar10", "cifar10", seed=1)
    assert task().data not in (first, ABSENT)


@pytest.mark.parametrize("damage", ["truncated", "a member missing", "no archive"])
def test_damaged_archives_are_refused(root: Path, damage: str) -> None:
    path = data_files.write_cifar(root / "cifar10", "cifar10")
    content = path.read_bytes()
    if damage == "a member missing":
        with tarfile.open(path, "w:gz"):
            pass
    else:
        path.write_bytes(content[:-2000] if damage == "truncated" else b"x" * 100)
    with pytest.raises(ValueError, match=str(path)):
        _ = task().splits


def test_what_cannot_be_downloaded_says_where_it_belongs(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cifar10.*cifar-10-binary\.tar\.gz is not in"):
        task().check_data()


def test_an_augmented_image_is_a_part_of_it_with_a_black_margin(root: Path) -> None:
    data_files.write_cifar(root / "cifar10", "cifar10")
    built = task(augment="crop_flip")
    assert isinstance(built, cifar.CIFAR)
    assert built.augmented
    image = built.train.inputs[0]
    black = torch.tensor([-m / d for m, d in zip(built.mean, built.deviation, strict=True)])
    wide = black[:, None, None].repeat(1, 40, 40)
    wide[:, 4:-4, 4:-4] = image
    views = [wide[:, top : top + 32, left : left + 32] for top in range(9) for left in range(9)]
    views += [view.flip(-1) for view in views]
    seen = set()
    for seed in range(80):
        made = built.augment(image, torch.Generator().manual_seed(seed))
        again = built.augment(image, torch.Generator().manual_seed(seed))
        assert torch.equal(made, again)
        matches = [n for n, view in enumerate(views) if torch.allclose(view, made, atol=1e-6)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 50
    assert {number // 81 for number in seen} == {0, 1}
    assert torch.equal(image, task(augment="crop_flip").train.inputs[0])


def test_labels_that_are_no_class_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = data_files.cifar_records("cifar10")
    test[7, 0] = 10
    monkeypatch.setattr(data_files, "cifar_records", lambda *_arguments: (train, test))
    path = data_files.write_cifar(root / "cifar10", "cifar10")
    said = (
        rf"{path}: \S+test_batch.bin: 1 of 100 labels are no class, .* row 7 \(10; allowed: 0 to 9"
    )
    with pytest.raises(ValueError, match=said):
        _ = task().splits
