"""ImageNet from a small tree of its layout: what is found, decoded and augmented."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import data_files
from trainers.data import image_folder
from trainers.tasks import ABSENT, TASKS, Task, imagenet


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the tree, which is not there yet; nothing is remembered of others."""
    data_files.use(tmp_path, monkeypatch)
    monkeypatch.setenv("ARCHPRIOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "imagenet"


def task(**options: Any) -> Task:
    return TASKS["imagenet"].factory(**{"size": 16, "classes": 3} | options)


def tensor(image: Image.Image) -> torch.Tensor:
    pixels = np.asarray(image, np.float64).transpose(2, 0, 1) / 255
    mean, deviation = (np.array(v)[:, None, None] for v in (imagenet.MEAN, imagenet.DEVIATION))
    return torch.from_numpy((pixels - mean) / deviation).float()


def test_a_plan_needs_no_data(root: Path) -> None:
    whole = task(classes=1000, size=224)
    assert whole.num_train == 1_271_167
    assert whole.input.shape == (3, 224, 224)
    assert task(classes=100).num_train == 128_117 - 1000
    assert whole.data == ABSENT
    assert not (root.parent / "cache").exists()


def test_splits(root: Path) -> None:
    data_files.write_tree(root)
    built = task()
    assert built.num_train == 3 * 16 - 30
    assert [len(built.splits[n].labels) for n in ("train", "validation", "test")] == [18, 30, 12]
    # The held-out images come in an order that mixes classes.
    assert len(set(built.test.labels[:6].tolist())) > 1
    assert Counter(built.test.labels.tolist()) == {0: 4, 1: 4, 2: 4}
    assert sorted(built.train.labels.tolist() + built.validation.labels.tolist()) == (
        [0] * 16 + [1] * 16 + [2] * 16
    )
    fewer = task(classes=2)
    assert set(fewer.test.labels.tolist()) == {0, 1}
    assert fewer.data != built.data


def test_an_evaluated_image_is_the_centre_of_the_file(root: Path) -> None:
    data_files.write_tree(root)
    inputs, labels = task().test
    assert inputs.shape == (12, 3, 16, 16)
    expected = []
    for label in range(3):
        for number in range(4):
            with Image.open(root / "val" / f"n{label:04}" / f"val_{number}.JPEG") as opened:
                # 16 * 256 / 224 = 18.3
                scale = 18 / min(opened.size)
                image = opened.resize([int(side * scale + 1e-9) for side in opened.size], 2)
            left, top = (round((side - 16) / 2) for side in image.size)
            expected.append((label, tensor(image.crop((left, top, left + 16, top + 16)))))
    for made, label in zip(inputs[:], labels.tolist(), strict=True):
        assert any(label == own and torch.allclose(made, e, atol=1e-5) for own, e in expected)
    assert torch.equal(inputs[3:7], inputs[torch.tensor([3, 4, 5, 6])])
    assert torch.equal(inputs[-2:], inputs[10:12])


def test_a_random_part_is_a_function_of_the_seed(root: Path) -> None:
    image = data_files.picture(0, 0).resize((60, 45))
    made = [
        imagenet.random_part(image, 16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert made[0].tobytes() == made[1].tobytes() != made[2].tobytes()


def test_random_boxes_are_as_published() -> None:
    boxes = [imagenet.random_box(500, 400, torch.Generator().manual_seed(s)) for s in range(400)]
    areas, ratios = [], []
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 500
        assert 0 <= top < bottom <= 400
        areas.append((right - left) * (bottom - top) / 200_000)
        ratios.append((right - left) / (bottom - top))
    assert 0.075 < min(areas) < 0.1
    assert 0.9 < max(areas) <= 1
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06)
    assert 0.74 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35
    assert np.mean(np.log(ratios)) == pytest.approx(0, abs=0.03)
    # Where no part of an allowed ratio fits, the largest centre.
    assert imagenet.random_box(1000, 10, torch.Generator().manual_seed(0)) == (493, 0, 506, 10)


def test_half_of_the_parts_are_mirrored() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2))
    mirrored = 0
    for seed in range(100):
        row = np.asarray(imagenet.random_part(ramp, 16, torch.Generator().manual_seed(seed)))[0]
        mirrored += int(row[0, 0]) > int(row[-1, 0])
    assert 35 < mirrored < 65


