"""Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747): clothes in 28x28 pixels."""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.data import data_root
from trainers.errors import UserError
from trainers.tasks import ABSENT, Classification, InputSpec, OutputSpec, Split, register

NUM_IMAGES, NUM_VALIDATION = 60_000, 5_000
SIDE, NUM_CLASSES = 28, 10
#: Mean and standard deviation of all 60,000 published training images, in fractions of white.
MEAN, DEVIATION = 0.2860, 0.3530

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
#: MD5 of the files as published.
FILES = {
    "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
#: Folder of the Debian package `dataset-fashion-mnist`.
SHARED = Path("/usr/share/datasets/fashion-mnist")


@register("fashion_mnist", version=1)
class FashionMNIST(Classification):
    """Fashion-MNIST: 55,000 training, 5000 validation and 10,000 test images, 10 classes.

    The last 5000 of the published training images are the validation split, the first `train_size`
    of the others are trained on.
    """

    def __init__(self, *, train_size: int = NUM_IMAGES - NUM_VALIDATION) -> None:
        available = NUM_IMAGES - NUM_VALIDATION
        if not 1 <= train_size <= available:
            raise UserError(
                f"task fashion_mnist: train_size is {train_size}; allowed: 1 to {available}"
            )
        self.input = InputSpec(kind="image", shape=(1, SIDE, SIDE))
        self.output = OutputSpec(num_classes=NUM_CLASSES)
        self.num_train = train_size

    def data_places(self) -> list[Path]:
        """The task's folder in the data root, and that of a Debian package."""
        return [data_root.root() / "fashion_mnist", SHARED]

    def data_digest(self) -> str:
        """Digest of the unpacked files (their compression differs between sources), or `ABSENT`."""
        place = self._place()
        if place is None:
            return ABSENT
        return data_root.digest({name: data_root.unpacked_digest(place / name) for name in FILES})

    def check_data(self) -> None:
        """Download the four files (30 MB) if they are missing; FileNotFoundError if that fails."""
        if self._place() is not None:
            return
        folder = self.data_places()[0]
        try:
            data_root.download(URL, FILES, folder)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"task fashion_mnist: {', '.join(FILES)} are neither in {folder} nor in {SHARED}, "
                f"and could not be downloaded from {URL}: {error}"
            ) from error

    def _place(self) -> Path | None:
        return data_root.place_of(FILES, self.data_places())

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 images (N, 1, 28, 28), standardised."""
        self.check_data()
        place = self._place()
        assert place is not None
        images, labels = _pair(place, "train")
        held_out = len(images) - NUM_VALIDATION
        test_images, test_labels = _pair(place, "t10k")
        return {
            "train": Split(_inputs(images[: self.num_train]), labels[: self.num_train]),
            "validation": Split(_inputs(images[held_out:]), labels[held_out:]),
            "test": Split(_inputs(test_images), test_labels),
        }


def _pair(place: Path, part: str) -> tuple[np.ndarray, Tensor]:
    """Images (N, 28, 28) as bytes, and labels (N,), of a part."""
    images = _idx(place / f"{part}-images-idx3-ubyte.gz", 3)
    labels = _idx(place / f"{part}-labels-idx1-ubyte.gz", 1)
    if images.shape[1:] != (SIDE, SIDE) or len(images) != len(labels):
        raise UserError(f"{place}: {part} images are {images.shape}, labels {labels.shape}")
    if part == "train" and len(images) != NUM_IMAGES:
        raise UserError(f"{place}: {len(images)} training images; expected {NUM_IMAGES}")
    data_root.check_labels(f"{place}: {part}", labels, NUM_CLASSES)
    return images, torch.from_numpy(labels.astype(np.int64))


def _idx(path: Path, num_dimensions: int) -> np.ndarray:
    """Bytes in the IDX format: two zeros, type 8, dimensions, their sizes (big-endian), data."""
    with data_root.reading(path):
        content = gzip.decompress(path.read_bytes())
    if content[:4] != bytes((0, 0, 8, num_dimensions)):
        raise UserError(f"{path}: not bytes of {num_dimensions} dimensions in the IDX format")
    start = 4 + 4 * num_dimensions
    shape = tuple(map(int, np.frombuffer(content, ">u4", num_dimensions, 4)))
    if len(content) != start + math.prod(shape):
        raise UserError(f"{path}: {len(content) - start} bytes where {shape} are announced")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _inputs(images: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    return pixels.div_(255).sub_(MEAN).div_(DEVIATION)
