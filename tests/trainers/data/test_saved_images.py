"""Hugging Face datasets saved to disk as users have them: labels, columns, depths."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import data_files
from trainers.tasks import ABSENT, TASKS, Task

pytestmark = pytest.mark.vision

TRAIN, VALIDATION = [0, 1, 2] * 12, [0, 1, 2] * 4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data_files.use(tmp_path, monkeypatch)
    monkeypatch.setenv("ARCHPRIOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "imagenet"


def task(**options: Any) -> Task:
    return TASKS["imagenet"].factory(**{"size": 16, "classes": 3} | options)


def refusal(**options: Any) -> str:
    built = task(**options)
    assert built.data == ABSENT
    with pytest.raises(FileNotFoundError) as raised:
        built.check_data()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def picture(number: int) -> np.ndarray:
    return np.asarray(data_files.picture(0, number).convert("L"))


def save(
    root: Path,
    train: list[Any],
    validation: list[Any],
    *,
    names: list[str] | None = None,
    scale: int = 1,
    **rename: str,
) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features
    from datasets import Image as ImageFeature

    splits = {}
    for split, labels in (("train", train), ("validation", validation)):
        kind = np.uint16 if scale > 1 else np.uint8
        images = [
            Image.fromarray((picture(number).astype(np.uint16) * scale).astype(kind))
            for number in range(len(labels))
        ]
        rows = Dataset.from_dict({"image": images, "label": labels})
        rows = rows.cast_column("image", ImageFeature())
        if names is not None:
            features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
            rows = rows.cast(features)
        splits[split] = rows.rename_columns(rename)
    DatasetDict(splits).save_to_disk(str(root))


@pytest.mark.parametrize("names", [None, ["cat", "dog", "fish"]])
def test_labels_that_are_no_class_are_refused(root: Path, names: list[str] | None) -> None:
    # As in published test splits that have no labels.
    save(root, TRAIN, [-1] * 12, names=names)
    message = refusal()
    assert f"{root / 'validation'}: 12 of 12 labels are no class, the first in row 0 (-1" in message
    assert ("allowed: 0 or more" if names is None else "allowed: 0 to 2") in message


@pytest.mark.parametrize("labels", [[0.0, 1.5], ["cat", "dog"], [0, None]])
def test_labels_that_are_no_numbers_are_refused(root: Path, labels: list[Any]) -> None:
    save(root, labels * 20, labels * 6)
    assert f"{root / 'train'}: the column label holds other than whole numbers" in refusal(
        classes=2
    )


def test_a_class_that_one_split_lacks_is_refused(root: Path) -> None:
    save(root, TRAIN, [0, 2] * 6, names=["cat", "dog", "fish"])
    assert f"{root}: class 1 ('dog') has no rows in split validation" in refusal()


def test_labels_from_one_are_refused(root: Path) -> None:
    save(root, [1, 2] * 20, [1, 2] * 6)
    assert f"{root}: class 0 ('0') has no rows in split train and validation" in refusal(classes=2)


def test_columns_of_other_names_are_refused(root: Path) -> None:
    save(root, TRAIN, VALIDATION, label="fine_label")
    message = refusal()
    assert f"{root / 'train'} has no column 'label', but image, fine_label" in message


def test_a_split_of_another_name_is_refused(root: Path) -> None:
    save(root, TRAIN, VALIDATION)
    (root / "validation").rename(root / "test")
    assert f"{root / 'validation'} cannot be loaded" in refusal()


def test_a_truncated_file_is_named(root: Path) -> None:
    save(root, TRAIN, VALIDATION)
    (path,) = (root / "train").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:300])
    assert f"{root / 'train'} cannot be loaded" in refusal()


def test_sixteen_bits_look_as_eight(root: Path) -> None:
    save(root, TRAIN, VALIDATION)
    expected = task().test.inputs[:]
    root.rename(root.with_name("eight"))
    save(root, TRAIN, VALIDATION, scale=257)
    assert torch.equal(task().test.inputs[:], expected)


def test_a_row_without_an_image_is_named(root: Path) -> None:
    from datasets import Dataset, DatasetDict
    from datasets import Image as ImageFeature

    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "PNG")
    image = {"bytes": buffer.getvalue(), "path": None}
    splits = {}
    for split, labels in (("train", TRAIN), ("validation", VALIDATION)):
        images = [*[image] * (len(labels) - 1), None]
        rows = Dataset.from_dict({"image": images, "label": labels})
        splits[split] = rows.cast_column("image", ImageFeature(decode=False))
    DatasetDict(splits).save_to_disk(str(root))
    with pytest.raises(ValueError, match=r"validation\[11\] holds no image: remove the row"):
        task().test.inputs[:]