def test_a_tree_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_files.write_tree(root)
    read: list[Path] = []
    original = os.scandir

    def spy(folder: Any) -> Any:
        if isinstance(folder, Path) and folder.name in ("n0000", "n0001", "n0002"):
            read.append(folder)
        return original(folder)

    monkeypatch.setattr(os, "scandir", spy)
    first = task().data
    assert len(read) == 6
    for _ in range(2):
        image_folder.indexed.cache_clear()
        again = task()
        assert again.data == first
        assert len(again.train.labels) == 18
        assert again.train.inputs[:2].shape == (2, 3, 16, 16)
    assert len(read) == 6
    # One more image in a folder: the folder is another one.
    data_files.picture(0, 99).save(root / "train" / "n0000" / "train_99.JPEG")
    os.utime(root / "train" / "n0000", ns=(1, 1))
    image_folder.indexed.cache_clear()
    changed = task()
    assert len(read) == 12
    assert changed.data not in (first, ABSENT)
    assert changed.num_train == 19


def test_the_digest_is_of_names_and_sizes(root: Path, tmp_path: Path) -> None:
    data_files.write_tree(root)
    first = task().data
    root.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").rename(root)
    (root / "train" / "n0001" / "notes.txt").write_text("no image")
    image_folder.indexed.cache_clear()
    assert task().data == first


@pytest.mark.parametrize(
    ("classes", "asked", "cause"),
    [(0, 3, "no such folder"), (2, 3, "it has 2 classes, and the task 3")],
)
def test_what_is_missing_is_said(root: Path, classes: int, asked: int, cause: str) -> None:
    if classes:
        data_files.write_tree(root, classes)
    with pytest.raises(FileNotFoundError, match=cause) as error:
        task(classes=asked).check_data()
    for part in (str(root), "train/<class>/*.JPEG", "val/<class>", "ARCHPRIOR_DATA", "image and"):
        assert part in str(error.value)


def test_data_that_comes_later_is_found(root: Path) -> None:
    built = task()
    assert built.data == ABSENT
    data_files.write_tree(root)
    built.check_data()
    assert built.data not in (ABSENT, None)
    assert built.num_train == 18


def test_an_image_that_cannot_be_decoded_is_named(root: Path) -> None:
    data_files.write_tree(root)
    path = root / "val" / "n0001" / "val_2.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"n0001/val_2\.JPEG cannot be decoded"):
        task().test.inputs[:]


def test_top5(root: Path) -> None:
    built = task(classes=8)
    logits = torch.arange(8.0).repeat(8, 1)
    scores = built.score(built.tally(logits, torch.arange(8)))
    assert scores["accuracy"] == 1 / 8
    assert scores["top5_accuracy"] == 5 / 8
    assert built.chance("top5_accuracy") == 5 / 8
    assert built.chance("accuracy") == 1 / 8
    assert built.primary_metric == "top5_accuracy"


@pytest.mark.vision
def test_as_torchvision_does() -> None:
    from torchvision.transforms import functional

    for number in range(5):
        image = data_files.picture(1, number).resize((100 + 9 * number, 140))
        whole = functional.center_crop(functional.resize(image, 64), [56, 56])
        assert imagenet.centre(image, 56).tobytes() == whole.tobytes()
        box = imagenet.random_box(*image.size, torch.Generator().manual_seed(number))
        left, top, right, bottom = box
        part = functional.resized_crop(image, top, left, bottom - top, right - left, [56, 56])
        made = imagenet.random_part(image, 56, torch.Generator().manual_seed(number))
        assert made.tobytes() in (part.tobytes(), functional.hflip(part).tobytes())


@pytest.mark.vision
def test_a_saved_dataset(root: Path, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features
    from datasets import Image as ImageFeature

    data_files.write_tree(root)
    tree = task()
    assert isinstance(tree, imagenet.ImageNet)
    expected = tree.test.inputs[:]
    features = Features({"image": ImageFeature(), "label": ClassLabel(num_classes=3)})
    parts = {}
    for part, name in (("train", "train"), ("val", "validation")):
        files = sorted((root / part).glob("*/*.JPEG"), key=lambda p: (p.parent.name, p.name))
        rows = [
            {"image": {"bytes": f.read_bytes(), "path": None}, "label": int(f.parent.name[1:])}
            for f in files
        ]
        parts[name] = Dataset.from_list(rows, features=features)
    root.rename(tmp_path / "tree")
    DatasetDict(parts).save_to_disk(str(root))
    image_folder.indexed.cache_clear()
    saved = task()
    assert saved.data not in (tree.data, ABSENT)
    assert saved.num_train == tree.num_train
    assert torch.equal(saved.test.labels, tree.test.labels)
    assert torch.equal(saved.test.inputs[:], expected)
    image_folder.indexed.cache_clear()
    assert torch.equal(task().train.inputs[:3], saved.train.inputs[:3])
