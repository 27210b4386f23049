"""Small data sets in the formats of the real ones, and how tasks are made to take them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.tasks import cifar, fashion_mnist

FASHION_TRAIN, FASHION_TEST = 60, 20
CIFAR_IMAGES = 300
CLASSES, TRAIN_EACH, VAL_EACH = 3, 16, 4
#: Options of a task on these files; those that are not here need none.
OPTIONS: dict[str, dict[str, Any]] = {
    "fashion_mnist": {"train_size": 30},
    "cifar10": {"train_size": 150},
    "cifar100": {"train_size": 150},
    "imagenet": {"size": 16, "classes": 3},
}


def use(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Make `root` the data root, and let tasks take files of these sizes."""
    patch.setenv("ARCHPRIOR_DATA", str(root))
    patch.setattr(fashion_mnist, "SHARED", root / "nowhere")
    patch.setattr(fashion_mnist, "URL", (root / "published").as_uri() + "/")
    patch.setattr(fashion_mnist, "NUM_IMAGES", FASHION_TRAIN)
    patch.setattr(fashion_mnist, "NUM_VALIDATION", 20)
    patch.setattr(cifar, "URL", (root / "published").as_uri() + "/")
    patch.setattr(cifar, "NUM_IMAGES", CIFAR_IMAGES)
    patch.setattr(cifar, "NUM_VALIDATION", 100)


def write_all(root: Path) -> None:
    write_fashion(root / "fashion_mnist")
    for name in ("cifar10", "cifar100"):
        write_cifar(root / name, name)
    write_tree(root / "imagenet")


def idx(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def fashion_images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, count]).integers(0, 256, (count, 28, 28))


def write_fashion(folder: Path, seed: int = 0, level: int = 6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", FASHION_TRAIN), ("t10k", FASHION_TEST)):
        arrays = {"images-idx3": fashion_images(count, seed), "labels-idx1": np.arange(count) % 10}
        for what, array in arrays.items():
            path = folder / f"{part}-{what}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array), level))


def cifar_records(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Training and test records (N, label bytes + 3072)."""
    classes, label_bytes = (10, 1) if name == "cifar10" else (100, 2)
    rng = np.random.default_rng([seed, classes])
    records = rng.integers(0, 256, (CIFAR_IMAGES + 100, label_bytes + 3072)).astype(np.uint8)
    records[:, label_bytes - 1] = np.arange(len(records)) % classes
    return records[:CIFAR_IMAGES], records[CIFAR_IMAGES:]


def write_cifar(folder: Path, name: str, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    train, test = cifar_records(name, seed)
    kind = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    names, test_name = kind.members
    path = folder / kind.archive
    with tarfile.open(path, "w:gz") as archive:
        for member, part in zip(names, np.split(train, len(names)), strict=True):
            _add(archive, member, part.tobytes())
        _add(archive, test_name, test.tobytes())
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def picture(label: int, number: int) -> Any:
    """A smooth image of its own, of a size of its own."""
    from PIL import Image

    rng = np.random.default_rng([label, number])
    small = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
    size = tuple(int(side) for side in rng.integers(20, 40, 2))
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def write_tree(root: Path, classes: int = CLASSES) -> None:
    for part, count in (("train", TRAIN_EACH), ("val", VAL_EACH)):
        for label in range(classes):
            folder = root / part / f"n{label:04}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                image = picture(label, number + (1000 if part == "val" else 0))
                image.save(folder / f"{part}_{number}.JPEG", quality=95)
