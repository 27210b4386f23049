"""Trees of images as users have them: what takes a label, and what is refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import data_files
from trainers.tasks import ABSENT, TASKS, Task

CLASSES = ("n0000", "n0001", "n0002")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A healthy tree of three classes, at which nothing has looked yet."""
    data_files.use(tmp_path, monkeypatch)
    monkeypatch.setenv("ARCHPRIOR_CACHE", str(tmp_path / "cache"))
    data_files.write_tree(tmp_path / "imagenet")
    return tmp_path / "imagenet"


def task(**options: Any) -> Task:
    return TASKS["imagenet"].factory(**{"size": 16, "classes": 3} | options)


def refusal(**options: Any) -> str:
    """What is said of a tree that cannot be used; no id is made of it either."""
    built = task(**options)
    assert built.data == ABSENT
    with pytest.raises(FileNotFoundError) as raised:
        built.check_data()
    message = str(raised.value)
    assert message.isascii()
    assert "\n" not in message
    return message


def test_ids_of_healthy_trees_are_what_they_were(root: Path) -> None:
    for part, count in (("train", 12), ("val", 2)):
        for name in (*CLASSES, "n01", "n02", "n\u00e9"):
            folder = root / part / name
            if name in CLASSES:
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
                continue
            folder.mkdir()
            for number in range(count):
                suffix = "JPEG" if number % 2 else "png"
                (folder / f"{number}.{suffix}").write_bytes(bytes(10 + number))
            (folder / "notes.txt").write_text("no image")
    assert [task(classes=n).data for n in (3, 2)] == ["0c1e8c017375b6ee", "db3d8b7cb645505a"]


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".cache", "__MACOSX", ".Trash-1000", ".DS_Store"]
)
def test_what_tools_leave_takes_no_label(root: Path, name: str) -> None:
    expected = task().data
    for part in ("train", "val"):
        (root / part / name).mkdir()
        data_files.picture(0, 0).save(root / part / name / "copy.png")
        for folder in (root / part, root / part / "n0001"):
            (folder / "._val_0.JPEG").write_bytes(b"\0\5\26\7 a resource fork")
        (root / part / "n0001" / name).mkdir()
    assert task().data == expected
    built = task()
    assert built.num_train == 18
    assert set(built.test.labels.tolist()) == {0, 1, 2}
    assert built.test.inputs[:].shape == (12, 3, 16, 16)


def test_a_folder_that_is_called_like_an_image_is_none(root: Path) -> None:
    expected = task().data
    (root / "val" / "n0001" / "d.jpg").mkdir()
    assert task().data == expected
    assert task().test.inputs[:].shape == (12, 3, 16, 16)


@pytest.mark.parametrize("parts", [("train", "val"), ("train",), ("val",)])
@pytest.mark.parametrize("content", [None, "notes.txt", "._a.png", "below/a.png", "a.png/x"])
def test_a_class_without_images_is_refused(
    root: Path, parts: tuple[str, ...], content: str | None
) -> None:
    # It is the first by name, so the last class would drop out.
    for part in parts:
        folder = root / part / "empty"
        folder.mkdir()
        if content is not None:
            (folder / content).parent.mkdir(exist_ok=True)
            (folder / content).write_bytes(b"x")
    message = refusal()
    for said in ("class 'empty'", str(root / parts[0] / "empty"), "remove", ".jpeg, .jpg, .png"):
        assert said in message
    for part in parts:
        (root / part / "empty").rename(root / part / ".empty")
    task().check_data()


@pytest.mark.parametrize(("part", "other"), [("train", "val"), ("val", "train")])
def test_a_class_of_one_part_alone_is_refused(root: Path, part: str, other: str) -> None:
    (root / other / "n0001").rename(root / f"{other}_n0001")
    message = refusal()
    assert "class 'n0001'" in message
    assert str(root / other / "n0001") in message
    assert str(root / part / "n0001") not in message
    (root / f"{other}_n0001").rename(root / other / "n0001")
    task().check_data()


def test_classes_that_are_not_asked_for_may_be_unfinished(root: Path) -> None:
    expected = task().data
    (root / "train" / "n9999").mkdir()
    (root / "train" / "n9998").symlink_to("nowhere")
    (root / "val" / "n9997").mkdir()
    (root / "val" / "n9997" / "x.png").touch()
    assert task().data == expected
    assert "n9997" in refusal(classes=4)


def link(path: Path) -> None:
    path.symlink_to("/mnt/nowhere")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("x.png", link, "n0001/x.png is a link to /mnt/nowhere, which is not there: mend or re"),
        ("x.png", loop, "n0001/x.png cannot be read: Too many levels of symbolic links"),
        ("x.JPG", Path.touch, "n0001/x.JPG is empty (0 bytes): replace or remove it"),
        ("caf\udce9.png", Path.touch, r"n0001/caf\xe9.png is not UTF-8: rename it"),
    ],
)
def test_images_that_cannot_be_read_are_named(
    root: Path, part: str, name: str, make: Callable[[Path], None], said: str
) -> None:
    expected = task().data
    path = root / part / "n0001" / name
    make(path)
    assert f"{root / part}/{said}" in refusal()
    # What is mended in its place leaves no trace in the folder, and counts at once.
    if name == "x.JPG":
        data_files.picture(0, 0).save(path, "JPEG")
        assert task().data not in (expected, ABSENT)
    else:
        path.unlink()
        assert task().data == expected


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("n00015", link, "n00015 is a link to /mnt/nowhere, which is not there: mend or remove"),
        ("n00015", loop, "n00015 cannot be read: Too many levels of symbolic links"),
        ("n00015\udce9", Path.mkdir, r"n00015\xe9 is not UTF-8: rename it"),
    ],
)
def test_class_folders_that_cannot_be_read_are_named(
    root: Path, part: str, name: str, make: Callable[[Path], None], said: str
) -> None:
    make(root / part / name)
    assert f"{root / part}/{said}" in refusal()


def test_folders_that_may_not_be_read_are_named(root: Path, forbidding: Any) -> None:
    for path in (root / "train" / "n0001", root / "val", root):
        with forbidding(path):
            assert re.search(rf"{path}(/\S+)? cannot be read: Permission denied", refusal())
    task().check_data()


@pytest.mark.parametrize("name", ["imagenet", "imagenet/train", "imagenet/val"])
def test_a_tree_that_is_not_mounted(root: Path, name: str) -> None:
    expected = task().data
    path, target = root.parent / name, root.parent / "mount"
    path.rename(target)
    path.symlink_to(target)
    assert task().data == expected
    target.rename(root.parent / "away")
    assert f"{path} is a link to {target}, which is not there" in refusal()


def test_a_link_to_a_mount_that_comes_back(root: Path) -> None:
    expected = task().data
    target = root.parent / "mount"
    (root / "val" / "n0001" / "val_1.JPEG").rename(target)
    (root / "val" / "n0001" / "val_1.JPEG").symlink_to(target)
    assert task().data == expected
    target.rename(root.parent / "away")
    os.utime(root / "val" / "n0001", ns=(1, 1))
    assert "val_1.JPEG is a link to" in refusal()
    (root.parent / "away").rename(target)
    assert task().data == expected
